"""Pooling: the largest or the average element of every window."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.dtypes import Array, is_floating, not_implemented, scalar_type_name
from tinygrad_edu.engine.boundary import need_tensors
from tinygrad_edu.engine.nodes import lasting, shown_as
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.kernels.convolution import Geometry, Sizes
from tinygrad_edu.kernels.memory_order import channels_last, like_images
from tinygrad_edu.ops.casting import contiguous
from tinygrad_edu.ops.convolution import per_dim
from tinygrad_edu.ops.gathering import gather
from tinygrad_edu.ops.joining import stack
from tinygrad_edu.ops.padding import _pad

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


def place_of_largest(window: Array) -> Array:
    """Where the largest element of the last dimension is: the first of equals, the last nan."""
    place = window.argmax(-1)
    if not is_floating(window.dtype) or not window.size or not np.isnan(window.max()):
        return place
    nans = np.isnan(window)
    last = window.shape[-1] - 1 - nans[..., ::-1].argmax(-1)
    return np.where(nans.any(-1), last, place)


def places(kernel: Sizes, how: Geometry, out: Sizes) -> list[tuple[slice, ...]]:
    """For each element of the kernel, where it lies in the input as the window moves."""
    return [
        (slice(None), slice(None))
        + tuple(
            [
                slice(k * d, k * d + s * (o - 1) + 1, s)
                for k, d, s, o in zip(place, how.dilation, how.stride, out, strict=True)
            ]
        )
        for place in itertools.product(*[range(k) for k in kernel])
    ]


@primitive
def sum_windows(x: Array, kernel: Sizes, how: Geometry) -> Array:
    """(N, C, *out): the sum of each window of `x`."""
    first, *rest = places(kernel, how, how.output(x.shape[2:], kernel))
    y = x[first].copy()
    for place in rest:
        y += x[place]
    return like_images(y, x, ndims=(3, 4))


@primitive
def spread_windows(h: Array, shape: Sizes, kernel: Sizes, how: Geometry) -> Array:
    """A tensor of that shape to which each number is added all over its window."""
    x = np.zeros_like(h, shape=shape, order="C")
    for place in places(kernel, how, h.shape[2:]):
        x[place] += h
    return x


sum_windows.vjp(x=lambda g, x_shape, kernel, how: spread_windows(g, x_shape, kernel, how))


spread_windows.vjp(h=lambda g, kernel, how: sum_windows(g, kernel, how))


def _lowest(x: Array) -> float | int:
    return -np.inf if is_floating(x.dtype) else np.iinfo(x.dtype).min


def _pool_name(x: Array, *how: object) -> str:
    n = x.ndim - 2
    pooled = "SqueezeBackward1(MaxPool2DWithIndices(Unsqueeze(x)))"
    return pooled if n == 1 else f"MaxPool{n}DWithIndices"


@primitive(saves=("index",), multiple=True, node=_pool_name)
def _max_pool(x: Array, kernel: Sizes, how: Geometry, out: Sizes) -> Any:
    """The largest element of each window, and its position among all of its channel."""
    sizes = x.shape[2:]
    behind = _behind(sizes, kernel, how, out)
    borders = [*zip(how.padding, behind, strict=True)]
    wide = _pad.primitive.forward(x, ((0, 0), (0, 0), *borders), _lowest(x))
    y = np.full_like(x, _lowest(x), shape=(*x.shape[:2], *out), order="C")
    which = np.zeros_like(x, dtype=np.int16, shape=y.shape, order="C")
    with_nan = is_floating(x.dtype) and x.size and bool(np.isnan(x.max()))
    for number, place in enumerate(places(kernel, how, out), 1):
        seen = wide[place]
        better = seen > y
        if with_nan:
            better |= seen != seen  # nan is larger than anything, as in torch
        np.copyto(which, np.int16(number), where=better)
        np.maximum(y, seen, out=y)
    index = _positions(which, sizes, kernel, how, out)
    if not x.flags.c_contiguous:
        y, index = [like_images(part, x, ndims=(3, 4, 5)) for part in (y, index)]
    return (y, index), index


def _behind(sizes: Sizes, kernel: Sizes, how: Geometry, out: Sizes) -> list[int]:
    """How many elements are needed behind the input."""
    return [
        max(0, (o - 1) * s + d * (k - 1) + 1 - n - p)
        for n, k, s, p, d, o in zip(
            sizes, kernel, how.stride, how.padding, how.dilation, out, strict=True
        )
    ]


def _positions(which: Array, sizes: Sizes, kernel: Sizes, how: Geometry, out: Sizes) -> Array:
    """The number of an element in its window as its position in its channel, counted from 1.

    Number 0, nothing found, stands for the window's first element inside the input.
    """
    first: Array = np.zeros(out, np.int64)
    base: Array = first.copy()
    offsets: Array = np.zeros((1,), np.int64)
    for i, n in enumerate(sizes):
        step = math.prod(sizes[i + 1 :])
        start = np.arange(out[i]) * how.stride[i] - how.padding[i]
        inside = start + np.maximum(0, -(start // how.dilation[i])) * how.dilation[i]
        along = [-1 if j == i else 1 for j in range(len(sizes))]
        base += (start * step).reshape(along)
        first += (np.minimum(inside, n - 1) * step).reshape(along)
        moves = np.arange(kernel[i]) * how.dilation[i] * step
        offsets = (offsets[:, None] + moves).reshape(-1)
    base, first, offsets = (np.asarray(a, like=which) for a in (base, first, offsets))
    which -= 1
    found = offsets.take(which)
    found += base
    return np.where(which < 0, first, found) if which.size and which.min() < 0 else found


@primitive
def _unpool(h: Array, index: Array, shape: Sizes, apart: bool) -> Array:
    """Zeros of that shape to which `h` is added at the positions `index` of each channel."""
    count = math.prod(shape[2:])
    y = np.zeros_like(h, shape=(shape[0] * shape[1], count))
    each = math.prod(index.shape[2:])
    at = index.reshape(len(y), each) + np.arange(len(y), like=y)[:, None] * count
    if apart:  # no position occurs twice
        y.reshape(-1)[at] = h.reshape(at.shape)
    else:
        np.add.at(y.reshape(-1), at.reshape(-1), h.reshape(-1))
    return like_images(y.reshape(shape), h)


@primitive
def _repool(x: Array, index: Array) -> Array:
    """The elements at the positions `index` of each channel."""
    flat = x.reshape(*x.shape[:2], math.prod(x.shape[2:]))
    found = np.take_along_axis(flat, index.reshape(*index.shape[:2], -1 if index.size else 0), 2)
    return found.reshape(index.shape)


_unpool.vjp(h=lambda g, index: _repool(g, index))
_repool.vjp(x=lambda g, index, x_shape: _unpool(g, index, x_shape, False))


def _apart(kernel: Sizes, how: Geometry) -> bool:
    """Whether windows do not overlap."""
    return all([s >= d * (k - 1) + 1 for k, s, d in zip(kernel, how.stride, how.dilation)])  # noqa: B905


_max_pool.vjp(
    x=lambda g, index, x_shape, kernel, how: _unpool(g[0], index, x_shape, _apart(kernel, how))
)


# Sizes --------------------------------------------------------------------------------------------


def _read(
    name: str, n: int, kernel_size: Any, stride: Any, padding: tuple[int, ...], dilation: Any
) -> tuple[Sizes, Geometry]:
    kernel = per_dim(kernel_size, n, "kernel_size")
    empty = stride is None or (isinstance(stride, (tuple, list)) and not stride)
    how = Geometry(
        kernel if empty else per_dim(stride, n, "stride"),
        per_dim(padding, n, "padding"),
        per_dim(dilation, n, "dilation"),
    )
    if name == "max_pool1d":
        for what, value in (("kernel_size", kernel[0]), ("stride", how.stride[0])):
            if value <= 0:
                raise RuntimeError(f"{name}() {what} must be greater than zero, but got {value}")
    if min(how.stride) <= 0:
        raise RuntimeError("stride should not be zero")
    if min(kernel) <= 0 or min(how.dilation) <= 0:
        raise RuntimeError(
            f"{name}: kernel size and dilation should be greater than zero, but got"
            f" kernel_size={list(kernel)} and dilation={list(how.dilation)}"
        )
    for p, k, d in zip(how.padding, kernel, how.dilation, strict=True):
        if p < 0:
            raise RuntimeError(f"pad must be non-negative, but got pad: {p}")
        if p > (d * (k - 1) + 1) // 2:
            raise RuntimeError(
                "pad should be at most half of effective kernel size, but got"
                f" pad={p}, kernel_size={k} and dilation={d}"
            )
    return kernel, how


def _out(name: str, sizes: Sizes, kernel: Sizes, how: Geometry, ceil_mode: bool) -> Sizes:
    """Sizes of the output; with `ceil_mode`, a last window may begin inside and end outside."""
    found = []
    for n, k, s, p, d in zip(sizes, kernel, how.stride, how.padding, how.dilation, strict=True):
        room = n + 2 * p - d * (k - 1) - 1
        o = (room + s - 1 if ceil_mode else room) // s + 1
        if ceil_mode and (o - 1) * s >= n + p:
            o -= 1
        found.append(o)
    if min(found) < 1:
        raise RuntimeError(
            f"{name}: Given input size: {list(sizes)}. Calculated output size: {found}. Output size"
            " is too small"
        )
    return tuple(found)


def _batched(name: str, input: Any, n: int) -> tuple[Any, bool]:
    """The input with a batch dimension, and whether it was added.

    Raises:
        RuntimeError: a wrong number of dimensions, or one that may not be empty is.
    """
    need_tensors(name, input=input)
    x = input.array
    said, shape = f"{n + 1}D or {n + 2}D", list(x.shape)
    wrong, batched = x.ndim not in (n + 1, n + 2), x.ndim == n + 2
    if name.startswith("adaptive"):
        if wrong:
            raise RuntimeError(f"{name}(): Expected {said} tensor, but got: {shape}")
        first = x.ndim - n if name in ("adaptive_avg_pool1d", "adaptive_avg_pool2d") else 1
        if 0 in shape[first:]:
            raise RuntimeError(
                f"{name}(): Expected input to have non-zero size for non-batch dimensions, but"
                f" input has sizes {shape} with dimension {shape.index(0, first)} being empty"
            )
    elif wrong and (n == 3 or name == "max_pool2d"):
        raise RuntimeError(f"non-empty {said} (batch mode) tensor expected for input")
    elif wrong or 0 in shape[batched:]:
        raise RuntimeError(
            f"{name}: Expected {said} (batch mode) tensor with optional 0 dim batch size for input,"
            f" but got:{shape}"
        )
    if x.dtype == bool:
        raise not_implemented(name, x.dtype)
    return (input, False) if x.ndim == n + 2 else (input[None], True)


# torch's functions --------------------------------------------------------------------------------


def max_pool(
    n: int, input: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> tuple[Tensor, Tensor]:
    """The largest elements of windows in n dimensions, and their positions."""
    name = f"max_pool{n}d"
    kernel, how = _read(name, n, kernel_size, stride, padding, dilation)
    x, added = _batched(name, input, n)
    out = _out(name, x.array.shape[2:], kernel, how, ceil_mode)
    y, index = _max_pool(x, kernel, how, out)
    index = index.detach()
    return (y[0], index[0]) if added else (y, index)


def avg_pool(
    n: int,
    input: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:
    """The averages of windows in n dimensions."""
    name = f"avg_pool{n}d"
    kernel, how = _read(name, n, kernel_size, stride, padding, 1)
    if divisor_override == 0:
        raise RuntimeError("divisor must be not zero")
    x, added = _batched(name, input, n)
    if not is_floating(x.array.dtype) and x.array.dtype != np.int64:
        raise NotImplementedError(
            f'"{name}" not implemented for {scalar_type_name(x.array.dtype)!r}'
        )
    sizes = x.array.shape[2:]
    out = _out(name, sizes, kernel, how, ceil_mode)
    borders = [*zip(how.padding, _behind(sizes, kernel, how, out), strict=True)]
    padded = _pad(x, ((0, 0), (0, 0), *borders), 0.0) if np.any(borders) else x
    wanted = tuple([(o - 1) * s + k for o, s, k in zip(out, how.stride, kernel, strict=True)])
    if any([a > b for a, b in zip(padded.array.shape[2:], wanted, strict=True)]):
        padded = padded[(slice(None), slice(None), *[slice(w) for w in wanted])]
    total: Any = sum_windows(padded, kernel, Geometry(how.stride, (0,) * n, (1,) * n))
    if divisor_override is not None:
        y = total / divisor_override
    else:
        counts = _counts(sizes, kernel, how, out, count_include_pad)
        even = counts.size and counts.min() == counts.max()
        divisor = float(counts.flat[0]) if even else counts.astype(x.array.dtype)
        y = total / (divisor if even else wrap(np.asarray(divisor, like=x.array)))
    y = y if is_floating(x.array.dtype) else y.trunc().to(input.dtype)
    chain = f"AvgPool{n}D(x)" if n > 1 else "SqueezeBackward1(AvgPool2D(Unsqueeze(x)))"
    y = shown_as(y, chain, x=x)
    result: Tensor = y[0] if added else y
    return result


def _counts(sizes: Sizes, kernel: Sizes, how: Geometry, out: Sizes, with_padding: bool) -> Array:
    """How many elements each window is divided by."""
    counts = np.ones(())
    for n, k, s, p, o in zip(sizes, kernel, how.stride, how.padding, out, strict=True):
        start = np.arange(o) * s - p
        end = np.minimum(start + k, n + p)
        if not with_padding:
            start, end = np.maximum(start, 0), np.minimum(end, n)
        counts = counts[..., None] * (end - start)
    return counts


# Adaptive -----------------------------------------------------------------------------------------


def _targets(name: str, output_size: Any, lead: Sizes, sizes: Sizes) -> Sizes:
    n = len(sizes)
    wanted = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * n
    if len(wanted) != n:
        ints = {1: "one int", 2: "2 ints", 3: "3 ints"}[n]
        raise RuntimeError(
            f"{name}() argument 'output_size' should contain {ints} (got {len(wanted)})"
        )
    found = tuple([size if w is None else int(w) for w, size in zip(wanted, sizes, strict=True)])
    if min(found) < 0:
        negative = next(size for size in found if size < 0)
        raise RuntimeError(
            f"{name}: elements of output_size must be greater than or equal to 0: Trying to create"
            f" tensor with negative dimension {negative}: {[*lead, *found]}"
        )
    return found


def _part(i: int, out: int, size: int) -> tuple[int, int]:
    """Where the window of output `i` begins and ends."""
    return i * size // out, -(-(i + 1) * size // out)


def _arranged(n: int, x: Array, y: Tensor) -> Any:
    """`y`, adaptive pooling of `x`, with the channels last in memory where torch has them so."""
    if x.flags.c_contiguous or n == 3 or x.ndim != n + 2 or not channels_last(x):
        return contiguous(y)
    if n == 1:
        return contiguous(y.mT).mT
    return contiguous(y, "torch.channels_last")


def adaptive_avg_pool(n: int, input: Any, output_size: Any) -> Tensor:
    """Averages of windows of such sizes that the output has the wanted ones."""
    name = f"adaptive_avg_pool{n}d"
    x, added = _batched(name, input, n)
    sizes = x.array.shape[2:]
    out = _targets(name, output_size, x.array.shape[:2], sizes)
    if 0 in out:
        x = x.new_zeros((*x.shape[:2], *out))
    elif all([size % o == 0 for size, o in zip(sizes, out, strict=True)]):
        kernel = tuple([size // o for size, o in zip(sizes, out, strict=True)])
        x = avg_pool(n, x, kernel, None, 0, False, True, None)
        x = lasting(x) if max(out) == 1 else x
    else:  # an average over a box is that of the averages over its sides
        for dim, (size, o) in enumerate(zip(sizes, out, strict=True), 2):
            parts = [_part(i, o, size) for i in range(o)]
            x = stack([x.narrow(dim, a, b - a).mean(dim) for a, b in parts], dim)
        x = _arranged(n, input.array, x)
    if n > 1 and sizes != out:  # to one number, torch takes the mean
        title = f"AdaptiveAvgPool{n}D" if max(out) > 1 else "MeanBackward1"
        x = shown_as(x, f"{title}(input)", input=input)
    result: Tensor = x[0] if added else x
    return result


def adaptive_max_pool(n: int, input: Any, output_size: Any) -> tuple[Tensor, Tensor]:
    """The largest elements of windows of such sizes that the output has the wanted ones."""
    name = f"adaptive_max_pool{n}d"
    x, added = _batched(name, input, n)
    if not is_floating(x.array.dtype):
        what = "adaptive_max_pool3d_cpu" if n == 3 else "adaptive_max_pool2d"
        raise not_implemented(what, x.array.dtype)
    sizes = x.array.shape[2:]
    out = _targets(name, output_size, x.array.shape[:2], sizes)
    if all([o and size % o == 0 for size, o in zip(sizes, out, strict=True)]):
        kernel = tuple([size // o for size, o in zip(sizes, out, strict=True)])
        y, index = max_pool(n, x, kernel, None, 0, 1, False)
    else:
        index = wrap(_largest(x.array, out))
        flat = gather(x.flatten(2), 2, index.flatten(2))
        y = flat.reshape(index.shape)
    if not x.array.flags.c_contiguous:
        y, index = [_arranged(n, x.array, part) for part in (y, index)]
    return (y[0], index[0]) if added else (y, index)


def _largest(x: Array, out: Sizes) -> Array:
    """For each output, the position of the largest element of its window in its channel."""
    sizes = x.shape[2:]
    index = np.zeros_like(x, order="C", dtype=np.int64, shape=(*x.shape[:2], *out))
    numbers = np.arange(math.prod(sizes)).reshape(sizes)
    for place in np.ndindex(*out):
        box = [slice(*_part(i, o, n)) for i, o, n in zip(place, out, sizes, strict=True)]
        inside = np.asarray(numbers[tuple(box)].reshape(-1), like=x)
        window = x[(slice(None), slice(None), *box)].reshape(*x.shape[:2], inside.size)
        index[(slice(None), slice(None), *place)] = inside[place_of_largest(window)]
    return index
