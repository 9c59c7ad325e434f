"""The losses of pre-training and captioning, for teachers and students."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.reference.lightcap import LightCap

from .config import Captioning, ConfigError, Masking, Pretraining
from .distillation import Teaching
from .examples import Batch, Examples, hide
from .fusion import add_dropout, hidden_states, prefix_of, trained_part
from .loop import World

MATCHED, OTHER_CAPTION, OTHER_CONCEPTS = range(3)


class FusionTask:
    """The part that pre-training and captioning share: a model in training, perhaps taught."""

    def __init__(self, model: LightCap, examples: Examples, world: World, dropout: float,
                 teaching: Teaching | None) -> None:  # fmt: skip
        self.model, self.examples, self.world, self.teaching = model, examples, world, teaching
        self.weights = examples.weights
        self.special, self.notes = examples.text.special, {}
        add_dropout(model, dropout)
        self.module = trained_part(model)
        if teaching is not None:
            self.module["teaching"] = teaching
            teaching.to_device(world.device)
        self.module.to(world.device).train()

    def _hidden(self, model: LightCap, batch: Batch, given: Tensor, attention: str) -> tuple[Tensor, Tensor]:
        """The caption's hidden states [B, n, d], and which rows of the sequence are no padding."""
        filled = batch.caption[:, : given.shape[1]] != self.special.pad
        prefix, seen = prefix_of(model, batch.grid, batch.concepts, self.special.pad, self.special.sep)
        hidden = hidden_states(model, prefix, seen, given, filled, attention, self.special.mask)
        twice = attention == "decoding" and model.config.fusion.decode == "mask"
        return hidden, torch.cat((seen, filled, filled) if twice else (seen, filled), 1)

    def _passes(self, batch: Batch, given: Tensor, attention: str, at: Tensor,
                deep: bool = True) -> tuple[Tensor, Tensor, dict[str, Tensor]]:  # fmt: skip
        """Hidden states, the branches' logits [branches, m, W] at the m positions of `at` [B, n], and the
        losses against the teachers there."""
        with torch.autocast(self.world.device.type, torch.bfloat16, self.world.half):
            hidden, rows = self._hidden(self.model, batch, given, attention)
            logits = self.model.head.logits(hidden[at], self.model.word_embeddings)
        losses: dict[str, Tensor] = {}
        if self.teaching is not None and self.teaching.used:
            theirs = []
            with torch.no_grad(), torch.autocast(self.world.device.type, torch.bfloat16, self.world.half):
                for teacher in self.teaching.teachers:
                    states, _ = self._hidden(teacher, batch, given, attention)
                    theirs.append(teacher.head.logits(states[at], teacher.word_embeddings)[0])
            losses |= self.teaching.token_losses(logits, theirs)
            losses |= self.teaching.deep_losses(rows)
        return hidden, logits.float(), losses


class PretrainingTask(FusionTask):
    """Masked words, and telling captions and concepts that were exchanged."""

    def __init__(self, model: LightCap, examples: Examples, world: World, settings: Pretraining,
                 teaching: Teaching | None = None) -> None:  # fmt: skip
        super().__init__(model, examples, world, settings.schedule.dropout, teaching)
        if not 0 <= settings.exchanged <= 0.5:
            raise ConfigError(f"exchanged is {settings.exchanged}: a share from 0 to 0.5 is wanted")
        self.settings = settings
        self.contrast = nn.Linear(model.config.fusion.width, 3).to(world.device)
        nn.init.normal_(self.contrast.weight, std=0.02)
        self.module["contrast"] = self.contrast

    def losses(self, rows: np.ndarray, rng: np.random.Generator) -> dict[str, Tensor]:
        batch = self.examples.batch(rows, rng)
        kind = self._exchange(batch, rng)
        given, hidden_at = hide(batch.caption, self.settings.masking, self.examples.text, rng)
        # A caption of another picture says nothing of this one's words.
        at = hidden_at & (kind == MATCHED)[:, None]
        if not at.any():
            at = hidden_at
        hidden, logits, losses = self._passes(batch, given, "bidirectional", at)
        wanted = batch.caption[at].expand(len(logits), -1)
        losses["masked"] = F.cross_entropy(logits.flatten(0, 1), wanted.flatten())
        told = F.cross_entropy(self.contrast(hidden[:, 0].float()), kind)
        losses["contrast"] = self.settings.contrast * told
        return losses

    def _exchange(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        """Gives some pictures the caption or the concepts of the next one in the batch: which, [B]."""
        draws, share = rng.random(len(batch.caption)), self.settings.exchanged
        kind = np.select([draws < share, draws < 2 * share], [OTHER_CAPTION, OTHER_CONCEPTS], MATCHED)
        if len(draws) == 1:
            kind[:] = MATCHED
        kind = torch.from_numpy(kind).to(batch.caption.device)
        for name, which in (("caption", OTHER_CAPTION), ("concepts", OTHER_CONCEPTS)):
            mine = getattr(batch, name)
            setattr(batch, name, torch.where((kind == which)[:, None], mine.roll(1, 0), mine))
        return kind


class CaptioningTask(FusionTask):
    """The next word, behind what decoding sees."""

    def __init__(self, model: LightCap, examples: Examples, world: World, settings: Captioning,
                 teaching: Teaching | None = None) -> None:  # fmt: skip
        super().__init__(model, examples, world, settings.schedule.dropout, teaching)
        if settings.predict not in ("masked", "every"):
            raise ConfigError(f"predict is {settings.predict!r}: masked or every is wanted")
        if settings.predict == "masked" and model.config.fusion.decode != "mask":
            raise ConfigError("predict is 'masked', which needs a model whose decode is 'mask'")
        self.settings = settings

    def losses(self, rows: np.ndarray, rng: np.random.Generator) -> dict[str, Tensor]:
        batch = self.examples.batch(rows, rng)
        if self.settings.predict == "masked":
            given, at = hide(batch.caption, self.settings.masking, self.examples.text, rng)
            wanted, attention = batch.caption[at], "causal"
        else:
            given = self._noisy(batch.caption[:, :-1], self.settings.masking, rng)
            at = batch.caption[:, 1:] != self.special.pad
            wanted, attention = batch.caption[:, 1:][at], "decoding"
        _, logits, losses = self._passes(batch, given, attention, at)
        losses["caption"] = F.cross_entropy(
            logits.flatten(0, 1), wanted.expand(len(logits), -1).flatten(),
            label_smoothing=self.settings.smoothing)  # fmt: skip
        return losses

    def _noisy(self, given: Tensor, masking: Masking, rng: np.random.Generator) -> Tensor:
        return hide(given, masking, self.examples.text, rng)[0]
