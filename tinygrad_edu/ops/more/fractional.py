"""Max pooling over windows that begin at random places, for sizes that no stride gives.

Source: Graham, "Fractional Max-Pooling", 2014, the overlapping pseudo-random variant.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.engine.boundary import need_long, same_device
from tinygrad_edu.engine.composed import of_tensors
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.kernels.repeatable import repeatable
from tinygrad_edu.ops.gathering import gather
from tinygrad_edu.ops.pooling import _batched, _read, _unpool, place_of_largest

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


@repeatable
def _starts(sample: Array, size: int, out: int, pool: int) -> Array:
    """Where the windows along one dimension begin, (N, C, out), for numbers (N, C) in [0, 1)."""
    alpha = sample.dtype.type((size - pool) / (out - 1)) if out > 1 else 0
    i = np.arange(out, like=sample).astype(sample.dtype)
    first = (sample[..., None] * alpha).astype(np.int64)
    starts = ((i + sample[..., None]) * alpha).astype(np.int64) - first
    starts[..., -1:] = size - pool
    return starts


def fractional_max_pool(
    x: Tensor, kernel: tuple[int, ...], out: tuple[int, ...], samples: Tensor
) -> tuple[Tensor, Tensor]:
    """The largest elements of the windows, and their positions in the flattened channel.

    Args:
        x: (N, C, ...) with n further dimensions.
        kernel, out: sizes of the window and of the output, n each.
        samples: numbers in [0, 1), (N, C, n): in torch's order, (x, y) or (z, y, x).
    """
    array, n = x.array, len(kernel)
    lead, sizes = array.shape[:2], array.shape[2:]
    numbers = samples.array[: lead[0]]
    same_device("fractional_max_pool", array, numbers)
    order = (1, 0) if n == 2 else (0, 1, 2)
    place: Any = 0
    for d, (size, o, k) in enumerate(zip(sizes, out, kernel, strict=True)):
        starts = _starts(numbers[..., order[d]], size, o, k)
        within = starts[..., None] + np.arange(k, like=starts)  # (N, C, out, kernel)
        shape = [1] * (2 * n)
        shape[d], shape[n + d] = o, k
        place = place * size + within.reshape(*lead, *shape)
    place = place.reshape(*lead, math.prod(out), math.prod(kernel))
    windows = np.take_along_axis(array.reshape(*lead, 1, math.prod(sizes)), place, -1)
    best = place_of_largest(windows)[..., None]
    index = wrap(np.take_along_axis(place, best, -1)[..., 0])
    whole = (*lead, *out)
    y: Any = gather(x.flatten(2), 2, index)
    return y.reshape(whole), index.reshape(whole)


@of_tensors
def max_unpool(
    n: int,
    input: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any,
    padding: tuple[int, ...],
    output_size: Any,
) -> Tensor:
    """Zeros with the elements of `input` at the positions that `max_pool` gave."""
    name = f"max_unpool{n}d"
    kernel, how = _read(name, n, kernel_size, stride, padding, 1)
    if input.shape != indices.shape:
        raise RuntimeError(
            f"{name}: Expected shape of indices to be the same as that of input"
            f" ({list(input.shape)}), but got {list(indices.shape)}"
        )
    need_long("elements in indices should be type int64 but got:", indices.array)
    x, added = _batched(name, input, n)
    index = indices.array.reshape(x.array.shape)
    sizes = [
        (size - 1) * s - 2 * p + k
        for size, s, p, k in zip(x.array.shape[2:], how.stride, how.padding, kernel, strict=True)
    ]
    if output_size is not None:
        sizes = list(output_size)[-n:]
    if index.size and not 0 <= index.min() <= index.max() < math.prod(sizes):
        raise RuntimeError(f"{name}: found an invalid max index for output of size {sizes}")
    # where windows overlap, one position may be named twice: torch keeps one of the equal values
    at = indices[None] if added else indices  # as a tensor: a later write is refused
    y = _unpool(x, at, (*x.array.shape[:2], *sizes), True)
    return y[0] if added else y
