"""A YOLOv5 checkpoint as a class-agnostic detector."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from models.reference.ultralytics import load_yolo

from ..config import ConfigError

SURE = 10.0  # a logit: of a thing's being a thing once it is one


def load_detector(path: Path) -> dict[str, Tensor]:
    """LightCap's names, one class. Its classes go: the score is objectness alone."""
    if not path.is_file():
        raise ConfigError(f"{path} is not there: Ultralytics' yolov5n.pt is wanted")
    try:
        state = load_yolo(path)
    except Exception as error:  # whatever pickle finds wrong
        raise ConfigError(f"{path} is no YOLOv5 checkpoint of Ultralytics: {error}") from None
    head = "detector.model.24."
    scales = [f"m.{scale}.{name}" for scale in range(3) for name in ("weight", "bias")]
    missing = [name for name in ("anchors", *scales) if head + name not in state]
    if missing:
        raise ConfigError(f"{path} has no {', '.join(head + name for name in missing)}: a YOLOv5 detector is wanted")
    state.pop(head + "anchor_grid", None)
    anchors = state[head + "anchors"].shape[1]
    for scale in range(3):
        for name, sure in (("weight", 0.0), ("bias", SURE)):
            value = state[f"{head}m.{scale}.{name}"]
            rows = value.unflatten(0, (anchors, -1))[:, :6].clone()
            rows[:, 5] = sure
            state[f"{head}m.{scale}.{name}"] = rows.flatten(0, 1)
    return {name: value for name, value in state.items() if torch.is_tensor(value)}
