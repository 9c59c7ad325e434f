"""Contact sheets: scenes with the proposals' boxes, their captions, and what is wrong in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from . import grammar
from .evaluate import scenes_of

Record = dict[str, Any]
COLUMNS, CELL, TEXT = 6, 230, 96  # cells a row; pixels of the picture's square and of its text
BLACK, RED, GREEN = (20, 20, 20), (200, 20, 20), (20, 130, 50)


def _wrapped(pen: ImageDraw.ImageDraw, text: str, font: Any, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if pen.textlength(longer, font) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _cell(path: Path, record: Record, wrong: list[str]) -> Image.Image:
    cell = Image.new("RGB", (CELL + 10, CELL + TEXT), "white")
    with Image.open(path) as image:
        picture = image.convert("RGB")
    scale = CELL / max(picture.size)
    picture = picture.resize((round(picture.width * scale), round(picture.height * scale)))
    pen = ImageDraw.Draw(picture)
    for concept in record.get("concepts", []):
        pen.rectangle([scale * x for x in concept["box"]], outline=(255, 0, 255))
    cell.paste(picture, (5, CELL - picture.height))
    pen, font = ImageDraw.Draw(cell), ImageFont.load_default(12)
    y = CELL + 4
    verdict = "wrong: " + ", ".join(wrong) if wrong else "true"
    caption = record.get("caption", "(no caption)")
    for text, colour in ((caption, BLACK), (verdict, RED if wrong else GREEN)):
        for line in _wrapped(pen, text, font, CELL):
            pen.text((5, y), line, colour, font)
            y += 14
    return cell


def _page(cells: list[Image.Image], out: Path) -> None:
    if not cells:
        return
    width, height = cells[0].size
    rows = -(-len(cells) // COLUMNS)
    page = Image.new("RGB", (min(COLUMNS, len(cells)) * width, rows * height), "white")
    for i, cell in enumerate(cells):
        page.paste(cell, (i % COLUMNS * width, i // COLUMNS * height))
    page.save(out)


def draw(
    coco: Record, records: dict[str, Record], pictures: list[Path], out: Path, most: int = 30
) -> None:
    """OUT/sheet.png: the first scenes, unchosen; OUT/wrong.png: the first with something wrong."""
    first: list[Image.Image] = []
    bad: list[Image.Image] = []
    for (_, scene), path in zip(scenes_of(coco).items(), pictures):
        record = records.get(path.name, {})
        stated, kinds = grammar.facts(record.get("caption", ""), scene)
        wrong = [f"{fact.text} ({fact.kind})" for fact in stated if not fact.true]
        wrong += [f"no {g.kind}" for g in scene.groups if g.kind not in kinds]
        if len(first) < most:
            first.append(_cell(path, record, wrong))
        if wrong and len(bad) < most:
            bad.append(_cell(path, record, wrong))
    _page(first, out / "sheet.png")
    _page(bad, out / "wrong.png")
