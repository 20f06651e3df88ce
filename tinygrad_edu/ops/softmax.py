"""Softmax and its logarithm: scores along one dimension turned into probabilities.

Both subtract the largest score first: exp of what is left lies in (0, 1], so nothing overflows.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.dtypes import Array, is_floating, not_implemented, to_numpy
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.kernels import cuda
from tinygrad_edu.kernels.cuda import launch
from tinygrad_edu.ops.arguments import numpy_names
from tinygrad_edu.ops.elementary import exp
from tinygrad_edu.ops.reduction import sum
from tinygrad_edu.out import takes_out
from tinygrad_edu.size import read_dim

if TYPE_CHECKING:
    from tinygrad_edu.ops.creation import Dtype
    from tinygrad_edu.tensor import Tensor


def _scores(name: str, x: Array, dtype: Dtype) -> tuple[Array, Any]:
    """The scores as floats of at least 32 bits, and the dtype of the result."""
    target = x.dtype if dtype is None else to_numpy(dtype)
    if not is_floating(target):
        raise not_implemented(name, target)
    return x.astype(np.float32 if target.itemsize < 4 else target, copy=False), target


def _below_largest(x: Array, axis: int) -> Array:
    """A new array: `x` minus its largest element along `axis`."""
    if not x.size:
        return x.copy()
    y = np.empty_like(x, order="C")
    return np.subtract(x, x.max(axis, keepdims=True), out=y)


@primitive
def _softmax_gradient(gy: Array, p: Array, dim: int) -> Array:
    """`p * (gy - sum(p * gy))` for probabilities p, with one temporary instead of three."""
    if not p.ndim:
        return gy * p - p * (gy * p)
    if dim in (-1, p.ndim - 1) and launch.ready(p, gy):
        return cuda.softmax.softmax_gradient(gy, p)
    gx = gy * p
    total = gx.sum(dim, keepdims=True)
    gx -= p * total
    return gx


_softmax_gradient.vjp(
    gy=lambda g, p, dim: _softmax_gradient(g, p, dim),  # the Jacobian of softmax is symmetric
    p=lambda g, gy, p, dim: g * (gy - sum(gy * p, dim, True)) - gy * sum(g * p, dim, True),
)


@primitive(autocast={"cuda": "float32"})
def _softmax(x: Array, dim: int, dtype: Any) -> Array:
    axis = read_dim(dim, x.ndim)
    x, target = _scores("softmax", x, dtype)
    if not x.ndim:
        return _softmax.primitive.forward(x.reshape(1), 0, target).reshape(())
    if axis == x.ndim - 1 and launch.ready(x):
        return cuda.softmax.softmax(x).astype(target, copy=False)
    y = _below_largest(x, axis)
    np.exp(y, out=y)
    y /= y.sum(axis, keepdims=True)
    return y.astype(target, copy=False)


_softmax.vjp(x=lambda g, y, dim: _softmax_gradient(g, y, dim))


@primitive
def _log_softmax_gradient(gy: Array, logp: Array, dim: int) -> Array:
    """`gy - exp(logp) * sum(gy)`."""
    if not logp.ndim:
        return gy - np.exp(logp) * gy
    if dim in (-1, logp.ndim - 1) and launch.ready(logp, gy):
        return cuda.softmax.log_softmax_gradient(gy, logp)
    gx = np.exp(logp)
    gx *= gy.sum(dim, keepdims=True)
    return np.subtract(gy, gx, out=gx)


_log_softmax_gradient.vjp(
    gy=lambda g, logp, dim: g - sum(g * exp(logp), dim, True),
    logp=lambda g, gy, logp, dim: -g * exp(logp) * sum(gy, dim, True),
)


@primitive(autocast={"cuda": "float32"})
def _log_softmax(x: Array, dim: int, dtype: Any) -> Array:
    axis = read_dim(dim, x.ndim)
    x, target = _scores("log_softmax", x, dtype)
    if not x.ndim:
        return _log_softmax.primitive.forward(x.reshape(1), 0, target).reshape(())
    if axis == x.ndim - 1 and launch.ready(x):
        return cuda.softmax.log_softmax(x).astype(target, copy=False)
    y = _below_largest(x, axis)
    y -= np.log(np.exp(y).sum(axis, keepdims=True))
    return y.astype(target, copy=False)


_log_softmax.vjp(x=lambda g, y, dim: _log_softmax_gradient(g, y, dim))


@takes_out
@numpy_names
def softmax(input: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """`exp(x) / sum(exp(x))` along `dim`.

    Args:
        input: scores, any shape.
        dim: the dimension that sums to 1.
        dtype: compute in this dtype.

    Raises:
        IndexError: there is no such dimension.
        NotImplementedError: the scores are not floats and no dtype is given.

    A row of nothing but -inf gives nan.

    >>> import tinygrad_edu as torch
    >>> torch.softmax(torch.tensor([0.0, 0.0]), 0)
    tensor([0.5000, 0.5000])
    """
    return _softmax(input, dim, dtype)


@takes_out
@numpy_names
def log_softmax(input: Tensor, dim: int, dtype: Dtype = None) -> Tensor:
    """`x - log(sum(exp(x)))` along `dim`: the logarithm of softmax, without its rounding to 0.

    Args and errors are those of `softmax`.

    >>> import tinygrad_edu as torch
    >>> torch.log_softmax(torch.tensor([0.0, 1000.0]), 0)
    tensor([-1000.,     0.])
    """
    return _log_softmax(input, dim, dtype)


def implied_dim(name: str, ndim: int, stacklevel: int = 3) -> int:
    """The dimension torch once chose where none is given, with its warning."""
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include"
        " dim=X as an argument.",
        stacklevel=stacklevel,
    )
    return 0 if ndim in (0, 1, 3) else 1
