"""Sliding windows: the parts of a tensor beneath a moving kernel, and how they are put back.

Cutting windows out and adding them back where they were are each other's derivatives; so are adding
up each window and spreading a number over one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.engine.boundary import dimension_error
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.kernels import convolution as kernels
from tinygrad_edu.kernels.convolution import Geometry, Sizes
from tinygrad_edu.ops.arguments import operand
from tinygrad_edu.ops.convolution import per_dim
from tinygrad_edu.ops.indexing import _slice
from tinygrad_edu.ops.padding import _pad

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


@primitive
def cut_windows(x: Array, kernel: Sizes, how: Geometry) -> Array:
    """(N, C, *kernel, *out): what of `x` (N, C, *sizes) lies beneath the kernel."""
    out = how.output(x.shape[2:], kernel)
    return kernels.windows(x, kernel, how.stride, how.dilation, out).copy()


@primitive
def add_windows(parts: Array, shape: Sizes, kernel: Sizes, how: Geometry) -> Array:
    """A tensor of that shape to which each window is added where `cut_windows` takes it from."""
    x = np.zeros_like(parts, shape=shape, order="C")
    out = parts.shape[2 + len(kernel) :]
    kernels.overlap_add(x, parts, kernel, how.stride, how.dilation, out)
    return x


cut_windows.vjp(x=lambda g, x_shape, kernel, how: add_windows(g, x_shape, kernel, how))
add_windows.vjp(parts=lambda g, kernel, how: cut_windows(g, kernel, how))


# torch's functions --------------------------------------------------------------------------------


def _geometry(
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int],
    padding: str | int | Sequence[int],
    stride: int | Sequence[int],
) -> tuple[Sizes, Geometry]:
    kernel = per_dim(kernel_size, 2, "kernel_size")
    how = Geometry(
        per_dim(stride, 2, "stride"),
        per_dim(padding, 2, "padding"),
        per_dim(dilation, 2, "dilation"),
    )
    for name, least, values in (
        ("kernel size", 1, kernel),
        ("dilation", 1, how.dilation),
        ("stride", 1, how.stride),
        ("padding", 0, how.padding),
    ):
        if min(values) < least:
            raise RuntimeError(f"{name} should be at least {least}, but got {list(values)}")
    return kernel, how


def unfold(
    input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """The windows of images as columns: (N, C, H, W) -> (N, C K, L), L windows of K elements.

    Args:
        input: (N, C, H, W) or (C, H, W).
        kernel_size, dilation, padding, stride: of the window, as of a convolution.

    Raises:
        IndexError: the input has too few dimensions.
        RuntimeError: it has too many, or the window is larger than it.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.unfold(torch.ones(1, 2, 4, 4), (2, 3)).shape
    torch.Size([1, 12, 6])
    """
    x = operand("unfold", input)
    if x.ndim < 3:
        raise dimension_error(2, x.ndim)
    if x.ndim > 4:
        raise RuntimeError(
            "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero"
            f" dimensions for input, but got: {list(x.shape)}"
        )
    kernel, how = _geometry(kernel_size, dilation, padding, stride)
    out = how.output(x.shape[-2:], kernel)
    if min(out) < 1:
        raise RuntimeError(
            f"Given input with spatial size {list(x.shape[-2:])}, kernel_size={list(kernel)}, the"
            f" shape of the array of sliding blocks is {list(out)}, but its components must be at"
            " least one."
        )
    batched: Any = input if x.ndim == 4 else input[None]
    plain = Geometry(how.stride, (0, 0), how.dilation)
    padded = _pad(batched, ((0, 0), (0, 0), *[(p, p) for p in how.padding]), 0.0)
    y: Any = cut_windows(padded, kernel, plain)
    y = y.reshape(y.shape[0], y.shape[1] * kernel[0] * kernel[1], out[0] * out[1])
    result: Tensor = y if x.ndim == 4 else y[0]
    return result


def fold(
    input: Tensor,
    output_size: int | Sequence[int],
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
) -> Tensor:
    """Images to which columns are added where `unfold` takes them from.

    Args:
        input: (N, C K, L) or (C K, L).
        output_size: (H, W).
        kernel_size, dilation, padding, stride: as of `unfold`.

    Raises:
        RuntimeError: the sizes do not fit together.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.fold(torch.ones(1, 4, 2), (2, 3), 2)
    tensor([[[[1., 2., 1.],
              [1., 2., 1.]]]])
    """
    x = operand("fold", input)
    if x.ndim not in (2, 3):
        raise RuntimeError(
            "Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and"
            f" non-zero dimensions for input, but got: {list(x.shape)}"
        )
    kernel, how = _geometry(kernel_size, dilation, padding, stride)
    sizes = per_dim(output_size, 2, "output_size")
    count = kernel[0] * kernel[1]
    if x.shape[-2] % count:
        raise RuntimeError(
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size,"
            f" but got input.size(1)={x.shape[-2]} and kernel_size={kernel}."
        )
    out = how.output(sizes, kernel)
    if min(out) < 1 or out[0] * out[1] != x.shape[-1]:
        raise RuntimeError(
            f"Given output_size={sizes}, kernel_size={kernel}, dilation={how.dilation},"
            f" padding={how.padding}, stride={how.stride}, expected size of input's dimension 2 to"
            f" match the calculated number of sliding blocks {out[0]} * {out[1]}, but got"
            f" input.size(2)={x.shape[-1]}."
        )
    n = x.shape[0] if x.ndim == 3 else 1
    channels = x.shape[-2] // count
    padded = tuple([size + 2 * p for size, p in zip(sizes, how.padding, strict=True)])
    columns = input.reshape(n, channels, *kernel, *out)
    plain = Geometry(how.stride, (0, 0), how.dilation)
    y: Any = add_windows(columns, (n, channels, *padded), kernel, plain)
    inside = [slice(p, p + size) for p, size in zip(how.padding, sizes, strict=True)]
    y = _slice(y, (slice(None), slice(None), *inside))
    result: Tensor = y if x.ndim == 3 else y[0]
    return result
