"""The model that a training begins with: blocks from the files that people have, sizes from their shapes."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.reference.config import Config, count
from models.reference.lightcap import LightCap
from models.reference.text import SPECIAL, WordPiece, read_lines

from .config import ConfigError, TrainingConfig
from .fusion import TRAINED, initialise
from .sources import named
from .sources.lcw import load_lcw

FROZEN = ("image_encoder.", "detector.", "concept_extractor.")


@dataclass
class Start:
    """Tensors of the inputs under LightCap's names, and the texts that go with them."""

    state: dict[str, Tensor]
    config: Config
    vocabulary: list[str]
    labels: list[str]  # empty: none given


def lines_of(config: TrainingConfig, spec: str, what: str) -> list[str]:
    """A file's lines, or what MODULE:FUNCTION returns."""
    path = config.path(spec)
    if not path.exists() and ":" in spec:
        return list(named(spec, f"inputs.{what}")())
    try:
        return read_lines(path)
    except OSError as error:
        raise ConfigError(f"inputs.{what} {path}: {error.strerror}; a text file is wanted") from None


def start(config: TrainingConfig) -> Start:
    inputs, state, model = config.inputs, {}, config.model_config()
    vocabulary: list[str] = []
    labels: list[str] = []
    if inputs.model:
        state, model, vocabulary, labels = _whole(config, config.path(inputs.model))
        blocks = tuple(f"{block}." for block in inputs.model_blocks)
        state = {name: value for name, value in state.items() if not blocks or name.startswith(blocks)}
    if inputs.clip:
        from .sources.clip import load_visual

        state |= load_visual(config.path(inputs.clip))
    if inputs.detector:
        from .sources.yolo import load_detector

        state |= load_detector(config.path(inputs.detector))
    if inputs.bert:
        from .sources.bert import load_bert

        bert = load_bert(config.path(inputs.bert))
        state |= bert.state
        model.fusion.heads = bert.heads
        vocabulary = bert.vocabulary
    if inputs.vocabulary:
        vocabulary = lines_of(config, inputs.vocabulary, "vocabulary")
    if inputs.labels:
        # A line may have synonyms with commas: the first counts, as it does to lightcap-convert.
        labels = [line.split(",")[0].strip() for line in lines_of(config, inputs.labels, "labels")]
    if not vocabulary:
        raise ConfigError("inputs.vocabulary is not given, nor inputs.bert: a vocab.txt is wanted")
    missing = [token for token in SPECIAL if token not in vocabulary]
    if missing:
        raise ConfigError(f"the vocabulary lacks {', '.join(missing)}: BERT's is wanted")
    _sizes(model, state)
    model.fusion.vocabulary = len(vocabulary)
    model.concept_extractor.vocabulary = len(labels) or model.concept_extractor.vocabulary
    return Start(state, model, vocabulary, labels)


def _whole(config: TrainingConfig, path: Path) -> tuple[dict[str, Tensor], Config, list[str], list[str]]:
    if path.suffix == ".lcw":
        state, given, vocabulary, labels = load_lcw(path)
        return state, given.update(config.model), vocabulary, labels
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ConfigError(f"inputs.model {path}: {error.strerror}; a .lcw model or a LightCap state dict"
                          " is wanted") from None  # fmt: skip
    return state, config.model_config(), [], []


def _sizes(model: Config, state: dict[str, Tensor]) -> None:
    """Sets every size that a given tensor shows."""

    def shape(name: str) -> tuple[int, ...]:
        return tuple(state[name].shape)

    if "image_encoder.conv3.weight" in state:
        encoder = model.image_encoder
        encoder.width = shape("image_encoder.conv3.weight")[0]
        encoder.blocks = tuple(
            count(state, f"image_encoder.layer{i}.{{}}.conv1.weight") for i in range(1, 5)
        )
    if "detector.model.0.conv.weight" in state:
        model.detector.infer_sizes(state)
    bert = "bert.embeddings."
    if bert + "word_embeddings.weight" in state:
        fusion = model.fusion
        fusion.vocabulary, fusion.width = shape(bert + "word_embeddings.weight")
        fusion.positions = shape(bert + "position_embeddings.weight")[0]
        fusion.token_types = shape(bert + "token_type_embeddings.weight")[0]
        fusion.layers = count(state, "bert.encoder.layer.{}.intermediate.dense.weight")
        fusion.feed_forward = shape("bert.encoder.layer.0.intermediate.dense.weight")[0]


def assemble(begin: Start, std: float, seed: int) -> LightCap:
    """The model with what the inputs hold; the rest is random."""
    torch.manual_seed(seed)
    model = LightCap(begin.config)
    for block in TRAINED:
        initialise(getattr(model, block), std)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    for name, value in begin.state.items():
        if name not in shapes:
            raise ConfigError(f"the inputs have {name}, which a LightCap of these sizes has not")
        if tuple(value.shape) != shapes[name]:
            raise ConfigError(f"{name} is {list(value.shape)} in the inputs, {list(shapes[name])} by the"
                              " other sizes")  # fmt: skip
    model.load_state_dict(begin.state, strict=False)
    return model


def of_teacher(config: TrainingConfig, begin: Start, index: int) -> Start:
    """A teacher: the student's frozen blocks, a fusion part of its own sizes and file, one branch."""
    model = copy.deepcopy(begin.config)
    try:
        model.update(config.teachers.model)
    except ValueError as error:
        raise ConfigError(f"teachers.model: {error}") from None
    model.head.branches = 1
    state = {name: value for name, value in begin.state.items() if name.startswith(FROZEN)}
    folders = config.inputs.teacher_berts
    if folders:
        from .sources.bert import load_bert

        bert = load_bert(config.path(folders[index % len(folders)]))
        if bert.vocabulary != begin.vocabulary:
            raise ConfigError(f"{folders[index % len(folders)]} has another vocabulary than the student")
        state |= bert.state
        model.fusion.heads = bert.heads
        _sizes(model, bert.state)
    return Start(state, model, begin.vocabulary, begin.labels)


def text_of(begin: Start) -> WordPiece:
    return WordPiece(begin.vocabulary)
