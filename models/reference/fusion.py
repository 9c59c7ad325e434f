"""The fusion model: TinyBERT4 over concept, visual and caption tokens (paper, "Fusion")."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CAPTION_TYPE, CONCEPT_TYPE = 0, 1


class VisualProjection(nn.Module):
    """v' [B, C, G, G] -> visual tokens [B, G*G, d], row-major."""

    def __init__(self, channels: int, width: int, eps: float, positions: int = 0) -> None:
        super().__init__()
        self.dense = nn.Linear(channels, width)
        self.LayerNorm = nn.LayerNorm(width, eps=eps)
        self.position = nn.Parameter(torch.zeros(positions, width)) if positions else None

    def forward(self, v: Tensor) -> Tensor:
        x = self.LayerNorm(self.dense(v.flatten(2).transpose(1, 2)))
        return x if self.position is None else x + self.position


class Embeddings(nn.Module):
    def __init__(
        self, vocabulary: int, positions: int, token_types: int, width: int, eps: float
    ) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, width)
        self.position_embeddings = nn.Embedding(positions, width)
        self.token_type_embeddings = nn.Embedding(token_types, width)
        self.LayerNorm = nn.LayerNorm(width, eps=eps)

    def forward(self, tokens: Tensor, positions: Tensor, token_type: int) -> Tensor:
        """tokens [B, n], positions [n] or [B, n] -> [B, n, d]."""
        x = self.word_embeddings(tokens) + self.position_embeddings(positions)
        return self.LayerNorm(x + self.token_type_embeddings.weight[token_type])


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.softmax = nn.Softmax(-1)  # a module, so that a hook sees the scores
        self.heads = heads

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [B, n, d], mask [B, n, n] true where a row may look -> [B, n, d]."""
        b, n, d = x.shape
        q, k, v = (
            f(x).view(b, n, self.heads, -1).transpose(1, 2)
            for f in (self.query, self.key, self.value)
        )
        scores = q @ k.transpose(-1, -2) / (d // self.heads) ** 0.5
        scores = scores.masked_fill(~mask[:, None], float("-inf"))
        return (self.softmax(scores) @ v).transpose(1, 2).reshape(b, n, d)


class Output(nn.Module):
    """LayerNorm(dense(y) + x)."""

    def __init__(self, inputs: int, width: int, eps: float) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, width)
        self.LayerNorm = nn.LayerNorm(width, eps=eps)

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(y) + x)


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, eps: float) -> None:
        super().__init__()
        self.self = SelfAttention(width, heads)
        self.output = Output(width, width, eps)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.output(self.self(x, mask), x)


class Intermediate(nn.Module):
    def __init__(self, width: int, feed_forward: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, feed_forward)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.dense(x))  # the exact one, with erf


class Layer(nn.Module):
    def __init__(self, width: int, heads: int, feed_forward: int, eps: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads, eps)
        self.intermediate = Intermediate(width, feed_forward)
        self.output = Output(feed_forward, width, eps)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.attention(x, mask)
        return self.output(self.intermediate(x), x)


class Encoder(nn.Module):
    def __init__(self, layers: int, width: int, heads: int, feed_forward: int, eps: float) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(width, heads, feed_forward, eps) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for layer in self.layer:
            x = layer(x, mask)
        return x


class Bert(nn.Module):
    """Embeddings and encoder; whole sequences at once, without the engine's cache."""

    def __init__(
        self,
        vocabulary: int,
        positions: int,
        token_types: int,
        width: int,
        layers: int,
        heads: int,
        feed_forward: int,
        caption_slots: int,
        eps: float,
    ) -> None:
        super().__init__()
        self.embeddings = Embeddings(vocabulary, positions, token_types, width, eps)
        self.encoder = Encoder(layers, width, heads, feed_forward, eps)
        self.caption_slots = caption_slots

    def embed_concepts(self, tokens: Tensor) -> Tensor:
        """[B, M] -> [B, M, d]; positions after the caption's."""
        positions = self.caption_slots + torch.arange(tokens.shape[1], device=tokens.device)
        return self.embeddings(tokens, positions, CONCEPT_TYPE)

    def embed_caption(self, tokens: Tensor, first_slot: int = 0) -> Tensor:
        """[B, n] in slots first_slot... -> [B, n, d]."""
        positions = first_slot + torch.arange(tokens.shape[1], device=tokens.device)
        return self.embeddings(tokens, positions, CAPTION_TYPE)

    def predict(
        self,
        prefix: Tensor,
        prefix_mask: Tensor | None,
        caption: Tensor,
        decode: str,
        mask_token: int,
    ) -> Tensor:
        """Teacher forcing: hidden states that predict each next token, [B, n, d].

        prefix [B, P, d], prefix_mask [B, P] (false: padding) or None, caption [B, n] = y[0..n-1]
        with y[0] = [CLS]. Row t of the result predicts y[t+1]. With decode = mask, n more rows hold
        [MASK] in slots 1..n; the one in slot t sees the prefix, y[0..t-1] and itself.
        """
        b, p, _ = prefix.shape
        n = caption.shape[1]
        rows = [prefix, self.embed_caption(caption)]
        if decode == "mask":
            rows.append(self.embed_caption(torch.full_like(caption, mask_token), first_slot=1))
        elif decode != "causal":
            raise ValueError(f"decode is {decode!r}")
        x = torch.cat(rows, 1)
        mask = attention_mask(p, n, decode, x.device)[None].expand(b, -1, -1)
        if prefix_mask is not None:
            keys = torch.cat((prefix_mask, prefix_mask.new_ones(b, x.shape[1] - p)), 1)
            mask = mask & keys[:, None]
        return self.encoder(x, mask)[:, -n:]


def attention_mask(
    prefix: int, caption: int, decode: str, device: torch.device | str = "cpu"
) -> Tensor:
    """The attention mask [rows, rows], True where a row sees another one.

    Rows are the prefix, the caption and, with decode "mask", the [MASK] rows.
    """
    causal = torch.ones(caption, caption, dtype=torch.bool, device=device).tril()
    rows = prefix + caption * (2 if decode == "mask" else 1)
    mask = torch.zeros(rows, rows, dtype=torch.bool, device=device)
    mask[:, :prefix] = True
    mask[prefix : prefix + caption, prefix : prefix + caption] = causal
    if (
        decode == "mask"
    ):  # the [MASK] row of slot t sees slots below t: as many as the row of slot t-1
        mask[prefix + caption :, prefix : prefix + caption] = causal
        mask[prefix + caption :, prefix + caption :] = torch.eye(
            caption, dtype=torch.bool, device=device
        )
    return mask
