"""16-bit floats: stored in two bytes, computed in float32, rounded once.

float16 and bfloat16 are formats to keep numbers in.  torch's kernels read them, compute in float32
and round the result when they store it; so does every primitive here, forward and backward:

    y = forward(x)     becomes     y = forward(x as float32) rounded to the dtype of x

So a listener makes the calls (see mode.py), and a wrapper the backward steps.  Neither is there
before the first 16-bit dtype is looked up, when nobody can have a tensor of it: who uses none pays
nothing.  How an operation takes 16 bits it says itself, as `half=`:

    "widened"        arrays are widened, the result is rounded: the default
    "as it is"       it only moves numbers, or refuses 16 bits itself
    "as it is, both ways"  its rules, too, only hand on what arrives
    "by gpu"         a GPU's kernel takes 16 bits, and adds up in float32
    "by gpu, once"   so does one operation of CuPy's, if all operands are arrays: numbers it would
                     round first
    "once"           the same, but not its rules

Numbers are exact, as factors are in torch, unless more is said: "..., numbers rounded" to the dtype
of the tensors first (`x == 0.1` is true of what 0.1 was rounded to), or "..., numbers fit", too.
"""

from __future__ import annotations

import functools

import numpy as np

from tinygrad_edu.dtypes import (
    Array,
    NumpyDtype,
    default,
    dtype,
    fitting,
    is_floating,
    is_half,
    to_numpy,
    when_half_is_met,
)
from tinygrad_edu.engine.graph import Node
from tinygrad_edu.engine.mode import around, is_recording, listeners
from tinygrad_edu.engine.primitive import Primitive
from tinygrad_edu.engine.types import Call, Gradient, Values
from tinygrad_edu.kernels.cuda import launch
from tinygrad_edu.kernels.memory_order import cast

_WIDE = np.dtype(np.float32)


def _by_gpu(op: Primitive, kinds: tuple[str, ...], operand: Array) -> bool:
    """Whether the operation takes 16 bits in one of these ways, and the operand is on a GPU.

    What arrives at an operation of several results is a list, None for those that got nothing.
    """
    if operand.__class__ is list:
        operand = next((part for part in operand if part is not None), None)
    way = op.half.partition(", numbers")[0]
    return way in kinds and hasattr(operand, "dtype") and launch.takes_half(operand)


def _taken_as_they_are(op: Primitive, half: NumpyDtype, values: Values) -> bool:
    if "once" in op.half and not all([getattr(v, "dtype", None) == half for v in values]):
        return False
    return _by_gpu(op, ("by gpu", "by gpu, once", "once"), values[0])


def widen(value: Array) -> Array:
    """16-bit arrays, alone or in sequences, as float32; everything else as it is."""
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)([widen(part) for part in value])
    kind = getattr(value, "dtype", None)
    return cast(value, _WIDE) if kind is not None and is_half(kind) else value


def _half_among(values: Array) -> NumpyDtype | None:
    """The 16-bit dtype of the operands, if all that hold floats have the same one."""
    found = None
    for value in values:
        kind = getattr(value, "dtype", None)
        if kind is None or isinstance(kind, property) or not is_floating(kind):
            continue
        if not is_half(kind) or found not in (None, kind):
            return None  # operands of several dtypes are for the operation to promote, or refuse
        found = kind
    return found


def _makes_default(operands: Array) -> bool:
    """Whether floats come from integers here, where the default dtype has 16 bits."""
    if not is_half(default()):
        return False
    kinds = [v.dtype for v in operands if isinstance(v, (np.ndarray, np.generic))]
    named = any([isinstance(v, (np.dtype, dtype)) for v in operands])
    return bool(kinds) and not named and not any([is_floating(kind) for kind in kinds])


def _operands(op: Primitive, values: Values) -> Array:
    return [*values[0], *values[1:]] if op.variadic else values


def compute(op: Primitive, *values: Array) -> Array:
    """`forward`, computed in float32 where the operands have 16 bits."""
    first = values[0]
    if first.__class__ is np.ndarray and first.dtype is _WIDE:
        return op.forward(*values)
    operands = _operands(op, values)
    half = _half_among(operands)
    if half is None or _taken_as_they_are(op, half, values):
        y = op.forward(*values)
        return _narrow(y, default()) if _makes_default(operands) else y
    asked = [to_numpy(v) for v in values if isinstance(v, (np.dtype, dtype))]
    result = half if all([kind == half for kind in asked]) else None
    wide = [
        _WIDE if isinstance(v, (np.dtype, dtype)) and to_numpy(v) == half else v
        for v in widen(values)
    ]
    if "numbers" in op.half:
        fits = op.half.endswith("fit")
        wide = [_number(v, half, fits) if v.__class__ in (float, int) else v for v in wide]
    y = op.forward(*wide)
    if result is None:  # another dtype was asked for by name
        return y
    if op.saves:  # what the rules are to be given is not rounded
        return (_narrow(y[0], half), *y[1:])
    return _narrow(y, half)


def _number(value: float, half: NumpyDtype, fits: bool) -> float:
    """The number rounded to 16 bits; refused if it has to fit and does not."""
    value = fitting(half, value) if fits else value
    return float(np.asarray(value, _WIDE).astype(half))


def _narrow(y: Array, half: NumpyDtype) -> Array:
    """float32 arrays, alone or in a tuple, rounded to `half`."""
    if isinstance(y, tuple):
        return tuple([_narrow(part, half) for part in y])
    return y.astype(half) if getattr(y, "dtype", None) == _WIDE else y


def _step(step: Call, node: Node, kept: Values | None, g: Gradient) -> Array:
    """`gradients` of arrays: the rules compute in float32, the walk rounds what they give.

    Where the walk itself is recorded, the rules are made of operations that see to it themselves;
    and the `backward` of a `Function` is the user's.
    """
    if g.__class__ is np.ndarray and g.dtype is _WIDE:  # what 16 bits are kept, NumPy widens
        return step(node, kept, g)
    op = node.plan.op
    as_given = is_recording() or kept is None or not isinstance(op, Primitive)
    as_given = as_given or getattr(g, "dtype", node.dtype) != node.dtype  # see Primitive.narrow
    as_given = as_given or op.half == "as it is, both ways"
    if as_given or _by_gpu(op, ("by gpu", "by gpu, once"), g):
        return step(node, kept, g)
    wide = widen(g)
    found = step(node, widen(kept), wide)
    if wide is g:  # not of 16 bits; the walk sees itself what is handed on
        return found
    found = list(found)
    if len(found) == 1:  # nobody else has what was widened
        return found
    return [(i, wide.copy() if gx is wide else gx) for i, gx in found]


def _listener(op: Primitive, make: Call, *args: object, **kwargs: object) -> Array:
    told = "_by" in kwargs  # a call that has been told how to compute
    if told or not isinstance(op, Primitive) or op.half.startswith("as it is") or op.view:
        return make(*args, **kwargs)
    return op.call(*args, _by=functools.partial(compute, op), **kwargs)


@functools.cache
def install() -> None:
    """Compute with 16-bit floats from now on."""
    listeners.append(_listener)
    around.insert(0, _step)  # the nearest: it widens what others have unpacked


when_half_is_met(install)
