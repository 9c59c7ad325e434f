"""The foreground detector: YOLOv5 v6/v7 and its proposals (paper, "Visual Concept Extractor").

Module indices are those of Ultralytics' yolov5n.yaml, so that its checkpoints load by name.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import YOLO_ANCHORS

STRIDES = (8, 16, 32)


class Conv(nn.Module):
    """Convolution, BatchNorm (eps 1e-3), SiLU."""

    def __init__(
        self, inputs: int, outputs: int, k: int = 1, s: int = 1, p: int | None = None
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, k, s, k // 2 if p is None else p, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    def __init__(self, width: int, shortcut: bool) -> None:
        super().__init__()
        self.cv1 = Conv(width, width)
        self.cv2 = Conv(width, width, 3)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class C3(nn.Module):
    def __init__(self, inputs: int, outputs: int, depth: int, shortcut: bool) -> None:
        super().__init__()
        hidden = outputs // 2
        self.cv1 = Conv(inputs, hidden)
        self.cv2 = Conv(inputs, hidden)
        self.cv3 = Conv(2 * hidden, outputs)
        self.m = nn.Sequential(*(Bottleneck(hidden, shortcut) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class SPPF(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.cv1 = Conv(inputs, inputs // 2)
        self.cv2 = Conv(inputs // 2 * 4, outputs)
        self.m = nn.MaxPool2d(5, stride=1, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.cv1(x)
        y1 = self.m(x)
        y2 = self.m(y1)
        return self.cv2(torch.cat((x, y1, y2, self.m(y2)), 1))


class Detect(nn.Module):
    """Three 1x1 convolutions; `anchors` [3, A, 2] are width and height in units of the stride."""

    def __init__(self, inputs: tuple[int, ...], classes: int, anchors: int) -> None:
        super().__init__()
        self.m = nn.ModuleList(nn.Conv2d(i, anchors * (5 + classes), 1) for i in inputs)
        pixels = (
            torch.tensor(YOLO_ANCHORS, dtype=torch.float32)[:, :1].expand(3, anchors, 2).clone()
        )
        pixels[:, : min(anchors, 3)] = torch.tensor(YOLO_ANCHORS, dtype=torch.float32)[:, :anchors]
        self.register_buffer("anchors", pixels / torch.tensor(STRIDES).view(3, 1, 1))


class Detector(nn.Module):
    """Pixels [B, 3, h, w] in [0, 1], sides multiples of 32 -> heads [B, A, h/s, w/s, 5+classes]."""

    def __init__(
        self,
        widths: tuple[int, ...] = (16, 32, 64, 128, 256),
        depths: tuple[int, ...] = (1, 2, 3, 1, 1, 1, 1, 1),
        classes: int = 1,
        anchors: int = 3,
    ) -> None:
        super().__init__()
        w0, w1, w2, w3, w4 = widths
        n2, n4, n6, n8, n13, n17, n20, n23 = depths
        up, concat = nn.Upsample(scale_factor=2, mode="nearest"), nn.Identity()
        self.model = nn.ModuleList(
            [
                Conv(3, w0, 6, 2, 2),
                Conv(w0, w1, 3, 2),
                C3(w1, w1, n2, True),
                Conv(w1, w2, 3, 2),
                C3(w2, w2, n4, True),
                Conv(w2, w3, 3, 2),
                C3(w3, w3, n6, True),
                Conv(w3, w4, 3, 2),
                C3(w4, w4, n8, True),
                SPPF(w4, w4),
                Conv(w4, w3),
                up,
                concat,
                C3(2 * w3, w3, n13, False),
                Conv(w3, w2),
                up,
                concat,
                C3(2 * w2, w2, n17, False),
                Conv(w2, w2, 3, 2),
                concat,
                C3(2 * w2, w3, n20, False),
                Conv(w3, w3, 3, 2),
                concat,
                C3(2 * w3, w4, n23, False),
                Detect((w2, w3, w4), classes, anchors),
            ]
        )
        self.anchors, self.classes = anchors, classes

    def forward(self, x: Tensor) -> list[Tensor]:
        m = self.model
        x4 = m[4](m[3](m[2](m[1](m[0](x)))))  # stride 8
        x6 = m[6](m[5](x4))  # stride 16
        x10 = m[10](m[9](m[8](m[7](x6))))  # stride 32
        x14 = m[14](m[13](torch.cat((m[11](x10), x6), 1)))
        x17 = m[17](torch.cat((m[15](x14), x4), 1))
        x20 = m[20](torch.cat((m[18](x17), x14), 1))
        x23 = m[23](torch.cat((m[21](x20), x10), 1))
        raw = []
        for conv, y in zip(m[24].m, (x17, x20, x23)):
            y = conv(y)
            b, _, h, w = y.shape
            raw.append(y.view(b, self.anchors, 5 + self.classes, h, w).permute(0, 1, 3, 4, 2))
        return raw

    def boxes(self, raw: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Raw heads -> boxes [B, cells, 4] in detector pixels, objectness and score [B, cells]."""
        boxes, objectness, scores = [], [], []
        for y, anchor, stride in zip(raw, self.model[24].anchors, STRIDES):
            b, _, h, w, _ = y.shape
            y = y.sigmoid()
            rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
            cell = torch.stack((columns, rows), -1).to(y)  # [h, w, 2], x first
            center = (2 * y[..., :2] - 0.5 + cell) * stride
            half = (2 * y[..., 2:4]) ** 2 * (anchor * stride).view(1, -1, 1, 1, 2) / 2
            boxes.append(torch.cat((center - half, center + half), -1).reshape(b, -1, 4))
            objectness.append(y[..., 4].reshape(b, -1))
            scores.append((y[..., 4] * y[..., 5:].amax(-1)).reshape(b, -1))
        return torch.cat(boxes, 1), torch.cat(objectness, 1), torch.cat(scores, 1)


def iou(box: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of one box [4] with others [n, 4]."""
    low = torch.maximum(box[:2], others[:, :2])
    high = torch.minimum(box[2:], others[:, 2:])
    intersection = (high - low).clamp(min=0).prod(-1)
    area = (others[:, 2:] - others[:, :2]).prod(-1)
    return intersection / (area + (box[2:] - box[:2]).prod() - intersection)


def propose(
    boxes: Tensor,
    objectness: Tensor,
    scores: Tensor,
    confidence: float,
    iou_threshold: float,
    most: int,
) -> tuple[Tensor, Tensor]:
    """Class-agnostic greedy NMS of one image: the best boxes [n, 4] and scores [n], n <= most."""
    keep = (objectness > confidence) & (scores > confidence)
    boxes, scores = boxes[keep], scores[keep]
    order = torch.sort(scores, descending=True, stable=True).indices
    boxes, scores = boxes[order], scores[order]
    alive = torch.ones(len(boxes), dtype=torch.bool)
    kept: list[int] = []
    for i in range(len(boxes)):
        if len(kept) == most:
            break
        if alive[i]:
            kept.append(i)
            alive &= ~(iou(boxes[i], boxes) > iou_threshold)
    return boxes[kept], scores[kept]
