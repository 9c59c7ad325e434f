"""WordPiece both ways, as BERT uncased does it."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from .decoder import Special

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LONGEST_WORD = 100  # in characters; a longer one is [UNK]
CJK = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


def is_punctuation(c: str) -> bool:
    ascii_symbol = 33 <= ord(c) <= 126 and not c.isalnum()
    return ascii_symbol or unicodedata.category(c).startswith("P")


def is_dropped(c: str) -> bool:
    return ord(c) in (0, 0xFFFD) or (c not in "\t\n\r" and unicodedata.category(c).startswith("C"))


def words(text: str) -> list[str]:
    """Lower case without accents, split at spaces, punctuation and CJK."""
    text = "".join(c for c in text if not is_dropped(c))
    text = unicodedata.normalize("NFD", text.lower())
    spaced = []
    for c in text:
        if unicodedata.category(c) == "Mn":
            continue
        alone = is_punctuation(c) or any(low <= ord(c) <= high for low, high in CJK)
        spaced.append(f" {c} " if alone else c)
    return "".join(spaced).split()


class WordPiece:
    def __init__(self, vocabulary: list[str]) -> None:
        self.vocabulary = vocabulary
        self.ids = {token: i for i, token in enumerate(vocabulary)}
        self.special = Special(*(self.ids[name] for name in SPECIAL))

    @staticmethod
    def from_file(path: Path | str) -> WordPiece:
        return WordPiece(read_lines(path))

    def encode(self, text: str) -> list[int]:
        """Ids without special tokens."""
        return [i for word in words(text) for i in self._pieces(word)]

    def _pieces(self, word: str) -> list[int]:
        """Greedy longest match."""
        pieces, start = [], 0
        while start < len(word) <= LONGEST_WORD:
            for end in range(len(word), start, -1):
                piece = self.ids.get(("##" if start else "") + word[start:end])
                if piece is not None:
                    pieces.append(piece)
                    start = end
                    break
            else:
                break
        return pieces if start == len(word) else [self.special.unk]

    def decode(self, ids: list[int]) -> str:
        text = " ".join(self.vocabulary[i] for i in ids if self.vocabulary[i] not in SPECIAL)
        text = text.replace(" ##", "")
        text = re.sub(r"n ' t(?= |$)", "n't", text)
        text = re.sub(r" ' (m|s|ve|re)(?= |$)", r"'\1", text)
        return re.sub(r" (n't|'m|'s|'ve|'re|[.,!?])(?= |$)", r"\1", text)


def read_lines(path: Path | str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()
