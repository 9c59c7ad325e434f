"""Greedy, beam and constrained search.

The model is a function from partial captions to log-probabilities.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .constraints import Constraints

# Log-probabilities [n, W] of the next token, given n captions of the same length, without [CLS].
NextToken = Callable[[list[list[int]]], Tensor]


@dataclass
class Hypothesis:
    tokens: list[int]
    sum: float  # summed log-probability
    score: float = 0.0  # sum / length^alpha

    def scored(self, alpha: float) -> Hypothesis:
        return Hypothesis(self.tokens, self.sum, self.sum / len(self.tokens) ** alpha)


@dataclass
class Special:
    """Ids of the special tokens."""

    pad: int
    unk: int
    cls: int
    sep: int
    mask: int

    def never(self) -> list[int]:
        """The tokens that are never generated."""
        return [self.pad, self.unk, self.cls, self.mask]


def greedy(
    next_token: NextToken, special: Special, slots: int, alpha: float
) -> tuple[Hypothesis, Tensor]:
    """The caption and its steps' log-probabilities [steps, W] before suppression."""
    caption = Hypothesis([], 0.0)
    rows: list[Tensor] = []
    while len(caption.tokens) < slots - 1 and special.sep not in caption.tokens:
        rows.append(next_token([caption.tokens])[0])
        allowed = rows[-1].clone()
        allowed[special.never()] = float("-inf")
        token = int(allowed.argmax())
        caption = Hypothesis(caption.tokens + [token], caption.sum + float(allowed[token]))
    return caption.scored(alpha), torch.stack(rows)


def beam_search(
    next_token: NextToken, special: Special, slots: int, beams: int, alpha: float
) -> Hypothesis:
    live, pool = [Hypothesis([], 0.0)], []
    for _ in range(1, slots):
        rows = next_token([h.tokens for h in live]).clone()
        rows[:, special.never()] = float("-inf")
        best = torch.topk(rows, min(2 * beams, rows.shape[1]), dim=1)
        grown = [
            Hypothesis(h.tokens + [token], h.sum + value)
            for h, values, tokens in zip(live, best.values.tolist(), best.indices.tolist())
            for value, token in zip(values, tokens)
            if value > float("-inf")
        ]
        grown = sorted(grown, key=lambda h: h.sum, reverse=True)[: 2 * beams]
        pool += [h.scored(alpha) for h in grown if h.tokens[-1] == special.sep]
        pool = sorted(pool, key=lambda h: h.score, reverse=True)[:beams]
        live = [h for h in grown if h.tokens[-1] != special.sep][:beams]
        if not live or (
            len(pool) == beams and all(h.scored(alpha).score <= pool[-1].score for h in live)
        ):
            return pool[0]
    return max(pool + [h.scored(alpha) for h in live], key=lambda h: h.score)


def constrained_search(
    next_token: NextToken,
    special: Special,
    slots: int,
    beams: int,
    alpha: float,
    constraints: Constraints,
) -> Hypothesis:
    """The best caption with everything in it: `beams` beams for each state of the constraints."""
    live, pool = [(Hypothesis([], 0.0), constraints.start)], []
    for length in range(1, slots):
        rows = next_token([h.tokens for h, _ in live]).clone()
        rows[:, special.never()] = float("-inf")
        best = torch.topk(rows, min(2 * beams, rows.shape[1]), dim=1).indices.tolist()
        grown = {}
        for (h, places), row, tokens in zip(live, rows, best):
            for token in dict.fromkeys(tokens + constraints.tokens):
                after, value = constraints.next(places, token), float(row[token])
                room = 0 if token == special.sep else slots - 1 - length
                if value > float("-inf") and constraints.tokens_left(after) <= room:
                    grown.setdefault(constraints.state(after), []).append(
                        (Hypothesis(h.tokens + [token], h.sum + value), after)
                    )
        live = []
        for state in grown.values():
            looked_at = sorted(state, key=lambda x: x[0].sum, reverse=True)[: 2 * beams]
            pool += [h.scored(alpha) for h, _ in looked_at if h.tokens[-1] == special.sep]
            live += [x for x in looked_at if x[0].tokens[-1] != special.sep][:beams]
        pool = sorted(pool, key=lambda h: h.score, reverse=True)[:beams]
        live = sorted(live, key=lambda x: x[0].sum, reverse=True)
        if not live or (
            len(pool) == beams and all(h.scored(alpha).score <= pool[-1].score for h, _ in live)
        ):
            return pool[0]
    done = [h.scored(alpha) for h, places in live if constraints.tokens_left(places) == 0]
    return max(pool + done, key=lambda h: h.score)
