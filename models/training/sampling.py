"""Captions of many pictures at once, word by word, with the keys and values of what went before kept."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from models.reference.decoder import Special
from models.reference.fusion import Layer
from models.reference.lightcap import LightCap

Choose = Callable[[Tensor], Tensor]  # log-probabilities [B, W] -> tokens [B]


def best(log_probabilities: Tensor) -> Tensor:
    return log_probabilities.argmax(-1)


def drawn(log_probabilities: Tensor) -> Tensor:
    return torch.multinomial(log_probabilities.exp(), 1)[:, 0]


class _Cache:
    """One layer's keys and values [B, H, n, d / H], and which of them are padding."""

    def __init__(self, layer: Layer) -> None:
        self.layer, self.heads = layer, layer.attention.self.heads
        self.key: Tensor | None = None
        self.value: Tensor | None = None

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor, mask: Tensor, keep: int) -> Tensor:
        """x [B, n, d] behind what is kept, mask [B, n, kept + n] -> [B, n, d]; keeps its first rows."""
        own = self.layer.attention.self
        q, k, v = (self._split(f(x)) for f in (own.query, own.key, own.value))
        if self.key is not None:
            k, v = torch.cat((self.key, k), 2), torch.cat((self.value, v), 2)
        last = k.shape[2] - x.shape[1] + keep
        self.key, self.value = k[:, :, :last], v[:, :, :last]
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        scores = scores.masked_fill(~mask[:, None], float("-inf"))
        y = (own.softmax(scores) @ v).transpose(1, 2).flatten(2)
        x = self.layer.attention.output(y, x)
        return self.layer.output(self.layer.intermediate(x), x)


def allowed(log_probabilities: Tensor, special: Special, temperature: float = 1.0) -> Tensor:
    """The distribution over the words that may be generated."""
    never = torch.tensor(special.never(), device=log_probabilities.device)
    return (log_probabilities / temperature).index_fill(-1, never, float("-inf")).log_softmax(-1)


@torch.no_grad()
def generate(model: LightCap, prefix: Tensor, seen: Tensor, special: Special, choose: Choose,
             temperature: float = 1.0) -> Tensor:  # fmt: skip
    """Tokens [B, n], n at most the slots less one, [SEP] included, [PAD] behind it. prefix [B, P, d],
    seen [B, P]."""
    fusion, caches = model.config.fusion, [_Cache(layer) for layer in model.bert.encoder.layer]
    x = prefix
    for cache in caches:
        x = cache.forward(x, seen[:, None].expand(-1, x.shape[1], -1), x.shape[1])
    last = torch.full((len(prefix),), special.cls, device=prefix.device)
    alive, said = torch.ones_like(last, dtype=torch.bool), []
    for slot in range(1, fusion.caption_slots):
        rows = [model.bert.embed_caption(last[:, None], slot - 1)]
        if fusion.decode == "mask":
            rows.append(model.bert.embed_caption(torch.full_like(last[:, None], special.mask), slot))
        x = torch.cat(rows, 1)
        # Each row sees the prefix, the words before it and itself: the word's row not [MASK]'s.
        own = torch.ones(len(rows), slot - 1 + len(rows), dtype=torch.bool, device=x.device).tril(slot - 1)
        mask = torch.cat((seen[:, None].expand(-1, len(rows), -1), own.expand(len(x), -1, -1)), 2)
        for cache in caches:
            x = cache.forward(x, mask, 1)
        words = model.head(x[:, -1], model.word_embeddings, model.config.head.ensemble)
        last = torch.where(alive, choose(allowed(words.float(), special, temperature)), special.pad)
        said.append(last)
        alive &= last != special.sep
        if not alive.any():
            break
    return torch.stack(said, 1)
