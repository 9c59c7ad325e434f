"""Drawn scenes as a source of pictures for models/training: each as drawn, and mirrored."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from models.training.sources import Picture

from . import scenes
from .model import label

TRAIN_SEED = 11
MIRRORED = {"left": "right", "right": "left"}


def _worn(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Half of the pictures as they come from elsewhere: through a smaller size, or through JPEG."""
    width, height = picture.size
    if rng.random() < 0.3:
        scale = rng.uniform(0.5, 1.0)
        small = picture.resize((round(width * scale), round(height * scale)), Image.Resampling.BICUBIC)
        picture = small.resize((width, height), Image.Resampling.BICUBIC)
    if rng.random() < 0.3:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=int(rng.integers(60, 96)))
        picture = Image.open(file).convert("RGB")
    return picture


class Scenes:
    """Scene i of a seed, of `groups` groups at least, and behind them all, as picture count + i, its mirror
    image."""

    def __init__(self, base: Path, count: int, seed: int = TRAIN_SEED, mirrored: bool = True,
                 groups: int = 1) -> None:  # fmt: skip
        self.count, self.seed, self.mirrored, self.groups = count, seed, mirrored, groups
        self._scene = lru_cache(1024)(self._composed)
        self.pixels = lru_cache(64)(self._drawn)

    def __len__(self) -> int:
        return self.count * (1 + self.mirrored)

    def _composed(self, i: int) -> scenes.Scene:
        return scenes.compose(np.random.default_rng((self.seed, i)), self.groups)

    def __getitem__(self, i: int) -> Picture:
        """A scene of more groups comes more often, each group doubles it: what a caption says of one
        group is learnt soon, how three lie and how many they are is not."""
        mirrored, i = divmod(i, self.count)
        scene = self._scene(i)
        captions = scenes.captions_of(scene, self.seed, i)
        objects = [(label(group.kind, group.colour), box) for group in scene.groups for box in group.boxes]
        if mirrored:
            captions = [" ".join(MIRRORED.get(word, word) for word in text.split()) for text in captions]
            objects = [(name, (scene.width - x1, y0, scene.width - x0, y1))
                       for name, (x0, y0, x1, y1) in objects]  # fmt: skip
        weight = 2.0 ** len(scene.groups)
        return Picture(f"{i:06}{'m' * mirrored}", captions, objects, weight)

    def _drawn(self, i: int) -> np.ndarray:
        mirrored, i = divmod(i, self.count)
        picture = scenes.generate(self.seed, i, self.groups)[1]
        pixels = np.asarray(_worn(picture, np.random.default_rng((self.seed, i, 1))))
        return np.ascontiguousarray(pixels[:, ::-1]) if mirrored else pixels
