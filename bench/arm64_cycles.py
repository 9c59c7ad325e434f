"""Cycle counts of the NEON kernels on 64-bit ARM cores, without such a core: llvm-mca on inner loops.

    python bench/arm64_cycles.py [--cpu cortex-a76 neoverse-n1] [--compiler aarch64-linux-gnu-g++]
        [--llvm-mca llvm-mca-19] [--profile PROFILE.json --cores 4 --ghz 2.6 --gb-s 14]

Compiles kernels/simd/table.cc as the build does, finds the innermost loops with vector multiply-adds and
has llvm-mca count their cycles. The bound is what the core's FMA pipes allow in llvm-mca's own view,
from a loop of nothing else. With --profile, which `lightcap bench --profile --json` writes on any
machine, it adds up a caption's time: for each layer the longer of its multiply-adds, at the cycles found
for GEMM's tallest tile, and its bytes at the memory's rate.

Needs a cross compiler, llvm-mca and xsimd's headers (Debian: crossbuild-essential-arm64, llvm-19,
libxsimd-dev). Both cores issue two multiply-adds of four floats a cycle. LLVM 19 knows that of the
Neoverse N1; the Cortex-A76, whose pipes are the same, and with older LLVMs both, it describes by the
Cortex-A57's schedule, which has one a cycle: take the N1's row for the A76's.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLOATS_A_FMA = 4
MIN_FMAS = 4  # of a loop worth a look


@dataclass
class Loop:
    function: str
    body: list[str]

    @property
    def fmas(self) -> int:
        return sum(bool(re.match(r"fml[as]\s+v", line)) for line in self.body)

    @property
    def calls(self) -> int:
        return sum(bool(re.match(r"blr?\s", line)) for line in self.body)


def assembly(compiler: str, headers: Path) -> str:
    """The NEON unit as the release build compiles it. Only xsimd is taken of the host's headers."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "xsimd").symlink_to(headers / "xsimd")
        flags = ["-std=c++20", "-O3", "-DNDEBUG", "-fno-schedule-insns", "-fPIC", "-fvisibility=hidden"]
        command = [compiler, *flags, "-S", f"-I{ROOT}", f"-I{folder}",
                   "-DLIGHTCAP_ISA_NAME=neon", "-DLIGHTCAP_ISA_ARCH=xsimd::neon64",
                   str(ROOT / "kernels/simd/table.cc"), "-o", "-"]  # fmt: skip
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def innermost_loops(text: str) -> list[Loop]:
    """Stretches from a label to a branch back to it, with no other branch back between."""
    loops, function, lines, labels = [], "", [], {}
    for line in (line.split("//")[0].strip() for line in text.splitlines()):
        if match := re.match(r"(\.?\w+):$", line):
            if match[1].startswith(".L"):
                labels[match[1]] = len(lines)
            else:
                function, lines, labels = match[1], [], {}
        elif line and not line.startswith("."):
            lines.append(line)
            target = re.match(r"(?:b\.\w+|b\w{2}|cbn?z|tbn?z)\s.*?(\.L\w+)$", line)
            if target and target[1] in labels:
                loops.append(Loop(function, lines[labels[target[1]] :]))
                # A loop around this one is not innermost.
                labels = {name: at for name, at in labels.items() if at > labels[target[1]]}
    return [loop for loop in loops if loop.fmas >= MIN_FMAS]


def demangled(names: list[str]) -> list[str]:
    done = subprocess.run(["c++filt"], input="\n".join(names), check=True, capture_output=True, text=True)
    noise = re.compile(r"\(anonymous namespace\)::|lightcap::(?:internal::)?|^void |(?<=\d)ul")
    # Without arguments; an enum's value in a template's keeps its parentheses.
    return [re.sub(r"\((?!\w*\)\d).*", "", noise.sub("", line)) for line in done.stdout.splitlines()]


def newest_llvm_mca() -> str:
    versions = (f"llvm-mca-{version}" for version in range(30, 18, -1))
    return next(filter(shutil.which, versions), "llvm-mca")


def cycles(body: list[str], cpu: str, llvm_mca: str) -> float:
    """Cycles of one pass through the loop, from a hundred of them."""
    body = "\n".join(re.sub(r"\.L\w+", "0", line) for line in body)
    command = [llvm_mca, "-mtriple=aarch64-linux-gnu", f"-mcpu={cpu}", "-iterations=100", "--json"]
    done = subprocess.run(command, input=body, check=True, capture_output=True, text=True)
    report = json.loads(done.stdout[done.stdout.index("{") :])
    regions = report.get("CodeRegions", [report])
    return regions[0]["SummaryView"]["TotalCycles"] / 100


def fmas_a_cycle(cpu: str, llvm_mca: str) -> float:
    independent = [f"fmla v{i}.4s, v31.4s, v30.4s" for i in range(24)]
    return round(len(independent) / cycles(independent, cpu, llvm_mca))


def predict(profile: dict, fma_rate: float, cores: int, ghz: float, gb_s: float) -> dict[str, float]:
    """Milliseconds of a caption by stage, and in total; `fma_rate` a cycle and core."""
    flops_a_second = cores * ghz * 1e9 * fma_rate * FLOATS_A_FMA * 2
    winograd = {"winograd2": 16 / (4 * 9), "winograd4": 36 / (16 * 9)}  # of the direct products
    times: dict[str, float] = {}
    for layer in profile["layers"]:
        flops = layer["flops"] * winograd.get(layer["kernel"].removesuffix("+pool"), 1)
        seconds = max(flops / flops_a_second, layer["bytes"] / (gb_s * 1e9))
        times[layer["stage"]] = times.get(layer["stage"], 0) + 1e3 * seconds * layer["calls"]
    return times | {"caption": sum(times.values())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cpu", nargs="+", default=["cortex-a76", "neoverse-n1"])
    parser.add_argument("--compiler", default="aarch64-linux-gnu-g++")
    parser.add_argument("--llvm-mca", default=newest_llvm_mca())
    parser.add_argument("--headers", type=Path, default=Path("/usr/include"), help="that hold xsimd/")
    parser.add_argument("--profile", type=Path)
    parser.add_argument("--cores", type=int, default=4)
    parser.add_argument("--ghz", type=float, default=2.6)
    parser.add_argument("--gb-s", type=float, default=14, help="what the cores get of the memory's rate")
    options = parser.parse_args()
    loops = innermost_loops(assembly(options.compiler, options.headers))
    names = demangled([loop.function for loop in loops])
    rates = {cpu: fmas_a_cycle(cpu, options.llvm_mca) for cpu in options.cpu}
    columns = [f"{cpu}, {rate} FMAs a cycle" for cpu, rate in rates.items()]
    print("| loop | instructions | FMAs | cycles (of the bound): " + " | ".join(columns) + " |")
    print("|---|" + "---:|" * (2 + len(columns)))
    most = max(loop.fmas for loop, name in zip(loops, names) if name.startswith("tile<GemmRuns"))
    reached: dict[str, float] = {}
    for loop, name in sorted(zip(loops, names), key=lambda pair: (pair[1], -pair[0].fmas)):
        found = {cpu: cycles(loop.body, cpu, options.llvm_mca) for cpu in options.cpu}
        cells = [f"{n:.1f} ({100 * loop.fmas / rates[cpu] / n:.0f} %)" for cpu, n in found.items()]
        # llvm-mca takes a call for one instruction: what is called, and spilled around it, comes on top.
        if loop.calls:
            name += f", {loop.calls} calls"
        print(f"| {name} | {len(loop.body)} | {loop.fmas} | {' | '.join(cells)} |")
        if name.startswith("tile<GemmRuns") and loop.fmas == most:
            reached = {cpu: loop.fmas / n for cpu, n in found.items()}
    if options.profile:
        profile = json.loads(options.profile.read_text())
        for cpu, rate in reached.items():
            times = predict(profile, rate, options.cores, options.ghz, options.gb_s)
            shown = ", ".join(f"{stage} {ms:.1f}" for stage, ms in times.items())
            print(f"\n{options.cores} x {cpu} at {options.ghz} GHz, {options.gb_s} GB/s: {shown} ms")


if __name__ == "__main__":
    main()
