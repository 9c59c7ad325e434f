"""Tensors of Ultralytics' checkpoints, which are pickled modules, without Ultralytics' code."""

from __future__ import annotations

import collections
import pickle
import types
from pathlib import Path

import torch
from torch import Tensor

# The classes that make tensors; every other class becomes an inert one.
HARMLESS = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch", "Size"): torch.Size,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
}


class Inert:
    """Stands for an object of any class: takes its arguments and attributes, does nothing."""

    def __init__(self, *args: object) -> None:
        pass


class Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        return HARMLESS.get((module, name)) or type(name, (Inert,), {})


def _tensors(module: Inert, prefix: str, found: dict[str, Tensor]) -> dict[str, Tensor]:
    """As module.state_dict(prefix=prefix), from the dictionaries that every torch.nn.Module has."""
    attributes = vars(module)
    for name, tensor in (attributes["_parameters"] | attributes["_buffers"]).items():
        if tensor is not None:
            found[prefix + name] = tensor.detach().float()
    for name, child in attributes["_modules"].items():
        _tensors(child, f"{prefix}{name}.", found)
    return found


def load_yolo(path: Path | str) -> dict[str, Tensor]:
    """fp32 tensors of a YOLOv5 checkpoint under a whole LightCap's names: detector.model.0..."""
    module = types.SimpleNamespace(Unpickler=Unpickler, load=None, __name__="inert")
    file = torch.load(path, map_location="cpu", pickle_module=module, weights_only=False)
    return _tensors(file.get("ema") or file["model"], "detector.", {})
