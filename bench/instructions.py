"""Has a kernel come to take more instructions? Compares counts with those kept in instructions.json.

    python bench/instructions.py --program build/release/bench/count_instructions \\
        --compiler "GNU 12.2.0" [--update]

Counts are callgrind's, so noise can't move them; the compiler can: they are compared only where it is
the one that made the kept ones. Exit code 1 where a kernel takes over 2 % more than before, is not
kept, or is gone; 77 (skipped) with another compiler. --update keeps the counts of this run.
Valgrind knows no AVX-512: its kernels are not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

KEPT = Path(__file__).with_name("instructions.json")
THRESHOLD = 0.02
SKIPPED = 77


def count(program: str) -> dict[str, int]:
    """Instructions by KERNEL/ISA/SHAPE."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/out", program]
        # Bound before it starts: no kernel's first call counts the linker's work.
        done = subprocess.run(command, capture_output=True, text=True, check=False,
                              env={**os.environ, "LD_BIND_NOW": "1"})  # fmt: skip
        if done.returncode != 0:
            raise SystemExit(f"instructions.py: valgrind failed:\n{done.stderr}")
        counts = {}
        for dump in Path(folder).iterdir():
            text = dump.read_text()
            name = re.search(r"^desc: Trigger: Client Request: (.+)$", text, re.MULTILINE)
            total = re.search(r"^(?:totals|summary): (\d+)$", text, re.MULTILINE)
            if name and total:
                counts[name[1]] = int(total[1])
    return dict(sorted(counts.items()))


def compare(kept: dict[str, int], counts: dict[str, int]) -> int:
    """Prints what differs; the number of kernels that are worse, new or gone."""
    wrong = 0
    for name in sorted(kept.keys() | counts.keys()):
        if not counts.get(name) or name not in kept:
            print(f"{'GONE' if name in kept else 'NEW'}  {name}")
            wrong += 1
            continue
        ratio = counts[name] / kept[name]
        more = counts[name] > (1 + THRESHOLD) * kept[name]
        if more or counts[name] < (1 - THRESHOLD) * kept[name]:
            print(f"{'MORE' if more else 'less'}  {ratio:.3f}  {kept[name]} -> {counts[name]}  {name}")
            wrong += more
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True)
    parser.add_argument("--compiler", required=True)
    parser.add_argument("--update", action="store_true")
    options = parser.parse_args()
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {"compiler": "", "counts": {}}
    if not options.update and kept["compiler"] != options.compiler:
        print(f"skipped: the kept counts are {kept['compiler']}'s, this is {options.compiler}")
        return SKIPPED
    counts = count(options.program)
    if not counts:
        print("instructions.py: nothing was counted", file=sys.stderr)
        return 1
    wrong = compare(kept["counts"], counts)
    if options.update:
        kept = {"compiler": options.compiler, "counts": counts}
        KEPT.write_text(json.dumps(kept, indent=1) + "\n")
        print(f"{len(counts)} counts are kept")
        return 0
    print(f"{len(counts)} counts compared, {wrong} wrong")
    if wrong:
        print("If that is meant, say why in the commit that runs this with --update.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
