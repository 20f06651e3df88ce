"""The other forms of a call, most of them written out for speed.  Skip this on a first reading.

Those of one and of two arguments do what `call_general` does (record.py), without its loops and
lists, because every microsecond here is paid for every operation of every training step: the
general form takes half as long again for a small tensor.  They also check what the general one
leaves to the forward function: that arguments are arrays, and which of two may be a Python number.
A NumPy number counts as one: by `item`, or it would widen float32.

A tensor that is `plain` needs no second look: it is no view that may be behind its base, its result
lies in C order, and it may be kept.
"""

from __future__ import annotations

from operator import call as just_make
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.dtypes import common
from tinygrad_edu.engine.boundary import not_a_tensor, recover, refuse_arrays, tell
from tinygrad_edu.engine.graph import INFERENCE, TensorBase, clock
from tinygrad_edu.engine.mode import listeners, named_like, state
from tinygrad_edu.engine.record import as_array, call_general, note, plan_of, unwrap, wrap
from tinygrad_edu.engine.types import Call, Values
from tinygrad_edu.engine.views import call_view
from tinygrad_edu.kernels.memory_order import in_turn

if TYPE_CHECKING:
    from tinygrad_edu.engine.primitive import Primitive

_new = object.__new__
_ndarray = np.ndarray
_NUMBERS = (int, float, bool)
_KNOWN = (TensorBase, *_NUMBERS)
_ABSENT: Any = object()
_ONE = (True,)


def form_of(op: Primitive) -> Call:
    """The form of call that serves `op`."""
    if op.view:
        return call_view(op)
    if op.variadic:
        return call_variadic(op)
    if op.saves or op.multiple or op.arity not in (1, 2):
        return call_general(op)
    return call_unary(op) if op.arity == 1 else call_binary(op)


def call_unary(op: Primitive) -> Call:
    """The call of an operation with one argument."""
    forward, plans = op.forward, op.plans

    def call(a: object = _ABSENT, /, *rest: Any, **kwargs: Any) -> Any:
        mode, by, careful = state.mode, forward, False
        if kwargs or rest or a is _ABSENT or mode.listeners or listeners:
            args = _given(a, *rest)
            by = kwargs.pop("_by", forward)
            if (mode.listeners or listeners) and by is forward:
                return tell(op, None, args, kwargs, listeners)
            if "out" in kwargs:
                return op.write_out(op, args, by, **kwargs)
            (a,) = op.bind(args, kwargs)
        if not isinstance(a, TensorBase):
            if not hasattr(a, "dtype"):
                raise not_a_tensor(op.name, 1, a)
            if not mode.roots:  # which is no rule's call
                refuse_arrays(op, (a,))
            try:
                return forward(a)
            except Exception as error:
                return recover(op, error, (a,))
        if not a.plain:
            careful = look_closely(a)
        x = a.array
        try:
            y = by(x)
        except Exception as error:
            return recover(op, error, (a,))
        if careful and op.elementwise and not x.flags.c_contiguous and 0 in x.strides:
            y = in_turn(y, x)
        t = _new(TensorBase.results)
        t.array = y = y if y.__class__ is _ndarray else as_array(y)
        t._storage = mode.own()
        if not careful and op.elementwise:
            t.plain = True
        edge, recorder = a.node, mode.recorder
        if edge is None or recorder is None:
            if mode.inference:
                t.plain = False
            return t
        plan = plans.get(_ONE) or plan_of(op, _ONE, y)
        if plan is not None:
            kept: Values = ()
            guards: Values = ()
            if plan.keep:
                kept = plan.pick((x, y))
                guards = plan.pick((a._storage, t._storage))
            if plan.shapes:
                kept += (x.shape,)
            cls = plan.node or op.class_of(x)
            if careful or recorder is not just_make:
                t.node = recorder(cls, plan, (edge,), kept, guards, y.shape, y.dtype)
                return t
            t.node = node = _new(cls)  # and now what `Node.__init__` does
            node.number, node.plan, node.edges = clock(), plan, (edge,)
            node.kept, node.guards, node.shape, node.dtype = kept, guards, y.shape, y.dtype
        return t

    return call


def call_binary(op: Primitive, failed: Call = recover) -> Call:
    """The call of an operation with two arguments.

    `failed(op, error, args)` answers where the forward function raised.
    """
    forward, plans = op.forward, op.plans

    def call(a: object = _ABSENT, b: object = _ABSENT, /, *rest: Any, **kwargs: Any) -> Any:
        mode, by, careful = state.mode, forward, False
        if kwargs or rest or b is _ABSENT or mode.listeners or listeners:
            args = _given(a, b, *rest)
            by = kwargs.pop("_by", forward)
            if (mode.listeners or listeners) and by is forward:
                told = args if failed is recover else _as_tensors(args)
                try:
                    return tell(op, None, told, kwargs, listeners)
                except TypeError:
                    if failed is recover or isinstance(args[-1], _KNOWN):
                        raise
                    return NotImplemented
            if "out" in kwargs:
                return op.write_out(op, args, by, **kwargs)
            a, b = op.bind(args, kwargs)
        a_edge = b_edge = a_storage = b_storage = None
        if isinstance(a, TensorBase):
            if not a.plain:
                careful = look_closely(a)
            x, a_edge, a_storage = a.array, a.node, a._storage
            if isinstance(b, TensorBase):
                if not b.plain:
                    careful = look_closely(b) or careful
                z, b_edge, b_storage = b.array, b.node, b._storage
            else:
                if op.numbers == "none" and b.__class__ in _NUMBERS:
                    raise not_a_tensor(op.name, 2, b)
                z = b if b.__class__ in _NUMBERS else _plain(op, (a, b), failed, b)
        elif isinstance(b, TensorBase):
            if op.numbers != "either" and a.__class__ in _NUMBERS:
                raise not_a_tensor(op.name, 1, a)
            if not b.plain:
                look_closely(b)
                careful = b._storage is INFERENCE
            x = a if a.__class__ in _NUMBERS else _plain(op, (a, b), failed, a)
            z, b_edge, b_storage = b.array, b.node, b._storage
        else:
            if a.__class__ in _NUMBERS and b.__class__ in _NUMBERS:
                raise not_a_tensor(op.name, 1, a)
            if not mode.roots:
                refuse_arrays(op, (a, b))
            try:
                return forward(a, b)
            except Exception as error:
                return recover(op, error, (a, b))
        try:
            y = by(x, z)
        except Exception as error:
            return failed(op, error, (a, b))
        if careful and op.elementwise and a_storage is not None:
            if not x.flags.c_contiguous or (b_storage is not None and not z.flags.c_contiguous):
                y = in_turn(y, x, z, dtype=common(x, z) if y.dtype == bool else y.dtype)
        t = _new(TensorBase.results)
        t.array = y = y if y.__class__ is _ndarray else as_array(y)
        t._storage = mode.own()
        if not careful and op.elementwise:
            t.plain = True
        recorder = mode.recorder
        if (a_edge is None and b_edge is None) or recorder is None:
            if mode.inference:
                t.plain = False
            return t
        live = (a_edge is not None, b_edge is not None)
        plan = plans.get(live) or plan_of(op, live, y)
        if plan is not None:
            kept: Values = ()
            guards: Values = ()
            if plan.keep:
                kept = plan.pick((x, z, y))
                guards = plan.pick((a_storage, b_storage, t._storage))
            if plan.shapes:
                kept += tuple([(x, z)[i].shape for i in plan.shapes])
            cls = plan.node or op.classes.get(op.chain(x, z)) or op.class_of(x, z)
            if careful or recorder is not just_make:
                t.node = recorder(cls, plan, (a_edge, b_edge), kept, guards, y.shape, y.dtype)
                return t
            t.node = node = _new(cls)  # and now what `Node.__init__` does
            node.number, node.plan, node.edges = clock(), plan, (a_edge, b_edge)
            node.kept, node.guards, node.shape, node.dtype = kept, guards, y.shape, y.dtype
        return t

    return call


def call_variadic(op: Primitive) -> Call:
    """The form for an operation whose first argument is a sequence of tensors."""
    forward, arity = op.forward, op.arity

    def call(*args: Any, **kwargs: Any) -> Any:
        by = kwargs.pop("_by", forward) if kwargs else forward
        if (listeners or state.mode.listeners) and by is forward:
            return tell(op, None, args, kwargs, listeners)
        if kwargs or len(args) != arity:
            args = op.bind(args, kwargs)
        tensors, rest = tuple(args[0]), args[1:]
        arrays, edges, storages = unwrap(tensors)
        try:
            y = by(arrays, *rest)
        except Exception as error:
            return recover(op, error, (tensors, *rest))
        if not any(storages):
            return y
        owners = [tuple(storages), *[None] * len(rest)]
        return note(op, edges, [tuple(arrays), *rest], owners, y)

    return call


def look_closely(t: TensorBase) -> bool:
    """Bring a view up to date.  Whether `t` is one, or something else that is not plain."""
    if t.view_of is not None:
        t.view_of.refresh(t)
        return True
    t.plain = t._storage is not INFERENCE and t.array.flags.c_contiguous
    return not t.plain


def _given(*args: object) -> Values:
    return tuple([a for a in args if a is not _ABSENT])


def _as_tensors(args: Values) -> Values:
    """Arrays as tensors: an operator takes them, but listeners repeat a call as a function's."""
    return tuple([wrap(np.asarray(a)) if isinstance(a, np.ndarray) else a for a in args])


def _plain(op: Primitive, args: Values, failed: Call, operand: object) -> Any:
    """NumPy's numbers as Python's, its matrices and masked arrays as arrays; others as they are.

    Only Python's operators take an array beside a tensor.
    """
    function = failed is recover and not state.mode.roots
    if isinstance(operand, np.generic):
        if function and (op.numbers == "none" or (op.numbers == "second" and operand is args[0])):
            refuse_arrays(op, args)
        return operand.item()
    if function:
        refuse_arrays(op, args)
    return np.asarray(operand) if isinstance(operand, np.ndarray) else operand


def operator(operation: Any) -> Any:
    """An operation as Python's operator: to an operand that it does not know it leaves the call."""
    call: Any = named_like(operation, call_binary(operation.primitive, _failed_operator))
    for name in ("__qualname__", "__doc__", "__module__", "primitive"):
        setattr(call, name, getattr(operation, name))
    return call


def _failed_operator(op: Primitive, error: Exception, args: Values) -> Any:
    try:
        return recover(op, error, args)
    except TypeError:
        if isinstance(args[1], _KNOWN):
            raise
        return NotImplemented
