"""Trains the demo model from nothing: python -m models.demo.train --out RUN. Resumes from RUN.

All blocks train together, on the modules of models/reference: the detector on boxes; the concept
extractor against a small text tower's embeddings of "a photo of a [object]"; modulator, fusion and
head on captions, in the graph's own decoding. The branches differ by their data: each weighs the
training scenes by its own exponential draw (a Bayesian bootstrap). The last steps finish it on what
inference has: the concepts of the trained detector's own proposals, in their order, with its misses and
its doubles; pictures are mirrored by half of the time, and numbers and relations weigh more.
RUN/{model.pt,vocab.txt,labels.txt,config.json} are lightcap-convert's --lightcap, --vocab,
--concepts and --config.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import math
import multiprocessing
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from models.reference.concept_extractor import SPATIAL_SCALE, _interpolation
from models.reference.config import Config
from models.reference.detector import propose
from models.reference.lightcap import LightCap
from models.reference.preprocess import letterbox
from models.reference.text import SPECIAL, WordPiece, words

from . import grammar, scenes
from .drawings import COLOURS

HYPER = {
    "image_encoder": {"image_size": 160},
    "detector": {"image_size": 192},
    # A label for every box, so that things can be counted.
    "concept_extractor": {"deduplicate": False},
    "fusion": {"heads": 5, "caption_slots": 28, "max_concept_tokens": 24},
}
MOST_THINGS = 9  # in a scene: three groups of three
PROMPT = "a photo of a {}"
TRAIN_SEED = 11
DETECTOR_SHARE = 0.45  # of the steps before the finish: boxes are learnt sooner than captions
FINISH_RATE = 6e-4
EMPHASIS = 2.0  # on words of number and relation in the finish: what is left to learn by then


def vocabulary() -> list[str]:
    """Special tokens, then every word of the grammar."""
    g = grammar
    texts = [",", PROMPT.format(""), "the and with plus", *g.OPENINGS, *(" ".join(s) for s in g.SETTINGS.values()),
             *(" ".join(s) for s in g.RELATIONS.values()), *g.NUMBER_WORDS.values(),
             *g.COLOUR_WORDS.values(), *g.SIZE_WORDS.values(),
             *(n.replace("/", " ") for n in g.NAMES.values())]  # fmt: skip
    return [*SPECIAL, *sorted({word for text in texts for word in words(text)})]


def labels() -> list[str]:
    """Every kind in every colour that it comes in."""
    return [label(kind, colour) for kind in grammar.NAMES
            for colour in ([""] if kind in scenes.NATURAL else COLOURS)]  # fmt: skip


def label(kind: str, colour: str) -> str:
    return f"{colour} {kind}".strip()


def build() -> LightCap:
    """1.4 M parameters."""
    config = Config().update(HYPER)
    config.image_encoder.width, config.image_encoder.blocks = 16, (1, 1, 1, 1)
    config.detector.widths, config.detector.depths = (8, 12, 24, 40, 64), (1,) * 8
    c, f = config.concept_extractor, config.fusion
    c.hidden, c.embedding, c.vocabulary = 128, 64, len(labels())
    f.width, f.layers, f.feed_forward, f.vocabulary = 130, 3, 260, len(vocabulary())
    f.positions, f.grid_position = f.caption_slots + f.max_concept_tokens, True
    return LightCap(config)


def _cpu_has_bfloat16() -> bool:
    """Whether a product of bfloat16 vectors is an instruction (Linux's names for it)."""
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


def _worn(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Half of the pictures as they come from elsewhere: through a smaller size, or through JPEG."""
    width, height = picture.size
    if rng.random() < 0.3:
        scale = rng.uniform(0.5, 1.0)
        small = picture.resize((round(width * scale), round(height * scale)), Image.Resampling.BICUBIC)
        picture = small.resize((width, height), Image.Resampling.BICUBIC)
    if rng.random() < 0.3:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=int(rng.integers(60, 96)))
        picture = Image.open(file).convert("RGB")
    return picture


def _example(index: int) -> tuple[np.ndarray, ...]:
    """Encoder view, detector view padded to a square, boxes in both, labels, captions' ids."""
    text, names = WordPiece(vocabulary()), labels()
    slots, side = HYPER["fusion"]["caption_slots"], HYPER["detector"]["image_size"]
    size = HYPER["image_encoder"]["image_size"]
    scene, picture, captions = scenes.generate(TRAIN_SEED, index)
    picture = _worn(picture, np.random.default_rng((TRAIN_SEED, index, 1)))
    view = np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC))
    padded, geometry = letterbox(np.asarray(picture), side)
    board = np.full((side, side, 3), 114, np.uint8)
    top, left = (side - padded.shape[0]) // 64 * 32, (side - padded.shape[1]) // 64 * 32
    board[top : top + padded.shape[0], left : left + padded.shape[1]] = padded
    boxes, kinds = np.zeros((MOST_THINGS, 8), np.float32), np.full(MOST_THINGS, -1)
    things = [(box, group) for group in scene.groups for box in group.boxes]
    for i, (box, group) in enumerate(things):
        boxes[i, :4] = np.array(box) * ([size / scene.width, size / scene.height] * 2)
        boxes[i, 4:] = np.array(box) * geometry.ratio + [geometry.left + left, geometry.top + top] * 2
        kinds[i] = names.index(label(group.kind, group.colour))
    ids = np.zeros((5, slots), np.int64)
    for row, caption in zip(ids, captions):
        tokens = [text.special.cls, *text.encode(caption)][: slots - 1] + [text.special.sep]
        row[: len(tokens)] = tokens
    return view, board, boxes, kinds, ids


def dataset(out: Path, count: int, workers: int) -> tuple[Tensor, ...]:
    """Rendered once, kept in RUN."""
    file = out / f"scenes{count}.pt"
    if not file.exists():
        with multiprocessing.Pool(workers) as pool:
            rows = []
            for row in pool.imap(_example, range(count), 64):
                rows.append(row)
                if len(rows) % 500 == 0:
                    print(f"\rdrawing {len(rows)}/{count}", end="", flush=True)
        print()
        part_file = file.with_suffix(".part")
        torch.save(tuple(torch.from_numpy(np.stack(part)) for part in zip(*rows)), part_file)
        part_file.rename(file)  # whole or not at all
    return torch.load(file, map_location="cpu", mmap=True)


def detector_loss(model: LightCap, raw: list[Tensor], boxes: Tensor, kinds: Tensor) -> Tensor:
    """YOLOv5's: anchors within 4 times the box's sides, the centre's cell and two neighbours."""
    loss = raw[0].new_zeros(())
    image, thing = (kinds >= 0).nonzero(as_tuple=True)
    corners = boxes[image, thing]
    center, sides = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
    for y, anchors, stride, balance in zip(raw, model.detector.model[24].anchors, (8, 16, 32),
                                           (4.0, 1.0, 0.4)):  # fmt: skip
        _, _, h, w, _ = y.shape
        target = torch.zeros_like(y[..., 4])
        at, wh = center / stride, sides / stride
        ratio = wh[:, None] / anchors  # [n, A, 2]
        n, a = (torch.maximum(ratio, 1 / ratio).amax(-1) < 4).nonzero(as_tuple=True)
        offsets = torch.tensor([[0, 0], [-0.5, 0], [0.5, 0], [0, -0.5], [0, 0.5]])
        cells = (at[n][:, None] + offsets).floor().long()  # [m, 5, 2]
        fresh = torch.ones(cells.shape[:2], dtype=torch.bool)
        fresh[:, 1:] = (cells[:, 1:] != cells[:, :1]).any(-1)
        inside = (cells >= 0).all(-1) & (cells[..., 0] < w) & (cells[..., 1] < h)
        m, o = (fresh & inside).nonzero(as_tuple=True)
        if len(m):
            cx, cy = cells[m, o].unbind(-1)
            n, a = n[m], a[m]
            p = y[image[n], a, cy, cx]
            xy = 2 * p[:, :2].sigmoid() - 0.5 + cells[m, o]
            size = (2 * p[:, 2:4].sigmoid()) ** 2 * anchors[a]
            low = torch.maximum(xy - size / 2, at[n] - wh[n] / 2)
            high = torch.minimum(xy + size / 2, at[n] + wh[n] / 2)
            common = (high - low).clamp(min=0).prod(-1)
            iou = common / (size.prod(-1) + wh[n].prod(-1) - common)
            span = (torch.maximum(xy + size / 2, at[n] + wh[n] / 2)
                    - torch.minimum(xy - size / 2, at[n] - wh[n] / 2)).pow(2).sum(-1)  # fmt: skip
            loss = loss + (1 - iou + (xy - at[n]).pow(2).sum(-1) / span).mean()
            loss = loss + 0.1 * F.binary_cross_entropy_with_logits(p[:, 5], torch.ones(len(p)))
            target[image[n], a, cy, cx] = 0.5 + 0.5 * iou.detach()
        loss = loss + 4 * balance * F.binary_cross_entropy_with_logits(y[..., 4], target)
    return loss


def mean_of_boxes(features: Tensor, boxes: Tensor, image: Tensor, bins: int, samples: int) -> Tensor:
    """ConceptExtractor.roi_features, whose mean of bilinear samples is a product of two means: [n, C]."""
    start, length = boxes[:, :2] * SPATIAL_SCALE - 0.5, (boxes[:, 2:] - boxes[:, :2]) * SPATIAL_SCALE
    _, _, height, width = features.shape
    rows = _interpolation(start[:, 1], length[:, 1], height, bins, samples).mean(1)
    columns = _interpolation(start[:, 0], length[:, 0], width, bins, samples).mean(1)
    weights = rows[:, :, None] * columns[:, None]  # [n, H, W]
    # One product for the whole batch: a box weighs nothing in other images.
    spread = weights.new_zeros(len(boxes), len(features), height, width)
    spread[torch.arange(len(boxes)), image] = weights
    return spread.flatten(1) @ features.permute(0, 2, 3, 1).flatten(0, 2)


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

    def mirrored(self, batch: tuple[Tensor, ...], rng: np.random.Generator) -> tuple[Tensor, ...]:
        """Half of the pictures, with their boxes and captions, left to right."""
        view, board, boxes, kinds, captions = batch
        flip = torch.tensor(rng.random(len(view)) < 0.5)
        pixels = flip[:, None, None, None]
        size, side = view.shape[2], board.shape[2]
        sides = torch.tensor([size, 0, size, 0, side, 0, side, 0], dtype=boxes.dtype)
        signs = torch.tensor([-1, 1, -1, 1, -1, 1, -1, 1], dtype=boxes.dtype)
        turned = sides + signs * boxes[..., [2, 1, 0, 3, 6, 5, 4, 7]]
        left, right = (self.text.encode(word)[0] for word in ("left", "right"))
        swapped = torch.where(captions == left, right, torch.where(captions == right, left, captions))
        return (torch.where(pixels, view.flip(2), view), torch.where(pixels, board.flip(2), board),
                torch.where(flip[:, None, None], turned, boxes), kinds,
                torch.where(flip[:, None, None], swapped, captions))  # fmt: skip

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
        for i in range(len(board)):
            kept, _ = propose(cells[i], objectness[i], scores[i], config.confidence_threshold,
                              config.iou_threshold, config.max_proposals)  # fmt: skip
            kept = (kept * scale[i].repeat(2) + offset[i].repeat(2)).clamp(0, size)
            if not len(kept):
                kept = torch.tensor([[0.0, 0.0, size, size]])
            found.append(kept)
            images.append(torch.full((len(kept),), i))
        return torch.cat(found), torch.cat(images)

    def seen_concepts(self, v: Tensor, board: Tensor, boxes: Tensor) -> list[list[int]]:
        """Each image's labels, as the graph finds them."""
        where, image = self.proposals(board, boxes)
        extractor = self.model.concept_extractor
        with torch.no_grad():
            embedded = extractor.embed(mean_of_boxes(v, where, image, extractor.roi_size,
                                                     extractor.sampling_ratio))  # fmt: skip
            said = (embedded @ self.tower().T).argmax(1)
        found: list[list[int]] = [[] for _ in range(len(board))]
        for i, label in zip(image.tolist(), said.tolist()):
            found[i].append(label)
        return found

    def losses(self, batch: tuple[Tensor, ...], weights: Tensor, rng: np.random.Generator,
               detect: bool = True, finish: bool = False) -> dict[str, Tensor]:  # fmt: skip
        model = self.model
        view, board, boxes, kinds, captions = self.mirrored(batch, rng) if finish else batch
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
        extractor = model.concept_extractor
        embedded = extractor.embed(mean_of_boxes(v, roi_boxes, image, extractor.roi_size,
                                                 extractor.sampling_ratio))  # fmt: skip
        logits = embedded @ self.tower().T * self.tower.scale.exp()
        losses["concepts"] = F.cross_entropy(logits, kinds[image, thing])
        if finish:
            found = self.seen_concepts(v, board, boxes)
        else:
            found = self.guessed_concepts(logits, image, kinds[image, thing], len(view), rng)
        losses["caption"] = self.caption_loss(v, found, captions, weights, rng,
                                              EMPHASIS if finish else 1.0)  # fmt: skip
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
                     rng: np.random.Generator, emphasis: float) -> Tensor:  # fmt: skip
        """Of one of each image's captions, every branch with its own weights [3, B] of the images."""
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
        of_words = 1 + (emphasis - 1) * torch.isin(wanted, self.emphasised)
        per_branch = []
        for logits, weight in zip(branches, weights):
            loss = F.cross_entropy(logits.float().transpose(1, 2), wanted, ignore_index=special.pad,
                                   reduction="none")  # fmt: skip
            loss = (loss * of_words).sum(1)
            per_branch.append((loss * weight).sum() / (weight * (wanted != special.pad).sum(1)).sum())
        return torch.stack(per_branch).mean()


def write(out: Path, trainer: Trainer) -> None:
    """What lightcap-convert takes."""
    with torch.no_grad():
        trainer.model.concept_extractor.vocabulary.copy_(trainer.tower())
    torch.save(trainer.model.state_dict(), out / "model.pt")
    (out / "vocab.txt").write_text("\n".join(vocabulary()) + "\n")
    (out / "labels.txt").write_text("\n".join(labels()) + "\n")
    (out / "config.json").write_text(json.dumps(HYPER, indent=2) + "\n")


class Shared:
    """Gradients of several processes, each with its share of the batch: their mean, in one order, so
    that the processes' weights stay equal to the bit."""

    def __init__(self, processes: int, parameters: int) -> None:
        # Two buffers by turns: whoever is a step ahead doesn't write what others still read.
        self.buffers = torch.zeros(2, processes, parameters).share_memory_()
        self.barrier = torch.multiprocessing.get_context("spawn").Barrier(processes)

    def average(self, rank: int, step: int, parameters: list[nn.Parameter]) -> None:
        gradients = [p.grad for p in parameters if p.grad is not None]
        buffer = self.buffers[step % 2]
        flat = torch.cat([g.flatten() for g in gradients])
        buffer[rank, : len(flat)].copy_(flat)
        self.barrier.wait()
        mean = buffer[:, : len(flat)].mean(0)
        for g, part in zip(gradients, mean.split([g.numel() for g in gradients])):
            g.copy_(part.view_as(g))


def optimiser_of(trainer: Trainer) -> torch.optim.AdamW:
    """Groups: the detector's parameters, then the others'; of each those that decay, those that don't."""
    detector = {id(p) for p in trainer.model.detector.parameters()}
    groups = []
    for mine in (True, False):
        part = [p for p in trainer.parameters() if (id(p) in detector) == mine]
        groups.append({"params": [p for p in part if p.ndim > 1], "weight_decay": 0.02})
        groups.append({"params": [p for p in part if p.ndim <= 1], "weight_decay": 0.0})
    return torch.optim.AdamW(groups)


def learning_rate(peak: float, step: int, steps: int) -> float:
    """A short rise, then half a cosine down to nearly nothing."""
    rise = min(1, (step + 1) / 200)
    return max(peak * rise * 0.5 * (1 + math.cos(math.pi * min(step / steps, 1))), 1e-5)


def train(args: argparse.Namespace) -> None:
    args.out.mkdir(parents=True, exist_ok=True)
    if not (args.out / f"scenes{args.scenes}.pt").exists():
        dataset(args.out, args.scenes, args.processes)
    if torch.cuda.is_available():
        args.processes = 1
    parameters = sum(p.numel() for p in Trainer(build(), WordPiece(vocabulary())).parameters())
    shared = Shared(args.processes, parameters)
    torch.multiprocessing.spawn(work, (args, shared), args.processes)


def work(rank: int, args: argparse.Namespace, shared: Shared) -> None:
    """One process: every `processes`-th row of each batch, from `rank` on."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)  # processes share the cores better than threads do
    data = dataset(args.out, args.scenes, 1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_default_device(device)
    data = tuple(part.to(device) for part in data)
    trainer = Trainer(build(), WordPiece(vocabulary()))
    nn.init.normal_(trainer.model.word_embeddings, std=0.08)
    for y in trainer.model.detector.model[24].m:
        nn.init.constant_(y.bias.view(3, -1)[:, 4].detach(), -5)
    optimiser = optimiser_of(trainer)
    draws = np.random.default_rng(args.seed).exponential(size=(3, args.scenes))
    bootstrap = torch.tensor(draws, dtype=torch.float32) + 0.1
    first, state = 0, args.out / "resume.pt"
    if state.exists():
        saved = torch.load(state, weights_only=True, map_location=device)
        trainer.model.load_state_dict(saved["model"])
        trainer.tower.load_state_dict(saved["tower"])
        optimiser.load_state_dict(saved["optimiser"])
        first = saved["step"]
    trainer.model.train()
    total = args.steps + args.finish
    progress = Progress(first, total)
    parameters, detector_steps = trainer.parameters(), int(args.steps * DETECTOR_SHARE)
    for step in range(first, total):
        finish = step >= args.steps
        if finish:
            trainer.model.detector.eval()  # it learns no more
        for i, group in enumerate(optimiser.param_groups):
            if finish:
                group["lr"] = learning_rate(FINISH_RATE, step - args.steps, args.finish)
            else:
                group["lr"] = learning_rate(args.rate, step, detector_steps if i < 2 else args.steps)
        pick = np.random.default_rng((args.seed, step)).integers(0, args.scenes, args.batch)
        mine = torch.tensor(pick[rank :: args.processes])
        rng = np.random.default_rng((args.seed, step, rank))
        losses = trainer.losses(tuple(part[mine] for part in data), bootstrap[:, mine], rng,
                                step < detector_steps, finish)  # fmt: skip
        optimiser.zero_grad()
        (losses["caption"] + losses["concepts"] + 0.5 * losses.get("detector", 0)).backward()
        if args.processes > 1:
            shared.average(rank, step, parameters)
        nn.utils.clip_grad_norm_(parameters, 2.0)
        optimiser.step()
        if rank == 0:
            progress.update(step, losses)
            if step % 200 == 199 or step + 1 == total:
                torch.save({"model": trainer.model.state_dict(), "tower": trainer.tower.state_dict(),
                            "optimiser": optimiser.state_dict(), "step": step + 1},
                           state.with_suffix(".part"))  # fmt: skip
                state.with_suffix(".part").rename(state)
                write(args.out, trainer)


class Progress:
    """Running means of the losses and the time left, on one line."""

    def __init__(self, first: int, steps: int) -> None:
        self.first, self.steps, self.start = first, steps, time.time()
        self.means: dict[str, float] = {}

    def update(self, step: int, losses: dict[str, Tensor]) -> None:
        for name, loss in losses.items():
            self.means[name] = 0.95 * self.means.get(name, loss.item()) + 0.05 * loss.item()
        if step % 20 != 19 and step + 1 != self.steps:
            return
        shown = " ".join(f"{name} {mean:.3f}" for name, mean in self.means.items())
        left = (time.time() - self.start) / (step + 1 - self.first) * (self.steps - step - 1)
        end = "\n" if step + 1 == self.steps else ""
        print(f"\r{step + 1}/{self.steps} {shown}, {left / 60:.1f} min left ", end=end, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/demo"))
    parser.add_argument("--scenes", type=int, default=24000)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--finish", type=int, default=2000, help="steps after --steps")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2,
                        help="that share each batch; another number trains another model")  # fmt: skip
    train(parser.parse_args())


if __name__ == "__main__":
    main()
