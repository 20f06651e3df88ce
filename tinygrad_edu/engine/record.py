"""What happens when an operation is called: compute, wrap the result, note how it was made.

`call_general` shows it plainly.  The call of an operation unwraps its tensor arguments, runs the
forward function on the arrays, and wraps the result.  If recording is on and an input needs a
gradient, the new tensor gets a `Node` with the edges to the inputs' nodes and with what the plan
says must be kept (see primitive.py).  Called with arrays alone, an operation just computes.

Before that a call asks one question: does anybody listen?  (See mode.py.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.dtypes import Array, is_floating
from tinygrad_edu.engine.boundary import recover, refuse_arrays, tell
from tinygrad_edu.engine.graph import Node, Storage, TensorBase
from tinygrad_edu.engine.mode import listeners, state
from tinygrad_edu.engine.types import Call

if TYPE_CHECKING:
    from tinygrad_edu.engine.primitive import Plan, Primitive
    from tinygrad_edu.tensor import Tensor

_new = object.__new__


def as_array(y: object) -> Array:
    """NumPy turns 0-d results into scalars; the engine wants arrays, and plain ones."""
    return np.asarray(y) if isinstance(y, (np.generic, float, int, np.ndarray)) else y


def wrap(y: Array, node: Node | None = None, storage: Storage | None = None) -> Tensor:
    """A tensor around an array, without copying or checking."""
    t: Tensor = _new(TensorBase.results)
    t.array = y if y.__class__ is np.ndarray else as_array(y)
    t._storage = state.mode.own() if storage is None else storage
    if node is not None:
        t.node = node
    return t


def current_node(a: object) -> Node | None:
    """The node of an argument, None for one that is no tensor or needs no gradient."""
    if not isinstance(a, TensorBase):
        return None
    if a.view_of is not None:
        a.view_of.refresh(a)
    return a.node


def call_general(op: Primitive) -> Call:
    """The plain form of a call; `_by` computes, and a call that is given it tells nobody."""
    forward, arity = op.forward, op.arity

    def call(*args: Any, **kwargs: Any) -> Any:
        by = kwargs.pop("_by", forward) if kwargs else forward
        if (listeners or state.mode.listeners) and by is forward:
            return tell(op, None, args, kwargs, listeners)
        if kwargs or len(args) != arity:
            if "out" in kwargs:
                return op.write_out(op, args, by, **kwargs)
            args = op.bind(args, kwargs)
        values, edges, storages = unwrap(args)
        others = storages.count(None)
        if others > op.others and not state.mode.roots:
            refuse_arrays(op, args)
        try:
            y = by(*values)
        except Exception as error:
            return recover(op, error, args)
        if others == arity:
            return y[0] if op.saves else y
        return note(op, edges, values, storages, y)

    return call


def unwrap(args: Sequence[Any]) -> tuple[list[Any], list[Node | None], list[Storage | None]]:
    """Of every tensor its array, its node and its storage; other values stay, without these."""
    values = list(args)
    edges: list[Node | None] = [None] * len(values)
    storages: list[Storage | None] = edges.copy()  # type: ignore[assignment]
    for i, a in enumerate(values):
        if isinstance(a, TensorBase):
            if a.view_of is not None:
                a.view_of.refresh(a)
            values[i], edges[i], storages[i] = a.array, a.node, a._storage
    return values, edges, storages


def note(
    op: Primitive, edges: list[Node | None], values: Sequence[Any], owners: Sequence[Any], y: Any
) -> Any:
    """Wrap the result `y` of `op` and, if an input needs a gradient, note how it was made.

    `owners` are the storages of the `values`: one, a tuple of them, or None.
    """
    saved: Sequence[Any] = ()
    if op.saves:
        y, *saved = y
    results: list[Any] = [wrap(part) for part in y] if op.multiple else [wrap(y)]
    answer = tuple(results) if op.multiple else results[0]
    recorder = state.mode.recorder
    live = tuple([edge is not None for edge in edges])
    if recorder is None or not results or True not in live:
        return answer
    t = results[0]
    plan = op.plans.get(live) or plan_of(op, live, t.array)
    if plan is not None:
        own = tuple([part._storage for part in results]) if op.multiple else t._storage
        theirs: Sequence[Any] = [_owner(v, results) for v in saved] if saved else ()
        kept = plan.pick((*values, y if op.multiple else t.array, *saved))
        guards = plan.pick((*owners, own, *theirs))
        if plan.shapes:
            kept += tuple([_shape(values[i]) for i in plan.shapes])
        cls = plan.node or op.classes.get(op.chain(*values)) or op.class_of(*values)
        y = t.array
        node = recorder(cls, plan, tuple(edges[: len(plan.live)]), kept, guards, y.shape, y.dtype)
        if op.multiple:
            node.parts = len(results)
            for i, part in enumerate(results):
                part.node = node.part(i, part.array.shape, part.array.dtype)
        else:
            t.node = node
    return answer


def plan_of(op: Primitive, live: tuple[bool, ...], y: Array) -> Plan | None:
    """The plan for arguments of which these require grad; None if none is an input.

    Integers have no gradient.
    """
    if not op.variadic and True in live[len(op.inputs) :] and is_floating(y.dtype):
        op.undeclared(live)
    own = live if op.variadic and op.inputs else live[: len(op.inputs)]
    if True not in own:
        return None
    plan = op.plans.get(own) or op.plan(own)
    if True not in live[len(own) :]:
        op.plans[live] = plan
    return plan


def _owner(saved: object, results: list[Any]) -> Any:
    """The storage of a further value that the operation returned, if it is that of a result."""
    return next((t._storage for t in results if t.array is saved), None)


def _shape(value: Any) -> Any:
    if value.__class__ is tuple:
        return tuple([v.shape for v in value])
    return None if value is None else value.shape
