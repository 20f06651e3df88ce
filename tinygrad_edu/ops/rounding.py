"""Sizes, signs, steps: abs, sign, heaviside, floor, ceil, round, trunc, frac, nan_to_num."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.dtypes import (
    Array,
    common,
    finfo,
    from_numpy,
    is_floating,
    not_implemented,
    promote_to,
)
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.kernels.memory_order import in_turn
from tinygrad_edu.ops.arguments import elementwise, no_derivative, ufunc
from tinygrad_edu.ops.arithmetic import zero_gradient
from tinygrad_edu.ops.comparison import isfinite
from tinygrad_edu.ops.extrema import gate
from tinygrad_edu.ops.masking import where

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


@ufunc("sign")
@primitive
def sign(x: Array) -> Array:
    """-1, 0 or 1 for numbers below, at and above 0; 0 for nan.  Its derivative is 0.

    >>> import tinygrad_edu as torch
    >>> torch.sign(torch.tensor([-3.0, 0.0, 2.0]))
    tensor([-1.,  0.,  1.])
    """
    if x.dtype == bool:
        return x.copy()
    y = np.sign(x)
    return np.where(np.isnan(y), 0, y).astype(x.dtype, copy=False) if is_floating(x.dtype) else y


sign.vjp(x=zero_gradient)


@ufunc("absolute", "fabs")
@primitive
def abs(x: Array) -> Array:
    """The absolute value; its derivative at 0 is 0.

    >>> import tinygrad_edu as torch
    >>> torch.abs(torch.tensor([-1.5, 2.0]))
    tensor([1.5000, 2.0000])
    """
    if x.dtype == bool:
        raise not_implemented("abs", x.dtype)
    return np.absolute(x)


abs.vjp(x=lambda g, x: g * sign(x))


def _whole(name: str, x: Array, function: Any) -> Array:
    if x.dtype == bool:
        raise not_implemented(name, x.dtype)
    return function(x) if is_floating(x.dtype) else x.copy()


@ufunc("ceil")
@primitive
def ceil(x: Array) -> Array:
    """The next whole number upwards; its derivative is 0.

    >>> import tinygrad_edu as torch
    >>> torch.ceil(torch.tensor([-1.5, 1.5]))
    tensor([-1.,  2.])
    """
    return _whole("ceil", x, np.ceil)


ceil.vjp(x=zero_gradient)


@ufunc("floor")
@primitive
def floor(x: Array) -> Array:
    """The next whole number downwards; its derivative is 0.

    >>> import tinygrad_edu as torch
    >>> torch.floor(torch.tensor([-1.5, 1.5]))
    tensor([-2.,  1.])
    """
    return _whole("floor", x, np.floor)


floor.vjp(x=zero_gradient)


@ufunc("trunc")
@primitive
def trunc(x: Array) -> Array:
    """The next whole number towards 0; its derivative is 0.

    >>> import tinygrad_edu as torch
    >>> torch.trunc(torch.tensor([-1.5, 1.5]))
    tensor([-1.,  1.])
    """
    return _whole("trunc", x, np.trunc)


trunc.vjp(x=zero_gradient)


@elementwise
@primitive
def frac(x: Array) -> Array:
    """`x - trunc(x)`.

    >>> import tinygrad_edu as torch
    >>> torch.frac(torch.tensor([-1.5, 1.25]))
    tensor([-0.5000,  0.2500])
    """
    if not is_floating(x.dtype):
        raise not_implemented("frac", x.dtype)
    return x - np.trunc(x)


frac.vjp(x=lambda g: g)


@ufunc("rint")
@primitive
def round(x: Array, decimals: int = 0) -> Array:
    """The nearest whole number, of two equally near ones the even; its derivative is 0.

    Args:
        decimals: how many digits behind the point to keep; before it, if negative.

    >>> import tinygrad_edu as torch
    >>> torch.round(torch.tensor([0.5, 1.5, 2.6]))
    tensor([0., 2., 3.])
    >>> torch.round(torch.tensor([0.123]), decimals=2)
    tensor([0.1200])
    """
    if not decimals:
        return _whole("round", x, np.rint)
    if not is_floating(x.dtype):
        raise not_implemented("round", x.dtype)
    ten = float(10 ** (decimals if decimals > 0 else -decimals))
    return np.rint(x * ten) / ten if decimals > 0 else np.rint(x / ten) * ten


round.vjp(x=zero_gradient)


@primitive(half="as it is")
def nan_to_num(x: Array, nan: Any = None, posinf: Any = None, neginf: Any = None) -> Array:
    """`x` with numbers for nan and the infinities; there its derivative is 0.

    Args:
        nan: for nan; 0 unless given.
        posinf, neginf: for inf and -inf; the largest and lowest finite numbers unless given.

    >>> import tinygrad_edu as torch
    >>> torch.nan_to_num(torch.tensor([float("nan"), float("inf"), 1.0]), posinf=9.0)
    tensor([0., 9., 1.])
    """
    if not is_floating(x.dtype):
        return x.copy()
    info = finfo(from_numpy(x.dtype))
    high = info.max if posinf is None else posinf
    low = info.min if neginf is None else neginf
    y = np.where(np.isnan(x), 0.0 if nan is None else nan, x)
    y = np.where(x == np.inf, high, np.where(x == -np.inf, low, y))
    return in_turn(y.astype(x.dtype, copy=False), x)


nan_to_num.vjp(x=lambda g, x: gate(g, isfinite(x)))


@elementwise
@primitive(numbers="none", node="NotImplemented")
def heaviside(a: Array, values: Array) -> Array:
    """0 where `a` is negative, 1 where it is positive, `values` where it is 0; no derivative.

    Raises:
        RuntimeError: the dtypes differ.

    >>> import tinygrad_edu as torch
    >>> torch.heaviside(torch.tensor([-1.0, 0.0, 2.0]), torch.tensor(0.5))
    tensor([0.0000, 0.5000, 1.0000])
    """
    if a.dtype != values.dtype:
        raise RuntimeError("heaviside is not yet implemented for tensors with different dtypes.")
    return np.where(a == 0, values, a > 0).astype(a.dtype)


_no_rule = no_derivative("derivative for aten::heaviside is not implemented")
heaviside.vjp(a=_no_rule, values=_no_rule)


@ufunc("copysign")
@primitive(numbers="second")
def copysign(a: Array, b: Array) -> Array:
    """The size of `a` with the sign of `b`.

    >>> import tinygrad_edu as torch
    >>> torch.copysign(torch.tensor([1.0, -2.0]), -1)
    tensor([-1., -2.])
    """
    target = common(a, b)
    a, b = promote_to(target if is_floating(target) else np.dtype(np.float32), a, b)
    return np.copysign(a, b)


def _turned(a: Any, y: Any) -> Tensor:
    """`y / a`: 1 where the sign was kept, -1 where it was turned; 0 at 0."""
    return gate(y / where(a == 0, 1.0, a), a != 0)


copysign.vjp(
    a=lambda g, a, y: g * _turned(a, y),
    b=zero_gradient,
)
