"""Pictures with captions and objects, by the names that a configuration has for them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from ..config import ConfigError

T = TypeVar("T")
READERS = 8  # threads that decode pictures
Box = tuple[float, float, float, float]  # x0 y0 x1 y1 in the picture's pixels


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


class Reader:
    """Pictures of a batch, decoded by several threads."""

    def __init__(self, pictures: Pictures) -> None:
        self.pictures, self.pool = pictures, ThreadPoolExecutor(READERS)

    def map(self, use: Callable[[np.ndarray, Picture], T], rows: Iterable[int]) -> list[T]:
        """use(pixels, picture) of each, called by the thread that decoded it."""
        return list(self.pool.map(lambda i: use(self.pictures.pixels(i), self.pictures[i]), map(int, rows)))

    def read(self, rows: Iterable[int]) -> list[tuple[np.ndarray, Picture]]:
        return self.map(lambda pixels, about: (pixels, about), rows)


class Joined:
    """Several sources, one after the other."""

    def __init__(self, parts: Sequence[Pictures]) -> None:
        self.parts = parts
        self.ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self.ends[-1])

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
