"""A .lcw model's tensors under a checkpoint's names, so that it can be trained further."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from models.reference.config import Config
from models.reference.lcw import read_lcw
from models.reference.lightcap import LightCap

from ..config import ConfigError


def load_lcw(path: Path) -> tuple[dict[str, Tensor], Config, list[str], list[str]]:
    """State dict, configuration, vocabulary, labels. A norm that the converter folded into its
    convolution comes back as one that only adds the convolution's bias."""
    try:
        model = read_lcw(path)
        config = model.config()
        vocabulary, labels = model.keys["vocabulary"], model.keys["labels"]
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; a .lcw model is wanted") from None
    except Exception as error:  # whatever the reader finds wrong
        raise ConfigError(f"{path}: {error!r}; a .lcw model is wanted") from None
    if model.is_int8:
        raise ConfigError(f"{path} is quantised; the model that it was made of is wanted")
    given = {name: torch.tensor(value, dtype=torch.float32) for name, value in model.tensors.items()}
    state = {}
    for name, shape in ((n, t.shape) for n, t in LightCap(config).state_dict().items()):
        bias = _convolution(name.rpartition(".")[0]) + ".bias"
        if name not in given and bias not in given:
            raise ConfigError(f"{path} has no {name}: a whole .lcw model is wanted")
        state[name] = given[name] if name in given else _of_norm(name, shape, given[bias])
    return state, config, vocabulary, labels


def _of_norm(name: str, shape: torch.Size, bias: Tensor) -> Tensor:
    """A tensor of a folded norm; the bias is its convolution's."""
    owner, _, kind = name.rpartition(".")
    if kind == "bias":
        return bias
    if kind == "running_var":  # with the norm's eps, one
        eps = 1e-3 if owner.startswith("detector.") else 1e-5
        return torch.full(shape, 1 - eps)
    if kind == "weight":
        return torch.ones(shape)
    return torch.zeros(shape, dtype=torch.long if kind == "num_batches_tracked" else torch.float32)


def _convolution(norm: str) -> str:
    """The name of the convolution before a norm."""
    owner, _, last = norm.rpartition(".")
    if last == "bn":
        return f"{owner}.conv"
    if last == "1":  # of a shortcut
        return f"{owner}.0"
    return f"{owner}.conv{last.removeprefix('bn')}"
