"""A run's folder: what its stages share."""

from __future__ import annotations

import copy
import hashlib
import os
from collections import Counter
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.reference.lightcap import LightCap

from . import assembly, checkpoints
from .assembly import FROZEN, Start
from .config import ConfigError, TrainingConfig
from .examples import Examples
from .features import Extraction, Features, fill, fingerprint
from .loop import World, wait_for_all
from .sources import Pictures, Reader, before_comma, check_share, open_pictures

BATCH = 256  # pictures whose concepts are looked for at once


class Run:
    def __init__(self, config: TrainingConfig, out: Path, world: World, variant: str = "",
                 stop_after: int | None = None) -> None:  # fmt: skip
        self.config, self.out, self.world = config, out, world
        self.variant, self.stop_after = variant, stop_after
        # By name: reading the directories of many shards takes minutes, as does looking through all pictures.
        self._pictures: dict[str, Pictures] = {}
        self._features: dict[str, Features] = {}

    @cached_property
    def inputs(self) -> Start:
        """The files that people have, and the stage encoder's where they have no image encoder."""
        begin = assembly.start(self.config)
        if "image_encoder.conv1.weight" not in begin.state:
            blocks = ("image_encoder.", "concept_extractor.")
            begin = self._with(begin, self.out / "encoder", "encoder", blocks)
        return begin

    @cached_property
    def seeing(self) -> Start:
        """The inputs with the detector that stage 1 trained, and the concepts' names."""
        begin = self.inputs
        if self.config.concepts.train_detector:
            begin = self._with(begin, self.out / "detector", "concepts", ("detector.",))
        elif "detector.model.0.conv.weight" not in begin.state:
            raise ConfigError("inputs.detector is not given, nor concepts.train_detector true: yolov5n.pt is"
                              " wanted, or a detector made from nothing")  # fmt: skip
        labels = begin.labels or self._commonest()
        config = copy.deepcopy(begin.config)
        config.concept_extractor.vocabulary = len(labels)
        return replace(begin, config=config, labels=labels)

    @cached_property
    def begin(self) -> Start:
        """The inputs with the frozen blocks as stage 1 left them."""
        folder = self.out / "concepts"
        begin = self._with(self.inputs, folder, "concepts", FROZEN)
        labels = (folder / "labels.txt").read_text(encoding="utf-8").splitlines()
        return replace(begin, labels=labels)

    def _with(self, begin: Start, folder: Path, stage: str, blocks: tuple[str, ...]) -> Start:
        """A start with these blocks from an export."""
        model = checkpoints.exported(folder, stage)
        state = {name: value for name, value in begin.state.items() if not name.startswith(blocks)}
        state |= {name: value for name, value in model.state_dict().items() if name.startswith(blocks)}
        parts = {block.rstrip("."): getattr(model.config, block.rstrip(".")) for block in blocks}
        return replace(begin, state=state, config=replace(begin.config, **parts))

    def _commonest(self) -> list[str]:
        """The names that regions have most often."""
        pictures = self.pictures("regions")
        objects = (name for i in range(len(pictures)) for name, _ in pictures[i].objects)
        counts = Counter(name for name in map(before_comma, objects) if name)
        # Equally common ones are in the order of the alphabet, so that a run repeats.
        names = sorted(counts, key=lambda name: (-counts[name], name))[: self.config.concept_count]
        if not names:
            raise ConfigError("regions: no picture has an object")
        return names

    def pictures(self, name: str) -> Pictures:
        if name not in self._pictures:
            self._pictures[name] = open_pictures(self.specs(name), Path(self.config.folder), name)
        return self._pictures[name]

    def reader(self, name: str) -> Reader:
        return Reader(self.pictures(name), self.config.bad_pictures)

    def folder(self, stage: str) -> Path:
        """A student's stage may have variants beside each other."""
        return self.out / (f"{stage}-{self.variant}" if self.variant else stage)

    def export(self, folder: Path, model: LightCap, begin: Start, step: int, steps: int) -> None:
        if self.world.first:
            checkpoints.export(folder, model, begin.vocabulary, begin.labels, step, steps)
        wait_for_all(self.world)

    def specs(self, name: str) -> list[dict[str, Any]]:
        return getattr(self.config, name) or (self.config.captions if name == "pretraining" else [])

    def features_folder(self, name: str) -> Path:
        """The cache of the pictures listed under this name; one serves two names of the same pictures."""
        same = [n for n in ("captions", "pretraining", "regions") if self.specs(n) == self.specs(name)]
        return self.out / "features" / same[0]

    def features(self, name: str) -> Features:
        """The cache of the pictures listed under this name; made by all processes where it is not whole."""
        if name not in self._features:
            self._features[name] = self._filled(name)
        return self._features[name]

    def _filled(self, name: str) -> Features:
        begin, reader = self.seeing, self.reader(name)
        model, text = assembly.assemble(begin, 0.02, 0), assembly.text_of(begin)
        mark = fingerprint(model, reader.pictures, [text.vocabulary, begin.labels, self.config.captions_each])
        return fill(self.features_folder(name), reader, Extraction(model, text, self.world.device), begin.labels,
                    self.config.captions_each, mark, self.world)  # fmt: skip

    def examples(self, name: str) -> Examples:
        """Cached pictures and the concepts that the trained extractor says of them."""
        features, model = self.features(name), assembly.assemble(self.begin, 0.02, 0)
        text = assembly.text_of(self.begin)
        said = said_of(self.out / "concepts" / f"said-{name}.npz", features, model, self.world)
        examples = Examples(features, said, self.begin.labels, text, model, self.world.device, self.pictures(name))
        silent = np.flatnonzero((features.weights != 0) & (examples.weights == 0))
        if len(silent):
            check_share(len(silent), len(features), self.config.bad_pictures,
                        f"of {name} have no caption, the {silent[0]}th among them")  # fmt: skip
        return examples


@torch.inference_mode()
def said_of(path: Path, features: Features, model: LightCap, world: World) -> np.ndarray:
    """Each proposal's label [N, K], -1 behind the last one; made once for an extractor and features."""
    digest = hashlib.sha256(features.mark.encode())
    for tensor in model.concept_extractor.state_dict().values():
        digest.update(tensor.cpu().numpy().tobytes())
    mark = digest.hexdigest()
    if world.first and not _is_of(path, mark):
        extractor = model.concept_extractor.to(world.device).eval()
        said = np.full(features.proposals.shape[:2], -1, np.int32)
        for at in range(0, len(features), BATCH):
            rows = np.arange(at, min(at + BATCH, len(features)))
            counts = features.proposed[rows]
            boxes = np.concatenate([features.proposals[row, :n] for row, n in zip(rows, counts)])
            images = torch.from_numpy(np.repeat(np.arange(len(rows)), counts)).to(world.device)
            _, similarity = extractor(features.grid(rows, world.device),
                                      torch.from_numpy(boxes).to(world.device), images)  # fmt: skip
            labels = similarity.argmax(1).int().cpu().numpy()
            said[np.repeat(rows, counts), np.concatenate([np.arange(n) for n in counts])] = labels
        part = path.with_suffix(f".{os.getpid()}")
        with part.open("wb") as file:
            np.savez(file, said=said, mark=mark)
        part.replace(path)
    wait_for_all(world)
    with np.load(path) as kept:
        return kept["said"]


def _is_of(path: Path, mark: str) -> bool:
    if not path.exists():
        return False
    with np.load(path) as kept:
        return str(kept["mark"]) == mark
