"""Writing the zip archive: headers, entries at multiples of 64 bytes, the directory at the end."""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Iterator
from typing import Any

from tinygrad_edu.serialization import directory
from tinygrad_edu.serialization.directory import CHUNK, FULL, FULL_COUNT, ZIP64
from tinygrad_edu.serialization.parallel import for_each
from tinygrad_edu.serialization.writing import Span

ALIGNMENT = 64
"""Where entries start, so that a mapped file can be computed on."""

_STORED, _JAN_1980 = 0, 0x21  # the first day of zip files: the same state gives the same bytes
_FLAGS = directory.UTF8 | directory.DESCRIBED  # the checksum follows the bytes
_VERSION, _VERSION_64 = 20, 45  # of the zip format: from `FULL` on sizes are in an extra field


class Part:
    """One entry: its name, where it stands in the archive, and its bytes.

    Its checksum follows the bytes, as in torch's files, because it is known only then: memory that
    another thread writes meanwhile must be read once, and summed as it was written.
    """

    def __init__(self, name: str, size: int, at: int, data: bytes | Span) -> None:
        self.name, self.size, self.at, self.data = name.encode(), size, at, data
        self.crc = 0
        self.huge = size >= FULL
        length = directory.HEADER.size + len(self.name) + (20 if self.huge else 0)
        # The gap up to the next multiple of 64 is an extra field of its own, as in torch's files.
        self.gap = -(at + length + 4) % ALIGNMENT
        self.end = at + length + 4 + self.gap + size + (24 if self.huge else 16)

    def pieces(self) -> Iterator[bytes]:
        """Header, bytes and checksum piece by piece, each byte read once."""
        extra = struct.pack("<HHQQ", ZIP64, 16, self.size, self.size) if self.huge else b""
        extra += b"FB" + struct.pack("<H", self.gap) + b"Z" * self.gap
        fields = (_VERSION_64 if self.huge else _VERSION, _FLAGS, _STORED, 0, _JAN_1980, 0, 0, 0)
        header = directory.HEADER.pack(b"PK\x03\x04", *fields, len(self.name), len(extra))
        yield header + self.name + extra
        view = memoryview(self.data) if isinstance(self.data, bytes) else self.data.bytes()
        self.crc = 0
        for done in range(0, self.size, CHUNK):
            piece = bytes(view[done : done + CHUNK])
            self.crc = zlib.crc32(piece, self.crc)
            yield piece
        form = "<4sIQQ" if self.huge else "<4sIII"
        yield struct.pack(form, b"PK\x07\x08", self.crc, self.size, self.size)

    def listing(self) -> bytes:
        """Its line in the directory, once `pieces` has given all of them."""
        large = [v for v in (self.size, self.size, self.at) if v >= FULL]
        extra = struct.pack(f"<HH{len(large)}Q", ZIP64, 8 * len(large), *large) if large else b""
        size, at = min(self.size, FULL), min(self.at, FULL)
        version = _VERSION_64 if large else _VERSION
        sums = (self.crc, size, size, len(self.name), len(extra), 0)
        fields = (version, version, _FLAGS, _STORED, 0, _JAN_1980, *sums, 0, 0, 0, at)
        return directory.LINE.pack(b"PK\x01\x02", *fields) + self.name + extra


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


def ending(parts: list[Part]) -> bytes:
    """What ends the archive: the list of its entries."""
    at = parts[-1].end
    listed = b"".join([part.listing() for part in parts])
    count, size = len(parts), len(listed)
    end = b""
    if count >= FULL_COUNT or size >= FULL or at >= FULL:
        fields = (44, _VERSION_64, _VERSION_64, 0, 0, count, count, size, at)
        end = directory.END_64.pack(b"PK\x06\x06", *fields)
        end += directory.WHERE_64.pack(b"PK\x06\x07", 0, at + size, 1)
    few = min(count, FULL_COUNT)
    end += directory.END.pack(b"PK\x05\x06", 0, 0, few, few, min(size, FULL), min(at, FULL), 0)
    return listed + end


def write(parts: list[Part], file: object) -> None:
    """Write an archive to a file object, from its beginning to its end."""
    for part in parts:
        for piece in part.pieces():
            write_all(file, piece)
    write_all(file, ending(parts))


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
        at = part.at
        for piece in part.pieces():
            if stopped.is_set():
                return
            _write_at(descriptor, piece, at)
            at += len(piece)

    for_each(store, parts, parts[-1].end)
    _write_at(descriptor, ending(parts), parts[-1].end)


def _write_at(descriptor: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(descriptor, view, at)
        view, at = view[count:], at + count
