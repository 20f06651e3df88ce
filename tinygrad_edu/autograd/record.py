"""What happens when an operation is called: compute, wrap the result, note how it was made.

`call_general` shows it plainly.  The call of an operation unwraps its tensor arguments, runs the
forward function on the arrays, and wraps the result.  If recording is on and an input needs a
gradient, the new tensor gets a `Node` with the edges to the inputs' nodes and with what the plan
says must be kept (see primitive.py).  Called with arrays alone, an operation just computes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tinygrad_edu.autograd.errors import explain, not_a_tensor
from tinygrad_edu.autograd.graph import INFERENCE, Node, Part, Storage, Variable
from tinygrad_edu.autograd.mode import state
from tinygrad_edu.backend import device_of
from tinygrad_edu.dtypes import Array

if TYPE_CHECKING:
    from tinygrad_edu.autograd.primitive import Primitive
    from tinygrad_edu.tensor import Tensor

_new = object.__new__
_NUMBERS = (int, float, bool)
_Tensor: Any = None
"""The class of results: tensor.py registers it, being the one that imports the operations."""


def register_tensor_class(cls: type) -> None:
    """Tell the tape which class its results have."""
    global _Tensor
    _Tensor = cls


def as_array(y: Any) -> Array:
    """NumPy turns 0-d results into scalars; the engine wants arrays."""
    return np.asarray(y) if isinstance(y, (np.generic, float, int)) else y


def wrap(y: Array, node: Node | None = None, storage: Storage | None = None) -> Tensor:
    """A tensor around an array, without copying or checking."""
    t = _new(_Tensor)
    t.array = y if y.__class__ is np.ndarray else as_array(y)
    t.storage = Storage() if storage is None else storage
    if node is not None:
        t.node = node
    elif state.inference and storage is None:
        t.storage = INFERENCE
    return cast("Tensor", t)


def refresh(t: Variable) -> None:
    """Give a view the history of its base, if an in-place write has changed that since.

    The view operations that led from the base to it are repeated on the base as it is now.  If
    the base has been given another shape, the way back to the old one comes first.
    """
    base = t.base
    if base is None or t.rebased == base.rebased:
        return
    if base.node is None and t.node is not None and t.node.is_leaf:
        return  # a view that asked for a gradient of its own
    changes = range(base.rebased, t.rebased, -1)
    turns = [base.turns[change] for change in changes if change in base.turns]
    t.path = tuple([*turns, *t.path])
    if len(turns) < len(changes):
        t.node = replay(t.path, base).node
    t.rebased = base.rebased


def replay(path: Any, x: Any) -> Any:
    """Repeat a path of view operations on a tensor or an array."""
    for view, rest, part in path:
        x = view(x, *rest) if part is None else view(x, *rest)[part]
    return x


def current_node(a: Any) -> Node | None:
    """The node of an argument, None for one that is no tensor or needs no gradient."""
    if not isinstance(a, Variable):
        return None
    if a.base is not None:
        refresh(a)
    return a.node


class Rerouted(Exception):
    """Raised by `Primitive.run` where somebody wants the call to be made in another way.

    Attributes:
        call: makes it, given the arguments.
    """

    def __init__(self, call: Callable[[tuple[Any, ...]], Any]) -> None:
        super().__init__()
        self.call = call


def recover(op: Primitive, error: Exception, args: tuple[Any, ...]) -> Any:
    """Where a forward function raised: torch's error instead, or the call made another way."""
    if isinstance(error, Rerouted):
        return error.call(args)
    moved = on_one_device(args)
    if moved is not None:
        return op.call(*moved)
    raise explain(op.name, error, (*args[0], *args[1:]) if op.variadic else args) from error


def on_one_device(args: Sequence[Any]) -> tuple[Any, ...] | None:
    """The arguments, 0-d tensors of the CPU moved to the GPU of the others; None if none moves.

    Asked only after the operation has failed, so equal devices cost nothing.
    """
    places: dict[Any, Any] = {a: device_of(a.array) for a in args if isinstance(a, Variable)}
    gpus = {place for place in places.values() if place.type != "cpu"}
    small = {a for a, place in places.items() if place.type == "cpu"}
    if len(gpus) != 1 or not small or any([a.array.ndim for a in small]):
        return None
    gpu = gpus.pop()
    moved = {id(a): a.to(gpu) for a in small}
    return tuple([moved.get(id(a), a) for a in args])


# Five forms of a call.  `call_general` is the plain one; `call_unary` and `call_binary` are it
# written out for one and two arguments, because every microsecond here is paid for every operation
# of every training step.  (They also check what the general one leaves to the forward function:
# that arguments are arrays, and which of two may be a Python number.  A NumPy number counts as one:
# by `item`, or it would widen float32.)  `call_variadic` takes a sequence of tensors.  `call_view`
# runs `forward` itself and not `run`: a view has the dtype of its source, whatever autocast says.
#
# In these functions, `any([...])` and `tuple([...])` of lists are faster than of generators.


def call_unary(op: Primitive) -> Callable[..., Any]:
    forward, plans = op.forward, op.plans

    def call(*args: Any, **kwargs: Any) -> Any:
        if kwargs or len(args) != 1:
            if "out" in kwargs:
                return _call_with_out(op, args, **kwargs)
            args = op.bind(args, kwargs)
        a = args[0]
        if not isinstance(a, Variable):
            if not hasattr(a, "dtype"):
                raise not_a_tensor(op.name, 1, a)
            return forward(a)
        if a.base is not None:
            refresh(a)
        x = a.array
        try:
            y = op.run(x)
        except Exception as error:
            return recover(op, error, args)
        t = _new(_Tensor)
        t.array = y if y.__class__ is np.ndarray else as_array(y)
        t.storage = Storage()
        edge = a.node
        if edge is None or not state.enabled:
            if state.inference:
                t.storage = INFERENCE
            return t
        if op.inputs:
            plan = plans.get((True,)) or op.plan((True,))
            y = t.array
            kept = plan.pick((x, y))
            guards = plan.pick((a.storage, t.storage))
            if plan.shapes:
                kept += (x.shape,)
            t.node = Node(plan, (edge,), kept, guards, y.shape, y.dtype)
        return t

    return call


def call_binary(op: Primitive, failed: Callable[..., Any] = recover) -> Callable[..., Any]:
    """A call of two arguments; where `forward` raises, `failed(op, error, args)` answers."""
    forward, plans = op.forward, op.plans

    def call(*args: Any, **kwargs: Any) -> Any:
        if kwargs or len(args) != 2:
            if "out" in kwargs:
                return _call_with_out(op, args, **kwargs)
            args = op.bind(args, kwargs)
        a, b = args
        a_edge = b_edge = a_storage = b_storage = None
        if isinstance(a, Variable):
            if a.base is not None:
                refresh(a)
            x, a_edge, a_storage = a.array, a.node, a.storage
            if isinstance(b, Variable):
                if b.base is not None:
                    refresh(b)
                z, b_edge, b_storage = b.array, b.node, b.storage
            else:
                if op.numbers == "none" and b.__class__ in _NUMBERS:
                    raise not_a_tensor(op.name, 2, b)
                z = b.item() if isinstance(b, np.generic) else b
        elif isinstance(b, Variable):
            if op.numbers != "either" and a.__class__ in _NUMBERS:
                raise not_a_tensor(op.name, 1, a)
            if b.base is not None:
                refresh(b)
            x = a.item() if isinstance(a, np.generic) else a
            z, b_edge, b_storage = b.array, b.node, b.storage
        else:
            if a.__class__ in _NUMBERS and b.__class__ in _NUMBERS:
                raise not_a_tensor(op.name, 1, a)
            return forward(a, b)
        try:
            y = op.run(x, z)
        except Exception as error:
            return failed(op, error, args)
        t = _new(_Tensor)
        t.array = y = y if y.__class__ is np.ndarray else as_array(y)
        t.storage = Storage()
        if (a_edge is None and b_edge is None) or not state.enabled:
            if state.inference:
                t.storage = INFERENCE
            return t
        if op.inputs:
            live = (a_edge is not None, b_edge is not None)
            plan = plans.get(live) or op.plan(live)
            kept = plan.pick((x, z, y))
            guards = plan.pick((a_storage, b_storage, t.storage))
            if plan.shapes:
                kept += tuple([(x, z)[i].shape for i in plan.shapes])
            t.node = Node(plan, (a_edge, b_edge), kept, guards, y.shape, y.dtype)
        return t

    return call


def operator(operation: Any) -> Any:
    """An operation as Python's operator: an operand that it does not know is asked in turn."""
    call = call_binary(operation.primitive, _failed_operator)
    for name in ("__name__", "__qualname__", "__doc__", "__module__", "primitive"):
        setattr(call, name, getattr(operation, name))
    return call


def _failed_operator(op: Primitive, error: Exception, args: tuple[Any, ...]) -> Any:
    if isinstance(error, TypeError) and not isinstance(args[1], (Variable, *_NUMBERS)):
        return NotImplemented
    return recover(op, error, args)


def _call_with_out(op: Primitive, args: tuple[Any, ...], *, out: Any, **kwargs: Any) -> Any:
    from tinygrad_edu.autograd.inplace import write_out

    return write_out(op.name, out, op.call(*args, **kwargs))


def call_general(op: Primitive) -> Callable[..., Any]:
    arity = op.arity

    def call(*args: Any, **kwargs: Any) -> Any:
        if kwargs or len(args) != arity:
            args = op.bind(args, kwargs)
        values, edges, storages = unwrap(args)
        try:
            y = op.run(*values)
        except Exception as error:
            return recover(op, error, args)
        if not any(storages):
            return y[0] if op.saves else y
        return record(op, tuple(edges[: len(op.inputs)]), values, storages, y)

    return call


def call_variadic(op: Primitive) -> Callable[..., Any]:
    arity = op.arity

    def call(*args: Any, **kwargs: Any) -> Any:
        if kwargs or len(args) != arity:
            args = op.bind(args, kwargs)
        tensors = tuple(args[0])
        rest = args[1:]
        arrays, edges, storages = unwrap(tensors)
        try:
            y = op.run(arrays, *rest)
        except Exception as error:
            return recover(op, error, (tensors, *rest))
        if not any(storages):
            return y
        owners = [tuple(storages), *[None] * len(rest)]
        return record(op, tuple(edges), [tuple(arrays), *rest], owners, y)

    return call


def unwrap(args: Sequence[Any]) -> tuple[list[Any], list[Node | None], list[Storage | None]]:
    """Of every tensor its array, its node and its storage; other values stay, without these."""
    values: list[Any] = []
    edges: list[Node | None] = []
    storages: list[Storage | None] = []
    for a in args:
        if isinstance(a, Variable):
            if a.base is not None:
                refresh(a)
            values.append(a.array)
            edges.append(a.node)
            storages.append(a.storage)
        else:
            values.append(a)
            edges.append(None)
            storages.append(None)
    return values, edges, storages


def call_view(op: Primitive) -> Callable[..., Any]:
    """The result shares the memory of the first argument, and remembers how to get there."""
    forward, plans, arity = op.forward, op.plans, op.arity

    def view(*args: Any, **kwargs: Any) -> Any:
        if kwargs or len(args) != arity:
            args = op.bind(args, kwargs)
        source, *rest = args
        if not isinstance(source, Variable):
            return forward(*args)
        base = source.base
        if base is not None:
            refresh(source)
        try:
            y = forward(source.array, *rest)
        except Exception as error:
            return recover(op, error, args)
        results = y if op.multiple else (y,)
        whole = None
        if state.enabled and op.inputs and source.node is not None:
            plan = plans.get((True,)) or op.plan((True,))
            kept = plan.pick((source.array, *rest))  # no view's rule needs its output
            if plan.shapes:
                kept += (source.array.shape,)
            y = results[0] if results else source.array
            whole = Node(plan, (source.node,), kept, plan.no_guards, y.shape, y.dtype)
            whole.parts = len(results) if op.multiple else 0
        views = []
        for i, y in enumerate(results):
            t = _new(_Tensor)
            t.array, t.storage = y, source.storage
            t.base = source if base is None else base
            t.rebased = t.base.rebased
            t.path = (*source.path, (view, rest, i if op.multiple else None))
            if whole is not None:
                t.node = Part(whole, i, y.shape, y.dtype) if op.multiple else whole
            elif not state.enabled:
                t.made_without_grad = True
            views.append(t)
        return tuple(views) if op.multiple else views[0]

    return view


def record(
    op: Primitive,
    edges: tuple[Node | None, ...],
    values: Sequence[Any],
    owners: Sequence[Any],
    y: Any,
) -> Any:
    """Wrap the result `y` of `op` and, if an input needs a gradient, note how it was made.

    `owners` are the storages of the `values`: one, a tuple of them, or None.
    """
    saved: Sequence[Any] = ()
    if op.saves:
        y, *saved = y
    results: list[Any] = [wrap(part) for part in y] if op.multiple else [wrap(y)]
    t = results[0] if results else None
    live = tuple([edge is not None for edge in edges])
    if state.enabled and op.inputs and True in live and t is not None:
        plan = op.plans.get(live) or op.plan(live)
        known = (*values, y if op.multiple else t.array, *saved)
        kept = plan.pick(known)
        own = None if op.multiple else t.storage
        guards = plan.pick((*owners, own, *[None] * len(saved)))
        if plan.shapes:
            kept += tuple([_shape(known[i]) for i in plan.shapes])
        node = Node(plan, edges, kept, guards, t.array.shape, t.array.dtype)
        if op.multiple:
            node.parts = len(results)
            for i, part in enumerate(results):
                part.node = Part(node, i, part.array.shape, part.array.dtype)
        else:
            t.node = node
    return tuple(results) if op.multiple else t


def _shape(value: Any) -> Any:
    return tuple([v.shape for v in value]) if isinstance(value, tuple) else value.shape
