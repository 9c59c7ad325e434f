"""Every setting of a training, read from one JSON file; README.md says whose default each one is."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from models.reference.config import Config as ModelConfig

T = TypeVar("T")


class ConfigError(ValueError):
    """A setting or an input that is missing or malformed; says what it should be."""


def listed(names: list[str], most: int = 5) -> str:
    """The names with commas between, the first ones alone if they are many."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def at_least(part: Any, least: int, *names: str) -> None:
    """Refuses a lower value of these settings."""
    for name in names:
        if getattr(part, name) < least:
            raise ConfigError(f"{name} is {getattr(part, name)}: {least} or more is wanted")


@dataclass
class Inputs:
    """Files that others made. A path is relative to the configuration's folder."""

    model: str = ""  # a .lcw model or a whole LightCap state dict: any block that no other file names
    model_blocks: list[str] = field(default_factory=list)  # taken of it, as image_encoder; empty: all
    clip: str = ""  # OpenAI's RN50.pt: image encoder and text tower
    detector: str = ""  # yolov5n.pt
    bert: str = ""  # TinyBERT's folder in Hugging Face layout: the student's fusion
    teacher_berts: list[str] = field(default_factory=list)  # folders, teacher k has the k-th (cyclic)
    vocabulary: str = ""  # vocab.txt; empty: that of `bert`, or of `model`
    labels: str = ""  # a concept a line; empty: those of `model`, or the commonest of `regions`
    merges: str = ""  # CLIP's bpe_simple_vocab_16e6.txt(.gz)


@dataclass
class Schedule:
    """One run of the loop."""

    steps: int = 0  # 0: so many as `epochs` make
    epochs: float = 0  # of pictures in stage 1; of captions in those behind it, as VinVL counts them
    batch: int = 512  # over all processes
    rate: float = 5e-5
    warmup: int = 0  # steps
    decay: str = "linear"  # linear or cosine, to nothing; constant
    weight_decay: float = 0.05
    clip: float = 1.0  # of the gradient's norm
    dropout: float = 0.1
    seed: int = 1
    save_every: int = 500
    log_every: int = 20

    def __post_init__(self) -> None:
        at_least(self, 1, "batch", "save_every", "log_every")
        at_least(self, 0, "steps", "epochs", "warmup")

    def length(self, examples: int) -> int:
        """Steps in all."""
        steps = self.steps or round(self.epochs * examples / self.batch)
        if steps < 1:
            raise ConfigError(f"steps {self.steps} and epochs {self.epochs} of {examples} examples in"
                              f" batches of {self.batch} make no step")  # fmt: skip
        return steps


@dataclass
class Masking:
    """The words that are hidden of a caption, as BERT hides them."""

    share: float = 0.15
    masked: float = 0.8  # of these: become [MASK]
    replaced: float = 0.1  # become any word; the rest stay as they are


@dataclass
class Distilled:
    """Weights of the losses against teachers; the hard ones weigh 1."""

    teachers: list[int] = field(default_factory=lambda: [0, 1, 2])  # branch k's; empty: no teacher
    tokens: float = 1.0
    attention: float = 1.0
    hidden: float = 1.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if any(k < 0 for k in self.teachers):
            raise ConfigError(f"teachers is {self.teachers}: they are counted from 0")


@dataclass
class Encoder:
    """Only for worlds without a CLIP: an image encoder from nothing, on regions and captions."""

    schedule: Schedule = field(default_factory=lambda: Schedule(rate=1.5e-3, decay="cosine"))
    embedding: int = 64  # of a word in the text tower


@dataclass
class Concepts:
    detector: Schedule = field(default_factory=lambda: Schedule(epochs=10, rate=1e-3, batch=64))
    train_detector: bool = False
    schedule: Schedule = field(
        default_factory=lambda: Schedule(epochs=60, rate=1e-3, batch=64, decay="cosine", dropout=0.0)
    )
    prompt: str = "a photo of a {}"
    scale: float = 100.0  # CLIP's logit scale
    jitter: float = 0.04  # of a box's sides, times their lengths


@dataclass
class Pretraining:
    schedule: Schedule = field(default_factory=lambda: Schedule(epochs=10))
    masking: Masking = field(default_factory=Masking)
    exchanged: float = 0.25  # of the captions, and as many of the concepts, are another picture's
    contrast: float = 1.0  # weight of telling them


@dataclass
class Captioning:
    schedule: Schedule = field(default_factory=lambda: Schedule(epochs=60, rate=3e-5, batch=256))
    masking: Masking = field(default_factory=Masking)
    predict: str = "masked"  # the masked words, as VinVL; or every word, as decoding has them
    smoothing: float = 0.1  # of labels


@dataclass
class Teachers:
    """Each teacher: pre-training, then captioning, with a seed of its own."""

    count: int = 3
    model: dict[str, dict[str, Any]] = field(default_factory=dict)  # blocks that differ from `model`
    pretraining: Pretraining = field(default_factory=Pretraining)
    captioning: Captioning = field(default_factory=Captioning)


@dataclass
class StudentPretraining(Pretraining):
    distilled: Distilled = field(default_factory=Distilled)


@dataclass
class StudentCaptioning(Captioning):
    distilled: Distilled = field(default_factory=lambda: Distilled(attention=0.0, hidden=0.0))


@dataclass
class CiderTraining:
    schedule: Schedule = field(
        default_factory=lambda: Schedule(epochs=75, rate=3e-6, batch=64, decay="linear", dropout=0.0)
    )
    samples: int = 5  # captions drawn of each picture
    baseline: str = "greedy"  # or others: the mean reward of the picture's other samples
    temperature: float = 1.0


@dataclass
class TrainingConfig:
    model: dict[str, dict[str, Any]] = field(default_factory=dict)  # blocks of models/reference/config.py
    inputs: Inputs = field(default_factory=Inputs)
    # Sources of pictures (sources/__init__.py), each a list of {"source": ..., ...}.
    regions: list[dict[str, Any]] = field(default_factory=list)  # with objects: stage 1
    pretraining: list[dict[str, Any]] = field(default_factory=list)  # empty: `captions`
    captions: list[dict[str, Any]] = field(default_factory=list)  # stages 4 and 5
    concept_count: int = 1600  # labels kept of `regions`
    captions_each: int = 5  # of a picture, at most
    bad_pictures: float = 0.01  # share that may be damaged, or lack a caption, and is left out
    initial_std: float = 0.02  # of what no checkpoint has
    autocast: str = "auto"  # bfloat16 where it is native; or off
    deterministic: bool = False  # sums in one order on GPUs too, which is slower; CPUs have no other
    encoder: Encoder = field(default_factory=Encoder)
    concepts: Concepts = field(default_factory=Concepts)
    teachers: Teachers = field(default_factory=Teachers)
    pretrain: StudentPretraining = field(default_factory=StudentPretraining)
    caption: StudentCaptioning = field(default_factory=StudentCaptioning)
    cider: CiderTraining = field(default_factory=CiderTraining)
    folder: str = "."  # of the configuration's file

    def __post_init__(self) -> None:
        at_least(self, 1, "concept_count", "captions_each")
        at_least(self.teachers, 0, "count")
        for name in ("pretrain", "caption"):
            wanted, count = getattr(self, name).distilled.teachers, self.teachers.count
            if any(k >= count for k in wanted):
                raise ConfigError(f"{name}.distilled.teachers is {wanted}: teachers.count is {count}, and they are"
                                  " counted from 0")  # fmt: skip

    def path(self, name: str) -> Path:
        return Path(self.folder) / name

    def model_config(self, more: dict[str, dict[str, Any]] | None = None) -> ModelConfig:
        try:
            return ModelConfig().update(self.model).update(more or {})
        except ValueError as error:
            raise ConfigError(f"model: {error}") from None


def updated(part: T, values: Any, where: str) -> T:
    """The part with some settings replaced; unknown keys and wrong types are errors with their place."""
    if not isinstance(values, dict):
        raise ConfigError(f"{where} is {values!r}: an object of settings is wanted")
    known, made = [f.name for f in dataclasses.fields(part)], {}
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"{where}.{key} is unknown; known are {', '.join(sorted(known))}")
        old = getattr(part, key)
        if dataclasses.is_dataclass(old):
            made[key] = updated(old, value, f"{where}.{key}")
            continue
        wanted = (int, float) if isinstance(old, float) else type(old)
        if not isinstance(value, wanted) or isinstance(value, bool) != isinstance(old, bool):
            raise ConfigError(f"{where}.{key} is {value!r}: a {type(old).__name__} is wanted")
        made[key] = value
        if isinstance(value, list):
            _check_items(value, get_args(get_type_hints(type(part))[key])[0], f"{where}.{key}")
    try:
        return dataclasses.replace(part, **made)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def choices(part: Any) -> dict[str, Any]:
    """A stage's settings but its schedules', by dotted names."""
    found: dict[str, Any] = {}
    for name in (f.name for f in dataclasses.fields(part)):
        value = getattr(part, name)
        if isinstance(value, Schedule):
            continue
        if dataclasses.is_dataclass(value):
            found |= {f"{name}.{inner}": chosen for inner, chosen in choices(value).items()}
        else:
            found[name] = value
    return found


def _check_items(values: list[Any], item: Any, where: str) -> None:
    kind = get_origin(item) or item
    for i, value in enumerate(values):
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ConfigError(f"{where}[{i}] is {value!r}: a {kind.__name__} is wanted")


def load(path: Path, overrides: list[str] = ()) -> TrainingConfig:
    """The file's settings; an override is dotted.key=JSON."""
    try:
        values = json.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; a JSON file of settings is wanted") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from None
    for override in overrides:
        name, equals, text = override.partition("=")
        at = values
        *parents, last = name.split(".")
        for parent in parents:
            at = at.setdefault(parent, {}) if isinstance(at, dict) else None
        if not isinstance(at, dict):
            raise ConfigError(f"--set {override}: {'.'.join(parents) or path} is no object of settings; a list is"
                              " replaced as a whole, as captions=[...]")  # fmt: skip
        try:
            at[last] = json.loads(text)
        except ValueError:
            at[last] = text
        if not equals:
            raise ConfigError(f"--set {override}: dotted.key=VALUE is wanted")
    config = updated(TrainingConfig(), values, str(path))
    config.folder = str(path.parent)
    return config
