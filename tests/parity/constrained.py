"""Captions that must contain words: the engine against models/reference, on random models and words.

    python tests/parity/constrained.py --lightcap BIN --convert BIN [--models N] [--seed N]

Each model is small, has its own weights, vocabulary, way to decode and to average, and is asked for a
caption with one to three words of one to three forms, of a token, of several pieces or of several words,
by a search of one to five beams for each state. On every instruction set of this machine the caption must
have the reference's tokens and contain every word. Models whose caption noise of the size of rounding
would change are left out and counted. No constraint can better the best of all captions
(tests/constrained_search_test.cc has searches that look at all); but beams do not look at all, and the
constrained search has beams for each set of words that a caption may have so far. So its caption is held
against that of a plain search which is as wide in all, and counted beside a narrower one, of the same
--beams. Exit code 1 if a caption differs or scores above, 77 without PyTorch.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import engine  # isort: skip  (leaves where PyTorch is missing)

import numpy as np
import torch
from PIL import Image

from models.reference.config import Config
from models.reference.lightcap import Captioner
from models.reference.margins import box_margin, concept_margin, survives_noise
from models.reference.random_weights import (
    drawing,
    let_captions_end,
    random_labels,
    random_model,
    random_vocabulary,
)
from models.reference.text import WordPiece
from models.reference.text import words as words_of

MARGINS = {"boxes": 2e-5, "concepts": 1e-3, "words": 1e-3}
VOCABULARY = 301
MOST_BEAMS = 32  # lightcap's
Words = list[list[str]]


def random_blocks(rng: np.random.Generator) -> dict[str, dict[str, object]]:
    """As in config.json."""
    return {
        "image_encoder": {"image_size": 64},
        "detector": {"image_size": 64, "max_proposals": 4},
        "fusion": {
            "heads": 2,
            "caption_slots": int(rng.integers(10, 15)),
            "max_concept_tokens": 11,
            "decode": str(rng.choice(["mask", "causal"])),
        },
        "head": {"ensemble": str(rng.choice(["mean_probability", "mean_logit"]))},
    }


def sizes(blocks: dict[str, dict[str, object]]) -> Config:
    config = Config().update(blocks)
    config.image_encoder.width, config.image_encoder.blocks = 4, (1, 1, 1, 1)
    config.detector.widths, config.detector.depths = (4, 6, 8, 10, 12), (1,) * 8
    config.detector.classes = 1
    concepts, fusion = config.concept_extractor, config.fusion
    concepts.hidden, concepts.embedding, concepts.vocabulary = 12, 12, 20
    fusion.width, fusion.layers, fusion.feed_forward = 28, 2, 40
    fusion.vocabulary, fusion.positions, fusion.grid_position = VOCABULARY, 26, True
    config.modulator.width, config.head.branches = 7, 3
    return config


def random_words(rng: np.random.Generator, vocabulary: list[str]) -> Words:
    whole = [token for token in vocabulary if len(token) > 3 and token.isalpha()]
    pieces = [token[2:] for token in vocabulary if token.startswith("##")]

    def form() -> str:
        word = str(rng.choice(whole))
        return str(rng.choice([word, word, word + rng.choice(pieces), f"{word} {rng.choice(whole)}"]))

    return [[form() for _ in range(rng.integers(1, 4))] for _ in range(rng.integers(1, 4))]


class Model:
    """A random model, the words that its caption must contain, and the reference's caption."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.blocks = random_blocks(rng)
        self.vocabulary = random_vocabulary(VOCABULARY, seed)
        config = sizes(self.blocks)
        self.labels = random_labels(config.concept_extractor.vocabulary, self.vocabulary, seed)
        self.pixels = drawing(80, 60, seed)
        model = random_model(config, seed, [self.pixels, self.pixels[:, ::-1].copy()])
        self.captioner = Captioner(model, WordPiece(self.vocabulary), self.labels)
        let_captions_end(self.captioner, self.pixels)
        self.beams, self.alpha = int(rng.integers(1, 6)), float(rng.choice([0.0, 0.6, 1.0]))
        self.words = random_words(rng, self.vocabulary)

    @torch.inference_mode()
    def expect(self) -> list[int] | None:
        """Tokens; None where rounding could change them."""
        captioner = self.captioner
        prefix, _, trace = captioner.look(self.pixels)
        if box_margin(captioner, self.pixels) < MARGINS["boxes"]:
            return None
        if concept_margin(trace["concept_similarity"]) < MARGINS["concepts"]:
            return None
        constraints = captioner.constraints(self.words)
        search = (self.beams, self.alpha)
        if not survives_noise(captioner, prefix, *search, MARGINS["words"], constraints, tries=4):
            return None
        return captioner.decode(prefix, *search, constraints)[0].tokens

    def write(self, convert: str, folder: Path) -> tuple[Path, Path]:
        """The .lcw, and the picture."""
        torch.save(self.captioner.model.state_dict(), folder / "model.pt")
        (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in self.vocabulary))
        (folder / "concepts.txt").write_text("".join(f"{label}\n" for label in self.labels))
        (folder / "config.json").write_text(json.dumps(self.blocks))
        Image.fromarray(self.pixels).save(folder / "picture.png")
        engine.call(
            convert, "--lightcap", folder / "model.pt", "--vocab", folder / "vocab.txt", "--concepts",
            folder / "concepts.txt", "--config", folder / "config.json", "-o", folder / "model.lcw",
        )  # fmt: skip
        return folder / "model.lcw", folder / "picture.png"


def contains_all(captioner: Captioner, words: Words, tokens: list[int]) -> bool:
    """By the words of the caption's text, not by tokens."""
    text = f" {' '.join(words_of(captioner.text.decode(tokens)))} "
    return all(any(f" {form} " in text for form in forms) for forms in words)


def main() -> int:
    parser = argparse.ArgumentParser(prog="constrained", description=__doc__.split("\n")[0])
    engine.add_arguments(parser)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1, help="the first model's")
    args = parser.parse_args()
    torch.set_num_threads(1)
    sets = engine.instruction_sets(args.lightcap)
    compared = unclear = wrong = above = above_narrow = 0
    seed = args.seed
    with tempfile.TemporaryDirectory() as name:
        while compared < args.models:
            model = Model(seed)
            seed += 1
            expected = model.expect()
            if expected is None:
                unclear += 1
                continue
            compared += 1
            files = model.write(args.convert, Path(name))
            penalty = ("--length-penalty", model.alpha)
            required = [part for forms in model.words for part in ("--must-contain", "|".join(forms))]
            for isa in sets:
                found = engine.caption(
                    args.lightcap, *files, isa, model.beams, options=(*penalty, *required))
                if found.tokens != expected:
                    wrong += 1
                    print(f"seed {seed - 1}, {isa}: {found.tokens}, PyTorch {expected}")
                elif not contains_all(model.captioner, model.words, found.tokens):
                    wrong += 1
                    print(f"seed {seed - 1}, {isa}: {found.caption!r} lacks one of {model.words}")
            as_wide = min(model.beams << len(model.words), MOST_BEAMS)
            plain = [engine.caption(args.lightcap, *files, sets[-1], beams, options=penalty)
                     for beams in (model.beams, as_wide)]  # fmt: skip
            above_narrow += found.score > plain[0].score
            above += found.score > plain[1].score
    print(f"{compared} models on {', '.join(sets)}: {wrong} captions differ from PyTorch's or lack a word")
    print(f"{unclear} more were left out, whose captions rounding could change")
    print(f"{above} of {compared} constrained captions score above the plain search's that is as wide in all,"
          f" {above_narrow} above one with as many beams as each set of words has")  # fmt: skip
    return int(wrong + above > 0)


if __name__ == "__main__":
    sys.exit(main())
