"""What all reductions share: reading their dimensions, and putting reduced ones back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.engine.graph import Variable
from tinygrad_edu.ops.shape import _expand
from tinygrad_edu.size import read_dims

# NumPy's stubs know no `keepdims` that is decided at run time.
reduce_add: Any = np.add.reduce
reduce_multiply: Any = np.multiply.reduce

Dims = tuple[int, ...] | None
"""Dimensions to reduce, counted from the front; None for all of them."""


def raw(x: Any) -> Array:
    """The array of a tensor; an array as it is."""
    return x.array if isinstance(x, Variable) else x


def operand(name: str, input: Any) -> Array:
    """The array of an operation's input; TypeError for what is neither tensor nor array."""
    if isinstance(input, Variable):
        return input.array
    if hasattr(input, "dtype"):
        return input  # a rule on its way back computes on arrays
    raise TypeError(
        f"{name}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}"
    )


def plain(number: Any) -> Any:
    """A number without a type of NumPy's, which would widen what it multiplies."""
    return number.item() if isinstance(number, np.generic) else number


def reduced(dim: Any, ndim: int) -> Dims:
    """The dimensions a user means by `dim`: None and () mean all.

    Raises:
        IndexError: there is no such dimension.
        RuntimeError: one is named twice.
    """
    if dim is None:
        return None
    dims = read_dims(dim, ndim)
    return dims if dims and ndim else None


def kept_shape(shape: tuple[int, ...], dims: Dims) -> tuple[int, ...]:
    """The shape with the reduced dimensions left in, at size 1."""
    return tuple([1 if dims is None or i in dims else size for i, size in enumerate(shape)])


def count(shape: tuple[int, ...], dims: Dims) -> int:
    """How many elements are reduced to one."""
    return math.prod(shape if dims is None else [shape[i] for i in dims])


def restore(g: Any, shape: tuple[int, ...], dims: Dims, keepdim: bool) -> Any:
    """`g`, of a reduction's output, with the reduced dimensions put back at size 1."""
    if keepdim or dims is None:  # without dimensions it broadcasts as it is
        return g
    return g.reshape(kept_shape(shape, dims))


def spread(g: Any, shape: tuple[int, ...], dims: Dims, keepdim: bool) -> Any:
    """`g`, of a reduction's output, repeated over what was reduced."""
    return _expand(restore(g, shape, dims, keepdim), shape)
