"""Scores captions: python -m models.demo.evaluate CAPTIONS.json --predictions P.jsonl --out RESULTS.

CAPTIONS.json is any COCO captions file; P.jsonl is what `lightcap caption --json` printed for its
images (the order is free), or what `python -m models.reference.caption --json` did: same fields.
CIDEr and BLEU-4 need pycocoevalcap and are left out without it; images without a reference caption
have no part in them. They compare with published figures where captions are split into words by
COCO's PTBTokenizer, which needs `java`; without it, words are split by the reference model's own
splitter. The results name the one that was used as `tokenizer`. Images that carry a `scene` (see scenes.py) are checked for facts, boxes and
concepts too. With --against Q.jsonl, counts the images with equal tokens.
Writes RESULTS.json and RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np

from models.training.evaluate import (
    Record,
    Results,
    caption_scores,
    read_predictions,
    references_of,
    said_of,
    write_results,
)

from . import grammar
from .scenes import Group, Scene

def fact_scores(said: dict[int, str], scenes: dict[int, Scene]) -> dict[str, float]:
    """Shares of true facts (in all and by kind), of captions true throughout, of things named."""
    stated, true = Counter(), Counter()
    whole, named, things = 0, 0, 0
    for i, scene in scenes.items():
        facts, kinds = grammar.facts(said.get(i, ""), scene)
        for fact in facts:
            stated[fact.kind] += 1
            true[fact.kind] += fact.true
        whole += bool(facts) and all(fact.true for fact in facts)
        named += sum(group.kind in kinds for group in scene.groups)
        things += len(scene.groups)
    scores = {"facts true": sum(true.values()) / max(sum(stated.values()), 1),
              "captions true throughout": whole / len(scenes),
              "things named": named / things}  # fmt: skip
    return scores | {f"{kind} facts true": true[kind] / n for kind, n in sorted(stated.items())}


def _iou(a: list[float], b: tuple[float, ...]) -> float:
    w = min(a[2], b[2]) - max(a[0], b[0])
    h = min(a[3], b[3]) - max(a[1], b[1])
    common = max(w, 0) * max(h, 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common + 1e-9)


def region_scores(records: dict[int, Record], scenes: dict[int, Scene]) -> dict[str, float]:
    """AP50 of the proposals (area under the interpolated curve); concepts against the kinds."""
    hits: list[tuple[float, bool]] = []
    boxes = right = kinds_true = kinds_said = 0
    for i, scene in scenes.items():
        truth = [box for group in scene.groups for box in group.boxes]
        boxes += len(truth)
        concepts = records.get(i, {}).get("concepts", [])
        free = set(range(len(truth)))
        for concept in sorted(concepts, key=lambda c: -c["score"]):
            best = max(free, key=lambda j: _iou(concept["box"], truth[j]), default=None)
            hit = best is not None and _iou(concept["box"], truth[best]) >= 0.5
            if hit:
                free.discard(best)
            hits.append((concept["score"], hit))
        said = {concept["label"].split()[-1] for concept in concepts}
        kinds = {group.kind for group in scene.groups}
        right += len(said & kinds)
        kinds_true += len(kinds)
        kinds_said += len(said)
    hits.sort(key=lambda h: -h[0])
    found = np.cumsum([hit for _, hit in hits])
    precision = found / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    ap = float(np.sum(envelope * np.array([hit for _, hit in hits])) / boxes) if hits else 0.0
    return {"detector AP50": ap, "concept recall": right / kinds_true,
            "concept precision": right / max(kinds_said, 1)}  # fmt: skip


def scenes_of(coco: Record) -> dict[int, Scene]:
    """By image id, of the images that carry one."""
    return {
        image["id"]: Scene(**image["scene"] | {
            "groups": [Group(**group) for group in image["scene"]["groups"]]})
        for image in coco["images"] if "scene" in image
    }  # fmt: skip


def same_tokens(
    predictions: dict[str, Record], others: dict[str, Record], names: list[str]
) -> float:
    """Share of the named images that both captioned with the same tokens."""
    same = sum(name in predictions and name in others
               and predictions[name]["tokens"] == others[name]["tokens"] for name in names)  # fmt: skip
    return same / max(len(names), 1)


def score(coco: Record, predictions: dict[str, Record]) -> Results:
    """Every measure that the file's images allow; predictions by file name without folders."""
    return score_each(coco, predictions)[0]


def score_each(coco: Record, predictions: dict[str, Record]) -> tuple[Results, np.ndarray]:
    """The measures, and every image's own CIDEr (empty where there is none)."""
    ids = {image["id"] for image in coco["images"]}
    records = said_of(coco, predictions)
    said = {i: record["caption"] for i, record in records.items()}
    results: Results = {"images": len(ids), "captioned": len(said)}
    each = np.zeros(0)
    references = {i: texts for i, texts in references_of(coco).items() if i in ids}
    if references:
        scores, each = caption_scores(said, references)
        results |= scores
    scenes = scenes_of(coco)
    if scenes:
        results |= fact_scores(said, scenes) | region_scores(records, scenes)
    return results, each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("captions", type=Path)
    parser.add_argument("--predictions", type=Path, required=True)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    coco = json.loads(args.captions.read_text())
    predictions = read_predictions(args.predictions)
    results = score(coco, predictions)
    if args.against:
        names = [Path(image["file_name"]).name for image in coco["images"]]
        results["same tokens"] = same_tokens(predictions, read_predictions(args.against), names)
    write_results(args.out, results)


if __name__ == "__main__":
    main()
