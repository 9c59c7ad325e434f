"""One peer with one number of threads: checks its results, then times blocks when told to.

Reads the names of blocks, a line each, and answers each with a line of JSON. Its first line tells
how far its results are from the expected ones. Between questions its owner stops the process.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

Arrays = list[np.ndarray]
WARM_UP = 2
# How far a result may be from the reference's, relative to the largest value expected.
TOLERANCE = 1e-3
# In int8: the smallest signal-to-noise ratio of a result, in dB. Random weights keep less of it than
# trained ones.
INT8_RATIO = 15


class OnnxRuntime:
    suffix = ""

    def __init__(self, threads: int) -> None:
        import onnxruntime

        self.ort, self.threads = onnxruntime, threads

    def load(self, path: Path, inputs: Arrays, outputs: int) -> Callable[[], Arrays]:
        options = self.ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.execution_mode = self.ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = self.ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        # As PyTorch below; random weights may make numbers that small.
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        session = self.ort.InferenceSession(
            f"{path}{self.suffix}.onnx", options, providers=["CPUExecutionProvider"]
        )
        feed = {f"in{i}": x for i, x in enumerate(inputs)}
        names = [f"out{i}" for i in range(outputs)]
        return lambda: session.run(names, feed)


class OnnxRuntimeInt8(OnnxRuntime):
    suffix = ".int8"


class OpenVino:
    suffix = ".onnx"

    def __init__(self, threads: int) -> None:
        import openvino

        self.ov, self.threads, self.core = openvino, threads, openvino.Core()

    def load(self, path: Path, inputs: Arrays, outputs: int) -> Callable[[], Arrays]:
        # bf16 otherwise, where the machine has it.
        return self.compiled(path, inputs, outputs, "f32")

    def compiled(
        self, path: Path, inputs: Arrays, outputs: int, precision: str
    ) -> Callable[[], Arrays]:
        compiled = self.core.compile_model(
            f"{path}{self.suffix}",
            "CPU",
            {
                "PERFORMANCE_HINT": "LATENCY",
                "NUM_STREAMS": 1,
                "INFERENCE_NUM_THREADS": self.threads,
                # Pinned threads could share a core with what else runs; the others do not pin.
                "ENABLE_CPU_PINNING": False,
                "INFERENCE_PRECISION_HINT": precision,
            },
        )
        request = compiled.create_infer_request()
        for i, x in enumerate(inputs):
            request.set_tensor(f"in{i}", self.ov.Tensor(x, shared_memory=True))

        def run() -> Arrays:
            request.infer()
            return [request.get_tensor(f"out{i}").data for i in range(outputs)]

        run.inputs = inputs  # type: ignore[attr-defined]  # whose memory the request reads
        return run


class OpenVinoInt8(OpenVino):
    suffix = ".int8.xml"

    def load(self, path: Path, inputs: Arrays, outputs: int) -> Callable[[], Arrays]:
        """The parts that are not int8 in fp32 or in bf16: what is faster."""
        ways = [self.compiled(path, inputs, outputs, "f32")]
        if "BF16" in self.core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            ways.append(self.compiled(path, inputs, outputs, "bf16"))
        return min(ways, key=lambda run: min(milliseconds(run, 3)))


class Ncnn:
    def __init__(self, threads: int) -> None:
        import ncnn

        self.ncnn, self.threads = ncnn, threads

    def load(self, path: Path, inputs: Arrays, outputs: int) -> Callable[[], Arrays]:
        net = self.ncnn.Net()
        options = net.opt
        options.num_threads = self.threads
        options.use_vulkan_compute = False
        # fp32 like everyone here; packing, Winograd and sgemm are on unless told otherwise.
        for name in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
            setattr(options, f"use_{name}", False)
        if net.load_param(f"{path}.ncnn.param") or net.load_model(f"{path}.ncnn.bin"):
            raise RuntimeError(f"ncnn cannot load {path.name}")
        # ncnn has no dimension for the batch of one.
        arrays = [np.ascontiguousarray(x[0] if x.ndim > 2 else x) for x in inputs]
        mats = [self.ncnn.Mat(x) for x in arrays]

        def run() -> Arrays:
            with net.create_extractor() as extractor:
                for i, mat in enumerate(mats):
                    extractor.input(f"in{i}", mat)
                results = []
                for i in range(outputs):
                    code, mat = extractor.extract(f"out{i}")
                    if code:
                        raise RuntimeError(f"ncnn cannot run {path.name}")
                    results.append(np.array(mat))
                return results

        # The extractor only points to the network, the mats to the arrays.
        run.kept = net, arrays  # type: ignore[attr-defined]
        return run


class PyTorch:
    def __init__(self, threads: int) -> None:
        import torch

        self.torch = torch
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        torch.set_flush_denormal(True)

    def load(self, path: Path, inputs: Arrays, outputs: int) -> Callable[[], Arrays]:
        """Frozen TorchScript, with or without oneDNN's blocked layouts: what is faster."""
        tensors = [self.torch.from_numpy(x) for x in inputs]
        frozen = self.torch.jit.load(f"{path}.pt")
        ways = [frozen, self.torch.jit.optimize_for_inference(frozen)]

        def runner(module: Callable) -> Callable[[], Arrays]:
            def run() -> Arrays:
                with self.torch.inference_mode():
                    got = module(*tensors)
                got = (got,) if isinstance(got, self.torch.Tensor) else got
                return [x.numpy() for x in got]

            return run

        runs = [runner(way) for way in ways]
        return min(runs, key=lambda run: min(milliseconds(run, 3)))


PEERS = {"onnxruntime": OnnxRuntime, "openvino": OpenVino, "ncnn": Ncnn, "pytorch": PyTorch}
INT8_PEERS = {"onnxruntime int8": OnnxRuntimeInt8, "openvino int8": OpenVinoInt8}


def milliseconds(run: Callable[[], Arrays], repeat: int) -> list[float]:
    for _ in range(WARM_UP):
        run()
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def check(got: Arrays, expected: Arrays, is_int8: bool) -> dict[str, float | bool]:
    """Largest difference, and the same relative to its array's largest value; the lowest ratio."""
    absolute = relative = 0.0
    ratio = math.inf
    for g, e in zip(got, expected, strict=True):
        if g.size != e.size:
            raise RuntimeError(f"shape {g.shape}, expected {e.shape}")
        if not np.isfinite(g).all():
            raise RuntimeError("a result is infinite or not a number")
        difference = float(np.abs(g.reshape(e.shape) - e).max())
        absolute = max(absolute, difference)
        relative = max(relative, difference / float(np.abs(e).max()))
        noise = np.square(g.reshape(e.shape) - e, dtype=np.float64).sum()
        if noise > 0:
            ratio = min(ratio, 10 * math.log10(np.square(e, dtype=np.float64).sum() / noise))
    if is_int8:
        return {"ratio": ratio, "ok": ratio >= INT8_RATIO}
    return {"absolute": absolute, "relative": relative, "ok": relative <= TOLERANCE}


def load_blocks(
    peer: object, is_int8: bool, folder: Path, names: list[str]
) -> tuple[dict, dict]:
    runs, checks = {}, {}
    for name in names:
        arrays = np.load(folder / f"{name}.npz")
        inputs = [arrays[f"in{i}"] for i in range(sum(k.startswith("in") for k in arrays))]
        expected = [arrays[f"out{i}"] for i in range(sum(k.startswith("out") for k in arrays))]
        try:
            run = peer.load(folder / name, inputs, len(expected))
            checks[name] = check(run(), expected, is_int8)
        except Exception as error:  # a peer may fail in its own ways: the report says so
            checks[name] = {"ok": False, "error": f"{type(error).__name__}: {error}"[:300]}
            continue
        if checks[name]["ok"]:
            runs[name] = run
    return runs, checks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", choices=PEERS | INT8_PEERS, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--repeat", type=int, required=True)
    parser.add_argument("blocks", nargs="+")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    # Answers have a way of their own: runtimes print what they like.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    peer = (PEERS | INT8_PEERS)[args.peer](args.threads)
    runs, checks = load_blocks(peer, args.peer in INT8_PEERS, args.models, args.blocks)
    print(json.dumps(checks), file=answers, flush=True)
    for line in sys.stdin:
        times = milliseconds(runs[line.strip()], args.repeat)
        print(json.dumps(times), file=answers, flush=True)


if __name__ == "__main__":
    main()
