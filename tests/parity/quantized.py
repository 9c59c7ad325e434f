"""int8 models: the engine against models/reference, which computes the same integers.

    python tests/parity/quantized.py --lightcap BIN [--convert BIN --quantize BIN] [--full-size] [--image F]
    python tests/parity/quantized.py --lightcap BIN --model INT8.lcw [--image F]

Random models of each way to resize, decode and average, made int8 by `lightcap-quantize`, or by
models/reference where no such program is given; or a model that there is. On every instruction set of this
machine, with one to four threads, the image's features must be the reference's bits and the detections
everywhere the same bits, near the reference's. Prints a table of the largest errors of all that is fp32, and
of log-probabilities the root of their mean square, in that of rounding's noise. Exit code 1 if one is beyond
its limit or a word differs, 77 without PyTorch.

Rows that are rounded to 16 bits can't be compared number by number: fp32 sums in another order let a number
that is half-way between two go to the other one, and this moves all that follow, so that log-probabilities
of two programs differ like two draws of rounding's noise. Each program's are therefore held against those of
the same weights without rounding, in two ways: no error beyond what fp32 models promise, and all together
not more than the noise, which the reference measures by adding it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import engine  # isort: skip  (leaves where PyTorch is missing)

import numpy as np
import torch
from PIL import Image

from models.reference.config import YOLO_ANCHORS, Config
from models.reference.lcw import write_lcw
from models.reference.lightcap import LightCap
from models.reference.margins import box_margin, concept_margin, word_margin
from models.reference.preprocess import letterbox, read_image
from models.reference.quantized import (
    QuantizedCaptioner,
    Rows,
    load_quantized,
    noisy_rows,
    quantize_rows,
    unrounded_rows,
)
from models.reference.quantizer import quantize
from models.reference.random_weights import (
    drawing,
    random_labels,
    random_model,
    random_vocabulary,
)

Blocks = dict[str, dict[str, object]]  # as in config.json
THREADS = (1, 2, 3, 4)
ROUNDING = 2.0**-24  # of fp32, relative
LOG_PROBABILITY = 2e-3
# The most that errors may be, in the noise's root mean square; rounding down has 2.3 of it.
NOISE = 1.5
# Sigmoids are four roundings off, boxes some twelve of the largest coordinate, in each program.
BOX_ROUNDINGS, SCORE_ROUNDINGS = 64, 32
# The smallest distance of the best to the next for weights to be used: twice the usual errors.
MARGINS = {"boxes": 2e-5, "concepts": 2e-4, "words": 2 * LOG_PROBABILITY}
BOXES = 3  # at least
CALIBRATION = 8  # pictures
STAGES = ("encoder_input", "detector_input", "image_features")  # the same bits as the reference's


def configurations() -> list[Blocks]:
    return [
        {
            "image_encoder": {"resize": "stretch"},
            "fusion": {"decode": "mask"},
            "head": {"ensemble": "mean_probability"},
        },
        {
            "image_encoder": {"resize": "center_crop"},
            "fusion": {"decode": "causal"},
            "head": {"ensemble": "mean_logit"},
        },
    ]


def small(blocks: Blocks) -> tuple[Config, Blocks]:
    """Channels are multiples of 4, as int8 models need them, all else is odd."""
    own: Blocks = {
        "image_encoder": {"image_size": 96},
        "detector": {"image_size": 160, "max_proposals": 6},
        "fusion": {"heads": 2, "caption_slots": 10, "max_concept_tokens": 11},
    }
    merged = {name: own.get(name, {}) | blocks.get(name, {}) for name in own | blocks}
    config = Config().update(merged)
    config.image_encoder.width, config.image_encoder.blocks = 8, (1, 2, 1, 2)
    config.detector.widths, config.detector.depths = (12, 8, 24, 16, 40), (1, 2, 1, 1, 1, 1, 1, 2)
    config.detector.classes = 3
    concepts, fusion = config.concept_extractor, config.fusion
    concepts.hidden, concepts.embedding, concepts.vocabulary = 21, 27, 37
    fusion.width, fusion.layers, fusion.feed_forward = 54, 2, 70
    fusion.vocabulary, fusion.positions, fusion.grid_position = 301, 25, True
    config.modulator.width = 11
    return config, merged


class Maker:
    """Makes int8 files of random models."""

    def __init__(self, args: argparse.Namespace, folder: Path, pixels: np.ndarray) -> None:
        self.args, self.folder, self.pixels = args, folder, pixels
        h, w = pixels.shape[:2]
        others = [drawing(w, h, 100 + i) for i in range(CALIBRATION - 1)]
        self.pictures = [pixels, *others]
        (folder / "pictures").mkdir()
        for i, picture in enumerate(self.pictures):
            Image.fromarray(picture).save(folder / "pictures" / f"{i}.png")

    def make(self, blocks: Blocks) -> tuple[Path, OnePicture]:
        """A model whose boxes, labels and words win by more than rounding."""
        config, blocks = (Config().update(blocks), blocks) if self.args.full_size else small(blocks)
        seed = self.args.seed
        while True:
            path = self._make(config, blocks, seed)
            captioner = OnePicture(path)
            if is_clear(captioner, self.pixels):
                return path, captioner
            seed += 1

    def _make(self, config: Config, blocks: Blocks, seed: int) -> Path:
        vocabulary = random_vocabulary(config.fusion.vocabulary, seed)
        labels = random_labels(config.concept_extractor.vocabulary, vocabulary, seed)
        model = random_model(config, seed, self.pictures[:2])
        path = self.folder / "int8.lcw"
        if not self.args.quantize:
            write_lcw(path, quantize(model, self.pictures, vocabulary, labels))
            return path
        wide = self._convert(model, blocks, vocabulary, labels)
        engine.call(self.args.quantize, wide, self.folder / "pictures", "-o", path)
        return path

    def _convert(
        self, model: LightCap, blocks: Blocks, vocabulary: list[str], labels: list[str]
    ) -> Path:
        checkpoint, words, names, config, wide = (
            self.folder / name
            for name in ("model.pt", "vocab.txt", "concepts.txt", "config.json", "model.lcw")
        )
        torch.save(model.state_dict(), checkpoint)
        words.write_text("".join(f"{token}\n" for token in vocabulary))
        names.write_text("".join(f"{label}\n" for label in labels))
        config.write_text(json.dumps(blocks))
        engine.call(
            *(self.args.convert, "--lightcap", checkpoint, "--vocab", words, "--concepts", names),
            *("--config", config, "-o", wide),
        )
        return wide


class OnePicture(QuantizedCaptioner):
    """Captions one picture again and again: the networks, whose integers stay, run once."""

    def __init__(self, model: Path) -> None:
        loaded = load_quantized(model)
        super().__init__(loaded.model, loaded.text, loaded.labels)
        self._results: dict[str, tuple[object, dict[str, torch.Tensor]]] = {}

    def _once(self, network: Callable, pixels: np.ndarray, trace: dict[str, torch.Tensor]):
        if network.__name__ not in self._results:
            own: dict[str, torch.Tensor] = {}
            self._results[network.__name__] = network(pixels, own), own
        result, own = self._results[network.__name__]
        trace |= own
        return result

    def encode(self, pixels: np.ndarray, trace: dict[str, torch.Tensor]):
        return self._once(super().encode, pixels, trace)

    def detect_raw(self, pixels: np.ndarray, trace: dict[str, torch.Tensor]):
        return self._once(super().detect_raw, pixels, trace)

    @torch.inference_mode()
    def log_probabilities(self, pixels: np.ndarray, tokens: list[int], rows: Rows) -> np.ndarray:
        """[steps, W], where layers read their rows in another way and the words are given."""
        self.model.use_rows(rows)
        prefix, _, _ = self.look(pixels)
        caption = torch.tensor([[self.special.cls, *tokens]])
        found = self.model(prefix, None, caption, self.special.mask)[0]
        self.model.use_rows(quantize_rows)
        return found.numpy()


def root_mean_square(x: np.ndarray) -> float:
    return float(np.sqrt(np.square(x, dtype=np.float64).mean()))


@torch.inference_mode()
def is_clear(captioner: QuantizedCaptioner, pixels: np.ndarray) -> bool:
    if box_margin(captioner, pixels) < MARGINS["boxes"]:
        return False
    trace = captioner.caption(pixels).trace
    if len(trace["detections"]) < BOXES:
        return False
    if concept_margin(trace["concept_similarity"]) < MARGINS["concepts"]:
        return False
    return word_margin(trace["log_probabilities"], captioner.special) >= MARGINS["words"]


def box_limits(config: Config, pixels: np.ndarray) -> np.ndarray:
    """How far x1 y1 x2 y2 score of a detection may be off."""
    largest = config.detector.image_size + max(max(max(YOLO_ANCHORS)))
    _, geometry = letterbox(pixels, config.detector.image_size)
    corner = BOX_ROUNDINGS * ROUNDING * largest / geometry.ratio
    return np.array([corner] * 4 + [SCORE_ROUNDINGS * ROUNDING])


def largest(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The largest differences along the last axis; infinite where shapes differ."""
    if a.shape != b.shape:
        return np.full(b.shape[-1], np.inf)
    return np.abs(a - b).reshape(-1, b.shape[-1]).max(0)


class Comparison:
    """One model's expected stages, and the first run's detections, which all others must have."""

    def __init__(self, captioner: OnePicture, pixels: np.ndarray) -> None:
        self.expected = captioner.caption(pixels)
        # A row a step; the last word may end the caption in the last slot, with no step behind it.
        tokens = self.expected.tokens[: len(self.expected.trace["log_probabilities"]) - 1]
        self.unrounded = captioner.log_probabilities(pixels, tokens, unrounded_rows)
        noisy = noisy_rows(torch.Generator().manual_seed(1))
        errors = captioner.log_probabilities(pixels, tokens, noisy) - self.unrounded
        self.noise = root_mean_square(errors)
        self.limits = box_limits(captioner.model.config, pixels)
        self.detections = b""
        self.well = True

    def check(self, what: str, answer: engine.Answer) -> None:
        trace = {name: value.numpy() for name, value in self.expected.trace.items()}
        wrong = [s for s in STAGES if answer.trace[s].tobytes() != trace[s].tobytes()]
        found = answer.trace["detections"]
        self.detections = self.detections or found.tobytes()
        if found.tobytes() != self.detections:
            wrong.append("detections, from another instruction set's")
        boxes = largest(found, trace["detections"])
        if not (boxes <= self.limits).all():
            wrong.append("detections")
        if answer.labels != [c.label for c in self.expected.concepts]:
            wrong.append("labels")
        log_probability, noise = float("inf"), float("inf")
        if answer.tokens != self.expected.tokens:
            wrong.append("tokens")
        else:
            errors = answer.trace["log_probabilities"] - self.unrounded
            log_probability, noise = np.abs(errors).max(), root_mean_square(errors) / self.noise
        if not (log_probability <= LOG_PROBABILITY and noise <= NOISE):
            wrong.append("log-probabilities")
        numbers = "".join(f"{x:11.1e}" for x in (boxes[:4].max(), boxes[4], log_probability))
        numbers += f"{noise:9.2f}"
        print(f"{what:56}{numbers}  {', '.join(wrong) or 'same'}", flush=True)
        self.well &= not wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    engine.add_arguments(parser)
    parser.add_argument("--quantize", help="lightcap-quantize (default: models/reference does it)")
    parser.add_argument("--full-size", action="store_true", help="LightCap's own sizes")
    parser.add_argument("--model", type=Path, help="an int8 model (default: random ones are made)")
    parser.add_argument("--image", type=Path, help="a picture (default: one is drawn)")
    parser.add_argument("--seed", type=int, default=3)
    args = parser.parse_args()
    width, height = (640, 480) if args.full_size or args.model else (201, 150)
    pixels = read_image(args.image) if args.image else drawing(width, height, args.seed)
    well = True
    print(f"{'':56}{'boxes, px':>11}{'scores':>11}{'log p':>11}{'noise':>9}")
    with tempfile.TemporaryDirectory(prefix="lightcap-parity-") as name:
        folder = Path(name)
        if args.model:
            well = compare(args, args.model, OnePicture(args.model), pixels, folder, "model")
        else:
            maker = Maker(args, folder, pixels)
            for blocks in configurations():
                model, captioner = maker.make(blocks)
                choices = " ".join(str(value) for b in blocks.values() for value in b.values())
                well &= compare(args, model, captioner, pixels, folder, choices)
    print("parity holds" if well else "parity is broken")
    return 0 if well else 1


def compare(
    args: argparse.Namespace,
    model: Path,
    captioner: OnePicture,
    pixels: np.ndarray,
    folder: Path,
    what: str,
) -> bool:
    """One picture on every instruction set, with one to four threads."""
    picture = folder / "picture.png"
    Image.fromarray(pixels).save(picture)
    comparison = Comparison(captioner, pixels)
    for isa in engine.instruction_sets(args.lightcap):
        for threads in THREADS:
            answer = engine.caption(
                args.lightcap, model, picture, isa, trace=folder / "trace", threads=threads
            )
            comparison.check(f"{what}, {isa}, {threads} threads", answer)
    return comparison.well


if __name__ == "__main__":
    sys.exit(main())
