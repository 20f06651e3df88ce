"""The backend "nccl" on the stand-in for CuPy; what NCCL would do, MPI does on the host.

Run by tests/test_distributed.py, with tests/ in the path; prints "ok" on each rank.
"""

from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import strict_cupy
from mpi4py import MPI

TYPES = ["INT8", "UINT8", "INT32", "UINT32", "INT64", "UINT64", "FLOAT32", "FLOAT64"]
OPS = ["SUM", "PROD", "MAX", "MIN"]
pending: list[Any] = []


def at(address: int, count: int, kind: int) -> Any:
    """The numbers at an address."""
    dtype = np.dtype(TYPES[kind].lower())
    memory = (ctypes.c_char * (count * dtype.itemsize)).from_address(address)
    return np.frombuffer(memory, dtype)


class NcclCommunicator:
    """CuPy's methods, on memory of the host."""

    def __init__(self, size: int, name: Any, rank: int) -> None:
        assert name == "an id"
        self.comm = MPI.COMM_WORLD.Dup()
        assert (self.comm.size, self.comm.rank) == (size, rank)

    def allReduce(self, a: int, b: int, n: int, kind: int, op: int, stream: int) -> None:
        self.comm.Allreduce(at(a, n, kind).copy(), at(b, n, kind), getattr(MPI, OPS[op]))

    def reduce(self, a: int, b: int, n: int, kind: int, op: int, root: int, stream: int) -> None:
        into = at(b, n, kind) if self.comm.rank == root else None
        self.comm.Reduce(at(a, n, kind).copy(), into, getattr(MPI, OPS[op]), root)

    def broadcast(self, a: int, b: int, n: int, kind: int, root: int, stream: int) -> None:
        self.comm.Bcast(at(b, n, kind), root)

    def allGather(self, a: int, b: int, n: int, kind: int, stream: int) -> None:
        self.comm.Allgather(at(a, n, kind), at(b, n * self.comm.size, kind))

    def reduceScatter(self, a: int, b: int, n: int, kind: int, op: int, stream: int) -> None:
        whole = at(a, n * self.comm.size, kind)
        self.comm.Reduce_scatter_block(whole, at(b, n, kind), getattr(MPI, OPS[op]))

    def send(self, a: int, n: int, kind: int, peer: int, stream: int) -> None:
        pending.append(self.comm.Isend(at(a, n, kind), peer))
        end(False)

    def recv(self, a: int, n: int, kind: int, peer: int, stream: int) -> None:
        pending.append(self.comm.Irecv(at(a, n, kind), peer))
        end(False)


depth = [0]


def begin() -> None:
    depth[0] += 1


def end(of_group: bool = True) -> None:
    depth[0] -= of_group
    if not depth[0]:
        MPI.Request.Waitall(pending)
        pending.clear()


def main() -> None:
    with strict_cupy.installed() as cupy:
        fake: Any = SimpleNamespace(
            NcclCommunicator=NcclCommunicator, get_unique_id=lambda: "an id", groupStart=begin,
            groupEnd=end, **{f"NCCL_{name}": i for names in (TYPES, OPS)
                             for i, name in enumerate(names)},
        )  # fmt: skip
        cupy.cuda.nccl = sys.modules["cupy.cuda.nccl"] = fake
        check()
        del sys.modules["cupy.cuda.nccl"]
    sys.stdout.write("ok\n")  # in one piece: the other rank writes at the same time
    sys.stdout.flush()


def check() -> None:
    import tinygrad_edu as torch
    import tinygrad_edu.distributed as dist

    dist.init_process_group("nccl")
    rank, size = dist.get_rank(), dist.get_world_size()
    for name in ("float32", "float64", "int64", "uint8", "bool", "float16"):
        x = torch.tensor([[rank, 1], [2, rank]]).to(getattr(torch, name)).cuda()
        every = [torch.tensor([[r, 1], [2, r]]).to(getattr(torch, name)) for r in range(size)]
        y = x.clone()
        dist.all_reduce(y)
        total = sum(e.double() for e in every).to(y.dtype)
        assert torch.equal(y.cpu(), total), (name, y, total)
        y = x.t().clone().t()  # not contiguous
        dist.broadcast(y, 1)
        assert torch.equal(y.cpu(), every[1])
        parts = [torch.zeros_like(x) for _ in range(size)]
        dist.all_gather(parts, x)
        assert all(torch.equal(a.cpu(), b) for a, b in zip(parts, every, strict=True))
        dist.gather(x, parts if rank == 0 else None, 0)
        dist.scatter(y, parts if rank == 1 else None, 1)
        assert torch.equal(y.cpu(), every[rank])
        dist.all_to_all(parts, [x.clone() for _ in range(size)])
        assert all(torch.equal(a.cpu(), b) for a, b in zip(parts, every, strict=True))
        if name != "bool":
            dist.reduce_scatter(y, [x.clone() for _ in range(size)])
            dist.reduce(x, 0)
            assert torch.equal(y.cpu(), total) and (rank or torch.equal(x.cpu(), total))
    through_the_host = torch.ones(2, 3).cuda().t()
    dist.all_reduce(through_the_host, group=dist.new_group(backend="gloo"))
    assert through_the_host.is_cuda and through_the_host.tolist() == [[size] * 2] * 3
    mean = torch.full((3,), float(rank)).cuda()
    dist.all_reduce(mean, dist.ReduceOp.AVG)
    assert mean.tolist() == [(size - 1) / 2] * 3
    try:
        dist.all_reduce(torch.ones(2))
    except RuntimeError as error:
        assert "device type cpu" in str(error)
    try:
        dist.all_reduce(torch.ones(2 + rank).cuda())
    except dist.DistBackendError as error:
        assert "rank 1 called" in str(error)
    if rank == 0:
        dist.send(mean, 1)
    elif rank == 1:
        dist.recv(mean.zero_(), 0)
        assert mean[0].item() == (size - 1) / 2
    found = [None] * size
    dist.all_gather_object(found, rank)
    assert found == [*range(size)]
    grads = []
    for place in ("cpu", "cuda"):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))
        x = torch.randn(4 * size, 4)
        if place == "cuda":
            model = torch.nn.parallel.DistributedDataParallel(model.cuda(), device_ids=[0])
            x = x[rank::size]
        model(x).square().mean().backward()
        grads.append([p.grad.cpu().numpy() for p in model.parameters()])
    for a, b in zip(*grads, strict=True):
        assert np.abs(a - b).max() < 1e-6
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
