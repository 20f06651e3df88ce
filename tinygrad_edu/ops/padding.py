"""Padding: more elements at the ends of dimensions, constant, mirrored, repeated or wrapped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.backend import beside, new_like
from tinygrad_edu.dtypes import Array, fitting
from tinygrad_edu.engine.composed import composed, of_tensors
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.kernels.memory_order import clone, like_images
from tinygrad_edu.ops.casting import _clone
from tinygrad_edu.ops.gathering import index_select
from tinygrad_edu.ops.indexing import _slice

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor

_Widths = tuple[tuple[int, int], ...]


@primitive(node="ConstantPadNd")
def _pad(x: Array, widths: _Widths, value: float) -> Array:
    """`value` around `x`: `widths[i]` elements before and after it along dimension i."""
    shape = tuple([a + n + b for n, (a, b) in zip(x.shape, widths, strict=True)])
    if shape == x.shape:
        return clone(x)
    y = new_like(x, shape, value)
    y[_inside(x.shape, widths)] = x
    return like_images(y, x)


def _inside(shape: tuple[int, ...], widths: _Widths) -> tuple[slice, ...]:
    return tuple([slice(a, a + n) for n, (a, _) in zip(shape, widths, strict=True)])


_pad.vjp(x=lambda g, x_shape, widths: _clone(_slice(g, _inside(x_shape, widths))))


@of_tensors
def pad(input: Tensor, pad: Any, mode: str = "constant", value: float | None = None) -> Tensor:
    """More elements at the ends of dimensions.

    Args:
        pad: two numbers per dimension, counted from the last: (left, right, top, bottom, ...).
            Negative ones cut off.
        mode: "constant" (filled with `value`, 0 unless given), "reflect" (mirrored at the outermost
            element, without repeating it), "replicate" (the outermost element repeated) or
            "circular" (wrapped round); these three pad the last 1 to 3 dimensions of a tensor with
            one or two more.

    Raises:
        RuntimeError: odd or too many numbers; more padding than the mode can take elements from.
        NotImplementedError: the mode cannot pad so many dimensions.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.pad(torch.tensor([[1, 2, 3]]), (1, 2), mode="replicate")
    tensor([[1, 1, 2, 3, 3, 3]])
    """
    widths = tuple([int(n) for n in pad])
    shape = input.array.shape
    if len(widths) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    if len(widths) // 2 > len(shape):
        raise RuntimeError(
            f"Padding length should be less than or equal to two times the input dimension but got"
            f" padding length {len(widths)} and input of dimension {len(shape)}"
        )
    pairs = list(zip(widths[::2], widths[1::2], strict=True))
    full = [(0, 0)] * (len(shape) - len(pairs)) + pairs[::-1]
    if mode == "constant":
        number = 0.0 if value is None else fitting(input.array.dtype, float(value))
        return _pad_constant(input, full, number)
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if value not in (None, 0):
        raise ValueError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if not (1 <= len(pairs) <= 3 and len(shape) in (len(pairs) + 1, len(pairs) + 2)):
        raise NotImplementedError(
            f"Only 2D, 3D, 4D, 5D padding with non-constant padding are supported for now, got"
            f" {len(shape)}D input and {len(widths)} numbers"
        )
    return (_from_inside if mode == "circular" else _from_border)(input, full, mode)


def _from_inside(input: Tensor, widths: list[tuple[int, int]], mode: str) -> Tensor:
    """Padded with copies of its own elements."""
    shape = input.array.shape
    for dim, (before, after) in enumerate(widths):
        if (before, after) != (0, 0):
            first, size = 0, shape[dim]
            if mode == "circular":  # what is cut off is not wrapped round
                first, size = max(-before, 0), size - max(-before, 0) - max(-after, 0)
                before, after = max(before, 0), max(after, 0)
            index = first + _source(size, before, after, mode, dim, shape)
            input = index_select(input, dim, wrap(beside(index, input.array)))
    return input


@composed(autocast={"cpu": "float32"})
def _from_border(input: Tensor, widths: list[tuple[int, int]], mode: str) -> Tensor:
    """The modes "reflect" and "replicate", which have a precision of their own in autocast."""
    return _from_inside(input, widths, mode)


def _pad_constant(x: Tensor, widths: list[tuple[int, int]], value: float) -> Tensor:
    """Cut off what negative widths say, then fill."""
    cut = []
    for size, (a, b) in zip(x.array.shape, widths, strict=True):
        if size + a + b < 0:
            raise RuntimeError(
                f"The input size {size}, plus negative padding {a} and {b}, resulted in a negative"
                " output size"
            )
        cut.append(slice(max(0, -a), size - max(0, -b)))
    if any([min(pair) < 0 for pair in widths]):
        x = _slice(x, tuple(cut))
    return _pad(x, tuple([(max(a, 0), max(b, 0)) for a, b in widths]), value)


def _source(
    size: int, before: int, after: int, mode: str, dim: int, shape: tuple[int, ...]
) -> Array:
    """For each element of the padded dimension, which element of the input it copies."""
    i = np.arange(-before, size + after)
    if mode == "replicate":
        return np.clip(i, 0, size - 1)
    limit = size - 1 if mode == "reflect" else size
    if max(before, after) > limit:
        raise RuntimeError(
            f"Argument #4: Padding size should be less than the corresponding input dimension, but"
            f" got: padding ({before}, {after}) at dimension {dim} of input {list(shape)}"
        )
    if mode == "circular":
        return i % size
    i = np.abs(i)
    return np.where(i >= size, 2 * (size - 1) - i, i)
