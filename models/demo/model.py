"""The demo model: its sizes, its vocabulary and its labels."""

from __future__ import annotations

from models.reference.config import Config
from models.reference.lightcap import LightCap
from models.reference.text import SPECIAL, words

from . import grammar, scenes
from .drawings import COLOURS

HYPER = {
    "image_encoder": {"image_size": 160},
    "detector": {"image_size": 192},
    # A label for every box, so that things can be counted.
    "concept_extractor": {"deduplicate": False},
    "fusion": {"heads": 5, "caption_slots": 28, "max_concept_tokens": 24},
}
PROMPT = "a photo of a {}"


def vocabulary() -> list[str]:
    """Special tokens, then every word of the grammar."""
    g = grammar
    texts = [",", PROMPT.format(""), "the and with plus", *g.OPENINGS,
             *(" ".join(s) for s in (*g.SETTINGS.values(), *g.RELATIONS.values())), *g.NUMBER_WORDS.values(),
             *g.COLOUR_WORDS.values(), *g.SIZE_WORDS.values(),
             *(n.replace("/", " ") for n in g.NAMES.values())]  # fmt: skip
    return [*SPECIAL, *sorted({word for text in texts for word in words(text)})]


def labels() -> list[str]:
    """Every kind in every colour that it comes in."""
    return [label(kind, colour) for kind in grammar.NAMES
            for colour in ([""] if kind in scenes.NATURAL else COLOURS)]  # fmt: skip


def label(kind: str, colour: str) -> str:
    return f"{colour} {kind}".strip()


def build() -> LightCap:
    """1.4 M parameters."""
    config = Config().update(HYPER)
    config.image_encoder.width, config.image_encoder.blocks = 16, (1, 1, 1, 1)
    config.detector.widths, config.detector.depths = (8, 12, 24, 40, 64), (1,) * 8
    c, f = config.concept_extractor, config.fusion
    c.hidden, c.embedding, c.vocabulary = 128, 64, len(labels())
    f.width, f.layers, f.feed_forward, f.vocabulary = 130, 3, 260, len(vocabulary())
    config.modulator.width = f.width  # as the model that ships was trained
    f.positions, f.grid_position = f.caption_slots + f.max_concept_tokens, True
    return LightCap(config)
