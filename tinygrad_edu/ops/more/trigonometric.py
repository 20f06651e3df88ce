"""Trigonometric and hyperbolic functions and their inverses; angles are in radians."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.dtypes import (
    Array,
    common,
    default,
    floating,
    is_floating,
    not_implemented,
    promote_to,
)
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.kernels.more import composed
from tinygrad_edu.ops import masking
from tinygrad_edu.ops.arguments import elementwise, raw, ufunc
from tinygrad_edu.ops.elementary import cos as cos
from tinygrad_edu.ops.elementary import sin as sin
from tinygrad_edu.ops.elementary import tanh as tanh
from tinygrad_edu.ops.extrema import gate
from tinygrad_edu.ops.powers import sqrt

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


@ufunc("tan")
@primitive(autocast={"cuda": "float32"})
def tan(x: Array) -> Array:
    """The tangent.

    >>> import tinygrad_edu as torch
    >>> torch.tan(torch.tensor([0.0, 1.0]))
    tensor([0.0000, 1.5574])
    """
    return composed.tan(floating(x))


tan.vjp(x=lambda g, y: g * (1 + y * y))


@ufunc("arcsin")
@primitive(autocast={"cuda": "float32"})
def asin(x: Array) -> Array:
    """The angle in [-pi/2, pi/2] with that sine; nan outside [-1, 1].

    >>> import tinygrad_edu as torch
    >>> torch.asin(torch.tensor([0.0, 1.0]))
    tensor([0.0000, 1.5708])
    """
    return np.arcsin(floating(x))


asin.vjp(x=lambda g, x: g / sqrt(1 - x * x))


@ufunc("arccos")
@primitive(autocast={"cuda": "float32"})
def acos(x: Array) -> Array:
    """The angle in [0, pi] with that cosine; nan outside [-1, 1].

    >>> import tinygrad_edu as torch
    >>> torch.acos(torch.tensor([0.0, 1.0]))
    tensor([1.5708, 0.0000])
    """
    return np.arccos(floating(x))


acos.vjp(x=lambda g, x: -g / sqrt(1 - x * x))


@ufunc("arctan")
@primitive
def atan(x: Array) -> Array:
    """The angle in (-pi/2, pi/2) with that tangent.

    >>> import tinygrad_edu as torch
    >>> torch.atan(torch.tensor([0.0, 1.0]))
    tensor([0.0000, 0.7854])
    """
    return np.arctan(floating(x))


atan.vjp(x=lambda g, x: g / (x * x + 1))


@ufunc("sinh")
@primitive(autocast={"cuda": "float32"})
def sinh(x: Array) -> Array:
    """`(exp(x) - exp(-x)) / 2`.

    >>> import tinygrad_edu as torch
    >>> torch.sinh(torch.tensor([0.0, 1.0]))
    tensor([0.0000, 1.1752])
    """
    return composed.sinh(floating(x))


@ufunc("cosh")
@primitive(autocast={"cuda": "float32"})
def cosh(x: Array) -> Array:
    """`(exp(x) + exp(-x)) / 2`.

    >>> import tinygrad_edu as torch
    >>> torch.cosh(torch.tensor([0.0, 1.0]))
    tensor([1.0000, 1.5431])
    """
    return composed.cosh(floating(x))


sinh.vjp(x=lambda g, x: g * cosh(x))
cosh.vjp(x=lambda g, x: g * sinh(x))


@ufunc("arcsinh")
@primitive
def asinh(x: Array) -> Array:
    """The number with that sinh.

    >>> import tinygrad_edu as torch
    >>> torch.asinh(torch.tensor([0.0, 1.0]))
    tensor([0.0000, 0.8814])
    """
    return np.arcsinh(floating(x))


asinh.vjp(x=lambda g, x: g / sqrt(x * x + 1))


@ufunc("arccosh")
@primitive
def acosh(x: Array) -> Array:
    """The number >= 0 with that cosh; nan below 1.

    >>> import tinygrad_edu as torch
    >>> torch.acosh(torch.tensor([1.0, 2.0]))
    tensor([0.0000, 1.3170])
    """
    return np.arccosh(floating(x))


acosh.vjp(x=lambda g, x: g / sqrt(x * x - 1))


@ufunc("arctanh")
@primitive
def atanh(x: Array) -> Array:
    """The number with that tanh; nan outside [-1, 1].

    >>> import tinygrad_edu as torch
    >>> torch.atanh(torch.tensor([0.0, 0.5]))
    tensor([0.0000, 0.5493])
    """
    return np.arctanh(floating(x))


atanh.vjp(x=lambda g, x: g / (1 - x * x))


arcsin, arccos, arctan, arcsinh, arccosh, arctanh = asin, acos, atan, asinh, acosh, atanh


@ufunc("arctan2")
@primitive(numbers="none", autocast={"cuda": "widest"})
def atan2(a: Array, b: Array) -> Array:
    """The angle of the point (b, a) seen from the origin, in [-pi, pi].

    >>> import tinygrad_edu as torch
    >>> torch.atan2(torch.tensor([1.0, 1.0]), torch.tensor([1.0, -1.0]))
    tensor([0.7854, 2.3562])
    """
    target = common(a, b)
    a, b = promote_to(target if is_floating(target) else default(), a, b)
    return np.arctan2(a, b)


def _per_square(a: Tensor, b: Tensor) -> Tensor:
    """`1 / (a*a + b*b)`; 0 at the origin, and where the squares underflow."""
    square = a * a + b * b
    none = raw(square) == 0
    return gate(1 / (square + none), ~none)


atan2.vjp(
    a=lambda g, a, b: g * (b * _per_square(a, b)),
    b=lambda g, a, b: -g * (a * _per_square(a, b)),
)


@ufunc("hypot")
@primitive(numbers="none")
def hypot(a: Array, b: Array) -> Array:
    """`sqrt(a*a + b*b)` without overflow.

    >>> import tinygrad_edu as torch
    >>> torch.hypot(torch.tensor([3.0]), torch.tensor([4.0]))
    tensor([5.])
    """
    target = common(a, b)
    if not is_floating(target):
        raise not_implemented("hypot", target)
    a, b = promote_to(target, a, b)
    return np.hypot(a, b)


hypot.vjp(
    a=lambda g, a, y: g * (a / y),
    b=lambda g, b, y: g * (b / y),
)


@elementwise
@primitive
def sinc(x: Array) -> Array:
    """`sin(pi*x) / (pi*x)`; 1 at 0.

    >>> import tinygrad_edu as torch
    >>> torch.sinc(torch.tensor([0.0, 0.5]))
    tensor([1.0000, 0.6366])
    """
    angle = floating(x) * math.pi
    return np.where(angle == 0, 1, np.sin(angle) / angle).astype(angle.dtype, copy=False)


def _sinc_slope(x: Any) -> Any:
    """`(cos(a) - sin(a) / a) / x` with `a = pi*x`; near 0, where that cancels, its power series."""
    near = np.abs(raw(x)) < 0.08
    angle = masking.where(near, 1.0, x) * math.pi
    slope = (cos(angle) * angle - sin(angle)) / (angle * angle) * math.pi
    small = masking.where(near, x, 0.0) * math.pi
    t = small * small
    series = (((t / 3991680 - 1 / 45360) * t + 1 / 840) * t - 1 / 30) * t + 1 / 3
    return masking.where(near, small * series * -math.pi, slope)


sinc.vjp(x=lambda g, x: g * _sinc_slope(x))


@ufunc("deg2rad")
@primitive
def deg2rad(x: Array) -> Array:
    """Degrees to radians.

    >>> import tinygrad_edu as torch
    >>> torch.deg2rad(torch.tensor([180.0]))
    tensor([3.1416])
    """
    return floating(x) * (math.pi / 180)


deg2rad.vjp(x=lambda g: g * (math.pi / 180))


@ufunc("rad2deg")
@primitive
def rad2deg(x: Array) -> Array:
    """Radians to degrees.

    >>> import tinygrad_edu as torch
    >>> torch.rad2deg(torch.tensor([0.5]))
    tensor([28.6479])
    """
    return floating(x) * (180 / math.pi)


rad2deg.vjp(x=lambda g: g * (180 / math.pi))
