"""Forward-mode differentiation: derivatives along a direction, that of the tangents.

    with dual_level():
        x = make_dual(primal, tangent)
        unpack_dual(f(x)).tangent          # J v

It is built on the rules of the backward pass.  Those give u -> u J, which is linear in u; so its
derivative with respect to u, in the direction v, is J v: two passes instead of one forward.
"""

from __future__ import annotations

import contextlib
import copy
from typing import Any, NamedTuple

import numpy as np

from tinygrad_edu.autograd.graph import GradientEdge, get_gradient_edge, reachable
from tinygrad_edu.backend import new_like
from tinygrad_edu.dtypes import from_numpy, is_floating
from tinygrad_edu.engine.gradients import grad
from tinygrad_edu.engine.record import current_node, wrap
from tinygrad_edu.engine.switches import enable_grad
from tinygrad_edu.engine.types import Call
from tinygrad_edu.tensor import Tensor

__all__ = [
    "UnpackedDualTensor", "dual_level", "enter_dual_level", "exit_dual_level", "make_dual",
    "unpack_dual",
]  # fmt: skip


class UnpackedDualTensor(NamedTuple):
    """A tensor and its derivative in the direction of the tangents; None if it has none."""

    primal: Tensor
    tangent: Tensor | None


class _Level:
    """What was made dual since the level was entered: the place in the graph, and the tangent."""

    def __init__(self) -> None:
        self.duals: list[tuple[GradientEdge, Tensor]] = []
        self.connected = False  # whether a primal or a tangent has a history of its own
        self.recording = enable_grad()
        self.recording.__enter__()


_levels: list[_Level] = []


def enter_dual_level() -> int:
    """Begin; what is computed from here on is recorded, even under `no_grad`.

    Raises:
        RuntimeError: a level has been entered already.
    """
    if _levels:
        raise RuntimeError("Nested forward mode AD is not supported at the moment")
    _levels.append(_Level())
    return 0


def exit_dual_level(*, level: int | None = None) -> None:
    """End: tangents are forgotten.

    Raises:
        RuntimeError: no level has been entered.
    """
    if not _levels:
        raise RuntimeError("Trying to exit a forward AD level that was not the last one created")
    _levels.pop().recording.__exit__(None, None, None)


class dual_level(contextlib.ContextDecorator):
    """`enter_dual_level` and `exit_dual_level` around a block, or a function it decorates.

    >>> import tinygrad_edu as torch
    >>> import tinygrad_edu.autograd.forward_ad as forward
    >>> with forward.dual_level():
    ...     x = forward.make_dual(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0]))
    ...     forward.unpack_dual(x * x).tangent
    tensor([0., 4.])
    """

    def __enter__(self) -> int:
        return enter_dual_level()

    def __exit__(self, *exc: object) -> None:
        exit_dual_level()


def make_dual(tensor: Tensor, tangent: Tensor, *, level: int | None = None) -> Tensor:
    """A copy of the tensor that has a tangent, of the same shape.

    Raises:
        RuntimeError: no level has been entered, or the shapes differ.
        ValueError: one of the two does not hold floats.
    """
    if not _levels:
        raise RuntimeError(
            "Trying to create a dual Tensor for forward AD but no level exists, make sure to"
            " enter_dual_level() first."
        )
    for name, given in (("primal", tensor), ("tangent", tangent)):
        if not is_floating(given.array.dtype):
            kind = from_numpy(given.array.dtype)
            raise ValueError(f"Expected {name} to be floating point or complex, but got: {kind}")
    if tensor.shape != tangent.shape:
        raise RuntimeError(
            "Trying to set a forward gradient that has a different size than that of the original"
            f" Tensor, this is not supported. Tensor is of size {list(tensor.shape)} while the"
            f" given forward gradient is of size {list(tangent.shape)}."
        )
    now = _levels[-1]
    now.connected |= tensor.requires_grad or tangent.requires_grad
    with enable_grad():
        source = tensor if tensor.requires_grad else tensor.detach().requires_grad_()
        dual: Tensor = source.clone()
    now.duals.append((get_gradient_edge(dual), tangent.to(tensor.dtype)))
    return dual


def unpack_dual(tensor: Tensor, *, level: int | None = None) -> UnpackedDualTensor:
    """The tensor and its tangent, that which follows from those of the tensors it is made of.

    Unlike torch, the operations on the way must be twice differentiable.
    """
    node = current_node(tensor)
    reached = reachable([] if node is None else [node])
    duals = [(edge, v) for now in _levels for edge, v in now.duals if edge.node in reached]
    if not duals:
        return UnpackedDualTensor(tensor, None)
    now = _levels[-1]
    with enable_grad():
        u = wrap(new_like(tensor.array, tensor.array.shape, 0)).requires_grad_()
        found = grad(tensor, [edge for edge, _ in duals], u, create_graph=True, allow_unused=True)
        linear = [(g, v) for g, (_, v) in zip(found, duals, strict=True) if current_node(g)]
        tangent = wrap(np.zeros_like(tensor.array))
        if linear:
            gs, vs = zip(*linear, strict=True)
            (tangent,) = grad(gs, u, vs, create_graph=now.connected, materialize_grads=True)
    if now.connected:
        return UnpackedDualTensor(tensor, tangent)
    return UnpackedDualTensor(tensor.detach(), tangent.detach())


def by_transposing(jvp: Call) -> Call:
    """The `backward` of a `Function` that has only a `jvp`: v -> J v is linear in v."""

    def backward(ctx: Any, *gs: Any) -> Any:
        shapes, like = ctx._shapes_in, gs[0].array
        with enable_grad():
            vs = [
                wrap(new_like(like, shapes[i], 0)).requires_grad_() if i in shapes else None
                for i in range(len(ctx.needs_input_grad))
            ]
            # a copy, for it may delete what it used, being called once in torch
            ys = jvp(copy.copy(ctx), *vs)
            asked = [v for v in vs if v is not None]
            found = iter(grad(ys, asked, gs, create_graph=True, allow_unused=True))
        return tuple([None if v is None else next(found) for v in vs])

    return backward
