"""Seeded illustrated scenes with boxes, facts and five reference captions each.

python -m models.demo.scenes OUT --count 500 --seed 1 writes OUT/NNNNN.png and OUT/captions.json
(COCO format; each image also carries its `scene`: setting, groups, relation, boxes). --groups 3 leaves
out the plainer scenes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from . import grammar
from .drawings import ASPECT, COLOURS, STYLES, draw

Box = tuple[float, float, float, float]
SKY = ("sun", "moon", "cloud", "kite", "bird", "balloon", "plane")
# Things on the ground of each setting; the sky's are allowed wherever there is a sky.
GROUND = {
    "meadow": ("house", "tree", "cat", "dog", "rabbit", "flower", "tent", "bridge", "ball"),
    "sea": ("boat", "fish", "duck", "bridge"),
    "street": ("house", "tree", "car", "bus", "dog", "cat", "lamp", "umbrella", "bridge"),
    "night": ("house", "tree", "car", "tent", "lamp", "cat", "bus"),
    "snow": ("house", "tree", "snowman", "dog", "rabbit", "tent", "car"),
    "room": ("chair", "table", "clock", "cup", "lamp", "cat", "dog", "ball", "flower", "umbrella"),
}
ABOVE = {
    "meadow": ("sun", "cloud", "kite", "bird", "balloon", "plane"),
    "sea": ("sun", "cloud", "bird", "plane", "balloon"),
    "street": ("sun", "cloud", "bird", "balloon", "plane"),
    "night": ("moon", "plane", "balloon"),
    "snow": ("sun", "cloud", "bird", "kite"),
    "room": ("clock", "balloon"),
}
# A thing whose colour goes without saying is drawn in one only and never called by it.
NATURAL = {"sun": "yellow", "moon": "yellow", "cloud": "white", "tree": "green"}
NO_BLACK = ("snowman",)
# Colours of (far, near) grounds; a thing never has its ground's colour.
BACKDROPS = {
    "meadow": ((160, 210, 245), (120, 190, 90)),
    "sea": ((185, 220, 245), (70, 140, 205)),
    "street": ((205, 215, 225), (120, 120, 125)),
    "night": ((22, 26, 66), (42, 58, 52)),
    "snow": ((190, 205, 225), (232, 238, 244)),
    "room": ((235, 215, 180), (165, 115, 75)),
}
HIDDEN_COLOURS = {
    "meadow": ("green",),
    "sea": ("blue",),
    "street": (),
    "night": ("black", "blue", "purple"),
    "snow": ("white",),
    "room": ("orange",),
}
# Square root of a thing's area over the picture's: what stretching to a square leaves as it is.
SIZES = {"small": (0.17, 0.20), "large": (0.42, 0.50), "": (0.27, 0.33)}
MARGIN = 0.12  # of a thing's height or the picture's width: a relation holds by it or fails by it


@dataclass
class Group:
    """`number` things of one kind, colour ("" when it goes without saying) and size."""

    kind: str
    colour: str
    size: str  # small, large, or "" for neither
    number: int
    boxes: list[Box] = field(default_factory=list)  # x0 y0 x1 y1 in pixels


@dataclass
class Scene:
    width: int
    height: int
    setting: str
    groups: list[Group]
    relation: str = ""  # of groups[0] to groups[1]: above, under, left, right


def _overlap(a: Box, b: Box) -> float:
    """Intersection over the smaller area."""
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    area = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return max(w, 0) * max(h, 0) / area


def _place(group: Group, scene: Scene, taken: list[Box], rng: np.random.Generator) -> bool:
    """Finds boxes for the group: sky things above the horizon (half way up), others below it."""
    mean_side = (scene.width * scene.height) ** 0.5
    high = group.kind in SKY or group.kind == "clock"
    for _ in range(group.number):
        for _ in range(30):
            side = rng.uniform(*SIZES[group.size]) * mean_side
            w, h = side * ASPECT[group.kind] ** 0.5, side / ASPECT[group.kind] ** 0.5
            x = rng.uniform(0.02, max(0.021, 0.98 - w / scene.width)) * scene.width
            if high:
                y = rng.uniform(0.02, max(0.03, 0.45 - h / scene.height)) * scene.height
            else:
                y = rng.uniform(0.62, 0.97) * scene.height - h
                y = max(y, 0.02 * scene.height)
            box = (x, y, x + w, y + h)
            inside = box[2] < scene.width and box[3] < scene.height
            if inside and all(_overlap(box, other) < 0.12 for other in taken):
                group.boxes.append(box)
                taken.append(box)
                break
        else:
            return False
    return True


def lies(link: str, a: Group, b: Group, slack: float = 0, width: float = 0) -> bool:
    """True if every member of a lies so to every member of b.

    A positive slack takes what fails by so little for true (of a thing's height; sideways, of the
    picture's width), a negative one takes what holds by so little for false.
    """
    if link in ("under", "right"):
        return lies({"under": "above", "right": "left"}[link], b, a, slack, width)
    if link == "beside":
        return _relation(a, b) in ("left", "right")
    if link == "above":
        reach = 0.35 + slack
        return max(y[3] for y in a.boxes) < min(y[1] + reach * (y[3] - y[1]) for y in b.boxes)
    gap = min(x[0] + x[2] for x in b.boxes) - max(x[0] + x[2] for x in a.boxes)
    return gap / 2 > -slack * width


def _relation(a: Group, b: Group, slack: float = 0, width: float = 0) -> str:
    """The plainest way a lies to b: height first, then side, or none."""
    links = ("above", "under", "left", "right")
    return next((link for link in links if lies(link, a, b, slack, width)), "")


def _clear(scene: Scene) -> bool:
    """True if people would agree on how the first two groups lie to each other."""
    a, b = scene.groups[:2]
    strict, loose = (_relation(a, b, slack, scene.width) for slack in (-MARGIN, MARGIN))
    return strict == loose == _relation(a, b)


def _group(kind: str, setting: str, rng: np.random.Generator) -> Group:
    hidden = HIDDEN_COLOURS[setting] + (("black",) if kind in NO_BLACK else ())
    colour = "" if kind in NATURAL else str(rng.choice([c for c in COLOURS if c not in hidden]))
    single = kind in ("sun", "moon")
    number = 1 if single else int(rng.choice([1, 2, 3], p=[0.66, 0.22, 0.12]))
    sizes = {1: ["", "small", "large"], 2: ["", "small"], 3: ["small"]}[number]
    return Group(kind, colour, str(rng.choice(sizes)), number)


def compose(rng: np.random.Generator, fewest: int = 1) -> Scene:
    """One to three groups that fit, `fewest` at least, the first on the ground; retried until they do."""
    while True:
        ratio = rng.choice([1, 4 / 3, 3 / 2, 3 / 4, 16 / 9])
        width, height = round(256 * ratio**0.5), round(256 / ratio**0.5)
        setting = str(rng.choice(list(GROUND)))
        count = int(rng.choice([1, 2, 3], p=[0.3, 0.5, 0.2]))
        if count < fewest:
            continue
        kinds = [str(k) for k in rng.permutation(GROUND[setting])][: max(1, count - 1)]
        if count > 1:
            pool = ABOVE[setting] if rng.random() < 0.6 else GROUND[setting]
            kinds.append(str(rng.choice([k for k in pool if k not in kinds])))
        groups = [_group(kind, setting, rng) for kind in kinds[:count]]
        scene = Scene(width, height, setting, groups)
        taken: list[Box] = []
        by_size = sorted(groups, key=lambda g: ("large", "", "small").index(g.size))
        if all(_place(group, scene, taken, rng) for group in by_size):
            # The reader's order, so that a scene has one best caption: ground before sky,
            # more before fewer, then by name.
            groups.sort(key=lambda g: (g.kind in SKY, -g.number, g.kind))
            if len(groups) > 1:
                if not _clear(scene):
                    continue
                scene.relation = _relation(groups[0], groups[1])
            return scene


def _backdrop(scene: Scene, scale: int, rng: np.random.Generator) -> Image.Image:
    w, h = scene.width * scale, scene.height * scale
    far, near = (
        np.clip(np.array(c) + rng.integers(-10, 11, 3), 0, 255) for c in BACKDROPS[scene.setting]
    )
    rows = np.linspace(0, 1, h)[:, None]
    horizon = rng.uniform(0.5, 0.58)
    column = np.where(rows < horizon, far + rows * 18, near - (rows - horizon) * 40)
    image = Image.fromarray(np.repeat(column.clip(0, 255).astype(np.uint8)[:, None], w, 1))
    pen = ImageDraw.Draw(image)
    middle = round(horizon * h)
    if scene.setting == "sea":
        for _ in range(14):
            x, y = rng.uniform(0, w), rng.uniform(middle, h)
            pen.arc([x, y, x + 0.1 * w, y + 0.03 * h], 180, 360, (150, 195, 235), scale)
    elif scene.setting == "street":
        y = round(0.86 * h)
        for x in np.arange(0, 1, 0.16):
            pen.rectangle([x * w, y, (x + 0.08) * w, y + 0.018 * h], (225, 225, 215))
        pen.rectangle([0, middle, w, middle + 0.05 * h], (175, 175, 178))
    elif scene.setting in ("night", "snow"):
        for _ in range(40):
            x, y = rng.uniform(0, w), rng.uniform(0, h if scene.setting == "snow" else middle)
            pen.ellipse([x, y, x + 1.6 * scale, y + 1.6 * scale], (250, 250, 240))
    elif scene.setting == "room":
        pen.rectangle([0, middle, w, middle + 0.02 * h], (245, 240, 230))
        for x in np.arange(0.1, 1, 0.2):
            pen.line([x * w, 0, x * w, middle], (225, 203, 168), scale)
    else:
        for _ in range(40):
            x, y = rng.uniform(0, w), rng.uniform(middle, h)
            pen.line([x, y, x + 2 * scale, y - 4 * scale], (90, 160, 70), scale)
    return image


def render(scene: Scene, rng: np.random.Generator) -> Image.Image:
    """Draws at twice the size, shrinks, adds a little blur or noise."""
    scale = 2
    image = _backdrop(scene, scale, rng)
    pen = ImageDraw.Draw(image)
    style = str(rng.choice(STYLES))
    things = [(box, group) for group in scene.groups for box in group.boxes]
    for box, group in sorted(things, key=lambda t: t[0][3]):  # the nearer hides the farther
        colour = group.colour or NATURAL[group.kind]
        draw(pen, group.kind, colour, tuple(scale * v for v in box), style, rng)
    image = image.resize((scene.width, scene.height), Image.Resampling.BOX)
    if rng.random() < 0.2:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.8)))
    noise = rng.normal(0, rng.uniform(0, 7), (scene.height, scene.width, 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def generate(seed: int, index: int, fewest: int = 1) -> tuple[Scene, Image.Image, list[str]]:
    """Scene `index` of a seed's sequence: its description, picture and five captions."""
    rng = np.random.default_rng((seed, index))
    scene = compose(rng, fewest)
    return scene, render(scene, rng), captions_of(scene, seed, index)


def captions_of(scene: Scene, seed: int, index: int) -> list[str]:
    return grammar.captions(scene, np.random.default_rng((seed, index, 2)), 5)


def sequence(seed: int, count: int, fewest: int = 1) -> Iterator[tuple[Scene, Image.Image, list[str]]]:
    return (generate(seed, i, fewest) for i in range(count))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--groups", type=int, default=1, choices=(1, 2, 3), help="the fewest of a scene")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for i, (scene, picture, captions) in enumerate(sequence(args.seed, args.count, args.groups)):
        name = f"{i:05}.png"
        picture.save(args.out / name)
        images.append({"id": i, "file_name": name, "width": scene.width,
                       "height": scene.height, "scene": asdict(scene)})  # fmt: skip
        for caption in captions:
            annotations.append({"id": len(annotations), "image_id": i, "caption": caption})
    (args.out / "captions.json").write_text(
        json.dumps({"images": images, "annotations": annotations})
    )


if __name__ == "__main__":
    main()
