"""int8 models, to the bit: the arithmetic of docs/int8.md over the numbers that a .lcw stores.

Activations of the image encoder and the detector are uint8 tensors [B, C, H, W]. Sums of integers are
computed in float64, which holds them exactly; each step after them is one rounded fp32 operation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import detector as float_detector
from .concept_extractor import ConceptExtractor
from .config import Config
from .detector import Detector
from .ensemble_head import EnsembleHead
from .lcw import LcwModel, read_lcw
from .lightcap import Captioner, LightCap
from .preprocess import (
    EncoderGeometry,
    Letterbox,
    encoder_pixels,
    letterbox,
    normalised,
    unit_pixels,
)
from .text import WordPiece

# The networks' inputs have this many pixels of zeros around them: the padding of their first layers.
ENCODER_PADDING, DETECTOR_PADDING = 1, 2
INSIDE = 255  # the fourth byte of the encoder's pixels

LARGEST_WIDE = np.float32(32512)
SMALLEST_WIDE = 2.0**-100  # rows with nothing as large count as zeros
WIDE = 256  # a wide number is WIDE * high + low

WORDS = "bert.embeddings.word_embeddings.weight"

# round(2^15 sigmoid(i / 2)), the sigmoid's straight pieces (kernels/integer_silu.h).
SIGMOID_AT = torch.tensor(
    [16384, 20397, 23955, 26790, 28862, 30282, 31214, 31807, 32179]
    + [32408, 32549, 32635, 32687, 32719, 32738, 32750, 32767]
)
ONE = 32767


def saturated_byte(x: Tensor) -> Tensor:
    return x.clamp(0, 255).to(torch.uint8)


def multiply_high_rounded(x: Tensor, y: Tensor | int) -> Tensor:
    """floor((x y + 2^14) / 2^15)."""
    return (x * y + (1 << 14)) >> 15


def integer_sigmoid(x: Tensor) -> Tensor:
    """x in units of 1/512, 16-bit numbers in int64 -> in units of 1 / 2^15."""
    piece, place = x.abs() >> 8, x.abs() & 255
    index = piece.clamp(max=len(SIGMOID_AT) - 2)
    low = SIGMOID_AT[index]
    y = low + multiply_high_rounded(SIGMOID_AT[index + 1] - low, place << 7)
    y = torch.where(piece < len(SIGMOID_AT) - 1, y, ONE)
    return torch.where(x < 0, ONE - y, y)


def integer_silu(x: Tensor) -> Tensor:
    """SiLU of x / 512 in the same units."""
    return multiply_high_rounded(x, integer_sigmoid(x))


@dataclass
class Residual:
    """Bytes that a convolution adds: before its activation, or after it."""

    bytes: Tensor
    after: bool = False


class IntegerConv(nn.Module):
    """Convolution X of the file and its epilogue: bytes, or floats where it has no output scale."""

    def __init__(
        self, model: LcwModel, name: str, activation: str, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__()
        tensors = model.tensors
        self.weight = torch.from_numpy(tensors[name + ".weight"].astype(np.float64))
        self.bias = torch.from_numpy(tensors[name + ".bias"].astype(np.int64))
        self.scale = torch.from_numpy(tensors[name + ".scale"].copy())
        numbers = [float(x) for x in tensors[name + ".quantization"]]
        self.output_scale, self.residual_scale = numbers[1], numbers[3]
        self.input_zero, self.output_zero, self.residual_zero, self.silu_factor = (
            int(numbers[i]) for i in (0, 2, 4, 5)
        )
        self.activation, self.stride, self.padding = activation, stride, padding
        sums = self.weight.sum((1, 2, 3)).numpy()
        if (sums != tensors[name + ".sum"]).any():
            raise ValueError(f"{name}.sum is not the sum of the weights")

    def forward(self, x: Tensor, residual: Residual | None = None) -> Tensor:
        return self.finish(self.sums(x), residual)

    def sums(self, x: Tensor) -> Tensor:
        """Exact sums of products in int64; pixels outside count as the input's zero."""
        x = F.pad(x.double(), [self.padding] * 4, value=self.input_zero)
        return F.conv2d(x, self.weight, stride=self.stride).long()

    def finish(self, sums: Tensor, residual: Residual | None) -> Tensor:
        """IntegerEpilogue (kernels/kernels.h)."""
        column = (-1, 1, 1)
        t = (sums + self.bias.view(column)).float() * self.scale.view(column)
        if residual is not None and not residual.after:
            r = (residual.bytes.int() - self.residual_zero).float()
            t = t + r * torch.tensor(self.residual_scale, dtype=torch.float32)
        if self.output_scale == 0:
            return t.clamp(min=0) if self.activation == "relu" else t
        y = t.round().long()  # halves to the even neighbour
        if self.activation != "silu":
            y = y.clamp(min=0) if self.activation == "relu" else y
            return saturated_byte(y + self.output_zero)
        y = multiply_high_rounded(integer_silu(y.clamp(-32768, 32767)), self.silu_factor)
        if residual is not None:
            return saturated_byte(y + residual.bytes)
        return saturated_byte(y + self.output_zero)


def average_pool(x: Tensor) -> Tensor:
    """The mean of 2 x 2 bytes, halves rounded up."""
    x = x.int()
    x = x[..., ::2, :] + x[..., 1::2, :]
    return ((x[..., ::2] + x[..., 1::2] + 2) >> 2).to(torch.uint8)


class IntegerBottleneck(nn.Module):
    """image_encoder.Bottleneck; where that has a downsample, conv3 reads branch and shortcut."""

    def __init__(self, model: LcwModel, name: str, stride: int, is_first: bool) -> None:
        super().__init__()
        self.conv1 = IntegerConv(model, name + "conv1", "relu")
        self.conv2 = IntegerConv(model, name + "conv2", "relu", padding=1)
        self.conv3 = IntegerConv(model, name + "conv3", "relu")
        self.stride, self.is_first = stride, is_first

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.conv1(x))
        shortcut = x
        if self.stride == 2:
            y, shortcut = average_pool(y), average_pool(x)
        if self.is_first:
            return self.conv3(torch.cat((y, shortcut), 1))
        return self.conv3(y, Residual(shortcut))


class IntegerImageEncoder(nn.Module):
    """Bytes [B, 4, S + 2, S + 2] with a border of zeros -> features, fp32 [B, C, G, G]."""

    def __init__(self, model: LcwModel, blocks: tuple[int, ...]) -> None:
        super().__init__()
        root = "image_encoder."
        self.conv1 = IntegerConv(model, root + "conv1", "relu", stride=2)  # padded by the border
        self.conv2 = IntegerConv(model, root + "conv2", "relu", padding=1)
        self.conv3 = IntegerConv(model, root + "conv3", "relu", padding=1)
        self.stages = nn.ModuleList(
            IntegerBottleneck(
                model, f"{root}layer{stage + 1}.{i}.", 2 if stage > 0 and i == 0 else 1, i == 0
            )
            for stage, depth in enumerate(blocks)
            for i in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = average_pool(self.conv3(self.conv2(self.conv1(x))))
        for block in self.stages:
            x = block(x)
        return x


class IntegerShortcut(nn.Module):
    """detector.Bottleneck with the shortcut, added after SiLU by the convolution itself."""

    def __init__(self, cv1: IntegerConv, cv2: IntegerConv) -> None:
        super().__init__()
        self.cv1, self.cv2 = cv1, cv2

    def forward(self, x: Tensor) -> Tensor:
        return self.cv2(self.cv1(x), Residual(x, after=True))


class ByteMaxPool(nn.Module):
    """Through floats: PyTorch takes few bytes at a time."""

    def __init__(self, pool: nn.MaxPool2d) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(x.float()).to(torch.uint8)


def integer_detector(model: LcwModel, config: Config) -> Detector:
    """The float detector's graph with integer convolutions; takes bytes with their border.

    Concatenation and upsampling are the same for bytes as for numbers.
    """
    c = config.detector
    detector = Detector(c.widths, c.depths, c.classes, c.anchors)
    first = detector.model[0]
    first.conv.padding = (0, 0)  # the input has a border

    def convert(parent: nn.Module, prefix: str) -> None:
        for name, child in parent.named_children():
            path = f"{prefix}.{name}"
            if isinstance(child, float_detector.Conv):
                conv = child.conv
                integer = IntegerConv(
                    model, path + ".conv", "silu", conv.stride[0], conv.padding[0]
                )
                setattr(parent, name, integer)
            elif isinstance(child, nn.Conv2d):
                setattr(parent, name, IntegerConv(model, path, "none"))
            elif isinstance(child, nn.MaxPool2d):
                setattr(parent, name, ByteMaxPool(child))
            else:
                convert(child, path)
            if isinstance(child, float_detector.Bottleneck) and child.shortcut:
                setattr(parent, name, IntegerShortcut(child.cv1, child.cv2))

    convert(detector.model, "detector.model")
    detector.model[24].anchors = torch.from_numpy(model.tensors["detector.model.24.anchors"].copy())
    return detector


# ---- Layers of few rows: int8 weights, 16-bit rows -------------------------------------------


# x [..., n] -> numbers [..., n] as float64, and the rows' scales [..., 1] that belong to them.
Rows = Callable[[Tensor], tuple[Tensor, Tensor]]


def quantize_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """To 16-bit integers, as the engine does."""
    v, scale = unrounded_rows(x)
    return v.round(), scale


def unrounded_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows before quantize_rows rounds them: with these, errors are the weights' alone."""
    largest = x.abs().amax(-1, keepdim=True)
    wide, zero = torch.tensor(LARGEST_WIDE), torch.zeros(())
    is_zero = largest < SMALLEST_WIDE
    inverse = torch.where(is_zero, zero, wide / largest)
    return (x * inverse).double(), torch.where(is_zero, zero, largest / wide)


def noisy_rows(generator: torch.Generator) -> Rows:
    """As wrong as integers are, by up to half a step, but each time in another way."""

    def rows(x: Tensor) -> tuple[Tensor, Tensor]:
        v, scale = unrounded_rows(x)
        return v + torch.rand(v.shape, generator=generator, dtype=v.dtype) - 0.5, scale

    return rows


class WideMatrix(nn.Module):
    """An int8 matrix [out, in] with scales, beside which `.scale` and `.sum` stand in the file."""

    def __init__(self, model: LcwModel, weight: str) -> None:
        super().__init__()
        beside = weight.removesuffix(".weight")
        q, scale = model.tensors[weight], model.tensors[beside + ".scale"]
        if (q.sum(1, dtype=np.int64) != model.tensors[beside + ".sum"]).any():
            raise ValueError(f"{beside}.sum is not the sum of the weights")
        self.weight = torch.from_numpy(q.astype(np.float64))
        self.scale = torch.from_numpy(scale.copy())
        self.rows: Rows = quantize_rows

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] -> products [..., out] in fp32 (WideGemmArgs in kernels/kernels.h)."""
        v, row_scale = self.rows(x)
        high = torch.div(v + WIDE / 2, WIDE, rounding_mode="floor")
        low = v - WIDE * high
        # Exact sums, rounded to fp32 one by one.
        h, l = ((plane @ self.weight.T).float() for plane in (high, low))
        return (WIDE * h + l) * self.scale * row_scale

    def floats(self) -> Tensor:
        """The matrix that is stored."""
        return self.weight.float() * self.scale[:, None]


class WideLinear(nn.Module):
    """nn.Linear X of the file."""

    def __init__(self, model: LcwModel, name: str) -> None:
        super().__init__()
        self.matrix = WideMatrix(model, name + ".weight")
        self.bias = torch.from_numpy(model.tensors[name + ".bias"].copy())

    def forward(self, x: Tensor) -> Tensor:
        return self.matrix(x) + self.bias


class WideConceptExtractor(ConceptExtractor):
    def __init__(self, model: LcwModel, config: Config) -> None:
        c = config.concept_extractor
        super().__init__(
            config.image_encoder.channels,
            c.hidden,
            c.embedding,
            c.vocabulary,
            c.roi_size,
            c.sampling_ratio,
        )
        del self.vocabulary
        self.matrix = WideMatrix(model, "concept_extractor.vocabulary")  # rows of length 1

    def similarity(self, embedding: Tensor) -> Tensor:
        return self.matrix(embedding)


class WideHead(EnsembleHead):
    def __init__(self, words: WideMatrix, config: Config) -> None:
        f = config.fusion
        super().__init__(f.width, f.vocabulary, config.head.branches, f.layer_norm_eps)
        self.words = words

    def logits(self, h: Tensor, word_embeddings: Tensor) -> Tensor:
        return self.words(torch.stack([branch(h) for branch in self.branches])) + self.bias

    def forward(self, h: Tensor, word_embeddings: Tensor, ensemble: str) -> Tensor:
        if ensemble != "mean_logit":
            return super().forward(h, word_embeddings, ensemble)
        # One product: that of the branches' mean.
        mean = torch.stack([branch(h) for branch in self.branches]).mean(0)
        return (self.words(mean) + self.bias).log_softmax(-1)


def _widen_linear_layers(module: nn.Module, model: LcwModel, prefix: str = "") -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, WideLinear(model, prefix + name))
        else:
            _widen_linear_layers(child, model, f"{prefix}{name}.")


class QuantizedLightCap(LightCap):
    """An int8 .lcw in evaluation mode. Its image encoder and its detector take bytes."""

    def __init__(self, model: LcwModel) -> None:
        if not model.is_int8:
            raise ValueError("the model is not int8")
        config = model.config()
        words = WideMatrix(model, WORDS)
        with torch.device("meta"):  # what is neither replaced nor loaded would be noticed
            super().__init__(config)
            self.concept_extractor = WideConceptExtractor(model, config)
            self.head = WideHead(words, config)
        self.image_encoder = IntegerImageEncoder(model, config.image_encoder.blocks)
        self.detector = integer_detector(model, config)
        _widen_linear_layers(self, model)
        floats = {
            name: torch.from_numpy(model.tensors[name].astype(np.float32))
            for name, parameter in self.named_parameters()
            if parameter.is_meta and name != WORDS
        }
        self.load_state_dict(floats | {WORDS: words.floats()}, strict=False, assign=True)
        self.eval()

    def use_rows(self, rows: Rows) -> None:
        """How layers of few rows read them from now on; quantize_rows is the engine's way."""
        for module in self.modules():
            if isinstance(module, WideMatrix):
                module.rows = rows


class QuantizedCaptioner(Captioner):
    """Captioner over an int8 model, from the same pictures to the same stages."""

    model: QuantizedLightCap

    def encode(self, pixels: np.ndarray, trace: dict[str, Tensor]) -> tuple[Tensor, EncoderGeometry]:
        config = self.model.config.image_encoder
        square, geometry = encoder_pixels(pixels, config.image_size, config.resize)
        trace["encoder_input"] = normalised(square, config.mean, config.std)
        return self.model.image_encoder(byte_input(square, INSIDE, ENCODER_PADDING)), geometry

    def detect_raw(self, pixels: np.ndarray, trace: dict[str, Tensor]) -> tuple[list[Tensor], Letterbox]:
        padded, geometry = letterbox(pixels, self.model.config.detector.image_size)
        trace["detector_input"] = unit_pixels(padded)
        return self.model.detector(byte_input(padded, 0, DETECTOR_PADDING)), geometry


def byte_input(pixels: np.ndarray, fourth: int, border: int) -> Tensor:
    """[h, w, 3] -> bytes [1, 4, h + 2 border, w + 2 border], zeros around."""
    x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]
    x = torch.cat((x, torch.full_like(x[:, :1], fourth)), 1)
    return F.pad(x, [border] * 4)


def load_quantized(path: Path | str) -> QuantizedCaptioner:
    """Everything comes from the .lcw: weights, configuration, vocabulary, labels."""
    model = read_lcw(path)
    text = WordPiece(model.keys["vocabulary"])
    return QuantizedCaptioner(QuantizedLightCap(model), text, model.keys["labels"])
