"""The demo model's whole evaluation, on scenes that training never saw.

python -m models.demo.report --run RUN --lightcap BIN --scenes 500 --seed 2 --out OUT

RUN is a folder of models.demo.train. Draws the scenes and their variants, converts the model, and
captions them through the engine on every instruction set of this machine, through PyTorch, and with
parts taken out. Writes OUT/results.json, results.md, sheet.png and wrong.png (pictures to look at).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.reference.lightcap import load_captioner

from . import ablations, scenes, sheet, variants
from .evaluate import read_predictions, same_tokens, score
from .train import TRAIN_SEED

Record = dict[str, Any]
Scores = dict[str, float]
MEASURES = ("CIDEr", "BLEU-4", "facts true", "captions true in every word", "things named",
            "detector AP50", "concept precision", "concept recall")  # fmt: skip
TORCH = "PyTorch"


class Engine:
    """The `lightcap` command line with one model."""

    def __init__(self, program: Path, model: Path, threads: int) -> None:
        self.program, self.model, self.threads = program, model, threads

    def instruction_sets(self) -> list[str]:
        """Those that this machine runs, the best first."""

        def ask(**environment: str) -> dict[str, str] | None:
            done = subprocess.run([self.program, "--version"], capture_output=True, text=True, check=False,
                                  env=os.environ | environment)  # fmt: skip
            lines = (line.partition(": ") for line in done.stdout.splitlines())
            return {key: value for key, _, value in lines} if done.returncode == 0 else None

        own = ask()
        if own is None:
            raise SystemExit(f"{self.program} --version fails")
        built = own["built in"].split()
        return [isa for isa in reversed(built) if ask(LIGHTCAP_ISA=isa) is not None]

    def caption(
        self, pictures: list[Path], out: Path, isa: str, beams: int = 1
    ) -> dict[str, Record]:
        """By file name; the program's own output is kept in `out`."""
        command = [self.program, "caption", "--model", self.model, "--json", "--beams", str(beams),
                   "--threads", str(self.threads), *pictures]  # fmt: skip
        with out.open("w") as file:
            subprocess.run(command, stdout=file, env=os.environ | {"LIGHTCAP_ISA": isa}, check=True)
        return read_predictions(out)


def write_lines(records: Iterable[Record], out: Path) -> None:
    out.write_text("".join(json.dumps(record) + "\n" for record in records))


def convert(program: Path, run: Path, out: Path) -> None:
    command = [program, "--lightcap", run / "model.pt", "--vocab", run / "vocab.txt",
               "--concepts", run / "labels.txt", "--config", run / "config.json", "-o", out]  # fmt: skip
    subprocess.run(command, check=True)


def seen_in_training(drawn: list[scenes.Scene], count: int) -> float:
    """Share of scenes whose content (not the picture) one of the training scenes has too."""

    def content(scene: scenes.Scene) -> tuple[Any, ...]:
        things = ((g.kind, g.colour, g.size, g.number) for g in scene.groups)
        return (scene.setting, scene.relation, *things)

    known = {content(scenes.compose(np.random.default_rng((TRAIN_SEED, i)))) for i in range(count)}
    return sum(content(scene) in known for scene in drawn) / len(drawn)


def relative(value: float, to: float) -> float | None:
    return value / to - 1 if to else None


def table(rows: dict[str, Scores], columns: tuple[str, ...], first: str) -> str:
    """Markdown; shares in per cent, the columns that start with a delta with a sign."""

    def cell(column: str, value: float | None) -> str:
        if value is None:
            return ""
        if column.startswith("Δ"):
            return f"{100 * value:+.1f} %"
        return f"{value:.3f}" if column in ("CIDEr", "BLEU-4") else f"{100 * value:.1f} %"

    columns = tuple(c for c in columns if any(c in row for row in rows.values()))
    lines = ["| " + " | ".join((first, *columns)) + " |", "|---|" + "---:|" * len(columns)]
    for name, row in rows.items():
        lines.append("| " + " | ".join((name, *(cell(c, row.get(c)) for c in columns))) + " |")
    return "\n".join(lines)


def write_tables(results: Record, out: Path) -> None:
    scored = results["scores"]
    whole, best = results["ablations"][ablations.WHOLE], next(iter(results["instruction sets"]))
    kinds = sorted({k for row in scored.values() for k in row if k.endswith(" facts true")})
    parts = [
        f"{results['scenes']} scenes of seed {results['seed']} (training: seed {TRAIN_SEED}), greedy search."
        + (f" {100 * results['content seen in training']:.1f} % of them have the content of a training"
           " scene, in another picture." if "content seen in training" in results else ""),
        table(scored, (*MEASURES, "same tokens"), "captioned by"),
        "Same tokens: the share of pictures that got the same tokens as from PyTorch.",
        f"Facts by kind, {best}:",
        table({best: {k.removesuffix(" facts true"): scored[best][k] for k in kinds if k in scored[best]}},
              tuple(k.removesuffix(" facts true") for k in kinds), ""),
        f"The same scenes in other files, {best}; Δ is relative to the first row.",
        table(results["variants"], ("CIDEr", "Δ CIDEr", "facts true", "Δ facts", "things named",
                                    "detector AP50", "same tokens"), "pictures"),
        "Parts taken out of the trained model, PyTorch; nothing is trained again.",
        table({name: row | {"Δ CIDEr": relative(row.get("CIDEr", 0), whole.get("CIDEr", 0))}
               for name, row in results["ablations"].items()},
              ("CIDEr", "Δ CIDEr", "BLEU-4", "facts true", "captions true in every word",
               "things named"), "model"),
    ]  # fmt: skip
    (out / "results.md").write_text("\n\n".join(parts) + "\n")


def report(args: argparse.Namespace) -> None:
    predictions = args.out / "predictions"
    predictions.mkdir(parents=True, exist_ok=True)
    drawn = list(scenes.sequence(args.seed, args.scenes))
    files = variants.write(drawn, args.out / "scenes")
    pictures = {
        name: [variants.folder(args.out / "scenes", name) / image["file_name"]
               for image in coco["images"]] for name, coco in files.items()
    }  # fmt: skip
    plain, truth = pictures[variants.PLAIN], files[variants.PLAIN]
    names = [path.name for path in plain]
    model = args.out / "model.lcw"
    convert(args.convert or args.lightcap.with_name("lightcap-convert"), args.run, model)
    engine = Engine(args.lightcap, model, args.threads)

    torch.set_num_threads(args.threads)
    captioner = load_captioner(*(str(args.run / name) for name in (
        "model.pt", "vocab.txt", "labels.txt", "config.json")))  # fmt: skip
    taken = ablations.run(captioner, plain, lambda i: print(
        f"\rPyTorch: {i}/{len(plain)} ", end="", file=sys.stderr, flush=True))  # fmt: skip
    print(file=sys.stderr)
    for name, records in taken.items():
        write_lines(records.values(), predictions / f"pytorch-{name.replace(' ', '-')}.jsonl")
    expected = taken[ablations.WHOLE]

    results: Record = {"scenes": args.scenes, "seed": args.seed, "run": str(args.run)}
    if args.train_scenes:
        results["content seen in training"] = seen_in_training(
            [scene for scene, *_ in drawn], args.train_scenes
        )
    results["instruction sets"] = engine.instruction_sets()
    results["scores"] = {TORCH: score(truth, expected)}
    by_isa = {}
    for isa in results["instruction sets"]:
        by_isa[isa] = engine.caption(plain, predictions / f"engine-{isa}.jsonl", isa)
        results["scores"][isa] = score(truth, by_isa[isa]) | {
            "same tokens": same_tokens(by_isa[isa], expected, names)}  # fmt: skip
    best = results["instruction sets"][0]
    wide = engine.caption(plain, predictions / f"engine-{best}-beams.jsonl", best, ablations.WIDE)
    results["scores"][f"{best}, {ablations.WIDE} beams"] = score(truth, wide) | {
        "same tokens": same_tokens(wide, taken[f"{ablations.WIDE} beams"], names)}  # fmt: skip

    results["variants"] = {}
    base = results["scores"][best]
    for name, coco in files.items():
        file = predictions / f"engine-{best}-{variants.folder(Path(), name)}.jsonl"
        got = engine.caption(pictures[name], file, best)
        scores = score(coco, got)
        stems = [{Path(key).stem: record for key, record in records.items()}
                 for records in (got, by_isa[best])]  # fmt: skip
        results["variants"][name] = scores | {
            "same tokens": same_tokens(*stems, [Path(name).stem for name in names]),
            "Δ CIDEr": relative(scores.get("CIDEr", 0), base.get("CIDEr", 0)),
            "Δ facts": relative(scores["facts true"], base["facts true"])}  # fmt: skip
    results["ablations"] = {name: score(truth, records) for name, records in taken.items()}

    (args.out / "results.json").write_text(
        json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    write_tables(results, args.out)
    sheet.draw(truth, by_isa[best], plain, args.out)
    print((args.out / "results.md").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="model.pt, vocab.txt, ... of train")
    parser.add_argument("--lightcap", type=Path, required=True, help="the program")
    parser.add_argument("--convert", type=Path, help="lightcap-convert (default: beside lightcap)")
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--train-scenes", type=int, default=24000,
                        help="what train was given as --scenes; 0 compares no contents")  # fmt: skip
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.seed == TRAIN_SEED:
        parser.error(f"--seed {TRAIN_SEED} is the training scenes' own")
    for file in (args.lightcap, args.run / "model.pt"):
        if not file.exists():
            parser.error(f"{file} is not there")
    args.lightcap = args.lightcap.resolve()
    report(args)


if __name__ == "__main__":
    main()
