"""CIDEr-D, and its document frequencies: made once of the training set's captions, kept in a file.

Consensus-based Image Description Evaluation (Vedantam et al., CVPR 2015): the mean over n = 1..4 of the
cosine of tf-idf vectors of n-grams, a candidate's weights clipped to the reference's, with a Gaussian
penalty of the lengths' difference, times 10.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from models.reference.text import is_punctuation, words

from . import checkpoints

LONGEST, SIGMA = 4, 6.0
KEPT = 1 << 14  # references' vectors, of some 6 KB each
Gram = tuple[str, ...]


def spoken(text: str) -> list[str]:
    """The text's words without punctuation."""
    return [word for word in words(text) if not all(map(is_punctuation, word))]


def grams(said: list[str]) -> Counter[Gram]:
    return Counter(tuple(said[i : i + n]) for n in range(1, LONGEST + 1) for i in range(len(said) - n + 1))


class Frequencies:
    """In how many pictures' references each n-gram is."""

    def __init__(self, counts: dict[Gram, int], pictures: int) -> None:
        self.counts, self.pictures = counts, pictures

    @staticmethod
    def of(references: Iterable[list[str]]) -> Frequencies:
        """`references`: each picture's captions."""
        counts: Counter[Gram] = Counter()
        pictures = 0
        for pictures, captions in enumerate(references, 1):
            counts.update(set().union(*(grams(spoken(caption)) for caption in captions)))
        return Frequencies(dict(counts), pictures)

    def save(self, path: Path) -> None:
        counts = {" ".join(gram): n for gram, n in self.counts.items()}
        checkpoints.write_text(path, json.dumps({"pictures": self.pictures, "counts": counts}))

    @staticmethod
    def load(path: Path) -> Frequencies:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return Frequencies({tuple(k.split(" ")): n for k, n in kept["counts"].items()}, kept["pictures"])


class _Vector:
    """tf-idf weights of one caption, by n."""

    def __init__(self, said: list[str], frequencies: Frequencies) -> None:
        self.weights: list[dict[Gram, float]] = [{} for _ in range(LONGEST)]
        self.length = max(len(said) - 1, 0)  # in bigrams, as the published code has it
        most = math.log(frequencies.pictures)
        for gram, count in grams(said).items():
            seen = math.log(max(1.0, frequencies.counts.get(gram, 0)))
            self.weights[len(gram) - 1][gram] = count * (most - seen)
        self.norms = [math.sqrt(sum(w * w for w in part.values())) for part in self.weights]


class CiderD:
    """Scores of captions against references. The vectors of the last references are kept, as several captions in
    a row are scored against the same ones."""

    def __init__(self, frequencies: Frequencies) -> None:
        self.frequencies = frequencies
        self._reference = lru_cache(KEPT)(self._vector)

    def _vector(self, caption: str) -> _Vector:
        return _Vector(spoken(caption), self.frequencies)

    def score(self, caption: str, references: list[str]) -> float:
        mine = self._vector(caption)
        total = 0.0
        for reference in map(self._reference, references):
            likeness = sum(_cosine(mine, reference, n) for n in range(LONGEST)) / LONGEST
            total += likeness * math.exp(-((mine.length - reference.length) ** 2) / (2 * SIGMA**2))
        return 10 * total / len(references)


def _cosine(mine: _Vector, theirs: _Vector, n: int) -> float:
    if mine.norms[n] == 0 or theirs.norms[n] == 0:
        return 0.0
    other = theirs.weights[n]
    common = sum(min(w, other[g]) * other[g] for g, w in mine.weights[n].items() if g in other)
    return common / (mine.norms[n] * theirs.norms[n])
