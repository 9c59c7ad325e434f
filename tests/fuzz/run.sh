#!/usr/bin/env bash
# Runs every fuzz target of a build for some seconds, from the files that the tests build; as many at a time
# as there are CPUs.
#   tests/fuzz/run.sh BUILD SECONDS_EACH [TARGET ...]
# Corpora stay in BUILD/corpus, so the next run goes on where this one stopped. A finding makes the
# script's exit code differ from 0; its input is in BUILD/corpus too.
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

# fuzz TARGET: prints the end of its log when it is done.
fuzz() {
  local name longest=16384 status=0
  name=$(basename "$1")
  [ -x "$build/tests/fuzz/$name" ] && [ -f "$build/tests/fuzz/$name" ] || return 0
  mkdir -p "$corpus/$name"
  # Inputs are small, so is what reading them may take: limits.h counts it for each input. These
  # flags are for what it cannot see, one huge allocation, a leak from input to input, and an input
  # that never returns; that one by the wall's clock, which runs many times as fast where the machine is
  # busy. Models are larger than 16 KiB; their targets make their own seeds.
  case $name in fuzz_weights) longest=524288 ;; fuzz_quantize) longest=1048576 ;; esac
  "$build/tests/fuzz/$name" "$corpus/$name" -artifact_prefix="$corpus/$name-" \
    -max_total_time="$seconds" -max_len=$longest -timeout=60 -rss_limit_mb=1024 \
    -malloc_limit_mb=256 -report_slow_units=2 -print_final_stats=1 >"$corpus/$name.log" 2>&1 || status=$?
  printf '== %s\n%s\n' "$name" "$(tail -n 12 "$corpus/$name.log")"
  return $status
}
export -f fuzz
export build corpus seconds
printf '%s\0' "$@" | xargs -0 -P "$(nproc 2>/dev/null || echo 2)" -I {} bash -c 'fuzz "$1"' fuzz {}
