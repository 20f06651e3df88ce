"""Derivatives of derivatives: what `create_graph=True` does to a node's backward step.

On the ordinary walk a rule receives arrays.  Here it receives the same values as tensors tied to
the nodes that made them, so that what it computes is recorded.  Of an operation that is computed
by a kernel, the definition is differentiated instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_edu.dtypes import Array, is_half
from tinygrad_edu.engine import versions
from tinygrad_edu.engine.graph import Node, Storage, TensorBase
from tinygrad_edu.engine.mode import Recorder, state
from tinygrad_edu.engine.primitive import Plan, primitive
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.engine.types import Call, Gradient, Values
from tinygrad_edu.kernels.memory_order import owner


def tied(step: Call, node: Node, kept: Values | None, g: Gradient) -> Any:
    """`gradients`, of tensors: a wrapper for the walk (see `around` in walk.py)."""
    if kept is None:
        raise node.refused("freed")
    lifted, before = lift(node, kept), state.mode
    aliases = node.plan.op.definition is not None  # their storage is another
    if aliases or not all(map(_told, lifted, node.guards)):
        state.mode = before.but(maker=_Watching(kept, node.guards, before.maker))
    try:
        if node.plan.op.definition is None:
            found = step(node, lifted, g)
            plan = node.plan
            if not isinstance(plan, Plan) or plan.live.count(True) > 1 or len(plan.op.inputs) > 2:
                return found
            return [(i, _with_history(gx, node, lifted)) for i, gx in found]
        if versions.any_written(node.guards, node.number):
            raise node.refused("modified")
        return _through_definition(node, lifted, g)
    finally:
        state.mode = before


def _told(value: object, guard: object) -> bool:
    """Whether a rule that keeps this value says in whose storage it lies: a tensor does."""
    return guard is None or isinstance(value, TensorBase)


@primitive(half="as it is")
def flat(gx: Array, x: Array) -> Array:
    """`gx`, as a function of `x` that is flat almost everywhere."""
    return gx


def _zeros(g: Gradient, shape: tuple[int, ...]) -> Any:
    if isinstance(g, TensorBase):
        return wrap(np.zeros_like(g.array, shape=shape))
    return np.zeros_like(g, shape=shape)


flat.vjp(gx=lambda g: g,
         x=lambda g, x_shape: _zeros(g, x_shape))  # fmt: skip


def _with_history(gx: Any, node: Node, kept: Values) -> Any:
    """The gradient of a function with kinks, such as relu, has a derivative too: 0, as in torch."""
    if not isinstance(gx, TensorBase) or gx.node is not None or gx.array.shape != node.shape:
        return gx
    source = next((x for x in kept if isinstance(x, TensorBase) and x.node is not None), None)
    return gx if source is None else flat(gx, source)


class _Watching:
    """The recorder while a node is run on tensors: what is kept again of it is watched again.

    A rule gets as plain arrays what needs no gradient, such as an index or a mask; and an array
    does not say in whose memory it lies.
    """

    def __init__(self, kept: Values, guards: Values, outer: Recorder) -> None:
        self.outer = outer
        self.owners: dict[int, tuple[Storage, ...]] = {}
        for value, guard in zip(kept, guards, strict=False):
            own = tuple([s for s in (guard if type(guard) is tuple else (guard,)) if s is not None])
            for array in value if type(value) is tuple and own else (value,):
                if own and hasattr(array, "base"):
                    self.owners[_memory(array)] = own

    def __call__(
        self, cls: Any, plan: Any, edges: Any, kept: Values, guards: Values, *rest: Any
    ) -> Node:
        pairs = zip(kept, guards, strict=False)
        known = tuple([p[1] if p[0] is None else self.guard(*p) for p in pairs])
        return self.outer(cls, plan, edges, kept, known, *rest)

    def guard(self, value: Any, guard: Any) -> Any:
        """The storages that `value` lies in: those known here, else `guard`."""
        if value.__class__ is np.ndarray:
            own = self.owners.get(_memory(value))
            return guard if own is None else own[0] if len(own) == 1 else own
        if type(value) is not tuple:
            own = self.owners.get(_memory(value), ()) if hasattr(value, "base") else ()
            return own[0] if len(own) == 1 else own or guard
        if guard is not None:
            return tuple([self.guard(*pair) for pair in zip(value, guard, strict=True)])
        found = [self.guard(part, None) for part in value]
        parts = [f if type(f) is tuple else (f,) for f in found if f is not None]
        return tuple([s for own in parts for s in own]) or None


def _memory(array: Array) -> int:
    """A number for the array that owns the memory; the arrays in question are all alive."""
    return id(owner(array))


def lift(node: Node, kept: Values) -> Values:
    """What the node keeps, arrays as tensors tied to the nodes that made them."""
    op, lifted = node.plan.op, list(kept)
    edges = dict(zip(op.inputs, node.edges, strict=False))
    for k, (name, guard) in enumerate(zip(node.plan.names, node.guards, strict=False)):
        if name == "y" and op.multiple:
            lifted[k] = tuple(
                wrap(a, node.part(i, a.shape, a.dtype), s)
                for i, (a, s) in enumerate(zip(kept[k], guard, strict=True))
            )
        elif name == "y":
            lifted[k] = wrap(kept[k], node, guard)
        elif op.variadic and name == op.inputs[0]:
            lifted[k] = tuple(
                wrap(a, edge, s) if edge is not None else a
                for a, edge, s in zip(kept[k], node.edges, guard, strict=True)
            )
        elif not op.variadic and edges.get(name) is not None:
            lifted[k] = wrap(kept[k], edges[name], guard)
    return tuple(lifted)


@primitive
def alias(x: Array) -> Array:
    """The same array under a node of its own."""
    return x


alias.vjp(x=lambda g: g)


def _widened(x: Any) -> Any:
    """A tensor of 16 bits as float32, which is what kernels compute in; others as they are."""
    half = isinstance(x, TensorBase) and is_half(x.array.dtype)
    return x.float() if half else x


def _through_definition(node: Node, values: Values, g: Gradient) -> Any:
    """Differentiate the operation's definition instead of running its rules.

    The definition is computed again from the inputs, this time recorded, and in float32 where they
    are of 16 bits: what it computes in between need not fit in those.  Each input gets a node of
    its own first: one input may have been computed from another, and that path is not ours.
    """
    from tinygrad_edu.engine.gradients import grad

    op = node.plan.op
    lifted = dict(zip(node.plan.names, values, strict=False))
    args = [lifted[name] for name in op.parameters]
    live = [i for i, edge in enumerate(node.edges) if edge is not None]
    for i in range(len(op.inputs)):  # a definition computes with tensors, constants among them
        if i in live:
            args[i] = alias(args[i])
        elif hasattr(args[i], "dtype") and not isinstance(args[i], TensorBase):
            args[i] = wrap(args[i])
    assert op.definition is not None
    y: Any = op.definition(*[_widened(a) for a in args])
    if op.multiple:  # only the outputs that a gradient reached
        y, g = zip(*[pair for pair in zip(y, g, strict=True) if pair[1] is not None], strict=True)
    g = tuple([_widened(part) for part in g]) if op.multiple else _widened(g)
    return zip(live, grad(y, [args[i] for i in live], g, create_graph=True), strict=True)
