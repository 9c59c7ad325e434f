"""Hyper-parameters (config.json) and sizes (read off a checkpoint's shapes) of a LightCap model."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

# YOLOv5's anchors in pixels, per scale.
YOLO_ANCHORS = (
    ((10, 13), (16, 30), (33, 23)),
    ((30, 61), (62, 45), (59, 119)),
    ((116, 90), (156, 198), (373, 326)),
)


def count(state: dict[str, Any], pattern: str) -> int:
    """How many of pattern.format(0), pattern.format(1), ... are in the state."""
    n = 0
    while pattern.format(n) in state:
        n += 1
    return n


@dataclass
class ImageEncoderConfig:
    image_size: int = 224
    resize: str = "stretch"  # or "center_crop"
    mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)
    # Sizes.
    width: int = 64
    blocks: tuple[int, ...] = (3, 4, 6, 3)

    @property
    def channels(self) -> int:
        return 32 * self.width

    @property
    def grid(self) -> int:
        return self.image_size // 32


@dataclass
class DetectorConfig:
    image_size: int = 640
    confidence_threshold: float = 0.25
    iou_threshold: float = 0.45
    max_proposals: int = 20
    # Sizes.
    widths: tuple[int, ...] = (16, 32, 64, 128, 256)  # of modules 0, 1, 3, 5, 7
    depths: tuple[int, ...] = (1, 2, 3, 1, 1, 1, 1, 1)  # of modules 2, 4, 6, 8, 13, 17, 20, 23
    classes: int = 1
    anchors: int = 3  # per scale

    def infer_sizes(self, state: dict[str, Any]) -> DetectorConfig:
        """Reads the sizes off a checkpoint's shapes; returns self."""
        yolo = "detector.model."
        convolutions = (state[f"{yolo}{i}.conv.weight"] for i in (0, 1, 3, 5, 7))
        self.widths = tuple(weight.shape[0] for weight in convolutions)
        self.depths = tuple(
            count(state, f"{yolo}{i}.m.{{}}.cv1.conv.weight") for i in (2, 4, 6, 8, 13, 17, 20, 23)
        )
        self.anchors = state[yolo + "24.anchors"].shape[1]
        self.classes = state[yolo + "24.m.0.bias"].shape[0] // self.anchors - 5
        return self


@dataclass
class ConceptExtractorConfig:
    roi_size: int = 7
    sampling_ratio: int = 2
    deduplicate: bool = True
    # Sizes.
    hidden: int = 1024
    embedding: int = 1024
    vocabulary: int = 1600


@dataclass
class ModulatorConfig:
    # Sizes.
    width: int | None = None  # m, between the two linear blocks; None: fusion.width / 8, 39


@dataclass
class FusionConfig:
    heads: int = 12
    caption_slots: int = 20
    max_concept_tokens: int = 40
    layer_norm_eps: float = 1e-12
    decode: str = "mask"  # or "causal"
    # Sizes.
    width: int = 312
    layers: int = 4
    feed_forward: int = 1200
    vocabulary: int = 30522
    positions: int = 512
    token_types: int = 2
    grid_position: bool = False


@dataclass
class HeadConfig:
    ensemble: str = "mean_probability"  # or "mean_logit"
    # Sizes.
    branches: int = 3


@dataclass
class Config:
    image_encoder: ImageEncoderConfig = field(default_factory=ImageEncoderConfig)
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    concept_extractor: ConceptExtractorConfig = field(default_factory=ConceptExtractorConfig)
    modulator: ModulatorConfig = field(default_factory=ModulatorConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    head: HeadConfig = field(default_factory=HeadConfig)

    def update(self, blocks: dict[str, dict[str, Any]]) -> Config:
        """Sets the hyper-parameters of a parsed config.json; returns self."""
        for block, values in blocks.items():
            part = getattr(self, block, None)
            known = {f.name for f in fields(part)} if part is not None else set()
            for key, value in values.items():
                if key not in known:
                    raise ValueError(f"config: {block}.{key} is unknown")
                setattr(part, key, tuple(value) if isinstance(value, list) else value)
        return self

    @staticmethod
    def from_file(path: Path | str) -> Config:
        return Config().update(json.loads(Path(path).read_text()))

    def infer_sizes(self, state: dict[str, Any]) -> Config:
        """Reads every size off a whole checkpoint's shapes; returns self."""

        def shape(name: str) -> tuple[int, ...]:
            return tuple(state[name].shape)

        encoder = self.image_encoder
        encoder.width = shape("image_encoder.conv3.weight")[0]
        encoder.blocks = tuple(
            count(state, f"image_encoder.layer{i}.{{}}.conv1.weight") for i in range(1, 5)
        )
        self.detector.infer_sizes(state)
        concepts = self.concept_extractor
        concepts.hidden = shape("concept_extractor.proj.0.weight")[0]
        concepts.vocabulary, concepts.embedding = shape("concept_extractor.vocabulary")
        self.modulator.width = shape("modulator.fc1.weight")[0]
        fusion, bert = self.fusion, "bert.embeddings."
        fusion.vocabulary, fusion.width = shape(bert + "word_embeddings.weight")
        fusion.positions = shape(bert + "position_embeddings.weight")[0]
        fusion.token_types = shape(bert + "token_type_embeddings.weight")[0]
        fusion.layers = count(state, "bert.encoder.layer.{}.intermediate.dense.weight")
        fusion.feed_forward = shape("bert.encoder.layer.0.intermediate.dense.weight")[0]
        fusion.grid_position = "visual_projection.position" in state
        self.head.branches = count(state, "head.branches.{}.dense.weight")
        return self
