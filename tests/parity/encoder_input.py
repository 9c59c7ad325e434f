"""Encoder input: the engine's resizing against Pillow's, for odd sizes up and down.

    python tests/parity/encoder_input.py --lightcap BIN --model MODEL.lcw

Pictures of noise, ramps and hard edges, and real ones named on the command line. Within one level of
255 everywhere, or exit code 1; 77 without NumPy and Pillow.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import numpy as np
    from PIL import Image
except ImportError:
    sys.exit(77)

SIZES = [(1, 1), (2, 3), (31, 17), (97, 61), (224, 224), (225, 223), (223, 448), (333, 500), (500, 333),
         (448, 448), (640, 427), (427, 640), (1000, 37), (37, 1000), (640, 480), (1023, 769), (199, 1201),
         (1600, 1200), (75, 101), (2048, 3)]


def drawn(width: int, height: int, kind: int) -> np.ndarray:
    """[h, w, 3] uint8: noise, ramps or hard edges."""
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    if kind == 0:
        return np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)
    if kind == 1:
        return ((x * 255 // max(width - 1, 1) + y * (c + 1)) % 256).astype(np.uint8)
    return ((x // 5 + y // 3 + c) % 2 * 255).astype(np.uint8)


def pillow_input(pixels: np.ndarray, parameters: dict) -> np.ndarray:
    """The encoder's input for a picture by the model's settings, in levels: [3, S, S]."""
    size, (h, w) = parameters["image_encoder.image_size"], pixels.shape[:2]
    new_w = new_h = size
    if parameters["image_encoder.resize"] == "center_crop":
        new_w, new_h = (size if w <= h else size * w // h), (size if h <= w else size * h // w)
    resized = np.asarray(Image.fromarray(pixels).resize((new_w, new_h), Image.Resampling.BICUBIC))
    left, top = round((new_w - size) / 2), round((new_h - size) / 2)
    return resized[top:top + size, left:left + size].transpose(2, 0, 1).astype(np.float64)


def engine_input(lightcap: str, model: str, picture: Path, folder: Path, parameters: dict) -> np.ndarray:
    subprocess.run([lightcap, "caption", "--model", model, "--exif", "ignore", "--trace", folder, picture],
                   check=True, stdout=subprocess.DEVNULL)
    mean, std = (np.reshape(parameters[f"image_encoder.{key}"], (3, 1, 1)) for key in ("mean", "std"))
    return (np.load(folder / "encoder_input.npy").astype(np.float64) * std + mean) * 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lightcap", required=True)
    parser.add_argument("--model", required=True, action="append")
    parser.add_argument("pictures", nargs="*", type=Path)
    arguments = parser.parse_args()
    worst = 0.0
    for model in arguments.model:
        described = subprocess.run([arguments.lightcap, "inspect", "--json", model], check=True,
                                   capture_output=True, text=True).stdout
        parameters = json.loads(described)["key_values"]
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            pictures = list(arguments.pictures)
            for i, (width, height) in enumerate(SIZES):
                pictures.append(folder / f"{width}x{height}.png")
                Image.fromarray(drawn(width, height, i % 3)).save(pictures[-1])
            for picture in pictures:
                with Image.open(picture) as image:
                    expected = pillow_input(np.asarray(image.convert("RGB")), parameters)
                actual = engine_input(arguments.lightcap, model, picture, folder, parameters)
                error = float(np.abs(actual - expected).max())
                worst = max(worst, error)
                print(f"{Path(model).stem} {picture.name}: {error:.4f} levels")
    print(f"largest difference: {worst:.4f} levels, allowed is 1")
    sys.exit(0 if worst <= 1 else 1)


if __name__ == "__main__":
    main()
