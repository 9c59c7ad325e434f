"""Measurements of both kinds: `bench_kernels --benchmark_out=F` and `lightcap bench --profile --json`."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass
class Result:
    """One kernel or layer; median time of a call."""

    name: str
    isa: str
    stage: str  # empty for a kernel that is timed alone
    kernel: str
    seconds: float
    flops: float = 0.0  # of a call
    bytes: float = 0.0
    calls: float = 1.0  # a caption


@dataclass
class Run:
    results: dict[str, Result]  # by a name that is the same in every run
    peak_flops: dict[str, float]  # by instruction set
    peak_bytes: float


def load(path: str | Path, time: str = "cpu_time") -> Run:
    """`time` is the clock of benchmarks, "cpu_time" or "real_time"; profiles have one."""
    data = json.loads(Path(path).read_text())
    if "benchmarks" in data:
        return _benchmarks(data, time)
    if "layers" in data:
        return _profile(data)
    raise ValueError(f"{path}: neither benchmarks nor a profile")


def _benchmarks(data: dict, time: str) -> Run:
    times = defaultdict(list)
    medians = {}
    entries = {}
    for entry in data["benchmarks"]:
        if entry.get("error_occurred"):
            continue
        name = entry.get("run_name", entry["name"])
        seconds = entry[time] * SECONDS[entry.get("time_unit", "ns")]
        if entry.get("run_type") != "aggregate":
            times[name].append(seconds)
            entries[name] = entry
        elif entry["aggregate_name"] == "median":
            medians[name] = seconds
            entries.setdefault(name, entry)
    results = {}
    for name, entry in entries.items():
        seconds = statistics.median(times[name]) if times[name] else medians[name]
        parts = name.split("/")
        if parts[0] == "layer" and len(parts) >= 5:
            isa, stage, label, kernel = parts[1:5]
        else:
            isa, stage, label, kernel = (parts + ["", ""])[1], "", name, parts[0]
        results[name] = Result(label, isa, stage, kernel, seconds, entry.get("flops", 0.0),
                               entry.get("bytes", 0.0))  # fmt: skip
    context = data.get("context", {})
    prefix = "peak_gflop_s_"
    peaks = {k[len(prefix) :]: float(v) * 1e9 for k, v in context.items() if k.startswith(prefix)}
    return Run(results, peaks, float(context.get("peak_gb_s", 0)) * 1e9)


def _profile(data: dict) -> Run:
    results = {}
    for layer in data["layers"]:
        size = "x".join(str(layer[key]) for key in ("height", "width", "out"))
        key = f"{layer['stage']}/{layer['name']}/{layer['kernel']}/{size}"
        results[key] = Result(layer["name"], data["isa"], layer["stage"], layer["kernel"],
                              layer["median_us"] * 1e-6, layer["flops"], layer["bytes"],
                              layer["calls"])  # fmt: skip
    return Run(results, {data["isa"]: data["peak_gflop_s"] * 1e9}, data["peak_gb_s"] * 1e9)
