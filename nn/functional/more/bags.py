"""Embeddings of bags of indices, each bag reduced to one vector."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_edu.dtypes import Array, is_floating, scalar_type_name
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.nn.functional.sparse import refuse_sparse
from tinygrad_edu.ops import embedding as ops
from tinygrad_edu.ops.gathering import gather, index_add, index_select
from tinygrad_edu.ops.largest import same
from tinygrad_edu.ops.more.placing import index_copy
from tinygrad_edu.tensor import Tensor


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """The rows of a table that each bag names, added up, averaged, or their largest elements.

    Args:
        input: row numbers, int64 or int32: a bag per row of (B, L), or all bags one after the
            other, (N,), with `offsets`.
        weight: the table, shape (V, D); the result has shape (B, D), zeros for an empty bag.
        offsets: where each bag begins in `input`, shape (B,).
        max_norm, norm_type, scale_grad_by_freq: as of `embedding`.
        mode: "sum", "mean" or "max".
        per_sample_weights: what each row is multiplied by, in the shape of `input`; with "sum".
        include_last_offset: `offsets` has one more number: where the last bag ends.
        padding_idx: a row that is left out.

    Raises:
        ValueError: shapes or `mode` do not fit.
        RuntimeError: dtypes do not fit, or row numbers or offsets are out of range.

    Unlike torch, `sparse=True` is refused, and `scale_grad_by_freq` divides by how often the row
    itself was used, as `embedding` does; torch's CPU code divides by the count of another row.

    >>> import tinygrad_edu as torch
    >>> table = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    >>> index, offsets = torch.tensor([0, 1, 2]), torch.tensor([0, 1])
    >>> torch.nn.functional.embedding_bag(index, table, offsets)
    tensor([[1., 2.],
            [4., 5.]])
    """
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if mode == "max" and scale_grad_by_freq:
        raise ValueError("max mode does not support scaling the gradient by the frequency")
    refuse_sparse(sparse)
    if weight.array.dtype == np.int64 and is_floating(input.array.dtype):
        input, weight = weight, input  # the old order of arguments, which torch accepts too
    index, starts, ends, weights = _bags(
        input, weight, offsets, per_sample_weights, include_last_offset
    )
    if mode != "sum" and weights is not None:
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported"
            f" for mode='sum' (got mode='{mode}')"
        )
    _check(index, weight, starts, weights, padding_idx)
    if max_norm is not None:
        ops.renormalize_rows(weight, wrap(index), max_norm, norm_type)
    # which bag each index is in; those of no bag, and of the padding, are dropped
    bag = np.repeat(np.arange(len(starts), like=index), ends - starts)
    index = index[int(starts[0]) : int(ends[-1])] if len(starts) else index[:0]
    if padding_idx is not None:
        kept = np.nonzero(index != padding_idx % len(weight.array))[0]
        index, bag = index[kept], bag[kept]
        weights = None if weights is None else index_select(weights, 0, wrap(kept))
    named = wrap(index, None, input._storage)  # a later write into these is refused
    rows: Any = ops.embedding(named, weight, None, scale_grad_by_freq)
    if weights is not None:
        rows = rows * weights.unsqueeze(1)
    zeros = weight.new_zeros(len(starts), weight.array.shape[1])
    if mode == "max":
        return _largest(zeros, rows, bag)
    y = index_add(zeros, 0, wrap(bag), rows)
    if mode == "mean":
        counts = np.maximum(np.bincount(bag, minlength=len(starts)), 1)
        y = y / wrap(counts.astype(weight.array.dtype)[:, None])
    return y


def _bags(
    input: Tensor, weight: Tensor, offsets: Tensor | None, weights: Tensor | None, last: bool
) -> tuple[Array, Array, Array, Tensor | None]:
    """The indices one after the other, where bags begin and end, and the weights."""
    if weights is not None and input.shape != weights.shape:
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({weights.shape}) is not None, then it must have"
            f" the same shape as the input ({input.shape})"
        )
    if weight.array.ndim != 2:
        raise ValueError(
            f"weight has to be a 2D Tensor, but got Tensor of dimension {weight.array.ndim}"
        )
    x = input.array
    if x.ndim == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch"
                f" of fixed length sequences. However, found offsets of type {type(offsets)}"
            )
        starts = np.arange(x.shape[0], like=x) * x.shape[1]
        flat = None if weights is None else weights.reshape(-1)
        return x.reshape(-1), starts, starts + x.shape[1], flat
    if x.ndim != 1:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {x.ndim}")
    if offsets is None:
        raise ValueError("offsets has to be a 1D Tensor but got None")
    starts = offsets.array
    if starts.ndim != 1:
        raise ValueError("offsets has to be a 1D Tensor")
    for held in (x, starts):
        _check_index(held)
    if last:
        if not len(starts):
            raise RuntimeError("include_last_offset: number of offset should be at least 1")
        starts, ends = starts[:-1], starts[1:]
    else:
        ends = np.concatenate([starts[1:], np.asarray([len(x)], starts.dtype, like=starts)])
    return x, starts, ends[: len(starts)], weights


def _check_index(index: Array) -> None:
    if index.dtype not in (np.int64, np.int32):
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types:"
            f" Long, Int; but got torch.{scalar_type_name(index.dtype)}Tensor instead (while"
            " checking arguments for embedding_bag)"
        )


def _check(
    index: Array, weight: Tensor, starts: Array, weights: Tensor | None, padding_idx: int | None
) -> None:
    """Raise for what torch refuses: dtypes, offsets and row numbers."""
    _check_index(index)
    rows, kind = len(weight.array), weight.array.dtype
    if not is_floating(kind):
        raise RuntimeError(
            "Expected tensor for argument #1 'weight' to have one of the following scalar types:"
            f" Half, BFloat16, Float, Double; but got torch.{scalar_type_name(kind)}Tensor instead"
            " (while checking arguments for embedding_bag)"
        )
    if weights is not None and weights.array.dtype != kind:
        raise RuntimeError(
            "Expected tensor for argument #1 'weight' to have the same type as tensor for argument"
            f" #1 'per_sample_weights'; but type {weight.type()} does not equal {weights.type()}"
            " (while checking arguments for embedding_bag)"
        )
    if padding_idx is not None and not -rows <= padding_idx < rows:
        raise RuntimeError(
            f"padding_idx must be within the number of embeddings, {-rows} through {rows - 1}, but"
            f" got {padding_idx}"
        )
    if len(starts) and int(starts[0]) != 0:
        raise RuntimeError(
            "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from"
            f" position 0. However, got {int(starts[0])}"
        )
    if len(starts) and int(starts[-1]) > len(index):
        raise RuntimeError(
            f"offsets[-1] can not be greater than input's length {len(index)} but got offsets[-1]"
            f" of {int(starts[-1])}"
        )
    if (starts[1:] < starts[:-1]).any():
        raise RuntimeError(f"offsets has to rise, got {starts.tolist()}")
    if index.size and (int(index.min()) < 0 or int(index.max()) >= rows):
        raise RuntimeError(f"embedding_bag: index out of range, the table has {rows} rows")


def _largest(zeros: Tensor, rows: Tensor, bag: Array) -> Tensor:
    """The largest element of each column in each bag; the first of equal ones gets the gradient."""
    x = rows.array
    best = np.full_like(x, -np.inf, shape=zeros.array.shape)
    np.maximum.at(best, bag, x)
    place = np.arange(len(x), like=bag)[:, None]
    first = np.full_like(bag, len(x), shape=best.shape)
    np.minimum.at(first, bag, np.where(same(x, best[bag]), place, len(x)))
    filled = np.unique(bag)
    picked = gather(rows, 0, wrap(np.minimum(first[filled], len(x) - 1)))
    return index_copy(zeros, 0, wrap(filled), picked) if len(filled) else zeros + rows.sum() * 0
