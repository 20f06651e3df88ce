"""NCCL, through CuPy: carries arrays between GPUs, one GPU per process.

MPI brings the processes together and still compares what they call.  NCCL's operations run on
CuPy's current stream, in order with what computes the arrays, so nobody needs to wait for them.
"""

from __future__ import annotations

from typing import Any

from tinygrad_edu.backend import module_of, nccl
from tinygrad_edu.distributed.errors import DistError
from tinygrad_edu.dtypes import Array


def _module() -> Any:
    try:
        return nccl()
    except ImportError:
        raise DistError(
            "the backend 'nccl' needs CuPy with NCCL: pip install 'tinygrad-edu[cuda12,mpi]'"
            " nvidia-nccl-cu12"
        ) from None


def available() -> bool:
    """Whether CuPy finds NCCL."""
    try:
        return bool(getattr(_module(), "available", True))
    except DistError:
        return False


def _stream(x: Array) -> int:
    return int(module_of(x).cuda.get_current_stream().ptr)


def _ends(y: Any, x: Any) -> tuple[int, int]:
    """Where an operation reads and where it writes; the same if a rank only gives or gets."""
    given, got = (y if x is None else x), (x if y is None else y)
    return given.data.ptr, got.data.ptr


class NCCLEngine:
    """As `mpi.MPIEngine`, for arrays of a GPU; nothing is left to wait for.

    Args:
        comm: the communicator of MPI by which the group's ranks find each other.
    """

    host = False

    def __init__(self, comm: Any) -> None:
        self.nccl = _module()
        name = comm.bcast(self.nccl.get_unique_id() if not comm.rank else None)
        self.comm = self.nccl.NcclCommunicator(int(comm.size), name, int(comm.rank))
        self.bytes = self.nccl.NCCL_UINT8

    def _how(self, op: str, x: Array) -> tuple[int, int]:
        """NCCL's numbers of a dtype and an operation."""
        name = x.dtype.name
        if name == "bool":
            name, op = "uint8", {"SUM": "MAX", "PROD": "MIN"}.get(op, op)
        kind = getattr(self.nccl, f"NCCL_{name.upper()}", None)
        number = getattr(self.nccl, f"NCCL_{op}", None)
        if kind is None:
            raise TypeError(f"NCCL cannot add up {name}")
        if number is None:
            raise RuntimeError(f"Cannot use ReduceOp.{op} with NCCL")
        return kind, number

    def all_reduce(self, y: Array, x: Array, op: str) -> None:
        self.comm.allReduce(*_ends(y, x), x.size, *self._how(op, x), _stream(x))

    def reduce(self, y: Array | None, x: Array, op: str, root: int) -> None:
        self.comm.reduce(*_ends(y, x), x.size, *self._how(op, x), root, _stream(x))

    def reduce_scatter(self, y: Array, x: Array, op: str) -> None:
        self.comm.reduceScatter(*_ends(y, x), y.size, *self._how(op, x), _stream(x))

    def all_gather(self, y: Array, x: Array) -> None:
        self.comm.allGather(*_ends(y, x), x.nbytes, self.bytes, _stream(x))

    def broadcast(self, y: Array | None, x: Array | None, root: int) -> None:
        whole: Any = x if y is None else y
        self.comm.broadcast(*_ends(y, x), whole.nbytes, self.bytes, root, _stream(whole))

    def gather(self, y: Array | None, x: Array, root: int) -> None:
        self._swap({root: x}, {} if y is None else dict(enumerate(y)))

    def scatter(self, y: Array, x: Array | None, root: int) -> None:
        self._swap({} if x is None else dict(enumerate(x)), {root: y})

    def all_to_all(self, y: Array, x: Array) -> None:
        self._swap(dict(enumerate(x)), dict(enumerate(y)))

    def _swap(self, given: dict[int, Array], taken: dict[int, Array]) -> None:
        """Messages to and from several ranks, as one operation."""
        self.nccl.groupStart()
        for r, x in given.items():
            self.send(x, r)
        for r, y in taken.items():
            self.receive(y, r)
        self.nccl.groupEnd()

    def send(self, x: Array, to: int, tag: int = 0) -> None:
        self.comm.send(x.data.ptr, x.nbytes, self.bytes, to, _stream(x))

    def receive(self, y: Array, source: int, tag: int = 0) -> None:
        self.comm.recv(y.data.ptr, y.nbytes, self.bytes, source, _stream(y))

    def discard(self, source: int, tag: int) -> None:
        """NCCL cannot take a message of unknown size off the way: the group has no more use."""
        self.comm.abort()
