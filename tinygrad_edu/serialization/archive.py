"""Reading the zip archive that a checkpoint is, trusting nothing it says.

torch's layout: `name/data.pkl` describes the objects, `name/data/0`, `name/data/1`, ... hold the
raw bytes of the tensors' memory, `name/byteorder` and `name/version` say how they were written.
Entries are stored without compression, each starting at a multiple of 64 bytes.
"""

from __future__ import annotations

import errno
import io
import mmap
import os
import sys
import threading
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from tinygrad_edu.serialization import directory, formats
from tinygrad_edu.serialization.directory import CHUNK, Entry
from tinygrad_edu.serialization.errors import CheckpointError, EmptyFileError
from tinygrad_edu.serialization.parallel import for_each

Bytes = npt.NDArray[np.uint8]

_NEWEST_VERSION = 10  # of torch's format
_OLDEST_VERSION = 1


class Archive:
    """An open archive whose every entry is known to lie inside the file, apart from all others.

    Args:
        file: a file object; the archive begins where it stands.
        whole: nothing may follow the archive.

    Raises:
        CheckpointError: it is not such an archive.
    """

    def __init__(self, file: Any, whole: bool = False) -> None:
        self.file = file
        self.lock = threading.Lock()
        self.begin: int = file.tell()
        self.last = self.begin  # the end of the last entry that has been read
        file.seek(0, os.SEEK_END)
        self.length: int = file.tell()
        self._refuse_other_formats()
        entries = directory.entries(self._read_at, self.begin, self.length, whole)
        prefix = entries[0].name.partition("/")[0] + "/"
        self.entries: dict[str, Entry] = {}
        alike: set[str] = set()  # torch's reader ignores case
        for entry in entries:
            _check_name(entry.name, prefix)
            if entry.name.lower() in alike:
                raise CheckpointError(f"the archive has two entries named '{entry.name}'")
            alike.add(entry.name.lower())
            self.entries[entry.name[len(prefix) :]] = entry
        if "data.pkl" not in self.entries:
            arrays = all([name.endswith(".npy") for name in self.entries])
            hint = "; np.load reads NumPy's .npz" if arrays else ""
            raise CheckpointError(
                f"the archive has no entry data.pkl, so it is no checkpoint{hint}"
            )
        if "constants.pkl" in self.entries:
            raise CheckpointError(formats.SCRIPTED)
        self._check_version()
        self._check_byte_order()
        self.last = self.begin  # the pickle and the tensors count

    def _refuse_other_formats(self) -> None:
        head = self._read_at(self.begin, formats.HEAD)
        if not head:
            raise EmptyFileError("Ran out of input: the file is empty, or has been read to its end")
        if head[:4] != b"PK\x03\x04":
            raise CheckpointError(formats.describe(head))

    def _read_at(self, at: int, size: int) -> bytes:
        """Up to `size` bytes from there on."""
        size = max(0, min(size, self.length - at))
        out = bytearray(size)
        self._read_into(at, memoryview(out))
        return bytes(out)

    def _check_version(self) -> None:
        text = self.read("version", at_most=20) if "version" in self.entries else b"3"
        version = int(text) if text.strip().isdigit() else 0
        if not _OLDEST_VERSION <= version <= _NEWEST_VERSION:
            raise CheckpointError(
                f"the file's format version is {text!r}; known are {_OLDEST_VERSION} to"
                f" {_NEWEST_VERSION}"
            )

    def _check_byte_order(self) -> None:
        order = self.read("byteorder", at_most=20) if "byteorder" in self.entries else b"little"
        if order not in (b"little", b"big"):
            raise CheckpointError(f"the file's byte order is {order!r}, neither little nor big")
        if order == b"big" or sys.byteorder == "big":
            raise CheckpointError("the file's tensors are big-endian, which is not supported")

    def read(self, name: str, at_most: int | None = None) -> bytes:
        """The bytes of a small entry."""
        entry = self.entries[name]
        if at_most is not None and entry.size > at_most:
            raise CheckpointError(f"entry '{entry.name}' has {entry.size} bytes, not {at_most}")
        out = np.empty(entry.size, np.uint8)
        self.fill(entry, out)
        return out.tobytes()

    def fill(self, entry: Entry, out: Bytes, stopped: threading.Event | None = None) -> None:
        """Read an entry into `out`, which is as long as the entry, and compare its checksum.

        Raises:
            CheckpointError: the checksum differs, or the file has become shorter.
        """
        view, crc = memoryview(out.data), 0
        for done in range(0, entry.size, CHUNK):
            if stopped is not None and stopped.is_set():
                return
            piece = view[done : done + CHUNK]
            self._read_into(entry.start + done, piece)
            crc = zlib.crc32(piece, crc)
        self.last = max(self.last, entry.start + entry.size)
        if crc != entry.crc:
            raise CheckpointError(f"entry '{entry.name}' is damaged: its checksum is wrong")

    def fill_all(self, jobs: list[tuple[Entry, Bytes]]) -> None:
        """`fill` for several entries, several at once."""
        size = sum([entry.size for entry, _ in jobs])
        for_each(lambda job, stopped: self.fill(*job, stopped), jobs, size)

    def _read_into(self, start: int, out: memoryview) -> None:
        done = 0
        while done < len(out):
            count = self._read_some(start + done, out[done:])
            if not count:
                raise CheckpointError("the file ends too early")
            done += count

    def _read_some(self, start: int, out: memoryview) -> int:
        if isinstance(self.file, io.FileIO) and hasattr(os, "preadv"):  # needs no common position
            return os.preadv(self.file.fileno(), [out], start)
        with self.lock:
            self.file.seek(start)
            if hasattr(self.file, "readinto"):
                return int(self.file.readinto(out) or 0)
            piece = self.file.read(len(out))
            out[: len(piece)] = piece
            return len(piece)

    def map(self) -> Bytes:
        """The file's bytes without reading them; what is written there stays in this process."""
        try:
            mapped = mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_COPY)
        except OSError as error:
            if error.errno == errno.ENOMEM:
                raise MemoryError from None
            raise
        return np.frombuffer(mapped, np.uint8)


def _check_name(name: str, prefix: str) -> None:
    parts = name.split("/")
    if not name.startswith(prefix) or ".." in parts or "\\" in name or "\0" in name or not parts[0]:
        raise CheckpointError(f"the archive has an entry with an unsafe or foreign name: {name!r}")
