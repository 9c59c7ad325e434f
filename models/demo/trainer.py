"""One step's losses of the demo model, all blocks at once."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.reference.detector import propose
from models.reference.lightcap import LightCap
from models.reference.text import WordPiece

from . import grammar
from .losses import detector_loss, mean_of_boxes
from .model import HYPER, PROMPT, labels, vocabulary
from .training_data import mirrored

EMPHASIS = 2.0  # on words of number and relation: the last to be learnt


def _cpu_has_bfloat16() -> bool:
    """True if a product of bfloat16 vectors is an instruction (Linux's names for it)."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "bf16" in flags


class TextTower(nn.Module):
    """Labels' prompts as bags of words -> unit embeddings [N, E]."""

    def __init__(self, text: WordPiece, embedding: int) -> None:
        super().__init__()
        self.prompts = [torch.tensor(text.encode(PROMPT.format(name))) for name in labels()]
        self.words = nn.EmbeddingBag(len(text.vocabulary), 64, mode="sum")
        self.out = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, embedding))
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self) -> Tensor:
        bags = self.words(torch.cat(self.prompts), torch.tensor(
            [0, *itertools.accumulate(len(p) for p in self.prompts)][:-1]))  # fmt: skip
        return F.normalize(self.out(bags), dim=-1)


class Trainer:
    def __init__(self, model: LightCap, text: WordPiece) -> None:
        self.model, self.text = model, text
        self.tower = TextTower(text, model.config.concept_extractor.embedding)
        self.device = torch.get_default_device().type
        # Products in bfloat16, twice as fast where it is native (and ten times slower where it is
        # not); weights, norms and losses stay in single precision.
        self.half = self.device == "cuda" or _cpu_has_bfloat16()
        # The detector's channels are too few to gain by it.
        model.image_encoder.to(memory_format=torch.channels_last)
        self.sides = [text.encode(word)[0] for word in ("left", "right")]
        self.label_ids = [text.encode(name) for name in labels()]
        phrases = [*grammar.NUMBER_WORDS.values(), *(" ".join(p) for p in grammar.RELATIONS.values()), "and"]
        self.emphasised = torch.tensor(sorted({i for phrase in phrases for i in text.encode(phrase)}))

    def parameters(self) -> list[nn.Parameter]:
        return [*self.model.parameters(), *self.tower.parameters()]

    def concept_tokens(self, found: list[list[int]]) -> Tensor:
        """Labels of each image -> ids [B, M] with [SEP], padded with [PAD]."""
        most = self.model.config.fusion.max_concept_tokens - 1
        rows = [[i for one in names for i in self.label_ids[one]][:most]
                + [self.text.special.sep] for names in found]  # fmt: skip
        length = max(map(len, rows))
        return torch.tensor([row + [self.text.special.pad] * (length - len(row)) for row in rows])

    @torch.no_grad()
    def proposals(self, board: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """As inference has them, best first: boxes [n, 4] in the encoder's pixels, and their images [n]."""
        config, size = self.model.config.detector, self.model.config.image_encoder.image_size
        with torch.autocast(self.device, torch.bfloat16, self.half):
            raw = self.model.detector(board.permute(0, 3, 1, 2).float() / 255)
        cells, objectness, scores = self.model.detector.boxes([y.float() for y in raw])
        # Every thing is known in both inputs' pixels, so the first one gives the way between them.
        ours, theirs = boxes[:, 0, :4], boxes[:, 0, 4:]
        scale = (ours[:, 2:] - ours[:, :2]) / (theirs[:, 2:] - theirs[:, :2])
        offset = ours[:, :2] - theirs[:, :2] * scale
        found, images = [], []
        # Suppression goes box by box: on the CPU, whatever the network ran on.
        with torch.device("cpu"):
            scale, offset = scale.cpu(), offset.cpu()
            for i, image in enumerate(zip(cells.cpu(), objectness.cpu(), scores.cpu())):
                kept, _ = propose(*image, config.confidence_threshold, config.iou_threshold,
                                  config.max_proposals)  # fmt: skip
                kept = (kept * scale[i].repeat(2) + offset[i].repeat(2)).clamp(0, size)
                if not len(kept):
                    kept = torch.tensor([[0.0, 0.0, size, size]])
                found.append(kept)
                images.append(torch.full((len(kept),), i))
        return torch.cat(found).to(self.device), torch.cat(images).to(self.device)

    def embedded(self, v: Tensor, boxes: Tensor, image: Tensor) -> Tensor:
        """Boxes [n, 4] of images [n] -> unit embeddings [n, E]."""
        extractor = self.model.concept_extractor
        features = mean_of_boxes(v, boxes, image, extractor.roi_size, extractor.sampling_ratio)
        return extractor.embed(features)

    def seen_concepts(self, v: Tensor, board: Tensor, boxes: Tensor) -> list[list[int]]:
        """Each image's labels, as the graph finds them."""
        where, image = self.proposals(board, boxes)
        with torch.no_grad():
            said = (self.embedded(v, where, image) @ self.tower().T).argmax(1)
        found: list[list[int]] = [[] for _ in range(len(board))]
        for i, label in zip(image.tolist(), said.tolist()):
            found[i].append(label)
        return found

    def losses(self, batch: tuple[Tensor, ...], weights: Tensor, rng: np.random.Generator,
               detect: bool = True, finish: bool = False) -> dict[str, Tensor]:  # fmt: skip
        model = self.model
        view, board, boxes, kinds, captions = mirrored(batch, *self.sides, rng)
        encoder = model.config.image_encoder
        x = view.permute(0, 3, 1, 2).float() / 255
        x = (x - torch.tensor(encoder.mean)[:, None, None]) / torch.tensor(encoder.std)[:, None, None]
        losses = {}
        with torch.autocast(self.device, torch.bfloat16, self.half):
            v = model.image_encoder(x).float()
        if detect:  # on half of the batch
            half = len(board) // 2
            with torch.autocast(self.device, torch.bfloat16, self.half):
                raw = model.detector(board[:half].permute(0, 3, 1, 2).float() / 255)
            losses["detector"] = detector_loss(model, [y.float() for y in raw],
                                               boxes[:half, :, 4:], kinds[:half])  # fmt: skip
        image, thing = (kinds >= 0).nonzero(as_tuple=True)
        roi_boxes = boxes[image, thing, :4]
        sides = (roi_boxes[:, 2:] - roi_boxes[:, :2]).repeat(1, 2)
        roi_boxes = roi_boxes + sides * torch.tensor(rng.normal(0, 0.04, sides.shape), dtype=sides.dtype)
        logits = self.embedded(v, roi_boxes, image) @ self.tower().T * self.tower.scale.exp()
        losses["concepts"] = F.cross_entropy(logits, kinds[image, thing])
        if finish:
            found = self.seen_concepts(v, board, boxes)
        else:
            found = self.guessed_concepts(logits, image, kinds[image, thing], len(view), rng)
        losses["caption"] = self.caption_loss(v, found, captions, weights, rng)
        return losses

    def guessed_concepts(self, logits: Tensor, image: Tensor, kinds: Tensor, count: int,
                         rng: np.random.Generator) -> list[list[int]]:  # fmt: skip
        """While the detector knows nothing yet: what the extractor says of true boxes, or the truth, in
        random order. A box in twelve is overlooked, and in one picture of twenty all are, so that
        captions also learn from the grid alone."""
        said, truth = logits.argmax(1).tolist(), kinds.tolist()
        found: list[list[int]] = [[] for _ in range(count)]
        blind = rng.random(count) < 0.05
        for i in rng.permutation(len(said)):
            if not blind[image[i]] and rng.random() > 1 / 12:
                found[image[i]].append(said[i] if rng.random() < 0.5 else truth[i])
        return found

    def caption_loss(self, v: Tensor, found: list[list[int]], captions: Tensor, weights: Tensor,
                     rng: np.random.Generator) -> Tensor:  # fmt: skip
        """The loss of one of each image's captions; each branch has weights [3, B] of the images."""
        model, special = self.model, self.text.special
        tokens = self.concept_tokens(found)
        filled = tokens != special.pad
        seen = torch.cat((filled, filled.new_ones(len(v), model.config.image_encoder.grid**2)), 1)
        caption = captions[torch.arange(len(v)), torch.tensor(rng.integers(0, 5, len(v)))]
        caption = caption[:, : int((caption != special.pad).sum(1).max())]
        given, wanted = caption[:, :-1], caption[:, 1:]
        hide = torch.tensor(rng.random(given.shape) < 0.1) & (given != special.cls)
        with torch.autocast(self.device, torch.bfloat16, self.half):
            modulated, _ = model.modulate(v, tokens, filled & (tokens != special.sep))
            hidden = model.bert.predict(model.prefix(modulated, tokens), seen,
                                        given.masked_fill(hide, special.mask),
                                        model.config.fusion.decode, special.mask)  # fmt: skip
            branches = model.head.logits(hidden, model.word_embeddings)
        of_words = 1 + (EMPHASIS - 1) * torch.isin(wanted, self.emphasised)
        per_branch = []
        for logits, weight in zip(branches, weights):
            loss = F.cross_entropy(logits.float().transpose(1, 2), wanted, ignore_index=special.pad,
                                   reduction="none")  # fmt: skip
            loss = (loss * of_words).sum(1)
            per_branch.append((loss * weight).sum() / (weight * (wanted != special.pad).sum(1)).sum())
        return torch.stack(per_branch).mean()


def write(out: Path, trainer: Trainer) -> None:
    """Writes the files that lightcap-convert takes."""
    with torch.no_grad():
        trainer.model.concept_extractor.vocabulary.copy_(trainer.tower())
    torch.save(trainer.model.state_dict(), out / "model.pt")
    (out / "vocab.txt").write_text("\n".join(vocabulary()) + "\n")
    (out / "labels.txt").write_text("\n".join(labels()) + "\n")
    (out / "config.json").write_text(json.dumps(HYPER, indent=2) + "\n")
