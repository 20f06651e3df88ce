"""Embedding: rows of a table picked by index, and one-hot vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tinygrad_edu.backend import device_of, on, switches
from tinygrad_edu.dtypes import Array, scalar_type_name
from tinygrad_edu.engine.boundary import need_tensors, same_device
from tinygrad_edu.engine.composed import of_tensors
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.kernels import cuda
from tinygrad_edu.kernels.atomic import add_at
from tinygrad_edu.kernels.cuda import checks, launch
from tinygrad_edu.ops.arguments import raw
from tinygrad_edu.ops.extrema import gate

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


@primitive
def _embedding(weight: Array, index: Array, padding_idx: int, by_frequency: bool) -> Array:
    """Rows of `weight`; the row `padding_idx` (-1 for none) gets no gradient."""
    same_device("embedding", weight, index)
    if launch.ready(weight):
        return cuda.embedding.read(weight, index)
    if checks.wrong_index(index, 0, len(weight)) is not None:
        raise IndexError("index out of range in self")
    return np.take(weight, index, axis=0)


@primitive
def _embedding_gradient(
    g: Array, index: Array, count: int, padding_idx: int, by_frequency: bool
) -> Array:
    """The table whose row i is the sum of the rows of `g` that were read from row i."""
    rows = index.reshape(-1).astype(np.int64, copy=False)
    width = g.shape[-1]
    g = _counted(g, index, count, padding_idx, by_frequency).reshape(-1, width)
    if launch.ready(g):
        return cuda.embedding.gradient(g, rows, count, switches.deterministic)
    return add_at(np.zeros_like(g, shape=(count, width), order="C"), (rows,), g)


_embedding_gradient.vjp(
    g=lambda g, index, count, padding_idx, by_frequency: _read_back(
        g, index, count, padding_idx, by_frequency
    )
)


_embedding.vjp(
    weight=lambda g, weight_shape, index, padding_idx, by_frequency: _embedding_gradient(
        g, index, weight_shape[0], padding_idx, by_frequency
    )
)


def _counted(g: Tensor, index: Array, count: int, padding_idx: int, by_frequency: bool) -> Tensor:
    """`g`, each row as much as its reading counts: not at all for `padding_idx`, or only its share
    of all readings of that row."""
    if by_frequency:
        often = np.bincount(index.reshape(-1), minlength=count)[index]
        g = g * (1 / often[..., None]).astype(raw(g).dtype)
    return g if padding_idx < 0 else gate(g, (index != padding_idx)[..., None])


def _read_back(g: Tensor, index: Array, count: int, padding_idx: int, by_frequency: bool) -> Tensor:
    """The derivative of `_embedding_gradient`: it is linear, so it is read back the same way."""
    return _counted(_embedding(g, index, -1, False), index, count, padding_idx, by_frequency)


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    scale_grad_by_freq: bool = False,
) -> Tensor:
    """The rows of `weight` that `input` names; see `nn.functional.embedding`."""
    need_tensors("embedding", weight=weight, indices=input)
    index = input.array
    if index.dtype not in (np.int64, np.int32):
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types:"
            f" Long, Int; but got torch.{scalar_type_name(index.dtype)}Tensor instead (while"
            " checking arguments for embedding)"
        )
    if weight.array.ndim != 2:
        raise RuntimeError("'weight' must be 2-D")
    return _embedding(weight, input, -1 if padding_idx is None else padding_idx, scale_grad_by_freq)


@np.errstate(all="ignore")
def renormalize_rows(weight: Tensor, index: Tensor, max_norm: float, norm_type: float) -> None:
    """Shrink, in place and unrecorded, the rows that `index` names to at most `max_norm`."""
    table = weight.array
    rows = np.unique(index.array)
    picked = np.abs(table[rows])
    if norm_type == float("inf"):
        norms = picked.max(1)
    else:
        norms = (picked**norm_type).sum(1) ** (1 / norm_type)
    large = norms > max_norm
    if large.any():
        table[rows[large]] *= (max_norm / (norms[large] + 1e-7))[:, None].astype(table.dtype)
        weight._storage.write()


@of_tensors
def one_hot(input: Tensor, num_classes: int = -1) -> Tensor:
    """A vector for every class index: 1 at the index, 0 elsewhere; int64.

    Args:
        input: int64 classes, any shape.
        num_classes: length of the vectors; -1: one more than the largest class.

    Raises:
        RuntimeError: another dtype, a negative class, one that is too large, or no class at all
            to infer the length from.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.one_hot(torch.tensor([0, 2]))
    tensor([[1, 0, 0],
            [0, 0, 1]])
    """
    index = input.array
    if index.dtype != np.int64:
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    if not index.size:
        if num_classes <= 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        return wrap(np.zeros_like(index, shape=(*index.shape, num_classes)))
    if index.min() < 0:
        raise RuntimeError("Class values must be non-negative.")
    largest = int(index.max())
    count = largest + 1 if num_classes == -1 else num_classes
    if largest >= count:
        raise RuntimeError("Class values must be smaller than num_classes.")
    with on(device_of(index)):
        y = np.zeros_like(index, shape=(*index.shape, count), order="C")
    y.reshape(-1, count)[np.arange(index.size, like=index), index.reshape(-1)] = 1
    return wrap(y)
