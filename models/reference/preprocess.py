"""Picture files to the inputs of the image encoder and the detector."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

PAD_VALUE = 114
DETECTOR_STRIDE = 32


def exif_orientation(exif: bytes) -> int:
    """The orientation (1 to 8) in an EXIF block, 1 if there is none."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    try:
        if order is None:
            return 1
        (offset,) = struct.unpack_from(order + "I", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, offset)
        for i in range(count):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", tiff, offset + 2 + 12 * i)
            if tag == 0x0112 and kind == 3:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """[h, w, 3] as stored -> as meant."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def read_image(path: Path | str, apply_exif: bool = True) -> np.ndarray:
    """RGB [h, w, 3], uint8."""
    with Image.open(path) as image:
        orientation = exif_orientation(image.info.get("exif", b"")) if apply_exif else 1
        if image.mode.startswith("I"):  # 16-bit grey, which convert("RGB") would clip
            grey = (np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)
            pixels = np.stack((grey,) * 3, -1)
        else:
            pixels = np.asarray(image.convert("RGB"))
    return upright(pixels, orientation)


@dataclass
class EncoderGeometry:
    """Encoder pixel = image pixel * scale - offset, for x and y."""

    scale: tuple[float, float]
    offset: tuple[int, int]
    size: int

    def to_encoder(self, boxes: Tensor) -> Tensor:
        """[n, 4] in image pixels -> in encoder pixels; an empty box becomes the whole frame."""
        boxes = boxes * boxes.new_tensor(self.scale * 2) - boxes.new_tensor(self.offset * 2)
        boxes = boxes.clamp(0, self.size)
        empty = (boxes[:, 2:] <= boxes[:, :2]).any(1, keepdim=True)
        return torch.where(empty, boxes.new_tensor([0, 0, self.size, self.size]), boxes)


def encoder_pixels(
    pixels: np.ndarray, size: int, resize: str
) -> tuple[np.ndarray, EncoderGeometry]:
    """[h, w, 3] -> [size, size, 3] uint8, by Pillow's bicubic."""
    h, w = pixels.shape[:2]
    image = Image.fromarray(pixels)
    if resize == "stretch":
        new_w, new_h = size, size
    elif resize == "center_crop":
        new_w = size if w <= h else int(size * w / h)
        new_h = size if h <= w else int(size * h / w)
    else:
        raise ValueError(f"resize is {resize!r}")
    image = image.resize((new_w, new_h), Image.Resampling.BICUBIC)
    left, top = round((new_w - size) / 2), round((new_h - size) / 2)
    cropped = np.asarray(image)[top : top + size, left : left + size]
    return cropped, EncoderGeometry((new_w / w, new_h / h), (left, top), size)


def unit_pixels(pixels: np.ndarray) -> Tensor:
    """[h, w, 3] uint8 -> [3, h, w] in [0, 1]."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255


def normalised(pixels: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """[h, w, 3] uint8 -> [3, h, w]."""
    x = unit_pixels(pixels)
    return (x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def encoder_input(
    pixels: np.ndarray, size: int, resize: str, mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[Tensor, EncoderGeometry]:
    """[h, w, 3] -> normalised [3, size, size]."""
    square, geometry = encoder_pixels(pixels, size, resize)
    return normalised(square, mean, std), geometry


def _taps(source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Each target pixel's first source pixel and two weights in 1/2048, as OpenCV rounds them."""
    at = ((np.arange(target) + 0.5) * (1 / (target / source)) - 0.5).astype(np.float32)
    first = np.floor(at).astype(np.int64)
    fraction = at - first.astype(np.float32)
    one = np.float32(1)
    weights = np.stack(((one - fraction) * 2048, fraction * 2048))
    return first, np.rint(weights).astype(np.int64)


def bilinear(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """cv2.resize(pixels, (width, height), interpolation=INTER_LINEAR) on [h, w, 3] uint8."""
    h, w = pixels.shape[:2]
    if (h, w) == (height, width):
        return pixels
    x = pixels.astype(np.int64)
    if (h, w) == (2 * height, 2 * width):  # OpenCV averages 2x2 here
        x = x[::2] + x[1::2]
        return ((x[:, ::2] + x[:, 1::2] + 2) >> 2).astype(np.uint8)
    first, weights = _taps(w, width)
    weights[0, first < 0], weights[1, first < 0] = 2048, 0
    weights[0, first >= w - 1], weights[1, first >= w - 1] = 2048, 0
    left, right = first.clip(0, w - 1), (first + 1).clip(0, w - 1)
    x = (
        x[:, left] * weights[0, :, None] + x[:, right] * weights[1, :, None]
    )  # [h, width, 3], 11 bits of fraction
    first, weights = _taps(h, height)
    upper, lower = x[first.clip(0, h - 1)] >> 4, x[(first + 1).clip(0, h - 1)] >> 4
    y = ((upper * weights[0, :, None, None]) >> 16) + ((lower * weights[1, :, None, None]) >> 16)
    return ((y + 2) >> 2).clip(0, 255).astype(np.uint8)


@dataclass
class Letterbox:
    """Detector pixel = image pixel * ratio + (left, top)."""

    ratio: float
    left: int
    top: int
    width: int  # of the image
    height: int

    def to_image(self, boxes: Tensor) -> Tensor:
        """[n, 4] in detector pixels -> [n, 4] in image pixels, clipped."""
        boxes = (boxes - boxes.new_tensor((self.left, self.top) * 2)) / self.ratio
        limits = boxes.new_tensor((self.width, self.height) * 2)
        return torch.minimum(boxes.clamp(min=0), limits)


def letterbox(pixels: np.ndarray, size: int) -> tuple[np.ndarray, Letterbox]:
    """[h, w, 3] -> padded [h', w', 3] uint8, sides multiples of 32, the longer one `size`."""
    h, w = pixels.shape[:2]
    ratio = min(size / h, size / w)
    new_w, new_h = max(round(w * ratio), 1), max(round(h * ratio), 1)
    pad_w, pad_h = (size - new_w) % DETECTOR_STRIDE, (size - new_h) % DETECTOR_STRIDE
    left, top = round(pad_w / 2 - 0.1), round(pad_h / 2 - 0.1)
    padded = np.full((new_h + pad_h, new_w + pad_w, 3), PAD_VALUE, np.uint8)
    padded[top : top + new_h, left : left + new_w] = bilinear(pixels, new_w, new_h)
    return padded, Letterbox(ratio, left, top, w, h)


def detector_input(pixels: np.ndarray, size: int) -> tuple[Tensor, Letterbox]:
    """[h, w, 3] -> [3, h', w'] in [0, 1]."""
    padded, geometry = letterbox(pixels, size)
    return unit_pixels(padded), geometry
