"""Reads .lcw models (engine/io/weights_format.h), and writes int8 ones for tests."""

from __future__ import annotations

import struct
import zlib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from .config import Config

HEADER = struct.Struct("<8sIIQQIIQIIQ")
MAGIC = b"LCW\r\n\x1a\n\0"
VERSION = 1
INTEGERS = 1  # the required feature
ALIGNMENT = 64
# bf16 has no type in NumPy: it is widened.
TYPES = {1: "<f4", 2: "<f2", 3: "<u2", 4: "i1", 5: "<i4"}
F32, BF16, I8, I32 = 1, 3, 4, 5
UINT, DOUBLE, STRING, STRINGS, DOUBLES = range(1, 6)
ROW_MAJOR, PANELS, QUAD_PANELS = 1, 2, 3
PANEL_WIDTH, QUAD = 16, 4

Value = int | float | str | list[str] | list[float]


@dataclass
class LcwModel:
    keys: dict[str, Value]
    tensors: dict[str, np.ndarray]  # as in a checkpoint: [out, in, k, k], whatever their panels

    def config(self) -> Config:
        """The hyper-parameters and sizes; keys that the configuration lacks are left out."""
        config = Config()
        for key, value in self.keys.items():
            block, _, name = key.partition(".")
            part = getattr(config, block, None)
            if name and name in {f.name for f in fields(part)}:
                setattr(part, name, _as(getattr(part, name), value))
        # Files from before the key have a modulator as wide as the fusion model.
        config.modulator.width = config.modulator.width or config.fusion.width
        return config

    @staticmethod
    def keys_of(config: Config) -> dict[str, Value]:
        """The configuration as config() reads it."""
        return {
            f"{block}.{name}": list(map(float, value)) if isinstance(value, tuple) else value
            for block, values in asdict(config).items()
            for name, value in values.items()
        }

    @property
    def is_int8(self) -> bool:
        return self.keys.get("quantization") == "int8"


def _as(default: Any, value: Value) -> Any:
    """In the configuration's type: the file has flags as 0 and 1, lists of whole numbers in f64."""
    if isinstance(default, tuple):
        return tuple(type(default[0])(item) for item in value)
    return bool(value) if isinstance(default, bool) else value


class _Reader:
    def __init__(self, data: memoryview, at: int) -> None:
        self.data, self.at = data, at

    def number(self, form: str) -> Any:
        (value,) = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return value

    def text(self) -> str:
        length = self.number("I")
        self.at += length
        return bytes(self.data[self.at - length : self.at]).decode()

    def value(self) -> Value:
        kind = self.number("B")
        if kind in (UINT, DOUBLE):
            return self.number("Q" if kind == UINT else "d")
        if kind == STRING:
            return self.text()
        return [self.text() if kind == STRINGS else self.number("d") for _ in range(self.number("I"))]


def matrix_of_panels(panels: np.ndarray, outputs: int, depth: int) -> np.ndarray:
    """[ceil(outputs / 16)][depth][16] -> [outputs, depth] (kernels/packed_matrix.h)."""
    return panels.reshape(-1, depth, PANEL_WIDTH).swapaxes(1, 2).reshape(-1, depth)[:outputs]


def matrix_of_quad_panels(panels: np.ndarray, outputs: int, depth: int) -> np.ndarray:
    """[ceil(outputs / 16)][ceil(depth / 4)][16][4] -> [outputs, depth]."""
    quads = -(-depth // QUAD)
    rows = panels.reshape(-1, quads, PANEL_WIDTH, QUAD).swapaxes(1, 2)
    return rows.reshape(-1, quads * QUAD)[:outputs, :depth]


def quad_panels(matrix: np.ndarray) -> np.ndarray:
    """[outputs, depth] -> [ceil(outputs / 16)][ceil(depth / 4)][16][4], zeros for what is missing."""
    outputs, depth = matrix.shape
    padded = np.zeros((-(-outputs // PANEL_WIDTH) * PANEL_WIDTH, -(-depth // QUAD) * QUAD), "i1")
    padded[:outputs, :depth] = matrix
    return padded.reshape(-1, PANEL_WIDTH, padded.shape[1] // QUAD, QUAD).swapaxes(1, 2)


def channels_innermost(weights: np.ndarray) -> np.ndarray:
    """A convolution's [out, in, k, k], or a matrix, -> the [out, depth] that panels are made of."""
    return np.moveaxis(weights, 1, -1).reshape(len(weights), -1)


def _tensor(data: memoryview, kind: int, layout: int, dims: list[int]) -> np.ndarray:
    x = np.frombuffer(data, TYPES[kind])
    if kind == BF16:
        x = (x.astype("<u4") << 16).view("<f4")
    if layout == ROW_MAJOR:
        return x.reshape(dims)
    unpack = matrix_of_quad_panels if layout == QUAD_PANELS else matrix_of_panels
    matrix = unpack(x, dims[0], int(np.prod(dims[1:])))
    return np.moveaxis(matrix.reshape(dims[:1] + dims[2:] + dims[1:2]), -1, 1)


def read_lcw(path: Path | str) -> LcwModel:
    data = memoryview(Path(path).read_bytes())
    magic, version, *_, key_count, tensor_count, _, _, _, _ = HEADER.unpack_from(data)
    if magic != MAGIC or version != VERSION:
        raise ValueError(f"{path} is not a .lcw file of version {VERSION}")
    reader = _Reader(data, HEADER.size)
    keys = {reader.text(): reader.value() for _ in range(key_count)}
    tensors = {}
    for _ in range(tensor_count):
        name, kind, layout = reader.text(), reader.number("B"), reader.number("B")
        dims = [reader.number("Q") for _ in range(reader.number("B"))]
        offset, count, checksum = reader.number("Q"), reader.number("Q"), reader.number("I")
        stored = data[offset : offset + count]
        if zlib.crc32(stored) != checksum:
            raise ValueError(f"{path}: {name} is damaged")
        tensors[name] = _tensor(stored, kind, layout, dims)
    return LcwModel(keys, tensors)


def _text(value: str) -> bytes:
    return struct.pack("<I", len(value.encode())) + value.encode()


def _encoded(value: Value) -> bytes:
    """A value after its type."""
    if isinstance(value, str):
        return bytes([STRING]) + _text(value)
    if isinstance(value, list):
        kind = STRINGS if value and isinstance(value[0], str) else DOUBLES
        items = [_text(v) if kind == STRINGS else struct.pack("<d", v) for v in value]
        return bytes([kind]) + struct.pack("<I", len(items)) + b"".join(items)
    if isinstance(value, float):
        return bytes([DOUBLE]) + struct.pack("<d", value)
    return bytes([UINT]) + struct.pack("<Q", int(value))


def _stored(x: np.ndarray) -> tuple[int, int, bytes]:
    """Type, layout and bytes of a tensor."""
    if x.dtype == np.int8:
        return I8, QUAD_PANELS, quad_panels(channels_innermost(x)).tobytes()
    kind = I32 if x.dtype == np.int32 else F32
    return kind, ROW_MAJOR, x.astype(TYPES[kind]).tobytes()


def write_lcw(path: Path | str, model: LcwModel) -> None:
    """int8 tensors go to panels of quads; int32 and fp32 ones stay in rows."""
    keys = b"".join(_text(key) + _encoded(value) for key, value in model.keys.items())
    entries = [(name, x.shape, *_stored(x)) for name, x in model.tensors.items()]
    size = len(keys) + sum(len(_text(name)) + 3 + 8 * len(s) + 20 for name, s, *_ in entries)
    begin = -(-(HEADER.size + size) // ALIGNMENT) * ALIGNMENT
    directory, data = b"", bytearray()
    for name, shape, kind, layout, stored in entries:
        data += bytes(-len(data) % ALIGNMENT)
        directory += _text(name) + bytes([kind, layout, len(shape)])
        directory += struct.pack(f"<{len(shape)}Q", *shape)
        directory += struct.pack("<QQI", begin + len(data), len(stored), zlib.crc32(stored))
        data += stored
    metadata = keys + directory
    header = [MAGIC, VERSION, INTEGERS, begin + len(data), len(metadata), len(model.keys)]
    header += [len(entries), begin, zlib.crc32(metadata), 0, 0]
    header[9] = zlib.crc32(HEADER.pack(*header)[:52])
    gap = bytes(begin - HEADER.size - len(metadata))
    Path(path).write_bytes(HEADER.pack(*header) + metadata + gap + data)
