"""Captions a second of a machine whose threads are all at work: LightCap's next to OpenVINO's.

    python bench/peers/throughput.py --lightcap build/lightcap --model MODEL.lcw --models OUT/models
        --threads 2 [--int8] [--rounds 3] PICTURE...

OUT is what run.py left; its blocks are taken in int8 with --int8, as MODEL.lcw should be then. LightCap captions the
pictures from their bytes, once with one picture on all threads and once with a picture a thread. OpenVINO runs the
blocks of a caption of 19 steps as often, in its throughput mode with a stream a thread, each caller with a request
of its own: no picture is decoded, resized or told in words there. All take turns.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

STEPS = 19
BLOCKS = {"image_encoder": 1, "detector": 1, "fusion_prefix": 1, "step": STEPS, "head": STEPS}


class Peer:
    """One compiled model a block; a stream serves one request at a time."""

    def __init__(self, models: Path, int8: bool, threads: int) -> None:
        import openvino

        core = openvino.Core()
        self.threads = threads
        self.blocks = []
        for name, times in BLOCKS.items():
            path = models / f"{name}{'.int8.xml' if int8 else '.onnx'}"
            compiled = core.compile_model(path, "CPU", {
                "PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": threads, "INFERENCE_NUM_THREADS": threads,
                "ENABLE_CPU_PINNING": False, "INFERENCE_PRECISION_HINT": "f32"})  # fmt: skip
            self.blocks.append((compiled, times))

    def caller(self) -> Callable[[], None]:
        """Runs the blocks of one caption."""
        requests: list[tuple[Any, int]] = []
        for compiled, times in self.blocks:
            request = compiled.create_infer_request()
            for port in compiled.inputs:
                request.set_tensor(port, _numbers(port))
            requests.append((request, times))

        def caption() -> None:
            for request, times in requests:
                for _ in range(times):
                    request.infer()

        return caption

    def captions(self, count: int) -> float:
        """Seconds for so many."""
        callers = [self.caller() for _ in range(self.threads)]
        for caption in callers:
            caption()
        left = [None] * count

        def work(caption: Callable[[], None]) -> None:
            while True:
                try:
                    left.pop()
                except IndexError:
                    return
                caption()

        threads = [threading.Thread(target=work, args=(caption,)) for caption in callers]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - start


def _numbers(port: Any) -> Any:
    import openvino

    shape, kind = list(port.get_shape()), port.get_element_type().to_dtype()
    values = np.ones(shape, kind) if np.issubdtype(kind, np.integer) else \
        np.random.default_rng(0).standard_normal(shape).astype(kind)  # fmt: skip
    return openvino.Tensor(values)


def lightcap(program: Path, model: Path, pictures: list[Path], threads: int, jobs: int) -> float:
    start = time.perf_counter()
    subprocess.run([program, "caption", "--model", model, "--threads", str(threads), "--jobs", str(jobs), *pictures],
                   check=True, stdout=subprocess.DEVNULL)  # fmt: skip
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--lightcap", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("pictures", nargs="+", type=Path)
    given = parser.parse_args()
    peer = Peer(given.models, given.int8, given.threads)
    count = len(given.pictures)
    ways: dict[str, Callable[[], float]] = {
        "LightCap, one thread":
            lambda: lightcap(given.lightcap, given.model, given.pictures, 1, 1),
        "LightCap, one picture on all threads":
            lambda: lightcap(given.lightcap, given.model, given.pictures, given.threads, 1),
        "LightCap, a picture a thread":
            lambda: lightcap(given.lightcap, given.model, given.pictures, given.threads, given.threads),
        "OpenVINO, throughput, a stream a thread": lambda: peer.captions(count),
    }  # fmt: skip
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(given.rounds):
        for name, run in ways.items():
            rates[name].append(count / run())
    for name, found in rates.items():
        print(f"{name}: {statistics.median(found):.1f} captions a second ({min(found):.1f} to {max(found):.1f})")


if __name__ == "__main__":
    main()
