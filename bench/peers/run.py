"""Times LightCap's blocks next to ONNX Runtime's, OpenVINO's, ncnn's and PyTorch's.

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

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from report import BLOCKS, PEERS, markdown, summary  # noqa: E402

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


def prepare(args: argparse.Namespace) -> tuple[str, dict[str, int]]:
    """Our model, and theirs where an earlier run has not left them; shapes that all share."""
    args.models.mkdir(parents=True, exist_ok=True)
    model = args.model
    if model is None:
        model = str(args.models / "random.lcw")
        convert = str(Path(args.lightcap).with_name("lightcap-convert"))
        if not Path(model).exists():
            subprocess.run([convert, "--random", "1", "-o", model], check=True)
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
        subprocess.run(command + ["--pnnx", args.pnnx], check=True)
        stamp.write_text(json.dumps(made))
    return model, made


def measure(
    args: argparse.Namespace, model: str, peers: list[Peer]
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """[threads][block][engine]: each round's median in milliseconds."""
    times: dict[str, dict[str, dict[str, list[float]]]] = {}

    def note(threads: int, block: str, engine: str, ms: float) -> None:
        blocks = times.setdefault(str(threads), {})
        blocks.setdefault(block, {}).setdefault(engine, []).append(ms)

    print("measuring", flush=True)
    begin = time.monotonic()
    for number in range(args.rounds):
        for threads in args.threads:
            engines: list[Peer | None] = [None, *(p for p in peers if p.threads == threads)]
            first = number % len(engines)
            for peer in engines[first:] + engines[:first]:
                if peer is None:
                    ours = time_ours(args.lightcap, model, threads, args.repeat)
                    for block in OURS:
                        note(threads, block, "lightcap", ours[block])
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
                log = args.out / f"{name}-{threads}.log"
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
    parser.add_argument("--model", help="full-size .lcw [a random one]")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=5, help="runs a block, round and engine")
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=PEERS)
    parser.add_argument("--pnnx", default=find_pnnx(), help="ncnn's converter")
    parser.add_argument("--models", type=Path, help="where the exported blocks stay [OUT/models]")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.lightcap = str(Path(args.lightcap).resolve())
    args.models = args.models or args.out / "models"
    args.out.mkdir(parents=True, exist_ok=True)
    model, made = prepare(args)
    peers = start_peers(args)
    try:
        times = measure(args, model, peers)
    finally:
        for peer in peers:
            peer.end()
    result = {
        "machine": {"processor": processor(), "cores": os.cpu_count()},
        "versions": versions(("onnxruntime", "openvino", "ncnn", "pnnx", "torch")),
        "rounds": args.rounds,
        "repeat": args.repeat,
        "shapes": made,
        "checks": {f"{p.name} {p.threads}": p.checks for p in peers},
        "ms": times,
        "summary": summary(times, made["steps"]),
    }
    (args.out / "peers.json").write_text(json.dumps(result, indent=1) + "\n")
    text = markdown(result)
    (args.out / "peers.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
