"""Draws pictures of 640 x 480 pixels, on which every engine's int8 model is calibrated."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from models.reference.random_weights import drawing  # noqa: E402

PICTURES = 32


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True)
    for i in range(PICTURES):
        Image.fromarray(drawing(640, 480, i)).save(folder / f"{i:02}.png")


if __name__ == "__main__":
    main()
