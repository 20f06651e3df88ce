"""The operations between processes: all of a group's ranks call them, in the same order.

Unlike torch, ranks that call different operations, or with tensors of different shapes or dtypes,
all raise.  bfloat16 and float16 are added up in float32 and rounded once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import timedelta
from enum import Enum, auto
from typing import Any, ParamSpec, TypeVar

from tinygrad_edu.distributed.mpi import Staged
from tinygrad_edu.distributed.work import Message, Work
from tinygrad_edu.distributed.world import ProcessGroup, member
from tinygrad_edu.dtypes import from_numpy, is_floating
from tinygrad_edu.tensor import Tensor

Group = ProcessGroup | int | None
P = ParamSpec("P")
T = TypeVar("T")


class ReduceOp(Enum):
    """What becomes of the elements of several processes' tensors.

    Unlike torch, AVG works on the CPU too; it is the sum, divided by the number of ranks.
    """

    SUM, AVG, PRODUCT, MIN, MAX, BAND, BOR, BXOR = (auto() for _ in range(8))


def _tensor(x: object, what: str = "tensor") -> Tensor:
    if not isinstance(x, Tensor):
        raise TypeError(
            f"Invalid function argument. Expected parameter `{what}` of type torch.Tensor but got"
            f" {type(x)} instead."
        )
    return x


def _mpi_op(op: ReduceOp, x: Tensor) -> str:
    """MPI's name of an operation; after AVG the result must be divided by the ranks."""
    if not isinstance(op, ReduceOp):
        raise TypeError(f"op: expected a ReduceOp, got {op!r}")
    floating = is_floating(x.array.dtype)
    if floating and op.name in ("BAND", "BOR", "BXOR"):
        raise RuntimeError(f"Cannot use ReduceOp.{op.name} with {x.dtype}")
    if not floating and op is ReduceOp.AVG:
        raise RuntimeError(f"Cannot use ReduceOp.AVG with {x.dtype}: divide the sum yourself")
    return {"AVG": "SUM", "PRODUCT": "PROD"}.get(op.name, op.name)


class _Elsewhere(Exception):
    """This process is not in the group."""


def here(group: Group) -> ProcessGroup:
    """The group, for an operation `of_members`."""
    found = member(group)
    if found is None:
        raise _Elsewhere
    return found


def of_members(operation: Callable[P, T]) -> Callable[P, T | None]:
    """Let the operation do nothing, and return None, in a process that is not in the group."""

    @functools.wraps(operation)
    def call(*args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return operation(*args, **kwargs)
        except _Elsewhere:
            return None

    return call


class _Part:
    """What this rank has to do with an operation.

    Args:
        tensor: this rank's own, which is alike on all ranks.
        what: its name as an argument.

    Attributes:
        x, y: what this rank gives and what it gets, None if nothing; the tensor unless changed.
        root: the number of the rank that gives or gets alone, if one does.
        engine: what carries the arrays.
    """

    def __init__(
        self, name: str, group: Group, tensor: object, what: str = "tensor",
        op: ReduceOp | None = None,
    ) -> None:  # fmt: skip
        self.name, self.tensor, self.op, self.root = name, _tensor(tensor, what), op, -1
        self.group = here(group)
        self.size = self.group.size()
        self.engine: Any = self.group.engine(self.tensor)
        self._mpi_op = None if op is None else _mpi_op(op, self.tensor)
        self.x: Staged | None = self.staged(self.tensor)
        self.y: Staged | None = self.x

    def staged(self, tensors: Tensor | list[Tensor]) -> Staged:
        """Tensors as the engine sends them."""
        return Staged(tensors, self.engine.host, sums=self.op is not None)

    def is_root(self, rank: int | None, within: int | None, what: str) -> bool:
        """Whether this rank is the root, which is given by its rank or its number in the group."""
        self.root = root_of(self.group, rank, within, what)
        return self.group.rank() == self.root

    def call(self) -> str:
        """What all ranks must call, in words."""
        array = self.tensor.array
        said = [from_numpy(array.dtype).name, f"shape {array.shape}"]
        said += [] if self.op is None else [self.op.name]
        said += [f"root {self.root}"] * (self.root >= 0)
        return f"{self.name}({', '.join(said)})"

    def run(self, async_op: bool) -> Work | None:
        """Begin; wait for the end unless `async_op`."""
        if self.x is not None:
            self.x.fill()
        more = [self._mpi_op] * (self.op is not None) + [self.root] * (self.root >= 0)
        arrays = [None if staged is None else staged.buffer for staged in (self.y, self.x)]
        start = functools.partial(getattr(self.engine, self.name), *arrays, *more)
        return waited(Work(self.group, self.call(), start, self._finish), async_op)

    def _finish(self) -> None:
        if self.y is not None:
            if self.op is ReduceOp.AVG:
                self.y.buffer /= self.size
            self.y.back()

    def each(self, tensors: Any, what: str) -> Staged:
        """One tensor for each rank, all of them like this rank's."""
        found, x = [_tensor(t, what) for t in tensors], self.tensor
        if len(found) != self.size:
            raise RuntimeError(
                f"{what}: expected {self.size} tensors, one a rank, got {len(found)}"
            )
        for i, t in enumerate(found):
            if t.array.dtype != x.array.dtype:
                raise ValueError(
                    f"Invalid usage of tensors with different dtypes: {what}[{i}] is of {t.dtype},"
                    f" the tensor of {x.dtype}"
                )
            if t.array.shape != x.array.shape:
                raise RuntimeError(
                    f"{what}: invalid tensor size at index {i} (expected {tuple(x.shape)}, got"
                    f" {tuple(t.shape)})"
                )
        return self.staged(found)

    def whole(self, tensor: object, what: str) -> Staged:
        """One tensor that holds as much as those of all ranks, end to end or stacked."""
        found, x = _tensor(tensor, what).array, self.tensor.array
        if found.dtype != x.dtype:
            raise TypeError(f"{self.name}: output tensor must have the same type as input tensor")
        if found.size != self.size * x.size:
            raise ValueError(
                f"{self.name}: {what} must have {self.size} times as many elements as the other"
                f" tensor, but they have {found.size} and {x.size}"
            )
        return self.staged(_tensor(tensor))


def waited(work: Work, async_op: bool, timeout: timedelta | None = None) -> Work | None:
    """The work if it is to be waited for later; else None, once it is done."""
    if async_op:
        return work
    work.wait(timeout)
    return None


def root_of(group: ProcessGroup, rank: int | None, within: int | None, what: str) -> int:
    """The group's number of the rank that gives or gets."""
    if within is None:
        return group.number(0 if rank is None else rank, what)
    if rank is not None:
        raise ValueError(f"Can't specify both group_{what} and {what}")
    if not 0 <= within < group.size():
        raise ValueError(f"group_{what}: {within} is not in [0, {group.size()})")
    return within


def check_list(name: str, which: str, given: object, mine: bool) -> None:
    """Only the rank that gives or gets a list must name one."""
    if mine and not given:
        raise ValueError(f"Argument ``{name}`` must be specified on {which} rank.")
    if given and not mine:
        raise ValueError(f"Argument ``{name}`` must NOT be specified on non-{which} ranks.")


@of_members
def barrier(
    group: Group = None, async_op: bool = False, device_ids: object = None,
    timeout: timedelta | None = None,
) -> Work | None:  # fmt: skip
    """Wait until all ranks have called this."""
    return waited(Work(here(group), "barrier()", lambda: None), async_op, timeout)


@of_members
def broadcast(
    tensor: Tensor, src: int | None = None, group: Group = None, async_op: bool = False,
    group_src: int | None = None,
) -> Work | None:  # fmt: skip
    """Give every rank the tensor of the rank `src`, written into `tensor`."""
    part = _Part("broadcast", group, tensor)
    if part.is_root(src, group_src, "src"):
        part.y = None
    else:
        part.x = None
    return part.run(async_op)


@of_members
def all_reduce(
    tensor: Tensor, op: ReduceOp = ReduceOp.SUM, group: Group = None, async_op: bool = False
) -> Work | None:
    """Combine the tensors of all ranks element by element; every rank's `tensor` gets the result.

    Args:
        tensor: of the same shape and dtype on every rank.
        op: how.
        group: of which processes; all unless given.
        async_op: return a `Work` to `wait` for, instead of waiting.

    Raises:
        DistBackendError: the ranks disagree, one has left, or it took too long.
        RuntimeError: AVG of integers, bits of floats.
    """
    return _Part("all_reduce", group, tensor, op=op).run(async_op)


@of_members
def reduce(
    tensor: Tensor, dst: int | None = None, op: ReduceOp = ReduceOp.SUM, group: Group = None,
    async_op: bool = False, group_dst: int | None = None,
) -> Work | None:  # fmt: skip
    """As `all_reduce`, but only the tensor of the rank `dst` gets the result."""
    part = _Part("reduce", group, tensor, op=op)
    if not part.is_root(dst, group_dst, "dst"):
        part.y = None
    return part.run(async_op)


@of_members
def all_gather(
    tensor_list: list[Tensor], tensor: Tensor, group: Group = None, async_op: bool = False
) -> Work | None:
    """Write the tensor of every rank into `tensor_list`, on every rank."""
    part = _Part("all_gather", group, tensor)
    part.y = part.each(tensor_list, "tensor_list")
    return part.run(async_op)


@of_members
def all_gather_into_tensor(
    output_tensor: Tensor, input_tensor: Tensor, group: Group = None, async_op: bool = False
) -> Work | None:
    """Write the tensors of all ranks into one, end to end or stacked, on every rank."""
    part = _Part("all_gather", group, input_tensor)
    part.y = part.whole(output_tensor, "output_tensor")
    return part.run(async_op)


all_gather_single = all_gather_into_tensor


@of_members
def gather(
    tensor: Tensor, gather_list: list[Tensor] | None = None, dst: int | None = None,
    group: Group = None, async_op: bool = False, group_dst: int | None = None,
) -> Work | None:  # fmt: skip
    """Write the tensor of every rank into the `gather_list` of the rank `dst`."""
    part = _Part("gather", group, tensor)
    mine = part.is_root(dst, group_dst, "dst")
    check_list("gather_list", "destination", gather_list, mine)
    part.y = part.each(gather_list, "gather_list") if mine else None
    return part.run(async_op)


@of_members
def scatter(
    tensor: Tensor, scatter_list: list[Tensor] | None = None, src: int | None = None,
    group: Group = None, async_op: bool = False, group_src: int | None = None,
) -> Work | None:  # fmt: skip
    """Write into each rank's `tensor` its part of the `scatter_list` of the rank `src`."""
    part = _Part("scatter", group, tensor)
    mine = part.is_root(src, group_src, "src")
    check_list("scatter_list", "source", scatter_list, mine)
    part.x = part.each(scatter_list, "scatter_list") if mine else None
    return part.run(async_op)


@of_members
def reduce_scatter(
    output: Tensor, input_list: list[Tensor], op: ReduceOp = ReduceOp.SUM, group: Group = None,
    async_op: bool = False,
) -> Work | None:  # fmt: skip
    """Combine the lists of all ranks; the r-th result is written into the `output` of rank r."""
    part = _Part("reduce_scatter", group, output, "output", op)
    part.x = part.each(input_list, "input_list")
    return part.run(async_op)


@of_members
def reduce_scatter_tensor(
    output: Tensor, input: Tensor, op: ReduceOp = ReduceOp.SUM, group: Group = None,
    async_op: bool = False,
) -> Work | None:  # fmt: skip
    """As `reduce_scatter`, of the parts of one tensor, end to end or stacked."""
    part = _Part("reduce_scatter", group, output, "output", op)
    part.x = part.whole(input, "input")
    return part.run(async_op)


reduce_scatter_single = reduce_scatter_tensor


@of_members
def all_to_all(
    output_tensor_list: list[Tensor], input_tensor_list: list[Tensor], group: Group = None,
    async_op: bool = False,
) -> Work | None:  # fmt: skip
    """Send the r-th input to rank r; the r-th output is what rank r has sent.

    Unlike torch, all of them must have one shape.
    """
    part = _Part("all_to_all", group, input_tensor_list[0], "input_tensor_list")
    part.x = part.each(input_tensor_list, "input_tensor_list")
    part.y = part.each(output_tensor_list, "output_tensor_list")
    return part.run(async_op)


# ---- messages to one rank


def _message(sending: bool, tensor: Tensor, rank: int | None, group: Group, tag: int) -> Message:
    part, what = _Part("send", group, tensor), "destination" if sending else "source"
    peer = None if rank is None else part.group.number(rank, what)
    if peer == part.group.rank():
        raise ValueError(
            f"Invalid {what} rank: {what} rank should not be the same as the rank of the current"
            " process."
        )
    if not 0 <= tag < 30_000:
        raise ValueError(f"tag: expected a number in [0, 30000), got {tag}")
    staged = part.staged(tensor)
    if sending:
        staged.fill()
    return Message(part.group, part.call(), peer, tag, sending, part.engine, staged)


@of_members
def isend(tensor: Tensor, dst: int, group: Group = None, tag: int = 0) -> Message:
    """Start sending a tensor to the rank `dst`, which must receive it."""
    return _message(True, tensor, dst, group, tag)


@of_members
def irecv(tensor: Tensor, src: int | None = None, group: Group = None, tag: int = 0) -> Message:
    """Start receiving a tensor from the rank `src`, or from any."""
    return _message(False, tensor, src, group, tag)


def send(tensor: Tensor, dst: int, group: Group = None, tag: int = 0) -> None:
    """Send a tensor to the rank `dst`, which must receive it."""
    work = isend(tensor, dst, group, tag)
    if work is not None:
        work.wait()


def recv(tensor: Tensor, src: int | None = None, group: Group = None, tag: int = 0) -> int:
    """Receive a tensor from the rank `src`, or from any; returns the sender's rank.

    Raises:
        DistBackendError: what was sent has another shape or dtype.
    """
    work = irecv(tensor, src, group, tag)
    if work is None:
        return -1
    work.wait()
    return work.group.ranks[work.source]


class P2POp:
    """A message of `batch_isend_irecv`: `isend` or `irecv`, the tensor, the other rank."""

    def __init__(
        self, op: Callable[..., Any], tensor: Tensor, peer: int, group: Group = None, tag: int = 0
    ) -> None:
        if op not in (isend, irecv):
            raise ValueError("Invalid ``op``. Expected ``op`` to be isend or irecv.")
        self.op, self.tensor, self.peer, self.group, self.tag = op, tensor, peer, group, tag


def batch_isend_irecv(p2p_op_list: list[P2POp]) -> list[Work]:
    """Start all of these messages."""
    return [p.op(p.tensor, p.peer, p.group, p.tag) for p in p2p_op_list]


__all__ = [
    "P2POp", "ReduceOp", "all_gather", "all_gather_into_tensor", "all_gather_single", "all_reduce",
    "all_to_all", "barrier", "batch_isend_irecv", "broadcast", "gather",
    "irecv", "isend", "recv", "reduce", "reduce_scatter",
    "reduce_scatter_single", "reduce_scatter_tensor", "scatter", "send",
]  # fmt: skip
