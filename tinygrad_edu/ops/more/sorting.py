"""Sort, and what sorting answers: topk, kthvalue, median, mode.

Indices come from NumPy's argsort; values are picked by them, and so carry the gradient.  nan is
larger than anything.  Equal elements keep their order, in both directions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.backend import new_like
from tinygrad_edu.dtypes import (
    Array,
    is_floating,
    sortable,
)
from tinygrad_edu.engine.nodes import shown_as
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.engine.versions import watched
from tinygrad_edu.kernels.memory_order import like
from tinygrad_edu.kernels.more.running import accumulate
from tinygrad_edu.names import return_types
from tinygrad_edu.ops.arguments import (
    numpy_names,
    operand,
    raw,
    reduce_add,
)
from tinygrad_edu.ops.largest import nonempty, pick, same, share
from tinygrad_edu.out import takes_out
from tinygrad_edu.size import read_dim

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


def _order(x: Array, dim: int, descending: bool = False) -> Array:
    """The indices that sort `x` along `dim`."""
    if not x.ndim:
        return np.zeros_like(x, dtype=np.int64)
    x = sortable(x)
    if not descending:
        return like(np.argsort(x, axis=dim, kind="stable"), x)
    # backwards twice: equal elements come out of the second turn in their old order
    backwards = np.flip(np.argsort(np.flip(x, dim), axis=dim, kind="stable"), dim)
    return like(x.shape[dim] - 1 - backwards, x)


def _isnan(x: Array) -> Array:
    return np.isnan(x) if is_floating(x.dtype) else np.zeros_like(x, dtype=bool)


@takes_out(overlap="same")
@numpy_names
def sort(input: Tensor, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Any:
    """The elements in order along `dim`, and the indices that bring them there.

    Args:
        stable: accepted; equal elements always keep their order.

    >>> import tinygrad_edu as torch
    >>> torch.sort(torch.tensor([3, 1, 2]), descending=True)
    torch.return_types.sort(
    values=tensor([3, 2, 1]),
    indices=tensor([0, 2, 1]))
    """
    x = operand("sort", input)
    dim = read_dim(dim, x.ndim)
    index = _order(x, dim, descending)
    places = wrap(index)
    found = watched(pick(input, index, dim, True), "index", (places,))
    return return_types.sort(shown_as(found, "SortBackward0"), places)


@takes_out
@numpy_names
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The indices that sort the tensor along `dim`.

    >>> import tinygrad_edu as torch
    >>> torch.argsort(torch.tensor([3, 1, 2]))
    tensor([1, 2, 0])
    """
    x = operand("argsort", input)
    return wrap(_order(x, read_dim(dim, x.ndim), descending))


@takes_out(overlap="same")
def msort(input: Tensor) -> Tensor:
    """The elements in order along the first dimension."""
    result: Tensor = sort(input, 0)[0]
    return result


def _part(dim: int, part: object) -> tuple[Any, ...]:
    return (slice(None),) * dim + (part,)


@takes_out(overlap="sought")
@numpy_names
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The k largest (or smallest) elements along `dim` and their indices, the best first.

    Args:
        sorted: accepted; the result is always in order.

    Raises:
        RuntimeError: there are fewer than k elements.

    Which of several equal elements are taken is left open, as in torch.

    >>> import tinygrad_edu as torch
    >>> torch.topk(torch.tensor([1.0, 4.0, 3.0]), 2).indices
    tensor([1, 2])
    """
    x = operand("topk", input)
    dim = read_dim(dim, x.ndim)
    n = x.shape[dim] if x.ndim else 1
    if not 0 <= k <= n:
        raise RuntimeError("selected index k out of range")
    if x.dtype == bool:
        raise RuntimeError("topk does not support bool dtypes on CPU")
    if not x.ndim:
        index = np.zeros_like(x, dtype=np.int64) if k else np.zeros_like(x, np.int64, shape=(0,))
        return return_types.topk(pick(input, index, 0, True), wrap(index))
    if 0 < k < n:  # find the k best first: cheaper than sorting all
        split = n - k if largest else k - 1
        best = _part(dim, slice(n - k, None) if largest else slice(None, k))
        index = np.sort(np.argpartition(sortable(x), split, axis=dim)[best], axis=dim)
        chosen = np.take_along_axis(x, index, dim)
        index = np.take_along_axis(index, _order(chosen, dim, largest), dim)
    else:
        index = _order(x, dim, largest)[_part(dim, slice(None, k))]
    places = wrap(index)
    found = watched(pick(input, index, dim, True), "index", (places,))
    return return_types.topk(shown_as(found, "TopkBackward0"), places)


def _pick_place(name: str, input: Tensor, order: Array, place: Any, dim: int, keepdim: bool) -> Any:
    """The elements at `place` of the sorted order: (values, indices)."""
    kind = getattr(return_types, name)
    if not order.ndim:
        return kind(pick(input, order, 0, True), wrap(order))
    at = np.take_along_axis(order, place, dim)
    index = at if keepdim else at.reshape(at.shape[:dim] + at.shape[dim + 1 :])
    places = wrap(index)
    found = watched(pick(input, at, dim, keepdim), "index", (places,))
    title = f"{name.capitalize()}Backward{int('median' in name)}"
    return kind(shown_as(found, title), places)


def _place(x: Array, dim: int, value: int) -> Array:
    """The same place for every row."""
    return np.full_like(x, value, shape=(*x.shape[:dim], 1, *x.shape[dim + 1 :]), dtype=np.int64)


@takes_out(overlap="none")
@numpy_names
def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """The k-th smallest element along `dim`, counted from 1, and its index.

    Unlike torch, which leaves it open, of equal elements the earlier ones count as smaller.

    >>> import tinygrad_edu as torch
    >>> torch.kthvalue(torch.tensor([30, 10, 20]), 2)
    torch.return_types.kthvalue(
    values=tensor(20),
    indices=tensor(2))
    """
    x = operand("kthvalue", input)
    dim = read_dim(dim, x.ndim)
    if not 1 <= k <= (x.shape[dim] if x.ndim else 1):
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {dim}")
    place = _place(x, dim, k - 1) if x.ndim else None
    return _pick_place("kthvalue", input, _order(x, dim), place, dim, keepdim)


@primitive
def _median(x: Array, skip_nan: bool) -> Array:
    flat = np.sort(x.reshape(-1))
    nans = int(_isnan(flat).sum())
    if not flat.size:
        return new_like(x, (), np.nan)
    valid = len(flat) - nans
    return flat[max(valid - 1, 0) // 2] if skip_nan or not nans else flat[-1]


_median.vjp(x=lambda g, x, y: share(g, same(raw(x), raw(y))))


def _median_of(name: str, input: Tensor, dim: int | None, keepdim: bool) -> Any:
    x = operand(name, input)
    skip_nan = name == "nanmedian"
    if x.dtype == bool:
        raise NotImplementedError(f"\"{name}\" not implemented for 'Bool'")
    if dim is None:
        return _median(input, skip_nan)
    dim = read_dim(dim, x.ndim)
    if not x.ndim:
        return _pick_place(name, input, _order(x, dim), None, dim, keepdim)
    nonempty(name, x, (dim,))
    nans = reduce_add(_isnan(x), axis=dim, keepdims=True, dtype=np.int64)
    n = x.shape[dim]
    middle = np.maximum(n - nans - 1, 0) // 2
    if not skip_nan:  # the first nan, if there is one
        middle = np.where(nans > 0, n - nans, middle)
    return _pick_place(name, input, _order(x, dim), middle, dim, keepdim)


@takes_out
@numpy_names
def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The element in the middle of the order, the lower of two; nan if there is one.

    Args:
        dim: one dimension, for values and indices along it; None for all elements.

    Without `dim`, elements equal to the median share the gradient evenly.

    >>> import tinygrad_edu as torch
    >>> torch.median(torch.tensor([4.0, 1.0, 3.0, 2.0]))
    tensor(2.)
    """
    return _median_of("median", input, dim, keepdim)


@takes_out
@numpy_names
def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The median of the elements that are not nan."""
    return _median_of("nanmedian", input, dim, keepdim)


def _sort_by_less(x: Array, order: Array) -> None:
    """Order rows that hold nan as torch's mode does: by insertion, asking `<` alone.

    nan is less than nothing, and so stays where it is and parts the others.
    """
    for row in np.ndindex(x.shape[:-1]):
        if not _isnan(x[row]).any():
            continue
        sorted_: list[int] = []
        for i, value in enumerate(values := x[row].tolist()):
            place = len(sorted_)
            if sorted_ and value < values[sorted_[0]]:
                place = 0
            while place and value < values[sorted_[place - 1]]:
                place -= 1
            sorted_.insert(place, i)
        order[row] = sorted_


@takes_out(overlap="sought")
@numpy_names
def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> Any:
    """The most frequent element along `dim`, the smallest of equally frequent ones; its last index.

    nan equals nothing, not even nan, and is in nobody's way only if it comes last.

    >>> import tinygrad_edu as torch
    >>> torch.mode(torch.tensor([3, 1, 3, 2]))
    torch.return_types.mode(
    values=tensor(3),
    indices=tensor(2))
    """
    x = operand("mode", input)
    dim = read_dim(dim, x.ndim)
    order = _order(x, dim)
    if not x.ndim or not x.size:
        if x.ndim:
            nonempty("mode", x, (dim,))
        place = _place(x, dim, 0) if x.ndim else None
        return _pick_place("mode", input, order, place, dim, keepdim)
    if _isnan(x).any():
        _sort_by_less(np.moveaxis(x, dim, -1), np.moveaxis(order, dim, -1))
    ordered = np.moveaxis(np.take_along_axis(x, order, dim), dim, -1)
    place = np.ones_like(ordered, dtype=np.int64).cumsum(-1) - 1  # 0, 1, 2, ... in every row
    starts = np.ones_like(ordered, dtype=bool)  # where a run of equal elements starts
    starts[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    run = place - accumulate(np.maximum, np.where(starts, place, 0), ordered.ndim - 1)
    longest = np.expand_dims(run.argmax(-1), dim)  # the last place of the first longest run
    return _pick_place("mode", input, order, longest, dim, keepdim)
