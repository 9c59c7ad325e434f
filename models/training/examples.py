"""Batches of cached pictures: grids, concept tokens, captions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.reference.lightcap import LightCap
from models.reference.text import WordPiece

from .config import Masking
from .features import Features
from .sources import Pictures


@dataclass
class Batch:
    grid: Tensor  # [B, C, G, G]
    concepts: Tensor  # [B, M], [SEP] and [PAD] behind the labels' tokens
    caption: Tensor  # [B, n], [CLS] ... [SEP] [PAD]


class Examples:
    """Cached pictures with the concepts that a trained extractor finds in them."""

    def __init__(self, features: Features, said: np.ndarray, labels: list[str], text: WordPiece,
                 model: LightCap, device: torch.device, pictures: Pictures) -> None:  # fmt: skip
        """said [N, K]: each proposal's label, in order, -1 behind the last."""
        self.features, self.said, self.text, self.device = features, said, text, device
        self.pictures = pictures
        # A picture without a caption never comes.
        captioned = features.captions[:, 0, 0] == text.special.cls
        self.weights = np.where(captioned, features.weights, np.float32(0))
        self.label_ids = [text.encode(label) for label in labels]
        self.unique = model.config.concept_extractor.deduplicate
        self.most = model.config.fusion.max_concept_tokens - 1

    def concept_tokens(self, row: int) -> list[int]:
        found = [label for label in self.said[row].tolist() if label >= 0]
        if self.unique:
            found = list(dict.fromkeys(found))
        return [i for label in found for i in self.label_ids[label]][: self.most] + [self.text.special.sep]

    def concepts(self, rows: np.ndarray) -> Tensor:
        tokens = [self.concept_tokens(int(row)) for row in rows]
        return padded(tokens, self.text.special.pad, self.device)

    def caption(self, rows: np.ndarray, rng: np.random.Generator) -> Tensor:
        """One of each picture's captions, at random."""
        captions = np.asarray(self.features.captions[rows])
        known = (captions[:, :, 0] != self.text.special.pad).sum(1)
        pick = (rng.random(len(rows)) * known).astype(int)
        chosen = captions[np.arange(len(rows)), pick]
        longest = int((chosen != self.text.special.pad).sum(1).max())
        return torch.from_numpy(chosen[:, :longest].astype(np.int64)).to(self.device)

    def references(self, row: int) -> list[str]:
        """The captions of a picture, whole, as decoding writes them."""
        captions = self.pictures[row].captions[: self.features.captions.shape[1]]
        return [self.text.decode(self.text.encode(caption)) for caption in captions]

    def batch(self, rows: np.ndarray, rng: np.random.Generator) -> Batch:
        return Batch(self.features.grid(rows, self.device), self.concepts(rows), self.caption(rows, rng))


def padded(tokens: list[list[int]], pad: int, device: torch.device) -> Tensor:
    longest = max(map(len, tokens))
    return torch.tensor([row + [pad] * (longest - len(row)) for row in tokens], device=device)


def hide(caption: Tensor, settings: Masking, text: WordPiece,
         rng: np.random.Generator) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Caption [B, n] with some of its tokens hidden, and where [B, n]. [CLS] and [PAD] stay; of every
    caption one token at least is hidden."""
    special = text.special
    ids = caption.cpu().numpy()
    free = (ids != special.cls) & (ids != special.pad)
    draws = np.where(free, rng.random(ids.shape), 2.0)
    hidden = (draws < settings.share) | ((draws == draws.min(1, keepdims=True)) & free)
    fate = rng.random(ids.shape)
    words = rng.integers(0, len(text.vocabulary), ids.shape)
    changed = np.where(hidden & (fate < settings.masked), special.mask, ids)
    replaced = hidden & (fate >= settings.masked) & (fate < settings.masked + settings.replaced)
    changed = np.where(replaced, words, changed)
    device = caption.device
    return torch.from_numpy(changed).to(device), torch.from_numpy(hidden).to(device)
