"""16-bit floats: stored in two bytes, computed in float32, rounded once.

float16 and bfloat16 are formats to keep numbers in.  torch's kernels read them, compute in float32
and round the result when they store it; so does every primitive here, forward and backward:

    y = forward(x)     becomes     y = forward(x as float32) rounded to the dtype of x

To ask every operation of every program whether an operand has 16 bits would cost all those that
have none.  Instead, when the first 16-bit dtype is looked up (nobody can have a tensor of it
before), `Primitive.run` and the walk's `gradients` are exchanged for those below.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_edu import dtypes
from tinygrad_edu.autograd import walk
from tinygrad_edu.autograd.graph import Node
from tinygrad_edu.autograd.primitive import Primitive
from tinygrad_edu.dtypes import NumpyDtype, is_half
from tinygrad_edu.kernels.cuda import launch

_WIDE = np.dtype(np.float32)
_AS_THEY_ARE = [f"tinygrad_edu.ops.{name}" for name in (
    "casting", "joining", "layout", "shape",  # they only move numbers, or change their dtype
    "decompositions", "linalg",  # 16 bits are refused there, as in torch
)]  # fmt: skip
"""Modules whose primitives are given 16-bit arrays as they are."""

_BY_GPU = ("matmul", "linear", "attention", "gelu", "add", "sub", "neg")
"""What takes 16-bit arrays on a GPU as they are, forward and backward: our kernels and cuBLAS add
up in float32, and one operation of CuPy's rounds once."""
_ONE_STEP = ("add", "sub", "neg", "mul", "relu")
"""What is one operation of CuPy's, if all operands are arrays: numbers it would round first."""

_plain_gradients = walk.base_gradients


def _by_gpu(op: Any, names: tuple[str, ...], operand: Any) -> bool:
    """Whether the operation is one of those, and the operand an array on a GPU."""
    named = isinstance(op, Primitive) and op.name in names
    return named and hasattr(operand, "dtype") and launch.takes_half(operand)


def _taken_as_they_are(op: Primitive, half: NumpyDtype, values: tuple[Any, ...]) -> bool:
    if op.name in _ONE_STEP and not all([getattr(v, "dtype", None) == half for v in values]):
        return False
    return _by_gpu(op, (*_BY_GPU, *_ONE_STEP), values[0])


def widen(value: Any) -> Any:
    """16-bit arrays, alone or in sequences, as float32; everything else as it is."""
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)([widen(part) for part in value])
    kind = getattr(value, "dtype", None)
    return value.astype(_WIDE) if kind is not None and is_half(kind) else value


def _half_among(values: Any) -> NumpyDtype | None:
    """The 16-bit dtype of the operands, if all that hold floats have the same one."""
    found = None
    for value in values:
        kind = getattr(value, "dtype", None)
        if kind is None or isinstance(kind, property) or not dtypes.is_floating(kind):
            continue
        if not is_half(kind) or found not in (None, kind):
            return None  # operands of several dtypes are for the operation to promote, or refuse
        found = kind
    return found


def _makes_default(operands: Any) -> bool:
    """Whether floats come from integers here, where the default dtype has 16 bits."""
    if not is_half(dtypes.default()):
        return False
    kinds = [v.dtype for v in operands if isinstance(v, (np.ndarray, np.generic))]
    named = any([isinstance(v, (np.dtype, dtypes.dtype)) for v in operands])
    return bool(kinds) and not named and not any([dtypes.is_floating(kind) for kind in kinds])


def _operands(op: Primitive, values: tuple[Any, ...]) -> Any:
    return [*values[0], *values[1:]] if op.variadic else values


def _run_wide(op: Primitive, *values: Any) -> Any:
    operands = _operands(op, values)
    half = _half_among(operands)
    if half is None or _taken_as_they_are(op, half, values):
        y = op.forward(*values)
        return _narrow(y, dtypes.default()) if _makes_default(operands) else y
    asked = [dtypes.to_numpy(v) for v in values if isinstance(v, (np.dtype, dtypes.dtype))]
    result = half if all([kind == half for kind in asked]) else None
    wide = [
        _WIDE if isinstance(v, (np.dtype, dtypes.dtype)) and dtypes.to_numpy(v) == half else v
        for v in widen(values)
    ]
    y = op.forward(*wide)
    if result is None:  # another dtype was asked for by name
        return y
    if op.saves:  # what the rules are to be given is not rounded
        return (_narrow(y[0], half), *y[1:])
    return _narrow(y, half)


def _narrow(y: Any, half: NumpyDtype) -> Any:
    """float32 arrays, alone or in a tuple, rounded to `half`."""
    if isinstance(y, tuple):
        return tuple([_narrow(part, half) for part in y])
    return y.astype(half) if getattr(y, "dtype", None) == _WIDE else y


def _gradients(node: Node, g: Any, create: bool) -> Any:
    """`walk.gradients` for arrays: the rules compute in float32, the walk rounds what they give.

    Where the walk itself is recorded, the rules are made of operations that see to it themselves;
    and the `backward` of a `Function` is the user's.
    """
    if g.__class__ is np.ndarray and g.dtype is _WIDE:  # what 16 bits are kept, NumPy widens
        return _plain_gradients(node, g, create)
    kept, op = node.kept, node.plan.op
    if create or kept is None or not isinstance(op, Primitive) or _by_gpu(op, _BY_GPU, g):
        return _plain_gradients(node, g, create)
    wide, wide_kept = widen(g), widen(kept)
    node.kept = wide_kept
    try:
        found = list(_plain_gradients(node, wide, create))
    finally:
        node.kept = kept
    return [(i, wide.copy() if gx is wide else gx) for i, gx in found]


def _exchange(op: Primitive) -> None:
    """Let calls of `op` run wide; where the first operand is a float32 array, nothing is to do."""
    if op.forward.__module__ in _AS_THEY_ARE or op.name == "nan_to_num":
        return
    forward, wide = op.forward, functools.partial(_run_wide, op)

    def run_unary(x: Any) -> Any:
        if x.__class__ is np.ndarray and x.dtype is _WIDE:
            return forward(x)
        return wide(x)

    def run_binary(x: Any, z: Any) -> Any:
        if x.__class__ is np.ndarray and x.dtype is _WIDE:
            return forward(x, z)
        return wide(x, z)

    def run(*values: Any) -> Any:
        if values[0].__class__ is np.ndarray and values[0].dtype is _WIDE:
            return forward(*values)
        return wide(*values)

    op.run = run_unary if op.arity == 1 else run_binary if op.arity == 2 else run
    if op.variadic:
        op.run = wide


def install() -> None:
    """Compute with 16-bit floats from now on."""
    for op in Primitive.everyone:
        _exchange(op)
    Primitive.made = staticmethod(_exchange)
    if walk.gradients is walk.base_gradients:  # else it is watched, and calls the base
        walk.gradients = _gradients
    walk.base_gradients = _gradients


install_once: Callable[[], None] = functools.cache(install)
dtypes.when_half_is_met(install_once)
