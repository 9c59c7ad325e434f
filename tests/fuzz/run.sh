#!/bin/sh
# Runs every fuzz target of a build for some seconds, from seeds that the tests write.
#   tests/fuzz/run.sh BUILD SECONDS_EACH [TARGET ...]
# Corpora stay in BUILD/corpus, so the next run goes on where this one stopped. A finding stops the
# script; its input is in BUILD/corpus too.
set -eu
build=$1
seconds=$2
shift 2
corpus=$build/corpus
mkdir -p "$corpus"
LIGHTCAP_FUZZ_SEEDS=$corpus "$build/tests/checkpoint_corruption_test" \
  --gtest_filter='*WritesSeeds*' > "$corpus/seeds.log"
if [ $# -eq 0 ]; then
  set -- "$build"/tests/fuzz/fuzz_*[!.]
fi
for target in "$@"; do
  name=$(basename "$target")
  [ -x "$build/tests/fuzz/$name" ] && [ -f "$build/tests/fuzz/$name" ] || continue
  mkdir -p "$corpus/$name"
  echo "== $name"
  # Inputs are small, so is what reading them may take.
  "$build/tests/fuzz/$name" "$corpus/$name" -artifact_prefix="$corpus/$name-" \
    -max_total_time="$seconds" -max_len=16384 -timeout=10 -rss_limit_mb=1024 \
    -print_final_stats=1 2>&1 | tee "$corpus/$name.log" | tail -n 12
done
