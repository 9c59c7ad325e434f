"""Compares two builds of `lightcap` bit for bit: every trace, caption, token and score.

    python tests/parity/builds.py --old OLD/lightcap --new NEW/lightcap --model a.lcw [--model ...] \
        [--isa avx2 ...] [--emulator qemu-aarch64 ...] PICTURE...

Prints a line a model and instruction set, and exits with 1 where anything differs.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

IGNORED = {"timings_ms"}


def run(command: list[str], isa: str | None) -> str:
    environment = dict(os.environ, **({"LIGHTCAP_ISA": isa} if isa else {}))
    return subprocess.run(command, env=environment, check=True, capture_output=True,
                          text=True).stdout


def captions(program: list[str], model: str, isa: str | None, pictures: list[str],
             options: list[str]) -> list[dict]:
    lines = run([*program, "caption", "--model", model, "--json", *options, *pictures], isa)
    answers = [json.loads(line) for line in lines.splitlines()]
    # Later builds may say more, never something else.
    return [{k: v for k, v in answer.items() if k not in IGNORED} for answer in answers]


def traces(program: list[str], model: str, isa: str | None, picture: str) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        run([*program, "caption", "--model", model, "--trace", folder, picture], isa)
        return {path.name: path.read_bytes() for path in pathlib.Path(folder).iterdir()}


def differences(options: argparse.Namespace, model: str, isa: str | None) -> list[str]:
    old, new = [*options.emulator, options.old], [*options.emulator, options.new]
    wrong = []
    for search in ([], ["--beams", "5"]):
        before = captions(old, model, isa, options.pictures, search)
        after = captions(new, model, isa, options.pictures, search)
        for a, b in zip(before, after, strict=True):
            if any(b.get(key) != value for key, value in a.items()):
                wrong.append(f"{a['image']} {' '.join(search)}: {a} became {b}")
    for picture in options.pictures[:options.traced]:
        before, after = traces(old, model, isa, picture), traces(new, model, isa, picture)
        wrong += [f"{picture}: {name} has other bits" for name in before
                  if after.get(name) != before[name]]
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", required=True)
    parser.add_argument("--new", required=True)
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--isa", action="append", help="default: the best of this machine")
    parser.add_argument("--emulator", nargs="*", default=[])
    parser.add_argument("--traced", type=int, default=4, help="pictures whose traces are compared")
    parser.add_argument("pictures", nargs="+")
    options = parser.parse_args()
    failed = False
    for model in options.model:
        for isa in options.isa or [None]:
            wrong = differences(options, model, isa)
            failed = failed or bool(wrong)
            print(f"{model} {isa or ''}: {len(options.pictures)} pictures,",
                  "the same bits" if not wrong else f"{len(wrong)} differences", flush=True)
            for line in wrong[:5]:
                print("  " + line[:300])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
