"""A trained YOLOv5 checkpoint proposes in the engine what it proposes in PyTorch.

    python tests/parity/detector.py --lightcap BIN --convert BIN --checkpoint YOLO.pt IMAGE...

The rest of the model is random. Exit code 1 if the number of boxes differs, or a box by 0.2 pixels
or more; 77 without PyTorch.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import engine  # isort: skip  (leaves where PyTorch is missing)

import numpy as np
import torch
from PIL import Image

from models.reference.config import DetectorConfig
from models.reference.detector import Detector, propose
from models.reference.preprocess import detector_input, read_image
from models.reference.ultralytics import load_yolo

LIMIT = 0.2  # pixels of the image


class Yolo:
    """The checkpoint in PyTorch, with LightCap's thresholds."""

    def __init__(self, path: Path) -> None:
        state = load_yolo(path)
        self.config = DetectorConfig().infer_sizes(state)
        c = self.config
        self.detector = Detector(c.widths, c.depths, c.classes, c.anchors).eval()
        self.detector.load_state_dict({k.removeprefix("detector."): v for k, v in state.items()})

    @torch.inference_mode()
    def boxes(self, pixels: np.ndarray) -> np.ndarray:
        """[n, 4] in image pixels, by descending score; the whole picture if there are none."""
        c = self.config
        x, geometry = detector_input(pixels, c.image_size)
        candidates = (y[0] for y in self.detector.boxes(self.detector(x[None])))
        boxes, _ = propose(*candidates, c.confidence_threshold, c.iou_threshold, c.max_proposals)
        if len(boxes) == 0:
            return np.array([[0.0, 0.0, geometry.width, geometry.height]])
        return geometry.to_image(boxes).numpy()


def farthest(a: np.ndarray, b: np.ndarray) -> float:
    """Largest distance of a box to its nearest counterpart: equal scores may come in any order."""
    if a.shape != b.shape:
        return float("inf")
    distances = np.abs(a[:, None] - b[None]).max(-1)
    return float(max(distances.min(0).max(), distances.min(1).max()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    engine.add_arguments(parser)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    args = parser.parse_args()
    isas = engine.instruction_sets(args.lightcap)
    yolo = Yolo(args.checkpoint)
    well = True
    with tempfile.TemporaryDirectory(prefix="lightcap-parity-") as name:
        model, picture = Path(name) / "model.lcw", Path(name) / "picture.png"
        engine.call(args.convert, "--detector", args.checkpoint, "--random", 1, "-o", model)
        for image in args.images:
            pixels = read_image(image)
            # As PNG, so that both read the same pixels whatever their JPEG decoders round.
            Image.fromarray(pixels).save(picture)
            expected = yolo.boxes(pixels)
            for isa in isas:
                found = engine.caption(args.lightcap, model, picture, isa).boxes
                error = farthest(found, expected)
                well &= error < LIMIT
                boxes = f"{len(found)} of {len(expected)} boxes"
                print(f"{image.name:24}{isa:8}{boxes:20}{error:10.1e} pixels", flush=True)
    print("parity holds" if well else "parity is broken")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
