"""torch's format from before version 1.6: five pickles, and the bytes of the storages behind them.

    magic number, version, facts about the machine, the objects, the storages' names; then for each
    name the number of elements (8 bytes) and the elements

The objects refer to storages whose bytes come later, and may be wanted on another device.  So the
objects are read twice: to learn how much memory each storage claims, and with that memory filled.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_edu.serialization.errors import CheckpointError
from tinygrad_edu.serialization.formats import LEGACY
from tinygrad_edu.serialization.memory import MapLocation, Memory, Place, placement
from tinygrad_edu.serialization.names import StorageType, StoredMemory, integer, short
from tinygrad_edu.serialization.reading import ACTIONS, Unpickler

_VERSION = 1001


def read(data: bytes, map_location: MapLocation, whole: bool) -> tuple[Any, int]:
    """The objects in a file of that format, and where its last byte is.

    Raises:
        CheckpointError: it is damaged, or asks for something that loading never does.
    """
    try:
        return _read(data, placement(map_location), whole)
    except (UnicodeDecodeError, struct.error) as error:
        raise CheckpointError(f"the file is damaged: {error}") from None


def _read(data: bytes, place: Place, whole: bool) -> tuple[Any, int]:
    version, at = _plain(data, len(LEGACY))
    machine, begin = _plain(data, at)
    if version != _VERSION:
        raise CheckpointError(f"the file's format version is {short(version)}, not {_VERSION}")
    if machine.__class__ is not dict or machine.get("little_endian") is not True:
        raise CheckpointError("the file's tensors are big-endian, which is not supported")
    storages = _Storages(len(data))
    first = _Unpickler(data, storages.claim, whole, begin)
    first.load()
    names, at = _plain(data, first.at)
    if names.__class__ is not list or len(names) != len(storages.found):
        raise CheckpointError("the list of storages does not fit those that tensors refer to")
    for name in names:
        at = storages.fill(name, data, at)
    moved: dict[str, Memory] = {}

    def find(name: str, location: str, size: int) -> Memory:
        if name not in moved:
            moved[name] = place(storages.found[name][0], location, lambda memory: None)
        return moved[name]

    return _Unpickler(data, find, whole, begin).load(), at


def _plain(data: bytes, at: int) -> tuple[Any, int]:
    """The pickle that starts there, which has no tensors, and where it ends."""

    def none(name: str, location: str, size: int) -> Memory:
        raise CheckpointError("a tensor stands where none can be")

    unpickler = _Unpickler(data, none, False, at)
    return unpickler.load(), unpickler.at


class _Storages:
    """The memory that the file's tensors claim: never more than the file has bytes."""

    def __init__(self, length: int) -> None:
        self.left = length
        self.found: dict[str, tuple[Memory, bool]] = {}

    def claim(self, name: str, location: str, size: int) -> Memory:
        if name not in self.found:
            self.left -= size
            if self.left < 0:
                raise CheckpointError(f"storage '{name}' claims {size} bytes, more than there are")
            self.found[name] = Memory(np.empty(size, np.uint8), size), False
        return self.found[name][0]

    def fill(self, name: Any, data: bytes, at: int) -> int:
        """Copy a storage's bytes from the file; returns where they end."""
        memory, full = self.found.get(name, (None, True)) if name.__class__ is str else (None, True)
        if memory is None or full:
            raise CheckpointError(f"the list of storages has {short(name)} twice or for nothing")
        (count,) = struct.unpack_from("<q", data, at)
        end = at + 8 + memory.size
        # The number is that of elements, of which the file does not say here how long they are.
        if end > len(data) or (count * memory.itemsize != memory.size):
            raise CheckpointError(
                f"storage '{name}' does not have the {memory.size} bytes it claims"
            )
        memory.base[:] = np.frombuffer(data, np.uint8, memory.size, at + 8)
        self.found[name] = memory, True
        return end


class _Unpickler(Unpickler):
    """Reads one of several pickles; strings may be Python 2's, and a storage says its size."""

    def __init__(
        self, data: bytes, claim: Callable[[str, str, int], Memory], whole: bool, at: int
    ) -> None:
        super().__init__(data, lambda name, location: claim(name, location, 0), whole, at)
        self.claim = claim

    def persistent(self) -> None:
        """("storage", type, name, location, numel, part) or ("module", class, file, source)."""
        found = self.pop()
        if found.__class__ is tuple and len(found) == 4 and found[0] == "module":
            self.push(found[1])
            return
        if found.__class__ is not tuple or len(found) != 6 or found[0] != "storage":
            raise CheckpointError("the pickle refers to something outside that is no storage")
        _, kind, name, location, numel, part = found
        if not isinstance(kind, StorageType) or {type(name), type(location)} != {str}:
            raise CheckpointError("a storage has no known type, no name or no location")
        unit = 1 if kind.dtype is None else kind.dtype.itemsize
        size = integer(numel, "storage") * unit
        memory = self.claim(name, location, size)
        if memory.size != size:
            raise CheckpointError(
                f"storage '{name}' claims {size} bytes here, and others elsewhere"
            )
        memory.itemsize = unit
        self.push(StoredMemory(_part(memory, part, unit), kind.dtype))


def _part(memory: Memory, part: object, unit: int) -> Memory:
    """A part of a storage that tensors of torch's first versions had to themselves."""
    if part is None:
        return memory
    if part.__class__ is not tuple or len(part) != 3:
        raise CheckpointError("the part of a storage is not (name, offset, size)")
    start, size = integer(part[1], "offset") * unit, integer(part[2], "size") * unit
    if start + size > memory.size:
        raise CheckpointError("a part of a storage lies outside of it")
    found = Memory(memory.base[start : start + size], size)
    found.storage = memory.storage
    return found


_Unpickler.actions = ACTIONS | {
    ord("U"): lambda p: p.push(p.take(p.number("<B")).decode()),
    ord("T"): lambda p: p.push(p.take(p.number("<I")).decode()),
}
