"""Special functions: erf and gamma families, logit, x*log(y), log(exp(x) + exp(y))."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.backend import new_like, special_function
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
from tinygrad_edu.kernels import erf as _erf
from tinygrad_edu.kernels.memory_order import in_turn
from tinygrad_edu.kernels.more import composed
from tinygrad_edu.kernels.more import gamma as _gamma
from tinygrad_edu.ops import masking
from tinygrad_edu.ops.arguments import elementwise, ufunc
from tinygrad_edu.ops.elementary import _SLOPE_OF_ERF, exp, sigmoid
from tinygrad_edu.ops.elementary import erf as erf
from tinygrad_edu.ops.extrema import gate

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


@elementwise
@primitive(half="widened, numbers rounded")
def xlogy(a: Array, b: Array) -> Array:
    """`a * log(b)`; 0 where a is 0, unless b is nan.

    >>> import tinygrad_edu as torch
    >>> torch.xlogy(torch.tensor([0.0, 2.0]), torch.tensor([0.0, 3.0]))
    tensor([0.0000, 2.1972])
    """
    a, b = _as_floats(a, b)
    y = a * np.log(b)
    return np.where(np.equal(a, 0) & ~np.isnan(b), 0, y).astype(y.dtype, copy=False)


xlogy.vjp(
    a=lambda g, a, b: gate(xlogy(g, b), ~((a == 0) & (b <= 0))),
    b=lambda g, a, b: g * (a / b),
)


def _as_floats(a: Tensor, b: Tensor) -> tuple[Any, Any]:
    """Both as floats of their common dtype; a number, too, for log would take it for float64."""
    target = common(a, b)
    target = target if is_floating(target) else default()
    a, b = promote_to(target, a, b)
    return a, b if hasattr(b, "dtype") else target.type(b)


@elementwise
@primitive
def erfc(x: Array) -> Array:
    """`1 - erf(x)`, accurate where that is close to 0.

    >>> import tinygrad_edu as torch
    >>> torch.erfc(torch.tensor([0.0, 0.5, 3.0]))
    tensor([1.0000e+00, 4.7950e-01, 2.2090e-05])
    """
    return special_function("erfc", _erf.erfc)(floating(x))


erfc.vjp(x=lambda g, x: -g * (_SLOPE_OF_ERF * exp(-(x * x))))


@elementwise
@primitive(autocast={"cuda": "float32"})
def erfinv(x: Array) -> Array:
    """The number whose erf is `x`; infinite at -1 and 1, nan beyond.

    >>> import tinygrad_edu as torch
    >>> torch.erfinv(torch.tensor([0.0, 0.5, 1.0]))
    tensor([0.0000, 0.4769,    inf])
    """
    return special_function("erfinv", _erf.erfinv)(floating(x))


def _slope_of_erfinv(x: Tensor) -> Tensor:
    y = erfinv(x)
    return exp(y * y) / _SLOPE_OF_ERF


erfinv.vjp(x=lambda g, x: g * _slope_of_erfinv(x))


@primitive
def polygamma(n: int, input: Array) -> Array:
    """The n-th derivative of `digamma`.

    Raises:
        RuntimeError: n is negative.

    >>> import tinygrad_edu as torch
    >>> torch.polygamma(1, torch.tensor([1.0]))
    tensor([1.6449])
    """
    if n < 0:
        raise RuntimeError("polygamma(n, x) does not support negative n.")
    if n == 0:
        return digamma.primitive.forward(input)
    x = floating(input)
    kernel = special_function("polygamma", _gamma.polygamma)
    order = n if isinstance(x, (np.ndarray, np.generic)) else new_like(x, (), n)  # CuPy's needs one
    return kernel(order, x).astype(x.dtype, copy=False)


polygamma.vjp(input=lambda g, n, input: g * polygamma(n + 1, input))


def of_order(input: Tensor, n: int) -> Tensor:
    """`polygamma(n, input)`, as a method."""
    return polygamma(n, input)


@elementwise
@primitive
def digamma(x: Array) -> Array:
    """The derivative of `lgamma`.

    >>> import tinygrad_edu as torch
    >>> torch.digamma(torch.tensor([1.0, 5.0]))
    tensor([-0.5772,  1.5061])
    """
    return special_function("digamma", _gamma.digamma)(floating(x))


digamma.vjp(x=lambda g, x: g * polygamma(1, x))


@elementwise
@primitive
def lgamma(x: Array) -> Array:
    """`log(|gamma(x)|)`.

    >>> import tinygrad_edu as torch
    >>> torch.lgamma(torch.tensor([1.0, 5.0]))
    tensor([0.0000, 3.1781])
    """
    return special_function("gammaln", _gamma.lgamma)(floating(x))


lgamma.vjp(x=lambda g, x: g * digamma(x))


@primitive
def logit(x: Array, eps: float | None = None) -> Array:
    """`log(x / (1 - x))`, the inverse of sigmoid.

    Args:
        x: numbers in [0, 1]; beyond, nan.
        eps: clamp x to [eps, 1 - eps] first.

    >>> import tinygrad_edu as torch
    >>> torch.logit(torch.tensor([0.5, 0.9]))
    tensor([0.0000, 2.1972])
    """
    x = y = floating(x)
    if eps is not None:
        y = np.clip(x, eps, 1 - eps)
    return in_turn(np.log(y / (1 - y)), x)


def _logit_slope(g: Tensor, x: Any, eps: float | None) -> Any:
    slope = g / (x * (1 - x))
    if eps is None:
        return masking.where((x >= 0) & (x <= 1), slope, math.nan)
    return gate(slope, (x >= eps) & (x <= 1 - eps))


logit.vjp(x=_logit_slope)


@elementwise
@primitive(node="SpecialXlog1Py", half="widened, numbers rounded")
def xlog1py(a: Array, b: Array) -> Array:
    """`a * log(1 + b)`; 0 where a is 0, unless b is nan.

    >>> import tinygrad_edu as torch
    >>> torch.special.xlog1py(torch.tensor([0.0, 2.0]), torch.tensor([-1.0, 2.0]))
    tensor([0.0000, 2.1972])
    """
    a, b = _as_floats(a, b)
    y = a * np.log1p(b)
    return np.where(np.equal(a, 0) & ~np.isnan(b), 0, y).astype(y.dtype, copy=False)


xlog1py.vjp(
    a=lambda g, a, b: gate(xlog1py(g, b), ~((a == 0) & (b <= -1))),
    b=lambda g, a, b: g * (a / (b + 1)),
)


@ufunc("logaddexp")
@primitive(numbers="none")
def logaddexp(a: Array, b: Array) -> Array:
    """`log(exp(a) + exp(b))` without overflow.

    >>> import tinygrad_edu as torch
    >>> torch.logaddexp(torch.tensor([0.0, 1000.0]), torch.tensor([0.0, 1000.0]))
    tensor([6.9315e-01, 1.0007e+03])
    """
    return composed.logaddexp(*_floats_only("logaddexp", a, b))


logaddexp.vjp(
    a=lambda g, a, b: g * sigmoid(a - b),
    b=lambda g, a, b: g * sigmoid(b - a),
)


@ufunc("logaddexp2")
@primitive(numbers="none")
def logaddexp2(a: Array, b: Array) -> Array:
    """`log2(2**a + 2**b)` without overflow.

    >>> import tinygrad_edu as torch
    >>> torch.logaddexp2(torch.tensor([0.0]), torch.tensor([0.0]))
    tensor([1.])
    """
    return np.logaddexp2(*_floats_only("logaddexp2", a, b))


logaddexp2.vjp(
    a=lambda g, a, b: g * sigmoid((a - b) * math.log(2)),
    b=lambda g, a, b: g * sigmoid((b - a) * math.log(2)),
)


def _floats_only(name: str, a: Tensor, b: Tensor) -> tuple[Any, Any]:
    target = common(a, b)
    if not is_floating(target):
        raise not_implemented(name, target)
    a, b = promote_to(target, a, b)
    return a, b
