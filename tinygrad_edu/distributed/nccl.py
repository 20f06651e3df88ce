"""NCCL, through CuPy: carries arrays between GPUs, one GPU per process.

MPI brings the processes together and still compares what they call.  NCCL's operations run on
CuPy's current stream, in order with what computes the arrays, so nobody needs to wait for them.
"""

from __future__ import annotations

from typing import Any

from tinygrad_edu.backend import module_of, nccl
from tinygrad_edu.distributed.errors import DistError
from tinygrad_edu.dtypes import Array

_TYPES = {
    "bool": "UINT8", "int8": "INT8", "uint8": "UINT8", "int32": "INT32", "uint32": "UINT32",
    "int64": "INT64", "uint64": "UINT64", "float32": "FLOAT32", "float64": "FLOAT64",
}  # fmt: skip


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


class Staged:
    """As `mpi.Staged`, for arrays that stay on the GPU."""

    def __init__(self, tensor: Any, sums: bool = False) -> None:
        self.tensor, array = tensor, tensor.array
        wide = sums and array.dtype.itemsize == 2 and array.dtype.kind not in "iu"
        self.buffer = module_of(array).ascontiguousarray(array.astype("float32") if wide else array)

    def back(self) -> None:
        """Write what has arrived into the tensor."""
        if self.buffer is not self.tensor.array:
            self.tensor.array[...] = self.buffer.reshape(self.tensor.array.shape)
        self.tensor._storage.write()


class NCCLEngine:
    """As `mpi.MPIEngine`, for arrays of a GPU; nothing is left to wait for.

    Args:
        comm: the communicator of MPI by which the group's ranks find each other.
    """

    stage = Staged

    def __init__(self, comm: Any) -> None:
        self.nccl = _module()
        self.rank, self.size = int(comm.rank), int(comm.size)
        name = comm.bcast(self.nccl.get_unique_id() if not self.rank else None)
        self.comm = self.nccl.NcclCommunicator(self.size, name, self.rank)

    def _type(self, x: Array) -> int:
        if x.dtype.name not in _TYPES:
            raise TypeError(f"NCCL cannot add up {x.dtype.name}")
        return int(getattr(self.nccl, f"NCCL_{_TYPES[x.dtype.name]}"))

    def _op(self, op: str, x: Array) -> int:
        if x.dtype == bool:
            op = {"SUM": "MAX", "LOR": "MAX", "PROD": "MIN"}.get(op, op)
        if op not in ("SUM", "PROD", "MIN", "MAX"):
            raise RuntimeError(f"Cannot use ReduceOp.{op} with NCCL")
        return int(getattr(self.nccl, f"NCCL_{op}"))

    def _stream(self, x: Array) -> Any:
        return module_of(x).cuda.get_current_stream().ptr

    def all_reduce(self, x: Array, op: str) -> list[Any]:
        at, kind, how = x.data.ptr, self._type(x), self._op(op, x)
        self.comm.allReduce(at, at, x.size, kind, how, self._stream(x))
        return []

    def reduce(self, x: Array, op: str, root: int) -> list[Any]:
        at, kind, how = x.data.ptr, self._type(x), self._op(op, x)
        self.comm.reduce(at, at, x.size, kind, how, root, self._stream(x))
        return []

    def broadcast(self, x: Array, root: int) -> list[Any]:
        at, kind = x.data.ptr, self.nccl.NCCL_UINT8
        self.comm.broadcast(at, at, x.nbytes, kind, root, self._stream(x))
        return []

    def all_gather(self, y: Array, x: Array) -> list[Any]:
        kind = self.nccl.NCCL_UINT8
        self.comm.allGather(x.data.ptr, y.data.ptr, x.nbytes, kind, self._stream(x))
        return []

    def reduce_scatter(self, y: Array, x: Array, op: str) -> list[Any]:
        kind, how = self._type(x), self._op(op, x)
        self.comm.reduceScatter(x.data.ptr, y.data.ptr, y.size, kind, how, self._stream(x))
        return []

    def gather(self, y: Array | None, x: Array, root: int) -> list[Any]:
        return self._swap({root: x}, {} if y is None else dict(enumerate(y)))

    def scatter(self, y: Array, x: Array | None, root: int) -> list[Any]:
        return self._swap({} if x is None else dict(enumerate(x)), {root: y})

    def all_to_all(self, y: Array, x: Array) -> list[Any]:
        return self._swap(dict(enumerate(x)), dict(enumerate(y)))

    def _swap(self, given: dict[int, Array], taken: dict[int, Array]) -> list[Any]:
        """Messages to and from several ranks, as one operation."""
        self.nccl.groupStart()
        for r, x in given.items():
            self.send(x, r, 0)
        for r, y in taken.items():
            self.receive(y, r, 0)
        self.nccl.groupEnd()
        return []

    def send(self, x: Array, to: int, tag: int) -> list[Any]:
        self.comm.send(x.data.ptr, x.nbytes, self.nccl.NCCL_UINT8, to, self._stream(x))
        return []

    def receive(self, y: Array, source: int, tag: int) -> list[Any]:
        self.comm.recv(y.data.ptr, y.nbytes, self.nccl.NCCL_UINT8, source, self._stream(y))
        return []
