"""Webdataset shards: tar files in which a picture and its caption share a name up to the first dot."""

from __future__ import annotations

import glob
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from models.reference.preprocess import exif_orientation, upright

from . import UNREADABLE, Picture, PictureError
from ..config import ConfigError
from .folder import SUFFIXES

FIRST = 10  # pictures, one of which has a text at least


@dataclass
class _Member:
    shard: int
    begin: int
    size: int


class Shards:
    """pattern: shards, as cc3m/{000..331}'s cc3m/*.tar. Members lie uncompressed, so that any one can be
    read at once: the shards' directories alone are read here. caption: the suffix of the texts; of a .json
    its key."""

    def __init__(self, base: Path, pattern: str, caption: str = "txt", key: str = "caption") -> None:
        self.paths = [Path(name) for name in sorted(glob.glob(str(base / pattern)))]
        if not self.paths:
            raise ConfigError(f"{base / pattern} names no file: webdataset's shards (.tar) are wanted")
        self.key, self.json = key, caption == "json"
        self.pairs: list[tuple[str, _Member, _Member]] = []
        for shard, path in enumerate(self.paths):
            pictures: dict[str, _Member] = {}
            texts: dict[str, _Member] = {}
            try:
                with tarfile.open(path, "r:") as tar:
                    for info in tar:
                        folder, _, file = info.name.rpartition("/")
                        stem, _, suffix = file.partition(".")
                        member = _Member(shard, info.offset_data, info.size)
                        if "." + suffix.lower() in SUFFIXES:
                            pictures[f"{folder}/{stem}"] = member
                        elif suffix == caption:
                            texts[f"{folder}/{stem}"] = member
            except (OSError, tarfile.TarError) as error:
                raise ConfigError(f"{path}: {error}; an uncompressed tar file is wanted") from None
            both = [name for name in pictures if name in texts]
            if not both:
                raise ConfigError(f"{path} has no picture with a .{caption} of the same name")
            self.pairs += [(name, pictures[name], texts[name]) for name in both]
        self._check_texts()

    def _check_texts(self) -> None:
        """A wrong key makes all texts malformed, which is said before any picture is read."""
        problems = []
        for i in range(min(FIRST, len(self.pairs))):
            try:
                self[i]
                return
            except PictureError as error:
                problems.append(error)
        raise ConfigError(f"{problems[0]}, and all of the first {len(problems)} pictures are so")

    def _bytes(self, member: _Member) -> bytes:
        with self.paths[member.shard].open("rb") as file:
            file.seek(member.begin)
            return file.read(member.size)

    def fingerprint(self) -> str:
        """By the shards' sizes and times: their texts are not read for it."""
        files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in self.paths]
        return repr((files, self.key, self.json))

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, i: int) -> Picture:
        name, _, text = self.pairs[i]
        said = self._bytes(text).decode("utf-8", "replace")
        if self.json:
            try:
                said = json.loads(said)[self.key]
            except (ValueError, KeyError, TypeError):
                raise PictureError(f"{self.paths[text.shard]}: {name}'s .json has no {self.key!r}") from None
        if said is None:
            return Picture(name)
        if not isinstance(said, str):
            raise PictureError(f"{self.paths[text.shard]}: {name}'s {self.key!r} is {said!r}: a text is wanted")
        return Picture(name, [caption] if (caption := " ".join(said.split())) else [])

    def pixels(self, i: int) -> np.ndarray:
        name, picture, _ = self.pairs[i]
        try:
            with Image.open(io.BytesIO(self._bytes(picture))) as image:
                orientation = exif_orientation(image.info.get("exif", b""))
                return upright(np.asarray(image.convert("RGB")), orientation)
        except UNREADABLE as error:
            raise PictureError(f"{self.paths[picture.shard]}: {name}: {error}") from None
