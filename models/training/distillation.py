"""The losses of a student against its teachers, TinyBERT's: a teacher for each branch of the head."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.reference.lightcap import LightCap

from .config import ConfigError, Distilled
from .fusion import Watch, freeze


def layer_map(student: int, teacher: int) -> list[int]:
    """g(m), the teacher's layer for each of the student's, from 1: every third of twelve for four. Where
    the depths don't divide, the nearest one; the last has always the last."""
    return [round(m * teacher / student) for m in range(1, student + 1)]


def attention_loss(mine: Tensor, theirs: Tensor, seen: Tensor) -> Tensor:
    """Mean squared error of attention's scores [B, H, n, n] where a row may look; padding's rows, where seen
    [B, n] is false, have no part. Heads that are not as many are compared in their mean."""
    if mine.shape[1] != theirs.shape[1]:
        mine, theirs = mine.mean(1, keepdim=True), theirs.mean(1, keepdim=True)
    looks = torch.isfinite(mine) & torch.isfinite(theirs) & seen[:, None, :, None]
    difference = torch.where(looks, mine, 0) - torch.where(looks, theirs, 0)
    return difference.pow(2).sum() / looks.sum()


def token_loss(mine: Tensor, theirs: Tensor, temperature: float) -> Tensor:
    """KL of a branch's logits [n, W] to its teacher's: the mean over n."""
    t = temperature
    return F.kl_div((mine / t).log_softmax(-1), (theirs / t).log_softmax(-1), reduction="none",
                    log_target=True).sum(-1).mean() * t * t  # fmt: skip


class Teaching(nn.Module):
    """A student's teachers, and the projections of its hidden states to theirs, which are trained."""

    def __init__(self, student: LightCap, teachers: list[LightCap], settings: Distilled) -> None:
        super().__init__()
        branches = student.config.head.branches
        if settings.teachers and len(settings.teachers) != branches:
            raise ConfigError(f"distilled.teachers is {settings.teachers}: one for each of the"
                              f" {branches} branches is wanted, or none")  # fmt: skip
        self.settings = settings
        # Several branches may have one teacher, which then runs once.
        self.used = sorted(set(settings.teachers))
        self.teachers = [freeze(teachers[i]) for i in self.used]  # a list: not saved with the student
        self.of_branch = [self.used.index(i) for i in settings.teachers]
        self.deep = bool(self.used) and settings.attention + settings.hidden > 0
        self.projections = nn.ModuleList()
        if self.deep:
            self.watch = Watch(student.bert)
            self.watches = [Watch(teacher.bert) for teacher in self.teachers]
        if self.deep and settings.hidden > 0:
            width, layers = student.config.fusion.width, student.config.fusion.layers + 1
            self.projections.extend(
                nn.ModuleList(nn.Linear(width, teacher.config.fusion.width) for _ in range(layers))
                for teacher in self.teachers
            )
        for teacher in self.teachers:
            if teacher.config.fusion.vocabulary != student.config.fusion.vocabulary:
                raise ConfigError("a teacher's vocabulary is another one than the student's")

    def to_device(self, device: torch.device) -> None:
        self.to(device)
        for teacher in self.teachers:
            teacher.to(device)

    def deep_losses(self, seen: Tensor) -> dict[str, Tensor]:
        """The losses of attention and hidden states, after student and teachers passed the same rows;
        seen [B, n] says which of them are no padding."""
        losses: dict[str, Tensor] = {}
        if not self.deep:
            return losses
        attention, hidden = [], []
        for i, watch in enumerate(self.watches):
            map_ = layer_map(len(self.watch.scores), len(watch.scores))
            if self.settings.attention > 0:
                attention += [attention_loss(self.watch.scores[m].float(), watch.scores[g - 1].float(), seen)
                              for m, g in enumerate(map_)]  # fmt: skip
            if self.settings.hidden > 0:
                pairs = zip(self.projections[i], self.watch.hidden, [0, *map_])
                hidden += [F.mse_loss(project(mine.float())[seen], watch.hidden[g].float()[seen])
                           for project, mine, g in pairs]  # fmt: skip
        if attention:
            losses["attention"] = self.settings.attention * torch.stack(attention).mean()
        if hidden:
            losses["hidden"] = self.settings.hidden * torch.stack(hidden).mean()
        return losses

    def token_losses(self, branches: Tensor, teachers: list[Tensor]) -> dict[str, Tensor]:
        """Branches' logits [B, n, W] against the teachers' [n, W] each, of the same n positions."""
        if not self.used or self.settings.tokens == 0:
            return {}
        each = [token_loss(mine.float(), teachers[i].float(), self.settings.temperature)
                for mine, i in zip(branches, self.of_branch)]  # fmt: skip
        return {"tokens": self.settings.tokens * torch.stack(each).mean()}
