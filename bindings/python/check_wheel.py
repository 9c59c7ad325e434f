"""Holds a wheel to what its name promises.

    python bindings/python/check_wheel.py WHEEL

`auditwheel show` has to find that it runs where glibc 2.17 is, without any other library; it has to hold the
package, library, programs, demo model and licences; and its library exports the C API alone.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from elftools.elf.elffile import ELFFile

MEMBERS = ["lightcap/__init__.py", "lightcap/py.typed", "lightcap/liblightcap.so", "lightcap/scenes.lcw",
           "lightcap/bin/lightcap", "lightcap/bin/lightcap-convert", "lightcap/bin/lightcap-quantize"]  # fmt: skip
LICENSES = ["LICENSE", "THIRD-PARTY-LICENSES"]


def oldest_glibc(wheel: Path) -> tuple[int, int]:
    said = subprocess.run([sys.executable, "-m", "auditwheel", "show", str(wheel)], capture_output=True, text=True,
                          check=True).stdout  # fmt: skip
    print(said)
    found = re.search(r'is\s+consistent\s+with\s+the\s+following\s+platform\s+tag:\s+"manylinux_(\d+)_(\d+)_', said)
    assert found, "auditwheel names no manylinux tag"
    return int(found[1]), int(found[2])


def main() -> None:
    wheel = Path(sys.argv[1])
    assert re.fullmatch(r"lightcap-[0-9.]+-py3-none-manylinux2014_(x86_64|aarch64)\.whl", wheel.name), wheel.name
    assert oldest_glibc(wheel) <= (2, 17)
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        for member in MEMBERS:
            assert member in names, f"{member} is missing"
        for license in LICENSES:
            assert any(name.endswith(f".dist-info/licenses/{license}") for name in names), f"{license} is missing"
        for member in (name for name in names if name.startswith("lightcap/bin/")):
            assert archive.getinfo(member).external_attr >> 16 & 0o111, f"{member} cannot be executed"
        symbols = ELFFile(io.BytesIO(archive.read("lightcap/liblightcap.so"))).get_section_by_name(".dynsym")
        exported = [symbol.name for symbol in symbols.iter_symbols()
                    if symbol["st_shndx"] != "SHN_UNDEF" and symbol.name]  # fmt: skip
        assert exported and all(name.startswith("lightcap_") for name in exported), exported
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, exports {len(exported)} functions")


if __name__ == "__main__":
    main()
