"""`Size`: the shape of a tensor, and reading shapes and dimensions that users give."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_edu.engine.boundary import dimension_error


class Size(tuple[int, ...]):
    """A tensor's shape: a tuple of ints that prints as torch's does.

    >>> import tinygrad_edu as torch
    >>> torch.zeros(2, 3).shape, torch.zeros(2, 3).shape.numel()
    (torch.Size([2, 3]), 6)
    """

    __slots__ = ()

    def numel(self) -> int:
        """How many elements a tensor of this shape has."""
        count = 1
        for size in self:
            count *= size
        return count

    def __repr__(self) -> str:
        return f"torch.Size({list(self)})"

    def __add__(self, other: Any) -> Size:
        return Size(tuple(self) + tuple(other))

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return Size(found) if isinstance(index, slice) else found

    def __reduce__(self) -> tuple[Any, ...]:
        return (Size, (tuple(self),))


def read_shape(name: str, given: Sequence[Any], argument: str = "size") -> tuple[int, ...]:
    """The shape meant by `f(2, 3)` or `f((2, 3))`.

    Raises:
        TypeError: an entry is not an integer.
    """
    if len(given) == 1 and isinstance(given[0], (tuple, list)):
        given = given[0]
    try:
        return tuple(map(operator.index, given))
    except TypeError:
        wrong = next((s for s in given if not hasattr(s, "__index__")), given)
        raise TypeError(
            f"{name}(): argument '{argument}' (position 1) must be tuple of ints,"
            f" not {type(wrong).__name__}"
        ) from None


def read_new_shape(name: str, given: Sequence[Any]) -> tuple[int, ...]:
    """The shape of a tensor to be made; RuntimeError if a size is negative."""
    shape = read_shape(name, given)
    if any([size < 0 for size in shape]):
        negative = next(size for size in shape if size < 0)
        raise RuntimeError(
            "zeros: Dimension size must be non-negative."
            if name == "zeros"
            else f"Trying to create tensor with negative dimension {negative}: {list(shape)}"
        )
    return shape


def read_dim(dim: Any, ndim: int) -> int:
    """A dimension counted from the front; a 0-d tensor counts as having one.

    Raises:
        IndexError: the tensor has no such dimension.
        TypeError: `dim` is not an integer.
    """
    try:
        index = operator.index(dim)
    except TypeError:
        raise TypeError(f"argument 'dim' must be int, not {type(dim).__name__}") from None
    if not -max(ndim, 1) <= index < max(ndim, 1):
        raise dimension_error(index, ndim)
    return index % max(ndim, 1)


def read_dims(dims: Any, ndim: int) -> tuple[int, ...]:
    """Several dimensions, each counted from the front.

    Raises:
        IndexError: the tensor has no such dimension.
        RuntimeError: one is named twice.
    """
    if isinstance(dims, (int, np.integer)):
        return (read_dim(dims, ndim),)
    found = tuple([read_dim(dim, ndim) for dim in dims])
    for dim in found:
        if found.count(dim) > 1:
            raise RuntimeError(f"dim {dim} appears multiple times in the list of dims")
    return found
