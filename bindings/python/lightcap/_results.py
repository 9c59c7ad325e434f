"""Results, as values that outlive the model."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Concept:
    """A thing that the model found: a label of its vocabulary for a part of the picture."""

    label: str
    similarity: float
    """The cosine between the part and the label, -1 to 1."""
    score: float
    """The detector's, 0 to 1; 0 where the whole picture stands in for lack of proposals."""
    box: tuple[float, float, float, float]
    """x1, y1, x2, y2 in pixels of the upright picture."""


@dataclass(frozen=True)
class Timings:
    """Milliseconds of each stage; `read_image` is 0 for pixels, and `total` is the whole call."""

    read_image: float = 0.0
    preprocess: float = 0.0
    detector: float = 0.0
    image_encoder: float = 0.0
    concepts: float = 0.0
    fusion_prefix: float = 0.0
    decoding: float = 0.0
    total: float = 0.0


@dataclass(frozen=True)
class Alternative:
    """One of the captions that beam search found."""

    caption: str
    score: float
    tokens: tuple[int, ...]
    token_log_probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Result:
    """A caption; or, from `caption_many`, the reason why a picture has none."""

    caption: str
    """Empty after an error."""
    score: float = 0.0
    """The sum of the tokens' log-probabilities over length ** length_penalty."""
    tokens: tuple[int, ...] = ()
    """Ids of the vocabulary, the one that ends the caption included."""
    concepts: tuple[Concept, ...] = ()
    """One for each proposal, the best first; labels may repeat."""
    timings_ms: Timings = field(default=Timings(), compare=False)
    token_log_probabilities: tuple[float, ...] = ()
    """Natural, of each token given those before it."""
    alternatives: tuple[Alternative, ...] = ()
    """As many as there were beams, the best first, which is the caption."""
    path: str | None = None
    """The picture's path, if it was given as one."""
    error: str | None = None
    """The reason why there is no caption."""

    @property
    def ok(self) -> bool:
        """True if there is a caption."""
        return self.error is None
