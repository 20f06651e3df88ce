"""Special functions that are sums of series: Bessel, normal distribution, zeta, incomplete gamma.

The series are in kernels/series.py; the derivatives here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.backend import new_like, special_function
from tinygrad_edu.dtypes import Array, common, default, floating, is_floating, promote_to
from tinygrad_edu.engine.boundary import need_tensors
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.kernels.memory_order import in_order
from tinygrad_edu.kernels.more import series
from tinygrad_edu.ops import masking
from tinygrad_edu.ops.arguments import elementwise, no_derivative, raw
from tinygrad_edu.ops.elementary import exp, log
from tinygrad_edu.ops.more.special import digamma, erfc, lgamma
from tinygrad_edu.ops.powers import pow
from tinygrad_edu.ops.reduction import sum
from tinygrad_edu.ops.rounding import sign
from tinygrad_edu.out import takes_out

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor

_ROOT = math.sqrt(2 * math.pi)


@elementwise
@primitive(node="SpecialI0E")
def i0e(x: Array) -> Array:
    """`exp(-|x|) i0(x)`."""
    return special_function("i0e", lambda x: series.bessel(0, x))(floating(x))


@elementwise
@primitive(node="SpecialI1E")
def i1e(x: Array) -> Array:
    """`exp(-|x|) i1(x)`."""
    return special_function("i1e", lambda x: series.bessel(1, x))(floating(x))


@elementwise
@primitive
def i0(x: Array) -> Array:
    """The modified Bessel function of the first kind of order 0.

    >>> import tinygrad_edu as torch
    >>> torch.special.i0(torch.tensor([0.0, 1.0]))
    tensor([1.0000, 1.2661])
    """
    x = floating(x)
    return i0e.primitive.forward(x) * np.exp(np.abs(x))


@elementwise
@primitive(node="SpecialI1")
def i1(x: Array) -> Array:
    """The modified Bessel function of the first kind of order 1.

    >>> import tinygrad_edu as torch
    >>> torch.special.i1(torch.tensor([0.0, 1.0]))
    tensor([0.0000, 0.5652])
    """
    x = floating(x)
    return i1e.primitive.forward(x) * np.exp(np.abs(x))


def _over(y: Any, x: Any) -> Any:
    """`y / x`, and its limit 1/2 where both are 0."""
    zero = x == 0
    return masking.where(zero, 0.5, y / masking.where(zero, 1.0, x))


i0.vjp(x=lambda g, x: g * i1(x))
i1.vjp(x=lambda g, x, y: g * (i0(x) - _over(y, x)))
i0e.vjp(x=lambda g, x, y: g * (i1e(x) - sign(x) * y))
i1e.vjp(x=lambda g, x, y: g * (i0e(x) - _over(y, x) - sign(x) * y))


@takes_out(dtype="any")
def ndtr(input: Tensor) -> Tensor:
    """The normal distribution function: the chance that a standard normal variable is smaller.

    >>> import tinygrad_edu as torch
    >>> torch.special.ndtr(torch.tensor([0.0, 1.0]))
    tensor([0.5000, 0.8413])
    """
    need_tensors("special_ndtr", input=input)
    return erfc(input * -math.sqrt(0.5)) * 0.5


@elementwise
@primitive(node="SpecialNdtri")
def ndtri(x: Array) -> Array:
    """The inverse of `ndtr`.

    >>> import tinygrad_edu as torch
    >>> torch.special.ndtri(torch.tensor([0.5, 0.975]))
    tensor([0.0000, 1.9600])
    """
    return special_function("ndtri", series.ndtri)(floating(x))


ndtri.vjp(x=lambda g, y: g * (_ROOT * exp(y * y / 2)))


@elementwise
@primitive(node="SpecialErfcx")
def erfcx(x: Array) -> Array:
    """`exp(x*x) erfc(x)`, which does not underflow.

    >>> import tinygrad_edu as torch
    >>> torch.special.erfcx(torch.tensor([0.0, 10.0]))
    tensor([1.0000, 0.0561])
    """
    return special_function("erfcx", series.erfcx)(floating(x))


def _far(x: Tensor) -> Array:
    """Where x is so large that an asymptotic series beats a difference that cancels."""
    at = raw(x)
    return np.greater(at, 120.0 if at.dtype == np.float64 else 10.0)


def _erfcx_slope(x: Any, y: Any) -> Any:
    """`2 x y - 2 / sqrt(pi)`."""
    far = _far(x)
    near = masking.where(far, 0.0, x) * y * 2 - 2 / math.sqrt(math.pi)
    r = 1 / masking.where(far, x, 1.0)
    s = r * r
    series = s * (((s * 13.125 - 3.75) * s + 1.5) * s - 1) / math.sqrt(math.pi)
    return masking.where(far, series, near)


erfcx.vjp(x=lambda g, x, y: g * _erfcx_slope(x, y))


@elementwise
@primitive(node="SpecialLogNdtr")
def log_ndtr(x: Array) -> Array:
    """`log(ndtr(x))`, accurate where that is close to 0.

    >>> import tinygrad_edu as torch
    >>> torch.special.log_ndtr(torch.tensor([-20.0, 0.0]))
    tensor([-203.9172,   -0.6931])
    """
    return special_function("log_ndtr", series.log_ndtr)(floating(x))


@primitive
def _hazard(x: Array) -> Array:
    """The density of a standard normal variable at x, divided by `ndtr(x)`."""
    return math.sqrt(2 / math.pi) / erfcx.primitive.forward(x * x.dtype.type(-math.sqrt(0.5)))


def _hazard_slope(x: Any, y: Any) -> Any:
    """`-y (x + y)`."""
    far = _far(-x)
    near = y * masking.where(far, 0.0, x + y)
    r = 1 / masking.where(far, x, 1.0)
    s = r * r
    return masking.where(far, (s - 6 * s * s) - 1, -near)


log_ndtr.vjp(x=lambda g, x: g * _hazard(x))
_hazard.vjp(x=lambda g, x, y: g * _hazard_slope(x, y))


@elementwise
@primitive(node="SpecialEntr")
def entr(x: Array) -> Array:
    """`-x log(x)`; 0 at 0, minus infinity below.

    >>> import tinygrad_edu as torch
    >>> torch.special.entr(torch.tensor([0.0, 0.5]))
    tensor([0.0000, 0.3466])
    """
    x = floating(x)
    y = np.where(x == 0, 0, -x * np.log(np.where(x > 0, x, 1)))
    return np.where(x < 0, -np.inf, np.where(np.isnan(x), x, y)).astype(x.dtype)


entr.vjp(x=lambda g, x: g * -(log(x) + 1))


def _steps(x: Any, p: int) -> Any:
    """`x - (p - 1) / 2, ..., x - 1/2, x`, in a new last dimension."""
    at: Any = np.arange(1 - p, 1, like=raw(x)) / 2
    return x[..., None] + at.astype(raw(x).dtype)


@primitive
def multigammaln(input: Array, p: int) -> Array:
    """The logarithm of the multivariate gamma function of dimension `p`.

    >>> import tinygrad_edu as torch
    >>> torch.special.multigammaln(torch.tensor([2.0]), 1)
    tensor([0.])
    """
    if p < 1:
        raise RuntimeError("p has to be greater than or equal to 1")
    x = floating(input)
    total = lgamma.primitive.forward(_steps(x, p)).sum(-1)
    return in_order(total + x.dtype.type(p * (p - 1) * math.log(math.pi) / 4))


multigammaln.vjp(input=lambda g, input, p: g * sum(digamma(_steps(input, p)), -1))


def _floats(a: Tensor, b: Tensor) -> tuple[Array, Array, Any]:
    """Both as arrays of floats of their common dtype, and that."""
    target = common(a, b)
    target = target if is_floating(target) else default()
    a, b = promote_to(target, a, b)
    like = a if hasattr(a, "dtype") else b
    a, b = [x if hasattr(x, "dtype") else new_like(like, (), x) for x in (a, b)]
    return a, b, target


@elementwise
@primitive
def zeta(a: Array, b: Array) -> Array:
    """Hurwitz's zeta function: the sum of `(b + k) ** -a` over k = 0, 1, 2, ...

    It is differentiable in `b`.

    >>> import tinygrad_edu as torch
    >>> torch.special.zeta(torch.tensor([2.0]), 1)
    tensor([1.6449])
    """
    a, b, target = _floats(a, b)
    return special_function("zeta", series.zeta)(a, b).astype(target)


zeta.vjp(b=lambda g, a, b: g * (-a * zeta(a + 1, b)))


@elementwise
@primitive(numbers="none")
def igamma(a: Array, b: Array) -> Array:
    """The regularized lower incomplete gamma function, differentiable in `b`.

    >>> import tinygrad_edu as torch
    >>> torch.igamma(torch.tensor([1.0]), torch.tensor([1.0]))
    tensor([0.6321])
    """
    a, b, target = _floats(a, b)
    return special_function("gammainc", series.igamma)(a, b).astype(target)


@elementwise
@primitive(numbers="none")
def igammac(a: Array, b: Array) -> Array:
    """`1 - igamma(a, b)`.

    >>> import tinygrad_edu as torch
    >>> torch.igammac(torch.tensor([1.0]), torch.tensor([1.0]))
    tensor([0.3679])
    """
    a, b, target = _floats(a, b)
    return special_function("gammaincc", series.igammac)(a, b).astype(target)


def _density(g: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return g * (exp(-b - lgamma(a)) * pow(b, a - 1))


_no_rule = no_derivative(
    "the derivative for 'igamma: input' is not implemented.", NotImplementedError
)
igamma.vjp(a=_no_rule, b=lambda g, a, b: _density(g, a, b))
igammac.vjp(a=_no_rule, b=lambda g, a, b: -_density(g, a, b))
