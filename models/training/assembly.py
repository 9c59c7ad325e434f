"""The model that a training begins with: blocks from the files that people have, sizes from their shapes."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from models.reference.config import Config, count
from models.reference.lightcap import LightCap
from models.reference.text import SPECIAL, WordPiece, read_lines

from .config import ConfigError, TrainingConfig, listed
from .fusion import TRAINED, initialise
from .sources import before_comma, named
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


def _labels(spec: str, lines: list[str]) -> list[str]:
    """A label a line; of synonyms with commas the first, as lightcap-convert has it."""
    first: dict[str, int] = {}
    for number, label in enumerate(map(before_comma, lines), 1):
        if not label:
            raise ConfigError(f"inputs.labels {spec}: line {number} has no label before its comma")
        if label in first:
            raise ConfigError(f"inputs.labels {spec}: line {number} is {label!r}, as line {first[label]} is")
        first[label] = number
    return list(first)


def start(config: TrainingConfig) -> Start:
    inputs, state, model = config.inputs, {}, config.model_config()
    vocabulary: list[str] = []
    labels: list[str] = []
    if inputs.model:
        state, model, vocabulary, labels = _whole(config, config.path(inputs.model))
        state = _blocks_of(config.path(inputs.model), state, inputs.model_blocks)
    if inputs.clip:
        from .sources.clip import load_visual

        state = _with_block(state, "image_encoder", load_visual(config.path(inputs.clip)))
    if inputs.detector:
        from .sources.yolo import load_detector

        state = _with_block(state, "detector", load_detector(config.path(inputs.detector)))
    if inputs.bert:
        from .sources.bert import load_bert

        bert = load_bert(config.path(inputs.bert))
        state = _with_block(state, "bert", bert.state)
        model.fusion.heads, model.fusion.layer_norm_eps = bert.heads, bert.layer_norm_eps
        vocabulary = bert.vocabulary
    if inputs.vocabulary:
        vocabulary = lines_of(config, inputs.vocabulary, "vocabulary")
    if inputs.labels:
        labels = _labels(inputs.labels, lines_of(config, inputs.labels, "labels"))
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
    wanted = "a .lcw model or a LightCap state dict is wanted"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ConfigError(f"inputs.model {path}: {error.strerror}; {wanted}") from None
    except Exception:  # whatever pickle finds wrong
        raise ConfigError(f"inputs.model {path} is no file of tensors that torch.save wrote; {wanted}") from None
    if not isinstance(state, dict) or not all(map(torch.is_tensor, state.values())):
        raise ConfigError(f"inputs.model {path} is no dictionary of tensors; {wanted}")
    return state, config.model_config(), [], []


def _blocks_of(path: Path, state: dict[str, Tensor], blocks: list[str]) -> dict[str, Tensor]:
    """The tensors of these blocks, or of all if none is named."""
    for block in blocks:
        if not any(name.startswith(f"{block}.") for name in state):
            raise ConfigError(f"inputs.model {path} has no tensor of {block}, which inputs.model_blocks names")
    starts = tuple(f"{block}." for block in blocks)
    return {name: value for name, value in state.items() if not starts or name.startswith(starts)}


def _with_block(state: dict[str, Tensor], block: str, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with a block of another file, none of whose gaps is filled from the first one."""
    return {name: value for name, value in state.items() if not name.startswith(f"{block}.")} | given


def _sizes(model: Config, state: dict[str, Tensor]) -> None:
    try:
        _read_sizes(model, state)
    except KeyError as error:
        raise ConfigError(f"the inputs lack {error.args[0]}, though they have others of its block") from None
    except (IndexError, ValueError):
        raise ConfigError("the inputs have a tensor of fewer dimensions than a LightCap's of its name") from None


def _read_sizes(model: Config, state: dict[str, Tensor]) -> None:
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
    _whole_blocks(shapes, begin.state)
    for name, value in begin.state.items():
        if name not in shapes:
            raise ConfigError(f"the inputs have {name}, which a LightCap of the sizes that their tensors show"
                              " has not: is a tensor before it missing?")  # fmt: skip
        if tuple(value.shape) != shapes[name]:
            raise ConfigError(f"{name} is {list(value.shape)} in the inputs, {list(shapes[name])} by the"
                              " other sizes")  # fmt: skip
    model.load_state_dict(begin.state, strict=False)
    return model


def _whole_blocks(names: Iterable[str], state: dict[str, Tensor]) -> None:
    """Refuses a part of a block: what it lacks would be random."""
    blocks = dict.fromkeys(name.partition(".")[0] for name in state)
    for block in blocks:
        wanted = [name for name in names
                  if name.startswith(f"{block}.") and not name.endswith(".num_batches_tracked")]  # fmt: skip
        missing = [name for name in wanted if name not in state]
        if missing:
            raise ConfigError(f"the inputs lack {len(missing)} of the {len(wanted)} tensors of {block}:"
                              f" {listed(missing)}")  # fmt: skip


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
        model.fusion.heads, model.fusion.layer_norm_eps = bert.heads, bert.layer_norm_eps
        _sizes(model, bert.state)
    return Start(state, model, begin.vocabulary, begin.labels)


def text_of(begin: Start) -> WordPiece:
    return WordPiece(begin.vocabulary)
