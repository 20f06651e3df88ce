"""MPI, through mpi4py: carries arrays of the host between processes.

Every call of MPI here returns at once; work.py asks whether it is done.  So a rank that waits can
still be interrupted, look at the clock, and notice that another has left.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.backend import CPU, device_of, to_device
from tinygrad_edu.distributed.errors import INSTALL, DistError
from tinygrad_edu.dtypes import Array
from tinygrad_edu.names.ranks import REPORTS

if TYPE_CHECKING:
    from types import ModuleType


LEAVING = 31_999
"""The tag of the empty message that a rank sends to all others when it leaves."""


def load() -> ModuleType:
    """mpi4py's module; importing it starts MPI.

    Raises:
        DistError: mpi4py or an MPI is missing, or MPI cannot be started.
    """
    _mark("starting")
    try:
        mpi = importlib.import_module("mpi4py.MPI")
    except (ImportError, RuntimeError) as error:  # without an MPI mpi4py raises RuntimeError
        raise DistError(f"torch.distributed needs mpi4py and an MPI: {INSTALL} ({error})") from None
    _unlink_segments(mpi.COMM_WORLD)
    _mark("started")
    return mpi


def _mark(what: str) -> None:
    """Tell the launcher that MPI is being started, or has been."""
    folder = os.environ.get(REPORTS, "")
    if folder and os.path.isdir(folder):
        rank = os.environ.get("RANK", "0")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(folder, f"{rank}.starting"))
        open(os.path.join(folder, f"{rank}.{what}"), "w").close()


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
    """An array as an engine can send it, contiguous, and the way back into the tensor's own.

    Attributes:
        buffer: what is sent or received into: the array itself where that will do.
    """

    def __init__(self, tensor: Any, sums: bool = False) -> None:
        self.tensor, array = tensor, tensor.array
        self.buffer = np.ascontiguousarray(to_device(array, CPU))
        if sums and array.dtype.itemsize == 2 and array.dtype.kind not in "iu":
            self.buffer = self.buffer.astype(np.float32)  # 16 bits are added up in 32
        self.buffer = self.buffer.reshape(array.shape)  # a 0-d array has become a row
        self.same = isinstance(array, np.ndarray) and np.may_share_memory(self.buffer, array)

    def back(self) -> None:
        """Write what has arrived into the tensor."""
        array = self.tensor.array
        if not self.same:
            array[...] = to_device(self.buffer.astype(array.dtype), device_of(array))
        self.tensor._storage.write()


def _bytes(x: Array) -> Array:
    return x.reshape(-1).view(np.uint8)


_OF_BOOLS = {
    "SUM": "LOR", "MAX": "LOR", "BOR": "LOR", "PROD": "LAND", "MIN": "LAND", "BAND": "LAND",
    "BXOR": "LXOR",
}  # fmt: skip


class MPIEngine:
    """Collectives and messages over an MPI communicator.

    Each method starts one and returns its requests.  Arrays are of the host and contiguous; what
    only moves is sent as bytes, so of any dtype.  `op` is a name of MPI's, such as "SUM".
    """

    stage: Callable[..., Staged] = Staged

    def __init__(self, MPI: Any, comm: Any) -> None:
        self.MPI, self.comm = MPI, comm

    def _op(self, op: str, x: Array) -> Any:
        if x.dtype == bool:
            op = _OF_BOOLS[op]
        return getattr(self.MPI, op)

    def all_reduce(self, x: Array, op: str) -> list[Any]:
        return [self.comm.Iallreduce(self.MPI.IN_PLACE, x, self._op(op, x))]

    def reduce(self, x: Array, op: str, root: int) -> list[Any]:
        mine = self.comm.rank == root
        pair = (self.MPI.IN_PLACE, x) if mine else (x, None)
        return [self.comm.Ireduce(*pair, self._op(op, x), root)]

    def broadcast(self, x: Array, root: int) -> list[Any]:
        return [self.comm.Ibcast(_bytes(x), root)]

    def all_gather(self, y: Array, x: Array) -> list[Any]:
        return [self.comm.Iallgather(_bytes(x), _bytes(y))]

    def gather(self, y: Array | None, x: Array, root: int) -> list[Any]:
        return [self.comm.Igather(_bytes(x), None if y is None else _bytes(y), root)]

    def scatter(self, y: Array, x: Array | None, root: int) -> list[Any]:
        return [self.comm.Iscatter(None if x is None else _bytes(x), _bytes(y), root)]

    def reduce_scatter(self, y: Array, x: Array, op: str) -> list[Any]:
        return [self.comm.Ireduce_scatter_block(x, y, self._op(op, x))]

    def all_to_all(self, y: Array, x: Array) -> list[Any]:
        return [self.comm.Ialltoall(_bytes(x), _bytes(y))]

    def send(self, x: Array, to: int, tag: int) -> list[Any]:
        return [self.comm.Isend(_bytes(x), to, tag)]

    def receive(self, y: Array, source: int, tag: int) -> list[Any]:
        return [self.comm.Irecv(_bytes(y), source, tag)]
