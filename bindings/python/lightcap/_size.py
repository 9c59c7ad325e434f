"""The size of an encoded picture, from its header alone."""

from __future__ import annotations

import re
import struct

_XMP_ORIENTATION = re.compile(rb"""tiff:Orientation\s*(?:=\s*["']|>)\s*([0-9])""")
_PNM = re.compile(rb"P[56](?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)\s")
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}


def upright_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG, PNG, BMP or PNM file as it is captioned, turned by its orientation.

    None for other formats, and for files that end before they say.
    """
    try:
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png(data)
        if data.startswith(b"BM"):
            width, height = struct.unpack_from("<ii", data, 18)
            return width, abs(height)
    except (struct.error, IndexError):
        return None
    found = _PNM.match(data[:4096])
    return (int(found[1]), int(found[2])) if found else None


def _turned(width: int, height: int, orientation: int | None) -> tuple[int, int]:
    return (height, width) if orientation in (5, 6, 7, 8) else (width, height)


def _jpeg(data: bytes) -> tuple[int, int] | None:
    exif: int | None = None
    xmp: int | None = None
    exif_seen = False
    at = 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # filling
            at += 1
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        content = data[at + 4 : at + 2 + length] if marker == 0xE1 else b""
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return _turned(width, height, exif if exif is not None else xmp)
        if marker in (0xDA, 0xD9) or length < 2:
            return None
        if content.startswith(b"Exif\0\0") and not exif_seen:
            exif_seen = True
            exif = _tiff(content[6:])
        elif content.startswith(b"http://ns.adobe.com/xap/1.0/\0") and xmp is None:
            found = _XMP_ORIENTATION.search(content)
            xmp = int(found[1]) if found else None
        at += 2 + length
    return None


def _png(data: bytes) -> tuple[int, int] | None:
    at = data.index(b"IHDR") - 4 if b"IHDR" in data[:64] else 8  # Apple's begin with a chunk of their own
    width, height = struct.unpack_from(">II", data, at + 8)
    orientation = None
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"eXIf":
            content = data[at + 8 : at + 8 + length]
            orientation = _tiff(content[6:] if content.startswith(b"Exif\0\0") else content)
        at += 12 + length
    return _turned(width, height, orientation)


def _tiff(data: bytes) -> int | None:
    """The orientation in a TIFF header's first directory."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return None
    try:
        (directory,) = struct.unpack_from(order + "I", data, 4)
        (entries,) = struct.unpack_from(order + "H", data, directory)
        for entry in range(directory + 2, directory + 2 + 12 * entries, 12):
            tag, kind, _, value = struct.unpack_from(order + "HHIH", data, entry)
            if tag == 0x0112:
                return int(value) if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return None
