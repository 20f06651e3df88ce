"""Convolution and transposed convolution in 1, 2 or 3 dimensions.

A convolution y = conv(x, w) is linear in x and in w, so one number T(g, x, w) = sum(g * conv(x, w))
says all: y, and the gradients of x and w, are the three derivatives of T, each linear in the other
two arguments.  That makes three operations, and each one's rules are the other two.  The transposed
convolution is the middle one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.dtypes import Array, is_floating, scalar_type_name
from tinygrad_edu.engine.boundary import need_tensors
from tinygrad_edu.engine.composed import composed
from tinygrad_edu.engine.nodes import shown_as
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.kernels import convolution as kernel
from tinygrad_edu.kernels.convolution import Geometry, Sizes
from tinygrad_edu.kernels.memory_order import like_images
from tinygrad_edu.ops.arguments import operand
from tinygrad_edu.ops.indexing import _slice
from tinygrad_edu.ops.matmul import c_name
from tinygrad_edu.ops.padding import pad
from tinygrad_edu.ops.reduction import sum

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


def _wide(x: Array | None) -> Array | None:
    """Floats of at least 32 bits: what matrix products are computed in."""
    return x.astype(np.float32) if x is not None and x.dtype.itemsize < 4 else x


def _over_all_but_channels(g: Any) -> Tensor:
    return sum(g, (0, *range(2, len(g.shape))))


def _stored(y: Array, x: Array, weight: Array) -> Array:
    """`y` as torch's kernels store it: with the channels last if images or their weight are so.

    A series counts as an image of one row, but torch puts it in C order first.
    """
    return (
        like_images(y, x, weight, ndims=(4,)) if y.ndim == 4 else like_images(y, weight, ndims=(3,))
    )


@primitive(node="Convolution")
def _convolve(x: Array, weight: Array, bias: Array | None, how: Geometry) -> Array:
    """`y[n, o, l] = bias[o] + sum over c, k of weight[o, c, k] x[n, c, l stride + k dilation]`."""
    y = kernel.forward(_wide(x), _wide(weight), _wide(bias), how).astype(x.dtype, copy=False)
    return _stored(y, x, weight)


@primitive(node="Convolution")
def _convolve_input(h: Array, weight: Array, shape: Sizes, how: Geometry) -> Array:
    """The derivative of `sum(h * conv(x, weight))` by x, which has that shape."""
    gx = kernel.backward_input(_wide(h), _wide(weight), shape, how).astype(h.dtype, copy=False)
    return _stored(gx, h, weight)


@primitive
def _convolve_weight(h: Array, x: Array, shape: Sizes, how: Geometry) -> Array:
    """The derivative of `sum(h * conv(x, weight))` by the weight, which has that shape."""
    return kernel.backward_weight(_wide(h), _wide(x), shape, how).astype(h.dtype, copy=False)


_convolve.vjp(
    x=lambda g, weight, x_shape, how: _convolve_input(g, weight, x_shape, how),
    weight=lambda g, x, weight_shape, how: _convolve_weight(g, x, weight_shape, how),
    bias=_over_all_but_channels,
)


def _back(g: Tensor, weight: Tensor, shape: Sizes, how: Geometry) -> Tensor:
    """The convolution of g; a transposed one's `output_padding` may leave room for more windows."""
    y = _convolve(g, weight, None, how)
    return y if tuple(y.shape) == shape else _slice(y, tuple([slice(n) for n in shape]))


_convolve_input.vjp(
    h=lambda g, weight, h_shape, how: _back(g, weight, h_shape, how),
    weight=lambda g, h, weight_shape, how: _convolve_weight(h, g, weight_shape, how),
)
_convolve_weight.vjp(
    h=lambda g, x, h_shape, how: _back(x, g, h_shape, how),
    x=lambda g, h, x_shape, how: _convolve_input(h, g, x_shape, how),
)


# torch's functions --------------------------------------------------------------------------------


def per_dim(value: Any, count: int, name: str) -> Sizes:
    """A number for every dimension: one number stands for all.

    Raises:
        RuntimeError: there is another number of them.
    """
    values = tuple([int(v) for v in value]) if isinstance(value, (tuple, list)) else (int(value),)
    if len(values) not in (1, count):
        raise RuntimeError(
            f"expected {name} to be a single integer value or a list of {count} values, but got"
            f" {name}={list(values)}"
        )
    return values * count if len(values) == 1 else values


def _check(name: str, x: Array, weight: Array, bias: Array | None, groups: int, n: int) -> None:
    """torch's checks of shapes and types."""
    if x.ndim not in (n + 1, n + 2):
        raise RuntimeError(
            f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {name}, but got input of"
            f" size: {list(x.shape)}"
        )
    if weight.ndim != n + 2:
        raise RuntimeError(
            f"Expected {weight.ndim}-dimensional input for {weight.ndim}-dimensional weight"
            f" {list(weight.shape)}, but got {x.ndim}-dimensional input of size {list(x.shape)}"
            " instead"
        )
    if groups <= 0 or weight.shape[0] % groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0,"
            f" but got weight of size {list(weight.shape)} instead"
        )
    for what, other in (("bias", bias), ("weight", weight)):
        if other is not None and other.dtype != x.dtype:
            raise RuntimeError(
                f"Input type ({c_name(x)}) and {what} type ({c_name(other)}) should be the same"
            )
    if not is_floating(x.dtype):
        raise RuntimeError(f'"{name}" not implemented for {scalar_type_name(x.dtype)!r}')


def _check_channels(x: Array, weight: Array, groups: int, n: int, expected: int) -> None:
    if x.shape[-n - 1] != expected:
        raise RuntimeError(
            f"Given groups={groups}, weight of size {list(weight.shape)}, expected"
            f" input{list(x.shape)} to have {expected} channels, but got {x.shape[-n - 1]} channels"
            " instead"
        )


def _check_bias(bias: Array | None, weight: Array, expected: int) -> None:
    if bias is not None and bias.shape != (expected,):
        raise RuntimeError(
            f"Given weight of size {list(weight.shape)}, expected bias to be 1-dimensional with"
            f" {expected} elements, but got bias of size {list(bias.shape)} instead"
        )


def _geometry(
    stride: int | Sequence[int],
    padding: str | int | Sequence[int],
    dilation: int | Sequence[int],
    groups: int,
    n: int,
) -> Geometry:
    how = Geometry(
        per_dim(stride, n, "stride"),
        per_dim(padding, n, "padding"),
        per_dim(dilation, n, "dilation"),
        groups,
    )
    if min(how.stride) <= 0:
        raise RuntimeError("non-positive stride is not supported")
    if min(how.dilation) <= 0:
        raise RuntimeError("dilation should be greater than zero")
    if min(how.padding) < 0:
        raise RuntimeError("negative padding is not supported")
    return how


def _same(
    input: Tensor,
    weight: Tensor,
    stride: int | Sequence[int],
    dilation: int | Sequence[int],
    n: int,
) -> tuple[Any, Sizes]:
    """The padding that keeps the sizes; where it is odd, the extra zero goes behind."""
    if any([s != 1 for s in per_dim(stride, n, "stride")]):
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    steps = per_dim(dilation, n, "dilation")
    total = [d * (k - 1) for d, k in zip(steps, weight.shape[-n:], strict=True)]
    if any([t % 2 for t in total]):
        input = pad(input, [w for t in reversed(total) for w in (0, t % 2)])
    return input, tuple([t // 2 for t in total])


@composed(autocast="lower")
def _conv(
    n: int,
    input: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> Tensor:
    name = f"conv{n}d"
    need_tensors(name, input=input, weight=weight)
    x, w = input.array, weight.array
    b = None if bias is None else operand(name, bias, 3, "bias")
    _check(name, x, w, b, groups, n)
    _check_channels(x, w, groups, n, w.shape[1] * groups)
    _check_bias(b, w, w.shape[0])
    if padding == "same":
        input, padding = _same(input, w, stride, dilation, n)
    elif padding == "valid":
        padding = 0
    elif isinstance(padding, str):
        raise RuntimeError(f"Invalid padding string: '{padding}'; it must be 'same' or 'valid'")
    how = _geometry(stride, padding, dilation, groups, n)
    sizes = input.array.shape[-n:]
    if min(how.output(sizes, w.shape[2:])) <= 0:
        padded = [size + 2 * p for size, p in zip(sizes, how.padding, strict=True)]
        shown = " x ".join([str(k) for k in w.shape[2:]])
        raise RuntimeError(
            f"Calculated padded input size per channel: ({' x '.join([str(p) for p in padded])})."
            f" Kernel size: ({shown}). Kernel size can't be greater than actual input size"
        )
    if x.ndim == n + 1:
        return _convolve(input[None], weight, bias, how)[0]
    return _convolve(input, weight, bias, how)


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """`y[n, o, l] = bias[o] + sum over c, k of weight[o, c, k] x[n, c, l stride + k dilation]`.

    Args:
        input: (N, C, L) or (C, L).
        weight: (O, C / groups, K).
        bias: (O,), or None.
        stride: positions from one window to the next.
        padding: zeros on both sides; "valid" is 0, "same" keeps the size.
        dilation: positions from one element of the kernel to the next.
        groups: channels are split into so many parts, each convolved by itself.

    Raises:
        RuntimeError: shapes or dtypes do not fit, or the kernel is larger than the padded input.

    >>> import tinygrad_edu as torch
    >>> x, w = torch.tensor([[[1.0, 2.0, 4.0]]]), torch.tensor([[[-1.0, 1.0]]])
    >>> torch.nn.functional.conv1d(x, w)
    tensor([[[1., 2.]]])
    """
    return _conv(1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Convolution of `input` (N, C, H, W) with `weight` (O, C / groups, K, L); see `conv1d`.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.conv2d(torch.ones(1, 2, 5, 5), torch.ones(4, 2, 3, 3)).shape
    torch.Size([1, 4, 3, 3])
    """
    return _conv(2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Convolution of `input` (N, C, D, H, W) with a kernel of three dimensions; see `conv1d`."""
    return _conv(3, input, weight, bias, stride, padding, dilation, groups)


@composed(autocast="lower")
def _conv_transpose(
    n: int,
    input: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> Tensor:
    name = f"conv_transpose{n}d"
    x, w = operand(name, input), operand(name, weight, 2, "weight")
    b = None if bias is None else operand(name, bias, 3, "bias")
    _check(name, x, w, b, groups, n)
    _check_channels(x, w, groups, n, w.shape[0])
    channels = w.shape[1] * groups
    _check_bias(b, w, channels)
    how = _geometry(stride, padding, dilation, groups, n)
    extra = per_dim(output_padding, n, "output_padding")
    for e, s, d in zip(extra, how.stride, how.dilation, strict=True):
        if e >= s and e >= d:
            raise RuntimeError(
                "output padding must be smaller than either stride or dilation, but got"
                f" output_padding {list(extra)}, stride {list(how.stride)}, dilation"
                f" {list(how.dilation)}"
            )
    sizes = [
        (size - 1) * s - 2 * p + d * (k - 1) + e + 1
        for size, s, p, d, k, e in zip(
            x.shape[-n:], how.stride, how.padding, how.dilation, w.shape[2:], extra, strict=True
        )
    ]
    if min(sizes) <= 0:
        raise RuntimeError(
            f"Given input size per channel: {list(x.shape[-n:])}. Calculated output size per"
            f" channel: {sizes}. Output size is too small"
        )
    batched = input if x.ndim == n + 2 else input[None]
    y = _convolve_input(batched, weight, (batched.array.shape[0], channels, *sizes), how)
    y = y if bias is None else y + bias.reshape(-1, *[1] * n)
    y = shown_as(y, "Convolution(x, w, b)", x=batched, w=weight, b=bias)
    return y if x.ndim == n + 2 else y[0]


def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """What a convolution does to the gradient of its output: sizes grow by `stride`.

    `y[n, o, l stride + k dilation - padding] += weight[c, o, k] x[n, c, l]`

    Args:
        input: (N, C, L) or (C, L).
        weight: (C, O / groups, K).
        bias: (O,), or None.
        padding: positions cut off on both sides.
        output_padding: positions added at the end.
        stride, groups, dilation: of the convolution.

    Raises:
        RuntimeError: shapes or dtypes do not fit, or `output_padding` is not below the stride.

    >>> import tinygrad_edu as torch
    >>> x, w = torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[1.0, 10.0]]])
    >>> torch.nn.functional.conv_transpose1d(x, w, stride=2)
    tensor([[[ 1., 10.,  2., 20.]]])
    """
    return _conv_transpose(
        1, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """Transposed convolution of `input` (N, C, H, W), `weight` (C, O / groups, K, L).

    See `conv_transpose1d`.
    """
    return _conv_transpose(
        2, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """Transposed convolution of `input` (N, C, D, H, W); see `conv_transpose1d`."""
    return _conv_transpose(
        3, input, weight, bias, stride, padding, output_padding, groups, dilation
    )
