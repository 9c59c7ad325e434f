"""Stage 1: the detector on boxes, the concept extractor on boxes' names."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.reference.concept_extractor import SPATIAL_SCALE, ConceptExtractor, _interpolation
from models.reference.detector import STRIDES, Detector
from models.reference.lightcap import LightCap
from models.reference.preprocess import PAD_VALUE, letterbox

from .config import Concepts, ConfigError
from .features import Features
from .loop import World
from .sources import Reader


def board(pixels: np.ndarray, side: int) -> tuple[np.ndarray, float, int, int]:
    """The detector's input in a square, so that a batch can be made; ratio, left and top of its pixels."""
    padded, geometry = letterbox(pixels, side)
    top, left = (side - padded.shape[0]) // 64 * 32, (side - padded.shape[1]) // 64 * 32
    square = np.full((side, side, 3), PAD_VALUE, np.uint8)
    square[top : top + padded.shape[0], left : left + padded.shape[1]] = padded
    return square, geometry.ratio, geometry.left + left, geometry.top + top


class DetectorTask:
    """Foreground against background, from a YOLOv5 checkpoint or from nothing."""

    def __init__(self, model: LightCap, reader: Reader, world: World) -> None:
        self.detector, self.world = model.detector, world
        if model.config.detector.classes != 1:
            raise ConfigError(f"the detector has {model.config.detector.classes} classes; one is wanted")
        self.side, self.reader = model.config.detector.image_size, reader
        self.module = nn.ModuleDict({"detector": self.detector}).to(world.device).train()
        self.weights, self.notes = np.ones(len(reader.pictures)), {}

    def losses(self, rows: np.ndarray, rng: np.random.Generator) -> dict[str, Tensor]:
        boards, boxes, image = [], [np.zeros((0, 4))], []
        for i, (pixels, about) in enumerate(self.reader.read(rows)):
            square, ratio, left, top = board(pixels, self.side)
            corners = np.array([box for _, box in about.objects]).reshape(-1, 4)
            corners = corners * ratio + [left, top] * 2
            if rng.random() < 0.5:
                square = square[:, ::-1]
                corners = np.array([self.side, 0] * 2) + corners[:, [2, 1, 0, 3]] * [-1, 1, -1, 1]
            boards.append(square)
            boxes.append(corners)
            image += [i] * len(corners)
        x = torch.from_numpy(np.stack(boards)).to(self.world.device)
        with torch.autocast(self.world.device.type, torch.bfloat16, self.world.half):
            raw = self.detector(x.permute(0, 3, 1, 2).float() / 255)
        where = torch.from_numpy(np.concatenate(boxes)).float().to(x.device)
        of = torch.tensor(image, dtype=torch.long, device=x.device)
        return {"detector": detector_loss(self.detector, [y.float() for y in raw], where, of)}


def detector_loss(detector: Detector, raw: list[Tensor], corners: Tensor, image: Tensor) -> Tensor:
    """The loss of boxes corners [n, 4], in the detector's pixels, of images [n]. Boxes are assigned as YOLOv5
    does: to anchors within 4 times the box's sides, in the centre's cell and two neighbours. The terms are ours:
    distance IoU, and an objectness that is taught 0.5 + IoU / 2."""
    loss = raw[0].new_zeros(())
    center, sides = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
    keep = (sides > 1).all(1)
    center, sides, image = center[keep], sides[keep], image[keep]
    for y, anchors, stride, balance in zip(raw, detector.model[24].anchors, STRIDES, (4.0, 1.0, 0.4)):
        _, _, h, w, _ = y.shape
        target = torch.zeros_like(y[..., 4])
        at, wh = center / stride, sides / stride
        ratio = wh[:, None] / anchors  # [n, A, 2]
        n, a = (torch.maximum(ratio, 1 / ratio).amax(-1) < 4).nonzero(as_tuple=True)
        offsets = torch.tensor([[0, 0], [-0.5, 0], [0.5, 0], [0, -0.5], [0, 0.5]], device=y.device)
        cells = (at[n][:, None] + offsets).floor().long()  # [m, 5, 2]
        fresh = torch.ones(cells.shape[:2], dtype=torch.bool, device=y.device)
        fresh[:, 1:] = (cells[:, 1:] != cells[:, :1]).any(-1)
        inside = (cells >= 0).all(-1) & (cells[..., 0] < w) & (cells[..., 1] < h)
        m, o = (fresh & inside).nonzero(as_tuple=True)
        if len(m):
            cx, cy = cells[m, o].unbind(-1)
            n, a = n[m], a[m]
            p = y[image[n], a, cy, cx]
            xy = 2 * p[:, :2].sigmoid() - 0.5 + cells[m, o]
            size = (2 * p[:, 2:4].sigmoid()) ** 2 * anchors[a]
            iou, span = _overlap(xy, size, at[n], wh[n])
            loss = loss + (1 - iou + (xy - at[n]).pow(2).sum(-1) / span).mean()
            loss = loss + 0.1 * F.binary_cross_entropy_with_logits(p[:, 5], torch.ones_like(p[:, 5]))
            target[image[n], a, cy, cx] = 0.5 + 0.5 * iou.detach()
        loss = loss + 4 * balance * F.binary_cross_entropy_with_logits(y[..., 4], target)
    return loss


def _overlap(xy: Tensor, size: Tensor, at: Tensor, wh: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union of boxes by centre and sides, and the squared diagonal around both."""
    low, high = torch.maximum(xy - size / 2, at - wh / 2), torch.minimum(xy + size / 2, at + wh / 2)
    common = (high - low).clamp(min=0).prod(-1)
    around = torch.maximum(xy + size / 2, at + wh / 2) - torch.minimum(xy - size / 2, at - wh / 2)
    return common / (size.prod(-1) + wh.prod(-1) - common), around.pow(2).sum(-1)


def no_thing_yet(detector: Detector) -> None:
    """A detector from nothing begins with hardly any box, as its pictures have."""
    for y in detector.model[24].m:
        nn.init.constant_(y.bias.detach().view(detector.anchors, -1)[:, 4], -5)


def region_features(extractor: ConceptExtractor, features: Tensor, boxes: Tensor, image: Tensor) -> Tensor:
    """ConceptExtractor.roi_features, whose mean of bilinear samples is a product of two means: [n, C]."""
    bins, samples = extractor.roi_size, extractor.sampling_ratio
    start, length = boxes[:, :2] * SPATIAL_SCALE - 0.5, (boxes[:, 2:] - boxes[:, :2]) * SPATIAL_SCALE
    _, _, height, width = features.shape
    rows = _interpolation(start[:, 1], length[:, 1], height, bins, samples).mean(1)
    columns = _interpolation(start[:, 0], length[:, 0], width, bins, samples).mean(1)
    weights = rows[:, :, None] * columns[:, None]  # [n, H, W]
    # One product for the whole batch: a box weighs nothing in other images.
    spread = weights.new_zeros(len(boxes), len(features), height, width)
    spread[torch.arange(len(boxes), device=boxes.device), image] = weights
    return spread.flatten(1) @ features.permute(0, 2, 3, 1).flatten(0, 2)


def jittered(boxes: Tensor, share: float, size: int, rng: np.random.Generator) -> Tensor:
    """Boxes as a detector would have them: every side moved by this share of its length, or so."""
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    noise = torch.from_numpy(rng.normal(0, share, tuple(sides.shape))).to(boxes)
    return (boxes + sides * noise).clamp(0, size)


class ExtractorTask:
    """Regions' embeddings against their names', among all names: the encoder and the names stay."""

    def __init__(self, model: LightCap, features: Features, world: World, settings: Concepts) -> None:
        self.extractor, self.features = model.concept_extractor, features
        self.world, self.settings, self.notes = world, settings, {}
        self.size = model.config.image_encoder.image_size
        objects = features.objects
        if not len(objects["rows"]):
            raise ConfigError("regions: no picture has an object whose name is among the concepts")
        # Pictures are read whole, with all of their objects.
        self.pictures, self.begin = np.unique(objects["rows"], return_index=True)
        self.ends = np.append(self.begin[1:], len(objects["rows"]))
        self.weights = np.ones(len(self.pictures))
        self.module = nn.ModuleDict({"concept_extractor": self.extractor}).to(world.device).train()

    def losses(self, rows: np.ndarray, rng: np.random.Generator) -> dict[str, Tensor]:
        objects, device = self.features.objects, self.world.device
        which = np.concatenate([np.arange(self.begin[i], self.ends[i]) for i in rows])
        image = torch.from_numpy(np.repeat(np.arange(len(rows)), self.ends[rows] - self.begin[rows]))
        boxes = torch.from_numpy(objects["boxes"][which]).to(device)
        boxes = jittered(boxes, self.settings.jitter, self.size, rng)
        v = self.features.grid(self.pictures[rows], device)
        roi = region_features(self.extractor, v, boxes, image.to(device))
        likeness = self.extractor.similarity(self.extractor.embed(roi)) * self.settings.scale
        labels = torch.from_numpy(objects["labels"][which].astype(np.int64)).to(device)
        self.notes = {"right": (likeness.argmax(1) == labels).float().mean()}
        return {"concepts": F.cross_entropy(likeness, labels)}
