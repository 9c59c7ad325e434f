"""Runs the engine's programs; shared by the comparisons of this folder."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

try:
    import numpy as np
    import PIL  # noqa: F401
    import torch  # noqa: F401
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # for models.reference


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lightcap", default="build/release/lightcap", help="the engine's program")
    parser.add_argument("--convert", default="build/release/lightcap-convert", help="the converter")


def call(*command: object, environment: dict[str, str] | None = None) -> str:
    """Standard output; a failure raises what the program said."""
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        env=os.environ | (environment or {}),
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stderr}")
    return done.stdout


def instruction_sets(lightcap: str) -> list[str]:
    """Those built in that this machine runs."""
    for line in call(lightcap, "--version").splitlines():
        if line.startswith("built in:"):
            names = line.removeprefix("built in:").replace(",", " ").split()
            return [name for name in names if _runs(lightcap, name)]
    raise RuntimeError(f"{lightcap} --version does not say what is built in")


def _runs(lightcap: str, isa: str) -> bool:
    environment = os.environ | {"LIGHTCAP_ISA": isa}
    done = subprocess.run([lightcap, "--version"], capture_output=True, env=environment)
    return done.returncode == 0


@dataclass
class Answer:
    tokens: list[int]
    caption: str
    score: float
    labels: list[str]
    boxes: np.ndarray  # [n, 4]
    trace: dict[str, np.ndarray] = field(default_factory=dict)


def caption(
    lightcap: str,
    model: Path,
    image: Path,
    isa: str,
    beams: int = 1,
    trace: Path | None = None,
    threads: int = 0,
    options: tuple[object, ...] = (),
) -> Answer:
    """One picture through `lightcap caption`; stages only where a folder for the trace is given."""
    command = [lightcap, "caption", "--model", model, "--beams", beams, "--json", *options]
    if threads:
        command += ["--threads", threads]
    if trace is not None:
        command += ["--trace", trace]
    answer = json.loads(call(*command, image, environment={"LIGHTCAP_ISA": isa}))
    concepts = answer["concepts"]
    return Answer(
        answer["tokens"],
        answer["caption"],
        answer["score"],
        [c["label"] for c in concepts],
        np.array([c["box"] for c in concepts]).reshape(-1, 4),
        {f.stem: np.load(f) for f in trace.glob("*.npy")} if trace is not None else {},
    )
