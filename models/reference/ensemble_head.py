"""The ensemble head: B branches, one word embedding as output layer (paper, "Ensemble")."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Branch(nn.Module):
    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.LayerNorm = nn.LayerNorm(width, eps=eps)

    def forward(self, h: Tensor) -> Tensor:
        return self.LayerNorm(F.gelu(self.dense(h)))


class EnsembleHead(nn.Module):
    def __init__(self, width: int, vocabulary: int, branches: int, eps: float = 1e-12) -> None:
        super().__init__()
        self.branches = nn.ModuleList(Branch(width, eps) for _ in range(branches))
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def logits(self, h: Tensor, word_embeddings: Tensor) -> Tensor:
        """h [..., d], word embeddings [W, d] -> [B, ..., W], a branch each."""
        return torch.stack(
            [F.linear(branch(h), word_embeddings, self.bias) for branch in self.branches]
        )

    def forward(self, h: Tensor, word_embeddings: Tensor, ensemble: str) -> Tensor:
        """h [..., d] -> log-probabilities [..., W]."""
        logits = self.logits(h, word_embeddings)
        if ensemble == "mean_logit":
            return logits.mean(0).log_softmax(-1)
        if ensemble != "mean_probability":
            raise ValueError(f"ensemble is {ensemble!r}")
        return torch.logsumexp(logits.log_softmax(-1), 0) - math.log(len(logits))
