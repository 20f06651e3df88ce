"""The operations between processes: all of a group's ranks call them, in the same order.

Unlike torch, ranks that call different operations, or with tensors of different shapes or dtypes,
all raise.  bfloat16 and float16 are added up in float32 and rounded once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from datetime import timedelta
from enum import Enum, auto
from typing import Any, ParamSpec, TypeVar

from tinygrad_edu.backend import new_like
from tinygrad_edu.distributed.work import Call, Message, Work, call_of
from tinygrad_edu.distributed.world import ProcessGroup, member
from tinygrad_edu.dtypes import is_floating
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


def _op(op: ReduceOp, x: Tensor) -> tuple[str, bool]:
    """MPI's name of an operation, and whether the result is to be divided by the ranks."""
    if not isinstance(op, ReduceOp):
        raise TypeError(f"op: expected a ReduceOp, got {op!r}")
    floating = is_floating(x.array.dtype)
    if floating and op.name in ("BAND", "BOR", "BXOR"):
        raise RuntimeError(f"Cannot use ReduceOp.{op.name} with {x.dtype}")
    if not floating and op is ReduceOp.AVG:
        raise RuntimeError(f"Cannot use ReduceOp.AVG with {x.dtype}: divide the sum yourself")
    return {"AVG": "SUM", "PRODUCT": "PROD"}.get(op.name, op.name), op is ReduceOp.AVG


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

    Attributes:
        x: its tensor; `buffer` is its array as the engine sends it.
        group, size: the ranks that take part, and how many they are.
        engine: what carries the arrays.
        mpi_op: MPI's name of the reduction, if it is one.
    """

    def __init__(
        self, tensor: object, group: Group, what: str = "tensor", op: ReduceOp | None = None
    ) -> None:
        self.x, self.group = _tensor(tensor, what), here(group)
        self.mpi_op, self._mean = ("", False) if op is None else _op(op, self.x)
        self._op, self.size = "" if op is None else op.name, self.group.size()
        self.engine: Any = self.group.engine(self.x)
        self._staged = self.engine.stage(self.x, sums=op is not None)
        self.buffer = self._staged.buffer

    def back(self) -> None:
        """Write what has arrived into the tensor."""
        if self._mean:
            self.buffer /= self.size
        self._staged.back()

    def run(
        self, name: str, start: Callable[[], list[Any]], finish: Callable[[], None] | None,
        async_op: bool, root: int = -1,
    ) -> Work | None:  # fmt: skip
        """Begin; wait for the end unless `async_op`."""
        work = Work(self.group, call_of(name, self.x, self._op, root), start, finish)
        if async_op:
            return work
        work.wait()
        return None

    def each(self, tensors: Any, what: str) -> list[Tensor]:
        """One tensor for each rank, all of them like this rank's."""
        found, x = [_tensor(t, what) for t in tensors], self.x
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
        return found

    def rows(self, tensors: Sequence[Tensor] = ()) -> Any:
        """An array with a row for each rank, filled with these tensors."""
        y = new_like(self.buffer, (self.size, *self.buffer.shape))
        for i, t in enumerate(tensors):
            y[i] = self.engine.stage(t).buffer
        return y

    def spread(self, y: Any, tensors: Sequence[Tensor]) -> None:
        """Write the rows of an array into tensors."""
        for row, t in zip(y, tensors, strict=True):
            staged = self.engine.stage(t)
            staged.buffer[...] = row
            staged.back()

    def check_whole(self, whole: Tensor, what: str) -> None:
        """`whole` must hold as much as this tensor on all ranks, end to end or stacked."""
        if whole.array.dtype != self.x.array.dtype:
            raise TypeError(f"{what}: output tensor must have the same type as input tensor")
        if whole.array.size != self.size * self.x.array.size:
            raise ValueError(
                f"{what}: one of the tensors must have {self.size} times as many elements as the"
                f" other, but they have {whole.array.size} and {self.x.array.size}"
            )


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
    work = Work(here(group), Call("barrier"), lambda: [])
    if async_op:
        return work
    work.wait(timeout)
    return None


@of_members
def broadcast(
    tensor: Tensor, src: int | None = None, group: Group = None, async_op: bool = False,
    group_src: int | None = None,
) -> Work | None:  # fmt: skip
    """Give every rank the tensor of the rank `src`, written into `tensor`."""
    part = _Part(tensor, group)
    root = root_of(part.group, src, group_src, "src")
    back = None if part.group.rank() == root else part.back
    start = functools.partial(part.engine.broadcast, part.buffer, root)
    return part.run("broadcast", start, back, async_op, root)


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
    part = _Part(tensor, group, op=op)
    start = functools.partial(part.engine.all_reduce, part.buffer, part.mpi_op)
    return part.run("all_reduce", start, part.back, async_op)


@of_members
def reduce(
    tensor: Tensor, dst: int | None = None, op: ReduceOp = ReduceOp.SUM, group: Group = None,
    async_op: bool = False, group_dst: int | None = None,
) -> Work | None:  # fmt: skip
    """As `all_reduce`, but only the tensor of the rank `dst` gets the result."""
    part = _Part(tensor, group, op=op)
    root = root_of(part.group, dst, group_dst, "dst")
    back = part.back if part.group.rank() == root else None
    start = functools.partial(part.engine.reduce, part.buffer, part.mpi_op, root)
    return part.run("reduce", start, back, async_op, root)


@of_members
def all_gather(
    tensor_list: list[Tensor], tensor: Tensor, group: Group = None, async_op: bool = False
) -> Work | None:
    """Write the tensor of every rank into `tensor_list`, on every rank."""
    part = _Part(tensor, group)
    outputs, y = part.each(tensor_list, "tensor_list"), part.rows()
    start = functools.partial(part.engine.all_gather, y, part.buffer)
    return part.run("all_gather", start, functools.partial(part.spread, y, outputs), async_op)


@of_members
def all_gather_into_tensor(
    output_tensor: Tensor, input_tensor: Tensor, group: Group = None, async_op: bool = False
) -> Work | None:
    """Write the tensors of all ranks into one, end to end or stacked, on every rank."""
    part, output = _Part(input_tensor, group), _tensor(output_tensor)
    part.check_whole(output, "all_gather_into_tensor")
    whole = part.engine.stage(output)
    start = functools.partial(part.engine.all_gather, whole.buffer, part.buffer)
    return part.run("all_gather", start, whole.back, async_op)


all_gather_single = all_gather_into_tensor


@of_members
def gather(
    tensor: Tensor, gather_list: list[Tensor] | None = None, dst: int | None = None,
    group: Group = None, async_op: bool = False, group_dst: int | None = None,
) -> Work | None:  # fmt: skip
    """Write the tensor of every rank into the `gather_list` of the rank `dst`."""
    part = _Part(tensor, group)
    root = root_of(part.group, dst, group_dst, "dst")
    check_list("gather_list", "destination", gather_list, mine := part.group.rank() == root)
    y, back = None, None
    if mine:
        y = part.rows()
        back = functools.partial(part.spread, y, part.each(gather_list, "gather_list"))
    start = functools.partial(part.engine.gather, y, part.buffer, root)
    return part.run("gather", start, back, async_op, root)


@of_members
def scatter(
    tensor: Tensor, scatter_list: list[Tensor] | None = None, src: int | None = None,
    group: Group = None, async_op: bool = False, group_src: int | None = None,
) -> Work | None:  # fmt: skip
    """Write into each rank's `tensor` its part of the `scatter_list` of the rank `src`."""
    part = _Part(tensor, group)
    root = root_of(part.group, src, group_src, "src")
    check_list("scatter_list", "source", scatter_list, mine := part.group.rank() == root)
    x = part.rows(part.each(scatter_list, "scatter_list")) if mine else None
    start = functools.partial(part.engine.scatter, part.buffer, x, root)
    return part.run("scatter", start, part.back, async_op, root)


@of_members
def reduce_scatter(
    output: Tensor, input_list: list[Tensor], op: ReduceOp = ReduceOp.SUM, group: Group = None,
    async_op: bool = False,
) -> Work | None:  # fmt: skip
    """Combine the lists of all ranks; the r-th result is written into the `output` of rank r."""
    part = _Part(output, group, "output", op)
    x = part.rows(part.each(input_list, "input_list"))
    start = functools.partial(part.engine.reduce_scatter, part.buffer, x, part.mpi_op)
    return part.run("reduce_scatter", start, part.back, async_op)


@of_members
def reduce_scatter_tensor(
    output: Tensor, input: Tensor, op: ReduceOp = ReduceOp.SUM, group: Group = None,
    async_op: bool = False,
) -> Work | None:  # fmt: skip
    """As `reduce_scatter`, of the parts of one tensor, end to end or stacked."""
    part, whole = _Part(output, group, "output", op), _tensor(input, "input")
    part.check_whole(whole, "reduce_scatter_tensor")
    x = part.engine.stage(whole, sums=True).buffer
    start = functools.partial(part.engine.reduce_scatter, part.buffer, x, part.mpi_op)
    return part.run("reduce_scatter", start, part.back, async_op)


reduce_scatter_single = reduce_scatter_tensor


@of_members
def all_to_all(
    output_tensor_list: list[Tensor], input_tensor_list: list[Tensor], group: Group = None,
    async_op: bool = False,
) -> Work | None:  # fmt: skip
    """Send the r-th input to rank r; the r-th output is what rank r has sent.

    Unlike torch, all of them must have one shape.
    """
    part = _Part(input_tensor_list[0], group, "input_tensor_list")
    x = part.rows(part.each(input_tensor_list, "input_tensor_list"))
    y, outputs = part.rows(), part.each(output_tensor_list, "output_tensor_list")
    start = functools.partial(part.engine.all_to_all, y, x)
    return part.run("all_to_all", start, functools.partial(part.spread, y, outputs), async_op)


# ---- messages to one rank


def _peer(group: ProcessGroup, rank: int, what: str) -> int:
    number = group.number(rank, what)
    if number == group.rank():
        raise ValueError(
            f"Invalid {what} rank: {what} rank should not be the same as the rank of the current"
            " process."
        )
    return number


def _tag(tag: int) -> int:
    if not 0 <= tag < 30_000:
        raise ValueError(f"tag: expected a number in [0, 30000), got {tag}")
    return tag


@of_members
def isend(tensor: Tensor, dst: int, group: Group = None, tag: int = 0) -> Message:
    """Start sending a tensor to the rank `dst`, which must receive it."""
    part = _Part(tensor, group)
    to = _peer(part.group, dst, "destination")
    start = lambda peer: part.engine.send(part.buffer, peer, tag)  # noqa: E731
    return Message(part.group, part.engine, call_of("send", part.x), to, _tag(tag), True, start)


@of_members
def irecv(tensor: Tensor, src: int | None = None, group: Group = None, tag: int = 0) -> Message:
    """Start receiving a tensor from the rank `src`, or from any."""
    part = _Part(tensor, group)
    source = None if src is None else _peer(part.group, src, "source")
    start = lambda peer: part.engine.receive(part.buffer, peer, tag)  # noqa: E731
    call = call_of("send", part.x)
    return Message(part.group, part.engine, call, source, _tag(tag), False, start, part.back)


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
