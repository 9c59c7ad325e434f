"""Pictures with captions and objects, by the names that a configuration has for them."""

from __future__ import annotations

import hashlib
import importlib
import struct
import sys
import zlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from PIL import Image

from ..config import ConfigError

T = TypeVar("T")
READERS = 8  # threads that decode pictures
Box = tuple[float, float, float, float]  # x0 y0 x1 y1 in the picture's pixels


# Pillow raises these of a file that is damaged, cut off or too large.
UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


class PictureError(ConfigError):
    """A picture, or what is said of it, that cannot be read."""


def before_comma(name: str) -> str:
    """The name as a label: lightcap-convert cuts one at its first comma, behind which synonyms are."""
    return name.split(",")[0].strip()


@dataclass
class Picture:
    """A picture's captions and objects, whose names have no comma."""

    name: str
    captions: list[str] = field(default_factory=list)
    objects: list[tuple[str, Box]] = field(default_factory=list)
    weight: float = 1.0  # how often it comes, relative to others


class Pictures(Protocol):
    """A source of pictures, which several threads read at once."""

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> Picture: ...

    def pixels(self, i: int) -> np.ndarray:
        """RGB [h, w, 3]."""
        ...


def check_share(bad: int, count: int, share: float, what: str, example: str = "") -> None:
    """Refuses more pictures that can't be used than the share of all that the setting bad_pictures allows."""
    if bad > share * count:
        raise ConfigError(f"{bad} of {count} pictures {what}, more than bad_pictures ({share:g} of all)"
                          f" allows{example}")  # fmt: skip


class Reader:
    """Pictures of a batch, decoded by several threads. Each one that cannot be read is told of once; more of them
    than bad_share of all pictures are an error."""

    def __init__(self, pictures: Pictures, bad_share: float) -> None:
        self.pictures, self.bad_share = pictures, bad_share
        self.bad: set[int] = set()
        self.pool = ThreadPoolExecutor(READERS)

    def map(self, use: Callable[[np.ndarray, Picture], T], rows: Iterable[int]) -> list[T | None]:
        """use(pixels, picture) of each, called by the thread that decoded it; None for one that cannot be read."""

        def used(i: int) -> T | PictureError:
            try:
                pixels, about = self.pictures.pixels(i), self.pictures[i]
            except PictureError as error:
                return error
            return use(pixels, about)

        rows = [int(row) for row in rows]
        return [self._checked(row, result) for row, result in zip(rows, self.pool.map(used, rows))]

    def _checked(self, row: int, result: T | PictureError) -> T | None:
        if not isinstance(result, PictureError):
            return result
        if row not in self.bad:
            self.bad.add(row)
            check_share(len(self.bad), len(self.pictures), self.bad_share, "cannot be read", f": {result}")
            print(f"left out: {result}", file=sys.stderr, flush=True)
        return None

    def read(self, rows: Iterable[int]) -> list[tuple[np.ndarray, Picture]]:
        """The pictures that can be read; if none can, the next one in order that can."""
        rows, count = [int(row) for row in rows], len(self.pictures)
        ahead = ([(rows[-1] + i) % count] for i in range(1, count))
        for some in (rows, *ahead):
            found = self.map(lambda pixels, about: (pixels, about), some)
            readable = [one for one in found if one is not None]
            if readable:
                return readable
        raise ConfigError("no picture can be read")


def fingerprint_of(pictures: Pictures) -> str:
    """Changes with what a source has: its pictures' names, captions, objects and weights, or what it says of
    itself in a method `fingerprint`."""
    own = getattr(pictures, "fingerprint", None)
    if own is not None:
        return own()
    digest = hashlib.sha256()
    for i in range(len(pictures)):
        digest.update(repr(pictures[i]).encode())
    return digest.hexdigest()


class Joined:
    """Several sources, one after the other."""

    def __init__(self, parts: Sequence[Pictures]) -> None:
        self.parts = parts
        self.ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def fingerprint(self) -> str:
        return " ".join(map(fingerprint_of, self.parts))

    def _of(self, i: int) -> tuple[Pictures, int]:
        at = int(np.searchsorted(self.ends, i, "right"))
        return self.parts[at], i - (int(self.ends[at - 1]) if at else 0)

    def __getitem__(self, i: int) -> Picture:
        part, at = self._of(i)
        return part[at]

    def pixels(self, i: int) -> np.ndarray:
        part, at = self._of(i)
        return part.pixels(at)


def named(spec: str, what: str) -> Any:
    """The object module:name, which a package beside this one has."""
    module, _, name = spec.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{what} {spec!r}: {error}") from None


KNOWN = {
    "coco": "coco:Coco",
    "visual_genome": "visual_genome:VisualGenome",
    "folder": "folder:Folder",
    "shards": "shards:Shards",
}


def open_pictures(specs: list[dict[str, Any]], base: Path, what: str) -> Pictures:
    """The pictures that a configuration lists under `what`; paths are relative to `base`."""
    if not specs:
        raise ConfigError(f'{what} is empty: a list of {{"source": ...}} is wanted')
    parts = []
    for i, spec in enumerate(specs):
        given = dict(spec)
        name = given.pop("source", "")
        where = f"{__name__}.{KNOWN[name]}" if name in KNOWN else name
        if ":" not in where:
            raise ConfigError(f"{what}[{i}].source is {name!r}: one of {', '.join(KNOWN)} or"
                              " MODULE:CLASS is wanted")  # fmt: skip
        maker = named(where, f"{what}[{i}].source")
        try:
            parts.append(maker(base=base, **given))
        except TypeError as error:
            raise ConfigError(f"{what}[{i}]: {error}") from None
        if not len(parts[-1]):
            raise ConfigError(f"{what}[{i}] has no picture")
    return Joined(parts)
