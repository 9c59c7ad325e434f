"""Words that captions must contain, one of several forms of each (Anderson et al. 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

Form = tuple[int, ...]
# The longest beginning of a form that the caption ends with; None once a form is sure to be there.
Place = Optional[Form]
Places = tuple[Place, ...]  # of each word


class Constraints:
    """Says which of the words a caption has so far.

    A form is there as whole words: the token after it must not continue its last one, as
    `continues` [vocabulary] says.
    """

    def __init__(self, words: list[list[Form]], continues: list[bool]) -> None:
        self.words, self.continues = words, continues
        self.tokens = sorted({token for forms in words for form in forms for token in form})
        self.start: Places = ((),) * len(words)
        self._left: dict[Places, int] = {}

    def next(self, places: Places, token: int) -> Places:
        """The places after one token more."""
        return tuple(
            self._next(forms, place, token) for forms, place in zip(self.words, places)
        )

    def state(self, places: Places) -> Places:
        """Beams are kept apart by this: a form that just came to its end counts as there."""
        return tuple(
            None if place is None or _ends(forms, place) else place
            for forms, place in zip(self.words, places)
        )

    def tokens_left(self, places: Places) -> int:
        """The fewest tokens before a caption has everything."""
        if places not in self._left:
            self._left[places] = next(self._distances(places))
        return self._left[places]

    def _next(self, forms: list[Form], place: Place, token: int) -> Place:
        if place is None or (_ends(forms, place) and not self.continues[token]):
            return None
        longer = place + (token,)
        beginnings = (longer[i:] for i in range(len(longer) + 1))
        return next(b for b in beginnings if any(form[: len(b)] == b for form in forms))

    def _distances(self, places: Places) -> Iterator[int]:
        """Steps to the places that have everything, nearest first."""
        seen, level, distance = {places}, [places], 0
        while level:
            if any(all(place is None for place in self.state(p)) for p in level):
                yield distance
            further = [self.next(p, token) for p in level for token in self.tokens]
            level = [p for p in dict.fromkeys(further) if p not in seen]
            seen |= set(level)
            distance += 1


def _ends(forms: list[Form], place: Form) -> bool:
    return any(place[i:] in forms for i in range(len(place)))
