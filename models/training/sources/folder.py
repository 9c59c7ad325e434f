"""A folder of pictures, each with a text file of the same name: a caption a line."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from . import Picture
from ..config import ConfigError
from .coco import read_picture

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


class Folder:
    def __init__(self, base: Path, images: str) -> None:
        self.folder = base / images
        if not self.folder.is_dir():
            raise ConfigError(f"{self.folder} is no folder: pictures with texts beside them are wanted")
        paths = (path for path in self.folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        self.paths = sorted(path for path in paths if path.with_suffix(".txt").exists())
        if not self.paths:
            raise ConfigError(f"{self.folder} has no picture with a .txt of the same name beside it")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> Picture:
        lines = self.paths[i].with_suffix(".txt").read_text(encoding="utf-8").splitlines()
        return Picture(self.paths[i].name, [line.strip() for line in lines if line.strip()])

    def pixels(self, i: int) -> np.ndarray:
        return read_picture(self.paths[i])
