"""Powers and roots: reciprocal, square, pow, sqrt, rsqrt, ldexp."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.dtypes import (
    Array,
    common,
    default,
    fitting,
    float64,
    floating,
    is_floating,
    not_implemented,
    promote,
    promote_to,
    scalar_type_name,
)
from tinygrad_edu.engine.inplace import inplace
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.kernels.memory_order import in_order, in_turn
from tinygrad_edu.ops import elementary, masking
from tinygrad_edu.ops.arguments import elementwise, named, ufunc
from tinygrad_edu.ops.arithmetic import mul, zero_gradient
from tinygrad_edu.ops.casting import to
from tinygrad_edu.ops.extrema import gate
from tinygrad_edu.out import takes_out

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


@ufunc("reciprocal")
@primitive(autocast={"cuda": "float32"})
def reciprocal(x: Array) -> Array:
    """`1 / x`.

    >>> import tinygrad_edu as torch
    >>> torch.reciprocal(torch.tensor([2.0, 4.0]))
    tensor([0.5000, 0.2500])
    """
    return np.reciprocal(floating(x))


reciprocal.vjp(x=lambda g, y: -g * (y * y))


def rdiv(input: Tensor, other: Tensor | float) -> Tensor:
    """`other / input`, by way of the reciprocal, as torch computes it."""
    return mul(reciprocal(input), other)


@ufunc("square")
@primitive(node="Pow")
def square(x: Array) -> Array:
    """`x * x`.

    >>> import tinygrad_edu as torch
    >>> torch.square(torch.tensor([2.0, -3.0]))
    tensor([4., 9.])
    """
    x = x.astype(np.int64) if x.dtype == bool else x
    return np.multiply(x, x)


square.vjp(x=lambda g, x: g * (x * 2))


def _pow_name(x: Tensor, exponent: float) -> str:
    """torch has an operation for each kind of operands."""
    if not hasattr(x, "dtype"):
        return "PowBackward2"
    return "PowBackward1" if hasattr(exponent, "dtype") else "PowBackward0"


@ufunc("power")
@primitive(node=_pow_name, autocast={"cuda": "float32"}, half="widened, numbers fit")
def pow(x: Array, exponent: Array) -> Array:
    """`x ** exponent`, element by element; 0 ** 0 is 1.

    Args:
        x, exponent: tensors of broadcastable shapes, or one of them a number.

    Raises:
        RuntimeError: a tensor of integers is raised to a negative integer; an integer result
            would be wrong, so make one of them a float.

    >>> import tinygrad_edu as torch
    >>> torch.pow(torch.tensor([1.0, 2.0, 3.0]), 2), 2 ** torch.tensor([1, 2, 3])
    (tensor([1., 4., 9.]), tensor([2, 4, 8]))
    """
    if isinstance(exponent, (int, float)) and exponent in _SHORT and x.dtype.kind == "f":
        return _SHORT[exponent](x)
    if exponent.__class__ is int and exponent < 0 and not is_floating(x.dtype):
        raise RuntimeError("Integers to negative integer powers are not allowed.")
    if exponent.__class__ is int and not is_floating(x.dtype):
        exponent = fitting(common(x, exponent), exponent)
    x, exponent = promote(x, exponent)
    kind = (x if hasattr(x, "dtype") else exponent).dtype.kind
    if kind == "b":
        if exponent is not True:
            raise not_implemented("pow", np.dtype(bool))
        return x.copy()
    if kind in "iu":
        return _integer_pow(x, exponent)
    y = np.power(x, exponent)
    return y if hasattr(x, "dtype") else in_order(y)  # so torch does it for a number to a tensor


_SHORT: dict[float, Any] = {
    1: lambda x: x.copy(),
    2: lambda x: x * x,
    3: lambda x: x * x * x,
    0.5: lambda x: np.sqrt(x),
    -0.5: lambda x: 1 / np.sqrt(x),
    -1: lambda x: 1 / x,
    -2: lambda x: 1 / (x * x),
}
"""Powers that need no logarithm."""


def _integer_pow(x: Array, exponent: Array) -> Array:
    if not hasattr(exponent, "dtype"):
        if exponent < 0:
            raise RuntimeError("Integers to negative integer powers are not allowed.")
        return np.power(x, exponent)
    if exponent.dtype.kind == "u":
        return np.power(x, exponent)
    y = np.power(x, np.maximum(exponent, 0))
    sign = np.where(exponent % 2 == 0, 1, x)  # what is left of 1 and -1; all else rounds to 0
    return np.where(exponent >= 0, y, np.where((x == 1) | (x == -1), sign, 0)).astype(y.dtype)


def _pow_base(g: Tensor, x: Tensor, exponent: float) -> Tensor:
    if isinstance(exponent, (int, float)):
        return zero_gradient(g) if exponent == 0 else g * (exponent * pow(x, exponent - 1))
    slope = exponent * pow(x, exponent - 1)
    return gate(g * slope, exponent != 0)


def _pow_exponent(g: Any, x: Any, exponent: float | Tensor, y: Any) -> Any:
    if isinstance(x, (int, float)) and x != 0:
        return g * (y * (math.log(x) if x > 0 else math.nan))
    log = -math.inf if isinstance(x, (int, float)) else elementary.log(x)
    return g * masking.where((x == 0) & (exponent >= 0), 0.0, y * log)


pow.vjp(x=_pow_base, exponent=_pow_exponent)


def rpow(exponent: float, base: object) -> Tensor:
    """`base ** exponent`: what the operator calls when the base is a number."""
    return pow(base, exponent)


def _double(x: Any) -> Tensor:
    return to(x, float64) if hasattr(x, "array") else x


@takes_out
@ufunc("float_power")
@named(self="input")
def float_power(input: Tensor | float, exponent: float | Tensor) -> Tensor:
    """`input ** exponent` in float64.

    >>> import tinygrad_edu as torch
    >>> torch.float_power(torch.tensor([2, 3]), -1)
    tensor([0.5000, 0.3333], dtype=torch.float64)
    """
    return pow(_double(input), _double(exponent))


_float_power_in_place = inplace(float_power)


def float_power_(input: Tensor, exponent: float) -> Tensor:
    """In-place `float_power`, of a tensor of float64."""
    if input.array.dtype != np.float64:
        kind = scalar_type_name(input.array.dtype)
        raise RuntimeError(
            f"the base given to float_power_ has dtype {kind} but the operation's result requires"
            " dtype Double"
        )
    return _float_power_in_place(input, exponent)


@ufunc("sqrt")
@primitive
def sqrt(x: Array) -> Array:
    """The square root; nan for negative numbers.

    >>> import tinygrad_edu as torch
    >>> torch.sqrt(torch.tensor([4.0, 9.0]))
    tensor([2., 3.])
    """
    return np.sqrt(floating(x))


sqrt.vjp(x=lambda g, y: g / (2 * y))


@elementwise
@primitive(autocast={"cuda": "float32"})
def rsqrt(x: Array) -> Array:
    """`1 / sqrt(x)`.

    >>> import tinygrad_edu as torch
    >>> torch.rsqrt(torch.tensor([4.0, 16.0]))
    tensor([0.5000, 0.2500])
    """
    return 1 / np.sqrt(floating(x))


rsqrt.vjp(x=lambda g, y: -0.5 * g * (y * y * y))


@primitive(numbers="none")
def ldexp(a: Array, b: Array) -> Array:
    """`a * 2**b`.

    >>> import tinygrad_edu as torch
    >>> torch.ldexp(torch.tensor([1.0, 3.0]), torch.tensor([2, -1]))
    tensor([4.0000, 1.5000])
    """
    target = common(a, b)
    a, b = promote_to(target if is_floating(target) else default(), a, b)
    factor = in_order(np.exp2(b))  # so torch does it
    return in_turn(a * factor, a, factor)


ldexp.vjp(
    a=lambda g, b: ldexp(g, b),
    b=lambda g, y: g * (y * math.log(2)),
)
