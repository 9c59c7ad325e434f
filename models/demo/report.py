"""The demo model's whole evaluation, on scenes that training never saw.

python -m models.demo.report --run RUN --lightcap BIN --scenes 500 --seed 2 --out OUT

RUN is the folder of a stage of models.training. Draws the scenes and their variants, converts the model, and
captions them through the engine on every instruction set of this machine, through PyTorch, and with
parts taken out. Writes OUT/results.json, results.md, sheet.png and wrong.png (pictures to look at).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from . import ablations, scenes, sheet, variants
from .evaluate import read_predictions, same_tokens, score, score_each
from .training_data import TRAIN_SEED

Record = dict[str, Any]
Scores = dict[str, Any]  # numbers, and the tokenizer's name
MEASURES = ("CIDEr", "BLEU-4", "facts true", "captions true throughout", "things named",
            "detector AP50", "concept precision", "concept recall")  # fmt: skip
TORCH = "PyTorch"


class Engine:
    """The `lightcap` command line with one model."""

    def __init__(self, program: Path, model: Path, threads: int) -> None:
        self.program, self.model, self.threads = program, model, threads

    def instruction_sets(self) -> list[str]:
        """Those that this machine runs, the best first."""

        def ask(**environment: str) -> dict[str, str] | None:
            done = subprocess.run([self.program, "--version"], capture_output=True,
                                  text=True, check=False, env=os.environ | environment)  # fmt: skip
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


def convert(program: Path, run: Path, out: Path) -> None:
    command = [program, "--lightcap", run / "model.pt", "--vocab", run / "vocab.txt",
               "--concepts", run / "labels.txt", "--config", run / "config.json", "-o", out]  # fmt: skip
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def train_scenes() -> int:
    """The number of scenes that training.json draws."""
    settings = json.loads(Path(__file__).with_name("training.json").read_text())
    return int(settings["captions"][0]["count"])


def seen_in_training(drawn: list[scenes.Scene], count: int) -> float:
    """Share of scenes whose content (not the picture) one of the training scenes has too."""

    def content(scene: scenes.Scene) -> tuple[Any, ...]:
        things = ((g.kind, g.colour, g.size, g.number) for g in scene.groups)
        return (scene.setting, scene.relation, *things)

    known = {content(scenes.compose(np.random.default_rng((TRAIN_SEED, i)))) for i in range(count)}
    return sum(content(scene) in known for scene in drawn) / len(drawn)


Scored = tuple[Scores, np.ndarray]


def compared(got: Scored, base: Scored) -> Scores:
    """The measures with their relative differences; CIDEr's with half its 95 % interval, which
    comes from the pictures' own differences."""
    differences = {}
    if base[0].get("CIDEr") and base[0].get("facts true"):
        spread = (got[1] - base[1]).std(ddof=1) / max(len(got[1]), 1) ** 0.5
        differences = {"Δ CIDEr": got[0]["CIDEr"] / base[0]["CIDEr"] - 1,
                       "±": float(1.96 * spread / base[0]["CIDEr"]),
                       "Δ facts": got[0]["facts true"] / base[0]["facts true"] - 1}  # fmt: skip
    return got[0] | differences


def table(rows: dict[str, Scores], columns: tuple[str, ...], first: str) -> str:
    """Markdown; shares in per cent, differences with a sign."""

    def cell(column: str, value: float | None) -> str:
        if value is None:
            return ""
        if column[0] in "Δ±":
            return f"{100 * value:{'+' if column[0] == 'Δ' else ''}.1f} %"
        return f"{value:.3f}" if column in ("CIDEr", "BLEU-4") else f"{100 * value:.1f} %"

    columns = tuple(c for c in columns if any(c in row for row in rows.values()))
    lines = ["| " + " | ".join((first, *columns)) + " |", "|---|" + "---:|" * len(columns)]
    for name, row in rows.items():
        lines.append("| " + " | ".join((name, *(cell(c, row.get(c)) for c in columns))) + " |")
    return "\n".join(lines)


def text_of(results: Record) -> str:
    """results.md."""
    scored, best = results["scores"], results["instruction sets"][0]
    kinds = {name.removesuffix(" facts true"): value for name, value in scored[best].items()
             if name.endswith(" facts true")}  # fmt: skip
    heading = (f"{results['scenes']} scenes of seed {results['seed']} (training: seed {TRAIN_SEED}),"
               " greedy search.")  # fmt: skip
    if "tokenizer" in scored[best]:
        heading += f" Words of CIDEr and BLEU-4 are split by {scored[best]['tokenizer']}."
    if "content seen in training" in results:
        share = 100 * results["content seen in training"]
        heading += (f" {share:.1f} % of them have the content of a training scene (setting, things,"
                    " colours, sizes, numbers, relation), in another picture.")  # fmt: skip
    words = ("CIDEr", "Δ CIDEr", "±", "BLEU-4", "facts true", "Δ facts", "captions true throughout",
             "things named")  # fmt: skip
    parts = [
        heading,
        table(scored, (*MEASURES, "same tokens"), "captioned by"),
        "Same tokens: the share of pictures that got the same tokens as from PyTorch.",
        f"True facts by kind, {best}:",
        table({best: kinds}, tuple(kinds), ""),
        f"The same scenes in other files, {best}. Δ is relative to the first row, ± half its 95 %\n"
        + "interval; same tokens: as from the plain picture.",
        table(results["variants"], (*words, "detector AP50", "same tokens"), "pictures"),
        "Parts taken out of the trained model, PyTorch; nothing is trained again.",
        table(results["ablations"], words, "model"),
    ]
    return "\n\n".join(parts) + "\n"


def captioned_by_engine(
    engine: Engine, args: argparse.Namespace, sets: list[str], pictures: dict[str, list[Path]]
) -> dict[str, dict[str, Record]]:
    """Plain pictures by instruction set; by the best one: with beams ("beams"), the variants."""
    best, plain = sets[0], pictures[variants.PLAIN]
    found = {}
    for name in [*sets, "beams", *pictures]:
        show(f"engine: {name}")
        found[name] = engine.caption(
            pictures.get(name, plain),
            args.out / "predictions" / f"engine-{variants.slug(name)}.jsonl",
            name if name in sets else best,
            ablations.WIDE if name == "beams" else 1,
        )
    return found


def show(text: str) -> None:
    print(f"\r\033[K{text} ", end="", file=sys.stderr, flush=True)


def report(args: argparse.Namespace) -> None:
    predictions = args.out / "predictions"
    predictions.mkdir(parents=True, exist_ok=True)
    show("scenes")
    drawn = list(scenes.sequence(args.seed, args.scenes))
    files = variants.write(drawn, args.out / "scenes")
    pictures = {
        name: [variants.folder(args.out / "scenes", name) / image["file_name"]
               for image in coco["images"]] for name, coco in files.items()
    }  # fmt: skip
    plain, truth = pictures[variants.PLAIN], files[variants.PLAIN]
    names = [path.name for path in plain]
    results: Record = {"scenes": args.scenes, "seed": args.seed, "run": str(args.run)}
    if args.train_scenes:
        results["content seen in training"] = seen_in_training(
            [scene for scene, *_ in drawn], args.train_scenes
        )

    model = args.out / "model.lcw"
    convert(args.convert or args.lightcap.with_name("lightcap-convert"), args.run, model)
    engine = Engine(args.lightcap, model, args.threads)
    sets = results["instruction sets"] = engine.instruction_sets()
    engines = captioned_by_engine(engine, args, sets, pictures)
    run = ("model.pt", "vocab.txt", "labels.txt", "config.json")
    taken = ablations.run(tuple(str(args.run / name) for name in run), plain, args.threads,
                          lambda i: show(f"PyTorch: {i}/{len(plain)}"))  # fmt: skip
    for name, records in taken.items():
        lines = "".join(json.dumps(record) + "\n" for record in records.values())
        (predictions / f"pytorch-{variants.slug(name)}.jsonl").write_text(lines)
    show("")

    expected, best = taken[ablations.WHOLE], sets[0]
    results["scores"] = {TORCH: score(truth, expected)}
    for isa in sets:
        results["scores"][isa] = score(truth, engines[isa]) | {
            "same tokens": same_tokens(engines[isa], expected, names)}  # fmt: skip
    beams = f"{ablations.WIDE} beams"
    results["scores"][f"{best}, {beams}"] = score(truth, engines["beams"]) | {
        "same tokens": same_tokens(engines["beams"], taken[beams], names)}  # fmt: skip

    base = score_each(truth, engines[best])
    results["variants"] = {
        name: compared(score_each(coco, engines[name]), base) | {
            "same tokens": same_tokens(by_stem(engines[name]), by_stem(engines[best]),
                                       [path.stem for path in plain])}
        for name, coco in files.items()
    }  # fmt: skip
    base = score_each(truth, expected)
    results["ablations"] = {
        name: compared(score_each(truth, records), base) for name, records in taken.items()
    }
    (args.out / "results.json").write_text(
        json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    (args.out / "results.md").write_text(text_of(results), encoding="utf-8")
    sheet.draw(truth, engines[best], plain, args.out)
    print(text_of(results))


def by_stem(records: dict[str, Record]) -> dict[str, Record]:
    return {Path(name).stem: record for name, record in records.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="model.pt, vocab.txt, ... of a stage")
    parser.add_argument("--lightcap", type=Path, required=True, help="the program")
    parser.add_argument("--convert", type=Path, help="lightcap-convert (default: beside lightcap)")
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--train-scenes", type=int, default=train_scenes(),
                        help="drawn scenes of the training; 0 compares no contents")  # fmt: skip
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.scenes < 2:
        parser.error("--scenes must be 2 or more")
    if args.seed == TRAIN_SEED:
        parser.error(f"--seed {TRAIN_SEED} is the training scenes' own")
    for file in (args.lightcap, args.run / "model.pt"):
        if not file.exists():
            parser.error(f"{file} is not there")
    args.lightcap = args.lightcap.resolve()
    report(args)


if __name__ == "__main__":
    main()
