"""The image encoder: CLIP's ModifiedResNet without its attention pooler."""

from __future__ import annotations

from torch import Tensor, nn


class Bottleneck(nn.Module):
    """[B, in, H, W] -> [B, 4*planes, H/stride, W/stride]; average pools do the strides."""

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.relu = nn.ReLU()
        self.pool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.downsample: nn.Sequential | None = None
        if stride > 1 or inputs != 4 * planes:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, 4 * planes, 1, bias=False), nn.BatchNorm2d(4 * planes)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(self.pool(x))
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.bn3(self.conv3(self.pool(y))) + shortcut)


class ImageEncoder(nn.Module):
    """Normalised pixels [B, 3, S, S] -> grid features v [B, 32*width, S/32, S/32]."""

    def __init__(self, width: int = 64, blocks: tuple[int, ...] = (3, 4, 6, 3)) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.pool = nn.AvgPool2d(2)
        inputs = width
        for stage in range(4):
            planes = width << stage
            layer = []
            for block in range(blocks[stage]):
                stride = 2 if stage > 0 and block == 0 else 1
                layer.append(Bottleneck(inputs, planes, stride))
                inputs = 4 * planes
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layer))

    def forward(self, x: Tensor) -> Tensor:
        for conv, bn in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = self.relu(bn(conv(x)))  # [B, width, S/2, S/2] in the end
        x = self.pool(x)
        x = self.layer1(x)  # [B, 4*width, S/4, S/4]
        x = self.layer2(x)
        x = self.layer3(x)
        return self.layer4(x)
