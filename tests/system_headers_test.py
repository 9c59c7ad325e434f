"""Only engine/platform/*.cc may include a system's headers: a port begins and ends there.

Usage: system_headers_test.py    (standard library only)

Everything else includes files of the project, headers of the C++ standard library and of the compiler, and
those of the libraries it is built with. <csignal> and <ctime> are not on the list: what they declare differs
from system to system.
"""

import re
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ["api", "bench", "cli", "engine", "kernels", "models", "weights_converter"]
ENDINGS = {".c", ".cc", ".h", ".hpp", ".inl", ".def"}

STANDARD = set("""
    algorithm any array atomic barrier bit bitset charconv chrono codecvt compare complex concepts
    condition_variable coroutine deque exception execution filesystem format forward_list fstream functional
    future initializer_list iomanip ios iosfwd iostream istream iterator latch limits list locale map memory
    memory_resource mutex new numbers numeric optional ostream queue random ranges ratio regex scoped_allocator
    semaphore set shared_mutex source_location span sstream stack stdexcept stop_token streambuf string
    string_view syncstream system_error thread tuple type_traits typeindex typeinfo unordered_map unordered_set
    utility valarray variant vector version
    cassert cctype cerrno cfenv cfloat cinttypes climits cmath csetjmp cstdarg cstddef cstdint cstdio cstdlib cstring
    cwchar cwctype cuchar
    stddef.h stdint.h
    """.split())
COMPILERS = {"immintrin.h", "arm_neon.h", "cpuid.h"}
LIBRARIES = {"CLI/CLI.hpp", "benchmark/benchmark.h", "jerror.h", "jpeglib.h", "nlohmann/json.hpp", "nlohmann/json_fwd.hpp", "stb_image.h",
             "stb_image_write.h", "stb_easy_font.h", "valgrind/callgrind.h", "xsimd/xsimd.hpp"}
ALLOWED = STANDARD | COMPILERS | LIBRARIES
# kernels/simd/NAME.inl, by the row of kernels/isa.def that a unit is compiled for.
MACROS = {"LIGHTCAP_ISA_PRIMITIVES"}

DIRECTIVE = re.compile(r"\s*#\s*(?:include|include_next|import)\b\s*(.*)")
NAMED = re.compile(r'<([^>]+)>|"([^"]+)"')


def is_platform(path):
    """The files that may include anything. Its header may not: everyone else includes that."""
    return path.parts[:2] == ("engine", "platform") and path.suffix == ".cc"


def violations(root):
    """"file:line: header" for each include that is not allowed."""
    found = []
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in ENDINGS or is_platform(path.relative_to(root)):
                continue
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if not (directive := DIRECTIVE.match(line)):
                    continue
                if directive[1].strip() in MACROS:
                    continue
                named = NAMED.match(directive[1])
                system, own = named.groups() if named else (None, None)
                if system in ALLOWED:
                    continue
                # A quoted header must lie in the project: the compiler would look for it in the system's folders next.
                if own and any((place / own).is_file() for place in (path.parent, root, root / "api")):
                    continue
                found.append(f"{path.relative_to(root)}:{number}: {directive[1].strip()}")
    return found


class SystemHeaders(unittest.TestCase):
    def test_no_file_but_the_platforms_own_includes_one(self):
        found = violations(ROOT)
        self.assertEqual(found, [], "these belong behind engine/platform/platform.h:\n" + "\n".join(found))

    def test_each_way_to_include_one_is_seen_with_file_and_line(self):
        files = {
            "engine/io/file.cc": "// one line before\n#include <sys/stat.h>\n#include <vector>\n",
            "engine/platform/platform.h": "#include <pthread.h>\n",
            "engine/platform/posix.cc": "#include <unistd.h>\n",
            "cli/main.cc": '#include "unistd.h"\n#include "engine/io/file.cc"\n#include "beside.h"\n',
            "cli/beside.h": "  #  include <windows.h>\n#include <csignal>  // with what POSIX adds\n",
            "models/macro.inl": "#include HEADER\n",
            "tests/test.cc": "#include <unistd.h>\n",
        }
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            for name, text in files.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text, encoding="utf-8")
            self.assertEqual(violations(root), [
                "cli/beside.h:1: <windows.h>",
                "cli/beside.h:2: <csignal>  // with what POSIX adds",
                'cli/main.cc:1: "unistd.h"',
                "engine/io/file.cc:2: <sys/stat.h>",
                "engine/platform/platform.h:1: <pthread.h>",
                "models/macro.inl:1: HEADER",
            ])

    def test_every_folder_of_the_product_is_looked_at(self):
        for folder in FOLDERS:
            self.assertTrue(any(path.suffix in ENDINGS for path in (ROOT / folder).rglob("*")), folder)
        for path in ROOT.glob("*/"):
            if path.name not in [*FOLDERS, "examples", "tests", "docs"] and not path.name.startswith((".", "build")):
                sources = [p for p in path.rglob("*") if p.suffix in ENDINGS]
                self.assertEqual(sources, [], "add the folder to FOLDERS")


if __name__ == "__main__":
    unittest.main()
