"""Makes int8 models of float ones, for tests that know what must come out of them.

Ranges are the largest values on the given pictures. `lightcap-quantize` is for users: it streams many
pictures, chooses ranges with care, and reports what is lost.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
from torch import Tensor, nn

from . import detector as detectors
from . import image_encoder as encoders
from .lcw import LcwModel
from .lightcap import LightCap
from .preprocess import detector_input, encoder_input
from .quantized import WORDS

LARGEST = 127
LARGEST_PAIR = 128  # what two neighbouring weights of one sign add up to
SILU_LOWEST = 0.2785
SILU_UNITS = 512  # of what comes before SiLU, in 1
# A SiLU's output has the scale SILU_STEPS / m with a whole number m.
SILU_STEPS = 64

# The detector's modules whose outputs are concatenated share a scale.
GROUPS = {"4": "at 8", "14": "at 8", "18": "at 8", "6": "at 16", "10": "at 16", "21": "at 16"}
# The modules that read another than the one before.
READS = {"13": "10", "17": "14", "20": "18", "23": "21", "24.m.0": "17", "24.m.1": "20"}
READS |= {"24.m.2": "23"}


def quantized_rows(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """w [out, in, ...] -> int8 weights, of which neighbours obey the pair rule, and scales [out]."""
    rows = np.moveaxis(w, 1, -1).reshape(len(w), -1).astype(np.float64)
    padded = np.pad(rows, ((0, 0), (0, rows.shape[1] % 2)))
    scale = np.maximum(np.abs(rows).max(1) / LARGEST, 1e-12)

    def breaks_rule(some: np.ndarray) -> np.ndarray:
        """Those of the outputs `some` that have a pair beyond the rule."""
        q = np.rint(padded[some] / scale[some, None]).reshape(len(some), -1, 2)
        a, b = q[..., 0], q[..., 1]
        return some[((a * b > 0) & (np.abs(a + b) > LARGEST_PAIR)).any(1)]

    wrong = breaks_rule(np.arange(len(w)))
    while len(wrong) > 0:
        scale[wrong] *= 1.002
        wrong = breaks_rule(wrong)
    # As they are stored: what runs must be what was rounded.
    scale = scale.astype(np.float32).astype(np.float64)
    axes = (-1,) + (1,) * (w.ndim - 1)
    q = np.clip(np.rint(w / scale.reshape(axes)), -LARGEST, LARGEST)
    return q.astype(np.int8), scale


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
    """The weights and biases of a convolution and the BatchNorm behind it."""
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    weight = conv.weight.double() * scale[:, None, None, None]
    return weight.numpy(), (norm.bias.double() - norm.running_mean.double() * scale).numpy()


class Quantizer:
    def __init__(self, model: LightCap, pictures: list[np.ndarray]) -> None:
        self.model = model
        self.tensors: dict[str, np.ndarray] = {}
        self.largest: dict[str, float] = defaultdict(float)
        self._find_ranges(pictures)

    # ---- Ranges ----

    def _find_ranges(self, pictures: list[np.ndarray]) -> None:
        def watch(module: nn.Module, name: str) -> None:
            def note(_: nn.Module, __: object, y: Tensor) -> None:
                self.largest[name] = max(self.largest[name], float(y.max()))

            hooks.append(module.register_forward_hook(note))

        hooks: list[torch.utils.hooks.RemovableHandle] = []
        for path, module in self.model.image_encoder.named_modules(prefix="image_encoder"):
            # ReLU cuts what is below 0: the largest stays.
            if isinstance(module, (nn.BatchNorm2d, encoders.Bottleneck)):
                watch(module, path)
        for path, module in self.model.detector.named_modules(prefix="detector"):
            if isinstance(module, detectors.Conv):
                watch(module, self.group(path.removeprefix("detector.model.")))
            elif isinstance(module, detectors.Bottleneck):
                watch(module, self.group(path.removeprefix("detector.model.") + ".cv2"))
        encoder, detector = self.model.config.image_encoder, self.model.config.detector
        for pixels in pictures:
            x, _ = encoder_input(
                pixels, encoder.image_size, encoder.resize, encoder.mean, encoder.std
            )
            self.model.image_encoder(x[None])
            self.model.detector(detector_input(pixels, detector.image_size)[0][None])
        for hook in hooks:
            hook.remove()

    # ---- The detector's names: "8.m.0.cv1" is detector.model.8.m.0.cv1 ----

    def group(self, name: str) -> str:
        """The tensor, or the concatenation of tensors, that a convolution's output is part of."""
        module, _, part = name.partition(".")
        if isinstance(self.model.detector.model[int(module)], detectors.C3):
            if part == "cv3":
                return GROUPS.get(module, module)
            return name if part.startswith("m.") and part.endswith("cv1") else module + ".both"
        return GROUPS.get(name, name)

    def read_by(self, name: str) -> str:
        """The group that a convolution reads."""
        module, _, part = name.partition(".")
        if isinstance(self.model.detector.model[int(module)], detectors.C3):
            if part == "cv3" or part.endswith("cv1") and part.startswith("m."):
                return module + ".both"
            if part.startswith("m."):
                return name.removesuffix("cv2") + "cv1"
        if name == "9.cv2":
            return "9.cv1"
        before = READS.get(name) or READS.get(module) or str(int(module) - 1)
        kind = self.model.detector.model[int(before)]
        last = {detectors.C3: ".cv3", detectors.SPPF: ".cv2"}.get(type(kind), "")
        return self.group(before + last)

    # ---- Convolutions ----

    def add(self, name: str, matrix: np.ndarray) -> np.ndarray:
        """Adds an int8 matrix and what stands beside it; returns the scales of its outputs."""
        q, scale = quantized_rows(matrix)
        beside = name.removesuffix(".weight")
        self.tensors[name] = q
        self.tensors[beside + ".scale"] = scale.astype(np.float32)
        sums = q.reshape(len(q), -1).sum(1, dtype=np.int64)
        self.tensors[beside + ".sum"] = sums.astype(np.int32)
        return scale

    def conv(
        self,
        name: str,
        weight: np.ndarray,
        bias: np.ndarray,
        unit: float,
        zeros: tuple[int, int] = (0, 0),
        scale: float = 0.0,
        residual: float = 0.0,
        silu_factor: int = 0,
    ) -> None:
        """`weight` contains the input's scale; sums become multiples of `unit`."""
        rows = self.add(name + ".weight", weight)
        sums = self.tensors[name + ".sum"].astype(np.int64)
        self.tensors[name + ".bias"] = (np.rint(bias / rows) - zeros[0] * sums).astype(np.int32)
        self.tensors[name + ".scale"] = (rows / unit).astype(np.float32)
        numbers = [zeros[0], scale, zeros[1], residual / unit, 0, silu_factor]
        self.tensors[name + ".quantization"] = np.array(numbers, np.float32)

    def relu_scale(self, name: str) -> float:
        return max(self.largest[name], 1e-6) / 255

    def image_encoder(self) -> None:
        root, encoder = "image_encoder.", self.model.image_encoder
        config = self.model.config.image_encoder
        weight, bias = folded(encoder.conv1, encoder.bn1)
        weight = weight / (255 * np.reshape(config.std, (3, 1, 1)))
        # The fourth byte is 255 where the picture is: it brings what the mean takes away.
        fourth = -(weight * np.reshape(config.mean, (3, 1, 1))).sum(1, keepdims=True)
        weight, scale = np.concatenate((weight, fourth), 1), 1.0
        for i in (1, 2, 3):
            if i > 1:
                weight, bias = folded(getattr(encoder, f"conv{i}"), getattr(encoder, f"bn{i}"))
            before, scale = scale, self.relu_scale(f"{root}bn{i}")
            self.conv(f"{root}conv{i}", weight * before, bias, scale, scale=scale)
        blocks = [
            (f"layer{stage}.{i}.", block)
            for stage in (1, 2, 3, 4)
            for i, block in enumerate(getattr(encoder, f"layer{stage}"))
        ]
        for name, block in blocks:
            name = root + name
            after = self.relu_scale(name.rstrip("."))
            self.bottleneck(name, block, scale, after, is_last=block is blocks[-1][1])
            scale = after

    def bottleneck(
        self, name: str, block: encoders.Bottleneck, scale: float, after: float, is_last: bool
    ) -> None:
        before = scale
        for i in (1, 2):
            weight, bias = folded(getattr(block, f"conv{i}"), getattr(block, f"bn{i}"))
            own = self.relu_scale(f"{name}bn{i}")
            self.conv(f"{name}conv{i}", weight * before, bias, own, scale=own)
            before = own
        weight, bias = folded(block.conv3, block.bn3)
        weight, residual = weight * before, scale
        if block.downsample is not None:
            shortcut, shift = folded(*block.downsample)
            weight = np.concatenate((weight, shortcut * scale), 1)
            bias, residual = bias + shift, 0.0
        if is_last:
            self.conv(f"{name}conv3", weight, bias, 1.0, residual=residual)
        else:
            self.conv(f"{name}conv3", weight, bias, after, scale=after, residual=residual)

    def silu(self, group: str) -> tuple[float, int, int]:
        """The scale, the zero and m of a group's bytes."""
        factor = int(SILU_STEPS / ((self.largest[group] + SILU_LOWEST) / 255))
        factor = max(min(factor, 32767), 1)
        return SILU_STEPS / factor, round(SILU_LOWEST * factor / SILU_STEPS), factor

    def detector(self) -> None:
        root = "detector.model."
        for path, module in self.model.detector.model.named_modules():
            if isinstance(module, detectors.Conv):
                weight, bias = folded(module.conv, module.bn)
                scale, zero, factor = self.silu(self.group(path))
                if path == "0":
                    before, zero_before = 1 / 255, 0
                    weight = np.pad(weight, ((0, 0), (0, 1), (0, 0), (0, 0)))
                else:
                    before, zero_before, _ = self.silu(self.read_by(path))
                self.conv(
                    f"{root}{path}.conv",
                    weight * before,
                    bias,
                    1 / SILU_UNITS,
                    (zero_before, zero),
                    scale,
                    silu_factor=factor,
                )
            elif isinstance(module, nn.Conv2d) and path.startswith("24."):
                before, zero_before, _ = self.silu(self.read_by(path))
                weight, bias = module.weight.double().numpy(), module.bias.double().numpy()
                self.conv(root + path, weight * before, bias, 1.0, (zero_before, 0))
        self.tensors[root + "24.anchors"] = self.model.detector.model[24].anchors.numpy()

    # ---- All else ----

    def others(self) -> None:
        """Linear layers, embeddings, and what stays in fp32."""
        convolutional = ("image_encoder.", "detector.")
        linear = {n for n, m in self.model.named_modules() if isinstance(m, nn.Linear)}
        for name, x in self.model.state_dict().items():
            if name.startswith(convolutional):
                continue
            if name == "concept_extractor.vocabulary":
                self.add(name, nn.functional.normalize(x, dim=-1).numpy())
            elif name == WORDS or (name.endswith(".weight") and name[: -len(".weight")] in linear):
                self.add(name, x.numpy())
            else:
                self.tensors[name] = x.numpy()


@torch.no_grad()
def quantize(
    model: LightCap, pictures: list[np.ndarray], vocabulary: list[str], labels: list[str]
) -> LcwModel:
    """An int8 model of a float one in evaluation mode, with ranges of these pictures."""
    quantizer = Quantizer(model, pictures)
    quantizer.image_encoder()
    quantizer.detector()
    quantizer.others()
    keys = LcwModel.keys_of(model.config) | {
        "quantization": "int8",
        "vocabulary": vocabulary,
        "labels": labels,
        "producer": "models/reference",
        "sources": ["random weights"],
        "licenses": ["none"],
    }
    return LcwModel(keys, quantizer.tensors)
