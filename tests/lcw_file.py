"""Reads a .lcw model, lets a test change what it says, and writes it with the right checksums.

The format is described in engine/io/weights_format.h. Standard library only.
"""

import struct
import zlib

HEADER = struct.Struct("<8sIIQQIIQIIQ")
UINT, DOUBLE, STRING, STRINGS, DOUBLES = range(1, 6)


class LcwFile:
    """`keys` is a list of [key, type, value], `tensors` of [name, head, data]; all texts are bytes,
    and `head` is what stands between a tensor's name and its offset."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = file.read()
        self.header = list(HEADER.unpack_from(self.data))
        self.at = HEADER.size
        self.keys = [self._key() for _ in range(self.header[5])]
        self.tensors = [self._tensor() for _ in range(self.header[6])]

    def _number(self, form):
        (value,) = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return value

    def _text(self):
        length = self._number("I")
        self.at += length
        return self.data[self.at - length:self.at]

    def _key(self):
        key, kind = self._text(), self._number("B")
        if kind == UINT:
            return [key, kind, self._number("Q")]
        if kind == DOUBLE:
            return [key, kind, self._number("d")]
        if kind == STRING:
            return [key, kind, self._text()]
        read = self._text if kind == STRINGS else lambda: self._number("d")
        return [key, kind, [read() for _ in range(self._number("I"))]]

    def _tensor(self):
        name = self._text()
        size = 3 + 8 * self.data[self.at + 2]  # type, layout, the number of dimensions, and those
        head = self.data[self.at:self.at + size]
        self.at += size
        offset, count, _ = self._number("Q"), self._number("Q"), self._number("I")
        return [name, head, self.data[offset:offset + count]]

    def value(self, key):
        return next(entry[2] for entry in self.keys if entry[0] == key)

    def set(self, key, kind, value):
        """Replaces the key's value, or adds the key."""
        for entry in self.keys:
            if entry[0] == key:
                entry[1:] = [kind, value]
                return
        self.keys.append([key, kind, value])

    def write(self, path):
        def text(value):
            return struct.pack("<I", len(value)) + value

        def encoded(kind, value):
            if kind in (UINT, DOUBLE):
                return struct.pack("<Q" if kind == UINT else "<d", value)
            if kind == STRING:
                return text(value)
            items = [text(v) if kind == STRINGS else struct.pack("<d", v) for v in value]
            return struct.pack("<I", len(items)) + b"".join(items)

        keys = b"".join(text(key) + bytes([kind]) + encoded(kind, value) for key, kind, value in self.keys)
        directory_size = sum(len(text(name)) + len(head) + 20 for name, head, _ in self.tensors)
        begin = (HEADER.size + len(keys) + directory_size + 63) // 64 * 64
        directory, data = b"", bytearray()
        for name, head, values in self.tensors:
            data += bytes(-len(data) % 64)
            directory += text(name) + head
            directory += struct.pack("<QQI", begin + len(data), len(values), zlib.crc32(values))
            data += values
        metadata = keys + directory
        header = list(self.header)
        header[3:9] = [begin + len(data), len(metadata), len(self.keys), len(self.tensors), begin,
                       zlib.crc32(metadata)]
        header[9] = zlib.crc32(HEADER.pack(*header)[:52])
        with open(path, "wb") as file:
            file.write(HEADER.pack(*header) + metadata + bytes(begin - HEADER.size - len(metadata)) + data)
