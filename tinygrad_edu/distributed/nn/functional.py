"""The collectives as functions, with gradients: they return new tensors and write none.

The gradient of a collective is another one: of a sum over ranks, the sum of all ranks' gradients;
of a broadcast, their sum at the root.  All ranks must run both passes.  If the losses of the ranks
are L_0, L_1, ..., each rank's gradient is that of L_0 + L_1 + ... with respect to its own input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from tinygrad_edu.autograd.function import Function
from tinygrad_edu.distributed import collectives as c
from tinygrad_edu.distributed.collectives import Group, ReduceOp
from tinygrad_edu.distributed.world import get_rank, get_world_size
from tinygrad_edu.ops.creation import empty_like, zeros_like
from tinygrad_edu.ops.joining import stack
from tinygrad_edu.tensor import Tensor

T = TypeVar("T")


class _Collective(Function):
    """A function of this rank's tensors, and the collective that gives their gradients."""

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Any], gradient: Any, *xs: Tensor) -> Any:
        ctx.gradient = gradient
        return function(*xs)

    @staticmethod
    def backward(ctx: Any, *gs: Tensor) -> tuple[Any, ...]:
        gxs = ctx.gradient(*gs)
        return None, None, *([gxs] if isinstance(gxs, Tensor) else gxs)


def _with_gradient(function: Callable[..., T], gradient: Callable[..., Any], *xs: Tensor) -> T:
    """The function of the tensors; `gradient` is called with the cotangents of its values."""
    found: T = _Collective.apply(function, gradient, *xs)
    return found


def _changed(x: Tensor, collective: Callable[..., Any], *args: Any) -> Tensor:
    """A copy of the tensor, after a collective that changes it in place."""
    y = x.clone()
    collective(y, *args)
    return y


def _check_op(name: str, op: ReduceOp, *known: ReduceOp) -> None:
    if op not in known:
        raise NotImplementedError(f"{name}: ReduceOp.{op.name} has no gradient here")


def all_reduce(tensor: Tensor, op: ReduceOp = ReduceOp.SUM, group: Group = None) -> Tensor:
    """The tensors of all ranks, combined: by SUM, AVG, MIN or MAX."""
    _check_op("all_reduce", op, ReduceOp.SUM, ReduceOp.AVG, ReduceOp.MIN, ReduceOp.MAX)
    with_extreme: list[Tensor] = []  # where this rank has it

    def function(x: Tensor) -> Tensor:
        y = _changed(x, c.all_reduce, op, group)
        if op in (ReduceOp.MIN, ReduceOp.MAX):
            with_extreme.append((x == y).to(x.dtype))
        return y

    def gradient(g: Tensor) -> Tensor:
        if not with_extreme:
            return all_reduce(g, op, group)
        count = all_reduce(with_extreme[0], group=group)
        return with_extreme[0] * all_reduce(g, group=group) / count  # they share it

    return _with_gradient(function, gradient, tensor)


def broadcast(tensor: Tensor, src: int, group: Group = None) -> Tensor:
    """The tensor of the rank `src`; the others' have its shape and dtype."""
    function = lambda x: _changed(x, c.broadcast, src, group)  # noqa: E731
    return _with_gradient(function, lambda g: reduce(g, src, group=group), tensor)


def reduce(tensor: Tensor, dst: int, op: ReduceOp = ReduceOp.SUM, group: Group = None) -> Tensor:
    """The sum of all ranks' tensors on the rank `dst`, zeros on the others."""
    _check_op("reduce", op, ReduceOp.SUM)

    def function(x: Tensor) -> Tensor:
        y = _changed(x, c.reduce, dst, op, group)
        return y if get_rank() == dst else zeros_like(y)

    return _with_gradient(function, lambda g: broadcast(g, dst, group), tensor)


def all_gather(tensor: Tensor, group: Group = None) -> tuple[Tensor, ...]:
    """The tensors of all ranks."""

    def function(x: Tensor) -> tuple[Tensor, ...]:
        ys = [empty_like(x) for _ in range(get_world_size(group))]
        c.all_gather(ys, x, group)
        return tuple(ys)

    def gradient(*gs: Tensor) -> Tensor:
        return reduce_scatter(empty_like(gs[0]), [*gs], group=group)

    return _with_gradient(function, gradient, tensor)


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
    _check_op("reduce_scatter", op, ReduceOp.SUM, ReduceOp.AVG)

    def function(*xs: Tensor) -> Tensor:
        y = empty_like(xs[0])
        c.reduce_scatter(y, list(xs), op, group)
        return y

    def gradient(g: Tensor) -> tuple[Tensor, ...]:
        return all_gather(g / get_world_size(group) if op is ReduceOp.AVG else g, group)

    found = _with_gradient(function, gradient, *input_list)
    output.detach().copy_(found.detach())
    return found


def all_to_all(
    output_tensor_list: list[Tensor], input_tensor_list: list[Tensor], group: Group = None
) -> tuple[Tensor, ...]:
    """What every rank has sent to this one: the r-th input goes to rank r."""

    def function(*xs: Tensor) -> tuple[Tensor, ...]:
        ys = [empty_like(x) for x in xs]
        c.all_to_all(ys, list(xs), group)
        return tuple(ys)

    def gradient(*gs: Tensor) -> tuple[Tensor, ...]:
        return all_to_all([empty_like(g) for g in gs], [*gs], group)

    found = _with_gradient(function, gradient, *input_tensor_list)
    for y, value in zip(output_tensor_list, found, strict=True):
        y.detach().copy_(value.detach())
    return found


__all__ = [
    "all_gather", "all_reduce", "all_to_all", "broadcast", "gather", "reduce", "reduce_scatter",
    "scatter",
]  # fmt: skip
