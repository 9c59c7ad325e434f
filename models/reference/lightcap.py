"""The whole model, and the way of one picture through it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .concept_extractor import ConceptExtractor
from .config import Config
from .constraints import Constraints
from .decoder import (
    Hypothesis,
    NextToken,
    Special,
    beam_search,
    constrained_search,
    greedy,
)
from .detector import Detector, propose
from .ensemble_head import EnsembleHead
from .fusion import Bert, VisualProjection
from .image_encoder import ImageEncoder
from .modulator import Modulator, mean_concept
from .preprocess import EncoderGeometry, Letterbox, detector_input, encoder_input
from .text import WordPiece


class LightCap(nn.Module):
    """The blocks, under the checkpoint's names; Captioner uses them one by one."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        encoder, detector, concepts, fusion = (
            config.image_encoder,
            config.detector,
            config.concept_extractor,
            config.fusion,
        )
        self.config = config
        self.image_encoder = ImageEncoder(encoder.width, encoder.blocks)
        self.detector = Detector(
            detector.widths, detector.depths, detector.classes, detector.anchors
        )
        self.concept_extractor = ConceptExtractor(
            encoder.channels,
            concepts.hidden,
            concepts.embedding,
            concepts.vocabulary,
            concepts.roi_size,
            concepts.sampling_ratio,
        )
        narrow = config.modulator.width or max(fusion.width // 8, 1)
        self.modulator = Modulator(fusion.width, narrow, encoder.channels)
        self.visual_projection = VisualProjection(
            encoder.channels,
            fusion.width,
            fusion.layer_norm_eps,
            encoder.grid**2 if fusion.grid_position else 0,
        )
        self.bert = Bert(
            fusion.vocabulary,
            fusion.positions,
            fusion.token_types,
            fusion.width,
            fusion.layers,
            fusion.heads,
            fusion.feed_forward,
            fusion.caption_slots,
            fusion.layer_norm_eps,
        )
        self.head = EnsembleHead(
            fusion.width, fusion.vocabulary, config.head.branches, fusion.layer_norm_eps
        )

    @staticmethod
    def from_state_dict(state: dict[str, Tensor], config: Config | None = None) -> LightCap:
        """Sizes from the shapes, hyper-parameters from `config`; in evaluation mode."""
        model = LightCap((config or Config()).infer_sizes(state))
        model.load_state_dict(state)
        return model.eval()

    @property
    def word_embeddings(self) -> Tensor:
        """E [W, d]: lookup, modulator and head share it."""
        return self.bert.embeddings.word_embeddings.weight

    def modulate(self, v: Tensor, concepts: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """v [B, C, G, G], concept tokens [B, M] without [SEP], mask [B, M] -> v', gate [B, C]."""
        return self.modulator(v, mean_concept(self.word_embeddings, concepts, mask))

    def prefix(self, modulated: Tensor, concepts: Tensor) -> Tensor:
        """v' [B, C, G, G], concept tokens [B, M] with [SEP] -> what enters layer 0 [B, M+V, d]."""
        return torch.cat((self.bert.embed_concepts(concepts), self.visual_projection(modulated)), 1)

    def forward(
        self, prefix: Tensor, prefix_mask: Tensor | None, caption: Tensor, mask_token: int
    ) -> Tensor:
        """Log-probabilities [B, n, W] of y[1..n], given caption y[0..n-1] [B, n]: Bert.predict."""
        hidden = self.bert.predict(
            prefix, prefix_mask, caption, self.config.fusion.decode, mask_token
        )
        return self.head(hidden, self.word_embeddings, self.config.head.ensemble)


@dataclass
class Concept:
    label: str
    similarity: float
    score: float
    box: list[float]  # x1 y1 x2 y2 in image pixels


@dataclass
class Caption:
    caption: str
    score: float
    tokens: list[int]
    concepts: list[Concept]
    trace: dict[str, Tensor] = field(default_factory=dict)


class Captioner:
    """A model in evaluation mode, on any device, its vocabulary and labels."""

    def __init__(self, model: LightCap, text: WordPiece, labels: list[str]) -> None:
        self.model, self.text, self.labels = model.eval(), text, labels

    @property
    def special(self) -> Special:
        return self.text.special

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def encode(
        self, pixels: np.ndarray, trace: dict[str, Tensor]
    ) -> tuple[Tensor, EncoderGeometry]:
        """Features [1, C, G, G]."""
        config = self.model.config.image_encoder
        x, geometry = encoder_input(
            pixels, config.image_size, config.resize, config.mean, config.std
        )
        trace["encoder_input"] = x
        return self.model.image_encoder(x[None].to(self.device)), geometry

    def detect_raw(
        self, pixels: np.ndarray, trace: dict[str, Tensor]
    ) -> tuple[list[Tensor], Letterbox]:
        """The detector's outputs."""
        x, geometry = detector_input(pixels, self.model.config.detector.image_size)
        trace["detector_input"] = x
        return self.model.detector(x[None].to(self.device)), geometry

    def proposals(
        self, raw: list[Tensor], geometries: list[Letterbox]
    ) -> list[tuple[Tensor, Tensor]]:
        """The boxes [n, 4] in its pixels and their scores [n], n >= 1, of each of B pictures; raw are the
        detector's outputs for them. On the CPU, as each box is held against those before it."""
        config, found = self.model.config.detector, []
        outputs = (y.cpu() for y in self.model.detector.boxes(raw))
        for boxes, objectness, scores, geometry in zip(*outputs, geometries):
            boxes, scores = propose(
                boxes,
                objectness,
                scores,
                config.confidence_threshold,
                config.iou_threshold,
                config.max_proposals,
            )
            boxes = geometry.to_image(boxes)
            if len(boxes) == 0:
                boxes = torch.tensor([[0.0, 0.0, geometry.width, geometry.height]])
                scores = torch.zeros(1)
            found.append((boxes, scores))
        return found

    def detect(self, pixels: np.ndarray, trace: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """One picture's proposals."""
        raw, geometry = self.detect_raw(pixels, trace)
        boxes, scores = self.proposals(raw, [geometry])[0]
        trace["detections"] = torch.cat((boxes, scores[:, None]), 1)
        return boxes, scores

    def concept_tokens(self, labels: list[str]) -> list[int]:
        """WordPiece ids of the labels, cut, and [SEP]."""
        if self.model.config.concept_extractor.deduplicate:
            labels = list(dict.fromkeys(labels))
        ids = [i for label in labels for i in self.text.encode(label)]
        return ids[: self.model.config.fusion.max_concept_tokens - 1] + [self.special.sep]

    def look(self, pixels: np.ndarray) -> tuple[Tensor, list[Concept], dict[str, Tensor]]:
        """Everything but decoding: the prefix [1, P, d], the concepts, the trace."""
        model, trace = self.model, {}
        v, geometry = self.encode(pixels, trace)
        boxes, scores = self.detect(pixels, trace)
        roi, similarity = model.concept_extractor(v, geometry.to_encoder(boxes).to(v.device))
        best = similarity.max(1)
        labels = [self.labels[i] for i in best.indices.tolist()]
        concepts = [
            Concept(*row)
            for row in zip(labels, best.values.tolist(), scores.tolist(), boxes.tolist())
        ]
        tokens = torch.tensor([self.concept_tokens(labels)], device=v.device)
        modulated, gate = model.modulate(v, tokens[:, :-1], torch.ones_like(tokens[:, :-1]))
        prefix = model.prefix(modulated, tokens)
        trace |= {
            "image_features": v[0],
            "roi_features": roi,
            "concept_similarity": similarity,
            "gate": gate[0],
            "prefix": prefix[0],
        }
        return prefix, concepts, trace

    def constraints(self, words: list[list[str]]) -> Constraints:
        """For words in one of several forms each; ValueError for those that no caption contains."""
        tokens = [[tuple(self.text.encode(form)) for form in forms] for forms in words]
        for forms, of_forms in zip(words, tokens):
            for form, ids in zip(forms, of_forms):
                if not ids or self.special.unk in ids:
                    raise ValueError(f"no caption can contain {form!r}")
        constraints = Constraints(tokens, [t.startswith("##") for t in self.text.vocabulary])
        room = self.model.config.fusion.caption_slots - 1
        if (least := constraints.tokens_left(constraints.start)) > room:
            raise ValueError(f"the words take {least} tokens, a caption has {room} at most")
        return constraints

    def next_token(self, prefix: Tensor) -> NextToken:
        """prefix [1, P, d]."""

        def log_probabilities(captions: list[list[int]]) -> Tensor:
            rows = [[self.special.cls] + tokens for tokens in captions]
            rows = torch.tensor(rows, device=prefix.device)
            expanded = prefix.expand(len(captions), -1, -1)
            return self.model(expanded, None, rows, self.special.mask)[:, -1].cpu()

        return log_probabilities

    def search(
        self, next_token: NextToken, beams: int, alpha: float, constraints: Constraints | None
    ) -> tuple[Hypothesis, Tensor | None]:
        """The best caption and, for greedy search, the steps' log-probabilities [steps, W]."""
        slots = self.model.config.fusion.caption_slots
        if constraints is not None:
            found = constrained_search(next_token, self.special, slots, beams, alpha, constraints)
            return found, None
        if beams == 1:
            return greedy(next_token, self.special, slots, alpha)
        return beam_search(next_token, self.special, slots, beams, alpha), None

    def decode(
        self,
        prefix: Tensor,
        beams: int = 1,
        alpha: float = 1.0,
        constraints: Constraints | None = None,
    ) -> tuple[Hypothesis, Tensor | None]:
        """The same for a prefix [1, P, d]."""
        return self.search(self.next_token(prefix), beams, alpha, constraints)

    @torch.inference_mode()
    def caption(
        self,
        pixels: np.ndarray,
        beams: int = 1,
        alpha: float = 1.0,
        must_contain: list[list[str]] | None = None,
    ) -> Caption:
        """pixels: RGB [h, w, 3] uint8. must_contain: words, each in its forms."""
        constraints = self.constraints(must_contain) if must_contain else None
        prefix, concepts, trace = self.look(pixels)
        best, steps = self.decode(prefix, beams, alpha, constraints)
        if steps is not None:
            trace["log_probabilities"] = steps
        return Caption(self.text.decode(best.tokens), best.score, best.tokens, concepts, trace)


def load_captioner(
    weights: str, vocabulary: str, labels: str, config: dict[str, Any] | str | None = None
) -> Captioner:
    """From the files that lightcap-convert takes: --lightcap, --vocab, --concepts, --config."""
    from .text import read_lines

    hyper = Config.from_file(config) if isinstance(config, str) else Config().update(config or {})
    state = torch.load(weights, map_location="cpu", weights_only=True)
    return Captioner(
        LightCap.from_state_dict(state, hyper), WordPiece.from_file(vocabulary), read_lines(labels)
    )
