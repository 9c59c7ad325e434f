"""Self-critical training on CIDEr-D (Rennie et al., CVPR 2017): samples that beat a baseline get likelier."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from models.reference.lightcap import LightCap

from .cider import CiderD
from .config import CiderTraining, ConfigError
from .examples import Examples
from .fusion import add_dropout, hidden_states, prefix_of, trained_part
from .loop import World
from .sampling import allowed, best, drawn, generate


class CiderTask:
    def __init__(self, model: LightCap, examples: Examples, world: World, settings: CiderTraining,
                 scorer: CiderD) -> None:  # fmt: skip
        if settings.baseline not in ("greedy", "others"):
            raise ConfigError(f"baseline is {settings.baseline!r}: greedy or others is wanted")
        if settings.samples < (2 if settings.baseline == "others" else 1):
            raise ConfigError(f"samples is {settings.samples}: too few for the baseline")
        self.model, self.examples, self.world = model, examples, world
        self.settings, self.scorer = settings, scorer
        self.weights = examples.weights
        self.special, self.notes = examples.text.special, {}
        add_dropout(model, settings.schedule.dropout)
        self.module = trained_part(model).to(world.device).train()

    def rewards(self, tokens: Tensor, references: list[list[str]]) -> Tensor:
        """CIDEr-D [B] of captions [B, n]."""
        scores = [self.scorer.score(self.examples.text.decode(ids), texts)
                  for ids, texts in zip(tokens.tolist(), references)]  # fmt: skip
        return torch.tensor(scores, device=self.world.device)

    def losses(self, rows: np.ndarray, rng: np.random.Generator) -> dict[str, Tensor]:
        n, device = self.settings.samples, self.world.device
        references = [self.examples.references(int(row)) for row in rows]
        grid, concepts = self.examples.features.grid(rows, device), self.examples.concepts(rows)
        said, plain = self._captions(grid, concepts)
        with torch.autocast(device.type, torch.bfloat16, self.world.half):
            prefix, seen = prefix_of(self.model, grid, concepts, self.special.pad, self.special.sep)
            several, seen_by = prefix.repeat_interleave(n, 0), seen.repeat_interleave(n, 0)
            chances = self._chances(several, seen_by, said)
        reward = self.rewards(said, [texts for texts in references for _ in range(n)]).view(-1, n)
        greedy = self.rewards(plain, references)
        base = greedy[:, None]
        if self.settings.baseline == "others":
            base = (reward.sum(1, keepdim=True) - reward) / (n - 1)
        spoken = said != self.special.pad
        gain = (reward - base).view(-1, 1)
        loss = -(gain * chances * spoken).sum() / spoken.sum()
        # The loss itself is noise around zero: these say what is learnt.
        self.notes = {"reward": reward.mean(), "greedy": greedy.mean()}
        return {"cider": loss}

    @torch.no_grad()
    def _captions(self, grid: Tensor, concepts: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of the samples [B * samples, n] and of the greedy captions [B, n], made as they will be:
        without dropout, in the prefix neither."""
        n = self.settings.samples
        self.module.eval()
        # An autocast of its own, whose copies of weights, which have no gradient, end with it.
        with torch.autocast(self.world.device.type, torch.bfloat16, self.world.half):
            prefix, seen = prefix_of(self.model, grid, concepts, self.special.pad, self.special.sep)
            several, seen_by = prefix.repeat_interleave(n, 0), seen.repeat_interleave(n, 0)
            said = generate(self.model, several, seen_by, self.special, drawn, self.settings.temperature)
            plain = generate(self.model, prefix, seen, self.special, best)
        self.module.train()
        return said, plain

    def _chances(self, prefix: Tensor, seen: Tensor, said: Tensor) -> Tensor:
        """Log-probabilities [B, n] of the words said, in one pass."""
        first = torch.full_like(said[:, :1], self.special.cls)
        given = torch.cat((first, said[:, :-1]), 1)
        hidden = hidden_states(self.model, prefix, seen, given, given != self.special.pad, "decoding",
                               self.special.mask)  # fmt: skip
        words = self.model.head(hidden, self.model.word_embeddings, self.model.config.head.ensemble)
        words = allowed(words.float(), self.special, self.settings.temperature)
        # [PAD] is never said: its place behind a caption's end is masked by the caller.
        return words.gather(2, said[..., None])[..., 0].masked_fill(said == self.special.pad, 0)
