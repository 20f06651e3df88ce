"""The process groups: the default one that `init_process_group` makes, and parts of it."""

from __future__ import annotations

import atexit
import copy
import importlib.util
import os
import sys
import time
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlparse

from tinygrad_edu.distributed import mpi
from tinygrad_edu.distributed.errors import INSTALL as INSTALL
from tinygrad_edu.distributed.errors import DistNetworkError
from tinygrad_edu.distributed.work import Work, drain
from tinygrad_edu.names.ranks import announce
from tinygrad_edu.tensor import Tensor

default_pg_timeout = timedelta(minutes=30)
_BACKENDS = {  # what each name means for tensors of the host, and of a GPU
    "gloo": ("mpi", "mpi"),
    "mpi": ("mpi", "mpi"),
    "nccl": (None, "nccl"),
    "cpu:gloo,cuda:nccl": ("mpi", "nccl"),
}


class World:
    """The processes that MPI has started.

    Attributes:
        left: when this rank noticed that another has left, by rank.
    """

    def __init__(self, MPI: Any, limit: timedelta) -> None:
        self.MPI, self.comm = MPI, _duplicate(MPI.COMM_WORLD, limit)
        self.rank, self.size = int(self.comm.rank), int(self.comm.size)
        self.left: dict[int, float] = {}

    def gone(self) -> set[int]:
        """The ranks that have said that they leave."""
        status = self.MPI.Status()
        while self.comm.Iprobe(tag=mpi.LEAVING, status=status):
            self.comm.Recv(bytearray(0), status.Get_source(), mpi.LEAVING)
            self.left[int(status.Get_source())] = time.monotonic()
        return set(self.left)

    def leave(self) -> None:
        """Tell the others that this rank will not answer any more."""
        drain(1.0)
        for rank in range(self.size):
            if rank != self.rank:
                self.comm.Isend(bytearray(0), rank, mpi.LEAVING).Free()


def _duplicate(comm: Any, limit: timedelta) -> Any:
    """A communicator of the same processes, once all have called this."""
    made, request = comm.Idup()
    end = time.monotonic() + limit.total_seconds()
    while not request.Test():
        if time.monotonic() > end:
            raise DistNetworkError(
                f"init_process_group: not all of the {comm.size} processes have called it within"
                f" {limit.total_seconds():g} s"
            )
        time.sleep(1e-4)
    return made


class ProcessGroup:
    """Some of the processes, which communicate among themselves.

    Attributes:
        ranks: their ranks in the world; the group's own numbers are their places in this list.
        calls: the communicator by which they tell each other what they call.
        waiting: the operations whose data has not been started.
    """

    def __init__(
        self, world: World, comm: Any, ranks: list[int], backend: str, timeout: timedelta
    ) -> None:
        self.world, self.MPI, self.ranks = world, world.MPI, ranks
        self.backend, self.timeout = backend, timeout
        self.calls, self._data = comm, comm.Dup()
        self.waiting: deque[Work] = deque()
        self._engines: dict[str | None, Any] = {"mpi": mpi.MPIEngine(self.MPI, self._data)}

    def rank(self) -> int:
        """This process's number in the group."""
        return int(self.calls.rank)

    def size(self) -> int:
        """How many processes are in it."""
        return len(self.ranks)

    def name(self) -> str:
        """The backend's name."""
        return self.backend

    def engine(self, tensor: Tensor) -> Any:
        """What carries such a tensor.

        Raises:
            RuntimeError: the backend has nothing for its device.
        """
        kind = _BACKENDS[self.backend][tensor.is_cuda]
        if kind is None:
            raise RuntimeError(
                f"No backend type associated with device type {tensor.device.type}: the group's"
                f" backend is {self.backend!r}, which carries CUDA tensors only"
            )
        if kind not in self._engines:
            from tinygrad_edu.distributed.nccl import NCCLEngine

            self._engines[kind] = NCCLEngine(self.calls)
        return self._engines[kind]

    def on_host(self) -> ProcessGroup:
        """The same processes, over MPI."""
        found = copy.copy(self)  # with the same communicators, so the order of calls holds
        found.backend = "mpi"
        return found

    def number(self, rank: int, what: str) -> int:
        """The group's number of a rank of the world."""
        if rank not in self.ranks:
            raise ValueError(f"{what}: rank {rank} is not one of the group's, {self.ranks}")
        return self.ranks.index(rank)

    def __repr__(self) -> str:
        return f"<ProcessGroup of the ranks {self.ranks}, {self.backend}>"


class _State:
    default: ProcessGroup | None = None
    worlds: ClassVar[list[World]] = []


class _Named(type):
    @property
    def WORLD(cls) -> ProcessGroup | None:
        return _State.default


class GroupMember(metaclass=_Named):
    """`WORLD` is the default group, None before there is one.

    `NON_GROUP_MEMBER` is what `new_group` gives to processes that are not in it.
    """

    NON_GROUP_MEMBER = -100


group = GroupMember


def is_available() -> bool:
    """Whether mpi4py is installed.

    >>> import tinygrad_edu as torch
    >>> torch.distributed.is_available() == torch.distributed.is_mpi_available()
    True
    """
    return importlib.util.find_spec("mpi4py") is not None


is_mpi_available = is_gloo_available = is_available


def is_nccl_available() -> bool:
    """Whether CuPy is installed, has NCCL, and mpi4py is there to begin with."""
    if not is_available() or importlib.util.find_spec("cupy") is None:
        return False
    from tinygrad_edu.distributed.nccl import available

    return available()


def is_backend_available(backend: str) -> bool:
    """Whether a backend of that name can be used."""
    name = backend.lower()
    return is_nccl_available() if name == "nccl" else name in ("gloo", "mpi") and is_available()


def is_initialized() -> bool:
    """Whether there is a default group."""
    return _State.default is not None


def is_torchelastic_launched() -> bool:
    """Whether `distributed.run` has started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def get_default_backend_for_device(device: object) -> str:
    """The backend for tensors on a device: "gloo" or "nccl"."""
    kind = str(getattr(device, "type", device)).partition(":")[0]
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"Default backend not registered for device : {device}")
    return "nccl" if kind == "cuda" else "gloo"


def init_process_group(
    backend: str | None = None, init_method: str | None = None, timeout: timedelta | None = None,
    world_size: int = -1, rank: int = -1, store: object = None, group_name: str = "",
    pg_options: object = None, device_id: object = None,
) -> None:  # fmt: skip
    """Make the default group of all processes that MPI has started; all of them must call this.

    Args:
        backend: "gloo" or "mpi": both are MPI here; "nccl": NCCL through CuPy, for CUDA tensors;
            None: MPI for tensors of the host and NCCL for those of a GPU.
        init_method: "env://", "tcp://..." or "file://...": rank and number of processes in it are
            checked; MPI knows where the processes are.
        timeout: how long an operation may take; 30 minutes unless given.
        world_size, rank: checked against MPI.
        store, group_name, pg_options, device_id: a store is refused, the others are accepted.

    Raises:
        ValueError: there is one already, the backend is unknown, or the numbers contradict MPI.
        DistError: mpi4py or an MPI is missing.
    """
    if _State.default is not None:
        raise ValueError("trying to initialize the default process group twice!")
    name = _backend(backend, "cpu:gloo,cuda:nccl")
    if store is not None:
        raise NotImplementedError("init_process_group: store= is not supported; MPI has its own")
    if timeout is not None and not isinstance(timeout, timedelta):
        raise TypeError(
            f"Expected timeout argument to be of type datetime.timedelta, got {timeout!r}"
        )
    announce()
    MPI = mpi.load()
    _check_numbers(MPI.COMM_WORLD, init_method or "env://", world_size, rank)
    limit = timeout or default_pg_timeout
    world = World(MPI, limit)
    _State.default = ProcessGroup(world, world.comm.Dup(), [*range(world.size)], name, limit)
    if not _State.worlds:
        atexit.register(_at_exit)
    _State.worlds.append(world)


def _check_numbers(comm: Any, init_method: str, world_size: int, rank: int) -> None:
    url = urlparse(init_method)
    if url.scheme not in ("env", "tcp", "file"):
        raise ValueError(f"init_method: expected env://, tcp:// or file://, got {init_method!r}")
    query = parse_qs(url.query)
    for name, argument, here in (("world_size", world_size, comm.size), ("rank", rank, comm.rank)):
        variable = name.upper()
        for source, value in (
            (f"{name}=", argument),
            ("init_method", query.get(name, [-1])[0]),
            (variable, os.environ.get(variable) or -1),
        ):
            if int(value) not in (-1, here):
                raise ValueError(
                    f"init_process_group: {source} says {value}, but MPI's {name} is {here}. MPI"
                    " starts the processes: python -m tinygrad_edu.distributed.run"
                    f" --nproc-per-node={max(int(value), 2)} script.py"
                )


def _backend(name: str | None, unless_given: str) -> str:
    found = unless_given if name is None else str(name).lower()
    if found not in _BACKENDS:
        raise ValueError(f"Unknown backend type {name}: there are {', '.join(_BACKENDS)}")
    return found


def destroy_process_group(group: ProcessGroup | None = None) -> None:
    """Leave a group; the default one, and with it all others, unless another is given."""
    chosen = default_group() if group is None else group
    if chosen is _State.default:
        chosen.world.leave()
        _State.default = None


def _at_exit() -> None:
    """A process that ends tells the others, or ends them if it ends by an exception."""
    if hasattr(sys, "last_value"):
        end_all(1)
    if _State.default is not None:
        _State.default.world.leave()
    end = time.monotonic() + 0.5  # MPI dislikes messages that nobody has received
    for world in _State.worlds:
        while len(world.gone()) < world.size - 1 and time.monotonic() < end:
            time.sleep(1e-3)


def end_all(code: int) -> None:
    """End all processes that MPI has started, this one too, if there are several."""
    MPI: Any = sys.modules.get("mpi4py.MPI")
    if MPI is not None and not MPI.Is_finalized() and MPI.COMM_WORLD.size > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        MPI.COMM_WORLD.Abort(code)


def default_group() -> ProcessGroup:
    """The default group; ValueError before there is one."""
    if _State.default is None:
        raise ValueError(
            "Default process group has not been initialized, please make sure to call"
            " init_process_group."
        )
    return _State.default


def member(group: ProcessGroup | int | None) -> ProcessGroup | None:
    """The group that an argument means; None if this process is not in it."""
    if group is None:
        return default_group()
    return group if isinstance(group, ProcessGroup) else None


def get_rank(group: ProcessGroup | int | None = None) -> int:
    """This process's number in a group, the default one unless given; -1 if it is not in it.

    Raises:
        ValueError: there is no default group.
    """
    found = member(group)
    return -1 if found is None else found.rank()


def get_world_size(group: ProcessGroup | int | None = None) -> int:
    """How many processes are in a group; -1 if this one is not.

    Raises:
        ValueError: there is no default group.
    """
    found = member(group)
    return -1 if found is None else found.size()


def get_backend(group: ProcessGroup | None = None) -> str:
    """The name that the group's backend was asked for by."""
    found = member(group)
    if found is None:
        raise ValueError("Invalid process group specified")
    return "gloo" if found.backend.startswith("cpu:") else found.backend


def get_node_local_rank(fallback_rank: int | None = None) -> int:
    """This process's number on its machine, which LOCAL_RANK says."""
    if "LOCAL_RANK" in os.environ:
        return int(os.environ["LOCAL_RANK"])
    if fallback_rank is None:
        raise RuntimeError("LOCAL_RANK is not in the environment. Consider passing fallback_rank")
    return fallback_rank


def get_process_group_ranks(group: ProcessGroup | None) -> list[int]:
    """The ranks of a group's processes in the world."""
    found = member(group)
    return [] if found is None else [*found.ranks]


def get_group_rank(group: ProcessGroup, global_rank: int) -> int:
    """The group's number of a rank of the world."""
    return group.number(global_rank, "get_group_rank")


def get_global_rank(group: ProcessGroup, group_rank: int) -> int:
    """The rank in the world of one of the group's numbers."""
    if not 0 <= group_rank < group.size():
        raise ValueError(f"Group rank {group_rank} is not part of group {group}")
    return group.ranks[group_rank]


def new_group(
    ranks: Sequence[int] | None = None, timeout: timedelta | None = None,
    backend: str | None = None, pg_options: Any = None, use_local_synchronization: bool = False,
    group_desc: str | None = None, device_id: Any = None, sort_ranks: bool = True,
) -> Any:  # fmt: skip
    """Make a group of some of the processes; all processes must call this, in the same order.

    Args:
        ranks: of its processes; all unless given.
        timeout, backend: those of the default group unless given.
        sort_ranks: number them by rank, not in the order given.
        pg_options, use_local_synchronization, group_desc, device_id: accepted.

    Returns:
        The group; `GroupMember.NON_GROUP_MEMBER` in a process that is not in it.

    Raises:
        ValueError: a rank does not exist or is named twice.
    """
    whole = default_group()
    world = whole.world
    members = [*range(world.size)] if ranks is None else [int(r) for r in ranks]
    members = sorted(members) if sort_ranks else members
    if len({*members} & {*range(world.size)}) != len(members):
        raise ValueError(
            f"new_group: expected ranks in [0, {world.size}), none twice, got {members}"
        )
    name = _backend(backend, whole.backend)
    Work(whole, f"new_group({members})").wait()
    if world.rank not in members:
        world.comm.Split(world.MPI.UNDEFINED)
        return GroupMember.NON_GROUP_MEMBER
    comm = world.comm.Split(0, members.index(world.rank))
    return ProcessGroup(world, comm, members, name, timeout or whole.timeout)


__all__ = [
    "GroupMember", "ProcessGroup", "default_pg_timeout", "destroy_process_group", "get_backend",
    "get_default_backend_for_device", "get_global_rank", "get_group_rank", "get_node_local_rank",
    "get_process_group_ranks", "get_rank", "get_world_size", "group", "init_process_group",
    "is_available", "is_backend_available", "is_gloo_available", "is_initialized",
    "is_mpi_available", "is_nccl_available", "is_torchelastic_launched", "new_group",
]  # fmt: skip
