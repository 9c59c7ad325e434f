"""The blocks that are compared, made of models/reference in the form that suits the peers best.

Constants are folded, what a caption never reads is not computed, the word embedding is read
once for all branches: the work is that of LightCap's own stages, or less.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.reference.config import Config
from models.reference.detector import STRIDES, Conv, Detector
from models.reference.fusion import Layer
from models.reference.lightcap import LightCap
from models.reference.modulator import mean_concept
from models.reference.preprocess import detector_input, encoder_input, read_image

BLOCKS = ("image_encoder", "detector", "fusion_prefix", "step", "head")
MASK = 103  # [MASK] in BERT's vocabulary
DETECTOR_INPUT = (480, 640)  # what a picture of 640 x 480 pixels becomes


class FlatDetector(nn.Module):
    """Detector and Detector.boxes without NMS; [values, cells] instead of five dimensions."""

    def __init__(self, detector: Detector, height: int, width: int) -> None:
        super().__init__()
        self.model, self.heads = detector.model[:24], detector.model[24].m
        self.values = 5 + detector.classes
        for i, (anchor, stride) in enumerate(zip(detector.model[24].anchors, STRIDES)):
            h, w = height // stride, width // stride
            rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
            cell = torch.stack((columns, rows)).float().flatten(1)  # [2, h w]
            offset = ((cell - 0.5) * stride)[None].expand(len(anchor), 2, h * w)
            self.register_buffer(f"offset{i}", offset.contiguous())
            self.register_buffer(f"anchor{i}", (anchor * stride * 2)[..., None].contiguous())

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Per scale: boxes [A, 4, h w], objectness and scores [A, 1, h w]."""
        m = self.model
        x4 = m[4](m[3](m[2](m[1](m[0](x)))))
        x6 = m[6](m[5](x4))
        x10 = m[10](m[9](m[8](m[7](x6))))
        x14 = m[14](m[13](torch.cat((m[11](x10), x6), 1)))
        x17 = m[17](torch.cat((m[15](x14), x4), 1))
        x20 = m[20](torch.cat((m[18](x17), x14), 1))
        x23 = m[23](torch.cat((m[21](x20), x10), 1))
        results = []
        for i, y in enumerate((x17, x20, x23)):
            offset, anchor = getattr(self, f"offset{i}"), getattr(self, f"anchor{i}")
            y = self.heads[i](y).sigmoid().reshape(len(anchor), self.values, offset.shape[-1])
            place, size, objectness, classes = y.split((2, 2, 1, self.values - 5), 1)
            center = place * (2.0 * STRIDES[i]) + offset
            half = size * size * anchor
            best = classes if self.values == 6 else classes.amax(1, keepdim=True)
            results += [torch.cat((center - half, center + half), 1), objectness, objectness * best]
        return tuple(results)


class FastLayer(nn.Module):
    """A layer of the fusion model, its scale folded into the queries' weights."""

    def __init__(self, layer: Layer, sdpa: bool) -> None:
        super().__init__()
        self.layer, self.heads, self.sdpa = layer, layer.attention.self.heads, sdpa
        query = layer.attention.self.query
        scale = (query.out_features // self.heads) ** -0.5
        query.weight.data.mul_(scale)
        query.bias.data.mul_(scale)

    def split(self, x: Tensor) -> Tensor:
        """[1, n, d] -> [1, heads, n, d / heads]."""
        _, n, d = x.shape
        return x.reshape(1, n, self.heads, d // self.heads).transpose(1, 2)

    def keys_and_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        attention = self.layer.attention.self
        return self.split(attention.key(x)), self.split(attention.value(x))

    def forward(self, x: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """x [1, n, d]; mask [n, keys] is added to the scores."""
        q = self.split(self.layer.attention.self.query(x))
        if self.sdpa:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
        else:
            scores = q @ k.transpose(-1, -2)
            y = (scores if mask is None else scores + mask).softmax(-1) @ v
        _, n, d = x.shape
        x = self.layer.attention.output(y.transpose(1, 2).reshape(1, n, d), x)
        return self.layer.output(self.layer.intermediate(x), x)


class Prefix(nn.Module):
    """Modulator, visual projection and layers; only keys and values are read, so no more is made.

    v [1, C, G, G], concepts [1, M, d] as embedded, their mean [1, 1, d] -> keys, values of each layer.
    """

    def __init__(self, model: LightCap, layers: list[FastLayer]) -> None:
        super().__init__()
        self.modulator, self.projection = model.modulator, model.visual_projection
        self.layers = nn.ModuleList(layers)

    def forward(self, v: Tensor, concepts: Tensor, mean: Tensor) -> tuple[Tensor, ...]:
        gate = torch.sigmoid(self.modulator.fc2(torch.relu(self.modulator.fc1(mean))))
        _, c, h, w = v.shape
        # The gate on rows of channels: the product is the modulator's.
        rows = v.reshape(1, c, h * w).transpose(1, 2) * gate
        x = torch.cat((concepts, self.projection.LayerNorm(self.projection.dense(rows))), 1)
        results: list[Tensor] = []
        for i, layer in enumerate(self.layers):
            k, value = layer.keys_and_values(x)
            results += [k, value]
            if i + 1 < len(self.layers):
                x = layer(x, k, value)
        return tuple(results)


class Step(nn.Module):
    """A word and [MASK] [1, 2, d] and the caches -> hidden state [1, d], the word's keys, values."""

    def __init__(self, layers: list[FastLayer], cached: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        mask = torch.zeros(2, cached + 2)
        mask[0, -1] = -1e30  # the word does not see [MASK]
        self.register_buffer("mask", mask)

    def forward(self, x: Tensor, *caches: Tensor) -> tuple[Tensor, ...]:
        results: list[Tensor] = []
        for i, layer in enumerate(self.layers):
            k, v = layer.keys_and_values(x)
            results += [k[:, :, :1], v[:, :, :1]]
            all_keys = torch.cat((caches[2 * i], k), 2)
            all_values = torch.cat((caches[2 * i + 1], v), 2)
            x = layer(x, all_keys, all_values, self.mask)
        return (x[:, 1], *results)


class Head(nn.Module):
    """h [1, 1, d] -> log-probabilities [1, W]; one product with the word embedding for all branches."""

    def __init__(self, model: LightCap) -> None:
        super().__init__()
        self.branches, self.bias = model.head.branches, model.head.bias
        self.words = model.word_embeddings

    def forward(self, h: Tensor) -> Tensor:
        rows = torch.cat([branch(h) for branch in self.branches], 1)
        each = F.linear(rows, self.words, self.bias).log_softmax(-1)
        # Log-probabilities are no smaller than what fp32 can take the exponential of: no maximum.
        return (each.exp().sum(1) * (1 / len(self.branches))).log()


def fold_batch_norms(module: nn.Module) -> None:
    for child in module.modules():
        if isinstance(child, Conv):
            child.conv, child.bn = fuse_conv_bn_eval(child.conv, child.bn), nn.Identity()
        for conv, bn in (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")):
            if hasattr(child, bn):
                setattr(child, conv, fuse_conv_bn_eval(getattr(child, conv), getattr(child, bn)))
                setattr(child, bn, nn.Identity())
        downsample = getattr(child, "downsample", None)
        if isinstance(downsample, nn.Sequential):
            child.downsample = nn.Sequential(fuse_conv_bn_eval(downsample[0], downsample[1]))


@dataclass
class Block:
    name: str
    module: nn.Module
    inputs: tuple[Tensor, ...]
    expected: tuple[Tensor, ...]  # by models/reference
    calibration: list[tuple[Tensor, ...]]  # inputs of other pictures, for int8


def random_model(seed: int) -> LightCap:
    """Full size; activations stay near 1, which is all that speed and comparisons need."""
    torch.manual_seed(seed)
    model = LightCap(Config()).eval()
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(module.weight, std=(1.5 / module.weight[0].numel()) ** 0.5)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=3 * module.embedding_dim**-0.5)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.7, 1.3)
            nn.init.normal_(module.running_mean, std=0.1)
    nn.init.normal_(model.head.bias, std=0.5)
    return model


def tuples(result: Tensor | list[Tensor] | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (result,) if isinstance(result, Tensor) else tuple(result)


def expected_boxes(detector: Detector, x: Tensor) -> tuple[Tensor, ...]:
    """The outputs of FlatDetector, computed by the reference."""
    results: list[Tensor] = []
    raw = detector(x)
    boxes, objectness, scores = detector.boxes(raw)
    first = 0
    for y in raw:
        anchors, cells = y.shape[1], y.shape[2] * y.shape[3]
        last = first + anchors * cells
        results.append(boxes[0, first:last].view(anchors, cells, 4).transpose(1, 2))
        results += [part[0, first:last].view(anchors, 1, cells) for part in (objectness, scores)]
        first = last
    return tuple(results)


def expected_fusion(
    model: LightCap, features: Tensor, tokens: Tensor, caption: Tensor, mean: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """By the reference, which runs whole sequences: the last [MASK]'s hidden state [1, d], and each
    layer's keys and values [1, heads, rows, d / heads] of all rows, prefix and caption first."""
    modulated, _ = model.modulator(features, mean)
    found: list[Tensor] = []
    hooks = []
    for layer in model.bert.encoder.layer:
        attention = layer.attention.self
        for part in (attention.key, attention.value):
            hooks.append(part.register_forward_hook(lambda _, __, y: found.append(y)))
    prefix = model.prefix(modulated, tokens)
    hidden = model.bert.predict(prefix, None, caption, "mask", MASK)[:, -1]
    for hook in hooks:
        hook.remove()
    heads = model.config.fusion.heads
    return hidden, [x.unflatten(2, (heads, -1)).transpose(1, 2) for x in found]


Pictures = list[tuple[Tensor, Tensor]]  # inputs of the image encoder and of the detector


def network_inputs(paths: list[Path]) -> Pictures:
    """The inputs that picture files make, whose letterbox must be DETECTOR_INPUT."""
    size, found = Config().image_encoder, []
    for path in paths:
        pixels = read_image(path)
        picture, _ = encoder_input(pixels, size.image_size, size.resize, size.mean, size.std)
        board, _ = detector_input(pixels, max(DETECTOR_INPUT))
        if board.shape[1:] != DETECTOR_INPUT:
            raise ValueError(f"{path} has another shape than 4 to 3")
        found.append((picture[None], board[None]))
    return found


class Shapes:
    """The rows of a decoding step that predicts `slot`."""

    def __init__(self, config: Config, concept_tokens: int, slot: int) -> None:
        self.concept_tokens, self.slot = concept_tokens, slot
        self.prefix = concept_tokens + config.image_encoder.grid**2
        self.cached = self.prefix + slot - 1


def inputs_and_results(
    model: LightCap, picture: Tensor, board: Tensor, shapes: Shapes
) -> dict[str, tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]:
    """By the names of BLOCKS, computed by the reference from a picture and random words."""
    features = model.image_encoder(picture)
    boxes = expected_boxes(model.detector, board)
    tokens = torch.randint(1000, 30000, (1, shapes.concept_tokens))
    caption = torch.randint(1000, 30000, (1, shapes.slot))
    mean = mean_concept(model.word_embeddings, tokens, torch.ones_like(tokens))
    hidden, keys_and_values = expected_fusion(model, features, tokens, caption, mean)
    cached = shapes.cached
    last = torch.cat((caption[:, -1:], torch.tensor([[MASK]])), 1)
    step_inputs = (
        model.bert.embed_caption(last, shapes.slot - 1),
        *(x[:, :, :cached].contiguous() for x in keys_and_values),
    )
    return {
        "image_encoder": ((picture,), (features,)),
        "detector": ((board,), boxes),
        "fusion_prefix": (
            (features, model.bert.embed_concepts(tokens), mean[None]),
            tuple(x[:, :, : shapes.prefix] for x in keys_and_values),
        ),
        "step": (
            step_inputs,
            (hidden, *(x[:, :, cached : cached + 1] for x in keys_and_values)),
        ),
        "head": (
            (hidden[None],),
            (model.head(hidden, model.word_embeddings, model.config.head.ensemble),),
        ),
    }


@torch.no_grad()
def make_blocks(
    seed: int, concept_tokens: int, slot: int, sdpa: bool, pictures: Pictures
) -> list[Block]:
    """`slot`: the one that the step predicts. `sdpa`: attention as one operator.

    The first picture, noise where there is none, gives inputs and results, the others calibrate.
    """
    model = random_model(seed)
    config = model.config
    shapes = Shapes(config, concept_tokens, slot)
    size, (height, width) = config.image_encoder.image_size, DETECTOR_INPUT
    pictures = pictures or [(torch.randn(1, 3, size, size), torch.rand(1, 3, height, width))]
    first, *others = (inputs_and_results(model, *picture, shapes) for picture in pictures)

    fold_batch_norms(model.image_encoder)
    flat = FlatDetector(model.detector, height, width)
    fold_batch_norms(flat)
    layers = [FastLayer(layer, sdpa) for layer in model.bert.encoder.layer]
    modules = {
        "image_encoder": model.image_encoder,
        "detector": flat,
        "fusion_prefix": Prefix(model, layers),
        "step": Step(layers, shapes.cached),
        "head": Head(model),
    }
    return [
        Block(name, modules[name].eval(), *first[name], [other[name][0] for other in others])
        for name in BLOCKS
    ]
