"""The calls of operations with one and two arguments, written out.  Skip this on a first reading.

They do what `call_general` does (record.py), without its loops and lists, because every microsecond
here is paid for every operation of every training step: the general form takes half as long again
for a small tensor.  They also check what the general one leaves to the forward function: that
arguments are arrays, and which of two may be a Python number.  A NumPy number counts as one: by
`item`, or it would widen float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.dtypes import common
from tinygrad_edu.engine.boundary import not_a_tensor, recover, tell
from tinygrad_edu.engine.graph import INFERENCE, Storage, Variable
from tinygrad_edu.engine.mode import listeners, named_like, state
from tinygrad_edu.engine.record import (
    as_array,
    call_general,
    call_variadic,
    live_inputs,
)
from tinygrad_edu.engine.types import Call, Values
from tinygrad_edu.engine.views import call_view
from tinygrad_edu.kernels.memory_order import in_turn

if TYPE_CHECKING:
    from tinygrad_edu.engine.primitive import Primitive

_new = object.__new__
_ndarray = np.ndarray
_NUMBERS = (int, float, bool)
_KNOWN = (Variable, *_NUMBERS)


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

    def call(*args: Any, **kwargs: Any) -> Any:
        mode = state.mode
        by = kwargs.pop("_by", forward) if kwargs else forward
        if (mode.listeners or listeners) and by is forward:
            return tell(op, None, args, kwargs, listeners)
        if kwargs or len(args) != 1:
            if "out" in kwargs:
                return _with_out(op, args, by, **kwargs)
            args = op.bind(args, kwargs)
        a = args[0]
        if not isinstance(a, Variable):
            if not hasattr(a, "dtype"):
                raise not_a_tensor(op.name, 1, a)
            try:
                return forward(a)
            except Exception as error:
                return recover(op, error, args)
        if a.view_of is not None:
            a.view_of.refresh(a)
        x = a.array
        try:
            y = by(x)
        except Exception as error:
            return recover(op, error, args)
        if not x.flags.c_contiguous and op.elementwise and 0 in x.strides:
            y = in_turn(y, x)
        t = _new(Variable.results)
        t.array = y if y.__class__ is _ndarray else as_array(y)
        t._storage = Storage()
        edge, recorder = a.node, mode.recorder
        if edge is None or recorder is None:
            if mode.inference:
                t._storage = INFERENCE
            return t
        if op.inputs or live_inputs(op, (edge,), t.array):
            plan = plans.get((True,)) or op.plan((True,))
            y = t.array
            kept = plan.pick((x, y))
            guards = plan.pick((a._storage, t._storage))
            if plan.shapes:
                kept += (x.shape,)
            cls = plan.node or op.class_of(x)
            t.node = recorder(cls, plan, (edge,), kept, guards, y.shape, y.dtype)
        return t

    return call


def call_binary(op: Primitive, failed: Call = recover) -> Call:
    """The call of an operation with two arguments.

    `failed(op, error, args)` answers where the forward function raised.
    """
    forward, plans = op.forward, op.plans

    def call(*args: Any, **kwargs: Any) -> Any:
        mode = state.mode
        by = kwargs.pop("_by", forward) if kwargs else forward
        if (mode.listeners or listeners) and by is forward:
            try:
                return tell(op, None, args, kwargs, listeners)
            except TypeError:
                if failed is recover or isinstance(args[-1], _KNOWN):
                    raise
                return NotImplemented
        if kwargs or len(args) != 2:
            if "out" in kwargs:
                return _with_out(op, args, by, **kwargs)
            args = op.bind(args, kwargs)
        a, b = args
        a_edge = b_edge = a_storage = b_storage = None
        if isinstance(a, Variable):
            if a.view_of is not None:
                a.view_of.refresh(a)
            x, a_edge, a_storage = a.array, a.node, a._storage
            if isinstance(b, Variable):
                if b.view_of is not None:
                    b.view_of.refresh(b)
                z, b_edge, b_storage = b.array, b.node, b._storage
            else:
                if op.numbers == "none" and b.__class__ in _NUMBERS:
                    raise not_a_tensor(op.name, 2, b)
                z = b if b.__class__ in _NUMBERS else _plain(b)
        elif isinstance(b, Variable):
            if op.numbers != "either" and a.__class__ in _NUMBERS:
                raise not_a_tensor(op.name, 1, a)
            if b.view_of is not None:
                b.view_of.refresh(b)
            x = a if a.__class__ in _NUMBERS else _plain(a)
            z, b_edge, b_storage = b.array, b.node, b._storage
        else:
            if a.__class__ in _NUMBERS and b.__class__ in _NUMBERS:
                raise not_a_tensor(op.name, 1, a)
            try:
                return forward(a, b)
            except Exception as error:
                return recover(op, error, args)
        try:
            y = by(x, z)
        except Exception as error:
            return failed(op, error, args)
        if a_storage is not None and (
            not x.flags.c_contiguous or (b_storage is not None and not z.flags.c_contiguous)
        ):
            if op.elementwise:
                y = in_turn(y, x, z, dtype=common(x, z) if y.dtype == bool else y.dtype)
        t = _new(Variable.results)
        t.array = y = y if y.__class__ is _ndarray else as_array(y)
        t._storage = Storage()
        recorder = mode.recorder
        if (a_edge is None and b_edge is None) or recorder is None:
            if mode.inference:
                t._storage = INFERENCE
            return t
        if op.inputs or live_inputs(op, (a_edge, b_edge), y):
            live = (a_edge is not None, b_edge is not None)
            plan = plans.get(live) or op.plan(live)
            kept = plan.pick((x, z, y))
            guards = plan.pick((a_storage, b_storage, t._storage))
            if plan.shapes:
                kept += tuple([(x, z)[i].shape for i in plan.shapes])
            cls = plan.node or op.class_of(x, z)
            t.node = recorder(cls, plan, (a_edge, b_edge), kept, guards, y.shape, y.dtype)
        return t

    return call


def _plain(operand: Any) -> Any:
    """NumPy's numbers as Python's, its matrices and masked arrays as arrays; others as they are."""
    if isinstance(operand, np.generic):
        return operand.item()
    return np.asarray(operand) if isinstance(operand, np.ndarray) else operand


def _with_out(op: Primitive, args: Any, by: Any, *, out: Any, **kwargs: Any) -> Any:
    """A call whose result is written into a tensor that is there already."""
    read = args if op.elementwise else ()
    return op.write_out(op.name, out, op.call(*args, _by=by, **kwargs), *read)


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
