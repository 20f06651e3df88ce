"""Diagonals: taken out of matrices, put into them, and added up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.backend import new_like
from tinygrad_edu.dtypes import Array, fitting
from tinygrad_edu.engine.boundary import need_tensors
from tinygrad_edu.engine.composed import composed, of_tensors
from tinygrad_edu.engine.nodes import shown_as
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.ops.arguments import operand
from tinygrad_edu.ops.creation import arange
from tinygrad_edu.ops.indexing import setitem
from tinygrad_edu.ops.masking import tril as tril
from tinygrad_edu.ops.masking import triu as triu
from tinygrad_edu.ops.reduction import sum
from tinygrad_edu.out import takes_out
from tinygrad_edu.size import read_dim

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


@primitive(view=True)
def _diagonal(x: Array, offset: int, dim1: int, dim2: int) -> Array:
    y = x.diagonal(offset, dim1, dim2)
    if isinstance(y, np.ndarray):
        y.flags.writeable = x.flags.writeable  # NumPy hands it out read-only
    return y


@primitive(node="DiagEmbed", half="as it is")
def _undiagonal(x: Array, shape: tuple[int, ...], offset: int, dim1: int, dim2: int) -> Array:
    """Zeros of that shape with `x` on the diagonal."""
    matrix = new_like(x, shape, 0)
    _diagonal.primitive.forward(matrix, offset, dim1, dim2)[...] = x
    return matrix


_diagonal.vjp(x=lambda g, x_shape, offset, dim1, dim2: _undiagonal(g, x_shape, offset, dim1, dim2))
_undiagonal.vjp(x=lambda g, offset, dim1, dim2: _diagonal(g, offset, dim1, dim2))


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal of the matrices in two dimensions, as a view; it becomes the last dimension.

    Args:
        offset: above the main diagonal if positive, below if negative.

    Raises:
        IndexError: there is no such dimension.
        RuntimeError: the dimensions are the same.

    >>> import tinygrad_edu as torch
    >>> torch.diagonal(torch.tensor([[1, 2], [3, 4]]))
    tensor([1, 4])
    """
    x = operand("diagonal", input)
    first, second = read_dim(dim1, x.ndim), read_dim(dim2, x.ndim)
    if first == second:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    return _diagonal(input, offset, first, second)


def diagonal_of_matrices(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """`diagonal` of the matrices in the last two dimensions."""
    return diagonal(A, offset, dim1, dim2)


def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices of zeros with the last dimension of the input on their diagonal.

    >>> import tinygrad_edu as torch
    >>> torch.diag_embed(torch.tensor([1, 2]))
    tensor([[1, 0],
            [0, 2]])
    """
    x = operand("diag_embed", input)
    ndim = x.ndim + 1
    first, second = read_dim(dim1, ndim), read_dim(dim2, ndim)
    if first == second:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    size = x.shape[-1] + abs(offset)
    rest = iter(x.shape[:-1])
    shape = tuple([size if i in (first, second) else next(rest) for i in range(ndim)])
    return _undiagonal(input, shape, offset, first, second)


@takes_out
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """The diagonal of a matrix, as a copy; for a vector, the matrix with it on the diagonal.

    >>> import tinygrad_edu as torch
    >>> torch.diag(torch.tensor([[1, 2], [3, 4]]), 1)
    tensor([2])
    """
    ndim = operand("diag", input).ndim
    if ndim == 1:
        return diag_embed(input, diagonal)
    if ndim == 2:
        return _diagonal(input, diagonal, 0, 1).clone()
    raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {ndim}D")


@of_tensors
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """The matrix with all elements of the input on its diagonal."""
    need_tensors("diagflat", input=input)
    return diag_embed(input.reshape(-1), offset)


def fill_diagonal_(self: Tensor, fill_value: Any, wrap: bool = False) -> Tensor:
    """Write one value on the main diagonal, of all dimensions together.

    Args:
        wrap: in a tall matrix the diagonal starts anew one row below its end.

    >>> import tinygrad_edu as torch
    >>> torch.zeros(2, 2).fill_diagonal_(1)
    tensor([[1., 0.],
            [0., 1.]])
    """
    shape = operand("fill_diagonal_", self).shape
    if len(shape) < 2:
        raise RuntimeError("dimensions must larger than 1")
    if len(shape) > 2 and len(set(shape)) > 1:
        raise RuntimeError("all dimensions of input must be of equal length")
    rows = arange(shape[0] if wrap else min(shape), device=self.device)
    columns = rows % (shape[1] + 1)
    inside = columns < shape[1]
    fill_value = fitting(self.array.dtype, fill_value)
    setitem(self, (rows[inside], *[columns[inside]] * (len(shape) - 1)), fill_value)
    return self


@composed(autocast={"cpu": "float32"})
def trace(input: Tensor) -> Tensor:
    """The sum of the diagonal of a matrix.

    >>> import tinygrad_edu as torch
    >>> torch.trace(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor(5.)
    """
    ndim = operand("trace", input).ndim
    if ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {ndim}")
    return shown_as(sum(_diagonal(input, 0, 0, 1)), "Trace(x)", x=input)
