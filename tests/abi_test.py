"""The binary interface of lightcap.h: layouts, numbers, functions and symbols, against the dumps in tests/abi.

    python tests/abi_test.py --cc cc --nm nm --library liblightcap.a|.so --build FOLDER [--update]

A dump has a line for each size, offset, enumerator and function of the header, as a compiler sees them on a
64-bit machine. The newest dump has to be the header's own; `--update` writes it, and the change shows in the
commit. Older dumps are what programs out there were compiled with: what they say has to hold still, but for
structs that say their size or how far apart they are, which may be larger. They grow behind the end of the
older struct, its padding included: an older program left that as chance would have it.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
HEADER = HERE.parent / "api/lightcap.h"
DUMPS = sorted((HERE / "abi").glob("*.txt"), key=lambda path: [int(part) for part in path.stem.split(".")])


class Header:
    """The declarations of lightcap.h, by a small parser of its own style."""

    def __init__(self, path: Path):
        text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
        lines = [line for line in re.sub(r"\\\n", " ", text).splitlines() if not line.startswith("#")]
        text = " ".join(" ".join(lines).split())
        self.structs = {}
        for name, body in re.findall(r"typedef struct (\w+) \{(.*?)\} \1;", text):
            fields = [self.names(part) for part in self.split(body, ";")]
            self.structs[name] = [field for group in fields for field in group]
        self.enumerators = []
        for body in re.findall(r"typedef enum \w+ \{(.*?)\}", text):
            self.enumerators += re.findall(r"\b(LIGHTCAP_\w+)\b", body)
        self.types = re.findall(r"typedef (?!struct|enum)[^;]+;", text)
        self.handles = re.findall(r"typedef struct (\w+) \1;", text)
        self.functions = re.findall(r"LIGHTCAP_API ([^;]+);", text)

    @staticmethod
    def split(text: str, separator: str) -> list[str]:
        """At separators that stand in no parentheses."""
        parts, depth = [""], 0
        for c in text:
            depth += (c == "(") - (c == ")")
            if c == separator and depth == 0:
                parts.append("")
            else:
                parts[-1] += c
        return [part.strip() for part in parts if part.strip()]

    @classmethod
    def names(cls, declaration: str) -> list[str]:
        """`double a, b` and `void (*f)(int)` and `float box[4]`: the fields' names."""
        if pointer := re.match(r"[^(]*\(\*(\w+)\)", declaration):
            return [pointer[1]]
        return [re.search(r"(\w+)(\[\w+\])*$", part)[1] for part in cls.split(declaration, ",")]

    def program(self) -> str:
        lines = ["#include <lightcap.h>", "#include <stdio.h>", "int main(void) {"]
        for name, fields in self.structs.items():
            lines.append(f'  printf("size {name} %zu\\n", sizeof({name}));')
            for field in fields:
                lines.append(f'  printf("field {name}.{field} at %zu, %zu bytes\\n", offsetof({name}, {field}), '
                             f"sizeof((({name}*)0)->{field}));")  # fmt: skip
        lines += [f'  printf("value {name} %d\\n", (int){name});' for name in self.enumerators]
        return "\n".join([*lines, "  return 0;", "}", ""])

    def function_names(self) -> set[str]:
        return {re.search(r"(\w+)\(", function)[1] for function in self.functions}


def run(*command: object) -> str:
    return subprocess.run([str(part) for part in command], text=True, check=True, stdout=subprocess.PIPE).stdout


def dump(header: Header, cc: str, build: Path) -> list[str]:
    build.mkdir(parents=True, exist_ok=True)
    (build / "layouts.c").write_text(header.program())
    run(cc, "-std=c99", "-Wall", "-Werror", f"-I{HEADER.parent}", build / "layouts.c", "-o", build / "layouts")
    lines = run(build / "layouts").splitlines()
    lines += [f"handle {name}" for name in header.handles]
    lines += [f"type {text}" for text in header.types]
    return lines + sorted(f"function {text}" for text in header.functions)


def broken(old: list[str], new: list[str]) -> list[str]:
    """Lines that an older program relies on and that do not hold."""
    sizes = {line.split()[1]: int(line.split()[2]) for line in old if line.startswith("size ")}
    missing = [line for line in old if line not in new and not line.startswith("size ")]
    growing = {name for name in sizes if any(re.match(rf"field {name}\.struct_size |field \w+\.{name[9:]}_bytes ", line)
                                             for line in new)}  # fmt: skip
    for name, size in sizes.items():
        now = next((int(line.split()[2]) for line in new if line.startswith(f"size {name} ")), 0)
        if now < size or (now > size and name not in growing):
            missing.append(f"size {name} {size}: it has {now} bytes now")
    for line in new:
        if field := re.match(r"field (\w+)\.\w+ at (\d+)", line):
            if line not in old and int(field[2]) < sizes.get(field[1], 0):
                missing.append(f"{line}: inside of what older programs know")
    return missing


def exported(nm: str, library: Path) -> set[str]:
    """The symbols of a library that C could call, by its dynamic table where it is a shared one."""
    options = ["-D"] if ".so" in library.name else ["-g"]
    listed = run(nm, *options, "--defined-only", library)
    return {name for name in re.findall(r"^[0-9a-f]+ [A-Z] (\w+)$", listed, re.M) if not name.startswith("_")}


def check_the_checks() -> None:
    """A comparison that sees nothing would always pass."""
    old = ["size lightcap_s 16", "field lightcap_s.struct_size at 0, 8 bytes", "value V 1", "function int f(void)"]
    longer = [*old[1:], "size lightcap_s 24", "field lightcap_s.b at 16, 8 bytes"]
    assert broken(old, old) == [] and broken(old, longer) == []
    assert broken([line.replace("struct_size", "a") for line in old], [line.replace("struct_size", "a") for line in longer])
    assert broken(longer, old)
    assert broken(old, [*old, "field lightcap_s.b at 12, 4 bytes"])
    assert broken(old, [old[0], "field lightcap_s.struct_size at 8, 8 bytes", *old[2:]])
    assert broken(old, old[:-1]) and broken(old, [*old[:2], "value V 2", old[3]])
    assert Header.names("int (*on_token)(void*, uint32_t)") == ["on_token"]
    assert Header.names("double a, b") == ["a", "b"] and Header.names("const char* x[3]") == ["x"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cc", required=True)
    parser.add_argument("--nm", required=True)
    parser.add_argument("--library", type=Path, required=True)
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--update", action="store_true")
    arguments = parser.parse_args()
    check_the_checks()
    header = Header(HEADER)
    now = dump(header, arguments.cc, arguments.build)
    assert "size lightcap_result" in " ".join(now) and len(header.functions) >= 18, now
    failures = []
    if arguments.update:
        DUMPS[-1].write_text("\n".join(now) + "\n")
    newest = DUMPS[-1].read_text().splitlines()
    failures += [f"not in {DUMPS[-1].name}: {line}" for line in now if line not in newest]
    failures += [f"only in {DUMPS[-1].name}: {line}" for line in newest if line not in now]
    for path in DUMPS[:-1]:
        failures += [f"{path.name}: {line}" for line in broken(path.read_text().splitlines(), now)]
    symbols = exported(arguments.nm, arguments.library)
    if ".so" in arguments.library.name:
        failures += [f"exported, and not in the header: {name}" for name in symbols - header.function_names()]
    failures += [f"in the header, and not in the library: {name}" for name in header.function_names() - symbols]
    for failure in failures:
        print(failure)
    if failures:
        print("If that is meant, run this test with --update, and see docs/abi.md for what may change.")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
