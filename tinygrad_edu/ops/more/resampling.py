"""Images made larger or smaller, one dimension after the other, and moved between channels and
pixels.

Each element of the output is a weighted sum of a few elements of the input along the dimension:
one for "nearest", two for "linear", four for "bicubic".  So all of it is picking,
times weights, added up.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.dtypes import Array, is_floating
from tinygrad_edu.engine.composed import of_tensors
from tinygrad_edu.engine.nodes import lasting, shown_as
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.kernels.memory_order import channels_last
from tinygrad_edu.kernels.rounding import fma32, fma64
from tinygrad_edu.ops.arguments import operand
from tinygrad_edu.ops.casting import clone, contiguous
from tinygrad_edu.ops.pooling import adaptive_avg_pool

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor

Taps = list[tuple[Array, Array | None]]
"""For each element of the output, positions in the input with their weights."""

MODES = {"linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2}
"""The modes that need a certain number of dimensions."""

_SHARPNESS = -0.75
"""The parameter of the cubic kernel.  Source: Keys, "Cubic Convolution Interpolation", 1981."""


@primitive
def _pick(x: Array, dim: int, index: Array) -> Array:
    """The elements at `index`, which rises, along a dimension."""
    return x.take(np.asarray(index, like=x), dim)


@primitive
def _unpick(h: Array, size: int, dim: int, index: Array) -> Array:
    """Zeros to which `h` is added where `_pick` takes it from.

    Each element is picked a few times; first the first of these are added for all elements, then
    the second ones, and so on, so that no step writes to an element twice.
    """
    shape = (*h.shape[:dim], size, *h.shape[dim + 1 :])
    y = np.zeros_like(h, shape=shape, order="C")
    rank = np.arange(len(index)) - np.searchsorted(index, index)
    before = (slice(None),) * dim
    for time in range(int(rank.max()) + 1):
        chosen = np.nonzero(rank == time)[0]
        to, source = _slice_of(index[chosen], h), _slice_of(chosen, h)
        y[(*before, to)] += h[(*before, source)]
    return y


def _slice_of(index: Array, like: Array) -> Any:
    """The rising positions as a slice, which is faster, if they are evenly spaced."""
    first, last = int(index[0]), int(index[-1])
    step = int(index[1]) - first if len(index) > 1 else 1
    even = step > 0 and (np.diff(index) == step).all()
    return slice(first, last + 1, step) if even else np.asarray(index, like=like)


_pick.vjp(x=lambda g, x_shape, dim, index: _unpick(g, x_shape[dim], dim, index))
_unpick.vjp(h=lambda g, dim, index: _pick(g, dim, index))


@primitive
def scaled(x: Array, factor: float, offset: float) -> Array:
    """`x * factor + offset`, rounded once, as torch's kernels for positions round it."""
    if not isinstance(x, np.ndarray):
        return x * factor + offset
    fma = fma64 if x.dtype == np.float64 else fma32
    y = fma(x.reshape(-1), factor, offset).reshape(x.shape)
    finite = np.isfinite(x)
    return y if finite.all() else np.where(finite, y, x * factor)


scaled.vjp(x=lambda g, factor: g * factor)


def _step(size: int, out: int, scale: float | None, align: bool, kind: Any) -> Any:
    """How far apart in the input neighbours of the output are, rounded as torch does."""
    if align:
        return kind(size - 1) / kind(out - 1) if out > 1 else kind(0)
    return kind(1 / scale) if scale else kind(size) / kind(out)


def _nearest(size: int, out: int, scale: float | None, exact: bool, kind: Any) -> Taps:
    step = _step(size, out, scale, False, kind)
    at = (np.arange(out).astype(kind) + kind(0.5 if exact else 0.0)) * step
    at = at.astype(np.float32)  # whatever the dtype, torch takes the floor of a float32
    return [(np.minimum(np.floor(at).astype(np.int64), size - 1), None)]


def _places(size: int, out: int, scale: float | None, align: bool, kind: Any) -> Array:
    """Where in the input the elements of the output lie."""
    step, i = _step(size, out, scale, align, kind), np.arange(out).astype(kind)
    return i * step if align else scaled.primitive.forward(i + kind(0.5), float(step), -0.5)


def _linear(size: int, out: int, scale: float | None, align: bool, kind: object) -> Taps:
    at = np.maximum(_places(size, out, scale, align, kind), 0)
    left = np.minimum(np.floor(at).astype(np.int64), size - 1)
    part = np.minimum(at - left.astype(kind), 1)
    return [(left, 1 - part), (np.minimum(left + 1, size - 1), part)]


def cubic_weights(part: Any) -> list[Any]:
    """The weights of the two elements before and the two behind a place that far between two."""
    a = _SHARPNESS

    def near(x: Tensor | float) -> Any:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: Any) -> Any:
        return ((x - 5) * x + 8) * x * a - 4 * a

    return [far(part + 1), near(part), near(1 - part), far(2 - part)]


def _cubic(size: int, out: int, scale: float | None, align: bool, kind: object) -> Taps:
    at = _places(size, out, scale, align, kind)
    left = np.floor(at).astype(np.int64)
    places = [np.clip(left + k, 0, size - 1) for k in (-1, 0, 1, 2)]
    return list(zip(places, cubic_weights(at - left.astype(kind)), strict=True))


def _resample(x: Tensor, dim: int, taps: Taps) -> Any:
    """The weighted sum of the taps along a dimension."""
    total = None
    for index, weight in taps:
        part: Any = lasting(_pick(x, dim, index))
        if weight is not None:
            shape = [-1 if i == dim else 1 for i in range(x.ndim)]
            factor = weight.astype(x.array.dtype).reshape(shape)
            part = lasting(part * wrap(np.asarray(factor, like=x.array)))
        total = part if total is None else total + part
    return total


def _sizes(
    shape: tuple[int, ...], size: Any, scale_factor: Any, recompute: bool | None
) -> tuple[list[int], list[float | None]]:
    """The sizes of the output, and the scales to compute with."""
    n = len(shape)
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is None and scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    given = size if size is not None else scale_factor
    values = list(given) if isinstance(given, (tuple, list)) else [given] * n
    if len(values) != n:
        raise ValueError(
            "Input and output must have the same number of spatial dimensions, but got input with"
            f" spatial dimensions of {list(shape)} and"
            f" {'output size' if size is not None else 'scale_factor'} of {values}. Please provide"
            " input tensor in (N, C, d1, d2, ...,dK) format and a list with one entry per spatial"
            " dimension"
        )
    if size is not None:
        if recompute:
            raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
        return [int(v) for v in values], [None] * n
    out = [math.floor(float(d) * float(v)) for d, v in zip(shape, values, strict=True)]
    return out, [None] * n if recompute else [float(v) for v in values]


def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """A signal, image or volume in another size.

    Args:
        input: floats (N, C, L), (N, C, H, W) or (N, C, D, H, W).
        size: the new sizes; or
        scale_factor: what to multiply the sizes by; one number, or one per dimension.
        mode: "nearest", "nearest-exact", "linear" (3-d inputs), "bilinear" (4-d), "bicubic" (4-d),
            "trilinear" (5-d) or "area".
        align_corners: the corners of input and output are the centres of their corner elements,
            rather than their outer edges; not for "nearest" and "area".
        recompute_scale_factor: compute with the ratio of the sizes, not with `scale_factor`.

    Raises:
        ValueError: not exactly one of `size` and `scale_factor`, or an option the mode lacks.
        NotImplementedError: the mode does not fit the dimensions; or `antialias`, which torch
            offers for "bilinear" and "bicubic" (average with `avg_pool2d` first instead).

    >>> import tinygrad_edu as torch
    >>> x = torch.tensor([[[1.0, 3.0]]])
    >>> torch.nn.functional.interpolate(x, scale_factor=2)
    tensor([[[1., 1., 3., 3.]]])
    >>> torch.nn.functional.interpolate(x, size=3, mode="linear", align_corners=True)
    tensor([[[1., 2., 3.]]])
    """
    x = operand("interpolate", input)
    if mode in ("nearest", "nearest-exact", "area"):
        if align_corners is not None:
            raise ValueError(
                "align_corners option can only be set with the interpolating modes: linear |"
                " bilinear | bicubic | trilinear"
            )
    if antialias:
        raise NotImplementedError("interpolate: antialias=True is not supported")
    n = x.ndim - 2
    if n not in (1, 2, 3) or MODES.get(mode, n) != n or mode not in (*MODES, *_WITHOUT_SIZE):
        raise NotImplementedError(
            "Input Error: Only 3D, 4D and 5D input Tensors supported (got"
            f" {x.ndim}D) for the modes: nearest | linear | bilinear | bicubic | trilinear | area |"
            f" nearest-exact (got {mode})"
        )
    if not is_floating(x.dtype) and not (x.dtype == np.uint8 and "nearest" in mode):
        raise NotImplementedError(f"interpolate: not implemented for {x.dtype}")
    sizes, scales = _sizes(x.shape[2:], size, scale_factor, recompute_scale_factor)
    if min(sizes) <= 0 or 0 in x.shape[1:]:
        raise RuntimeError(
            "Input and output sizes should be greater than 0, but got input sizes"
            f" {list(x.shape[2:])} and output sizes {sizes}"
        )
    if mode == "area":
        return adaptive_avg_pool(n, input, sizes)
    y: Any = input
    align = bool(align_corners)
    kind = np.float64 if x.dtype == np.float64 else np.float32
    for dim in range(x.ndim - 1, 1, -1):  # the last first: later ones copy whole rows
        out, scale = sizes[dim - 2], scales[dim - 2]
        old = x.shape[dim]
        if mode.startswith("nearest"):
            taps = _nearest(old, out, scale, mode == "nearest-exact", kind)
        elif mode == "bicubic":
            taps = _cubic(old, out, scale, align, kind)
        else:
            taps = _linear(old, out, scale, align, kind)
        y = _resample(y, dim, taps)
    if not input.array.flags.c_contiguous:
        last = n > 1 and channels_last(input.array)
        y = contiguous(y, _CHANNELS_LAST[n] if last else "torch.contiguous_format")
    title = "NearestExact" if mode == "nearest-exact" else mode.capitalize()
    return y if y is input else shown_as(y, f"Upsample{title}{n}D(x)", x=input)


_CHANNELS_LAST = {2: "torch.channels_last", 3: "torch.channels_last_3d"}
_WITHOUT_SIZE = ("nearest", "nearest-exact", "area")


# Between channels and pixels ----------------------------------------------------------------------


@of_tensors
def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(..., C r², H, W) -> (..., C, H r, W r): channels become pixels.

    Raises:
        RuntimeError: the channels are not a multiple of r².

    >>> import tinygrad_edu as torch
    >>> torch.pixel_shuffle(torch.tensor([[[1]], [[2]], [[3]], [[4]]]), 2)
    tensor([[[1, 2],
             [3, 4]]])
    """
    x, r = operand("pixel_shuffle", input), upscale_factor
    if x.ndim < 3:
        raise RuntimeError(
            "pixel_shuffle expects input to have at least 3 dimensions, but got input with"
            f" {x.ndim} dimension(s)"
        )
    if r <= 0:
        raise RuntimeError(f"pixel_shuffle expects a positive upscale_factor, but got {r}")
    *lead, c, h, w = x.shape
    if c % (r * r):
        raise RuntimeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of"
            f" upscale_factor, but input.size(-3)={c} is not divisible by {r * r}"
        )
    if r == 1:
        return clone(input, memory_format="torch.contiguous_format")
    i = len(lead)
    parts = input.reshape(*lead, c // (r * r), r, r, h, w)
    turned = parts.permute(*range(i), i, i + 3, i + 1, i + 4, i + 2)
    shuffled = turned.reshape(*lead, c // (r * r), h * r, w * r)
    return shown_as(_of_its_own(shuffled, input), "PixelShuffle(x)", x=input)


def _of_its_own(y: Tensor, x: Tensor) -> Tensor:
    """A rearranged `x` in memory of its own, also if nothing had to move."""
    result: Tensor = y.clone().contiguous() if y._storage is x._storage else y
    return result


@of_tensors
def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(..., C, H r, W r) -> (..., C r², H, W): undoes `pixel_shuffle`.

    Raises:
        RuntimeError: height or width is not a multiple of r.
    """
    x, r = operand("pixel_unshuffle", input), downscale_factor
    if x.ndim < 3:
        raise RuntimeError(
            "pixel_unshuffle expects input to have at least 3 dimensions, but got input with"
            f" {x.ndim} dimension(s)"
        )
    if r <= 0:
        raise RuntimeError(f"pixel_unshuffle expects a positive downscale_factor, but got {r}")
    *lead, c, h, w = x.shape
    if h % r or w % r:
        raise RuntimeError(
            "pixel_unshuffle expects height and width to be divisible by downscale_factor, but they"
            f" are {h} and {w}, and it is {r}"
        )
    if r == 1:
        return input.clone()
    i = len(lead)
    parts = input.reshape(*lead, c, h // r, r, w // r, r)
    turned = parts.permute(*range(i), i, i + 2, i + 4, i + 1, i + 3)
    y = _of_its_own(turned.reshape(*lead, c * r * r, h // r, w // r), input)
    return contiguous(y, _CHANNELS_LAST[2]) if i == 1 and channels_last(x) else y


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Channels (g, n) in the order (n, g): every group gets one of each.

    Raises:
        RuntimeError: the channels are not a multiple of `groups`.

    >>> import tinygrad_edu as torch
    >>> torch.channel_shuffle(torch.arange(4).reshape(1, 4, 1), 2).flatten()
    tensor([0, 2, 1, 3])
    """
    x = operand("channel_shuffle", input)
    if x.ndim < 3:
        raise RuntimeError(
            f"channel_shuffle expects input with > 2 dims, but got input with sizes {list(x.shape)}"
        )
    if groups <= 0:
        raise RuntimeError(
            f"Number of groups to divide channels in must be positive. Value of groups:{groups}"
        )
    n, c = x.shape[:2]
    if c % groups:
        raise RuntimeError(
            f"Number of channels must be divisible by groups. Got {c} channels and {groups} groups."
        )
    rest = x.shape[2:]
    turned = input.reshape(n, groups, c // groups, *rest).transpose(1, 2)
    y = _of_its_own(turned.reshape(n, c, *rest), input)
    if x.ndim == 4 and channels_last(x):
        return contiguous(y, _CHANNELS_LAST[2])
    return contiguous(y)
