"""Cycle counts of the NEON kernels on 64-bit ARM cores, without such a core: llvm-mca on inner loops.

    python bench/arm64_cycles.py [--cpu cortex-a76 neoverse-n1] [--isa neon neondot]
        [--compiler aarch64-linux-gnu-g++] [--llvm-mca llvm-mca-19]
        [--profile PROFILE.json --cores 4 --ghz 2.6 --gb-s 14]

Compiles kernels/simd/table.cc as the build does for each of ARM's rows of kernels/isa.def, finds the
innermost loops with vector multiply-adds and has llvm-mca count their cycles. The bound is what the core
allows in llvm-mca's own view, from a loop of such multiply-adds and nothing else: fmla for floats, sdot
(or usdot) for bytes, and without dot products smull, smull2, addp and sadalp, four instructions for 16.
With --profile, which `lightcap bench --profile --json` writes on any machine, it adds up a caption's time
for each row of isa.def: for each layer the longer of its multiply-adds, at the cycles found for the
tallest tile of its kind, and its bytes at the memory's rate. An int8 model's linear layers multiply
twice, the high bytes and the low ones. The rest, as a tile's epilogue, is not counted.

Needs a cross compiler, llvm-mca and xsimd's headers (Debian: crossbuild-essential-arm64, llvm-19,
libxsimd-dev). The Cortex-A76 issues two multiply-adds a cycle, of four floats or sixteen bytes. LLVM 19
knows that of the Neoverse N1, whose pipes are the same; the A76 itself, and with older LLVMs both, it
describes by the Cortex-A57's schedule, which has one of floats: take the N1's row for the A76's. So it is
with the Cortex-X1 and the Neoverse V1, which issue four, and with the Cortex-X3 and the Neoverse V2.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MIN_PRODUCTS = 4  # instructions of a loop worth a look
FEATURES = "+dotprod,+i8mm"  # that llvm-mca may meet


@dataclass(frozen=True)
class Product:
    """A way to multiply and add: its instructions, what each multiplies, a stream of nothing else."""

    name: str
    pattern: str
    macs: int
    stream: tuple[str, ...]


def _long_products() -> tuple[str, ...]:
    """Six sums of 16 products each."""
    lines = []
    for i in range(6):
        lines += [f"smull v{i}.8h, v31.8b, v30.8b", f"smull2 v{i + 6}.8h, v31.16b, v30.16b"]
        lines += [f"addp v{i}.8h, v{i}.8h, v{i + 6}.8h", f"sadalp v{i + 12}.4s, v{i}.8h"]
    return tuple(lines)


def _stream(form: str) -> tuple[str, ...]:
    return tuple(form.format(i) for i in range(24))


PRODUCTS = (
    Product("fmla", r"fml[as]\s+v", 4, _stream("fmla v{}.4s, v31.4s, v30.4s")),
    Product("smull", r"smull2?\s+v", 8, _long_products()),
    Product("sdot", r"(?:s|us|su)dot\s+v", 16, _stream("sdot v{}.4s, v31.16b, v30.16b")),
    Product("smmla", r"(?:s|us)mmla\s+v", 32, _stream("smmla v{}.4s, v31.16b, v30.16b")),
)


@dataclass
class Loop:
    function: str
    body: list[str]

    def count(self, product: Product) -> int:
        return sum(bool(re.match(product.pattern, line)) for line in self.body)

    @property
    def product(self) -> Product:
        return max(PRODUCTS, key=lambda product: product.macs * self.count(product))

    @property
    def macs(self) -> int:
        return self.product.macs * self.count(self.product)

    @property
    def calls(self) -> int:
        return sum(bool(re.match(r"blr?\s", line)) for line in self.body)


@dataclass
class Row:
    """A row of isa.def."""

    name: str
    arch: str
    flags: list[str]
    kernels: str


def rows() -> list[Row]:
    pattern = r'^LIGHTCAP_ISA\((\w+), aarch64, \w+, -?\d+, ([^,]+), [^,]+, "([^"]*)", ([\w, ]+)\)$'
    text = (ROOT / "kernels/isa.def").read_text()
    return [
        Row(name, arch, flags.split(), kernels)
        for name, arch, flags, kernels in re.findall(pattern, text, re.MULTILINE)
    ]


def assembly(row: Row, compiler: str, headers: Path) -> str:
    """The row's unit as the release build compiles it. Only xsimd is taken of the host's headers."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "xsimd").symlink_to(headers / "xsimd")
        flags = ["-std=c++20", "-O3", "-DNDEBUG", "-fno-schedule-insns", "-fPIC", "-fvisibility=hidden"]
        command = [compiler, *flags, *row.flags, "-S", f"-I{ROOT}", f"-I{folder}",
                   f"-DLIGHTCAP_ISA_NAME={row.name}", f"-DLIGHTCAP_ISA_ARCH={row.arch}",
                   f'-DLIGHTCAP_ISA_PRIMITIVES="kernels/simd/{row.name}.inl"',
                   f'-DLIGHTCAP_ISA_KERNELS="{row.kernels}"',
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
        elif line and not line.startswith((".", "#")):
            lines.append(line)
            target = re.match(r"(?:b\.\w+|b\w{2}|cbn?z|tbn?z)\s.*?(\.L\w+)$", line)
            if target and target[1] in labels:
                loops.append(Loop(function, lines[labels[target[1]] :]))
                # A loop around this one is not innermost.
                labels = {name: at for name, at in labels.items() if at > labels[target[1]]}
    return [loop for loop in loops if loop.count(loop.product) >= MIN_PRODUCTS]


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
    # LLVM takes no negative bytes, as GCC writes them.
    text = re.sub(r"\b0xf{14}(?=[0-9a-f]{2}\b)", "0x", "\n".join(body))
    text = re.sub(r"\.L\w+", "0", text)
    command = [llvm_mca, "-mtriple=aarch64-linux-gnu", f"-mcpu={cpu}", f"-mattr={FEATURES}"]
    command += ["-iterations=100", "--json"]
    done = subprocess.run(command, input=text, check=True, capture_output=True, text=True)
    report = json.loads(done.stdout[done.stdout.index("{") :])
    regions = report.get("CodeRegions", [report])
    return regions[0]["SummaryView"]["TotalCycles"] / 100


@cache
def bound(product: Product, cpu: str, llvm_mca: str) -> float:
    """Multiply-adds a cycle."""
    macs = product.macs * sum(bool(re.match(product.pattern, line)) for line in product.stream)
    return macs / cycles(list(product.stream), cpu, llvm_mca)


def kind_of(name: str) -> str:
    """The kind of product whose tile over dense rows a function is, or nothing."""
    match = re.match(r"compute_tile<(Float|Integer|Wide)Product(<float>)?, DenseRows", name)
    return match[1].lower() if match else ""


Rates = dict[str, dict[str, float]]  # [kind][CPU]: multiply-adds a cycle


def report_row(row: Row, options: argparse.Namespace) -> Rates:
    """Prints a line for each loop; returns the rates of the tallest tiles."""
    loops = innermost_loops(assembly(row, options.compiler, options.headers))
    names = demangled([loop.function for loop in loops])
    tallest: dict[str, int] = {}
    rates: Rates = {}
    for loop, name in sorted(zip(loops, names), key=lambda pair: (pair[1], -pair[0].macs)):
        found = {cpu: cycles(loop.body, cpu, options.llvm_mca) for cpu in options.cpu}
        reached = {cpu: loop.macs / n for cpu, n in found.items()}
        cells = [
            f"{found[cpu]:.1f} ({100 * reached[cpu] / bound(loop.product, cpu, options.llvm_mca):.0f} %)"
            for cpu in options.cpu
        ]
        # llvm-mca takes a call for one instruction: what is called, and spilled around it, comes on top.
        calls = f", {loop.calls} calls" if loop.calls else ""
        count = f"{loop.count(loop.product)} {loop.product.name}"
        print(f"| {row.name} | {name}{calls} | {len(loop.body)} | {count} | {' | '.join(cells)} |")
        kind = kind_of(name)
        if kind and loop.macs >= tallest.get(kind, 0):
            tallest[kind], rates[kind] = loop.macs, reached
    return rates


def kind_of_layer(kernel: str) -> str:
    name = kernel.partition("_")[0]
    return name if name in ("integer", "wide") else "float"


def predict(profile: dict, rates: dict[str, float], options: argparse.Namespace) -> dict[str, float]:
    """Milliseconds of a caption by stage, and in total; `rates` by kind, a cycle and core."""
    times: dict[str, float] = {}
    for layer in profile["layers"]:
        kind = kind_of_layer(layer["kernel"])
        macs = layer["flops"] / 2 * (2 if kind == "wide" else 1)
        rate = options.cores * options.ghz * 1e9 * rates[kind]
        seconds = max(macs / rate, layer["bytes"] / (options.gb_s * 1e9))
        times[layer["stage"]] = times.get(layer["stage"], 0) + 1e3 * seconds * layer["calls"]
    return times | {"caption": sum(times.values())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cpu", nargs="+", default=["cortex-a76", "neoverse-n1", "neoverse-v1"])
    parser.add_argument("--isa", nargs="+", help="rows of isa.def, the first `neon` [all of ARM's]")
    parser.add_argument("--compiler", default="aarch64-linux-gnu-g++")
    parser.add_argument("--llvm-mca", default=newest_llvm_mca())
    parser.add_argument("--headers", type=Path, default=Path("/usr/include"), help="that hold xsimd/")
    parser.add_argument("--profile", type=Path)
    parser.add_argument("--cores", type=int, default=4)
    parser.add_argument("--ghz", type=float, default=2.6)
    parser.add_argument("--gb-s", type=float, default=14, help="what the cores get of the memory's rate")
    options = parser.parse_args()
    chosen = [row for row in rows() if not options.isa or row.name in options.isa]
    print("| row | loop | instructions | products | cycles (of the bound): " + " | ".join(options.cpu) + " |")
    print("|---|---|" + "---:|" * (2 + len(options.cpu)))
    rates: dict[str, Rates] = {}
    inherited: Rates = {}
    for row in chosen:
        # A row takes the kernels that it does not compile from the one before.
        inherited = rates[row.name] = inherited | report_row(row, options)
    print("\n| bound, multiply-adds a cycle | " + " | ".join(options.cpu) + " |")
    print("|---|" + "---:|" * len(options.cpu))
    for product in PRODUCTS:
        cells = [f"{bound(product, cpu, options.llvm_mca):.1f}" for cpu in options.cpu]
        print(f"| {product.name} | {' | '.join(cells)} |")
    if not options.profile:
        return
    profile = json.loads(options.profile.read_text())
    print()
    for name, kinds in rates.items():
        for cpu in options.cpu:
            times = predict(profile, {kind: found[cpu] for kind, found in kinds.items()}, options)
            shown = ", ".join(f"{stage} {ms:.1f}" for stage, ms in times.items())
            where = f"{options.cores} x {cpu} at {options.ghz} GHz, {options.gb_s} GB/s, {name}"
            print(f"{where}: {shown} ms")


if __name__ == "__main__":
    main()
