"""Makes the peers' int8 blocks of what export.py --pictures wrote.

NAME.int8.onnx for ONNX Runtime: convolutions static, per channel, u8 activations and s8 weights, as QDQ;
what is of matrix products alone dynamic. NAME.int8.xml for OpenVINO, by NNCF.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime.quantization as ort_quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

CONVOLUTIONAL = ("image_encoder", "detector")
BLOCKS = (*CONVOLUTIONAL, "fusion_prefix", "step", "head")
Feed = dict[str, np.ndarray]


def calibration(folder: Path, name: str) -> list[Feed]:
    arrays = dict(np.load(folder / f"{name}.calibration.npz"))
    return [{key: x[i] for key, x in arrays.items()} for i in range(len(arrays["in0"]))]


class Reader(ort_quantization.CalibrationDataReader):
    def __init__(self, feeds: list[Feed]) -> None:
        self.feeds: Iterator[Feed] = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self.feeds, None)


def for_onnx_runtime(folder: Path, name: str) -> None:
    out = folder / f"{name}.int8.onnx"
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "prepared.onnx"
        quant_pre_process(str(folder / f"{name}.onnx"), str(source))
        if name not in CONVOLUTIONAL:
            ort_quantization.quantize_dynamic(
                source, out, per_channel=True, weight_type=ort_quantization.QuantType.QInt8
            )
            return
        ort_quantization.quantize_static(
            source,
            out,
            Reader(calibration(folder, name)),
            quant_format=ort_quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=ort_quantization.QuantType.QUInt8,
            weight_type=ort_quantization.QuantType.QInt8,
        )


def for_openvino(folder: Path, name: str) -> None:
    import nncf
    import openvino

    nncf.set_log_level(logging.ERROR)
    feeds = calibration(folder, name)
    quantized = nncf.quantize(
        openvino.Core().read_model(folder / f"{name}.onnx"),
        nncf.Dataset(feeds),
        subset_size=len(feeds),
        target_device=nncf.TargetDevice.CPU,
        model_type=None if name in CONVOLUTIONAL else nncf.ModelType.TRANSFORMER,
    )
    openvino.save_model(quantized, folder / f"{name}.int8.xml", compress_to_fp16=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    for name in BLOCKS:
        for_onnx_runtime(args.folder, name)
        for_openvino(args.folder, name)
        print(f"quantised {name}", flush=True)


if __name__ == "__main__":
    main()
