"""Files that a run leaves: whole or not there, whatever moment it is killed at."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from models.reference.config import Config
from models.reference.lightcap import LightCap

from .config import ConfigError

MODEL = "model.pt"
PROGRESS = "progress.json"
# The hyper-parameters that lightcap-convert takes as --config: sizes are read off the tensors.
HYPER = {
    "image_encoder": ("image_size", "resize", "mean", "std"),
    "detector": ("image_size", "confidence_threshold", "iou_threshold", "max_proposals"),
    "concept_extractor": ("roi_size", "sampling_ratio", "deduplicate"),
    "fusion": ("heads", "caption_slots", "max_concept_tokens", "layer_norm_eps", "decode"),
    "head": ("ensemble",),
}


def save(path: Path, value: Any) -> None:
    """By torch.save, under another name first."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        torch.save(value, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def write_text(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def export(folder: Path, model: LightCap, vocabulary: list[str], labels: list[str], step: int,
           steps: int) -> None:  # fmt: skip
    """The files that lightcap-convert takes as --lightcap, --vocab, --concepts and --config, and how far the
    stage is."""
    folder.mkdir(parents=True, exist_ok=True)
    blocks = asdict(model.config)
    hyper = {block: {name: blocks[block][name] for name in names} for block, names in HYPER.items()}
    write_text(folder / "config.json", json.dumps(hyper, indent=2) + "\n")
    write_text(folder / "vocab.txt", "".join(f"{token}\n" for token in vocabulary))
    write_text(folder / "labels.txt", "".join(f"{label}\n" for label in labels))
    state = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    save(folder / MODEL, state)
    write_text(folder / PROGRESS, json.dumps({"step": step, "steps": steps}))


def exported(folder: Path, stage: str) -> LightCap:
    """The model of an export; `stage` is what makes it. One that is not trained to its end is refused."""
    if not (folder / MODEL).exists() or not (folder / PROGRESS).exists():
        raise ConfigError(f"{folder / MODEL} is not there: run the stage {stage} first")
    progress = json.loads((folder / PROGRESS).read_text())
    if progress["step"] < progress["steps"]:
        raise ConfigError(f"{folder / MODEL} is at step {progress['step']} of {progress['steps']}: run the stage"
                          f" {stage} to its end first")  # fmt: skip
    state = torch.load(folder / MODEL, map_location="cpu", weights_only=True)
    return LightCap.from_state_dict(state, Config.from_file(folder / "config.json"))
