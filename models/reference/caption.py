"""The output and the trace of `lightcap caption`, computed by PyTorch."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

from .lightcap import Caption, load_captioner
from .preprocess import read_image


def write_trace(caption: Caption, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in caption.trace.items():
        np.save(folder / f"{name}.npy", value.numpy().astype("<f4"))


def to_json(image: str, caption: Caption) -> dict[str, object]:
    fields = asdict(caption)
    del fields["trace"]
    return {"image": image} | fields


def main() -> int:
    parser = argparse.ArgumentParser(prog="caption", description=__doc__)
    parser.add_argument(
        "--weights", required=True, help="whole state dict, as lightcap-convert --lightcap takes it"
    )
    parser.add_argument("--vocab", required=True, help="WordPiece vocabulary, a token a line")
    parser.add_argument("--concepts", required=True, help="concept labels, one a line")
    parser.add_argument("--config", help="config.json with hyper-parameters")
    parser.add_argument("--beams", type=int, default=1)
    parser.add_argument("--length-penalty", type=float, default=1.0)
    parser.add_argument(
        "--must-contain",
        action="append",
        metavar="WORD[|FORM...]",
        help="captions contain the word, or one of its forms; may be repeated",
    )
    parser.add_argument("--exif", choices=("apply", "ignore"), default="apply")
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--trace", type=Path, help="write every stage of one image to this folder as .npy"
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    args = parser.parse_args()
    if args.trace and len(args.images) != 1:
        parser.error("--trace takes one image")

    captioner = load_captioner(args.weights, args.vocab, args.concepts, args.config)
    must_contain = [word.split("|") for word in args.must_contain or []]
    failed = False
    for image in args.images:
        try:
            pixels = read_image(image, args.exif == "apply")
        except (OSError, ValueError) as error:
            failed = True
            print(f"{image}: {error}", file=sys.stderr)
            if args.json:
                print(json.dumps({"image": image, "error": str(error)}))
            continue
        caption = captioner.caption(pixels, args.beams, args.length_penalty, must_contain)
        if args.trace:
            write_trace(caption, args.trace)
        print(json.dumps(to_json(image, caption)) if args.json else caption.caption, flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
