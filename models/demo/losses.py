"""The detector's loss, and features of many boxes at once."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from models.reference.concept_extractor import SPATIAL_SCALE, _interpolation
from models.reference.lightcap import LightCap


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
