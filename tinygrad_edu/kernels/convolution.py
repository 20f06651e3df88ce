"""The three maps of a convolution, each as one matrix product per block of samples.

Columns hold, for each position of the output, the part of the input beneath the kernel:

    columns[(c, k), (n, l)] = x[n, c, l * stride + k * dilation]      (k, l: one index per dim)
    y = weight @ columns      g_weight = g @ columnsᵀ      g_columns = weightᵀ @ g

They are K times as large as the input, so they are made for a few samples at a time, which stay in
the cache.  Source of the method: Chellapilla et al., "High Performance Convolutional Neural
Networks for Document Processing", 2006.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tinygrad_edu.backend import strided
from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.cuda import products

BLOCK = 1 << 20
"""Bytes of columns at a time."""

Sizes = tuple[int, ...]


class Geometry(NamedTuple):
    """How the kernel moves over the input: one number per dimension, and the number of groups."""

    stride: Sizes
    padding: Sizes
    dilation: Sizes
    groups: int = 1

    def output(self, sizes: Sizes, kernel: Sizes) -> Sizes:
        """The sizes of the output for an input of those sizes."""
        return tuple(
            [
                (n + 2 * p - d * (k - 1) - 1) // s + 1
                for n, k, s, p, d in zip(
                    sizes, kernel, self.stride, self.padding, self.dilation, strict=True
                )
            ]
        )


def windows(x: Array, kernel: Sizes, stride: Sizes, dilation: Sizes, out: Sizes) -> Array:
    """A view (N, C, *kernel, *out) of `x` (N, C, *sizes): what lies beneath the kernel."""
    steps = x.strides[2:]
    strides = (
        *x.strides[:2],
        *[step * d for step, d in zip(steps, dilation, strict=True)],
        *[step * s for step, s in zip(steps, stride, strict=True)],
    )
    return strided(x, (*x.shape[:2], *kernel, *out), strides)


def overlap_add(
    x: Array, columns: Array, kernel: Sizes, stride: Sizes, dilation: Sizes, out: Sizes
) -> None:
    """Add `columns` (N, C, *kernel, *out) to where `windows` found them in `x`."""
    for place in itertools.product(*[range(k) for k in kernel]):
        there = [
            slice(k * d, k * d + s * (o - 1) + 1, s)
            for k, d, s, o in zip(place, dilation, stride, out, strict=True)
        ]
        x[(slice(None), slice(None), *there)] += columns[(slice(None), slice(None), *place)]


def _blocks(x: Array, bytes_per_sample: int) -> Iterator[slice]:
    """Slices of the samples; all at once on the GPU."""
    n = x.shape[0]
    step = max(1, BLOCK // max(bytes_per_sample, 1)) if isinstance(x, np.ndarray) else max(n, 1)
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


def _padded(x: Array, padding: Sizes) -> Array:
    if not any(padding):
        return x
    sizes = [n + 2 * p for n, p in zip(x.shape[2:], padding, strict=True)]
    y = np.zeros_like(x, shape=(*x.shape[:2], *sizes), order="C")
    y[_inner(x.shape[2:], padding)] = x
    return y


def _inner(sizes: Sizes, padding: Sizes) -> tuple[slice, ...]:
    inside = [slice(p, p + n) for n, p in zip(sizes, padding, strict=True)]
    return (slice(None), slice(None), *inside)


def _columns(x: Array, kernel: Sizes, how: Geometry, out: Sizes) -> Iterator[tuple[slice, Array]]:
    """Block by block: which samples, and their columns (groups, C / groups * K, n * L)."""
    channels = x.shape[1]
    rows = channels * math.prod(kernel)
    spare = None
    for part in _blocks(x, rows * math.prod(out) * x.itemsize):
        seen = windows(_padded(x[part], how.padding), kernel, how.stride, how.dilation, out)
        seen = np.moveaxis(seen, 0, 1 + len(kernel))  # (C, *kernel, n, *out)
        if spare is None or spare.shape != seen.shape:
            spare = np.empty_like(seen, shape=seen.shape, order="C")
        spare[...] = seen
        yield part, spare.reshape(how.groups, rows // how.groups, -1)


def _rows(g: Array, groups: int) -> Array:
    """`g` (n, C, *out) as (groups, C / groups, n * L)."""
    return g.swapaxes(0, 1).reshape(groups, g.shape[1] // groups, -1)


def forward(x: Array, weight: Array, bias: Array | None, how: Geometry) -> Array:
    """The convolution of `x` (N, C, *sizes) with `weight` (O, C / groups, *kernel)."""
    kernel = weight.shape[2:]
    out = how.output(x.shape[2:], kernel)
    y = np.empty_like(x, shape=(x.shape[0], weight.shape[0], *out), order="C")
    flat = weight.reshape(how.groups, weight.shape[0] // how.groups, -1)
    for part, columns in _columns(x, kernel, how, out):
        product = products.matmul(flat, columns).reshape(weight.shape[0], -1, *out)
        if bias is not None:
            product += bias.reshape(-1, *[1] * (len(kernel) + 1))
        y[part] = product.swapaxes(0, 1)
    return y


def backward_input(g: Array, weight: Array, shape: Sizes, how: Geometry) -> Array:
    """The gradient of an input of that shape, given `g` (N, O, *out)."""
    mirrored = _mirrored(weight, how)
    if mirrored is not None:
        return forward(g, *mirrored)
    kernel, out = weight.shape[2:], g.shape[2:]
    channels = shape[1]
    sizes = [n + 2 * p for n, p in zip(shape[2:], how.padding, strict=True)]
    turned = weight.reshape(how.groups, weight.shape[0] // how.groups, -1).swapaxes(1, 2)
    gx = np.empty_like(g, shape=shape, order="C")
    for part in _blocks(g, channels * math.prod(kernel) * math.prod(out) * g.itemsize):
        columns = products.matmul(turned, _rows(g[part], how.groups))
        columns = columns.reshape(channels, *kernel, -1, *out)
        wide = np.zeros_like(g, shape=(gx[part].shape[0], channels, *sizes), order="C")
        seen = np.moveaxis(columns, 1 + len(kernel), 0)
        overlap_add(wide, seen, kernel, how.stride, how.dilation, out)
        gx[part] = wide[_inner(shape[2:], how.padding)]
    return gx


def _mirrored(weight: Array, how: Geometry) -> tuple[Array, None, Geometry] | None:
    """For stride 1 the gradient of the input is a convolution too, with the weight turned round."""
    borders = [
        d * (k - 1) - p for d, k, p in zip(how.dilation, weight.shape[2:], how.padding, strict=True)
    ]
    if max(how.stride) > 1 or min(borders) < 0:
        return None
    each = weight.shape[0] // how.groups
    turned = weight.reshape(how.groups, each, *weight.shape[1:]).swapaxes(1, 2)
    turned = turned.reshape(-1, each, *weight.shape[2:])
    turned = turned[(..., *[slice(None, None, -1)] * len(borders))]
    return turned, None, Geometry(how.stride, tuple(borders), how.dilation, how.groups)


def backward_weight(g: Array, x: Array, shape: Sizes, how: Geometry) -> Array:
    """The gradient of a weight of that shape, given `g` (N, O, *out)."""
    total = np.zeros_like(g, shape=(how.groups, shape[0] // how.groups, math.prod(shape[1:])))
    for part, columns in _columns(x, shape[2:], how, g.shape[2:]):
        total += products.matmul(_rows(g[part], how.groups), columns.swapaxes(1, 2))
    return total.reshape(shape)
