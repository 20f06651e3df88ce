"""The operations between processes: all of a group's ranks call them, in the same order.

Unlike torch, ranks that call different operations, or with tensors of different shapes or dtypes,
all raise.  bfloat16 and float16 are added up in float32 and rounded once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import timedelta
from enum import Enum, auto
from typing import Any

from tinygrad_edu.distributed.mpi import Staged
from tinygrad_edu.distributed.work import Message, Work
from tinygrad_edu.distributed.world import ProcessGroup, member
from tinygrad_edu.dtypes import from_numpy, is_floating
from tinygrad_edu.tensor import Tensor

Group = ProcessGroup | int | None
Named = tuple[str, Any]  # an argument: its name, and what was given
Root = tuple[str, int | None, int | None]  # "src" or "dst"; its rank, or its number in the group


class ReduceOp(Enum):
    """What becomes of the elements of several processes' tensors.

    Unlike torch, AVG works on the CPU too; it is the sum, divided by the number of ranks.
    """

    SUM, AVG, PRODUCT, MIN, MAX, BAND, BOR, BXOR = (auto() for _ in range(8))


def _tensor(what: str, x: object) -> Tensor:
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


_LARGE = {  # what has a part for each rank: x, which is given, or y, which is got
    "all_gather": "y", "gather": "y", "scatter": "x", "reduce_scatter": "x", "all_to_all": "xy",
}  # fmt: skip


def _collective(
    name: str, x: Named, y: Named | None, group: Group, async_op: bool,
    op: ReduceOp | None = None, root: Root | None = None,
) -> Work | None:  # fmt: skip
    """Check what an operation was given and start it; wait for its end unless `async_op`.

    Args:
        name: the engines' name of it.
        x, y: what this rank gives and what it gets; without y, x is changed in place.
        group: whose ranks take part; a process that is not in it does nothing.
        op: how tensors are combined, if they are.
        root: who alone gives or gets, if one does.
    """
    chosen = member(group)
    if chosen is None:
        return None
    large, target = _LARGE.get(name, ""), x if y is None else y
    number, gives, gets = -1, True, True
    if root is not None:
        number = root_of(chosen, *root)
        alone = chosen.rank() == number
        if root[0] == "src":
            gives, gets = alone, y is not None or not alone
        else:
            gets = alone
        if large:
            check_list(*(x if large == "x" else target), root[0], alone)
    what, alike = target if large == "x" else x  # alike on all ranks
    like = _tensor(what, next(iter(alike), None) if large == "xy" else alike)
    mpi_op = None if op is None else _mpi_op(op, like)
    engine = chosen.engine(like)

    def staged(argument: Named, side: str) -> Staged:
        found = _parts(name, *argument, like, chosen.size()) if side in large else like
        return Staged(found, engine.host, sums=op is not None)

    sent = staged(x, "x") if gives else None
    got = None
    if gets:
        got = sent if sent and y is None else staged(target, "y")
    if sent is not None:
        sent.fill()
    buffers = [None if side is None else side.buffer for side in (got, sent)]
    more = [mpi_op] * (op is not None) + [number] * (number >= 0)
    start = functools.partial(getattr(engine, name), *buffers, *more)

    def finish() -> None:
        if got is not None:
            if op is ReduceOp.AVG:
                got.buffer /= chosen.size()
            got.back()

    return waited(Work(chosen, _call(name, like, op, number), start, finish), async_op)


def _call(name: str, tensor: Tensor, op: ReduceOp | None = None, root: int = -1) -> str:
    """What all ranks must call, in words."""
    said = [from_numpy(tensor.array.dtype).name, f"shape {tensor.array.shape}"]
    said += [] if op is None else [op.name]
    said += [f"root {root}"] * (root >= 0)
    return f"{name}({', '.join(said)})"


def _parts(name: str, what: str, given: Any, like: Tensor, size: int) -> Tensor | list[Tensor]:
    """A `..._list` of one tensor for each rank, or one tensor that holds as much as all of them."""
    x = like.array
    if not what.endswith("_list"):
        whole = _tensor(what, given)
        if whole.array.dtype != x.dtype:
            raise TypeError(f"{name}: output tensor must have the same type as input tensor")
        if whole.array.size != size * x.size:
            raise ValueError(
                f"{name}: {what} must have {size} times as many elements as the other tensor, but"
                f" they have {whole.array.size} and {x.size}"
            )
        return whole
    found = [_tensor(what, t) for t in given]
    if len(found) != size:
        raise RuntimeError(f"{what}: expected {size} tensors, one a rank, got {len(found)}")
    for i, t in enumerate(found):
        if t.array.dtype != x.dtype:
            raise ValueError(
                f"Invalid usage of tensors with different dtypes: {what}[{i}] is of {t.dtype},"
                f" the tensor of {like.dtype}"
            )
        if t.array.shape != x.shape:
            raise RuntimeError(
                f"{what}: invalid tensor size at index {i} (expected {tuple(like.shape)}, got"
                f" {tuple(t.shape)})"
            )
    return found


def waited(work: Work, async_op: bool, timeout: timedelta | None = None) -> Work | None:
    """The work if it is to be waited for later; else None, once it is done."""
    if async_op:
        return work
    work.wait(timeout)
    return None


def root_of(group: ProcessGroup, what: str, rank: int | None, within: int | None) -> int:
    """The group's number of the rank that gives or gets."""
    if within is None:
        return group.number(0 if rank is None else rank, what)
    if rank is not None:
        raise ValueError(f"Can't specify both group_{what} and {what}")
    if not 0 <= within < group.size():
        raise ValueError(f"group_{what}: {within} is not in [0, {group.size()})")
    return within


def check_list(name: str, given: object, root: str, mine: bool) -> None:
    """Only the rank that gives or gets a list must name one."""
    which = "source" if root == "src" else "destination"
    if mine and not given:
        raise ValueError(f"Argument ``{name}`` must be specified on {which} rank.")
    if given and not mine:
        raise ValueError(f"Argument ``{name}`` must NOT be specified on non-{which} ranks.")


def barrier(
    group: Group = None, async_op: bool = False, device_ids: object = None,
    timeout: timedelta | None = None,
) -> Work | None:  # fmt: skip
    """Wait until all ranks have called this."""
    chosen = member(group)
    return None if chosen is None else waited(Work(chosen, "barrier()"), async_op, timeout)


def broadcast(
    tensor: Tensor, src: int | None = None, group: Group = None, async_op: bool = False,
    group_src: int | None = None,
) -> Work | None:  # fmt: skip
    """Give every rank the tensor of the rank `src`, written into `tensor`."""
    root = "src", src, group_src
    return _collective("broadcast", ("tensor", tensor), None, group, async_op, root=root)


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
    return _collective("all_reduce", ("tensor", tensor), None, group, async_op, op)


def reduce(
    tensor: Tensor, dst: int | None = None, op: ReduceOp = ReduceOp.SUM, group: Group = None,
    async_op: bool = False, group_dst: int | None = None,
) -> Work | None:  # fmt: skip
    """As `all_reduce`, but only the tensor of the rank `dst` gets the result."""
    root = "dst", dst, group_dst
    return _collective("reduce", ("tensor", tensor), None, group, async_op, op, root)


def all_gather(
    tensor_list: list[Tensor], tensor: Tensor, group: Group = None, async_op: bool = False
) -> Work | None:
    """Write the tensor of every rank into `tensor_list`, on every rank."""
    x, y = ("tensor", tensor), ("tensor_list", tensor_list)
    return _collective("all_gather", x, y, group, async_op)


def all_gather_into_tensor(
    output_tensor: Tensor, input_tensor: Tensor, group: Group = None, async_op: bool = False
) -> Work | None:
    """Write the tensors of all ranks into one, end to end or stacked, on every rank."""
    x, y = ("input_tensor", input_tensor), ("output_tensor", output_tensor)
    return _collective("all_gather", x, y, group, async_op)


all_gather_single = all_gather_into_tensor


def gather(
    tensor: Tensor, gather_list: list[Tensor] | None = None, dst: int | None = None,
    group: Group = None, async_op: bool = False, group_dst: int | None = None,
) -> Work | None:  # fmt: skip
    """Write the tensor of every rank into the `gather_list` of the rank `dst`."""
    x, y, root = ("tensor", tensor), ("gather_list", gather_list), ("dst", dst, group_dst)
    return _collective("gather", x, y, group, async_op, root=root)


def scatter(
    tensor: Tensor, scatter_list: list[Tensor] | None = None, src: int | None = None,
    group: Group = None, async_op: bool = False, group_src: int | None = None,
) -> Work | None:  # fmt: skip
    """Write into each rank's `tensor` its part of the `scatter_list` of the rank `src`."""
    x, y, root = ("scatter_list", scatter_list), ("tensor", tensor), ("src", src, group_src)
    return _collective("scatter", x, y, group, async_op, root=root)


def reduce_scatter(
    output: Tensor, input_list: list[Tensor], op: ReduceOp = ReduceOp.SUM, group: Group = None,
    async_op: bool = False,
) -> Work | None:  # fmt: skip
    """Combine the lists of all ranks; the r-th result is written into the `output` of rank r."""
    x, y = ("input_list", input_list), ("output", output)
    return _collective("reduce_scatter", x, y, group, async_op, op)


def reduce_scatter_tensor(
    output: Tensor, input: Tensor, op: ReduceOp = ReduceOp.SUM, group: Group = None,
    async_op: bool = False,
) -> Work | None:  # fmt: skip
    """As `reduce_scatter`, of the parts of one tensor, end to end or stacked."""
    x, y = ("input", input), ("output", output)
    return _collective("reduce_scatter", x, y, group, async_op, op)


reduce_scatter_single = reduce_scatter_tensor


def all_to_all(
    output_tensor_list: list[Tensor], input_tensor_list: list[Tensor], group: Group = None,
    async_op: bool = False,
) -> Work | None:  # fmt: skip
    """Send the r-th input to rank r; the r-th output is what rank r has sent.

    Unlike torch, all of them must have one shape.
    """
    x = "input_tensor_list", input_tensor_list
    y = "output_tensor_list", output_tensor_list
    return _collective("all_to_all", x, y, group, async_op)


# ---- messages to one rank


def _message(
    sending: bool, tensor: Tensor, rank: int | None, group: Group, tag: int
) -> Message | None:
    chosen, what = member(group), "destination" if sending else "source"
    if chosen is None:
        return None
    engine = chosen.engine(_tensor("tensor", tensor))
    peer = None if rank is None else chosen.number(rank, what)
    if peer == chosen.rank():
        raise ValueError(
            f"Invalid {what} rank: {what} rank should not be the same as the rank of the current"
            " process."
        )
    if not 0 <= tag < 30_000:
        raise ValueError(f"tag: expected a number in [0, 30000), got {tag}")
    staged = Staged(tensor, engine.host, sums=False)
    if sending:
        staged.fill()
    return Message(chosen, _call("send", tensor), peer, tag, sending, engine, staged)


def isend(tensor: Tensor, dst: int, group: Group = None, tag: int = 0) -> Message | None:
    """Start sending a tensor to the rank `dst`, which must receive it."""
    return _message(True, tensor, dst, group, tag)


def irecv(
    tensor: Tensor, src: int | None = None, group: Group = None, tag: int = 0
) -> Message | None:
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
