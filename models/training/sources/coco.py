"""COCO's captions and instances, or files of their format."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from models.reference.preprocess import read_image

from . import UNREADABLE, Picture, PictureError, before_comma
from ..config import ConfigError


def read_json(path: Path, what: str, keys: tuple[str, ...] = ()) -> Any:
    """A file's value; an object that has these keys, if any are given."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; {what} is wanted") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON ({error}); {what} is wanted") from None
    missing = [key for key in keys if not isinstance(value, dict) or key not in value]
    if missing:
        raise ConfigError(f"{path} has no {', '.join(map(repr, missing))}; {what} is wanted")
    return value


def fields(entry: Any, names: tuple[str, ...], path: Path, what: str) -> tuple[Any, ...]:
    """An entry's values; an error that names the file and the entry if one is missing."""
    missing = [name for name in names if not isinstance(entry, dict) or name not in entry]
    if missing:
        raise ConfigError(f"{path}: {what} has no {', '.join(map(repr, missing))}: {str(entry)[:100]}")
    return tuple(entry[name] for name in names)


class Coco:
    """images: folder. captions: captions_*.json. instances: instances_*.json. karpathy: dataset_coco.json,
    whose pictures of these splits (train, restval, val, test) count: alone they are the pictures, beside
    captions or instances it leaves those of their pictures alone."""

    def __init__(self, base: Path, images: str, captions: str = "", instances: str = "",
                 karpathy: str = "",
                 split: str | tuple[str, ...] | list[str] = ("train", "restval")) -> None:  # fmt: skip
        self.folder = base / images
        if not self.folder.is_dir():
            raise ConfigError(f"{self.folder} is no folder: COCO's pictures are wanted")
        if not (captions or instances or karpathy):
            raise ConfigError("coco: captions, instances or karpathy is wanted")
        self.names: dict[Any, str] = {}
        self.captions: dict[Any, list[str]] = {}
        self.objects: dict[Any, list[tuple[str, tuple[float, ...]]]] = {}
        if captions:
            self._captions(base / captions)
        if instances:
            self._instances(base / instances)
        if karpathy:
            splits = (split,) if isinstance(split, str) else tuple(split)
            self._karpathy(base / karpathy, splits, alone=not (captions or instances))
        # Pictures of which nothing is said have no part.
        self.ids = [i for i in self.names if i in self.captions or i in self.objects]

    def _images(self, coco: Any, path: Path) -> None:
        for image in coco["images"]:
            i, name = fields(image, ("id", "file_name"), path, "an image")
            self.names[i] = name

    def _named(self, image: Any, path: Path) -> None:
        if image not in self.names:
            raise ConfigError(f"{path}: an annotation is of image {image}, which the file does not list")

    def _captions(self, path: Path) -> None:
        coco = read_json(path, "COCO's captions_*.json", ("images", "annotations"))
        self._images(coco, path)
        for entry in coco["annotations"]:
            image, text = fields(entry, ("image_id", "caption"), path, "an annotation")
            self._named(image, path)
            self.captions.setdefault(image, []).append(text)

    def _instances(self, path: Path) -> None:
        coco = read_json(path, "COCO's instances_*.json", ("images", "annotations", "categories"))
        self._images(coco, path)
        about = (fields(c, ("id", "name"), path, "a category") for c in coco["categories"])
        kinds = {i: before_comma(str(name)) for i, name in about}
        for entry in coco["annotations"]:
            image, kind, box = fields(entry, ("image_id", "category_id", "bbox"), path, "an annotation")
            self._named(image, path)
            if entry.get("iscrowd"):  # a box around many things is no thing
                continue
            if kind not in kinds:
                raise ConfigError(f"{path}: an annotation has category {kind}, which the file does not list")
            self.objects.setdefault(image, []).append((kinds[kind], corners(box, path)))

    def _karpathy(self, path: Path, splits: tuple[str, ...], alone: bool) -> None:
        chosen = {i: (name, texts) for i, name, part, texts in karpathys(path) if part in splits}
        if alone:
            self.names = {i: name for i, (name, _) in chosen.items()}
        self.names = {i: name for i, name in self.names.items() if i in chosen}
        if not self.captions:
            self.captions = {i: texts for i, (_, texts) in chosen.items()}

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> Picture:
        key = self.ids[i]
        return Picture(self.names[key], self.captions.get(key, []), self.objects.get(key, []))

    def pixels(self, i: int) -> np.ndarray:
        return read_picture(self.folder / self.names[self.ids[i]])


def karpathys(path: Path) -> Iterator[tuple[int, str, str, list[str]]]:
    """COCO's id, file name, split and captions of each picture of Karpathy's dataset_coco.json."""
    karpathy = read_json(path, "Karpathy's dataset_coco.json", ("images",))
    for image in karpathy["images"]:
        i, name, part, texts = fields(image, ("cocoid", "filename", "split", "sentences"), path,
                                      "an image")  # fmt: skip
        captions = [fields(text, ("raw",), path, "a sentence")[0] for text in texts]
        yield i, str(Path(image.get("filepath", ""), name)), part, captions


def corners(box: Any, path: Path) -> tuple[float, float, float, float]:
    """x0 y0 x1 y1 of x, y, width, height."""
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(v, (int, float)) for v in box):
        raise ConfigError(f"{path}: bbox is {box!r}: [x, y, width, height] is wanted")
    x, y, w, h = map(float, box)
    return x, y, x + w, y + h


def read_picture(path: Path) -> np.ndarray:
    try:
        return read_image(path)
    except UNREADABLE as error:
        raise PictureError(f"{path}: {error}") from None
