"""Holds every #include of the project against the table of layers in HACKING.md.

    python tests/layers_test.py [--sees FOLDER=INCLUDE-FOLDER:...]...

A row of the table is a folder, with those below it that have no row of their own, and the folders that its
files may include beside their own. The build enforces the same for whole layers: each compiles with an include
root that holds its own folders and those of the layers below (`lightcap_own_folders` in cmake/targets.cmake).
`--sees` names the include folders that a layer's target has, which must show it nothing from above.
"""

from __future__ import annotations

import re
import subprocess
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("*.c", "*.cc", "*.h", "*.hpp", "*.inl", "*.def")
PUBLIC = {"lightcap.h": "api", "lightcap.hpp": "api"}  # what hosts include under these names
HEADER = re.compile(r"\| *folder *\| *may include *\|")
INCLUDE = re.compile(r"""\s*#\s*include\s*([<"])([^>"]+)[>"]""")


class Layers:
    def __init__(self, text: str):
        """The table in HACKING.md's text: {folder: folders it may include}, in the table's order."""
        lines = text.splitlines()
        start = next((i for i, line in enumerate(lines) if HEADER.match(line)), None)
        if start is None:
            raise ValueError("HACKING.md: there is no table with the columns folder and may include")
        self.may_include: dict[str, set[str]] = {}
        for line in lines[start + 2 :]:
            if not line.startswith("|"):
                break
            folder, allowed = line.strip("|").split("|")[:2]
            [name] = re.findall(r"`([^`]+)/`", folder)
            names = re.findall(r"`([^`]+)/`", allowed)
            self.may_include[name] = set(names)
            if "everything" in allowed:
                self.may_include[name] = {"everything"}
        for row, allowed in self.may_include.items():
            for name in allowed - {"everything"}:
                if not self.covered(name):
                    raise ValueError(f"HACKING.md: {row}/ may include {name}/, which has no row")

    def covered(self, name: str) -> set[str]:
        """The rows that a name in the second column means: its own, else all of the folders below."""
        if name in self.may_include:
            return {name}
        return {row for row in self.may_include if row.startswith(name + "/")}

    def row_of(self, path: str) -> str | None:
        """The row that a file belongs to: the longest that is a folder above it."""
        rows = [row for row in self.may_include if path.startswith(row + "/")]
        return max(rows, key=len, default=None)

    def allows(self, row: str, other: str) -> bool:
        allowed = self.may_include[row]
        return row == other or "everything" in allowed or any(other in self.covered(name) for name in allowed)

    def below(self, row: str) -> set[str]:
        """The rows that a row reaches through what it includes, and itself."""
        reached, new = set(), {row}
        while new:
            reached |= new
            new = {other for one in new for other in self.may_include if self.allows(one, other)} - reached
        return reached

    def cycle(self) -> list[str]:
        """Rows that include each other in a circle, or none."""
        state: dict[str, int] = {}

        def visit(row: str, path: list[str]) -> list[str]:
            state[row] = 1
            for other in self.may_include:
                if other == row or not self.allows(row, other):
                    continue
                if state.get(other) == 1:
                    return [*path, row, other]
                if other not in state and (found := visit(other, [*path, row])):
                    return found
            state[row] = 2
            return []

        return next((found for row in self.may_include if row not in state and (found := visit(row, []))), [])

    def complaint(self, path: str, line: str) -> str | None:
        """The complaint about a line of the file `path`, if there is one."""
        match = INCLUDE.match(line)
        if match is None:
            return None
        quote, name = match.groups()
        row = self.row_of(path)
        if row is None:
            return "the file's folder has no row in HACKING.md's table of layers"
        if name in PUBLIC:
            other = PUBLIC[name]
        elif self.row_of(name) is not None:
            other = self.row_of(name)
        elif quote == '"':
            return f'includes "{name}", which is not spelled from the root of the project'
        else:
            return None  # the system's, or a package's
        if self.allows(row, other):
            return None
        allowed = ", ".join(f"{name}/" for name in sorted(self.may_include[row])) or "nothing else"
        return f"{row}/ may not include {name} of {other}/ (HACKING.md allows {allowed})"


def sources(root: Path) -> list[str]:
    """Paths of all C and C++ files, as git lists them, else all of the folders that have rows."""
    listed = subprocess.run(["git", "-C", root, "ls-files", "--cached", "--others", "--exclude-standard", *SOURCES],
                            capture_output=True, text=True, check=False)  # fmt: skip
    if listed.returncode == 0 and listed.stdout:
        return [path for path in listed.stdout.splitlines() if (root / path).is_file()]
    tops = {row.split("/")[0] for row in Layers((root / "HACKING.md").read_text()).may_include}
    found = (path for top in tops for pattern in SOURCES for path in (root / top).rglob(pattern))
    return sorted(path.relative_to(root).as_posix() for path in found)


class LayersTest(unittest.TestCase):
    sees: list[tuple[str, list[Path]]] = []

    def setUp(self) -> None:
        self.layers = Layers((ROOT / "HACKING.md").read_text())

    def test_no_file_includes_what_its_layer_may_not(self) -> None:
        complaints, seen, rows = [], 0, set()
        for path in sources(ROOT):
            for number, line in enumerate((ROOT / path).read_text().splitlines(), 1):
                seen += INCLUDE.match(line) is not None
                if complaint := self.layers.complaint(path, line):
                    complaints.append(f"{path}:{number}: {complaint}")
            rows.add(self.layers.row_of(path))
        self.assertEqual(complaints, [], "\n" + "\n".join(complaints))
        # A check that sees nothing would always pass.
        self.assertGreater(seen, 500)
        self.assertEqual(set(self.layers.may_include) - rows, set(), "rows of the table without files")

    def test_targets_see_nothing_that_is_above_them(self) -> None:
        for folder, include_folders in self.sees:
            below = {reached for row in self.layers.covered(folder) for reached in self.layers.below(row)}
            self.assertTrue(below and include_folders, folder)
            for row in self.layers.may_include:
                if any(row.startswith(one + "/") for one in {folder, *below}):
                    continue  # a folder is seen as a whole
                seen = [str(path) for path in include_folders if any((path / row).glob("*.*"))]
                if row not in below:
                    self.assertEqual(seen, [], f"{folder}/ can include what is in {row}/")
                elif row in self.layers.covered(folder):
                    self.assertNotEqual(seen, [], f"{folder}/ cannot include its own {row}/")

    def test_the_tables_arrows_make_no_circle(self) -> None:
        self.assertEqual(self.layers.cycle(), [])

    def test_every_edge_that_the_table_lacks_is_refused(self) -> None:
        refused = 0
        for row in self.layers.may_include:
            for other in self.layers.may_include:
                complaint = self.layers.complaint(f"{row}/file.cc", f'#include "{other}/header.h"')
                self.assertEqual(complaint is None, self.layers.allows(row, other), (row, other))
                refused += complaint is not None
        self.assertGreater(refused, len(self.layers.may_include))

    def test_layers_do_not_include_what_is_above_them(self) -> None:
        for path, line in (
            ("kernels/pack.cc", '#include "engine/runtime/arena.h"'),
            ("kernels/simd/gemm.inl", '#  include <engine/runtime/arena.h>'),
            ("kernels/dispatch.cc", '#include "kernels/reference/reference.h"'),
            ("engine/runtime/winograd.cc", '#include "engine/io/weights_file.h"'),
            ("engine/io/file.cc", '#include "models/config.h"'),
            ("models/weights.cc", '#include "api/log_target.h"'),
            ("models/weights.cc", '#include "lightcap.h"'),
            ("api/c_api.cc", '#include "cli/cli.h"'),
            ("weights_converter/main.cc", "#include <lightcap.h>"),
            ("cli/main.cc", '#include "tests/kernels/kernel_case.h"'),
            ("engine/io/file.cc", '#include "limits.h"'),
            ("engine/io/file.cc", '#include "../../models/config.h"'),
            ("new_folder/file.cc", '#include "engine/io/file.h"'),
        ):
            self.assertIsNotNone(self.layers.complaint(path, line), (path, line))


if __name__ == "__main__":
    while "--sees" in sys.argv:
        at = sys.argv.index("--sees")
        argument = sys.argv[at + 1]
        del sys.argv[at : at + 2]
        folder, paths = argument.split("=", 1)
        LayersTest.sees = [*LayersTest.sees, (folder, [Path(path) for path in paths.split(":") if path])]
    unittest.main()
