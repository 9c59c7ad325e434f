"""Scores captions of any COCO-format set: python -m models.training.evaluate CAPTIONS.json ...

CAPTIONS.json is a COCO captions file, or Karpathy's dataset_coco.json with the --split that is wanted of it.

Captions come from --predictions P.jsonl (what `lightcap caption --json` or models.reference.caption
printed: the order is free), or are made here of the pictures in --images: by the engine (--lightcap
PROGRAM --model M.lcw, on any --isa; fp32 and int8 models alike), or by PyTorch (--run FOLDER, a stage's), on a GPU
where there is one.
BLEU-4, METEOR, ROUGE-L and CIDEr are pycocoevalcap's, on words as COCO's PTBTokenizer splits them, which
needs `java`; without it, the reference model's own splitter takes its place, METEOR, which needs java
too, is left out, and the figures do not compare with published ones: the results name the `tokenizer`.
--spice adds SPICE. Images without a reference have no part in it. --nocaps R.json writes the captions as
nocaps' server takes them, which scores its test set; the references of its val are public, and scored here.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from models.reference.text import words

from .config import ConfigError
from .sources.coco import fields, karpathys, read_json

Record = dict[str, Any]
Results = dict[str, "float | str"]

PTB_TOKENIZER = "PTBTokenizer"
OWN_TOKENIZER = "models.reference.text.words"


def read_predictions(path: Path) -> dict[str, Record]:
    """By file name without folders; images that could not be read are left out."""
    records = (json.loads(line) for line in path.read_text().splitlines() if line.strip())
    return {Path(r["image"]).name: r for r in records if "caption" in r}


def ptb_tokens(texts: list[str], jar: Path) -> list[str]:
    """The texts' words with spaces between, as COCO's evaluation splits them: lower case, without
    punctuation."""
    from pycocoevalcap.tokenizer.ptbtokenizer import PUNCTUATIONS

    lines = [" ".join(text.split()) for text in texts]  # a text a line, whatever it holds
    done = subprocess.run(
        ["java", "-Dfile.encoding=UTF-8", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer",
         "-preserveLines", "-lowerCase"],
        input="\n".join([*lines, ""]), capture_output=True, encoding="utf-8", check=False)  # fmt: skip
    split = done.stdout.split("\n")[:-1]
    if done.returncode != 0 or len(split) != len(lines):
        raise SystemExit(f"java's PTBTokenizer failed: {done.stderr.strip()}")
    return [" ".join(w for w in line.split() if w not in PUNCTUATIONS) for line in split]


def tokenize(texts: list[str]) -> tuple[list[str], str]:
    """The texts' words with spaces between, and the tokenizer's name: COCO's where it can be run."""
    import pycocoevalcap.tokenizer

    folders = [Path(folder) for folder in pycocoevalcap.tokenizer.__path__]
    jars = sorted(jar for folder in folders for jar in folder.glob("stanford-corenlp-*.jar"))
    if jars and shutil.which("java"):
        return ptb_tokens(texts, jars[0]), PTB_TOKENIZER
    print(f"words are split by {OWN_TOKENIZER}: COCO's PTBTokenizer needs `java` and "
          "pycocoevalcap's jar, and without it scores do not compare with published "
          "figures", file=sys.stderr)  # fmt: skip
    return [" ".join(words(text)) for text in texts], OWN_TOKENIZER


def _rouge(truth: dict[int, list[str]], tried: dict[int, list[str]]) -> float:
    from pycocoevalcap.rouge.rouge import Rouge

    return float(Rouge().compute_score(truth, tried)[0])


def _meteor(truth: dict[int, list[str]], tried: dict[int, list[str]]) -> float:
    from pycocoevalcap.meteor.meteor import Meteor

    return float(Meteor().compute_score(truth, tried)[0])


def _spice(truth: dict[int, list[str]], tried: dict[int, list[str]]) -> float:
    from pycocoevalcap.spice.spice import Spice

    # Java 9 and later keep to themselves what SPICE's parser reaches into. Java 8, which knows no such option,
    # does not read this variable either.
    os.environ.setdefault("JDK_JAVA_OPTIONS", "--add-opens=java.base/java.lang=ALL-UNNAMED")
    return float(Spice().compute_score(truth, tried)[0])


MORE = {"ROUGE-L": _rouge, "METEOR": _meteor, "SPICE": _spice}


def caption_scores(said: dict[int, str], references: dict[int, list[str]],
                   more: tuple[str, ...] = ()) -> tuple[Results, np.ndarray]:  # fmt: skip
    """CIDEr, BLEU-4 and `more` of one caption an image with the tokenizer's name, and every image's own
    CIDEr.

    An image without a caption counts as empty. Nothing without pycocoevalcap.
    """
    try:
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
    except ImportError as error:
        hint = "(pip install pycocoevalcap)"
        print(f"CIDEr and BLEU-4 are left out: {error} {hint}", file=sys.stderr)
        return {}, np.zeros(0)

    flat = [text for texts in references.values() for text in texts]
    split, tokenizer = tokenize([said.get(i, "") for i in references] + flat)
    tried = {i: [text] for i, text in zip(references, split)}
    rest = iter(split[len(references) :])
    truth = {i: [next(rest) for _ in texts] for i, texts in references.items()}
    cider, each = Cider().compute_score(truth, tried)
    bleu = Bleu(4).compute_score(truth, tried, verbose=0)[0][3]
    results: Results = {"tokenizer": tokenizer, "CIDEr": float(cider), "BLEU-4": float(bleu)}
    for name in more:
        if name != "ROUGE-L" and not shutil.which("java"):
            print(f"{name} is left out: it needs `java`", file=sys.stderr)
            continue
        results[name] = MORE[name](truth, tried)
    return results, np.asarray(each)


def references_of(coco: Record) -> dict[int, list[str]]:
    references: dict[int, list[str]] = {}
    for annotation in coco["annotations"]:
        references.setdefault(annotation["image_id"], []).append(annotation["caption"])
    return references


def said_of(coco: Record, predictions: dict[str, Record]) -> dict[int, Record]:
    """Predictions, which are by file name without folders, by image id."""
    names = {image["id"]: Path(image["file_name"]).name for image in coco["images"]}
    return {i: predictions[name] for i, name in names.items() if name in predictions}


def nocaps(coco: Record, predictions: dict[str, Record]) -> list[Record]:
    """The results file of nocaps' evaluation server (COCO's format): one caption for each image."""
    said = said_of(coco, predictions)
    missing = [image["file_name"] for image in coco["images"] if image["id"] not in said]
    if missing:
        raise SystemExit(f"{len(missing)} images have no caption, {missing[0]} among them: the server takes"
                         " all or none")  # fmt: skip
    return [{"image_id": i, "caption": record["caption"]} for i, record in said.items()]


def table(results: Results) -> str:
    rows = [f"| {name} | {value if isinstance(value, str) else format(value, '.4g')} |"
            for name, value in results.items()]  # fmt: skip
    return "\n".join(["| measure | value |", "|---|---|", *rows])


def behind(out: Path, suffix: str) -> Path:
    """OUT with a suffix behind its name, in which a dot is no suffix: v0.1-int8 is a name."""
    return out.with_name(out.name + suffix)


def write_results(out: Path, results: Results) -> None:
    """OUT.json and OUT.md."""
    out.parent.mkdir(parents=True, exist_ok=True)
    behind(out, ".json").write_text(json.dumps(results, indent=2) + "\n")
    behind(out, ".md").write_text(table(results) + "\n")
    print(table(results))


def caption_by_engine(args: argparse.Namespace, pictures: list[Path], out: Path) -> None:
    listed = behind(out, ".list")
    listed.write_text("".join(f"{path}\n" for path in pictures))
    command = [args.lightcap, "caption", "--json", "--beams", str(args.beams), "--files-from", listed,
               "--output", out, *(("--model", args.model) if args.model else ())]  # fmt: skip
    environment = os.environ | ({"LIGHTCAP_ISA": args.isa} if args.isa else {})
    out.unlink(missing_ok=True)
    done = subprocess.run(command, env=environment, check=False)
    listed.unlink()
    if done.returncode not in (0, 1):  # 1: a picture could not be read, which its line says
        raise SystemExit(f"{args.lightcap} failed with exit code {done.returncode}")


def caption_by_torch(args: argparse.Namespace, pictures: list[Path], out: Path) -> None:
    import torch

    from models.reference.caption import to_json
    from models.reference.lightcap import load_captioner
    from models.reference.preprocess import read_image

    names = ("model.pt", "vocab.txt", "labels.txt", "config.json")
    captioner = load_captioner(*(str(args.run / name) for name in names))
    captioner.model.to("cuda" if torch.cuda.is_available() else "cpu")
    with out.open("w") as file:
        for path in pictures:
            try:
                line = to_json(str(path), captioner.caption(read_image(path), args.beams))
            except (OSError, ValueError) as error:
                line = {"image": str(path), "error": str(error)}
            file.write(json.dumps(line) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="models.training.evaluate", description=__doc__)
    parser.add_argument("captions", type=Path, help="a COCO captions file, or Karpathy's dataset_coco.json")
    parser.add_argument("--split", default="", help="of Karpathy's file: test, val, restval or train")
    parser.add_argument("--predictions", type=Path, help="captions that are there already")
    parser.add_argument("--images", type=Path, help="the pictures' folder")
    parser.add_argument("--lightcap", type=Path, help="the engine's program")
    parser.add_argument("--model", type=Path, help="its model")
    parser.add_argument("--isa", help="its instruction set, as avx2")
    parser.add_argument("--run", type=Path, help="a stage's folder: captions by PyTorch")
    parser.add_argument("--beams", type=int, default=5)
    parser.add_argument("--spice", action="store_true")
    parser.add_argument("--nocaps", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="OUT.json, OUT.md, OUT.jsonl")
    args = parser.parse_args()
    if sum(x is not None for x in (args.predictions, args.lightcap, args.run)) != 1:
        parser.error("one of --predictions, --lightcap and --run is wanted")
    try:
        coco = read_coco(args.captions, args.split)
    except ConfigError as error:
        parser.error(str(error))
    made = args.predictions
    if made is None:
        if args.images is None:
            parser.error("--images, the pictures' folder, is wanted")
        pictures = [picture_of(args.images, image["file_name"]) for image in coco["images"]]
        made = behind(args.out, ".jsonl")
        made.parent.mkdir(parents=True, exist_ok=True)
        (caption_by_engine if args.lightcap else caption_by_torch)(args, pictures, made)
    predictions = read_predictions(made)
    if args.nocaps:
        args.nocaps.write_text(json.dumps(nocaps(coco, predictions)) + "\n")
    said = {i: record["caption"] for i, record in said_of(coco, predictions).items()}
    results: Results = {"images": len(coco["images"]), "captioned": len(said)}
    if args.predictions is None:
        results["beams"] = args.beams
    references = references_of(coco)
    if references:
        more = ("METEOR", "ROUGE-L", "SPICE") if args.spice else ("METEOR", "ROUGE-L")
        results |= caption_scores(said, references, more)[0]
    write_results(args.out, results)
    return 0


def read_coco(path: Path, split: str = "") -> Record:
    """A captions file; of Karpathy's, the pictures of one split in COCO's format."""
    coco = read_json(path, "a COCO captions file", ("images",))
    images = coco["images"]
    if images and isinstance(images[0], dict) and "cocoid" in images[0]:
        return _karpathys_split(path, split)
    if split:
        raise ConfigError(f"{path} is no dataset_coco.json of Karpathy's, which --split {split} is of")
    for image in images:
        fields(image, ("id", "file_name"), path, "an image")
    for annotation in coco.get("annotations", []):
        fields(annotation, ("image_id", "caption"), path, "an annotation")
    return {"annotations": []} | coco


def _karpathys_split(path: Path, split: str) -> Record:
    if not split:
        raise ConfigError(f"{path} is Karpathy's: --split is wanted, as --split test")
    chosen = [(i, name, texts) for i, name, part, texts in karpathys(path) if part == split]
    if not chosen:
        raise ConfigError(f"{path} has no picture of the split {split!r}: train, restval, val or test is wanted")
    return {"images": [{"id": i, "file_name": name} for i, name, _ in chosen],
            "annotations": [{"image_id": i, "caption": text} for i, _, texts in chosen
                            for text in texts]}  # fmt: skip


def picture_of(folder: Path, name: str) -> Path:
    """The picture's file, with the folders in its name or without them."""
    whole = folder / name
    return whole if whole.exists() else folder / Path(name).name


if __name__ == "__main__":
    sys.exit(main())
