"""A BERT in Hugging Face's layout: config.json, vocab.txt, model.safetensors or pytorch_model.bin."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.reference.text import read_lines

from ..config import ConfigError
from .coco import fields, read_json

KEPT = ("embeddings.word_embeddings.", "embeddings.position_embeddings.",
        "embeddings.token_type_embeddings.", "embeddings.LayerNorm.", "encoder.layer.")  # fmt: skip


@dataclass
class Bert:
    state: dict[str, Tensor]  # LightCap's names
    heads: int
    vocabulary: list[str]


def load_bert(folder: Path) -> Bert:
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder: BERT's config.json, vocab.txt and model.safetensors are"
                          " wanted in one")  # fmt: skip
    about = read_json(folder / "config.json", "BERT's config.json")
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads")
    width, layers, heads = fields(about, names, folder / "config.json", "it")
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
    words = len(state["bert.embeddings.word_embeddings.weight"])
    if len(vocabulary) != words:
        raise ConfigError(f"{folder / 'vocab.txt'} has {len(vocabulary)} tokens, the word embedding {words}")
    return Bert(state, heads, vocabulary)


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


def _check(folder: Path, state: dict[str, Tensor], width: int, layers: int, heads: int) -> None:
    last = f"bert.encoder.layer.{layers - 1}.output.dense.weight"
    for name in ("bert.embeddings.word_embeddings.weight", "bert.embeddings.position_embeddings.weight",
                 "bert.embeddings.token_type_embeddings.weight", last):  # fmt: skip
        if name not in state:
            raise ConfigError(f"{folder}: its tensors lack {name}, by config.json's {layers} layers")
    if state[last].shape[0] != width or width % heads:
        raise ConfigError(f"{folder}: config.json says hidden_size {width} and {heads} heads, the tensors are"
                          f" {state[last].shape[0]} wide")  # fmt: skip
