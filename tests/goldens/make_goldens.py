"""Makes the golden files beside this script: a small seeded model, two pictures, what PyTorch says.

    python tests/goldens/make_goldens.py

Odd sizes on purpose, to reach every kernel's tails. Files:
  model.pt, vocab.txt, concepts.txt   what lightcap-convert takes; the modulator is as wide as d
  parts.pt                            two --lightcap parts that share their storages, to go with the
                                      other parts of model.pt: `narrow` for the configuration
                                      `unusual`, whose modulator has d/8, the paper's; `gridless` for
                                      `side14`, without positions of a grid of 3 x 3
  configs/NAME.json                   its --config, one for each combination of hyper-parameters
  picture.png, rotated.jpg            the latter lies on its side, as its EXIF orientation says
  expected.json                       a list of runs: config, image, exif, beams, length_penalty, and
                                      where the caption must contain words, must_contain -> caption,
                                      score, tokens, concepts
  trace/NAME.npy                      every stage of the first run
  int8/                               the same of an int8 model: model.lcw, expected.json, trace/
The same machine and PyTorch give the same bytes. The script fails if a result hangs by a thread:
margins below must hold, so that another order of summation cannot change a token or a box.
"""

from __future__ import annotations

import io
import json
import sys
from dataclasses import asdict
from itertools import product
from pathlib import Path

import numpy as np
import torch
from PIL import Image

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from models.reference.caption import write_trace  # noqa: E402
from models.reference.config import Config  # noqa: E402
from models.reference.lcw import write_lcw  # noqa: E402
from models.reference.lightcap import Caption, Captioner, LightCap  # noqa: E402
from models.reference.margins import (  # noqa: E402
    box_margin,
    concept_margin,
    survives_noise,
    word_margin,
)
from models.reference.modulator import Modulator  # noqa: E402
from models.reference.preprocess import read_image  # noqa: E402
from models.reference.quantized import load_quantized  # noqa: E402
from models.reference.quantizer import quantize  # noqa: E402
from models.reference.random_weights import (  # noqa: E402
    drawing,
    random_labels,
    random_model,
    random_vocabulary,
)
from models.reference.text import WordPiece  # noqa: E402

SEED = 214
NARROW_SEED = 39
INT8_SEED = 42
END_BIAS = 5.0  # for captions of some words
INT8_END_BIAS = 2.8

# Configurations and beams of the captions that must contain words: one token, several pieces, two
# words with a form in common, forms of several words.
CONSTRAINED = (
    ("stretch-mask-mean_probability", 1),
    ("stretch-mask-mean_probability", 5),
    ("stretch-causal-mean_logit", 2),
    ("unusual", 3),
)
MUST_CONTAIN = (
    [["kinami"]],
    [["belikunukego"], ["gasuru", "futasazofimotu"]],
    [["tafe", "zofimotu"], ["zofimotu", "rafo buti"], ["poko"]],
)

WORD_MARGIN = 1e-3  # of log-probabilities: best to second best, and noise that changes nothing
INT8_WORD_MARGIN = 4e-3  # 16-bit rows that are rounded otherwise leave more
BOX_MARGIN = 2e-5  # of scores to each other and to the threshold, of overlaps to theirs
SIMILARITY_MARGIN = 1e-3

BASE = {
    "image_encoder": {"image_size": 96, "resize": "stretch"},
    "detector": {"image_size": 128, "max_proposals": 6},
    "fusion": {
        "heads": 2,
        "caption_slots": 12,
        "max_concept_tokens": 11,
        "decode": "mask",
    },
    "head": {"ensemble": "mean_probability"},
}
# One configuration away from the defaults in everything else.
UNUSUAL = {
    "image_encoder": {
        "image_size": 96,
        "resize": "center_crop",
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.25, 0.3],
    },
    "detector": {
        "image_size": 128,
        "confidence_threshold": 0.4,
        "iou_threshold": 0.3,
        "max_proposals": 3,
    },
    "concept_extractor": {"roi_size": 5, "sampling_ratio": 3, "deduplicate": False},
    "fusion": BASE["fusion"] | {"heads": 4, "caption_slots": 10, "decode": "causal"},
    "head": {"ensemble": "mean_logit"},
}
# Stages of both networks at stride 16 see pictures of 14 x 14: there a session gives 3 x 3
# convolutions to Winograd's filtering with its small tile, and at stride 8 to that with the large
# one. The other configurations have no side of 14 or 15.
SIDE14 = BASE | {
    "image_encoder": {"image_size": 224, "resize": "stretch"},
    "detector": {"image_size": 224, "confidence_threshold": 0.5, "max_proposals": 6},
}


def sizes() -> Config:
    config = Config().update(BASE)
    config.image_encoder.width, config.image_encoder.blocks = 6, (2, 1, 1, 1)
    detector = config.detector
    detector.widths, detector.depths, detector.classes = (
        (6, 10, 14, 18, 26),
        (1, 2, 1, 1, 1, 1, 1, 1),
        3,
    )
    concepts = config.concept_extractor
    concepts.hidden, concepts.embedding, concepts.vocabulary = 20, 24, 37
    fusion = config.fusion
    fusion.width, fusion.layers, fusion.feed_forward = 52, 2, 72
    fusion.vocabulary, fusion.positions, fusion.grid_position = 301, 25, True
    config.modulator.width = fusion.width
    config.head.branches = 3
    return config


def parts(state: dict[str, torch.Tensor], config: Config) -> dict[str, dict[str, torch.Tensor]]:
    """Two variants of the --lightcap part, which comes beside the three checkpoints."""
    d, channels = config.fusion.width, config.image_encoder.channels
    modulator = Modulator(d, d // 8, channels)
    generator = torch.Generator().manual_seed(NARROW_SEED)
    # fc1 sees words, which are small; a gate that differs from channel to channel.
    for linear, std in ((modulator.fc1, 1.0), (modulator.fc2, (d // 8) ** -0.5)):
        linear.weight.data = torch.randn(linear.weight.shape, generator=generator) * std
        linear.bias.data = torch.randn(linear.bias.shape, generator=generator) * 0.1
    elsewhere = ("image_encoder.", "detector.", "bert.")
    own = {name: x for name, x in state.items() if not name.startswith(elsewhere)}
    narrow = own | {f"modulator.{name}": x for name, x in modulator.state_dict().items()}
    gridless = {name: x for name, x in narrow.items() if name != "visual_projection.position"}
    return {"narrow": narrow, "gridless": gridless}


def state_of(run: dict[str, object], state: dict[str, torch.Tensor],
             parts: dict[str, dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The tensors that lightcap-convert is given for a run's configuration."""
    part = {"unusual": "narrow", "side14": "gridless"}.get(run["config"])
    if part is None:
        return state
    elsewhere = ("image_encoder.", "detector.", "bert.")
    return {name: x for name, x in state.items() if name.startswith(elsewhere)} | parts[part]


def configurations() -> dict[str, dict[str, dict[str, object]]]:
    """The base first, then every combination of the choices, then the two odd ones."""
    found = {}
    choices = product(
        ("stretch", "center_crop"), ("mask", "causal"), ("mean_probability", "mean_logit")
    )
    for resize, decode, ensemble in choices:
        config = json.loads(json.dumps(BASE))
        config["image_encoder"]["resize"] = resize
        config["fusion"]["decode"] = decode
        config["head"]["ensemble"] = ensemble
        found[f"{resize}-{decode}-{ensemble}"] = config
    return found | {"unusual": UNUSUAL, "side14": SIDE14}


def write_rotated_jpeg(path: Path, seed: int) -> np.ndarray:
    """A mosaic, stored lying on its side with orientation 6; returns it upright, [75, 101, 3].

    It has grey 8x8 blocks and full quality, so that every decoder finds the same pixels.
    """
    blocks = np.random.default_rng(seed).integers(0, 256, (13, 10)).astype(np.uint8)
    stored = blocks.repeat(8, 0).repeat(8, 1)[:101, :75]
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(path, quality=100, exif=exif)
    upright = read_image(path)
    assert (upright == np.rot90(stored, -1)[..., None]).all(), "JPEG changed the mosaic"
    return upright


def rounded(caption: Caption) -> dict[str, object]:
    """As JSON, numbers with as many digits as fp32 has."""
    fields = asdict(caption)
    del fields["trace"]
    return json.loads(json.dumps(fields), parse_float=lambda x: float(f"{float(x):.8g}"))


def runs() -> list[dict[str, object]]:
    found = []
    for config, beams in product(configurations(), (1, 5)):
        # The picture's boxes at this size are too near to each other, the mosaic's are not.
        image = "rotated.jpg" if config == "side14" else "picture.png"
        found.append({"config": config, "image": image, "exif": "apply", "beams": beams})
    base = found[0]
    found += [base | {"image": "rotated.jpg", "beams": beams} for beams in (1, 5)]
    found += [base | {"image": "rotated.jpg", "exif": "ignore"}]
    found = [run | {"length_penalty": 1.0} for run in found]
    found += [
        found[1] | {"beams": beams, "length_penalty": a} for beams, a in ((2, 0.0), (3, 0.6))
    ]
    return found + [
        (found[0] if beams == 1 else found[1])
        | {"config": config, "beams": beams, "must_contain": words}
        for (config, beams), words in product(CONSTRAINED, MUST_CONTAIN)
    ]


def captioner_of(state: dict[str, torch.Tensor], run: dict[str, object]) -> Captioner:
    config = Config().update(configurations()[run["config"]])
    vocabulary = WordPiece.from_file(HERE / "vocab.txt")
    labels = (HERE / "concepts.txt").read_text().splitlines()
    return Captioner(LightCap.from_state_dict(state, config), vocabulary, labels)


@torch.inference_mode()
def expect(captioner: Captioner, run: dict[str, object], words: float = WORD_MARGIN) -> Caption:
    pixels = read_image(HERE / run["image"], run["exif"] == "apply")
    beams, penalty, must_contain = run["beams"], run["length_penalty"], run.get("must_contain")
    caption = captioner.caption(pixels, beams, penalty, must_contain)
    assert box_margin(captioner, pixels) > BOX_MARGIN, "boxes are too near"
    margin = concept_margin(caption.trace["concept_similarity"])
    assert margin > SIMILARITY_MARGIN, "two concepts are too near"
    prefix = captioner.look(pixels)[0]
    constraints = captioner.constraints(must_contain) if must_contain else None
    assert survives_noise(captioner, prefix, beams, penalty, words, constraints), "noise changes words"
    if (steps := caption.trace.get("log_probabilities")) is not None:
        assert word_margin(steps, captioner.special) > words, "two words are too near"
    return caption


def write_expected(folder: Path, expected: list[tuple[dict[str, object], Caption]]) -> None:
    """expected.json, and the first run's trace."""
    assert len({c.label for c in expected[0][1].concepts}) > 2, "too few concepts"
    write_trace(expected[0][1], folder / "trace")
    lines = (json.dumps(run | rounded(caption), ensure_ascii=False) for run, caption in expected)
    (folder / "expected.json").write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def int8_sizes() -> Config:
    """Channels of convolutions are multiples of 4; all else is still odd."""
    config = sizes()
    config.image_encoder.width = 8
    config.detector.widths = (12, 8, 16, 8, 24)
    config.concept_extractor.hidden = 21
    fusion = config.fusion
    fusion.width, fusion.feed_forward, fusion.layers, config.modulator.width = 42, 46, 1, 11
    config.head.branches = 2
    return config


def make_int8(pictures: dict[str, np.ndarray], vocabulary: list[str], labels: list[str]) -> None:
    """The model, and captions of the two pictures."""
    config = int8_sizes()
    model = random_model(config, INT8_SEED, list(pictures.values()))
    model.head.bias.data[WordPiece(vocabulary).special.sep] += INT8_END_BIAS
    folder = HERE / "int8"
    folder.mkdir(exist_ok=True)
    quantized = quantize(model, list(pictures.values()), vocabulary, labels)
    write_lcw(folder / "model.lcw", quantized)
    captioner = load_quantized(folder / "model.lcw")
    runs = [
        {"image": image, "exif": "apply", "beams": beams, "length_penalty": 1.0}
        for image, beams in product(pictures, (1, 5))
    ]
    runs += [runs[1] | {"must_contain": words} for words in MUST_CONTAIN]
    expected = [(run, expect(captioner, run, INT8_WORD_MARGIN)) for run in runs]
    for run, caption in expected:
        print("int8", *run.values(), "->", caption.caption, caption.tokens)
    lengths = [len(caption.tokens) for _, caption in expected]
    assert min(lengths) > 3 and min(lengths) < config.fusion.caption_slots - 1, "odd lengths"
    write_expected(folder, expected)
    for name in ("encoder_input", "detector_input"):  # those of the first float model
        (folder / "trace" / f"{name}.npy").unlink()


def main() -> None:
    torch.set_num_threads(1)
    config = sizes()
    picture = drawing(101, 75, 5)
    Image.fromarray(picture).save(HERE / "picture.png", optimize=True)
    mosaic = write_rotated_jpeg(HERE / "rotated.jpg", 6)
    vocabulary = random_vocabulary(config.fusion.vocabulary, 3)
    labels = random_labels(config.concept_extractor.vocabulary, vocabulary, 4)
    (HERE / "vocab.txt").write_text("".join(f"{token}\n" for token in vocabulary))
    (HERE / "concepts.txt").write_text("".join(f"{label}\n" for label in labels))
    model = random_model(config, SEED, [picture, mosaic])
    model.head.bias.data[WordPiece(vocabulary).special.sep] += END_BIAS
    archive = io.BytesIO()
    torch.save(model.state_dict(), archive)
    (HERE / "model.pt").write_bytes(archive.getvalue())
    state = model.state_dict()
    lightcap_parts = parts(state, config)
    archive = io.BytesIO()
    torch.save(lightcap_parts, archive)
    (HERE / "parts.pt").write_bytes(archive.getvalue())
    (HERE / "configs").mkdir(exist_ok=True)
    for name, values in configurations().items():
        (HERE / "configs" / f"{name}.json").write_text(json.dumps(values, indent=1) + "\n")

    expected = []
    for run in runs():
        caption = expect(captioner_of(state_of(run, state, lightcap_parts), run), run)
        expected.append((run, caption))
        print(*run.values(), "->", caption.caption, caption.tokens)
    write_expected(HERE, expected)
    make_int8({"picture.png": picture, "rotated.jpg": mosaic}, vocabulary, labels)


if __name__ == "__main__":
    main()
