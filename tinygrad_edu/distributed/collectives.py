"""The operations between processes: all of a group's ranks call them, in the same order.

Unlike torch, ranks that call different operations, or with tensors of different shapes or dtypes,
all raise.  bfloat16 and float16 are added up in float32 and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from enum import Enum, auto
from typing import Any

from tinygrad_edu.backend import new_like
from tinygrad_edu.distributed.work import Call, Message, Work, call_of
from tinygrad_edu.distributed.world import ProcessGroup, member
from tinygrad_edu.dtypes import is_floating
from tinygrad_edu.tensor import Tensor

Group = ProcessGroup | int | None


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


def _list(tensors: Any, what: str, like: Tensor, group: ProcessGroup) -> list[Tensor]:
    """One tensor for each rank, all of them like `like`."""
    found = [_tensor(x, what) for x in tensors]
    if len(found) != group.size():
        raise RuntimeError(f"{what}: expected {group.size()} tensors, one a rank, got {len(found)}")
    for i, x in enumerate(found):
        if x.array.dtype != like.array.dtype:
            raise ValueError(
                f"Invalid usage of tensors with different dtypes: {what}[{i}] is of {x.dtype}, the"
                f" tensor of {like.dtype}"
            )
        if x.array.shape != like.array.shape:
            raise RuntimeError(
                f"{what}: invalid tensor size at index {i} (expected {tuple(like.shape)}, got"
                f" {tuple(x.shape)})"
            )
    return found


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


def _ended(work: Work, async_op: bool) -> Work | None:
    """The work, or None when it has been waited for."""
    if async_op:
        return work
    work.wait()
    return None


def barrier(
    group: Group = None, async_op: bool = False, device_ids: object = None,
    timeout: timedelta | None = None,
) -> Work | None:  # fmt: skip
    """Wait until all ranks have called this."""
    chosen = member(group)
    if chosen is None:
        return None
    work = Work(chosen, Call("barrier"), lambda: [])
    if async_op:
        return work
    work.wait(timeout)
    return None


def _root(group: ProcessGroup, rank: int | None, within: int | None, what: str) -> int:
    """The group's number of the rank that gives or gets."""
    if within is not None:
        if rank is not None:
            raise ValueError(f"Can't specify both group_{what} and {what}")
        if not 0 <= within < group.size():
            raise ValueError(f"group_{what}: {within} is not in [0, {group.size()})")
        return within
    return group.number(0 if rank is None else rank, what)


def broadcast(
    tensor: Tensor, src: int | None = None, group: Group = None, async_op: bool = False,
    group_src: int | None = None,
) -> Work | None:  # fmt: skip
    """Give every rank the tensor of the rank `src`, written into `tensor`."""
    x, chosen = _tensor(tensor), member(group)
    if chosen is None:
        return None
    root = _root(chosen, src, group_src, "src")
    engine = chosen.engine(x)
    staged = engine.stage(x)
    start = lambda: engine.broadcast(staged.buffer, root)  # noqa: E731
    finish = None if chosen.rank() == root else staged.back
    return _ended(Work(chosen, call_of("broadcast", x, "", root), start, finish), async_op)


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
    x, chosen = _tensor(tensor), member(group)
    if chosen is None:
        return None
    return _reduced(x, op, chosen, None, async_op)


def _reduced(
    x: Tensor, op: ReduceOp, chosen: ProcessGroup, root: int | None, async_op: bool
) -> Work | None:
    """Combine the tensors of all ranks on the group's number `root`; None: on all."""
    name, mean = _op(op, x)
    engine, size = chosen.engine(x), chosen.size()
    staged = engine.stage(x, sums=True)

    def start() -> list[Any]:
        if root is None:
            begun: list[Any] = engine.all_reduce(staged.buffer, name)
        else:
            begun = engine.reduce(staged.buffer, name, root)
        return begun

    def finish() -> None:
        if mean:
            staged.buffer /= size
        staged.back()

    call = call_of(
        "all_reduce" if root is None else "reduce", x, op.name, -1 if root is None else root
    )
    mine = finish if root in (None, chosen.rank()) else None
    return _ended(Work(chosen, call, start, mine), async_op)


def reduce(
    tensor: Tensor, dst: int | None = None, op: ReduceOp = ReduceOp.SUM, group: Group = None,
    async_op: bool = False, group_dst: int | None = None,
) -> Work | None:  # fmt: skip
    """As `all_reduce`, but only the tensor of the rank `dst` gets the result."""
    x, chosen = _tensor(tensor), member(group)
    if chosen is None:
        return None
    root = _root(chosen, dst, group_dst, "dst")
    return _reduced(x, op, chosen, root, async_op)


def _many(engine: Any, like: object, size: int) -> Any:
    """An array for the tensors of all ranks."""
    buffer = engine.stage(like).buffer
    return new_like(buffer, (size, *buffer.shape))


def _stacked(engine: Any, tensors: Sequence[Tensor], sums: bool = False) -> Any:
    """The tensors of all ranks in one array."""
    buffers = [engine.stage(x, sums).buffer for x in tensors]
    y = new_like(buffers[0], (len(buffers), *buffers[0].shape))
    for i, buffer in enumerate(buffers):
        y[i] = buffer
    return y


def _spread(engine: Any, y: Any, tensors: Sequence[Tensor]) -> None:
    """Write the rows of an array into tensors."""
    for row, x in zip(y, tensors, strict=True):
        staged = engine.stage(x)
        staged.buffer[...] = row
        staged.back()


def all_gather(
    tensor_list: list[Tensor], tensor: Tensor, group: Group = None, async_op: bool = False
) -> Work | None:
    """Write the tensor of every rank into `tensor_list`, on every rank."""
    x, chosen = _tensor(tensor), member(group)
    if chosen is None:
        return None
    outputs = _list(tensor_list, "tensor_list", x, chosen)
    engine = chosen.engine(x)
    staged, y = engine.stage(x), _many(engine, x, chosen.size())
    start = lambda: engine.all_gather(y, staged.buffer)  # noqa: E731
    finish = lambda: _spread(engine, y, outputs)  # noqa: E731
    return _ended(Work(chosen, call_of("all_gather", x), start, finish), async_op)


def _rows(x: Tensor, y: Tensor, size: int, what: str) -> None:
    """`y` must hold as much as the `x` of all ranks, end to end or stacked."""
    if x.array.dtype != y.array.dtype:
        raise TypeError(f"{what}: output tensor must have the same type as input tensor")
    if y.array.size != size * x.array.size:
        raise ValueError(
            f"{what}: one of the tensors must have {size} times as many elements as the other, but"
            f" they have {y.array.size} and {x.array.size}"
        )


def all_gather_into_tensor(
    output_tensor: Tensor, input_tensor: Tensor, group: Group = None, async_op: bool = False
) -> Work | None:
    """Write the tensors of all ranks into one, end to end or stacked, on every rank."""
    x, output, chosen = _tensor(input_tensor), _tensor(output_tensor), member(group)
    if chosen is None:
        return None
    _rows(x, output, chosen.size(), "all_gather_into_tensor")
    engine = chosen.engine(x)
    staged, whole = engine.stage(x), engine.stage(output)
    start = lambda: engine.all_gather(whole.buffer, staged.buffer)  # noqa: E731
    return _ended(Work(chosen, call_of("all_gather", x), start, whole.back), async_op)


all_gather_single = all_gather_into_tensor


def gather(
    tensor: Tensor, gather_list: list[Tensor] | None = None, dst: int | None = None,
    group: Group = None, async_op: bool = False, group_dst: int | None = None,
) -> Work | None:  # fmt: skip
    """Write the tensor of every rank into the `gather_list` of the rank `dst`."""
    x, chosen = _tensor(tensor), member(group)
    if chosen is None:
        return None
    root = _root(chosen, dst, group_dst, "dst")
    engine, mine = chosen.engine(x), chosen.rank() == root
    _check_list("gather_list", "destination", gather_list, mine)
    outputs = _list(gather_list or (), "gather_list", x, chosen) if mine else []
    staged, y = engine.stage(x), _many(engine, x, chosen.size()) if mine else None
    start = lambda: engine.gather(y, staged.buffer, root)  # noqa: E731
    finish = (lambda: _spread(engine, y, outputs)) if mine else None
    return _ended(Work(chosen, call_of("gather", x, "", root), start, finish), async_op)


def _check_list(name: str, which: str, given: object, mine: bool) -> None:
    if mine and not given:
        raise ValueError(f"Argument ``{name}`` must be specified on {which} rank.")
    if given and not mine:
        raise ValueError(f"Argument ``{name}`` must NOT be specified on non-{which} ranks.")


def scatter(
    tensor: Tensor, scatter_list: list[Tensor] | None = None, src: int | None = None,
    group: Group = None, async_op: bool = False, group_src: int | None = None,
) -> Work | None:  # fmt: skip
    """Write into each rank's `tensor` its part of the `scatter_list` of the rank `src`."""
    x, chosen = _tensor(tensor), member(group)
    if chosen is None:
        return None
    root = _root(chosen, src, group_src, "src")
    engine, mine = chosen.engine(x), chosen.rank() == root
    _check_list("scatter_list", "source", scatter_list, mine)
    parts = None
    if mine:
        parts = _stacked(engine, _list(scatter_list or (), "scatter_list", x, chosen))
    staged = engine.stage(x)
    start = lambda: engine.scatter(staged.buffer, parts, root)  # noqa: E731
    return _ended(Work(chosen, call_of("scatter", x, "", root), start, staged.back), async_op)


def _scattered(
    x: Tensor, parts: Any, engine: Any, op: ReduceOp, chosen: ProcessGroup, async_op: bool
) -> Work | None:
    """Combine the `parts` of all ranks; `x` gets this rank's."""
    name, mean = _op(op, x)
    staged = engine.stage(x, sums=True)

    def finish() -> None:
        if mean:
            staged.buffer /= chosen.size()
        staged.back()

    start = lambda: engine.reduce_scatter(staged.buffer, parts, name)  # noqa: E731
    return _ended(Work(chosen, call_of("reduce_scatter", x, op.name), start, finish), async_op)


def reduce_scatter(
    output: Tensor, input_list: list[Tensor], op: ReduceOp = ReduceOp.SUM, group: Group = None,
    async_op: bool = False,
) -> Work | None:  # fmt: skip
    """Combine the lists of all ranks; the r-th result is written into the `output` of rank r."""
    x, chosen = _tensor(output, "output"), member(group)
    if chosen is None:
        return None
    engine = chosen.engine(x)
    parts = _stacked(engine, _list(input_list, "input_list", x, chosen), sums=True)
    return _scattered(x, parts, engine, op, chosen, async_op)


def reduce_scatter_tensor(
    output: Tensor, input: Tensor, op: ReduceOp = ReduceOp.SUM, group: Group = None,
    async_op: bool = False,
) -> Work | None:  # fmt: skip
    """As `reduce_scatter`, of the parts of one tensor, end to end or stacked."""
    x, whole, chosen = _tensor(output, "output"), _tensor(input, "input"), member(group)
    if chosen is None:
        return None
    _rows(x, whole, chosen.size(), "reduce_scatter_tensor")
    engine = chosen.engine(x)
    return _scattered(x, engine.stage(whole, sums=True).buffer, engine, op, chosen, async_op)


reduce_scatter_single = reduce_scatter_tensor


def all_to_all(
    output_tensor_list: list[Tensor], input_tensor_list: list[Tensor], group: Group = None,
    async_op: bool = False,
) -> Work | None:  # fmt: skip
    """Send the r-th input to rank r; the r-th output is what rank r has sent.

    Unlike torch, all of them must have one shape.
    """
    chosen = member(group)
    if chosen is None:
        return None
    like = _tensor(input_tensor_list[0], "input_tensor_list")
    inputs = _list(input_tensor_list, "input_tensor_list", like, chosen)
    outputs = _list(output_tensor_list, "output_tensor_list", like, chosen)
    engine = chosen.engine(like)
    x, y = _stacked(engine, inputs), _many(engine, like, chosen.size())
    start = lambda: engine.all_to_all(y, x)  # noqa: E731
    finish = lambda: _spread(engine, y, outputs)  # noqa: E731
    return _ended(Work(chosen, call_of("all_to_all", like), start, finish), async_op)


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


def isend(tensor: Tensor, dst: int, group: Group = None, tag: int = 0) -> Work | None:
    """Start sending a tensor to the rank `dst`, which must receive it."""
    x, chosen = _tensor(tensor), member(group)
    if chosen is None:
        return None
    engine, to = chosen.engine(x), _peer(chosen, dst, "destination")
    buffer = engine.stage(x).buffer
    start = lambda peer: engine.send(buffer, peer, tag)  # noqa: E731
    return Message(chosen, engine, call_of("send", x), to, _tag(tag), True, start)


def irecv(tensor: Tensor, src: int | None = None, group: Group = None, tag: int = 0) -> Any:
    """Start receiving a tensor from the rank `src`, or from any."""
    x, chosen = _tensor(tensor), member(group)
    if chosen is None:
        return None
    engine = chosen.engine(x)
    source = None if src is None else _peer(chosen, src, "source")
    staged = engine.stage(x)
    start = lambda peer: engine.receive(staged.buffer, peer, tag)  # noqa: E731
    call = call_of("send", x)
    return Message(chosen, engine, call, source, _tag(tag), False, start, staged.back)


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
    chosen, work = member(group), irecv(tensor, src, group, tag)
    if chosen is None:
        return -1
    work.wait()
    sender: int = chosen.ranks[work.source]
    return sender


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
