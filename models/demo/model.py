"""The demo model's vocabulary and labels, as training.json names them."""

from __future__ import annotations

from models.reference.text import SPECIAL, words

from . import grammar, scenes
from .drawings import COLOURS


def vocabulary() -> list[str]:
    """Special tokens, then every word of the grammar."""
    g = grammar
    texts = [",", "a photo of", "the and with plus", *g.OPENINGS,
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
