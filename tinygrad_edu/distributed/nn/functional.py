"""The collectives as functions, with gradients: they return new tensors and write none.

The gradient of a collective is another one: of a sum over ranks, the sum of all ranks' gradients;
of a broadcast, their sum at the root.  All ranks must run both passes.  If the losses of the ranks
are L_0, L_1, ..., each rank's gradient is that of L_0 + L_1 + ... with respect to its own input.
"""

from __future__ import annotations

from typing import Any

from tinygrad_edu.autograd.function import Function
from tinygrad_edu.distributed import collectives as c
from tinygrad_edu.distributed.collectives import Group, ReduceOp
from tinygrad_edu.distributed.world import get_rank, get_world_size
from tinygrad_edu.ops.creation import empty_like, zeros_like
from tinygrad_edu.ops.joining import stack
from tinygrad_edu.tensor import Tensor


class _AllReduce(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, op: ReduceOp, group: Group) -> Tensor:
        ctx.op, ctx.group = op, group
        y = x.clone()
        c.all_reduce(y, op, group)
        if op in (ReduceOp.MAX, ReduceOp.MIN):
            ctx.save_for_backward(x, y)
        elif op not in (ReduceOp.SUM, ReduceOp.AVG):
            raise NotImplementedError(f"all_reduce: ReduceOp.{op.name} has no gradient here")
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        if ctx.op in (ReduceOp.MAX, ReduceOp.MIN):  # shared by those that have the extreme value
            x, y = ctx.saved_tensors
            here = (x == y).to(g.dtype)
            count = all_reduce(here, ReduceOp.SUM, ctx.group)
            return here * all_reduce(g, ReduceOp.SUM, ctx.group) / count, None, None
        return all_reduce(g, ctx.op, ctx.group), None, None


class _Broadcast(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, src: int, group: Group) -> Tensor:
        ctx.src, ctx.group = src, group
        y = x.clone()
        c.broadcast(y, src, group)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        gx = reduce(g, ctx.src, ReduceOp.SUM, ctx.group)
        return gx if get_rank() == ctx.src else zeros_like(gx), None, None


class _Reduce(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dst: int, op: ReduceOp, group: Group) -> Tensor:
        if op is not ReduceOp.SUM:
            raise NotImplementedError(f"reduce: ReduceOp.{op.name} has no gradient here")
        ctx.dst, ctx.group = dst, group
        y = x.clone()
        c.reduce(y, dst, op, group)
        return y if get_rank() == dst else zeros_like(y)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        return broadcast(g, ctx.dst, ctx.group), None, None, None


class _AllGather(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> tuple[Tensor, ...]:
        ctx.group = group
        ys = [empty_like(x) for _ in range(get_world_size(group))]
        c.all_gather(ys, x.contiguous(), group)
        return tuple(ys)

    @staticmethod
    def backward(ctx: Any, *gs: Tensor) -> tuple[Any, ...]:
        return reduce_scatter(empty_like(gs[0]), list(gs), ReduceOp.SUM, ctx.group), None


class _ReduceScatter(Function):
    @staticmethod
    def forward(ctx: Any, op: ReduceOp, group: Group, *xs: Tensor) -> Tensor:
        if op not in (ReduceOp.SUM, ReduceOp.AVG):
            raise NotImplementedError(f"reduce_scatter: ReduceOp.{op.name} has no gradient here")
        ctx.op, ctx.group = op, group
        y = empty_like(xs[0])
        c.reduce_scatter(y, list(xs), op, group)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        gs = all_gather(g, ctx.group)
        mean = ctx.op is ReduceOp.AVG
        return None, None, *[part / len(gs) if mean else part for part in gs]


class _AllToAll(Function):
    @staticmethod
    def forward(ctx: Any, group: Group, *xs: Tensor) -> tuple[Tensor, ...]:
        ctx.group = group
        ys = [empty_like(x) for x in xs]
        c.all_to_all(ys, list(xs), group)
        return tuple(ys)

    @staticmethod
    def backward(ctx: Any, *gs: Tensor) -> tuple[Any, ...]:
        return None, *_AllToAll.apply(ctx.group, *gs)


def all_reduce(tensor: Tensor, op: ReduceOp = ReduceOp.SUM, group: Group = None) -> Tensor:
    """The tensors of all ranks, combined: by SUM, AVG, MIN or MAX."""
    found: Tensor = _AllReduce.apply(tensor, op, group)
    return found


def broadcast(tensor: Tensor, src: int, group: Group = None) -> Tensor:
    """The tensor of the rank `src`; the others' have its shape and dtype."""
    found: Tensor = _Broadcast.apply(tensor, src, group)
    return found


def reduce(tensor: Tensor, dst: int, op: ReduceOp = ReduceOp.SUM, group: Group = None) -> Tensor:
    """The sum of all ranks' tensors on the rank `dst`, zeros on the others."""
    found: Tensor = _Reduce.apply(tensor, dst, op, group)
    return found


def all_gather(tensor: Tensor, group: Group = None) -> tuple[Tensor, ...]:
    """The tensors of all ranks."""
    found: tuple[Tensor, ...] = _AllGather.apply(tensor, group)
    return found


def gather(tensor: Tensor, dst: int = 0, group: Group = None) -> tuple[Tensor, ...]:
    """The tensors of all ranks on the rank `dst`, zeros on the others."""
    found = all_gather(tensor, group)
    return found if get_rank() == dst else tuple([y * 0 for y in found])


def scatter(tensors: list[Tensor], src: int = 0, group: Group = None) -> Tensor:
    """This rank's part of the list of the rank `src`; the others' lists have the same shapes."""
    return broadcast(stack(list(tensors)), src, group)[get_rank(group)]


def reduce_scatter(
    output: Tensor, input_list: list[Tensor], op: ReduceOp = ReduceOp.SUM, group: Group = None
) -> Tensor:
    """This rank's part of the sum of all ranks' lists; `output` gets its value, too."""
    found: Tensor = _ReduceScatter.apply(op, group, *input_list)
    output.detach().copy_(found.detach())
    return found


def all_to_all(
    output_tensor_list: list[Tensor], input_tensor_list: list[Tensor], group: Group = None
) -> tuple[Tensor, ...]:
    """What every rank has sent to this one: the r-th input goes to rank r."""
    found: tuple[Tensor, ...] = _AllToAll.apply(group, *input_tensor_list)
    for y, value in zip(output_tensor_list, found, strict=True):
        y.detach().copy_(value.detach())
    return found


__all__ = [
    "all_gather", "all_reduce", "all_to_all", "broadcast", "gather", "reduce", "reduce_scatter",
    "scatter",
]  # fmt: skip
