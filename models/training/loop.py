"""One loop for all stages: on the CPU, on one GPU, or on several by torchrun.

All that is random in a step, its pictures included, is a function of (seed, step, process): a run that
was killed goes on as if nothing had been.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from . import checkpoints
from .config import ConfigError, Schedule, TrainingConfig


@dataclass
class World:
    """This process among those of torchrun."""

    rank: int
    size: int
    device: torch.device
    half: bool  # products in bfloat16

    @property
    def first(self) -> bool:
        return self.rank == 0


LONGEST_WAIT = timedelta(days=7)  # of a process for others, which may have pictures to read


def _cpu_has_bfloat16() -> bool:
    """True if a product of bfloat16 vectors is an instruction (Linux's names for it)."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "bf16" in flags


def world(config: TrainingConfig) -> World:
    """Joins the processes that torchrun started, if it did."""
    cuda, size = torch.cuda.is_available(), int(os.environ.get("WORLD_SIZE", "1"))
    if size > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if cuda else "gloo", timeout=LONGEST_WAIT)
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if cuda:
        torch.cuda.set_device(local)
    if cuda and config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS's own condition
        torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.allow_tf32 = False  # single precision is the engine's
    if config.autocast not in ("auto", "off"):
        raise ConfigError(f"autocast is {config.autocast!r}: auto or off is wanted")
    native = torch.cuda.is_bf16_supported(including_emulation=False) if cuda else _cpu_has_bfloat16()
    half = config.autocast == "auto" and native
    return World(dist.get_rank() if size > 1 else 0, size,
                 torch.device("cuda", local) if cuda else torch.device("cpu"), half)  # fmt: skip


def wait_for_all(world: World) -> None:
    if world.size > 1:
        dist.barrier()


class Task(Protocol):
    """A stage's model with its losses."""

    module: nn.Module  # its parameters that want a gradient are trained
    weights: np.ndarray  # of each example: how often it comes; equal ones come once an epoch, 0 never
    notes: dict[str, Tensor]  # what the log has beside the losses

    def losses(self, rows: np.ndarray, rng: np.random.Generator) -> dict[str, Tensor]:
        """The losses of these examples; their sum is minimised."""
        ...


class Order:
    """The examples of each step: each once an epoch, or by their weights where those differ. One that weighs
    nothing never comes."""

    def __init__(self, weights: np.ndarray, batch: int, seed: int) -> None:
        self.known = np.flatnonzero(weights)
        if not len(self.known):
            raise ConfigError("no example weighs anything: there is nothing to train on")
        self.count, self.batch, self.seed = len(self.known), batch, seed
        weights = weights[self.known]
        self.shares = None if np.all(weights == weights[0]) else weights / weights.sum(dtype=np.float64)
        self._epoch: tuple[int, np.ndarray] = (-1, np.zeros(0, int))

    def rows(self, step: int) -> np.ndarray:
        if self.shares is not None:
            rng = np.random.default_rng((self.seed, step))
            return self.known[rng.choice(self.count, self.batch, p=self.shares)]
        at = np.arange(step * self.batch, (step + 1) * self.batch)
        return self.known[[self._permuted(int(i) // self.count)[int(i) % self.count] for i in at]]

    def _permuted(self, epoch: int) -> np.ndarray:
        if self._epoch[0] != epoch:
            rng = np.random.default_rng((self.seed, 1 << 32, epoch))
            self._epoch = (epoch, rng.permutation(self.count))
        return self._epoch[1]


def rate_at(schedule: Schedule, step: int, steps: int) -> float:
    rise = min(1.0, (step + 1) / schedule.warmup) if schedule.warmup else 1.0
    left = 1 - step / steps
    shapes = {"linear": left, "cosine": 0.5 * (1 - math.cos(math.pi * left)), "constant": 1.0}
    if schedule.decay not in shapes:
        raise ConfigError(f"decay is {schedule.decay!r}: one of {', '.join(shapes)} is wanted")
    return schedule.rate * rise * shapes[schedule.decay]


def optimiser_of(parameters: list[nn.Parameter], schedule: Schedule) -> torch.optim.AdamW:
    """Matrices decay, vectors don't."""
    groups = [{"params": [p for p in parameters if p.ndim > 1], "weight_decay": schedule.weight_decay},
              {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0}]  # fmt: skip
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=schedule.rate, fused=True)


def _average(parameters: list[nn.Parameter], size: int) -> None:
    """Gradients become their means over all processes."""
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    flat = torch.cat([p.grad.flatten() for p in parameters])
    dist.all_reduce(flat)
    flat /= size
    for p, part in zip(parameters, flat.split([p.numel() for p in parameters])):
        p.grad.copy_(part.view_as(p))


def _share_buffers(module: nn.Module, world: World) -> None:
    """The first process's statistics of norms for all: what is saved is what all go on with."""
    for buffer in module.buffers() if world.size > 1 else ():
        dist.broadcast(buffer, 0)


def peak_bytes(device: torch.device) -> int:
    """Most memory in use so far: the GPU's, or the process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Log:
    """Means of the losses over steps and processes: a line of JSON in the run's log.jsonl, a short one on
    standard error."""

    def __init__(self, path: Path, name: str, steps: int, every: int, world: World) -> None:
        self.path, self.name, self.steps, self.every, self.world = path, name, steps, every, world
        self.sums: dict[str, Tensor] = {}
        self.count, self.begin = 0, time.time()

    def add(self, step: int, losses: dict[str, Tensor], rate: float) -> None:
        for name, loss in losses.items():
            self.sums[name] = self.sums.get(name, 0) + loss.detach().float()
        self.count += 1
        if self.count < self.every and step + 1 < self.steps:
            return
        means = self._means()
        if self.world.first:
            self._write(step, means, rate)
        self.sums, self.count, self.begin = {}, 0, time.time()

    def _means(self) -> dict[str, float]:
        total = torch.stack([torch.as_tensor(x, device=self.world.device) for x in self.sums.values()])
        if self.world.size > 1:
            dist.all_reduce(total)
        return dict(zip(self.sums, (total / (self.count * self.world.size)).tolist()))

    def _write(self, step: int, means: dict[str, float], rate: float) -> None:
        speed = self.count / (time.time() - self.begin)
        line = {"step": step + 1, "rate": rate, "steps_per_second": round(speed, 3),
                "peak_bytes": peak_bytes(self.world.device)} | means  # fmt: skip
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        shown = " ".join(f"{name} {mean:.3f}" for name, mean in means.items())
        left = (self.steps - step - 1) / speed / 60
        print(f"{self.name} {step + 1}/{self.steps}: {shown}, {left:.1f} min left", file=sys.stderr,
              flush=True)  # fmt: skip


def run(task: Task, schedule: Schedule, folder: Path, world: World, stop_after: int | None = None,
        between: Callable[[int, int], None] = lambda step, steps: None,
        settings: dict[str, Any] | None = None) -> bool:  # fmt: skip
    """Trains until the schedule's end, or until `stop_after` steps in all; True at the end. Takes up
    what folder/state.pt holds, if it was begun with the same `settings`. between(step, steps) is called where a
    state is saved."""
    steps, state = schedule.length(np.count_nonzero(task.weights)), folder / "state.pt"
    if schedule.batch < world.size:
        raise ConfigError(f"batch is {schedule.batch}, for {world.size} processes: one example each is wanted")
    parameters = [p for p in task.module.parameters() if p.requires_grad]
    optimiser, first = optimiser_of(parameters, schedule), 0
    folder.mkdir(parents=True, exist_ok=True)
    begun_with = _begun_with(schedule, world) | (settings or {})
    if state.exists():
        first = _load(state, task.module, optimiser, begun_with, world)
    order = Order(task.weights, schedule.batch, schedule.seed)
    log = Log(folder / "log.jsonl", str(folder.name), steps, schedule.log_every, world)
    last = min(steps, stop_after or steps)
    if first >= last:
        between(first, steps)  # it may have been killed after it saved its last state
    for step in range(first, last):
        torch.manual_seed(hash((schedule.seed, step, world.rank)))
        rng = np.random.default_rng((schedule.seed, step, world.rank, 1))
        rate = rate_at(schedule, step, steps)
        for group in optimiser.param_groups:
            group["lr"] = rate
        losses = task.losses(order.rows(step)[world.rank :: world.size], rng)
        optimiser.zero_grad()
        sum(losses.values()).backward()
        if world.size > 1:
            _average(parameters, world.size)
        norm = nn.utils.clip_grad_norm_(parameters, schedule.clip)
        if not torch.isfinite(norm):
            raise ConfigError(f"{folder}: the gradient of step {step} is not finite: a lower rate is wanted, or inputs"
                              " whose numbers are")  # fmt: skip
        optimiser.step()
        log.add(step, losses | task.notes, rate)
        if (step + 1) % schedule.save_every == 0 or step + 1 == last:
            _share_buffers(task.module, world)
            if world.first:
                _save(state, task.module, optimiser, begun_with, step + 1)
            between(step + 1, steps)
    return last == steps


def _begun_with(schedule: Schedule, world: World) -> dict[str, Any]:
    """The parts of the schedule, and the number of processes, that every step depends on."""
    names = ("seed", "batch", "weight_decay", "dropout", "clip")
    return {name: getattr(schedule, name) for name in names} | {"processes": world.size}


def _save(path: Path, module: nn.Module, optimiser: torch.optim.Optimizer, begun_with: dict[str, Any],
          step: int) -> None:  # fmt: skip
    checkpoints.save(path, {"step": step, "begun_with": begun_with, "module": module.state_dict(),
                            "optimiser": optimiser.state_dict()})  # fmt: skip


def _load(path: Path, module: nn.Module, optimiser: torch.optim.Optimizer, begun_with: dict[str, Any],
          world: World) -> int:  # fmt: skip
    saved = torch.load(path, map_location=world.device, weights_only=True)
    before = saved["begun_with"]
    for name, value in begun_with.items():
        if before.get(name) != value:
            raise ConfigError(f"{path} was begun with {name} {before.get(name)}, now it is {value}: give another --out")
    module.load_state_dict(saved["module"])
    optimiser.load_state_dict(saved["optimiser"])
    return saved["step"]
