"""The whole of LightCap at its own sizes: the engine against PyTorch, on the same weights.

    python tests/parity/full_size.py --lightcap BIN --convert BIN [--image F] [--quick]

Seeded weights, converted once for each combination of resize, decode and ensemble (--quick: two of
them); each runs on every instruction set of this machine, with greedy search and five beams. Prints
a table of the largest errors. Exit code 1 if one is beyond its limit, 77 without PyTorch.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import engine  # isort: skip  (leaves where PyTorch is missing)

import numpy as np
import torch
from PIL import Image

from models.reference.config import Config
from models.reference.lightcap import Captioner, Concept, load_captioner
from models.reference.margins import box_margin, concept_margin, word_margin
from models.reference.preprocess import read_image
from models.reference.random_weights import (
    drawing,
    let_captions_end,
    random_labels,
    random_model,
    random_vocabulary,
)
from models.reference.text import WordPiece

LIMITS = {
    "input": 1.0,  # levels of 255
    "features": 1e-3,  # of the largest feature
    "boxes": 0.1,  # pixels of the image
    "log p": 2e-3,
    "score": 2e-3,
}
# The smallest distance of the best to the next for weights to be used: several usual errors.
MARGINS = {"boxes": 2e-5, "concepts": 5e-5, "words": 1e-3}
BEAMS = (1, 5)
Blocks = dict[str, dict[str, str]]  # as in config.json


@dataclass
class Expected:
    """PyTorch's results for one configuration."""

    concepts: list[Concept]
    trace: dict[str, torch.Tensor]
    tokens: dict[int, list[int]]  # by number of beams
    score: dict[int, float]


@torch.inference_mode()
def expect(captioner: Captioner, pixels: np.ndarray) -> Expected:
    prefix, concepts, trace = captioner.look(pixels)
    found = Expected(concepts, trace, {}, {})
    for beams in BEAMS:
        best, rows = captioner.decode(prefix, beams)
        found.tokens[beams], found.score[beams] = best.tokens, best.score
        if rows is not None:
            trace["log_probabilities"] = rows
    return found


def largest(a: np.ndarray, b: torch.Tensor, scale: np.ndarray | float = 1.0) -> float:
    """The largest difference, infinite where shapes differ or something is not a number."""
    if a.shape != tuple(b.shape):
        return float("inf")
    difference = np.abs(a - b.numpy()) * scale
    return float(difference.max()) if np.isfinite(difference).all() else float("inf")


def compare(
    expected: Expected, answer: engine.Answer, beams: int, config: Config
) -> dict[str, float]:
    """Errors by the names of LIMITS, and `same`: 1 where a label or token differs."""
    found = {"score": abs(answer.score - expected.score[beams])}
    boxes = torch.tensor([c.box for c in expected.concepts])
    found["boxes"] = largest(answer.boxes, boxes)
    if answer.trace:
        levels = 255 * np.array(config.image_encoder.std).reshape(3, 1, 1)
        features = expected.trace["image_features"]
        found["input"] = largest(
            answer.trace["encoder_input"], expected.trace["encoder_input"], levels
        )
        found["features"] = largest(answer.trace["image_features"], features) / float(
            features.abs().max()
        )
        if answer.tokens == expected.tokens[beams]:
            rows = expected.trace["log_probabilities"]
            found["log p"] = largest(answer.trace["log_probabilities"], rows)
    same_labels = answer.labels == [c.label for c in expected.concepts]
    found["labels"] = 0.0 if same_labels else 1.0
    found["tokens"] = 0.0 if answer.tokens == expected.tokens[beams] else 1.0
    return found


def first_difference(expected: Expected, answer: engine.Answer) -> str:
    """Each stage's largest error in order, to see where two runs part."""
    stages = (
        "encoder_input detector_input image_features detections roi_features concept_similarity "
        "gate prefix log_probabilities"
    ).split()
    parts = []
    for name in stages:
        if name in answer.trace:
            parts.append(f"{name} {largest(answer.trace[name], expected.trace[name]):.1e}")
    return ", ".join(parts)


def header() -> str:
    names = "".join(f"{name:>10}" for name in LIMITS)
    limits = "".join(f"{limit:>10.0e}" for limit in LIMITS.values())
    title = f"{'isa':8}{'configuration':44}{'beams':6}"
    return f"{title}{names}    labels  tokens\n{'limit':58}{limits}"


def row(isa: str, name: str, beams: int, errors: dict[str, float]) -> str:
    numbers = "".join(f"{errors[k]:10.1e}" if k in errors else f"{'':10}" for k in LIMITS)
    same = ["same" if errors[k] == 0 else "DIFFER" for k in ("labels", "tokens")]
    return f"{isa:8}{name:44}{beams:<6}{numbers}    {same[0]:8}{same[1]}"


def failed(errors: dict[str, float]) -> bool:
    beyond = any(errors.get(name, 0.0) > limit for name, limit in LIMITS.items())
    return beyond or errors["labels"] != 0 or errors["tokens"] != 0


def make_checkpoint(folder: Path, pixels: np.ndarray, group: list[Blocks], seed: int) -> None:
    """model.pt, vocab.txt and concepts.txt: weights calibrated on the picture."""
    config = Config().update(group[-1])
    vocabulary = random_vocabulary(config.fusion.vocabulary, seed)
    labels = random_labels(config.concept_extractor.vocabulary, vocabulary, seed)
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in vocabulary))
    (folder / "concepts.txt").write_text("".join(f"{label}\n" for label in labels))
    pictures = [pixels, np.ascontiguousarray(pixels[:, ::-1])]
    while True:
        model = random_model(config, seed, pictures)
        captioner = Captioner(model, WordPiece(vocabulary), labels)
        let_captions_end(captioner, pixels)
        if is_clear(captioner, pixels, group):
            break
        seed += 1  # nothing is wrong with these weights, but nothing can be told from them
    torch.save(model.state_dict(), folder / "model.pt")


@torch.inference_mode()
def is_clear(captioner: Captioner, pixels: np.ndarray, group: list[Blocks]) -> bool:
    """True if boxes, labels and words win by more than rounding in every configuration."""
    if box_margin(captioner, pixels) < MARGINS["boxes"]:
        return False
    for blocks in group:
        captioner.model.config.update(blocks)
        trace = captioner.caption(pixels).trace
        if concept_margin(trace["concept_similarity"]) < MARGINS["concepts"]:
            return False
        if word_margin(trace["log_probabilities"], captioner.special) < MARGINS["words"]:
            return False
    return True


def run_configuration(
    args: argparse.Namespace, folder: Path, pixels: np.ndarray, blocks: Blocks
) -> bool:
    """Converts, runs, compares, prints; whether all is well."""
    name = " ".join(choice for block in blocks.values() for choice in block.values())
    checkpoint, vocabulary, labels = (folder / f for f in ("model.pt", "vocab.txt", "concepts.txt"))
    config, model = folder / "config.json", folder / "model.lcw"
    config.write_text(json.dumps(blocks))
    engine.call(
        *(args.convert, "--lightcap", checkpoint, "--vocab", vocabulary, "--concepts", labels),
        *("--config", config, "-o", model),
    )
    captioner = load_captioner(str(checkpoint), str(vocabulary), str(labels), blocks)
    expected = expect(captioner, pixels)
    well = True
    for isa, beams in itertools.product(args.isas, BEAMS):
        trace = folder / f"trace_{isa}" if beams == 1 else None
        answer = engine.caption(args.lightcap, model, folder / "picture.png", isa, beams, trace)
        errors = compare(expected, answer, beams, captioner.model.config)
        if trace is not None:
            # Without a trace most words are spared their log-probabilities.
            plain = engine.caption(args.lightcap, model, folder / "picture.png", isa, beams)
            if (plain.tokens, plain.score) != (answer.tokens, answer.score):
                errors["tokens"] = 1.0
        print(row(isa, name, beams, errors), flush=True)
        if failed(errors):
            well = False
            print(f"  engine:  {answer.tokens} {answer.labels}")
            print(f"  PyTorch: {expected.tokens[beams]} {[c.label for c in expected.concepts]}")
            print(f"  stages:  {first_difference(expected, answer)}")
    return well


def configurations(quick: bool) -> list[list[Blocks]]:
    """By ensemble: each has its own checkpoint."""
    found = [
        [
            {"image_encoder": {"resize": r}, "fusion": {"decode": d}, "head": {"ensemble": e}}
            for r, d in itertools.product(("stretch", "center_crop"), ("mask", "causal"))
        ]
        for e in ("mean_probability", "mean_logit")
    ]
    return [found[0][:1], found[1][-1:]] if quick else found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    engine.add_arguments(parser)
    parser.add_argument("--image", type=Path, help="a picture (default: one is drawn)")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--isa", dest="isas", action="append", help="only this one (repeatable)")
    parser.add_argument("--quick", action="store_true", help="two configurations")
    args = parser.parse_args()
    args.isas = args.isas or engine.instruction_sets(args.lightcap)
    pixels = read_image(args.image) if args.image else drawing(640, 480, args.seed)

    well = True
    print(header())
    with tempfile.TemporaryDirectory(prefix="lightcap-parity-") as name:
        folder = Path(name)
        # As PNG, so that both read the same pixels whatever their JPEG decoders round.
        Image.fromarray(pixels).save(folder / "picture.png")
        for group in configurations(args.quick):
            make_checkpoint(folder, pixels, group, args.seed)
            for blocks in group:
                well &= run_configuration(args, folder, pixels, blocks)
    print("parity holds" if well else "parity is broken")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
