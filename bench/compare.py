"""Compare two runs of the benchmarks: what became slower?

    python bench/compare.py OLD.json NEW.json [--threshold 0.1] [--time cpu_time|real_time]

Both from `bench_kernels --benchmark_out=F --benchmark_repetitions=5`, or both from `lightcap bench
--profile --json`. Prints the ratio of median times, new to old, of whatever changed by more than the
threshold, the geometric mean of all, and what the new run lacks. Exit code 1 if anything became
slower by more than the threshold, 2 where there is nothing to compare. Standard library only.
"""

from __future__ import annotations

import argparse
import math
import sys

from results import load


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compare two runs of the benchmarks")
    parser.add_argument("old", metavar="OLD.json")
    parser.add_argument("new", metavar="NEW.json")
    parser.add_argument("--threshold", type=float, default=0.1, help="of a median's change [0.1]")
    parser.add_argument("--time", choices=("cpu_time", "real_time"), default="cpu_time")
    options = parser.parse_args(arguments)
    try:
        old = load(options.old, options.time).results
        new = load(options.new, options.time).results
    except (OSError, ValueError, KeyError) as error:
        print(f"compare.py: {error!r}", file=sys.stderr)
        return 2
    ratios = {name: new[name].seconds / old[name].seconds for name in old if name in new}
    if not ratios:
        print("compare.py: the runs have no benchmark in common", file=sys.stderr)
        return 2

    slower = {name for name, ratio in ratios.items() if ratio > 1 + options.threshold}
    faster = {name for name, ratio in ratios.items() if ratio < 1 / (1 + options.threshold)}
    missing = [name for name in old if name not in new]
    for name in sorted(slower | faster, key=lambda name: -ratios[name]):
        verdict = "SLOWER" if name in slower else "faster"
        before, after = old[name].seconds * 1e6, new[name].seconds * 1e6
        print(f"{verdict}  {ratios[name]:6.3f}  {before:10.1f} us -> {after:10.1f} us  {name}")
    for name in missing:
        print(f"MISSING  {name}")
    mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
    print(f"{len(ratios)} compared, {len(slower)} slower and {len(faster)} faster by more than "
          f"{options.threshold:.0%}, {len(missing)} missing; mean ratio {mean:.3f}")  # fmt: skip
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
