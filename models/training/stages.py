"""The stages, each from what the one before left in the run's folder."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np

from models.reference.lightcap import LightCap

from . import assembly, checkpoints, loop
from .config import Captioning, ConfigError, Distilled, Pretraining, Schedule, choices
from .cider import CiderD, Frequencies
from .cider_task import CiderTask
from .distillation import Teaching
from .encoder import EncoderTask
from .examples import Examples
from .regions import DetectorTask, ExtractorTask, no_thing_yet
from .run import Run
from .sources import clip
from .tasks import CaptioningTask, PretrainingTask


def encoder(run: Run) -> bool:
    """Only for worlds without a CLIP."""
    config, folder = run.config, run.out / "encoder"
    begin = assembly.start(config)
    begin.config.concept_extractor.vocabulary = len(begin.labels)
    text, settings = assembly.text_of(begin), config.encoder
    model = assembly.assemble(begin, config.initial_std, settings.schedule.seed)
    task = EncoderTask(model, run.reader("captions"), text, begin.labels, config.concepts.prompt, run.world,
                       settings)  # fmt: skip

    def keep(step: int, steps: int) -> None:
        task.keep_names()
        run.export(folder, model, begin, step, steps)

    return loop.run(task, settings.schedule, folder, run.world, run.stop_after, keep, choices(settings))


def concepts(run: Run) -> bool:
    """The detector, the vocabulary, the concept extractor."""
    config, world = run.config, run.world
    if config.concepts.train_detector and not _detector(run):
        return False
    begin = run.seeing
    model = assembly.assemble(begin, config.initial_std, config.concepts.schedule.seed)
    folder = run.out / "concepts"
    if not config.regions:
        if "concept_extractor.proj.0.weight" not in begin.state or not begin.labels:
            raise ConfigError("regions is empty, and inputs.model has no concept extractor with labels:"
                              " pictures with objects are wanted, as Visual Genome's")  # fmt: skip
        run.export(folder, model, begin, 1, 1)
        return True
    if config.inputs.clip:
        _embed_names(run, model, begin.labels)
    elif "concept_extractor.vocabulary" not in begin.state:
        raise ConfigError("inputs.clip is not given: its text tower is wanted for the concepts' embeddings")
    task = ExtractorTask(model, run.features("regions"), world, config.concepts)
    return loop.run(task, config.concepts.schedule, folder, world, run.stop_after,
                    lambda step, steps: run.export(folder, model, begin, step, steps),
                    choices(config.concepts))  # fmt: skip


def _embed_names(run: Run, model: LightCap, labels: list[str]) -> None:
    """The vocabulary becomes CLIP's embeddings of the names' prompts."""
    inputs = run.config.inputs
    tower = clip.load_text_tower(run.config.path(inputs.clip))
    merges = clip.find_merges(run.config.path(inputs.merges) if inputs.merges else None)
    names = clip.embed(tower, clip.Tokenizer(merges), [run.config.concepts.prompt.format(x) for x in labels])
    if names.shape != model.concept_extractor.vocabulary.shape:
        raise ConfigError(f"the text tower's embeddings are {names.shape[1]} wide, the extractor's"
                          f" {model.concept_extractor.vocabulary.shape[1]}: set"
                          " model.concept_extractor.embedding")  # fmt: skip
    model.concept_extractor.vocabulary.copy_(names)


def _detector(run: Run) -> bool:
    begin, settings, folder = run.inputs, run.config.concepts.detector, run.out / "detector"
    model = assembly.assemble(begin, run.config.initial_std, settings.seed)
    if "detector.model.0.conv.weight" not in begin.state:
        no_thing_yet(model.detector)
    task = DetectorTask(model, run.reader("regions"), run.world)
    labels = begin.labels or ["thing"] * begin.config.concept_extractor.vocabulary
    return loop.run(task, settings, folder, run.world, run.stop_after,
                    lambda step, steps: run.export(folder, model, replace(begin, labels=labels), step, steps))


def features(run: Run) -> bool:
    for name in ("pretraining", "captions"):
        run.features(name)
    return True


def _fit(run: Run, task: PretrainingTask | CaptioningTask, settings: Pretraining | Captioning,
         stage: str, begin: assembly.Start) -> bool:  # fmt: skip
    """Trains and exports, at the end and wherever a state is saved."""
    folder = run.out / stage
    trained = sum(p.numel() for p in task.module.parameters() if p.requires_grad)
    if run.world.first:
        print(f"{stage}: {trained:,} parameters", file=sys.stderr)
    return loop.run(task, in_captions(settings.schedule, task.examples), folder, run.world, run.stop_after,
                    lambda step, steps: run.export(folder, task.model, begin, step, steps),
                    choices(settings))  # fmt: skip


def in_captions(schedule: Schedule, examples: Examples) -> Schedule:
    """The schedule in steps, an epoch being as many examples as there are captions. A step draws pictures, and
    one of each picture's captions."""
    if schedule.steps:
        return schedule
    known = examples.features.captions[:, :, 0] != examples.text.special.pad
    captions = np.count_nonzero(known[examples.weights != 0])
    return replace(schedule, steps=schedule.length(captions))


def teachers(run: Run) -> bool:
    """Each with a seed of its own: pre-training, then captioning."""
    return all([teacher(run, k) for k in range(run.config.teachers.count)])


def teacher(run: Run, k: int) -> bool:
    settings = run.config.teachers
    begin = assembly.of_teacher(run.config, run.begin, k)
    first = replace(settings.pretraining, schedule=_seeded(settings.pretraining.schedule, k))
    then = replace(settings.captioning, schedule=_seeded(settings.captioning.schedule, k))
    name = f"teachers/{k}/pretrain"
    model = assembly.assemble(begin, run.config.initial_std, first.schedule.seed)
    task = PretrainingTask(model, run.examples("pretraining"), run.world, first)
    if not _fit(run, task, first, name, begin):
        return False
    model = checkpoints.exported(run.out / name, "teachers")
    task = CaptioningTask(model, run.examples("captions"), run.world, then)
    return _fit(run, task, then, f"teachers/{k}/caption", begin)


def _seeded(schedule, k: int):
    return replace(schedule, seed=schedule.seed + 1000 * (k + 1))


def _teachers_of(run: Run, distilled: Distilled, stage: str) -> list[LightCap]:
    """As the stage of teachers left them; one that no branch has is not read."""
    return [checkpoints.exported(run.out / f"teachers/{k}/{stage}", "teachers")
            if k in distilled.teachers else None for k in range(run.config.teachers.count)]  # fmt: skip


def pretrain(run: Run) -> bool:
    settings = run.config.pretrain
    model = assembly.assemble(run.begin, run.config.initial_std, settings.schedule.seed)
    teaching = Teaching(model, _teachers_of(run, settings.distilled, "pretrain"), settings.distilled)
    task = PretrainingTask(model, run.examples("pretraining"), run.world, settings, teaching)
    return _fit(run, task, settings, run.folder("pretrain").name, run.begin)


def caption(run: Run) -> bool:
    settings = run.config.caption
    model = checkpoints.exported(run.folder("pretrain"), "pretrain")
    teaching = Teaching(model, _teachers_of(run, settings.distilled, "caption"), settings.distilled)
    task = CaptioningTask(model, run.examples("captions"), run.world, settings, teaching)
    return _fit(run, task, settings, run.folder("caption").name, run.begin)


def cider(run: Run) -> bool:
    settings = run.config.cider
    model, examples = checkpoints.exported(run.folder("caption"), "caption"), run.examples("captions")
    task = CiderTask(model, examples, run.world, settings, CiderD(_frequencies(run, examples)))
    return _fit(run, task, settings, run.folder("cider").name, run.begin)


def _frequencies(run: Run, examples: Examples) -> Frequencies:
    """Document frequencies of the training set's captions, made once and kept beside its features."""
    path = run.features_folder("captions") / "frequencies.json"
    if not path.exists() and run.world.first:
        captioned = np.flatnonzero(examples.weights)
        print(f"counting the words of {len(captioned)} pictures' captions", file=sys.stderr)
        Frequencies.of(map(examples.references, captioned.tolist())).save(path)
    loop.wait_for_all(run.world)
    return Frequencies.load(path)


STAGES = {
    "encoder": encoder,
    "concepts": concepts,
    "features": features,
    "teachers": teachers,
    "pretrain": pretrain,
    "caption": caption,
    "cider": cider,
}
