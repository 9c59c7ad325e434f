"""The worth of a trained model's parts: captions in PyTorch with a part taken out.

Nothing is trained again. A model that learnt with a part does not show what it would have learnt
without it; the losses here are upper bounds of the part's worth.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.reference.lightcap import Caption, Captioner, Concept, load_captioner
from models.reference.preprocess import read_image

WHOLE = "whole model"
WIDE = 5  # beams
Record = dict[str, Any]


class WithoutConcepts(Captioner):
    """The fusion model and the modulator are told of no concept: [SEP] alone."""

    def concept_tokens(self, labels: list[str]) -> list[int]:
        return super().concept_tokens([])


@contextmanager
def gate_open(model: nn.Module) -> Iterator[None]:
    """The modulator lets every channel through as it is."""

    def forget(_: nn.Module, given: tuple[Tensor, Tensor], made: tuple[Tensor, Tensor]):
        return given[0], torch.ones_like(made[1])

    hook = model.modulator.register_forward_hook(forget)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def one_branch(model: nn.Module, index: int) -> Iterator[None]:
    """The head is one of its branches."""
    branches = model.head.branches
    model.head.branches = nn.ModuleList([branches[index]])
    try:
        yield
    finally:
        model.head.branches = branches


def caption_all(captioner: Captioner, path: Path) -> dict[str, Record]:
    """One picture's record by ablation; the way to the prefix is gone once where it is the same."""
    pixels = read_image(path)
    model = captioner.model
    blind = WithoutConcepts(model, captioner.text, captioner.labels)

    def record(prefix: Tensor, concepts: list[Concept], beams: int = 1) -> Record:
        best, _ = captioner.decode(prefix, beams)
        caption = Caption(captioner.text.decode(best.tokens), best.score, best.tokens, concepts)
        fields = asdict(caption)
        del fields["trace"]
        return {"image": str(path)} | fields

    prefix, concepts, _ = captioner.look(pixels)
    records = {WHOLE: record(prefix, concepts), f"{WIDE} beams": record(prefix, concepts, WIDE)}
    for i in range(len(model.head.branches)):
        with one_branch(model, i):
            records[f"branch {i} alone"] = record(prefix, concepts)
    with gate_open(model):
        records["no modulator (gate 1)"] = record(*captioner.look(pixels)[:2])
    records["no concepts"] = record(*blind.look(pixels)[:2])
    with gate_open(model):
        records["no concepts, no modulator"] = record(*blind.look(pixels)[:2])
    return records


_captioner: Captioner


def _load(files: tuple[str, ...]) -> None:
    global _captioner
    torch.set_num_threads(1)
    _captioner = load_captioner(*files)


@torch.inference_mode()
def _caption_all(path: Path) -> dict[str, Record]:
    return caption_all(_captioner, path)


def run(
    files: tuple[str, ...],
    pictures: list[Path],
    workers: int,
    progress: Callable[[int], None] = lambda _: None,
) -> dict[str, dict[str, Record]]:
    """Records by ablation and file name; `files` are load_captioner's arguments."""
    found: dict[str, dict[str, Record]] = {}
    # Not forked: a forked child would share the threads that PyTorch may have started.
    with multiprocessing.get_context("spawn").Pool(workers, _load, (files,)) as pool:
        for i, (path, records) in enumerate(zip(pictures, pool.imap(_caption_all, pictures))):
            for name, record in records.items():
                found.setdefault(name, {})[path.name] = record
            progress(i + 1)
    return found
