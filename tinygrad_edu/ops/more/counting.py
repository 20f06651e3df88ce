"""Which values occur, how often, and where they belong: unique, bincount, histc, searchsorted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.backend import CPU, beside, new_like, to_device
from tinygrad_edu.dtypes import (
    Array,
    from_numpy,
    is_floating,
    is_half,
    promote_to,
    result_type,
    sortable,
)
from tinygrad_edu.engine.boundary import need_long, same_device
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.record import as_array, wrap
from tinygrad_edu.kernels import ranges
from tinygrad_edu.names import return_types
from tinygrad_edu.ops.arguments import named, numpy_names, operand
from tinygrad_edu.ops.joining import unbind
from tinygrad_edu.out import takes_out
from tinygrad_edu.out_of_memory import told
from tinygrad_edu.size import read_dim

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


_NODES = {
    "_unique2": "Unique2Backward0", "unique_dim": "UniqueDimBackward0",
    "unique_consecutive": "UniqueConsecutiveBackward0",
}  # fmt: skip


@primitive(node=lambda x, found, op: _NODES.get(op, "NotImplemented"))
def _found(x: Array, found: Array, op: str) -> Array:
    """What `op` has found in `x`: there is no derivative, and who asks for it is told so."""
    return found


def _refuse(g: Tensor, op: str) -> Any:
    if op in _NODES:
        raise NotImplementedError(f"the derivative for '{op}' is not implemented.")
    raise RuntimeError(f"derivative for aten::{op} is not implemented")


_found.vjp(x=_refuse)


def _answers(
    values: Tensor, inverse: Array | None, counts: Array | None
) -> tuple[Tensor, ...] | Tensor:
    found = (values, *[wrap(x) for x in (inverse, counts) if x is not None])
    return found if len(found) > 1 else values


@numpy_names
def unique(
    input: Tensor, sorted: bool = True, return_inverse: bool = False,
    return_counts: bool = False, dim: int | None = None,
) -> Any:  # fmt: skip
    """The values that occur, each once, in order.

    Args:
        sorted: accepted; the result is always in order.
        return_inverse: also return, for each element, the index of its value in the result.
        return_counts: also return how often each value occurs.
        dim: look for unique slices along this dimension instead of single values.

    >>> import tinygrad_edu as torch
    >>> torch.unique(torch.tensor([3, 1, 3]), return_counts=True)
    (tensor([1, 3]), tensor([1, 2]))
    """
    x = operand("unique", input)
    axis = None if dim is None else read_dim(dim, x.ndim)
    values, inverse, counts = np.unique(
        sortable(x), return_inverse=True, return_counts=True, axis=axis, equal_nan=False
    )
    values = values.astype(x.dtype, copy=False)
    inverse = inverse.reshape(x.shape if axis is None else -1)
    return _answers(
        _found(input, values, "_unique2" if dim is None else "unique_dim"),
        inverse if return_inverse else None,
        counts if return_counts else None,
    )


@numpy_names
def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False,
    dim: int | None = None,
) -> Any:  # fmt: skip
    """The elements without those that equal the one before.

    Args:
        return_inverse, return_counts, dim: as in `unique`.

    >>> import tinygrad_edu as torch
    >>> torch.unique_consecutive(torch.tensor([1, 1, 2, 1]))
    tensor([1, 2, 1])
    """
    x = operand("unique_consecutive", input)
    axis = 0 if dim is None else read_dim(dim, x.ndim)
    rows = x.reshape(-1) if dim is None or not x.ndim else np.moveaxis(x, axis, 0)
    flat = rows.reshape(len(rows), -1) if rows.size else rows
    new = np.ones_like(rows, dtype=bool, shape=(len(rows),))
    if rows.size:
        new[1:] = (flat[1:] != flat[:-1]).any(1)
    starts = np.flatnonzero(new)
    values = x[(slice(None),) * axis + (starts,)] if dim is not None and x.ndim else rows[starts]
    inverse = np.cumsum(new) - 1
    ends = np.append(starts[1:], len(rows)) if len(starts) else starts
    return _answers(
        _found(input, values, "unique_consecutive"),
        inverse.reshape(x.shape if dim is None else -1) if return_inverse else None,
        ends - starts if return_counts else None,
    )


@takes_out
@named(self="input")
def searchsorted(
    sorted_sequence: Tensor, input: Tensor, *, out_int32: bool = False, right: bool = False,
    side: str | None = None, sorter: Any = None,
) -> Tensor:  # fmt: skip
    """For each value the place at which it could be put into a sorted sequence.

    Args:
        sorted_sequence: (..., n), in order along the last dimension, or unordered with a `sorter`.
        input: a tensor (..., m) with the same leading dimensions; any shape if the sequence is a
            vector; or a number.
        right: put it behind elements equal to it, not before; the same as side="right".
        sorter: the indices that sort the sequence.

    Raises:
        RuntimeError: the leading dimensions differ, or `side` is something else.

    >>> import tinygrad_edu as torch
    >>> torch.searchsorted(torch.tensor([1, 3, 5]), torch.tensor([3, 6]))
    tensor([1, 3])
    """
    if side not in (None, "left", "right"):
        raise RuntimeError(
            f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}"
        )
    if side == "left" and right:
        raise RuntimeError(
            "torch.searchsorted(): side and right can't be set to opposites, got side of left while"
            " right was True"
        )
    sequence = operand("searchsorted", sorted_sequence)
    if isinstance(input, TensorBase):
        values = input.array
    else:
        kind = result_type(sequence, input)
        values = new_like(sequence, (), promote_to(kind, input)[0], kind)
    same_device("searchsorted", sequence, values)
    if sorter is not None:
        asked = "torch.searchsorted(): sorter must be a tensor of long dtype but got dtype"
        need_long(asked, sorter.array)
        sequence = np.take_along_axis(sequence, sorter.array, -1)
    right = right or side == "right"
    sequence, values = sortable(sequence), sortable(values)
    if sequence.ndim == 1:
        found = _places(sequence, values, right)
    elif sequence.shape[:-1] != values.shape[:-1]:
        raise RuntimeError(
            "torch.searchsorted(): boundaries tensor should be 1 dimension or the first N-1"
            " dimensions of boundaries tensor and input value tensor must match, but we got"
            f" boundaries tensor {list(sequence.shape)} and input value tensor"
            f" {list(values.shape)}"
        )
    else:
        found = np.empty_like(values, dtype=np.int64)
        for i in np.ndindex(*values.shape[:-1]):
            found[i] = _places(sequence[i], values[i], right)
    return wrap(found.astype(np.int32 if out_int32 else np.int64, copy=False))


def _places(sequence: Array, values: Array, right: bool) -> Array:
    """Where the values belong in a sorted vector; torch's search takes nan for the largest."""
    if not (_any_nan(sequence) or _any_nan(values)):
        return as_array(np.searchsorted(sequence, values, side="right" if right else "left"))
    low = np.zeros_like(values, dtype=np.int64)
    high = np.full_like(low, len(sequence))
    while (low < high).any():
        middle = (low + high) // 2
        there = sequence[np.minimum(middle, len(sequence) - 1)]
        behind = ~(there > values) if right else ~(there >= values)
        low = np.where((low < high) & behind, middle + 1, low)
        high = np.where((low < high) & ~behind, middle, high)
    return low


def _any_nan(x: Array) -> bool:
    return is_floating(x.dtype) and bool(np.isnan(x).any())


@takes_out
@named(self="input")
def bucketize(
    input: Tensor, boundaries: Tensor, *, out_int32: bool = False, right: bool = False
) -> Tensor:
    """For each value the index of the bucket it falls into, between sorted `boundaries`.

    >>> import tinygrad_edu as torch
    >>> torch.bucketize(torch.tensor([0.5, 2.5]), torch.tensor([1.0, 2.0, 3.0]))
    tensor([0, 2])
    """
    if boundaries.array.ndim != 1:
        raise RuntimeError(
            f"boundaries tensor must be 1 dimension, but got dim({boundaries.array.ndim})"
        )
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


@told
def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each of 0, 1, 2, ... occurs in a vector of non-negative integers.

    Args:
        weights: count each element with this weight instead of 1.
        minlength: the least length of the result.

    Raises:
        RuntimeError: a negative element, or more than one dimension.

    >>> import tinygrad_edu as torch
    >>> torch.bincount(torch.tensor([1, 1, 3]))
    tensor([0, 2, 0, 1])
    """
    x = operand("bincount", input)
    if x.dtype.kind not in "iu":
        raise NotImplementedError(f'"bincount" not implemented for {from_numpy(x.dtype)!r}')
    if minlength < 0:
        raise RuntimeError("minlength should be >= 0")
    if x.ndim != 1 or (x.size and int(x.min()) < 0):
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    if weights is None:
        return wrap(np.bincount(x, minlength=minlength))
    w = weights.array
    same_device("bincount", x, w)
    if w.shape != x.shape:
        raise RuntimeError("weights should be 1-d and have the same length as input")
    counted = np.bincount(x, weights=w, minlength=minlength)
    counted = counted.astype(np.float32 if w.dtype == np.float32 else np.float64, copy=False)
    return _found(weights, counted, "bincount")


@takes_out
def histc(input: Tensor, bins: int = 100, min: Any = 0, max: Any = 0) -> Tensor:
    """How many elements fall into each of `bins` bins of equal width from `min` to `max`.

    Args:
        min, max: the range; that of the elements if both are equal.  What lies outside is ignored.

    Raises:
        RuntimeError: max is below min, no bins, or a range that is not finite.

    >>> import tinygrad_edu as torch
    >>> torch.histc(torch.tensor([1.0, 2.0, 1.0]), bins=4, min=0, max=3)
    tensor([0., 2., 1., 0.])
    """
    x = operand("histc", input)
    if not is_floating(x.dtype):
        raise NotImplementedError(f'"histogram" not implemented for {from_numpy(x.dtype)!r}')
    if bins <= 0:
        raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins} for dimension 0")
    low, high = float(min), float(max)
    if low == high and x.size:
        low, high = float(x.min()), float(x.max())
    if low == high:
        low, high = low - 1, high + 1
    if not (np.isfinite(low) and np.isfinite(high)):
        raise RuntimeError(f"torch.histc: range of [{low}, {high}] is not finite")
    if low > high:
        raise RuntimeError("torch.histc: max must be larger than min")
    inside = x[(x >= low) & (x <= high)]
    place = ((inside - low) * (bins / (high - low))).astype(np.int64)
    return wrap(np.bincount(np.minimum(place, bins - 1), minlength=bins).astype(x.dtype))


@takes_out(overlap="any")
@np.errstate(all="ignore")
def histogram(
    input: Any, bins: Any = 100, *, range: Any = None, weight: Any = None, density: bool = False
) -> Any:
    """How many elements fall into each bin, and the edges of the bins; there is no derivative.

    Args:
        bins: how many, of equal width; or a vector of rising edges.
        range: (low, high) of equal bins; from the least to the largest element if None.
        weight: what each element counts, in the shape of `input`.
        density: divide by the total and the width of each bin.

    >>> import tinygrad_edu as torch
    >>> torch.histogram(torch.tensor([0.0, 1.0, 1.0, 2.0]), bins=2).hist
    tensor([1., 3.])
    """
    given = [bins.array if isinstance(bins, TensorBase) else bins]
    given.append(None if weight is None else weight.array)
    same_device("histogram", operand("histogram", input), *given)
    x, edges, w = [to_device(a, CPU) if hasattr(a, "shape") else a for a in (input.array, *given)]
    x = x.reshape(-1)
    if isinstance(bins, TensorBase):
        edges = edges.copy()
    else:
        if bins <= 0:
            raise RuntimeError(f"torch.histogram(): bins must be > 0, but got {bins}")
        extremes = (x.min(), x.max()) if x.size else (0.0, 0.0)
        low, high = extremes if range is None else range
        if range is not None and low > high:
            raise RuntimeError(f"torch.histogram: min should not exceed max, but got {low} {high}")
        if low == high:
            low, high = (low, low + 1) if range or not x.size else (low - 0.5, high + 0.5)
        exact = is_floating(x.dtype) and not is_half(x.dtype)
        spaced: Any = ranges.linspace if exact else np.linspace
        edges = spaced(low, high, bins + 1, dtype=x.dtype)
    place = np.searchsorted(edges, x, side="right") - 1
    place = np.where(x == edges[-1], len(edges) - 2, place)
    inside = (place >= 0) & (place < len(edges) - 1)
    w = np.ones_like(x) if w is None else w.reshape(-1)
    hist = np.bincount(place[inside], w[inside], len(edges) - 1).astype(x.dtype)
    if density:
        hist = hist / hist.sum() / np.diff(edges)
    source = weight if weight is not None and weight.requires_grad else input
    parts = [_found(source, beside(a, input.array), "histogram") for a in (hist, edges)]
    return return_types.histogram(*parts)


def unravel_index(indices: Tensor, shape: int | Sequence[int]) -> tuple[Tensor, ...]:
    """The coordinates, one tensor per dimension of `shape`, of positions in a flattened tensor.

    >>> import tinygrad_edu as torch
    >>> torch.unravel_index(torch.tensor([1, 5]), (2, 3))
    (tensor([0, 1]), tensor([1, 2]))
    """
    x = operand("unravel_index", indices)
    if x.dtype.kind not in "iu":
        raise TypeError("expected 'indices' to be integer dtype, but got " + str(indices.dtype))
    x = x.astype(np.int64)
    found = []
    for size in reversed((shape,) if isinstance(shape, int) else tuple(shape)):
        found.append(x % size)
        x = x // size
    if not found:
        return ()
    return unbind(wrap(np.stack(found[::-1], -1)), -1)  # columns of one array, as in torch
