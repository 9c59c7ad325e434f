"""How far a result is from another one: what random weights must keep, to be comparable at all."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .constraints import Constraints
from .decoder import Special
from .detector import iou
from .lightcap import Captioner


@torch.inference_mode()
def box_margin(captioner: Captioner, pixels: np.ndarray) -> float:
    """Smallest distance of scores to each other and to the threshold, of overlaps to theirs."""
    config, detector = captioner.model.config.detector, captioner.model.detector
    raw, _ = captioner.detect_raw(pixels, {})
    boxes, objectness, scores = (y[0] for y in detector.boxes(raw))
    keep = (objectness > config.confidence_threshold) & (scores > config.confidence_threshold)
    distances = [torch.cat((objectness, scores)) - config.confidence_threshold]
    boxes, scores = boxes[keep], scores[keep]
    distances.append(scores.sort().values.diff())
    distances += [iou(box, boxes) - config.iou_threshold for box in boxes]
    return float(torch.cat(distances).abs().min())


def concept_margin(similarity: Tensor) -> float:
    """similarity [n, N]: smallest distance of the best concept to the next, over proposals."""
    best = similarity.topk(2).values
    return float((best[:, 0] - best[:, 1]).min())


def word_margin(log_probabilities: Tensor, special: Special) -> float:
    """log_probabilities [steps, W]: smallest distance of the best word to the next, over steps."""
    rows = log_probabilities.clone()
    rows[:, special.never()] = float("-inf")
    best = rows.topk(2).values
    return float((best[:, 0] - best[:, 1]).min())


@torch.inference_mode()
def survives_noise(
    captioner: Captioner,
    prefix: Tensor,
    beams: int,
    alpha: float,
    margin: float,
    constraints: Constraints | None = None,
    tries: int = 10,
) -> bool:
    """The caption stays the same when noise is added to the log-probabilities."""
    generator = torch.Generator().manual_seed(0)
    next_token = captioner.next_token(prefix)
    tokens = captioner.search(next_token, beams, alpha, constraints)[0].tokens

    def noisy(captions: list[list[int]]) -> Tensor:
        rows = next_token(captions)
        return rows + (torch.rand(rows.shape, generator=generator) - 0.5) * margin

    return all(
        captioner.search(noisy, beams, alpha, constraints)[0].tokens == tokens
        for _ in range(tries)
    )
