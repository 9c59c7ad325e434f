"""All stages at full size on random features of COCO's shape, a few steps each: what a machine makes of them.

python -m models.training.dry [--config C.json] [--batch N] [--steps 10] [--out DRY.json]
Nothing is read but the configuration, whose inputs are not: weights are random, the teachers BERT-base.
Each stage runs in a process of its own, so that its peak of memory is its own.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.reference.lightcap import LightCap
from models.reference.text import SPECIAL, WordPiece

from . import loop
from .cider import CiderD, Frequencies
from .cider_task import CiderTask
from .config import Schedule, TrainingConfig, load
from .distillation import Teaching
from .examples import Examples
from .features import Extraction, Features, fill
from .fusion import TRAINED, initialise
from .regions import DetectorTask, ExtractorTask
from .sources import Picture, Reader
from .tasks import CaptioningTask, PretrainingTask

BERT_BASE = {"fusion": {"width": 768, "layers": 12, "heads": 12, "feed_forward": 3072}}
PICTURES, FEW = 123_287, 256  # COCO's, and how many different ones are made up
OBJECTS = 20  # a picture's, as Visual Genome has them
WORDS = 11  # of a caption


class RandomFeatures(Features):
    """Features of COCO's shape: FEW pictures over and over."""

    def grid(self, rows: np.ndarray, device: torch.device) -> Tensor:
        return super().grid(rows % FEW, device)


def random_features(model: LightCap, seed: int) -> RandomFeatures:
    rng, config = np.random.default_rng(seed), model.config
    side, most = config.image_encoder.grid, config.detector.max_proposals
    low = rng.uniform(0, config.image_encoder.image_size * 0.6, (FEW * OBJECTS, 2))
    sides = rng.uniform(16, config.image_encoder.image_size * 0.4, (FEW * OBJECTS, 2))
    words = rng.integers(len(SPECIAL), config.fusion.vocabulary, (FEW, 5, config.fusion.caption_slots))
    words[:, :, 0] = 2  # [CLS]
    words[:, :, WORDS], words[:, :, WORDS + 1 :] = 3, 0  # [SEP], [PAD]
    grids = np.abs(rng.standard_normal((FEW, side * side, config.image_encoder.channels), np.float32))
    objects = {"boxes": np.concatenate((low, low + sides), 1).astype("<f4"),
               "labels": rng.integers(0, config.concept_extractor.vocabulary, FEW * OBJECTS),
               "rows": np.repeat(np.arange(FEW), OBJECTS)}  # fmt: skip
    repeat = np.arange(PICTURES) % FEW
    return RandomFeatures(
        grids.astype("<f2"), np.zeros((PICTURES, most, 4), "<f4"), np.full(PICTURES, most),
        words[repeat].astype("<i4"), np.ones(PICTURES, "<f4"), objects,
        [], side, "")  # fmt: skip


class RandomPictures:
    """A JPEG of COCO's usual size, soft noise of some 100 KB that is decoded each time, with boxes."""

    def __init__(self, count: int = PICTURES) -> None:
        self.count = count
        rng = np.random.default_rng(1)
        soft = Image.fromarray(rng.integers(0, 256, (60, 80, 3), np.uint8)).resize((640, 480))
        grain = rng.integers(-6, 7, (480, 640, 3))
        file = io.BytesIO()
        Image.fromarray((np.asarray(soft) + grain).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
        self.file = file.getvalue()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> Picture:
        boxes = [("thing", (40.0 * k, 30.0, 40.0 * k + 60, 130.0)) for k in range(10)]
        return Picture(str(i), ["a thing beside other things"] * 5, boxes)

    def pixels(self, i: int) -> np.ndarray:
        with Image.open(io.BytesIO(self.file)) as image:
            return np.asarray(image.convert("RGB"))


class Timed:
    """A task that notes when its steps begin: two are left out, the first, which allocates what the others use
    again, and the last, whose end saves the state."""

    def __init__(self, task: loop.Task, device: torch.device) -> None:
        self.task, self.device = task, device
        self.module, self.weights, self.notes = task.module, task.weights, task.notes
        self.begun: list[tuple[float, float]] = []  # in seconds, and in those of all processors together

    def losses(self, rows: np.ndarray, rng: np.random.Generator) -> dict[str, Tensor]:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.begun.append((time.perf_counter(), time.process_time()))
        return self.task.losses(rows, rng)

    def spent(self) -> tuple[float, float]:
        """Between the second step's beginning and the last one's."""
        (begin, busy), (end, then) = self.begun[1], self.begun[-1]
        return end - begin, then - busy


class Dry:
    """A configuration's stages on what is made up."""

    def __init__(self, config: TrainingConfig, batch: int | None) -> None:
        self.config, self.batch = config, batch
        self.world = loop.world(config)
        size = config.model_config().fusion.vocabulary
        self.text = WordPiece([*SPECIAL, *(f"w{i}" for i in range(size - len(SPECIAL)))])

    def model(self, teacher: bool = False) -> LightCap:
        torch.manual_seed(1)
        config = self.config.model_config(BERT_BASE | self.config.teachers.model if teacher else None)
        config.head.branches = 1 if teacher else config.head.branches
        model = LightCap(config)
        for block in TRAINED:
            initialise(getattr(model, block), self.config.initial_std)
        return model

    def schedule(self, schedule: Schedule) -> Schedule:
        return replace(schedule, batch=self.batch or schedule.batch, steps=schedule.steps or 1000)

    def examples(self, model: LightCap) -> Examples:
        features = random_features(model, 1)
        said = np.random.default_rng(2).integers(0, 1600, (PICTURES, model.config.detector.max_proposals))
        labels = [f"w{i} w{i + 1}" for i in range(1600)]
        said_of_them = [Picture("", [self.text.decode(ids.tolist()) for ids in features.captions[row]])
                        for row in range(FEW)] * -(-PICTURES // FEW)  # fmt: skip
        return Examples(features, said, labels, self.text, model, self.world.device, said_of_them)

    def teaching(self, model: LightCap, distilled: Any) -> Teaching:
        return Teaching(model, [self.model(teacher=True) for _ in range(self.config.teachers.count)], distilled)

    def task(self, stage: str) -> tuple[loop.Task, Schedule]:
        config, model = self.config, self.model(teacher=stage.startswith("teacher"))
        settings = {"detector": config.concepts, "concepts": config.concepts, "pretrain": config.pretrain,
                    "teacher, pre-training": config.teachers.pretraining, "caption": config.caption,
                    "teacher, captioning": config.teachers.captioning, "cider": config.cider}[stage]  # fmt: skip
        schedule = self.schedule(config.concepts.detector if stage == "detector" else settings.schedule)
        if stage == "detector":
            return DetectorTask(model, Reader(RandomPictures(), 0), self.world), schedule
        if stage == "concepts":
            return ExtractorTask(model, random_features(model, 1), self.world, settings), schedule
        examples = self.examples(model)
        if stage == "cider":
            scorer = CiderD(Frequencies.of(map(examples.references, range(FEW))))
            return CiderTask(model, examples, self.world, settings, scorer), schedule
        kind = PretrainingTask if "pre" in stage else CaptioningTask
        teaching = self.teaching(model, settings.distilled) if stage in ("pretrain", "caption") else None
        return kind(model, examples, self.world, settings, teaching), schedule

    def trained(self, stage: str, steps: int) -> tuple[int, int, float, float]:
        """Parameters, batch, seconds and processors' seconds of so many steps."""
        task, schedule = self.task(stage)
        timed = Timed(task, self.world.device)
        schedule = replace(schedule, save_every=1 << 40, log_every=1 << 40)
        with tempfile.TemporaryDirectory() as folder:
            loop.run(timed, schedule, Path(folder), self.world, 2 + steps)
        parameters = sum(p.numel() for p in task.module.parameters() if p.requires_grad)
        return parameters, schedule.batch, *timed.spent()

    def extracted(self, steps: int) -> tuple[int, int, float, float]:
        """The same for the features, a step being a batch of pictures from their files to the disk."""
        batch, extraction = self.batch or 64, Extraction(self.model(), self.text, self.world.device)
        with tempfile.TemporaryDirectory() as folder:
            fill(Path(folder) / "first", Reader(RandomPictures(batch), 0), extraction, [], 5, "", self.world)
            begin, busy = time.perf_counter(), time.process_time()
            fill(Path(folder) / "features", Reader(RandomPictures(batch * steps), 0), extraction, [], 5, "", self.world)
            return 0, batch, time.perf_counter() - begin, time.process_time() - busy

    def measure(self, stage: str, steps: int) -> dict[str, Any]:
        measured = self.extracted(steps) if stage == "features" else self.trained(stage, steps)
        parameters, batch, seconds, busy = measured
        return {"stage": stage, "device": str(self.world.device), "threads": torch.get_num_threads(),
                "trained parameters": parameters, "batch": batch, "steps": steps,
                "steps a second": steps / seconds, "CPU seconds a step": busy / steps,
                "peak bytes": loop.peak_bytes(self.world.device)}  # fmt: skip


STAGES = ("detector", "features", "concepts", "teacher, pre-training", "teacher, captioning", "pretrain", "caption",
          "cider")  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="models.training.dry", description=__doc__)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--batch", type=int, help="another one than the configuration's, for small machines")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--stage", choices=STAGES, help="this one alone, in this process")
    args = parser.parse_args()
    if args.stage:
        config = load(args.config) if args.config else TrainingConfig()
        print(json.dumps(Dry(config, args.batch).measure(args.stage, args.steps)))
        return 0
    rows = []
    for stage in STAGES:
        done = subprocess.run([sys.executable, "-m", "models.training.dry", "--stage", stage, *sys.argv[1:]],
                              check=False, stdout=subprocess.PIPE, text=True)  # fmt: skip
        if done.returncode != 0:
            return done.returncode
        rows.append(json.loads(done.stdout))
        print(f"{stage}: {rows[-1]['trained parameters']:,} parameters trained, batch {rows[-1]['batch']},"
              f" {rows[-1]['steps a second']:.3f} steps a second,"
              f" {rows[-1]['CPU seconds a step']:.2f} CPU seconds a step,"
              f" {rows[-1]['peak bytes'] / 2**30:.2f} GiB at most", flush=True)  # fmt: skip
    if args.out:
        args.out.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
