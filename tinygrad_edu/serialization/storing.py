"""Writing the zip archive: headers, entries at multiples of 64 bytes, the directory at the end."""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Iterator
from typing import Any

from tinygrad_edu.serialization.directory import CHUNK
from tinygrad_edu.serialization.parallel import for_each
from tinygrad_edu.serialization.writing import Span

ALIGNMENT = 64
"""Where entries start, so that a mapped file can be computed on."""

_HUGE = 0xFFFFFFFF  # from here on, sizes and places stand in the "zip64" extra field
_STORED, _FLAGS, _ZIP64 = 0, 0x808, 45  # the name is UTF-8, the checksum follows the bytes
_JAN_1980 = 0x21  # the first day that zip files know: the same state gives the same bytes


class Part:
    """One entry: its name, where it stands in the archive, and its bytes.

    Its checksum follows the bytes, as in torch's files, because it is known only then: memory that
    another thread writes meanwhile must be read once, and summed as it was written.
    """

    def __init__(self, name: str, size: int, at: int, data: bytes | Span) -> None:
        self.name, self.size, self.at, self.data = name.encode(), size, at, data
        self.crc = 0
        self.huge = size >= _HUGE
        length = 30 + len(self.name) + (20 if self.huge else 0)
        # The gap up to the next multiple of 64 is an extra field of its own, as in torch's files.
        self.gap = -(at + length + 4) % ALIGNMENT
        self.start = at + length + 4 + self.gap
        self.end = self.start + size + (24 if self.huge else 16)

    def header(self) -> bytes:
        """What stands before the entry's bytes."""
        extra = struct.pack("<HHQQ", 1, 16, self.size, self.size) if self.huge else b""
        extra += b"FB" + struct.pack("<H", self.gap) + b"Z" * self.gap
        fields = (_ZIP64 if self.huge else 20, _FLAGS, _STORED, 0, _JAN_1980, 0, 0, 0)
        return struct.pack("<4s5H3I2H", b"PK\x03\x04", *fields, len(self.name), len(extra)) + (
            self.name + extra
        )

    def description(self) -> bytes:
        """What stands behind them, once `pieces` has given all of them."""
        form = "<4sIQQ" if self.huge else "<4sIII"
        return struct.pack(form, b"PK\x07\x08", self.crc, self.size, self.size)

    def listing(self) -> bytes:
        """Its line in the directory."""
        large = [v for v in (self.size, self.size, self.at) if v >= _HUGE]
        extra = struct.pack(f"<HH{len(large)}Q", 1, 8 * len(large), *large) if large else b""
        size, at = min(self.size, _HUGE), min(self.at, _HUGE)
        version = _ZIP64 if large else 20
        return (
            struct.pack("<4s6H", b"PK\x01\x02", version, version, _FLAGS, _STORED, 0, _JAN_1980)
            + struct.pack("<3I3H", self.crc, size, size, len(self.name), len(extra), 0)
            + struct.pack("<HHII", 0, 0, 0, at)
            + self.name
            + extra
        )

    def pieces(self) -> Iterator[bytes]:
        """Its bytes piece by piece, each read once; the checksum grows along."""
        view = memoryview(self.data) if isinstance(self.data, bytes) else self.data.bytes()
        self.crc = crc = 0
        for done in range(0, self.size, CHUNK):
            piece = bytes(view[done : done + CHUNK])
            crc = zlib.crc32(piece, crc)
            yield piece
        self.crc = crc


def layout(pickle: bytes, spans: list[Span]) -> list[Part]:
    """The entries of a checkpoint and their places, in torch's order."""
    contents: list[tuple[str, bytes | Span]] = [
        ("data.pkl", pickle),
        (".format_version", b"1"),
        (".storage_alignment", str(ALIGNMENT).encode()),
        ("byteorder", b"little"),
        *[(f"data/{i}", span) for i, span in enumerate(spans)],
        ("version", b"3\n"),
    ]
    parts, at = [], 0
    for name, data in contents:
        size = len(data) if isinstance(data, bytes) else data.high - data.low
        parts.append(Part(f"archive/{name}", size, at, data))
        at = parts[-1].end
    return parts


def directory(parts: list[Part]) -> bytes:
    """What ends the archive: the list of its entries."""
    at = parts[-1].end
    listed = b"".join([part.listing() for part in parts])
    count, size = len(parts), len(listed)
    end = b""
    if count >= 0xFFFF or size >= _HUGE or at >= _HUGE:
        end = struct.pack(
            "<4sQHHIIQQQQ", b"PK\x06\x06", 44, _ZIP64, _ZIP64, 0, 0, count, count, size, at
        ) + struct.pack("<4sIQI", b"PK\x06\x07", 0, at + size, 1)
    few = min(count, 0xFFFF)
    last = (few, few, min(size, _HUGE), min(at, _HUGE), 0)
    return listed + end + struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, *last)


def write(parts: list[Part], file: object) -> None:
    """Write an archive to a file object, from its beginning to its end."""
    for part in parts:
        write_all(file, part.header())
        for piece in part.pieces():
            write_all(file, piece)
        write_all(file, part.description())
    write_all(file, directory(parts))


def write_all(file: Any, data: bytes) -> None:
    """Write all of it: an unbuffered file may take less than it is given."""
    count = file.write(data)
    while count is not None and count < len(data):
        data = data[count:]
        count = file.write(data)


def write_in_place(parts: list[Part], file: Any) -> None:
    """Write an archive to a new file of the file system: several entries at once."""
    descriptor = file.fileno()

    def store(part: Part, stopped: threading.Event) -> None:
        _write_at(descriptor, part.header(), part.at)
        at = part.start
        for piece in part.pieces():
            if stopped.is_set():
                return
            _write_at(descriptor, piece, at)
            at += len(piece)
        _write_at(descriptor, part.description(), at)

    for_each(store, parts, parts[-1].end)
    _write_at(descriptor, directory(parts), parts[-1].end)


def _write_at(descriptor: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(descriptor, view, at)
        view, at = view[count:], at + count
