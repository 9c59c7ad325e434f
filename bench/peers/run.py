"""Times LightCap's blocks next to ONNX Runtime's, OpenVINO's, ncnn's and PyTorch's, in fp32 or int8.

Everyone has a process of its own, and all but the one that is timed are stopped. Within a round all
take their turn at every block and number of threads; the order changes from round to round.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from report import BLOCKS, INT8_PEERS, OWN_FP32, PEERS, check_lines, markdown, summary  # noqa: E402

OURS = {
    "image_encoder": ("stages_ms", "image_encoder"),
    "detector": ("stages_ms", "detector"),
    "fusion_prefix": ("stages_ms", "fusion_prefix"),
    "step": ("step_ms",),
    "head": ("head_ms",),
    "caption": ("caption_ms",),
}


class Peer:
    """A worker that only runs while it is asked something."""

    def __init__(self, name: str, threads: int, models: Path, repeat: int, log: Path) -> None:
        self.name, self.threads = name, threads
        command = [sys.executable, str(HERE / "worker.py"), "--peer", name]
        command += ["--threads", str(threads), "--models", str(models), "--repeat", str(repeat)]
        self.process = subprocess.Popen(
            command + list(BLOCKS),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.open("w"),
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            text=True,
        )
        self.checks: dict[str, Any] = self._answer()
        self.blocks = [block for block in BLOCKS if self.checks[block]["ok"]]

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} with {self.threads} threads died; see its log")
        # No thread of an idle pool may spin while somebody else is timed.
        self.process.send_signal(signal.SIGSTOP)
        return json.loads(line)

    def time(self, block: str) -> list[float]:
        assert self.process.stdin is not None
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(block + "\n")
        self.process.stdin.flush()
        return self._answer()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def time_ours(lightcap: str, model: str, threads: int, repeat: int) -> dict[str, float]:
    command = [lightcap, "bench", "--json", "--model", model]
    command += ["--threads", str(threads), "--repeat", str(repeat)]
    result = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    times = {}
    for block, keys in OURS.items():
        part = result
        for key in keys:
            part = part[key]
        times[block] = part["median"]
    return times | {"steps": result["steps"]}


def concept_tokens(lightcap: str, model: str, folder: Path) -> int:
    """How many tokens of concepts the benchmark's caption has: the peers get as many."""
    command = [lightcap, "bench", "--model", model, "--shapes", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    for line in (folder / "fusion.txt").read_text().splitlines():
        if line.startswith("bert.embeddings.LayerNorm "):
            return int(line.split()[2])
    raise RuntimeError("bench --shapes names no bert.embeddings.LayerNorm")


def find_pnnx() -> str:
    """ncnn's converter: beside this Python, on the path, or in its package. May be none."""
    beside = Path(sys.executable).with_name("pnnx")
    return str(beside) if beside.exists() else shutil.which("pnnx") or ""


def beside(lightcap: str, program: str) -> str:
    return str(Path(lightcap).with_name(program))


def prepare_model(args: argparse.Namespace) -> str:
    """The fp32 model that is given, or a random one."""
    if args.model is not None:
        return args.model
    model = args.models / "random.lcw"
    if not model.exists():
        convert = beside(args.lightcap, "lightcap-convert")
        subprocess.run([convert, "--random", "1", "-o", str(model)], check=True)
    return str(model)


def prepare_int8(args: argparse.Namespace, model: str) -> str:
    """Our int8 model, calibrated on the pictures that the peers get too."""
    if args.pictures is None:
        args.pictures = args.models / "pictures"
        if not args.pictures.exists():
            command = [sys.executable, str(HERE / "draw.py"), str(args.pictures)]
            subprocess.run(command, check=True)
    quantized = args.models / "int8.lcw"
    if not quantized.exists():
        quantize = beside(args.lightcap, "lightcap-quantize")
        command = [quantize, model, str(args.pictures), "-o", str(quantized)]
        subprocess.run(command, check=True)
    return str(quantized)


def prepare_peers(args: argparse.Namespace, model: str) -> dict[str, int]:
    """The peers' blocks, where an earlier run has not left them; returns the shapes that all share."""
    shapes = args.models / "shapes"
    shapes.mkdir(exist_ok=True)
    tokens = concept_tokens(args.lightcap, model, shapes)
    steps = int(time_ours(args.lightcap, model, 1, 1)["steps"])
    made = {"concept_tokens": tokens, "steps": steps, "slot": max(steps // 2, 1)}
    stamp = args.models / "made.json"
    if not stamp.exists() or json.loads(stamp.read_text()) != made:
        stamp.unlink(missing_ok=True)
        command = [sys.executable, str(HERE / "export.py"), "--out", str(args.models)]
        command += ["--concept-tokens", str(tokens), "--slot", str(made["slot"])]
        if args.int8:
            subprocess.run(command + ["--pictures", str(args.pictures)], check=True)
            command = [sys.executable, str(HERE / "quantize.py"), str(args.models)]
            subprocess.run(command, check=True)
        else:
            subprocess.run(command + ["--pnnx", args.pnnx], check=True)
        stamp.write_text(json.dumps(made))
    return made


def own_ratio(args: argparse.Namespace, fp32: str, int8: str) -> float:
    """The signal-to-noise ratio of our int8 features, in dB, on the first picture."""
    picture = min(args.pictures.iterdir())
    features = []
    for name, model in (("fp32", fp32), ("int8", int8)):
        trace = args.out / f"trace-{name}"
        command = [args.lightcap, "caption", "--model", model, "--trace", str(trace), str(picture)]
        subprocess.run(command, check=True, capture_output=True)
        features.append(np.load(trace / "image_features.npy").astype(np.float64))
    noise = np.square(features[1] - features[0]).sum()
    return float(10 * np.log10(np.square(features[0]).sum() / noise))


def measure(
    args: argparse.Namespace, models: dict[str, str], peers: list[Peer]
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """[threads][block][engine]: each round's median in milliseconds. `models`: ours, by name."""
    times: dict[str, dict[str, dict[str, list[float]]]] = {}

    def note(threads: int, block: str, engine: str, ms: float) -> None:
        blocks = times.setdefault(str(threads), {})
        blocks.setdefault(block, {}).setdefault(engine, []).append(ms)

    print("measuring", flush=True)
    begin = time.monotonic()
    for number in range(args.rounds):
        for threads in args.threads:
            engines: list[Peer | str] = [*models, *(p for p in peers if p.threads == threads)]
            first = number % len(engines)
            for peer in engines[first:] + engines[:first]:
                if isinstance(peer, str):
                    ours = time_ours(args.lightcap, models[peer], threads, args.repeat)
                    for block in OURS:
                        note(threads, block, peer, ours[block])
                    continue
                for block in peer.blocks:
                    note(threads, block, peer.name, statistics.median(peer.time(block)))
    print(f"measured for {time.monotonic() - begin:.0f} s", flush=True)
    return times


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown"


def versions(packages: Iterable[str]) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def start_peers(args: argparse.Namespace) -> list[Peer]:
    peers: list[Peer] = []
    try:
        for name in args.peers:
            for threads in args.threads:
                log = args.out / f"{name.replace(' ', '-')}-{threads}.log"
                peers.append(Peer(name, threads, args.models, args.repeat, log))
                for block, check in peers[-1].checks.items():
                    print(f"{name} {threads} threads {block}: {json.dumps(check)}", flush=True)
    except BaseException:
        for peer in peers:
            peer.end()
        raise
    return peers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lightcap", required=True, help="the command line")
    parser.add_argument("--model", help="full-size .lcw in fp32 [a random one]")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=5, help="runs a block, round and engine")
    parser.add_argument("--int8", action="store_true", help="int8 models, ours and theirs")
    parser.add_argument("--pictures", type=Path, help="4 to 3, that calibrate int8 [drawn ones]")
    parser.add_argument("--peers", nargs="+", choices=PEERS + INT8_PEERS, help="[all, of int8 or fp32]")
    parser.add_argument("--pnnx", default=find_pnnx(), help="ncnn's converter")
    parser.add_argument("--models", type=Path, help="where the exported blocks stay [OUT/models]")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.lightcap = str(Path(args.lightcap).resolve())
    args.models = args.models or args.out / ("models-int8" if args.int8 else "models")
    args.peers = args.peers or list(INT8_PEERS if args.int8 else PEERS)
    for folder in (args.out, args.models):
        folder.mkdir(parents=True, exist_ok=True)
    model = prepare_model(args)
    models = {"lightcap": model}
    if args.int8:
        models = {"lightcap": prepare_int8(args, model), OWN_FP32: model}
    made = prepare_peers(args, model)
    peers = start_peers(args)
    try:
        times = measure(args, models, peers)
    finally:
        for peer in peers:
            peer.end()
    result = {
        "machine": {"processor": processor(), "cores": os.cpu_count()},
        "versions": versions(("onnxruntime", "openvino", "nncf", "ncnn", "pnnx", "torch")),
        "precision": "int8" if args.int8 else "fp32",
        "engines": [*models, *args.peers],
        "rounds": args.rounds,
        "repeat": args.repeat,
        "shapes": made,
        "checks": {f"{p.name} {p.threads}": p.checks for p in peers},
        "ms": times,
    }
    if args.int8:
        result["own_ratio"] = own_ratio(args, model, models["lightcap"])
    if args.rounds == 0:
        print("\n".join(check_lines(result)))
        return
    result["summary"] = summary(times, made["steps"])
    (args.out / "peers.json").write_text(json.dumps(result, indent=1) + "\n")
    text = markdown(result)
    (args.out / "peers.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
