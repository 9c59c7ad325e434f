"""The same scenes in other files: larger, smaller, turned with an EXIF orientation, compressed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from .scenes import Scene

PLAIN = "plain"
# How a picture has to be stored for its orientation to turn it upright again.
STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def _scaled(by: float) -> Callable[[Image.Image, Path, int], Path]:
    def save(picture: Image.Image, stem: Path, index: int) -> Path:
        size = round(picture.width * by), round(picture.height * by)
        picture.resize(size, Image.Resampling.BICUBIC).save(stem.with_suffix(".png"))
        return stem.with_suffix(".png")

    return save


def _turned(suffix: str, **options: Any) -> Callable[[Image.Image, Path, int], Path]:
    def save(picture: Image.Image, stem: Path, index: int) -> Path:
        exif = Image.Exif()
        exif[0x0112] = orientation = 2 + index % 7
        path = stem.with_suffix(suffix)
        picture.transpose(STORED[orientation]).save(path, exif=exif, **options)
        return path

    return save


def _jpeg(quality: int) -> Callable[[Image.Image, Path, int], Path]:
    def save(picture: Image.Image, stem: Path, index: int) -> Path:
        picture.save(stem.with_suffix(".jpg"), quality=quality)
        return stem.with_suffix(".jpg")

    return save


VARIANTS = {
    PLAIN: _scaled(1),
    "enlarged 2x": _scaled(2),
    "shrunk 0.6x": _scaled(0.6),
    "EXIF orientations 2 to 8, PNG": _turned(".png"),
    "EXIF orientations 2 to 8, JPEG 95": _turned(".jpg", quality=95, subsampling=0),
    "JPEG 80": _jpeg(80),
}


def _described(scene: Scene, by: tuple[float, float]) -> dict[str, Any]:
    """The scene's fields, its boxes in the variant's pixels."""
    fields = asdict(scene)
    fields["width"], fields["height"] = round(scene.width * by[0]), round(scene.height * by[1])
    for group in fields["groups"]:
        group["boxes"] = [[x * by[i % 2] for i, x in enumerate(box)] for box in group["boxes"]]
    return fields


def write(
    scenes: Iterable[tuple[Scene, Image.Image, list[str]]], out: Path
) -> dict[str, dict[str, Any]]:
    """Every variant's pictures and captions.json (COCO) in its own folder; the files' contents."""
    files = {name: {"images": [], "annotations": []} for name in VARIANTS}
    for name in VARIANTS:
        folder(out, name).mkdir(parents=True, exist_ok=True)
    for i, (scene, picture, captions) in enumerate(scenes):
        for name, save in VARIANTS.items():
            path = save(picture, folder(out, name) / f"{i:05}", i)
            # Only a change of size moves the boxes: orientations are undone by the reader.
            with Image.open(path) as stored:
                turned = stored.getexif().get(0x0112, 1) >= 5
                size = stored.size[::-1] if turned else stored.size
            by = (size[0] / scene.width, size[1] / scene.height)
            files[name]["images"].append({"id": i, "file_name": path.name, "width": size[0],
                                          "height": size[1], "scene": _described(scene, by)})  # fmt: skip
            for caption in captions:
                files[name]["annotations"].append(
                    {"id": len(files[name]["annotations"]), "image_id": i, "caption": caption}
                )
    for name, coco in files.items():
        (folder(out, name) / "captions.json").write_text(json.dumps(coco))
    return files


def slug(name: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def folder(out: Path, name: str) -> Path:
    return out / slug(name)
