"""Exponentials and logarithms, the sigmoid and tanh, sine and cosine, and the error function."""

from __future__ import annotations

import math

import numpy as np

from tinygrad_edu.backend import special_function
from tinygrad_edu.dtypes import Array, floating
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.kernels import composed
from tinygrad_edu.ops.arguments import elementwise, ufunc

_LN2 = math.log(2.0)
_LN10 = math.log(10.0)
_SLOPE_OF_ERF = 2 / math.sqrt(math.pi)


@ufunc("exp")
@primitive(autocast={"cuda": "float32"})
def exp(x: Array) -> Array:
    """`e ** x`.

    >>> import tinygrad_edu as torch
    >>> torch.exp(torch.tensor([0.0, 1.0]))
    tensor([1.0000, 2.7183])
    """
    return np.exp(floating(x))


exp.vjp(x=lambda g, y: g * y)


@ufunc("exp2")
@primitive
def exp2(x: Array) -> Array:
    """`2 ** x`.

    >>> import tinygrad_edu as torch
    >>> torch.exp2(torch.tensor([0.0, 3.0]))
    tensor([1., 8.])
    """
    return np.exp2(floating(x))


exp2.vjp(x=lambda g, y: g * (y * _LN2))


@ufunc("expm1")
@primitive(autocast={"cuda": "float32"})
def expm1(x: Array) -> Array:
    """`e ** x - 1`, accurate where x is close to 0.

    >>> import tinygrad_edu as torch
    >>> torch.expm1(torch.tensor([0.0, 1.0]))
    tensor([0.0000, 1.7183])
    """
    return composed.expm1(floating(x))


expm1.vjp(x=lambda g, y: g * (y + 1))


@ufunc("log")
@primitive(autocast={"cuda": "float32"})
def log(x: Array) -> Array:
    """The natural logarithm; -inf at 0, nan below.

    >>> import tinygrad_edu as torch
    >>> torch.log(torch.tensor([1.0, 10.0]))
    tensor([0.0000, 2.3026])
    """
    return np.log(floating(x))


log.vjp(x=lambda g, x: g / x)


@ufunc("log2")
@primitive(autocast={"cuda": "float32"})
def log2(x: Array) -> Array:
    """The logarithm to base 2; -inf at 0, nan below.

    >>> import tinygrad_edu as torch
    >>> torch.log2(torch.tensor([1.0, 8.0]))
    tensor([0., 3.])
    """
    return np.log2(floating(x))


log2.vjp(x=lambda g, x: g / (x * _LN2))


@ufunc("log10")
@primitive(autocast={"cuda": "float32"})
def log10(x: Array) -> Array:
    """The logarithm to base 10; -inf at 0, nan below.

    >>> import tinygrad_edu as torch
    >>> torch.log10(torch.tensor([1.0, 50.0]))
    tensor([0.0000, 1.6990])
    """
    return np.log10(floating(x))


log10.vjp(x=lambda g, x: g / (x * _LN10))


@ufunc("log1p")
@primitive(autocast={"cuda": "float32"})
def log1p(x: Array) -> Array:
    """`log(1 + x)`, accurate where x is close to 0; -inf at -1, nan below.

    >>> import tinygrad_edu as torch
    >>> torch.log1p(torch.tensor([0.0, 1.0]))
    tensor([0.0000, 0.6931])
    """
    return composed.log1p(floating(x))


log1p.vjp(x=lambda g, x: g / (x + 1))


@elementwise
@primitive
def sigmoid(x: Array) -> Array:
    """`1 / (1 + exp(-x))`, in (0, 1).

    >>> import tinygrad_edu as torch
    >>> torch.sigmoid(torch.tensor([0.0, 2.0]))
    tensor([0.5000, 0.8808])
    """
    return 1 / (1 + np.exp(-floating(x)))


sigmoid.vjp(x=lambda g, y: g * ((1 - y) * y))


@ufunc("sin")
@primitive
def sin(x: Array) -> Array:
    """The sine.

    >>> import tinygrad_edu as torch
    >>> torch.sin(torch.tensor([0.0, 1.0]))
    tensor([0.0000, 0.8415])
    """
    return np.sin(floating(x))


@ufunc("cos")
@primitive
def cos(x: Array) -> Array:
    """The cosine.

    >>> import tinygrad_edu as torch
    >>> torch.cos(torch.tensor([0.0, 1.0]))
    tensor([1.0000, 0.5403])
    """
    return np.cos(floating(x))


sin.vjp(x=lambda g, x: g * cos(x))


cos.vjp(x=lambda g, x: -g * sin(x))


@ufunc("tanh")
@primitive
def tanh(x: Array) -> Array:
    """`sinh(x) / cosh(x)`, in (-1, 1).

    >>> import tinygrad_edu as torch
    >>> torch.tanh(torch.tensor([0.0, 1.0]))
    tensor([0.0000, 0.7616])
    """
    return np.tanh(floating(x))


tanh.vjp(x=lambda g, y: g * (1 - y * y))


@elementwise
@primitive
def erf(x: Array) -> Array:
    """The error function, `2/sqrt(pi) * integral of exp(-s*s) from 0 to x`.

    Source: see kernels/erf.py for the method and its accuracy.

    >>> import tinygrad_edu as torch
    >>> torch.erf(torch.tensor([0.0, 0.5, 3.0]))
    tensor([0.0000, 0.5205, 1.0000])
    """
    from tinygrad_edu.kernels.erf import erf as on_cpu  # few programs need it

    return special_function("erf", on_cpu)(floating(x))


erf.vjp(x=lambda g, x: g * (_SLOPE_OF_ERF * exp(-(x * x))))
