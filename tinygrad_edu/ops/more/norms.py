"""Norms of vectors and matrices: how large they are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.dtypes import (
    Array,
    NumpyDtype,
    is_floating,
    promote_types,
    scalar_type_name,
    to_numpy,
)
from tinygrad_edu.engine.boundary import need_tensors
from tinygrad_edu.engine.composed import composed
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.types import Call
from tinygrad_edu.kernels.memory_order import in_order
from tinygrad_edu.ops.arguments import (
    Dims,
    count,
    kept_shape,
    named,
    numpy_names,
    operand,
    raw,
    reduced,
    restore,
)
from tinygrad_edu.ops.casting import contiguous
from tinygrad_edu.ops.extrema import gate
from tinygrad_edu.ops.largest import amax, amin, same
from tinygrad_edu.ops.matmul import matmul
from tinygrad_edu.ops.reduction import add_up, sum
from tinygrad_edu.ops.rounding import sign as _sign
from tinygrad_edu.out import takes_out
from tinygrad_edu.size import read_dim

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


@primitive(node="LinalgVectorNorm")
def _vector_norm(x: Array, p: float, dims: Dims, keepdim: bool) -> Array:
    if p == 2:
        if dims is None and not keepdim and x.flags.c_contiguous:
            flat = x.reshape(-1)
            return np.sqrt(np.dot(flat, flat))
        return np.sqrt(add_up(np.multiply(x, x), dims, keepdim))
    if p == 0:
        found: Array = x != 0
        return add_up(found.astype(x.dtype), dims, keepdim)
    size = np.abs(x)
    if p == 1:
        return add_up(size, dims, keepdim)
    if math.isinf(p):
        extreme = np.max if p > 0 else np.min
        return in_order(extreme(size, dims, keepdims=keepdim))
    return np.power(add_up(np.power(size, p), dims, keepdim), 1 / p)


def _gradient(g: Any, x: Any, y: Any, p: float, dims: Dims, keepdim: bool) -> Any:
    """The gradient of the p-norm; 0 where the norm is 0."""
    g, y = restore(g, x.shape, dims, keepdim), restore(y, x.shape, dims, keepdim)
    at, largest = raw(x), raw(y)
    if p == 0:
        return np.zeros_like(at)
    sign = _sign.primitive.forward(at)
    if p == 1:
        return g * sign
    if math.isinf(p):  # shared evenly among all elements of that size
        hit = same(np.abs(at), largest)
        hits = np.maximum(np.add.reduce(hit, axis=dims, keepdims=True), 1)
        return g * (sign * (hit / hits).astype(at.dtype))
    zero = largest == 0
    safe = y + zero
    if p == 2:
        slope = x / safe
        return g * (gate(slope, ~zero) if zero.any() else slope)
    size = x * sign + (at == 0)
    return sign * size ** (p - 1) * gate(g / safe ** (p - 1), ~zero)


_vector_norm.vjp(x=lambda g, x, y, p, dims, keepdim: _gradient(g, x, y, p, dims, keepdim))


_of_A = named(input="A", axis="dim", keepdims="keepdim")


def _floats(name: str, x: Array, dtype: Any) -> NumpyDtype:
    """The dtype to compute in, after torch's checks."""
    if not is_floating(x.dtype):
        raise RuntimeError(
            f"{name}: Expected a floating point or complex tensor as input. Got"
            f" {scalar_type_name(x.dtype)}"
        )
    target = x.dtype if dtype is None else to_numpy(dtype)
    if promote_types(target, x.dtype) != target:
        raise RuntimeError(
            f"{name}: the dtype of the input ({scalar_type_name(x.dtype)}) should be convertible"
            f" without narrowing to the specified dtype ({scalar_type_name(target)})"
        )
    return target


@takes_out
@named(input="x", axis="dim", keepdims="keepdim")
def vector_norm(
    x: Any, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """The p-norm over `dim`: `sum(abs(x) ** p) ** (1 / p)`.

    Args:
        ord: p, a number; inf for the largest absolute value, -inf for the smallest, 0 for how many
            elements are not 0.
        dim: as in `sum`.
        dtype: compute in this dtype.

    Raises:
        RuntimeError: the elements are not floats, or there are none and p is negative or inf.

    >>> import tinygrad_edu as torch
    >>> torch.linalg.vector_norm(torch.tensor([3.0, 4.0]))
    tensor(5.)
    """
    array = operand("linalg.vector_norm", x)
    target = _floats("linalg.vector_norm", array, dtype)
    dims = reduced(dim, array.ndim)
    p = float(ord)
    if (p < 0 or math.isinf(p)) and not count(array.shape, dims):
        if math.prod(kept_shape(array.shape, dims)):
            raise RuntimeError(
                f"linalg.vector_norm cannot compute the {ord} norm on an empty tensor because the"
                " operation does not have an identity"
            )
    if target != array.dtype:
        x = x.to(dtype)
    return _vector_norm(x, p, dims, keepdim)


@takes_out
@_of_A
def matrix_norm(
    A: Any, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """A norm of the matrices that lie in two dimensions.

    Args:
        ord: "fro" (root of the sum of squares), 1 or -1 (largest or smallest column sum of
            absolute values), inf or -inf (the same for rows); 2 or -2 (largest or smallest singular
            value), "nuc" (sum of the singular values).

    >>> import tinygrad_edu as torch
    >>> torch.linalg.matrix_norm(torch.tensor([[1.0, -2.0], [3.0, 4.0]]), ord=1)
    tensor(6.)
    """
    x = operand("linalg.matrix_norm", A)
    target = _floats("linalg.matrix_norm", x, dtype)
    if x.ndim < 2:
        raise RuntimeError(
            "linalg.matrix_norm: The input tensor A must have at least 2 dimensions."
        )
    if isinstance(dim, int) or len(dim) != 2:
        raise RuntimeError(f"linalg.matrix_norm: dim must be a 2-tuple. Got {dim}")
    if target != x.dtype:
        A = A.to(dtype)
    row, column = read_dim(dim[0], x.ndim), read_dim(dim[1], x.ndim)
    if ord == "fro":
        return vector_norm(A, 2, (row, column), keepdim)
    if ord in ("nuc", 2, -2):
        return _spectral(A, ord, row, column, keepdim)
    if isinstance(ord, str) or abs(ord) not in (1, math.inf):
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    added, kept = (row, column) if abs(ord) == 1 else (column, row)
    sums = sum(abs(A), added, True)
    largest = _extreme(sums, ord, kept, True)
    if keepdim:
        return largest
    return largest.reshape(tuple([n for i, n in enumerate(x.shape) if i not in (row, column)]))


def _extreme(sizes: Any, ord: Any, dim: int, keepdim: bool) -> Tensor:
    """The largest (or smallest) size; the largest of none is 0."""
    if ord < 0:
        return amin(sizes, dim, keepdim)
    return (amax if sizes.array.shape[dim] else sum)(sizes, dim, keepdim)


def _spectral(A: Any, ord: Any, row: int, column: int, keepdim: bool) -> Tensor:
    """The norms made of singular values."""
    from tinygrad_edu.ops.more.decompositions import svdvals

    s = svdvals(A.movedim((row, column), (-2, -1)))
    result = sum(s, -1) if ord == "nuc" else _extreme(s, ord, -1, False)
    if not keepdim:
        return result
    shape = [1 if i in (row, column) else n for i, n in enumerate(A.array.shape)]
    return result.reshape(tuple(shape))


@takes_out
@_of_A
def matrix_or_vector_norm(
    A: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """`vector_norm` of a vector, `matrix_norm` of a matrix; of all elements if `ord` is None.

    Args:
        dim: one dimension for vectors, two for matrices, None for the whole tensor.

    >>> import tinygrad_edu as torch
    >>> torch.linalg.norm(torch.tensor([[3.0, 0.0], [0.0, 4.0]]))
    tensor(5.)
    """
    ndim = operand("linalg.norm", A).ndim
    if ord is None:
        return vector_norm(A, 2, dim, keepdim, dtype=dtype)
    one = isinstance(dim, int) or (dim is not None and len(dim) == 1)
    if one or (dim is None and ndim == 1):
        if isinstance(ord, str):
            raise RuntimeError(f"linalg.norm: order {ord!r} needs a matrix")
        return vector_norm(A, ord, dim, keepdim, dtype=dtype)
    if dim is None and ndim != 2:
        raise RuntimeError(
            "linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D."
            f" Got {ndim}D."
        )
    return matrix_norm(A, ord, (0, 1) if dim is None else dim, keepdim, dtype=dtype)


@composed(autocast={"cuda": "float32"})
def norm(
    input: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, out: Any = None,
    dtype: Any = None,
) -> Tensor:  # fmt: skip
    """The p-norm of all elements over `dim`, as in `linalg.vector_norm`; "fro" is p = 2.

    Its gradient is 0 where the norm is 0.

    Unlike torch, so is its second derivative there, which torch makes nan.

    >>> import tinygrad_edu as torch
    >>> torch.norm(torch.tensor([[3.0, 4.0], [6.0, 8.0]]), dim=1)
    tensor([ 5., 10.])
    """
    if isinstance(p, str) and p != "fro":
        dims = (-2, -1) if dim is None else dim
        of_matrix: Call = matrix_norm
        size: Tensor = of_matrix(input, p, dims, keepdim, dtype=dtype, out=out)
        return size
    order = 2 if p in (None, "fro") else p
    of_vector: Call = vector_norm
    length: Tensor = of_vector(input, order, dim, keepdim, dtype=dtype, out=out)
    return length


@primitive
def _chebyshev(x: Array, over_nan: bool) -> Array:
    """The largest absolute value of each row; `over_nan`, of those that are numbers."""
    if not x.shape[-1]:
        return np.zeros_like(x, shape=x.shape[:-1])
    sizes = np.abs(x)
    return np.max(np.where(np.isnan(sizes), 0, sizes) if over_nan else sizes, -1)


def _all_largest(g: Any, x: Any, y: Any) -> Any:
    """Every element of that size gets the whole gradient, which `vector_norm` shares among them."""
    hit = np.abs(raw(x)) == raw(y)[..., None]
    return gate(g[..., None], hit) * _sign.primitive.forward(raw(x))


_chebyshev.vjp(x=_all_largest)


def length(difference: Tensor, p: float, over_nan: bool = False) -> Tensor:
    """The p-norms of differences, over the last dimension."""
    if p == math.inf:
        return _chebyshev(difference, over_nan)
    return vector_norm(difference, p, -1)


@primitive
def _euclidean(a: Array, b: Array) -> Array:
    """`|x - y|` of every row x of `a` and y of `b`, by one product: |x|^2 + |y|^2 - 2 x y."""
    squares = [add_up(np.multiply(x, x), (x.ndim - 1,), True) for x in (a, b)]
    ones = [np.ones_like(square) for square in squares]
    left = np.concatenate([-2 * a, squares[0], ones[0]], -1)
    right = np.concatenate([b, ones[1], squares[1]], -1)
    return np.sqrt(np.maximum(matmul.primitive.forward(left, right.swapaxes(-1, -2)), 0))


def _per_distance(g: Any, y: Any) -> Any:
    """`g / y`, and 0 where the distance is 0."""
    none = raw(y) == 0
    return gate(g / (y + none), ~none)


def _gradient_of_rows(ratio: Any, x: Any, others: Any) -> Any:
    return x * sum(ratio, -1, True) - matmul(ratio, others)


_euclidean.vjp(
    a=lambda g, a, b, y: _gradient_of_rows(_per_distance(g, y), a, b),
    b=lambda g, a, b, y: _gradient_of_rows(_per_distance(g, y).swapaxes(-1, -2), b, a),
)

_MODES = {"use_mm_for_euclid_dist_if_necessary": 25, "use_mm_for_euclid_dist": -1,
          "donot_use_mm_for_euclid_dist": math.inf}  # fmt: skip
"""For each way of computing distances, how many rows there may be without a product."""


@composed(autocast="float32")
def cdist(
    x1: Tensor, x2: Tensor, p: Any = 2.0,
    compute_mode: str = "use_mm_for_euclid_dist_if_necessary",
) -> Tensor:  # fmt: skip
    """The p-norm of the difference of every row of `x1` and every row of `x2`.

    Args:
        x1: (..., n, d).
        x2: (..., m, d).
        compute_mode: by default, distances of more than 25 rows with p = 2 come from a product of
            matrices, which is much faster, and less exact for points that are close together;
            "donot_use_mm_for_euclid_dist" forms the differences.

    Returns:
        (..., n, m).

    Raises:
        RuntimeError: numbers of columns differ, or a tensor has no rows and columns.
        ValueError: there is no such mode.

    >>> import tinygrad_edu as torch
    >>> torch.cdist(torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([[5., 1.]])
    """
    a, b = operand("cdist", x1), operand("cdist", x2)
    if a.ndim < 2 or b.ndim < 2:
        raise RuntimeError(
            f"cdist only supports at least 2D tensors, X1 got: {a.ndim}D, X2 got: {b.ndim}D"
        )
    if a.shape[-1] != b.shape[-1]:
        raise RuntimeError(
            f"X1 and X2 must have the same number of columns. X1: {a.shape[-1]} X2: {b.shape[-1]}"
        )
    if compute_mode not in _MODES:
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode")
    rows = max(a.shape[-2], b.shape[-2])
    if p == 2 and rows > _MODES[compute_mode] and a.size and b.size and a.dtype == b.dtype:
        return _euclidean(x1, x2)
    return length(x1[..., :, None, :] - x2[..., None, :, :], p, over_nan=True)  # as torch's


@composed(autocast={"cuda": "float32"})
def dist(input: Tensor, other: Tensor, p: Any = 2) -> Tensor:
    """The p-norm of `input - other`.

    >>> import tinygrad_edu as torch
    >>> torch.dist(torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0]))
    tensor(5.)
    """
    need_tensors("dist", input=input, other=other)
    return vector_norm(input - other, p)


@takes_out(overlap="same")
@numpy_names
def renorm(input: Any, p: float, dim: int, maxnorm: float) -> Tensor:
    """Every slice along `dim` whose p-norm exceeds `maxnorm`, scaled down to it.

    >>> import tinygrad_edu as torch
    >>> torch.renorm(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), 2, 0, 1)
    tensor([[0.6000, 0.8000],
            [0.3000, 0.4000]])
    """
    from tinygrad_edu.ops.masking import where

    ndim = operand("renorm", input).ndim
    if p <= 0:
        raise RuntimeError("renorm: non-positive-norm not supported")
    if ndim < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {ndim} dimensions")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    others = tuple([i for i in range(ndim) if i != read_dim(dim, ndim)])
    large = _vector_norm.primitive.forward(input.array, float(p), others, True) > maxnorm
    size = vector_norm(where(large, input, 0.0), p, others, True)
    return contiguous(input * where(large, maxnorm / (size + 1e-7), 1.0))
