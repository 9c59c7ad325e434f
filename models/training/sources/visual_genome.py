"""Visual Genome's objects.json: regions with names, for the concept extractor and the detector."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from . import Picture, before_comma
from ..config import ConfigError
from .coco import corners, fields, karpathys, read_json, read_picture


def evaluated(karpathy: Path, image_data: Path) -> set[int]:
    """Visual Genome's ids of COCO's pictures that are in Karpathy's val or test."""
    coco = {i for i, _, part, _ in karpathys(karpathy) if part in ("val", "test")}
    entries = read_json(image_data, "Visual Genome's image_data.json")
    if not isinstance(entries, list):
        raise ConfigError(f"{image_data} is no list of pictures: Visual Genome's image_data.json is wanted")
    about = (fields(entry, ("image_id", "coco_id"), image_data, "a picture") for entry in entries)
    return {image for image, coco_id in about if coco_id in coco}


class VisualGenome:
    """images: folders (VG_100K and VG_100K_2), the first that has a picture counts. objects: objects.json.
    karpathy: dataset_coco.json, with image_data: image_data.json; half of the pictures are COCO's, and those of
    Karpathy's val and test are left out."""

    def __init__(self, base: Path, images: list[str], objects: str, karpathy: str = "",
                 image_data: str = "") -> None:  # fmt: skip
        self.folders = [base / folder for folder in ([images] if isinstance(images, str) else images)]
        for folder in self.folders:
            if not folder.is_dir():
                raise ConfigError(f"{folder} is no folder: Visual Genome's pictures are wanted")
        path = base / objects
        entries = read_json(path, "Visual Genome's objects.json")
        if not isinstance(entries, list):
            raise ConfigError(f"{path} is no list of pictures: Visual Genome's objects.json is wanted")
        if bool(karpathy) != bool(image_data):
            raise ConfigError("visual_genome: karpathy and image_data are wanted together, or neither")
        unseen = evaluated(base / karpathy, base / image_data) if karpathy else set()
        self.pictures = []
        for entry in entries:
            image, things = fields(entry, ("image_id", "objects"), path, "a picture")
            if image in unseen:
                continue
            found = []
            for thing in things:
                names, *box = fields(thing, ("names", "x", "y", "w", "h"), path, "an object")
                # Its first name counts; a comma would end a label.
                name = before_comma(str(names[0])).lower() if names else ""
                if name:
                    found.append((name, corners(box, path)))
            if found:
                self.pictures.append(Picture(f"{image}.jpg", [], found))

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, i: int) -> Picture:
        return self.pictures[i]

    def pixels(self, i: int) -> np.ndarray:
        name = self.pictures[i].name
        paths = [folder / name for folder in self.folders]
        return read_picture(next((path for path in paths if path.exists()), paths[0]))
