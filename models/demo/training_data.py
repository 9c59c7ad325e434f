"""The scenes that the demo model learns from: drawn once, and mirrored half of the times they are seen."""

from __future__ import annotations

import io
import multiprocessing
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.reference.preprocess import letterbox
from models.reference.text import WordPiece

from . import scenes
from .model import HYPER, label, labels, vocabulary

MOST_THINGS = 9  # in a scene: three groups of three
TRAIN_SEED = 11


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


def _example(index: int) -> tuple[np.ndarray, ...]:
    """Encoder view, detector view padded to a square, boxes in both, labels, captions' ids."""
    text, names = WordPiece(vocabulary()), labels()
    slots, side = HYPER["fusion"]["caption_slots"], HYPER["detector"]["image_size"]
    size = HYPER["image_encoder"]["image_size"]
    scene, picture, captions = scenes.generate(TRAIN_SEED, index)
    picture = _worn(picture, np.random.default_rng((TRAIN_SEED, index, 1)))
    view = np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC))
    padded, geometry = letterbox(np.asarray(picture), side)
    board = np.full((side, side, 3), 114, np.uint8)
    top, left = (side - padded.shape[0]) // 64 * 32, (side - padded.shape[1]) // 64 * 32
    board[top : top + padded.shape[0], left : left + padded.shape[1]] = padded
    boxes, kinds = np.zeros((MOST_THINGS, 8), np.float32), np.full(MOST_THINGS, -1)
    things = [(box, group) for group in scene.groups for box in group.boxes]
    for i, (box, group) in enumerate(things):
        boxes[i, :4] = np.array(box) * ([size / scene.width, size / scene.height] * 2)
        boxes[i, 4:] = np.array(box) * geometry.ratio + [geometry.left + left, geometry.top + top] * 2
        kinds[i] = names.index(label(group.kind, group.colour))
    ids = np.zeros((5, slots), np.int64)
    for row, caption in zip(ids, captions):
        tokens = [text.special.cls, *text.encode(caption)][: slots - 1] + [text.special.sep]
        row[: len(tokens)] = tokens
    return view, board, boxes, kinds, ids


def dataset(out: Path, count: int, workers: int) -> tuple[Tensor, ...]:
    """Drawn once, kept in RUN in 0.2 MB a scene, read from there batch by batch."""
    folder = out / f"scenes{count}"
    if not folder.exists():
        unfinished = folder.with_suffix(".part")
        unfinished.mkdir(exist_ok=True)
        columns = [np.lib.format.open_memmap(unfinished / f"{i}.npy", "w+", part.dtype, (count, *part.shape))
                   for i, part in enumerate(_example(0))]  # fmt: skip
        with multiprocessing.Pool(workers) as pool:
            for row, parts in enumerate(pool.imap(_example, range(count), 64)):
                for column, part in zip(columns, parts):
                    column[row] = part
                if row % 500 == 499:
                    print(f"\rdrawing {row + 1}/{count}", end="", flush=True)
        print()
        for column in columns:
            column.flush()
        unfinished.rename(folder)  # whole or not at all
    return tuple(torch.from_numpy(np.load(file, mmap_mode="c")) for file in sorted(folder.iterdir()))


def shares_by_groups(kinds: np.ndarray) -> np.ndarray:
    """How often each scene comes, from its labels [N, MOST_THINGS]: each group more doubles it. What a
    caption says of one group is learnt soon, how three lie and how many they are is not."""
    kinds = np.sort(kinds, 1)
    groups = ((kinds >= 0) & (np.diff(kinds, prepend=-1) != 0)).sum(1)
    shares = 2.0**groups
    return shares / shares.sum()


def mirrored(batch: tuple[Tensor, ...], left: int, right: int, rng: np.random.Generator) -> tuple[Tensor, ...]:
    """Half of the pictures, with their boxes and captions: left and right, the words' ids, change places."""
    view, board, boxes, kinds, captions = batch
    flip = torch.tensor(rng.random(len(view)) < 0.5)
    pixels = flip[:, None, None, None]
    size, side = view.shape[2], board.shape[2]
    sides = torch.tensor([size, 0, size, 0, side, 0, side, 0], dtype=boxes.dtype)
    signs = torch.tensor([-1, 1, -1, 1, -1, 1, -1, 1], dtype=boxes.dtype)
    turned = sides + signs * boxes[..., [2, 1, 0, 3, 6, 5, 4, 7]]
    swapped = torch.where(captions == left, right, torch.where(captions == right, left, captions))
    return (torch.where(pixels, view.flip(2), view), torch.where(pixels, board.flip(2), board),
            torch.where(flip[:, None, None], turned, boxes), kinds,
            torch.where(flip[:, None, None], swapped, captions))  # fmt: skip
