"""Derivatives of derivatives: what `create_graph=True` does to a node's backward step.

On the ordinary walk a rule receives arrays.  Here it receives the same values as tensors tied to
the nodes that made them, so that what it computes is recorded.  Of an operation that is computed
by a kernel, the definition is differentiated instead.
"""

from __future__ import annotations

from typing import Any

from tinygrad_edu.dtypes import Array
from tinygrad_edu.engine import versions
from tinygrad_edu.engine.graph import Node, Variable
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.engine.types import Call, Gradient, Values


def tied(step: Call, node: Node, kept: Values | None, g: Gradient) -> Any:
    """`gradients`, of tensors: a wrapper for the walk (see `around` in walk.py)."""
    if kept is None:
        raise node.refused("freed")
    if node.plan.op.definition is None:
        return step(node, lift(node, kept), g)
    if versions.any_written(node.guards, node.number):
        raise node.refused("modified")
    return _through_definition(node, kept, g)


def lift(node: Node, kept: Values) -> Values:
    """What the node keeps, arrays as tensors tied to the nodes that made them."""
    op, lifted = node.plan.op, list(kept)
    edges = dict(zip(op.inputs, node.edges, strict=False))
    for k, (name, guard) in enumerate(zip(node.plan.names, node.guards, strict=False)):
        if name == "y" and not op.multiple:
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


def _through_definition(node: Node, kept: Values, g: Gradient) -> Any:
    """Differentiate the operation's definition instead of running its rules.

    The definition is computed again from the inputs, this time recorded.  Each input gets a node of
    its own first: one input may have been computed from another, and that path is not ours.
    """
    from tinygrad_edu.engine.gradients import grad

    op = node.plan.op
    lifted = dict(zip(node.plan.names, lift(node, kept), strict=False))
    args = [lifted[name] for name in op.parameters]
    live = [i for i, edge in enumerate(node.edges) if edge is not None]
    for i in range(len(op.inputs)):  # a definition computes with tensors, constants among them
        if i in live:
            args[i] = alias(args[i])
        elif hasattr(args[i], "dtype") and not isinstance(args[i], Variable):
            args[i] = wrap(args[i])
    assert op.definition is not None
    y: Any = op.definition(*args)
    if op.multiple:  # only the outputs that a gradient reached
        y, g = zip(*[pair for pair in zip(y, g, strict=True) if pair[1] is not None], strict=True)
    return zip(live, grad(y, [args[i] for i in live], g, create_graph=True), strict=True)
