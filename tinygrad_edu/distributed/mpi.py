"""MPI, through mpi4py: carries arrays of the host between processes.

Every call of MPI here returns at once; work.py asks whether it is done.  So a rank that waits can
still be interrupted, look at the clock, and notice that another has left.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pathlib
import sys
from types import ModuleType
from typing import Any

import numpy as np

from tinygrad_edu.backend import CPU, device_of, module_for, to_device
from tinygrad_edu.distributed.errors import INSTALL, DistError
from tinygrad_edu.dtypes import Array
from tinygrad_edu.names.ranks import REPORTS
from tinygrad_edu.tensor import Tensor

LEAVING = 31_999
"""The tag of the empty message that a rank sends to all others when it leaves."""


def load() -> ModuleType:
    """mpi4py's module; importing it starts MPI.

    Raises:
        DistError: mpi4py or an MPI is missing, or MPI cannot be started.
    """
    folder = os.environ.get(REPORTS, "")
    if os.path.isdir(folder):  # the launcher is told that this rank waits for the others from now
        pathlib.Path(folder, f"{os.environ.get('RANK', '0')}.starting").touch()
    try:
        mpi = importlib.import_module("mpi4py.MPI")
    except (ImportError, RuntimeError) as error:  # without an MPI mpi4py raises RuntimeError
        raise DistError(f"torch.distributed needs mpi4py and an MPI: {INSTALL} ({error})") from None
    _unlink_segments(mpi.COMM_WORLD)
    return mpi


def _unlink_segments(world: Any) -> None:
    """Take the names off MPICH's shared memory: a job that is killed then leaves nothing behind."""
    if world.size == 1 or not sys.platform.startswith("linux"):
        return
    world.Barrier()  # all have opened it
    with open("/proc/self/maps") as maps:
        names = {line.split()[-1] for line in maps if "/dev/shm/mpich_shm" in line}
    for name in names:
        with contextlib.suppress(OSError):
            os.unlink(name)


class Staged:
    """Tensors as an engine can send them: as one contiguous array; and the way back.

    Args:
        tensors: one, or a list of equal ones; then the array has a row for each.
        host: whether the engine wants arrays of the host.
        sums: whether they are to be added up: 16 bits are, in 32.

    Attributes:
        buffer: the array: the tensor's own where that will do.
    """

    def __init__(self, tensors: Tensor | list[Tensor], host: bool, sums: bool) -> None:
        self.tensors = tensors if isinstance(tensors, list) else [tensors]
        array = self.tensors[0].array
        wide = sums and array.dtype.itemsize == 2 and array.dtype.kind not in "iu"
        there = CPU if host else device_of(array)
        if isinstance(tensors, list):
            shape = len(tensors), *array.shape
        elif array.flags.c_contiguous and not wide and there == device_of(array):
            self.buffer, self.rows = array, [array]
            return
        else:
            shape = 1, *array.shape
        whole = module_for(there).empty(shape, np.float32 if wide else array.dtype)
        self.rows = [whole[i, ...] for i in range(len(whole))]
        self.buffer = whole if isinstance(tensors, list) else self.rows[0]

    def fill(self) -> None:
        """Write the tensors into the array."""
        for row, x in zip(self.rows, self.tensors, strict=True):
            if row is not x.array:
                row[...] = to_device(x.array, device_of(row))

    def back(self) -> None:
        """Write what has arrived into the tensors."""
        for row, x in zip(self.rows, self.tensors, strict=True):
            if row is not x.array:
                x.array[...] = to_device(row.astype(x.array.dtype), device_of(x.array))
            x._storage.write()


def _bytes(x: Array | None) -> Array | None:
    return None if x is None else x.reshape(-1).view(np.uint8)


_OF_BOOLS = {
    "SUM": "LOR", "MAX": "LOR", "BOR": "LOR", "PROD": "LAND", "MIN": "LAND", "BAND": "LAND",
    "BXOR": "LXOR",
}  # fmt: skip


class MPIEngine:
    """Collectives and messages over an MPI communicator.

    Each method starts one and returns its requests: `x` is what this rank gives, `y` what it gets,
    None where it does neither, and the same array if the operation works in place.  Arrays are of
    the host and contiguous; what only moves is sent as bytes, so of any dtype.  `op` is a name of
    MPI's, such as "SUM".
    """

    host = True

    def __init__(self, MPI: Any, comm: Any) -> None:
        self.MPI, self.comm = MPI, comm
        self.unwanted: list[Any] = []  # requests, which keep the memory that is written to

    def _op(self, op: str, x: Array) -> Any:
        return getattr(self.MPI, _OF_BOOLS[op] if x.dtype == bool else op)

    def all_reduce(self, y: Array, x: Array, op: str) -> list[Any]:
        return [self.comm.Iallreduce(self.MPI.IN_PLACE, y, self._op(op, y))]

    def reduce(self, y: Array | None, x: Array, op: str, root: int) -> list[Any]:
        given = x if y is None else self.MPI.IN_PLACE
        return [self.comm.Ireduce(given, y, self._op(op, x), root)]

    def broadcast(self, y: Array | None, x: Array | None, root: int) -> list[Any]:
        return [self.comm.Ibcast(_bytes(x if y is None else y), root)]

    def all_gather(self, y: Array, x: Array) -> list[Any]:
        return [self.comm.Iallgather(_bytes(x), _bytes(y))]

    def gather(self, y: Array | None, x: Array, root: int) -> list[Any]:
        return [self.comm.Igather(_bytes(x), _bytes(y), root)]

    def scatter(self, y: Array, x: Array | None, root: int) -> list[Any]:
        return [self.comm.Iscatter(_bytes(x), _bytes(y), root)]

    def reduce_scatter(self, y: Array, x: Array, op: str) -> list[Any]:
        return [self.comm.Ireduce_scatter_block(x, y, self._op(op, x))]

    def all_to_all(self, y: Array, x: Array) -> list[Any]:
        return [self.comm.Ialltoall(_bytes(x), _bytes(y))]

    def send(self, x: Array, to: int, tag: int) -> list[Any]:
        return [self.comm.Isend(_bytes(x), to, tag)]

    def receive(self, y: Array, source: int, tag: int) -> list[Any]:
        return [self.comm.Irecv(_bytes(y), source, tag)]

    def discard(self, source: int, tag: int) -> None:
        """Take a message off the way, so that the next one is not mistaken for it."""
        status = self.MPI.Status()
        message = self.comm.Mprobe(source, tag, status)
        self.unwanted.append(message.Irecv(bytearray(status.Get_count())))
