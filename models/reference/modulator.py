"""The cross-modal modulator: concepts gate the image's channels (paper, section of that name)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Modulator(nn.Module):
    def __init__(self, words: int, width: int, channels: int) -> None:
        """`words`: width of the word embedding; `width`: between the two blocks."""
        super().__init__()
        self.fc1 = nn.Linear(words, width)
        self.fc2 = nn.Linear(width, channels)

    def forward(self, v: Tensor, concept: Tensor) -> tuple[Tensor, Tensor]:
        """v [B, C, G, G], mean concept embedding [B, d] -> v' [B, C, G, G], gate [B, C]."""
        gate = torch.sigmoid(self.fc2(torch.relu(self.fc1(concept))))
        return v * gate[:, :, None, None], gate


def mean_concept(word_embeddings: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
    """Mean [B, d] of the rows that tokens [B, M] name where mask [B, M]; zero without any."""
    weight = mask.to(word_embeddings)[..., None]
    return (word_embeddings[tokens] * weight).sum(1) / weight.sum(1).clamp(min=1)
