"""The visual concept extractor: region features against a vocabulary (paper, same name)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SPATIAL_SCALE = 1 / 32  # grid cells per encoder pixel


def _interpolation(start: Tensor, length: Tensor, cells: int, bins: int, samples: int) -> Tensor:
    """Linear interpolation weights [n, bins*samples, cells] of points evenly spaced in an interval.

    The intervals are start [n] to start + length. A point more than a cell outside weighs
    nothing, one beyond the border takes the border cell.
    """
    step = length / (bins * samples)
    at = start[:, None] + (torch.arange(bins * samples).to(start) + 0.5) * step[:, None]
    inside = ((at >= -1) & (at <= cells)).to(at)
    at = at.clamp(0, cells - 1)
    low = at.floor()
    fraction = at - low
    low = low.long()
    high = (low + 1).clamp(max=cells - 1)
    weights = F.one_hot(low, cells) * (1 - fraction)[..., None]
    weights = weights + F.one_hot(high, cells) * fraction[..., None]
    return weights * inside[..., None]


def roi_align(features: Tensor, boxes: Tensor, image: Tensor, size: int, samples: int) -> Tensor:
    """torchvision.ops.roi_align(spatial_scale=1/32, sampling_ratio=samples, aligned=True).

    features [B, C, G, G], boxes [n, 4] in encoder pixels, image [n]: each box's index into B
    -> [n, C, size, size].
    """
    _, channels, height, width = features.shape
    start = boxes[:, :2] * SPATIAL_SCALE - 0.5
    length = (boxes[:, 2:] - boxes[:, :2]) * SPATIAL_SCALE
    rows = _interpolation(start[:, 1], length[:, 1], height, size, samples)
    columns = _interpolation(start[:, 0], length[:, 0], width, size, samples)
    points = torch.einsum("nyh,nchw,nxw->ncyx", rows, features[image], columns)
    return points.view(len(boxes), channels, size, samples, size, samples).mean((3, 5))


class ConceptExtractor(nn.Module):
    """v [B, C, G, G] and boxes -> ROI features [n, C], cosine similarities [n, N]."""

    def __init__(
        self,
        channels: int,
        hidden: int,
        embedding: int,
        vocabulary: int,
        roi_size: int = 7,
        sampling_ratio: int = 2,
    ) -> None:
        super().__init__()
        self.proj = nn.ModuleList([nn.Linear(channels, hidden), nn.Linear(hidden, embedding)])
        self.register_buffer("vocabulary", torch.zeros(vocabulary, embedding))
        self.roi_size, self.sampling_ratio = roi_size, sampling_ratio

    def roi_features(self, v: Tensor, boxes: Tensor, image: Tensor | None = None) -> Tensor:
        """boxes [n, 4] in encoder pixels, image [n] (default: 0) -> [n, C], the bins' mean."""
        if image is None:
            image = torch.zeros(len(boxes), dtype=torch.long, device=v.device)
        return roi_align(v, boxes, image, self.roi_size, self.sampling_ratio).mean((2, 3))

    def embed(self, roi: Tensor) -> Tensor:
        """[n, C] -> unit embeddings [n, E]."""
        return F.normalize(self.proj[1](F.relu(self.proj[0](roi))), dim=-1)

    def similarity(self, embedding: Tensor) -> Tensor:
        """[n, E] -> [n, N]."""
        return embedding @ F.normalize(self.vocabulary, dim=-1).T

    def forward(
        self, v: Tensor, boxes: Tensor, image: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        roi = self.roi_features(v, boxes, image)
        return roi, self.similarity(self.embed(roi))
