"""Reading the zip archive that a checkpoint is, trusting nothing it says.

torch's layout: `name/data.pkl` describes the objects, `name/data/0`, `name/data/1`, ... hold the
raw bytes of the tensors' memory, `name/byteorder` and `name/version` say how they were written.
Entries are stored without compression, each starting at a multiple of 64 bytes.
"""

from __future__ import annotations

import io
import mmap
import os
import struct
import threading
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tinygrad_edu.serialization.errors import CheckpointError

Bytes = npt.NDArray[np.uint8]

CHUNK = 1 << 20
"""Bytes are read and checked in pieces that stay in the processor's cache."""

_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_NEWEST_VERSION = 10  # of torch's format
_OLDEST_VERSION = 1


class Entry(NamedTuple):
    """Where in the file the bytes of one entry lie, and their checksum."""

    name: str
    start: int
    size: int
    crc: int


class Archive:
    """An open archive whose every entry is known to lie inside the file, apart from all others.

    Raises:
        CheckpointError: it is no such archive.
    """

    def __init__(self, file: Any) -> None:
        self.file = file
        self.lock = threading.Lock()
        self.length = file.seek(0, os.SEEK_END)
        if self.length is None:
            self.length = file.tell()
        self._refuse_other_formats()
        entries = self._entries()
        if not entries:
            raise CheckpointError("the archive is empty")
        prefix = entries[0].name.partition("/")[0] + "/"
        self.entries: dict[str, Entry] = {}
        for entry in entries:
            _check_name(entry.name, prefix)
            name = entry.name[len(prefix) :]
            if name in self.entries:
                raise CheckpointError(f"the archive has two entries named '{entry.name}'")
            self.entries[name] = entry
        if "data.pkl" not in self.entries:
            raise CheckpointError("the archive has no entry data.pkl, so it is no checkpoint")
        if "constants.pkl" in self.entries:
            raise CheckpointError("a TorchScript archive holds code; only checkpoints are loaded")
        self._check_version()
        self.swap = self._byte_order() != "little"

    def _refuse_other_formats(self) -> None:
        self.file.seek(0)
        start = self.file.read(4)
        if not start:
            raise CheckpointError("the file is empty")
        if start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04"):
            raise CheckpointError(
                "this is a pickle, or torch's format from before version 1.6, not a zip archive;"
                " load it in torch and save it again"
            )
        if not start.startswith(b"PK\x03\x04"):
            raise CheckpointError("this is no zip archive, which checkpoints are")

    def _entries(self) -> list[Entry]:
        try:
            with zipfile.ZipFile(self.file) as directory:
                listed = directory.infolist()
        except Exception as error:  # zipfile lets struct.error and others through
            raise CheckpointError(
                f"the archive's directory cannot be read; the file is truncated or damaged: {error}"
            ) from None
        entries, end = [], 0
        for info in sorted(listed, key=lambda info: info.header_offset):
            entry = self._locate(info, end)
            entries.append(entry)
            end = entry.start + entry.size
        return entries

    def _locate(self, info: zipfile.ZipInfo, free_from: int) -> Entry:
        """The entry that the directory lists, once its own header has agreed."""
        name = info.orig_filename
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise CheckpointError(f"entry '{name}' is compressed, which checkpoints never are")
        if info.flag_bits & 0x1:
            raise CheckpointError(f"entry '{name}' is encrypted")
        if info.header_offset < free_from:
            raise CheckpointError(f"entry '{name}' overlaps the one before it")
        self.file.seek(info.header_offset)
        header = self.file.read(_LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size:
            raise CheckpointError(f"the header of entry '{name}' lies outside the file")
        magic, _, _, method, _, _, _, _, _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        encoding = "utf-8" if info.flag_bits & 0x800 else "cp437"
        if (
            magic != b"PK\x03\x04"
            or method != zipfile.ZIP_STORED
            or self.file.read(name_length) != name.encode(encoding)
        ):
            raise CheckpointError(f"the header of entry '{name}' contradicts the directory")
        start = info.header_offset + _LOCAL_HEADER.size + name_length + extra_length
        if start + info.file_size > self.length:
            raise CheckpointError(
                f"entry '{name}' claims {info.file_size} bytes at {start}, but the file has"
                f" {self.length}"
            )
        return Entry(name, start, info.file_size, info.CRC)

    def _check_version(self) -> None:
        text = self.read("version", at_most=20) if "version" in self.entries else b"3"
        version = int(text) if text.strip().isdigit() else 0
        if not _OLDEST_VERSION <= version <= _NEWEST_VERSION:
            raise CheckpointError(
                f"the file's format version is {text!r}; known are {_OLDEST_VERSION} to"
                f" {_NEWEST_VERSION}"
            )

    def _byte_order(self) -> str:
        if "byteorder" not in self.entries:
            return "little"
        order = self.read("byteorder", at_most=20)
        if order not in (b"little", b"big"):
            raise CheckpointError(f"the file's byte order is {order!r}, neither little nor big")
        return order.decode()

    def read(self, name: str, at_most: int | None = None) -> bytes:
        """The bytes of a small entry."""
        entry = self.entries[name]
        if at_most is not None and entry.size > at_most:
            raise CheckpointError(f"entry '{entry.name}' has {entry.size} bytes, not {at_most}")
        out = np.empty(entry.size, np.uint8)
        self.fill(entry, out)
        return out.tobytes()

    def fill(self, entry: Entry, out: Bytes) -> None:
        """Read an entry into `out`, which is as long as the entry, and compare its checksum.

        Raises:
            CheckpointError: the checksum differs, or the file has become shorter.
        """
        view, crc = memoryview(out.data), 0
        for done in range(0, entry.size, CHUNK):
            piece = view[done : done + CHUNK]
            self._read_into(entry.start + done, piece)
            crc = zlib.crc32(piece, crc)
        if crc != entry.crc:
            raise CheckpointError(f"entry '{entry.name}' is damaged: its checksum is wrong")

    def fill_all(self, jobs: list[tuple[Entry, Bytes]]) -> None:
        """`fill` for several entries, several at once."""
        if sum(entry.size for entry, _ in jobs) < CHUNK:
            for job in jobs:
                self.fill(*job)
            return
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            for _ in pool.map(lambda job: self.fill(*job), jobs):
                pass

    def _read_into(self, start: int, out: memoryview) -> None:
        done = 0
        if isinstance(self.file, io.FileIO) and hasattr(os, "preadv"):  # needs no common position
            while done < len(out):
                count = os.preadv(self.file.fileno(), [out[done:]], start + done)
                if not count:
                    raise CheckpointError("the file ends too early")
                done += count
            return
        with self.lock:
            self.file.seek(start)
            while done < len(out):
                if hasattr(self.file, "readinto"):
                    count = self.file.readinto(out[done:]) or 0
                else:
                    piece = self.file.read(len(out) - done)
                    count = len(piece)
                    out[done : done + count] = piece
                if not count:
                    raise CheckpointError("the file ends too early")
                done += count

    def map(self) -> Bytes:
        """The file's bytes without reading them; what is written there stays in this process."""
        return np.frombuffer(mmap.mmap(self.file.fileno(), 0, access=mmap.ACCESS_COPY), np.uint8)


def _check_name(name: str, prefix: str) -> None:
    parts = name.split("/")
    if not name.startswith(prefix) or ".." in parts or "\\" in name or "\0" in name or not parts[0]:
        raise CheckpointError(f"the archive has an entry with an unsafe or foreign name: {name!r}")
