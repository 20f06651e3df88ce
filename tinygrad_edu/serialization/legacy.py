"""torch's format from before version 1.6: five pickles, and the bytes of the storages behind them.

    magic number, version, facts about the machine, the objects, the storages' names; then for each
    name the number of elements (8 bytes) and the elements

The objects refer to storages whose bytes come later, and may be wanted on another device.  So the
objects are read twice: to learn how much memory each storage claims, and with that memory filled.
"""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np

from tinygrad_edu.serialization.errors import CheckpointError
from tinygrad_edu.serialization.formats import LEGACY
from tinygrad_edu.serialization.memory import MapLocation, Memory, Place, placement
from tinygrad_edu.serialization.names import StoredMemory, integer, is_record, short
from tinygrad_edu.serialization.reading import Unpickler

_VERSION = 1001


def read(data: bytes, map_location: MapLocation, whole: bool) -> tuple[Any, int]:
    """The objects in a file of that format, and where its last byte is.

    Raises:
        CheckpointError: it is damaged, or asks for something that loading never does.
    """
    place = placement(map_location)
    version, at = _plain(data, len(LEGACY))
    machine, begin = _plain(data, at)
    if version.__class__ is not int or version != _VERSION:
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
    storages.move(place)
    return _Unpickler(data, storages.claim, whole, begin).load(), at


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
        self.found: dict[str, Memory] = {}
        self.locations: dict[str, str] = {}
        self.unfilled: set[str] = set()

    def claim(self, name: str, location: str, size: int) -> Memory:
        if name not in self.found:
            self.left -= size
            if self.left < 0:
                raise CheckpointError(f"storage '{name}' claims {size} bytes, more than there are")
            self.found[name] = Memory(np.empty(size, np.uint8), size)
            self.locations[name] = location
            self.unfilled.add(name)
        memory = self.found[name]
        if memory.size != size:
            raise CheckpointError(
                f"storage '{name}' claims {size} bytes here, and others elsewhere"
            )
        return memory

    def fill(self, name: Any, data: bytes, at: int) -> int:
        """Copy a storage's bytes from the file; returns where they end."""
        if name.__class__ is not str or name not in self.unfilled:
            raise CheckpointError(f"the list of storages has {short(name)} twice or for nothing")
        memory = self.found[name]
        count = int.from_bytes(data[at : at + 8], "little", signed=True)
        end = at + 8 + memory.size
        # The number is that of elements, of which the file does not say here how long they are.
        if end > len(data) or count * memory.itemsize != memory.size:
            raise CheckpointError(
                f"storage '{name}' does not have the {memory.size} bytes it claims"
            )
        memory.base[:] = np.frombuffer(data, np.uint8, memory.size, at + 8)
        self.unfilled.remove(name)
        return end

    def move(self, place: Place) -> None:
        """Bring the storages, now full, to where they are wanted."""
        for name, location in self.locations.items():
            self.found[name] = place(self.found[name], location, lambda memory: None)


class _Unpickler(Unpickler):
    """Reads one of several pickles; strings may be Python 2's, and storages have parts."""

    def persistent(self) -> None:
        """("storage", type, name, location, numel, part) or ("module", class, file, source)."""
        found = self.pop()
        if is_record(found, "module", 4):
            self.push(found[1])
            return
        self.push(found[:-1] if found.__class__ is tuple else found)
        super().persistent()
        memory, kind = self.pop()
        memory.itemsize = kind.itemsize
        self.push(StoredMemory(_part(memory, found[-1], kind.itemsize), kind))


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


_Unpickler.actions = Unpickler.actions | {
    pickle.SHORT_BINSTRING[0]: lambda p: p.string(p.number("<B"), "strict"),
    pickle.BINSTRING[0]: lambda p: p.string(p.number("<I"), "strict"),
}
