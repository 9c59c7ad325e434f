"""Draw a run of the benchmarks: the roofline with a dot a layer, and each stage's time by kernel.

    python bench/plot.py RUN.json --out roofline.png [--isa avx2]

RUN.json is from `bench_kernels --benchmark_out=F` (one core, weights from memory, every distinct shape
once) or from `lightcap bench --profile --json` (all threads, every layer as often as a caption calls
it). Triangles are Winograd's layers, of whose operations the products are counted. Needs matplotlib.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from results import Result, Run, load  # noqa: E402

COLORS = plt.get_cmap("tab10").colors


def main() -> int:
    parser = argparse.ArgumentParser(description="Draw the roofline and the time of each stage")
    parser.add_argument("run", metavar="RUN.json")
    parser.add_argument("--out", required=True, metavar="ROOFLINE.png")
    parser.add_argument("--isa", help="instruction set to draw [the fastest in the run]")
    options = parser.parse_args()
    run = load(options.run)
    isa = options.isa or max(run.peak_flops, key=run.peak_flops.get, default="")
    layers = [r for r in run.results.values() if r.isa == isa and r.stage]
    if not layers or not run.peak_bytes:
        print(f"plot.py: {options.run} has no layers of {isa or 'any instruction set'}", file=sys.stderr)
        return 2

    figure, (roofline, times) = plt.subplots(1, 2, figsize=(15, 6), width_ratios=(3, 2))
    draw_roofline(roofline, layers, run, isa)
    draw_stages(times, layers)
    figure.tight_layout()
    figure.savefig(options.out, dpi=130)
    return 0


def draw_roofline(axes: plt.Axes, layers: list[Result], run: Run, isa: str) -> None:
    computing = [layer for layer in layers if layer.flops]
    intensities = [layer.flops / layer.bytes for layer in computing]
    low, high = min(intensities) / 2, max(intensities) * 2
    peak, bandwidth = run.peak_flops[isa] / 1e9, run.peak_bytes / 1e9
    balance = peak / bandwidth
    corners = sorted({low, min(max(balance, low), high), high})
    axes.plot(corners, [min(peak, x * bandwidth) for x in corners], color="black", zorder=1)
    axes.annotate(f"{peak:.0f} GFLOP/s", (high, peak), ha="right", va="bottom")
    axes.annotate(f"{bandwidth:.0f} GB/s", (low, low * bandwidth), ha="left", va="bottom")
    for color, stage in zip(COLORS, dict.fromkeys(layer.stage for layer in computing)):
        points = [layer for layer in computing if layer.stage == stage]
        for marker, of_winograd in (("o", False), ("^", True)):
            chosen = [p for p in points if p.kernel.startswith("winograd") == of_winograd]
            if not chosen:
                continue
            axes.scatter([p.flops / p.bytes for p in chosen],
                         [p.flops / p.seconds / 1e9 for p in chosen], s=22, alpha=0.75, color=color,
                         marker=marker,
                         label=stage + (" (Winograd)" if of_winograd else ""))  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="FLOP a byte", ylabel="GFLOP/s",
             title=f"Layers under the roof measured in the same run, {isa}")  # fmt: skip
    axes.grid(True, which="both", alpha=0.2)
    axes.legend()


def draw_stages(axes: plt.Axes, layers: list[Result]) -> None:
    """A bar a stage: the milliseconds of its kernels."""
    chosen = without_alternatives(layers)
    stages = list(dict.fromkeys(layer.stage for layer in chosen))
    spent = defaultdict(float)
    for layer in chosen:
        spent[layer.stage, layer.kernel] += layer.seconds * layer.calls * 1e3
    bottom = dict.fromkeys(stages, 0.0)
    for index, kernel in enumerate(dict.fromkeys(layer.kernel for layer in chosen)):
        heights = [spent[stage, kernel] for stage in stages]
        axes.bar(stages, heights, bottom=[bottom[stage] for stage in stages], label=kernel,
                 color=COLORS[index % len(COLORS)])  # fmt: skip
        for stage, height in zip(stages, heights):
            bottom[stage] += height
    axes.set(ylabel="ms", title="Time by stage and kernel")
    axes.tick_params(axis="x", rotation=20)
    axes.legend()


def without_alternatives(layers: list[Result]) -> list[Result]:
    """Without direct convolutions that are there for comparison with Winograd's."""
    filtered = {(r.stage, r.name) for r in layers if r.kernel.startswith("winograd")}
    return [r for r in layers if r.kernel != "conv" or (r.stage, r.name) not in filtered]


if __name__ == "__main__":
    sys.exit(main())
