"""The programs, which pip puts on the path: small doors to those in this package's folder `bin`."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from ._library import PACKAGE


def _become(program: str) -> NoReturn:
    """Puts the program in this process's place: pipes, signals and exit codes are its own."""
    path = PACKAGE / "bin" / program
    try:
        os.execv(path, [program, *sys.argv[1:]])
    except OSError as error:
        print(f"{program}: cannot start {path}: {error.strerror}", file=sys.stderr)
        sys.exit(8)


def lightcap() -> NoReturn:
    _become("lightcap")


def lightcap_convert() -> NoReturn:
    _become("lightcap-convert")


def lightcap_quantize() -> NoReturn:
    _become("lightcap-quantize")
