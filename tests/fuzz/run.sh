#!/usr/bin/env bash
# Runs every fuzz target of a build for some seconds, from the files that the tests build.
#   tests/fuzz/run.sh BUILD SECONDS_EACH [TARGET ...]
# Corpora stay in BUILD/corpus, so the next run goes on where this one stopped. A finding stops the
# script with an exit code that is not 0; its input is in BUILD/corpus too.
set -euo pipefail
build=$1
seconds=$2
shift 2
goldens=$(dirname "$0")/../goldens
corpus=$build/corpus
mkdir -p "$corpus"/fuzz_image
"$build/tests/fuzz/write_seeds" "$corpus"
cp "$goldens"/picture.png "$goldens"/rotated.jpg "$corpus/fuzz_image"
if [ $# -eq 0 ]; then
  set -- "$build"/tests/fuzz/fuzz_*
fi
for target in "$@"; do
  name=$(basename "$target")
  [ -x "$build/tests/fuzz/$name" ] && [ -f "$build/tests/fuzz/$name" ] || continue
  mkdir -p "$corpus/$name"
  echo "== $name"
  # Inputs are small, so is what reading them may take: limits.h counts it for each input. These
  # flags are for what it cannot see, one huge allocation, a leak from input to input, and an input
  # that never returns. Models are larger than 16 KiB; their target makes its own seeds.
  longest=16384
  [ "$name" = fuzz_weights ] && longest=524288
  "$build/tests/fuzz/$name" "$corpus/$name" -artifact_prefix="$corpus/$name-" \
    -max_total_time="$seconds" -max_len=$longest -timeout=10 -rss_limit_mb=1024 \
    -malloc_limit_mb=256 -report_slow_units=2 -print_final_stats=1 2>&1 | tee "$corpus/$name.log" | tail -n 12
done
