"""python -m models.training STAGE --config C.json --out RUN; see README.md. Goes on where it stopped."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import loop
from .config import ConfigError, load
from .run import Run
from .stages import STAGES


def main() -> int:
    parser = argparse.ArgumentParser(prog="models.training", description=__doc__)
    parser.add_argument("stage", choices=[*STAGES])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the run's folder; all stages share it")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="another value of a setting, as caption.distilled.teachers=[]")  # fmt: skip
    parser.add_argument("--variant", default="",
                        help="a name behind those of the student's stages in the run's folder")
    parser.add_argument("--teacher", type=int, help="train this one alone, to train them side by side")
    parser.add_argument("--stop-after", type=int, help="leave each loop after so many steps in all")
    args = parser.parse_args()
    try:
        config = load(args.config, args.set)
        run = Run(config, args.out, loop.world(config), args.variant, args.stop_after)
        if args.teacher is not None:
            from .stages import teacher

            finished = teacher(run, args.teacher)
        else:
            finished = STAGES[args.stage](run)
    except ConfigError as error:
        print(f"{error}", file=sys.stderr)
        return 2
    if not finished:
        print(f"stopped after {args.stop_after} steps; the same command without --stop-after goes on",
              file=sys.stderr)  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
