"""The fusion part of a LightCap in training: dropout, other attention, and what a student copies."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.reference.fusion import Bert, attention_mask
from models.reference.lightcap import LightCap

TRAINED = ("modulator", "visual_projection", "bert", "head")


def trained_part(model: LightCap) -> nn.ModuleDict:
    """The blocks behind the frozen ones."""
    return nn.ModuleDict({name: getattr(model, name) for name in TRAINED})


def freeze(model: nn.Module) -> nn.Module:
    return model.requires_grad_(False).eval()


def initialise(model: nn.Module, std: float) -> None:
    """BERT's: normal matrices, neutral norms, no biases."""
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=std)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def add_dropout(model: LightCap, share: float) -> None:
    """BERT's places: embeddings, visual tokens, attention's weights, both dense layers. The reference's
    modules stay as they are: hooks change what they return while the model trains."""

    def drop(module: nn.Module, _: tuple[Tensor, ...], out: Tensor) -> Tensor | None:
        return F.dropout(out, share) if module.training else None

    places = [model.bert.embeddings, model.visual_projection]
    for layer in model.bert.encoder.layer:
        places += [layer.attention.self.softmax, layer.attention.output.dense, layer.output.dense]
    if share > 0:
        for place in places:
            place.register_forward_hook(drop)


class Watch:
    """Attention's scores of every layer, and hidden states before and after each, of the last pass."""

    def __init__(self, bert: Bert) -> None:
        self.scores: list[Tensor] = []
        self.hidden: list[Tensor] = []
        bert.encoder.register_forward_pre_hook(self._begin)
        for layer in bert.encoder.layer:
            layer.attention.self.softmax.register_forward_pre_hook(
                lambda _, given: self.scores.append(given[0]))  # fmt: skip
            layer.register_forward_hook(lambda _, __, out: self.hidden.append(out))

    def _begin(self, _: nn.Module, given: tuple[Tensor, ...]) -> None:
        self.scores, self.hidden = [], [given[0]]


def hidden_states(model: LightCap, prefix: Tensor, seen: Tensor, caption: Tensor, filled: Tensor,
                  attention: str, mask_token: int) -> Tensor:  # fmt: skip
    """The caption's hidden states [B, n, d]. prefix [B, P, d] with seen [B, P], caption [B, n] with
    filled [B, n]. Attention "causal" or "bidirectional" sees the caption's tokens so; "decoding" has
    row t predict token t + 1 as decoding does."""
    if attention == "decoding":
        return model.bert.predict(prefix, seen, caption, model.config.fusion.decode, mask_token)
    p, n = prefix.shape[1], caption.shape[1]
    mask = attention_mask(p, n, "causal", prefix.device)
    keys = seen
    if attention == "bidirectional":
        mask[p:] = True
        keys = torch.cat((seen, filled), 1)
    elif attention == "causal":
        keys = torch.cat((seen, torch.ones_like(filled)), 1)
    else:
        raise ValueError(f"attention is {attention!r}")
    x = torch.cat((prefix, model.bert.embed_caption(caption)), 1)
    return model.bert.encoder(x, mask & keys[:, None])[:, p:]


def prefix_of(model: LightCap, v: Tensor, concepts: Tensor, pad: int, sep: int) -> tuple[Tensor, Tensor]:
    """v [B, C, G, G], concept ids [B, M] with [SEP] and [PAD] -> prefix [B, P, d], its mask [B, P]."""
    filled = concepts != pad
    modulated, _ = model.modulate(v, concepts, filled & (concepts != sep))
    prefix = model.prefix(modulated, concepts)
    visual = filled.new_ones(len(v), prefix.shape[1] - concepts.shape[1])
    return prefix, torch.cat((filled, visual), 1)
