"""Seeded weights for tests: they give activations of O(1), boxes, and words that are no coin toss.

Some are calibrated on pictures; on pictures unlike those, boxes may be none or all over the place.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from .config import Config
from .detector import Detector
from .lightcap import Captioner, LightCap
from .preprocess import detector_input, encoder_input
from .text import SPECIAL

# Logits of this standard deviation leave gaps between the best words, yet no certainty.
LOGIT_STD = 3.0
# Cells of a picture that pass the detector's threshold, before overlaps are suppressed.
PROPOSED = 25


def drawing(width: int, height: int, seed: int) -> np.ndarray:
    """A made-up picture [height, width, 3]: shapes over a gradient, with some noise."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 1, width)[None, :, None] * rng.uniform(0, 120, 3)
    ramp = ramp + np.linspace(0, 1, height)[:, None, None] * rng.uniform(0, 120, 3)
    image = Image.fromarray(ramp.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for i in range(9):
        x, y = rng.uniform(0, 0.8, 2) * (width, height)
        w, h = rng.uniform(0.1, 0.5, 2) * (width, height)
        shape = (draw.rectangle, draw.ellipse)[i % 2]
        shape(
            [float(x), float(y), float(x + w), float(y + h)],
            tuple(rng.integers(0, 256, 3).tolist()),
        )
    noise = rng.normal(0, 6, (height, width, 3))
    return np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)


def _spread(weight: Tensor, std: float, generator: torch.Generator) -> None:
    weight.copy_(torch.randn(weight.shape, generator=generator) * std)


def _initialise(model: LightCap, generator: torch.Generator) -> None:
    """Matrices keep the scale of what they multiply; vectors are near their neutral values."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            _spread(module.weight, module.weight[0].numel() ** -0.5, generator)
            if module.bias is not None:
                _spread(module.bias, 0.1, generator)
        elif isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)):
            _spread(module.weight, 0.15, generator)
            module.weight += 1
            _spread(module.bias, 0.15, generator)
        elif isinstance(module, nn.Embedding):
            _spread(module.weight, LOGIT_STD * module.embedding_dim**-0.5, generator)
    for layer in model.bert.encoder.layer:
        layer.attention.self.query.weight *= 2.5  # attention that prefers some tokens
    _spread(model.modulator.fc1.weight, 1, generator)  # words are small: see Embedding
    _spread(model.concept_extractor.vocabulary, 1, generator)
    _spread(model.head.bias, 0.5, generator)
    if model.visual_projection.position is not None:
        _spread(model.visual_projection.position, 0.3, generator)


def _calibrate_batch_norm(block: nn.Module, inputs: Tensor) -> None:
    """Running statistics become those of the inputs, as every layer sees them."""
    norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm2d)]
    usual = norms[0].momentum
    for norm in norms:
        norm.momentum = 1.0
    block.train()
    block(inputs)
    block.eval()
    for norm in norms:
        norm.momentum = usual
        norm.num_batches_tracked.zero_()


def _calibrate_heads(detector: Detector, inputs: Tensor) -> None:
    """Boxes get a third to 2.7 times their anchor's sides; PROPOSED cells a picture get through."""
    raw = detector(inputs)
    cells = sum(y[..., 0].numel() for y in raw)
    for conv, y in zip(detector.model[24].m, raw):
        limit = torch.tensor([1.5] * 4 + [4] * (1 + detector.classes))
        mean = y.mean((0, 2, 3), keepdim=True)  # [1, A, 1, 1, 5 + classes]
        scale = limit / (y - mean).abs().amax((0, 2, 3), keepdim=True)
        conv.weight *= scale.view(-1, 1, 1, 1)
        bias = conv.bias.view(-1, 5 + detector.classes)
        bias.copy_((bias - mean[0, :, 0, 0]) * scale[0, :, 0, 0])
        bias[:, 5:] += 3
        objectness = ((y - mean) * scale)[..., 4]
        bias[:, 4] -= objectness.flatten().quantile(1 - PROPOSED * len(inputs) / cells) + 1


def _calibrate_concepts(model: LightCap, views: Tensor, generator: torch.Generator) -> None:
    """The first linear block sees what differs between regions, so that labels differ too."""
    size = model.config.image_encoder.image_size
    corners = torch.rand(16 * len(views), 2, 2, generator=generator) * size
    boxes = torch.cat((corners.amin(1), corners.amax(1)), 1)
    image = torch.arange(len(boxes)) % len(views)
    first = model.concept_extractor.proj[0]
    roi = model.concept_extractor.roi_features(model.image_encoder(views), boxes, image)
    y = first(roi)
    scale = y.std(0).mean()
    first.bias.copy_((first.bias - y.mean(0)) / scale)
    first.weight /= scale


@torch.no_grad()
def random_model(config: Config, seed: int, pictures: list[np.ndarray]) -> LightCap:
    """A model in evaluation mode, calibrated on pictures [h, w, 3] of one shape."""
    generator = torch.Generator().manual_seed(seed)
    model = LightCap(config).eval()
    _initialise(model, generator)
    encoder, detector = config.image_encoder, config.detector
    views = torch.stack(
        [
            encoder_input(p, encoder.image_size, "stretch", encoder.mean, encoder.std)[0]
            for p in pictures
        ]
    )
    boards = torch.stack([detector_input(p, detector.image_size)[0] for p in pictures])
    _calibrate_batch_norm(model.image_encoder, views)
    _calibrate_batch_norm(model.detector, boards)
    _calibrate_heads(model.detector, boards)
    _calibrate_concepts(model, views, generator)
    return model


@torch.no_grad()
def let_captions_end(captioner: Captioner, pixels: np.ndarray) -> None:
    """Raises [SEP]'s bias so that the greedy caption of this picture ends about halfway."""
    sep = captioner.special.sep
    rows = captioner.caption(pixels).trace["log_probabilities"]
    gaps = rows.max(1).values - rows[:, sep]
    captioner.model.head.bias[sep] += gaps[len(gaps) // 3 :].min() + 0.3


def random_words(count: int, seed: int) -> list[str]:
    """Different made-up words."""
    rng = np.random.default_rng(seed)
    words: dict[str, None] = {}
    while len(words) < count:
        syllables = [
            rng.choice(list("bdfgklmnprstvz")) + rng.choice(list("aeiou")) for _ in range(4)
        ]
        words["".join(syllables[: rng.integers(2, 5)])] = None
    return list(words)


def random_vocabulary(size: int, seed: int) -> list[str]:
    """A WordPiece vocabulary: special tokens, punctuation, letters, words and ## pieces."""
    letters = list("abcdefghijklmnopqrstuvwxyz0123456789")
    tokens = list(SPECIAL) + list(".,!?'-") + letters + ["##" + c for c in letters]
    if size < len(tokens):
        raise ValueError(f"a vocabulary of {size}, at least {len(tokens)} are needed")
    words = random_words(size, seed)
    rest = size - len(tokens)
    pieces = ["##" + word for word in words[: rest // 4]]
    return tokens + pieces + words[: rest - len(pieces)]


def random_labels(count: int, vocabulary: list[str], seed: int) -> list[str]:
    """Different labels: a word, two words, a word with a ## piece, a word in accented capitals."""
    rng = np.random.default_rng(seed)
    words = rng.permutation([w for w in vocabulary if len(w) > 3 and w.isalpha()]).tolist()
    pieces = [w[2:] for w in vocabulary if len(w) > 3 and w.startswith("##")]
    labels: dict[str, None] = {}
    while len(labels) < count:
        word = words.pop()
        kinds = (
            word,
            f"{word} {words[0]}",
            word + rng.choice(pieces),
            word.upper().replace("A", "\u00c1"),
        )
        labels[kinds[len(labels) % 4]] = None
    return list(labels)
