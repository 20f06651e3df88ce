"""Images read at any positions, and the positions of affine maps."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from tinygrad_edu.dtypes import Array, scalar_type_name
from tinygrad_edu.engine.boundary import users_level
from tinygrad_edu.engine.composed import composed
from tinygrad_edu.engine.nodes import lasting
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.record import current_node, wrap
from tinygrad_edu.ops.arithmetic import fmod, zero_gradient
from tinygrad_edu.ops.creation import linspace
from tinygrad_edu.ops.gathering import gather
from tinygrad_edu.ops.joining import stack
from tinygrad_edu.ops.masking import where
from tinygrad_edu.ops.more.resampling import cubic_weights, scaled
from tinygrad_edu.tensor import Tensor


@composed(autocast="lower")
def affine_grid(theta: Tensor, size: Sequence[int], align_corners: bool | None = None) -> Tensor:
    """The positions that affine maps read an image of the given size from.

    Args:
        theta: the maps, shape (N, 2, 3) for images, (N, 3, 4) for volumes.
        size: of the output, (N, C, H, W) or (N, C, D, H, W).
        align_corners: -1 and 1 are the centres of the outermost pixels, not their edges.

    Returns:
        (N, H, W, 2) or (N, D, H, W, 3): x first, then y, then z; see `grid_sample`.

    Raises:
        ValueError, RuntimeError: sizes that do not fit.

    >>> import tinygrad_edu as torch
    >>> identity = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    >>> torch.nn.functional.affine_grid(identity, (1, 1, 1, 2), align_corners=False)
    tensor([[[[-0.5000,  0.0000],
              [ 0.5000,  0.0000]]]])
    """
    if align_corners is None:
        _warn_of_default()
    if not theta.is_floating_point():
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    n = len(size) - 2
    if n not in (2, 3):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms,"
            f" respectively. Got size {size}."
        )
    if theta.ndim != 3 or tuple(theta.shape[1:]) != (n, n + 1):
        raise ValueError(
            f"Expected a batch of {n}D affine matrices of shape Nx{n}x{n + 1} for size {size}. Got"
            f" {theta.shape}."
        )
    if align_corners and min(size[2:]) == 1:
        warnings.warn(
            "Since version 1.3.0, affine_grid behavior has changed for unit-size grids when"
            " align_corners=True. This is not an intended use case of affine_grid. See the"
            " documentation of affine_grid for details.",
            stacklevel=2,
        )
    elif min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {size}")
    if len(theta) != size[0]:
        raise RuntimeError(f"Expected {size[0]} affine matrices for size {size}, got {len(theta)}")
    axes = []
    for i, count in enumerate(size[:1:-1]):  # x, y, z
        at = linspace(-1, 1, count, dtype=theta.dtype, device=theta.device)
        at = theta.new_zeros(1) if count == 1 else at
        # in torch's order: the last bit tells on which side of a pixel's centre a position lies
        at = at if align_corners else at * (count - 1) / count
        axes.append(at.reshape(-1, *[1] * i))
    factors: Any = theta.reshape(size[0], n, n + 1, *[1] * n)
    places = [
        _sum([lasting(x * factors[:, row, i]) for i, x in enumerate(axes)]) + factors[:, row, n]
        for row in range(n)
    ]
    return stack(places, -1)


@composed(autocast={"cpu": "float32"})
def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """The input read at the positions in the grid, between pixels by interpolation.

    Args:
        input: images (N, C, H, W) or volumes (N, C, D, H, W).
        grid: positions, shape (N, H', W', 2) or (N, D', H', W', 3), x first; the input lies in
            [-1, 1].
        mode: "bilinear", "nearest" or, for images, "bicubic".
        padding_mode: what lies outside: "zeros", the "border", or the input's "reflection".
        align_corners: -1 and 1 are the centres of the outermost pixels, not their edges.

    Returns:
        (N, C, H', W') or (N, C, D', H', W').

    Raises:
        ValueError: an unknown mode.
        RuntimeError: shapes or dtypes do not fit.

    >>> import tinygrad_edu as torch
    >>> x, middle = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), torch.zeros(1, 1, 1, 2)
    >>> torch.nn.functional.grid_sample(x, middle, align_corners=False)
    tensor([[[[2.5000]]]])
    """
    _check(input, grid, mode, padding_mode)
    if align_corners is None:
        _warn_of_default()
    sizes = input.array.shape[2:]
    n, align = len(sizes), bool(align_corners)
    at: list[Any] = []  # positions in pixels, in the order of the input's dimensions
    for i, size in enumerate(sizes):
        x = grid[..., n - 1 - i]
        at.append(_in_pixels(x, size, align, n == 2))
    if mode == "bicubic":
        taps = [
            _cubic_taps(x, size, padding_mode, align) for x, size in zip(at, sizes, strict=True)
        ]
    else:
        at = [
            _inside(x, size, padding_mode, align, n == 2) for x, size in zip(at, sizes, strict=True)
        ]
        taps = [_nearest_taps(x) if mode == "nearest" else _linear_taps(x) for x in at]
    flat, values = input.flatten(2), []
    for corner in product(*taps):
        value, outside = _read(flat, sizes, [index for index, _ in corner])
        weights = [w for _, w in corner if w is not None]
        if weights:
            if n == 3 and outside is not None:  # of images, torch multiplies by 0 what is outside
                weights = [where(outside[:, 0], 0.0, w) for w in weights]
            value = value * _product(weights).unsqueeze(1)
        values.append(value)
    y: Tensor = _sum(values)
    return _beside(y, grid) if mode == "nearest" and current_node(grid) is not None else y


@primitive
def _beside(x: Array, grid: Array) -> Array:
    """`x` itself, which does not change with the grid but at jumps."""
    return x


_beside.vjp(x=lambda g: g, grid=lambda g, grid: zero_gradient(grid))


def _in_pixels(x: Tensor, size: int, align: bool, image: bool) -> Tensor:
    """Positions in [-1, 1] in pixels, rounded as torch's kernels for images and for volumes do."""
    if align:
        return (x + 1) / 2 * (size - 1)
    return scaled(x + 1, size / 2, -0.5) if image else ((x + 1) * size - 1) / 2


def _sum(terms: list[Any]) -> Any:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _product(factors: list[Any]) -> Any:
    product = factors[0]
    for factor in factors[1:]:
        product = product * factor
    return product


Taps = list[tuple[Array, Any]]
"""Whole positions along one dimension, (N, ...), and their weights; None: 1."""


def _nearest_taps(x: Tensor) -> Taps:
    return [(np.rint(x.array), None)]


def _linear_taps(x: Tensor) -> Taps:
    low = np.floor(x.array)
    part = x - wrap(low)
    return [(low, 1 - part), (low + 1, part)]


def _cubic_taps(x: Tensor, size: int, padding: str, align: bool) -> Taps:
    low = np.floor(x.array)
    weights = cubic_weights(x - wrap(low))
    places = [_inside(wrap(low + k), size, padding, align, True).array for k in (-1, 0, 1, 2)]
    return list(zip(places, weights, strict=True))


def _inside(x: Any, size: int, padding: str, align: bool, image: bool) -> Any:
    """Positions with those outside replaced as `padding` says."""
    if padding == "reflection":
        ends = (0, 2 * (size - 1)) if align else (-1, 2 * size - 1)
        x = _reflected(x, *ends, image)
    if padding != "zeros":  # no gradient at or beyond the outermost pixels
        a = x.array
        clipped = np.where(a >= size - 1, size - 1.0, 0.0).astype(a.dtype)
        x = where(wrap((a > 0) & (a < size - 1)), x, wrap(clipped))
    return x


@np.errstate(all="ignore")
def _reflected(x: Tensor, twice_low: int, twice_high: int, image: bool) -> Any:
    """Positions mirrored at the two ends until they lie between them."""
    if twice_low == twice_high:
        return x * 0
    low, span = twice_low / 2, (twice_high - twice_low) / 2
    x = x - low
    x = where(wrap(x.array < 0), -x, x)
    if image:  # torch's kernel for images counts pairs of turns
        turns = np.trunc(x.array / (2 * span)) * (2 * span)
        extra = x - wrap(turns.astype(x.array.dtype, copy=False))
        back = 2 * span - extra
        return where(wrap(extra.array > back.array), back, extra) + low
    even = np.floor(x.array / span) % 2 == 0
    rest = fmod(x, span)
    return where(wrap(even), rest, span - rest) + low


def _read(
    flat: Tensor, sizes: tuple[int, ...], places: Sequence[Array]
) -> tuple[Any, Tensor | None]:
    """The elements of (N, C, pixels) at whole positions, 0 outside: (N, C, ...).

    Returns:
        The elements, and where positions lie outside, (N, 1, ...); None if none does.
    """
    position: Any = 0
    known: Any = True
    for place, size in zip(places, sizes, strict=True):
        inside = (place >= 0) & (place <= size - 1)
        position = position * size + np.where(inside, place, 0).astype(np.int64)
        known = known & inside
    n, channels = flat.array.shape[:2]
    out = places[0].shape[1:]
    index = np.broadcast_to(position.reshape(n, 1, -1), (n, channels, math.prod(out)))
    values = gather(flat, 2, wrap(index)).reshape(n, channels, *out)
    if known.all():
        return values, None
    outside = wrap(~known[:, None])
    return values.masked_fill(outside, 0.0), outside


def _warn_of_default() -> None:
    warnings.warn(
        "Default grid_sample and affine_grid behavior has changed to align_corners=False since"
        " 1.3.0. Please specify align_corners=True if the old behavior is desired. See the"
        " documentation of grid_sample for details.",
        stacklevel=users_level(),
    )


def _check(input: Tensor, grid: Tensor, mode: str, padding_mode: str) -> None:
    name = "nn.functional.grid_sample()"
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(
            f"{name}: expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: '{mode}'"
        )
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(
            f"{name}: expected padding_mode to be 'zeros', 'border', or 'reflection', but got:"
            f" '{padding_mode}'"
        )
    x, g = input.array, grid.array
    both = f"but got input with sizes {list(x.shape)} and grid with sizes {list(g.shape)}"
    if x.dtype != g.dtype:
        raise RuntimeError(
            "grid_sampler(): expected input and grid to have same dtype, but input has"
            f" {scalar_type_name(x.dtype)} and grid has {scalar_type_name(g.dtype)}"
        )
    if x.ndim not in (4, 5) or g.ndim != x.ndim:
        raise RuntimeError(
            "grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, "
            + both
        )
    if len(x) != len(g):
        raise RuntimeError(
            f"grid_sampler(): expected grid and input to have same batch size, {both}"
        )
    if g.shape[-1] != x.ndim - 2:
        raise RuntimeError(
            f"grid_sampler(): expected grid to have size {x.ndim - 2} in last dimension, but got"
            f" grid with sizes {list(g.shape)}"
        )
    if 0 in x.shape[2:]:
        raise RuntimeError(
            "grid_sampler(): expected input to have non-empty spatial dimensions, but input has"
            f" sizes {list(x.shape)} with dimension {x.shape.index(0, 2)} being empty"
        )
    if x.ndim == 5 and mode == "bicubic":
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")
