"""A BERT in Hugging Face's layout: config.json, vocab.txt, model.safetensors or pytorch_model.bin."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.reference import fusion
from models.reference.text import read_lines

from ..config import ConfigError, listed
from .coco import fields, read_json

KEPT = ("embeddings.word_embeddings.", "embeddings.position_embeddings.",
        "embeddings.token_type_embeddings.", "embeddings.LayerNorm.", "encoder.layer.")  # fmt: skip


@dataclass
class Bert:
    state: dict[str, Tensor]  # LightCap's names
    heads: int
    layer_norm_eps: float
    vocabulary: list[str]


def load_bert(folder: Path) -> Bert:
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder: BERT's config.json, vocab.txt and model.safetensors are"
                          " wanted in one")  # fmt: skip
    about = read_json(folder / "config.json", "BERT's config.json")
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads")
    width, layers, heads = sizes = fields(about, names, folder / "config.json", "it")
    eps = about.get("layer_norm_eps", 1e-12)
    if not all(type(size) is int and size > 0 for size in sizes):
        raise ConfigError(f"{folder / 'config.json'}: {', '.join(names)} are {sizes}: numbers from 1 are wanted")
    if not isinstance(eps, float) or not 0 < eps < 1:
        raise ConfigError(f"{folder / 'config.json'}: layer_norm_eps is {eps!r}: a small number is wanted")
    for key, wanted in (("hidden_act", "gelu"), ("position_embedding_type", "absolute")):
        if about.get(key, wanted) != wanted:
            raise ConfigError(f"{folder / 'config.json'}: {key} is {about[key]!r}: the graph has {wanted!r}")
    state = {}
    for name, value in _tensors(folder).items():
        name = name.removeprefix("bert.").replace("LayerNorm.gamma", "LayerNorm.weight")
        if name.startswith(KEPT):
            state["bert." + name.replace("LayerNorm.beta", "LayerNorm.bias")] = value.float()
    _check(folder, state, width, layers, heads)
    try:
        vocabulary = read_lines(folder / "vocab.txt")
    except OSError as error:
        raise ConfigError(f"{folder / 'vocab.txt'}: {error.strerror}; a token a line is wanted") from None
    capitals = [token for token in vocabulary if token != token.lower() and not token.startswith("[")]
    if capitals:
        raise ConfigError(f"{folder / 'vocab.txt'} has {len(capitals)} tokens with capitals, {capitals[0]} among"
                          " them: an uncased BERT is wanted, as captions are in lower case")  # fmt: skip
    words = len(state["bert.embeddings.word_embeddings.weight"])
    if len(vocabulary) != words:
        raise ConfigError(f"{folder / 'vocab.txt'} has {len(vocabulary)} tokens, the word embedding {words}")
    return Bert(state, heads, eps, vocabulary)


def _tensors(folder: Path) -> dict[str, Tensor]:
    path = folder / "model.safetensors"
    try:
        if path.exists():
            from safetensors.torch import load_file

            return load_file(path)
        path = folder / "pytorch_model.bin"
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ConfigError(f"{folder} has neither model.safetensors nor pytorch_model.bin that can be read:"
                          f" {error}") from None  # fmt: skip
    except Exception as error:  # whatever the readers find wrong
        raise ConfigError(f"{path} is damaged: {error}") from None


def _names(layers: int) -> list[str]:
    """The tensors of a BERT of so many layers."""
    with torch.device("meta"):
        return [f"bert.{name}" for name in fusion.Bert(1, 1, 1, 1, layers, 1, 1, 1, 1e-12).state_dict()]


def _check(folder: Path, state: dict[str, Tensor], width: int, layers: int, heads: int) -> None:
    wanted = _names(layers)
    missing = [name for name in wanted if name not in state]
    if missing:
        raise ConfigError(f"{folder}: its tensors lack {listed(missing)}, by config.json's {layers} layers")
    surplus = sorted(state.keys() - set(wanted))
    if surplus:
        raise ConfigError(f"{folder}: its tensors have {listed(surplus)}, which a BERT of config.json's"
                          f" {layers} layers has not")  # fmt: skip
    last = state[f"bert.encoder.layer.{layers - 1}.output.dense.weight"]
    if last.shape[0] != width or width % heads:
        raise ConfigError(f"{folder}: config.json says hidden_size {width} and {heads} heads, the tensors are"
                          f" {last.shape[0]} wide")  # fmt: skip
