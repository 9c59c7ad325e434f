"""LightCap inside other projects, built and installed as those would.

    python tests/hosts/hosts_test.py --build FOLDER --lightcap build/release/lightcap [-- CMAKE-OPTION...]

One build of the library serves all cases: ../subdirectory, in which a host sets for all of its code what
LightCap can't be compiled with. It is fetched from a repository that holds the working tree. Options after `--` go
to every configuration (compilers, headers).
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MODEL = ROOT / "models/demo/scenes.lcw"
PICTURE = ROOT / "models/demo/pictures/room.png"
HOSTILE = "-fno-exceptions -fno-rtti -ffast-math -fno-inline -march=native -Werror=old-style-cast -Wall"
# With what these derive from and the baseline, rows of each kind.
INSTRUCTION_SETS = "-DLIGHTCAP_INSTRUCTION_SETS=avx512;avxvnni;neondot"
WARNINGS = "-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror".split()


def run(*command: object, fails: bool = False, **variables: str) -> str:
    """Returns what a command prints. It has to succeed, or with `fails` has to fail."""
    done = subprocess.run([str(part) for part in command], text=True, check=False, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, env={**os.environ, **variables})  # fmt: skip
    if (done.returncode != 0) != fails:
        raise AssertionError(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout[-6000:]}")
    return done.stdout


class Hosts:
    def __init__(self, folder: Path, lightcap: str, options: list[str]):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.folder = folder
        self.options = options
        line = json.loads(run(lightcap, "caption", "--model", MODEL, "--json", PICTURE))
        self.expected = line["caption"], line["score"]
        self.cc = next((o.split("=", 1)[1] for o in options if o.startswith("-DCMAKE_C_COMPILER=")), "cc")
        self.subdirectory = folder / "subdirectory"
        self.source = ROOT

    def cmake(self, source: Path, build: Path, *options: str, fails: bool = False, **variables: str) -> str:
        return run("cmake", "-S", source, "-B", build, *self.options, *options, fails=fails, **variables)

    def build(self, build: Path, *targets: str) -> str:
        return run("cmake", "--build", build, "--parallel", "2", *(["--target", *targets] if targets else []))

    def check_caption(self, app: Path, **variables: str) -> None:
        """The same words and the same bits as the program says."""
        words, score = run(app, MODEL, PICTURE, **variables).strip().rsplit(" ", 1)
        assert (words, float.fromhex(score)) == self.expected, (words, score, self.expected)

    def build_subdirectory(self, *options: str, languages: str = "C;CXX") -> None:
        self.cmake(HERE / "subdirectory", self.subdirectory, "-DREPOSITORY=", f"-DLIGHTCAP_SOURCE_DIR={self.source}",
                   f"-DCMAKE_CXX_FLAGS={HOSTILE}", "-DCMAKE_BUILD_TYPE=", f"-DLANGUAGES={languages}",
                   INSTRUCTION_SETS, *options)  # fmt: skip
        self.build(self.subdirectory)
        self.check_caption(self.subdirectory / "app")

    def repository(self) -> Path | None:
        """A local repository whose last commit is the working tree; None where git has no part in that."""
        if not (shutil.which("git") and (ROOT / ".git").exists()):
            return None
        clone = self.folder / "repository"
        run("git", "clone", "--quiet", "--no-hardlinks", ROOT, clone)
        names = run("git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        for name in names.rstrip("\0").split("\0"):
            (clone / name).unlink(missing_ok=True)
            if (ROOT / name).is_file():
                (clone / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, clone / name, follow_symlinks=False)
        run("git", "-C", clone, "add", "--all")
        run("git", "-C", clone, "-c", "user.name=host", "-c", "user.email=host@localhost", "commit", "--quiet", "--allow-empty",
            "--message", "The working tree")  # fmt: skip
        return clone

    def install_and_move(self, name: str) -> Path:
        """Installs with a prefix that configuring knew nothing of, and moves that away."""
        run("cmake", "--install", self.subdirectory, "--prefix", self.folder / "first")
        (self.folder / "first").rename(self.folder / name)
        return self.folder / name

    def check_package(self, prefix: Path, how: str, languages: str, *options: str) -> None:
        build = self.folder / f"{prefix.name} {how} {languages}"
        self.cmake(HERE / "package", build, f"-DHOW={how}", f"-DLANGUAGES={languages}",
                   f"-DCMAKE_PREFIX_PATH={prefix}", *options,
                   PKG_CONFIG_PATH=str(prefix / "lib/pkgconfig"))  # fmt: skip
        self.build(build)
        self.check_caption(build / "app", LD_LIBRARY_PATH=str(prefix / "lib"))

    def check_pkg_config(self, prefix: Path, pc_folder: Path | None = None) -> None:
        """As a Makefile would."""
        command = (f"{self.cc} -std=c99 {' '.join(WARNINGS)} {HERE}/app.c -o '{self.folder}/pc app' "
                   "$(pkg-config --cflags --libs lightcap)")  # fmt: skip
        run("sh", "-c", f"eval {json.dumps(command)}",
            PKG_CONFIG_PATH=str(pc_folder or prefix / "lib/pkgconfig"))  # fmt: skip
        self.check_caption(self.folder / "pc app", LD_LIBRARY_PATH=str(prefix / "lib"))

    def kernel_objects(self, build: Path) -> dict[str, Path]:
        found = build.rglob("lightcap_isa_*.dir/simd/table.cc.o")
        return {re.search(r"lightcap_isa_(\w+)\.dir", str(path))[1]: path for path in found}

    def check_kernels(self, build: Path) -> None:
        """Code of the row's instruction set, with everything inlined."""
        objects = self.kernel_objects(build)
        assert "sse2" in objects, objects
        for name, allowed in (("sse2", "xmm"), ("avx2", "xmm ymm"), ("avx512", "xmm ymm zmm")):
            if name in objects:
                code = run("objdump", "-d", "--no-show-raw-insn", objects[name])
                registers = set(re.findall(r"%([xyz]mm)\d", code))
                assert registers == set(allowed.split()), (name, registers)
                vex = re.search(r"\tvmulps\b", code) is not None
                assert vex == (name != "sse2"), name
        run(ROOT / "tests/check_isa_symbols", "nm", *objects.values())


def a_host_of_hostile_flags_and_no_build_type_captions_to_the_bit(hosts: Hosts) -> None:
    """By FetchContent. Later cases add the folder that it fetched, so that nothing is compiled twice."""
    if repository := hosts.repository():
        hosts.source = hosts.folder / "fetched"
        hosts.build_subdirectory(f"-DREPOSITORY=file://{repository}")
        assert (hosts.source / ".git").exists()
    else:
        hosts.build_subdirectory()


def kernels_follow_their_row_whatever_the_host_compiles_for(hosts: Hosts) -> None:
    if platform.machine() != "x86_64":
        return
    hosts.check_kernels(hosts.subdirectory)
    build = hosts.folder / "v4"
    hosts.cmake(HERE / "subdirectory", build, f"-DLIGHTCAP_SOURCE_DIR={ROOT}", "-DLANGUAGES=C;CXX",
                "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS=-march=x86-64-v4 -mavx512f")  # fmt: skip
    hosts.build(build, "lightcap_isa_sse2")
    hosts.check_kernels(build)


def a_static_library_is_found_where_it_was_moved_to(hosts: Hosts) -> None:
    prefix = hosts.install_and_move("moved static")
    for name in ("LICENSE", "THIRD-PARTY-LICENSES"):
        assert (prefix / "share/doc/lightcap" / name).read_text() == (ROOT / name).read_text()
    hosts.check_package(prefix, "package", "C")
    # As C++, and through the static library that the host exports.
    hosts.check_package(prefix, "package", "CXX", "-DHOST_LIBRARY=ON")
    if shutil.which("pkg-config"):
        hosts.check_package(prefix, "pkg-config", "C")
        hosts.check_pkg_config(prefix)


def the_examples_are_built_against_an_installed_library(hosts: Hosts) -> None:
    """After a_static_library_is_found_where_it_was_moved_to."""
    build = hosts.folder / "examples"
    hosts.cmake(ROOT / "examples", build, f"-DCMAKE_PREFIX_PATH={hosts.folder}/moved static",
                f"-DCMAKE_C_FLAGS={' '.join(WARNINGS)}", f"-DCMAKE_CXX_FLAGS={' '.join(WARNINGS)}")  # fmt: skip
    hosts.build(build)
    words = hosts.expected[0]
    for example, arguments in (("caption_file", [PICTURE]), ("thread_pool", [PICTURE]), ("concepts", [PICTURE])):
        said = run(build / example, MODEL, *arguments)
        assert words in said, (example, said, words)
    assert "red balloon" in run(build / "caption_pixels", MODEL)
    assert "red balloon" in run(build / "camera_frame", MODEL)
    assert words in run(build / "streaming", MODEL, PICTURE)


def public_headers_give_no_warning_in_any_build_type(hosts: Hosts) -> None:
    include = hosts.folder / "moved static/include"
    # The INIT macros are C's own casts in headers without LIGHTCAP_RESULT_INIT.
    casts = ["-Wold-style-cast"] if "LIGHTCAP_RESULT_INIT" in (include / "lightcap.h").read_text() else []
    for level in ("-O0", "-Os", "-O2", "-O3 -DNDEBUG"):
        run(hosts.cc, "-std=c99", *WARNINGS, *level.split(), f"-I{include}", "-c", HERE / "app.c",
            "-o", hosts.folder / "app.o")  # fmt: skip
        run(hosts.cc, "-x", "c++", "-std=c++17", *WARNINGS, *level.split(), *casts,
            f"-I{include}", "-c", HERE / "app.cc", "-o", hosts.folder / "app.o")  # fmt: skip


def versions_of_another_minor_are_refused_before_1_0(hosts: Hosts) -> None:
    version = re.search(r"VERSION (\d+)\.(\d+)\.\d+", (ROOT / "CMakeLists.txt").read_text())
    assert version and version[1] == "0", "from 1.0 on the rule is the major version's: amend this test"
    source = hosts.folder / "version"
    source.mkdir()
    minor = int(version[2])
    for asked, fits in ((f"0.{minor}", True), (f"0.{minor + 1}", False), (f"0.{minor}.99", False)):
        (source / "CMakeLists.txt").write_text(
            f"cmake_minimum_required(VERSION 3.20)\nproject(host C)\nfind_package(lightcap {asked} REQUIRED)\n")
        hosts.cmake(source, source / "build", f"-DCMAKE_PREFIX_PATH={hosts.folder}/moved static",
                    fails=not fits)  # fmt: skip


def a_host_of_c_alone_links_a_static_library(hosts: Hosts) -> None:
    """By add_subdirectory, as everything from here on."""
    hosts.build_subdirectory(languages="C")


def kernels_are_those_that_the_host_asks_for(hosts: Hosts) -> None:
    """And the baseline's; the same bits come of fewer."""
    if platform.machine() != "x86_64":
        return
    app = hosts.subdirectory / "app"
    said = run(app, MODEL, PICTURE, LIGHTCAP_ISA="sse2")
    for asked, built in (("neon", {"sse2"}), ("sse2;avxvnni", {"sse2", "avx2", "avxvnni"})):
        hosts.cmake(HERE / "subdirectory", hosts.subdirectory, f"-DLIGHTCAP_INSTRUCTION_SETS={asked}")
        hosts.build(hosts.subdirectory)
        assert set(re.findall(r"internal::isa::(\w+)$", run("nm", "-C", app), re.MULTILINE)) == built, (asked, built)
        assert run(app, MODEL, PICTURE, LIGHTCAP_ISA="sse2") == said
    refused = hosts.cmake(HERE / "subdirectory", hosts.subdirectory, "-DLIGHTCAP_INSTRUCTION_SETS=avx9", fails=True)
    assert re.search(r"has avx9:\s+kernels/isa.def\s+has\s+sse2;avx2", refused), refused
    hosts.build_subdirectory(languages="C")


def libjpeg_turbo_is_linked_where_it_is_asked_for(hosts: Hosts) -> None:
    """A picture that is no JPEG has the same caption."""
    if not any((Path(folder) / "jpeglib.h").exists() for folder in ("/usr/include", "/usr/local/include")):
        return
    hosts.build_subdirectory("-DLIGHTCAP_JPEG_TURBO=ON")
    prefix = hosts.install_and_move("moved turbo")
    hosts.check_package(prefix, "package", "C")
    hosts.check_package(prefix, "package", "CXX", "-DHOST_LIBRARY=ON")
    if shutil.which("pkg-config"):
        hosts.check_pkg_config(prefix)
    assert "libjpeg" in run("ldd", hosts.folder / "moved turbo package C/app")
    hosts.build_subdirectory("-DLIGHTCAP_JPEG_TURBO=OFF")


def a_shared_library_exports_the_c_api_alone_and_can_be_unloaded(hosts: Hosts) -> None:
    hosts.build_subdirectory("-DBUILD_SHARED_LIBS=ON")
    prefix = hosts.install_and_move("moved shared")
    hosts.check_package(prefix, "package", "C")
    if shutil.which("pkg-config"):
        hosts.check_pkg_config(prefix)
    library = prefix / "lib/liblightcap.so"
    for line in run("nm", "-D", "--defined-only", library).splitlines():
        assert re.fullmatch(r"[0-9a-f]+ T lightcap_\w+", line), line
    assert re.match(r"liblightcap\.so\.0\.\d+\.\d+$", library.resolve().name), library.resolve()
    assert "[liblightcap.so.0.2]" in run("readelf", "-d", library)
    # Linked for its host with -ffast-math, it must not change how the process rounds.
    assert "set_fast_math" not in run("objdump", "-d", library)
    handle = ctypes.CDLL(str(library))
    handle.lightcap_isa_supported(b"sse2")
    dlclose = ctypes.CDLL(None).dlclose
    dlclose.argtypes = [ctypes.c_void_p]
    assert str(library.resolve()) in Path("/proc/self/maps").read_text()
    assert dlclose(handle._handle) == 0
    assert str(library.resolve()) not in Path("/proc/self/maps").read_text()


def absolute_folders_are_said_as_they_are(hosts: Hosts) -> None:
    folder = hosts.folder / "absolute"
    hosts.build_subdirectory("-DBUILD_SHARED_LIBS=OFF", f"-DCMAKE_INSTALL_LIBDIR={folder}/lib",
                             f"-DCMAKE_INSTALL_PREFIX={folder}")  # fmt: skip
    run("cmake", "--install", hosts.subdirectory)
    text = (folder / "lib/pkgconfig/lightcap.pc").read_text()
    assert f"libdir={folder}/lib\n" in text, text
    hosts.check_package(folder, "package", "C")
    if shutil.which("pkg-config"):
        hosts.check_pkg_config(folder)


def headers_that_are_missing_or_too_old_are_named(hosts: Hosts) -> None:
    stb = hosts.folder / "stb"
    stb.mkdir()
    (stb / "stb_image.h").touch()
    said = hosts.cmake(ROOT, hosts.folder / "refused", f"-DLIGHTCAP_STB_INCLUDE_DIR={stb}",
                       "-DLIGHTCAP_HEADERS_DIR=", fails=True)  # fmt: skip
    assert re.search(r"needs\s+stb_image_write\.h", said), said
    old = hosts.folder / "old xsimd"
    (old / "xsimd/config").mkdir(parents=True)
    (old / "xsimd/xsimd.hpp").touch()
    for version, expected in (("8 0 5", r"holds\s+8\.0\.5"), (None, r"needs\s+xsimd 8\.1")):
        lines = zip(("MAJOR", "MINOR", "PATCH"), (version or "").split())
        header = "".join(f"#define XSIMD_VERSION_{part} {number}\n" for part, number in lines)
        (old / "xsimd/config/xsimd_config.hpp").write_text(header)
        said = hosts.cmake(ROOT, hosts.folder / "refused", f"-DLIGHTCAP_XSIMD_INCLUDE_DIR={old}",
                           "-DLIGHTCAP_HEADERS_DIR=", fails=True)  # fmt: skip
        assert re.search(expected, said), said


def a_row_of_isa_def_that_asks_less_than_its_flags_use_is_refused(hosts: Hosts) -> None:
    copy = hosts.folder / "copy"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns("build*", ".git", "demo", "goldens"))
    rows = (copy / "kernels/isa.def").read_text()
    assert "kAvx512cd | " in rows
    (copy / "kernels/isa.def").write_text(rows.replace("kAvx512cd | ", ""))
    said = hosts.cmake(copy, copy / "build", "-DLIGHTCAP_BUILD_TOOLS=OFF", fails=True)
    assert re.search(r"avx512\s+has\s+-mavx512cd\s+and\s+does\s+not\s+ask\s+for\s+kAvx512cd", said), said


def the_demo_model_lies_beside_the_program_of_every_configuration(hosts: Hosts) -> None:
    build = hosts.folder / "multi"
    hosts.options = [option for option in hosts.options if not option.startswith("-G")]
    hosts.cmake(ROOT, build, "-GNinja Multi-Config", "-DCMAKE_CONFIGURATION_TYPES=Debug;Release")
    for config in ("Debug", "Release"):
        assert (build / config / "scenes.lcw").read_bytes() == MODEL.read_bytes()
    assert re.search(r"Release/lightcap\b", (build / "build-Release.ninja").read_text())


CASES = [
    a_host_of_hostile_flags_and_no_build_type_captions_to_the_bit,
    kernels_follow_their_row_whatever_the_host_compiles_for,
    a_static_library_is_found_where_it_was_moved_to,
    the_examples_are_built_against_an_installed_library,
    public_headers_give_no_warning_in_any_build_type,
    versions_of_another_minor_are_refused_before_1_0,
    a_host_of_c_alone_links_a_static_library,
    kernels_are_those_that_the_host_asks_for,
    libjpeg_turbo_is_linked_where_it_is_asked_for,
    a_shared_library_exports_the_c_api_alone_and_can_be_unloaded,
    absolute_folders_are_said_as_they_are,
    headers_that_are_missing_or_too_old_are_named,
    a_row_of_isa_def_that_asks_less_than_its_flags_use_is_refused,
    the_demo_model_lies_beside_the_program_of_every_configuration,
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, required=True, help="is emptied")
    parser.add_argument("--lightcap", required=True)
    parser.add_argument("options", nargs="*")
    arguments = parser.parse_args()
    hosts = Hosts(arguments.build.resolve(), arguments.lightcap, arguments.options)
    failed = 0
    for case in CASES:
        begin = time.monotonic()
        try:
            case(hosts)
            print(f"ok      {case.__name__} ({time.monotonic() - begin:.1f} s)", flush=True)
        except (AssertionError, OSError) as error:
            print(f"FAILED  {case.__name__}: {error}", flush=True)
            failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
