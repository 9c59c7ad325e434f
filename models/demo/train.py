"""Trains the demo model from nothing: python -m models.demo.train --out RUN. Resumes from RUN.

All blocks train together, on the modules of models/reference: the detector on boxes; the concept
extractor against a small text tower's embeddings of "a photo of a [object]"; modulator, fusion and
head on captions, in the graph's own decoding. The branches differ by their data: each weighs the
training scenes by its own exponential draw (a Bayesian bootstrap). Half of the pictures are mirrored;
full scenes come more often, and words of number and relation weigh more: the last to be learnt. The
last steps finish it on what inference has: the concepts of the trained detector's own proposals, in
their order, with its misses and its doubles, and norms that stand still.
RUN/{model.pt,vocab.txt,labels.txt,config.json} are lightcap-convert's --lightcap, --vocab,
--concepts and --config.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.reference.text import WordPiece

from .model import build, vocabulary
from .trainer import Trainer, write
from .training_data import dataset, shares_by_groups

DETECTOR_SHARE = 0.45  # of the steps before the finish: boxes are learnt sooner than captions
FINISH_RATE = 6e-4


class Shared:
    """Gradients of several processes, each with its share of the batch: their mean, in one order, so
    that the processes' weights stay equal to the bit."""

    def __init__(self, processes: int, parameters: int) -> None:
        # Two buffers by turns: whoever is a step ahead doesn't write what others still read.
        self.buffers = torch.zeros(2, processes, parameters).share_memory_()
        self.barrier = torch.multiprocessing.get_context("spawn").Barrier(processes)

    def average(self, rank: int, step: int, parameters: list[nn.Parameter]) -> None:
        gradients = [p.grad for p in parameters if p.grad is not None]
        buffer = self.buffers[step % 2]
        flat = torch.cat([g.flatten() for g in gradients])
        buffer[rank, : len(flat)].copy_(flat)
        self.barrier.wait()
        mean = buffer[:, : len(flat)].mean(0)
        for g, part in zip(gradients, mean.split([g.numel() for g in gradients])):
            g.copy_(part.view_as(g))

    def equalise(self, rank: int, values: list[Tensor]) -> None:
        """The first process's values for all."""
        self.barrier.wait()  # nobody still reads the buffer
        sizes = [value.numel() for value in values]
        buffer = self.buffers[0, 0, : sum(sizes)]
        if rank == 0:
            buffer.copy_(torch.cat([value.flatten() for value in values]))
        self.barrier.wait()
        for value, part in zip(values, buffer.split(sizes)):
            value.copy_(part.view_as(value))
        self.barrier.wait()


def optimiser_of(trainer: Trainer) -> torch.optim.AdamW:
    """Groups: the detector's parameters, then the others'; of each those that decay, those that don't."""
    detector = {id(p) for p in trainer.model.detector.parameters()}
    groups = []
    for mine in (True, False):
        part = [p for p in trainer.parameters() if (id(p) in detector) == mine]
        groups.append({"params": [p for p in part if p.ndim > 1], "weight_decay": 0.02})
        groups.append({"params": [p for p in part if p.ndim <= 1], "weight_decay": 0.0})
    return torch.optim.AdamW(groups, fused=True)


def learning_rate(peak: float, step: int, steps: int) -> float:
    """A short rise, then half a cosine down to nearly nothing."""
    rise = min(1, (step + 1) / 200)
    return max(peak * rise * 0.5 * (1 + math.cos(math.pi * min(step / steps, 1))), 1e-5)


def train(args: argparse.Namespace) -> None:
    args.out.mkdir(parents=True, exist_ok=True)
    dataset(args.out, args.scenes, args.processes)
    if torch.cuda.is_available():
        args.processes = 1
    parameters = sum(p.numel() for p in Trainer(build(), WordPiece(vocabulary())).parameters())
    shared = Shared(args.processes, parameters)
    torch.multiprocessing.spawn(work, (args, shared), args.processes)


def work(rank: int, args: argparse.Namespace, shared: Shared) -> None:
    """One process: every `processes`-th row of each batch, from `rank` on."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)  # processes share the cores better than threads do
    data = dataset(args.out, args.scenes, 1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_default_device(device)
    data = tuple(part.to(device) for part in data)
    trainer = Trainer(build(), WordPiece(vocabulary()))
    nn.init.normal_(trainer.model.word_embeddings, std=0.08)
    for y in trainer.model.detector.model[24].m:
        nn.init.constant_(y.bias.view(3, -1)[:, 4].detach(), -5)
    optimiser = optimiser_of(trainer)
    draws = np.random.default_rng(args.seed).exponential(size=(3, args.scenes))
    bootstrap = torch.tensor(draws, dtype=torch.float32) + 0.1
    shares = shares_by_groups(data[3].cpu().numpy())
    first, state = 0, args.out / "resume.pt"
    if state.exists():
        saved = torch.load(state, weights_only=True, map_location=device)
        trainer.model.load_state_dict(saved["model"])
        trainer.tower.load_state_dict(saved["tower"])
        optimiser.load_state_dict(saved["optimiser"])
        first = saved["step"]
    trainer.model.train()
    total = args.steps + args.finish
    progress = Progress(first, total)
    parameters, detector_steps = trainer.parameters(), int(args.steps * DETECTOR_SHARE)
    for step in range(first, total):
        finish = step >= args.steps
        if finish and trainer.model.training:
            # The detector learns no more, and the encoder learns under the statistics that inference has.
            trainer.model.eval()
            if args.processes > 1:  # each has statistics of its own share
                shared.equalise(rank, [b for b in trainer.model.buffers() if b.is_floating_point()])
        for i, group in enumerate(optimiser.param_groups):
            if finish:
                group["lr"] = learning_rate(FINISH_RATE, step - args.steps, args.finish)
            else:
                group["lr"] = learning_rate(args.rate, step, detector_steps if i < 2 else args.steps)
        pick = np.random.default_rng((args.seed, step)).choice(args.scenes, args.batch, p=shares)
        mine = torch.tensor(pick[rank :: args.processes])
        rng = np.random.default_rng((args.seed, step, rank))
        losses = trainer.losses(tuple(part[mine] for part in data), bootstrap[:, mine], rng,
                                step < detector_steps, finish)  # fmt: skip
        optimiser.zero_grad()
        (losses["caption"] + losses["concepts"] + 0.5 * losses.get("detector", 0)).backward()
        if args.processes > 1:
            shared.average(rank, step, parameters)
        nn.utils.clip_grad_norm_(parameters, 2.0)
        optimiser.step()
        if rank == 0:
            progress.update(step, losses)
            if step % 200 == 199 or step + 1 == total:
                torch.save({"model": trainer.model.state_dict(), "tower": trainer.tower.state_dict(),
                            "optimiser": optimiser.state_dict(), "step": step + 1},
                           state.with_suffix(".part"))  # fmt: skip
                state.with_suffix(".part").rename(state)
                write(args.out, trainer)


class Progress:
    """Running means of the losses and the time left, on one line."""

    def __init__(self, first: int, steps: int) -> None:
        self.first, self.steps, self.start = first, steps, time.time()
        self.means: dict[str, float] = {}

    def update(self, step: int, losses: dict[str, Tensor]) -> None:
        for name, loss in losses.items():
            self.means[name] = 0.95 * self.means.get(name, loss.item()) + 0.05 * loss.item()
        if step % 20 != 19 and step + 1 != self.steps:
            return
        shown = " ".join(f"{name} {mean:.3f}" for name, mean in self.means.items())
        left = (time.time() - self.start) / (step + 1 - self.first) * (self.steps - step - 1)
        end = "\n" if step + 1 == self.steps else ""
        print(f"\r{step + 1}/{self.steps} {shown}, {left / 60:.1f} min left ", end=end, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/demo"))
    parser.add_argument("--scenes", type=int, default=60000)
    parser.add_argument("--steps", type=int, default=8500)
    parser.add_argument("--finish", type=int, default=3600, help="steps after --steps")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2,
                        help="that share each batch; another number trains another model")  # fmt: skip
    train(parser.parse_args())


if __name__ == "__main__":
    main()
