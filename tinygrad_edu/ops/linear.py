"""`linear`: a matrix product with a bias, the work of every fully connected layer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.autograd.primitive import primitive
from tinygrad_edu.dtypes import Array
from tinygrad_edu.ops.matmul import _check_dtypes, _merge, _multiply, matmul

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


def _check(x: Array, weight: Array, bias: Array | None) -> None:
    """Raise torch's error for what does not fit."""
    _check_dtypes(x, weight)
    if weight.ndim not in (1, 2) or not x.ndim:
        raise RuntimeError(
            "linear(): expected an input of at least one dimension and a weight of one or two, but"
            f" got {x.ndim} and {weight.ndim}"
        )
    k = weight.shape[-1]
    rows = math.prod(x.shape[:-1])
    if x.shape[-1] != k:
        columns = weight.shape[0] if weight.ndim == 2 else 1
        raise RuntimeError(
            "mat1 and mat2 shapes cannot be multiplied"
            f" ({rows}x{x.shape[-1]} and {k}x{columns})"
        )
    if bias is None:
        return
    if bias.dtype != x.dtype:
        from tinygrad_edu.ops.reduction import type_name

        raise RuntimeError(
            "self and mat2 must have the same dtype, but got"
            f" {type_name(bias.dtype)} and {type_name(x.dtype)}"
        )
    shape = x.shape[:-1] + weight.shape[:-1]
    last = shape[-1] if shape else 1
    if bias.ndim > 1 or bias.size not in (1, last):
        raise RuntimeError(
            f"The expanded size of the tensor ({last}) must match the existing size"
            f" ({bias.shape[-1]}) at non-singleton dimension 1.  Target sizes: {[rows, last]}. "
            f" Tensor sizes: {list(bias.shape)}"
        )


@primitive
def _linear(x: Array, weight: Array, bias: Array | None) -> Array:
    _check(x, weight, bias)
    rows = x if x.ndim <= 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    y = np.asarray(_multiply(rows, weight.T)) if x.ndim == 1 else _multiply(rows, weight.T)
    if bias is not None:
        y += bias
    return y if x.ndim <= 2 else y.reshape(x.shape[:-1] + weight.shape[:-1])


@primitive
def _add_rows(g: Array) -> Array:
    """The sum over all dimensions but the last: BLAS adds rows faster than a reduction does."""
    rows = g.reshape(math.prod(g.shape[:-1]), g.shape[-1])
    if g.dtype.itemsize == 2:
        return np.add.reduce(rows, axis=0, dtype=np.float32).astype(g.dtype)
    return np.matmul(np.ones_like(rows, shape=len(rows)), rows)


_add_rows.vjp(g=lambda g, g_shape: _expand_rows(g, g_shape))


def _expand_rows(g: Any, shape: tuple[int, ...]) -> Any:
    from tinygrad_edu.ops.shape import _expand

    return _expand(g, shape)


def _weight_gradient(g: Any, x: Any, weight_shape: tuple[int, ...]) -> Any:
    """`g` transposed @ `x`, both seen as matrices of all rows."""
    if len(weight_shape) == 1:  # one output, and no dimension for it
        return matmul(g.reshape((math.prod(x.shape[:-1]),)), _merge(x, 0))
    return matmul(_merge(g, 0).swapaxes(0, 1), _merge(x, 0))


_linear.vjp(
    x=lambda g, weight: matmul(g, weight) if len(weight.shape) == 2 else g[..., None] * weight,
    weight=lambda g, x, weight_shape: _weight_gradient(g, x, weight_shape),
    bias=lambda g, x_shape, weight_shape, bias_shape: _add_rows(g)
    if len(weight_shape) == 2 and len(x_shape) > 1 and bias_shape == weight_shape[:1]
    else g,  # the walk adds up what is left
)


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias`.

    Args:
        input: x, (..., in_features).
        weight: (out_features, in_features), or (in_features,) for one output without a dimension.
        bias: (out_features,) or None.

    Returns:
        (..., out_features).

    Raises:
        RuntimeError: the sizes or the dtypes do not fit.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.linear(torch.ones(1, 2), torch.tensor([[1.0, 2.0]]), torch.ones(1))
    tensor([[4.]])
    """
    return _linear(input, weight, bias)
