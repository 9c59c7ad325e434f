"""Writes every block for every peer: ONNX, TorchScript, ncnn, and what must come out of them.

The folder gets NAME.onnx, NAME.pt, NAME.ncnn.{param,bin} and NAME.npz with inputs in0, in1... and
expected results out0, out1... With --pictures, for int8, it gets NAME.onnx, NAME.npz of the first
picture and NAME.calibration.npz with the inputs of all others, in0 [n, ...], in1 [n, ...]...
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from blocks import Block, make_blocks, network_inputs  # noqa: E402


def save_expected(block: Block, folder: Path) -> None:
    arrays = {f"in{i}": x.detach().numpy() for i, x in enumerate(block.inputs)}
    arrays |= {f"out{i}": x.detach().numpy() for i, x in enumerate(block.expected)}
    np.savez(folder / f"{block.name}.npz", **arrays)


def save_calibration(block: Block, folder: Path) -> None:
    each = zip(*block.calibration)
    arrays = {f"in{i}": np.stack([x.detach().numpy() for x in xs]) for i, xs in enumerate(each)}
    np.savez(folder / f"{block.name}.calibration.npz", **arrays)


def save_onnx(block: Block, folder: Path) -> None:
    path = folder / f"{block.name}.onnx"
    torch.onnx.export(
        block.module,
        block.inputs,
        str(path),
        dynamo=False,
        opset_version=17,
        do_constant_folding=True,
        input_names=[f"in{i}" for i in range(len(block.inputs))],
        output_names=[f"out{i}" for i in range(len(block.expected))],
    )
    onnx.checker.check_model(str(path))


def save_torchscript(block: Block, folder: Path) -> None:
    traced = torch.jit.trace(block.module, block.inputs, check_trace=False)
    torch.jit.freeze(traced).save(str(folder / f"{block.name}.pt"))


def save_ncnn(block: Block, folder: Path, pnnx: str) -> str:
    """Exports a block; returns an error message, or nothing."""
    source = folder / "pnnx" / f"{block.name}.pt"
    source.parent.mkdir(exist_ok=True)
    torch.jit.trace(block.module, block.inputs, check_trace=False).save(str(source))
    shapes = ",".join("[" + ",".join(map(str, x.shape)) + "]" for x in block.inputs)
    command = [
        pnnx,
        source.name,
        f"inputshape={shapes}",
        "fp16=0",
        f"ncnnparam=../{block.name}.ncnn.param",
        f"ncnnbin=../{block.name}.ncnn.bin",
    ]
    done = subprocess.run(command, check=False, cwd=source.parent, capture_output=True, text=True)
    if done.returncode != 0 or not (folder / f"{block.name}.ncnn.param").exists():
        return f"pnnx ended with {done.returncode}: {done.stderr[-300:]}"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--concept-tokens", type=int, default=40, help="with [SEP]")
    parser.add_argument("--slot", type=int, default=9, help="that the decoding step predicts")
    parser.add_argument("--pnnx", default="", help="ncnn's converter")
    parser.add_argument("--pictures", type=Path, help="a folder of pictures, for int8")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    shapes = args.seed, args.concept_tokens, args.slot
    with torch.no_grad():
        if args.pictures:
            pictures = network_inputs(sorted(args.pictures.iterdir()))
            for block in make_blocks(*shapes, sdpa=False, pictures=pictures):
                save_expected(block, args.out)
                save_calibration(block, args.out)
                save_onnx(block, args.out)
            return
        for block in make_blocks(*shapes, sdpa=False, pictures=[]):
            save_expected(block, args.out)
            save_onnx(block, args.out)
            if args.pnnx:
                trouble = save_ncnn(block, args.out, args.pnnx)
                if trouble:
                    print(f"ncnn does not get {block.name}: {trouble}", flush=True)
        for block in make_blocks(*shapes, sdpa=True, pictures=[]):
            save_torchscript(block, args.out)


if __name__ == "__main__":
    main()
