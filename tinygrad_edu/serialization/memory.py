"""The memory that tensors of a checkpoint share: reading it, and where it goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_edu.backend import CPU, device, device_of, module_of, to_device
from tinygrad_edu.dtypes import Array, NumpyDtype
from tinygrad_edu.engine.graph import Storage
from tinygrad_edu.serialization.archive import Archive, Bytes
from tinygrad_edu.serialization.directory import Entry
from tinygrad_edu.serialization.errors import CheckpointError


class Memory:
    """The bytes of one entry of a checkpoint.

    A `map_location` function is handed one of these and returns it, or where it is to be: `cpu()`
    or `cuda(index)`.
    """

    def __init__(self, base: Array, size: int) -> None:
        self.base, self.size, self.itemsize = base, size, 1
        self.storage = Storage()

    @property
    def device(self) -> device:
        """Where it is."""
        return device_of(self.base)

    def to(self, place: Any) -> Memory:
        """The same bytes on a device."""
        return Memory(to_device(self.base, device(place)), self.size)

    def cpu(self) -> Memory:
        """The same bytes in the main memory."""
        return self.to("cpu")

    def cuda(self, index: int | None = None) -> Memory:
        """The same bytes on a GPU."""
        return self.to(device("cuda", index))

    def nbytes(self) -> int:
        """How many bytes it has."""
        return self.size

    def view(
        self, kind: NumpyDtype, size: tuple[int, ...], stride: tuple[int, ...], offset: int
    ) -> Array:
        """An array of `kind` whose first element is element `offset` of the memory."""
        steps = tuple([step * kind.itemsize for step in stride])
        start = offset * kind.itemsize
        if isinstance(self.base, np.ndarray):
            return np.ndarray(size, kind, self.base, start, steps)
        xp = module_of(self.base)
        return xp.ndarray(size, kind, memptr=self.base.data + start, strides=steps)


MapLocation = Any
"""None, a device or its name, a dict of names, or a function of (memory, name)."""


class Shelf:
    """Hands out the memories of an archive, each once, and reads them from the file together.

    Nothing is read before the whole description has been found sound.
    """

    def __init__(self, archive: Archive, map_location: MapLocation, mapped: bool) -> None:
        self.archive = archive
        self.place = placement(map_location)
        self.mapped = archive.map() if mapped else None
        self.found: dict[str, tuple[str, Memory]] = {}
        self.unread: dict[int, tuple[Entry, Bytes]] = {}  # by the id of the bytes

    def find(self, key: str, location: str, size: int) -> Memory:
        """The memory that is the archive's entry data/`key`; its size is not the claimed one.

        Raises:
            CheckpointError: there is no such entry.
        """
        if key in self.found:
            known, memory = self.found[key]
            if known != location:
                raise CheckpointError(f"storage '{key}' is said to be on two devices")
            return memory
        entry = self.archive.entries.get(f"data/{key}")
        if entry is None:
            raise CheckpointError(f"the archive has no entry data/{key}, which a tensor refers to")
        memory = self.place(Memory(self._bytes(entry), entry.size), location, self._complete)
        self.found[key] = (location, memory)
        return memory

    def _bytes(self, entry: Entry) -> Bytes:
        if self.mapped is not None:
            found = self.mapped[entry.start : entry.start + entry.size]
            # An odd address would make every operation slow: such files are not torch's.
            return found if entry.start % 16 == 0 else found.copy()
        base = np.empty(entry.size, np.uint8)
        self.unread[id(base)] = (entry, base)
        return base

    def _complete(self, memory: Memory) -> None:
        """Read a memory at once, because it is about to be copied to another device."""
        waiting = self.unread.pop(id(memory.base), None)
        if waiting is not None:
            self.archive.fill(*waiting)

    def read(self) -> None:
        """Read what has been handed out."""
        self.archive.fill_all(list(self.unread.values()))


Place = Callable[[Memory, str, Callable[[Memory], None]], Memory]


def placement(map_location: MapLocation) -> Place:
    """What `map_location` means, as a function.

    Raises:
        TypeError: it is none of the things it can be.
    """

    if isinstance(map_location, (str, device)):
        map_location = device(map_location)
    elif not (map_location is None or isinstance(map_location, dict) or callable(map_location)):
        raise TypeError(
            "map_location must be None, a device, its name, a dict or a function, not"
            f" {type(map_location).__name__}"
        )

    def place(memory: Memory, location: str, complete: Callable[[Memory], None]) -> Memory:
        target: object = location
        if isinstance(map_location, device):
            target = map_location
        elif isinstance(map_location, dict):
            target = map_location.get(location, location)
        elif map_location is not None:
            complete(memory)
            answer = map_location(memory, location)
            if isinstance(answer, Memory):
                return answer
            if answer is not None:
                raise TypeError(
                    "map_location must return the storage it was given, moved or not, or None;"
                    f" got {type(answer).__name__}"
                )
        return _move(memory, _known(target), complete)

    return place


def _known(location: object) -> device:
    if isinstance(location, device):
        return location
    try:
        return device(location)
    except RuntimeError:
        raise CheckpointError(
            f"a tensor was saved on device {location!r}, which is not known here; use"
            " map_location='cpu'"
        ) from None


def _move(memory: Memory, place: device, complete: Callable[[Memory], None]) -> Memory:
    if place == CPU:
        return memory
    complete(memory)
    try:
        return memory.to(place)
    except RuntimeError as error:
        raise RuntimeError(
            f"Attempting to deserialize object on {place}: {error}. To load it on the CPU, use"
            " map_location=torch.device('cpu')"
        ) from None
