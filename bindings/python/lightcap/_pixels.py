"""Pictures in memory, from whatever library the caller has: an address, a size and a distance of rows."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from typing import Any, Protocol

from ._errors import InputError


class HasArrayInterface(Protocol):
    """An array as numpy describes it: 8-bit RGB, height x width x 3."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...


class PilImage(Protocol):
    """A PIL.Image.Image, of any mode."""

    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def mode(self) -> str: ...
    def convert(self, mode: str) -> PilImage: ...
    def tobytes(self) -> bytes: ...


@dataclass(frozen=True)
class View:
    """8-bit RGB that `owner` keeps alive."""

    address: int
    width: int
    height: int
    row_bytes: int
    owner: object


def is_pil_image(source: object) -> bool:
    """True of an image of PIL, which is there if the caller has one."""
    module = sys.modules.get("PIL.Image")
    return module is not None and isinstance(source, module.Image)


def of_pil_image(image: Any, apply_exif: bool) -> View:
    """An image's pixels, turned upright by its EXIF orientation unless that is to be ignored."""
    try:
        if apply_exif:
            from PIL import ImageOps

            image = ImageOps.exif_transpose(image)
        rgb = image if image.mode == "RGB" else image.convert("RGB")
        pixels: bytes = rgb.tobytes()
    except (OSError, SyntaxError) as error:  # PIL decodes only now, and raises either of damaged files
        raise InputError(f"the image: {error}") from error
    width, height = rgb.size
    return of_bytes(pixels, width, height)


def of_bytes(pixels: bytes, width: int, height: int) -> View:
    address = ctypes.cast(ctypes.c_char_p(pixels), ctypes.c_void_p).value
    assert address is not None
    return View(address, width, height, width * 3, pixels)


def of_array(array: HasArrayInterface) -> View:
    """An array's pixels where they lie; those of arrays whose pixels do not lie side by side are copied."""
    interface = array.__array_interface__
    shape, kind = interface["shape"], interface["typestr"]
    if kind != "|u1" or len(shape) != 3 or shape[2] != 3 or 0 in shape:
        raise InputError(
            f"an array of pixels has the type uint8 and the shape height x width x 3, not {kind} "
            f"and {' x '.join(map(str, shape)) or 'none'}")
    height, width, _ = shape
    strides = interface.get("strides") or (width * 3, 3, 1)
    if strides[1:] != (3, 1) or strides[0] < width * 3:
        return of_bytes(_gathered(array), width, height)
    return View(interface["data"][0], width, height, strides[0], array)


def of_buffer(buffer: memoryview) -> View:
    """The pixels of a buffer of three dimensions."""
    if buffer.format != "B" or buffer.ndim != 3 or buffer.shape is None or buffer.shape[2] != 3 or 0 in buffer.shape:
        raise InputError(
            f"a buffer of pixels has the format B and the shape height x width x 3, not {buffer.format} "
            f"and {' x '.join(map(str, buffer.shape or ()))}")
    return of_bytes(buffer.tobytes(), buffer.shape[1], buffer.shape[0])


def _gathered(array: Any) -> bytes:
    """The array's bytes in the order of its indices."""
    if hasattr(array, "tobytes"):  # numpy's own
        return bytes(array.tobytes())
    return memoryview(array).tobytes()
