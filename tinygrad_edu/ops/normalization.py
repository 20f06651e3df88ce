"""Layer norm, RMS norm and batch norm: values shifted and scaled to mean 0 and variance 1.

Each stands here twice: as a fast operation, and as its definition, composed of other operations,
which is what a reader reads and what `create_graph=True` differentiates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.kernels import batch_norm as batch_kernel
from tinygrad_edu.kernels import layer_norm as kernel
from tinygrad_edu.kernels.cuda import launch
from tinygrad_edu.kernels.memory_order import in_order, like_images

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


def _wide(x: Array) -> Array:
    """Floats of at least 32 bits: what sums are computed in."""
    return x.astype(np.float32) if x.dtype.itemsize < 4 else x


def _rows(x: Array, size: int) -> Array:
    """`x` as a matrix, the normalised dimensions in its columns."""
    count = x.size // size if size else 0
    return _wide(x).reshape(count, size)


def _gradient_rows(g: Array, size: int) -> Array:
    """As `_rows`; but a GPU's kernel takes 16 bits."""
    return g.reshape(-1, size) if size and launch.takes_half(g) else _rows(g, size)


def _flat(x: Array | None) -> Array | None:
    return None if x is None else _wide(x).reshape(-1)


def _like_parameter(g: Array | None, parameter: Array | None) -> Array | None:
    if g is None or parameter is None or g.shape == parameter.shape:
        return g  # no view: then the parameter's `.grad` need not be a copy
    return g.reshape(parameter.shape)


@primitive(saves=("mean", "rstd"), node="NativeLayerNorm")
def layer_norm(x: Array, weight: Array | None, bias: Array | None, size: int, eps: float) -> Any:
    """Layer norm over the last dimensions, `size` elements in all."""
    y, mean, rstd = kernel.forward(_rows(x, size), _flat(weight), _flat(bias), eps, True)
    return y.reshape(x.shape).astype(x.dtype, copy=False), mean, rstd


@layer_norm.vjp_joint("x", "weight", "bias")
def _(
    g: Array, live: Any, x: Array, weight: Array | None, bias: Array | None, size: int,
    mean: Array, rstd: Array,
) -> Any:  # fmt: skip
    gx, g_weight, g_bias = kernel.backward(
        _gradient_rows(g, size), _rows(x, size), _flat(weight), mean, rstd, live
    )
    gx = None if gx is None else gx.reshape(x.shape)
    return gx, _like_parameter(g_weight, weight), _like_parameter(g_bias, bias)


@layer_norm.defined_as
def _layer_norm(x: Any, weight: Any, bias: Any, size: int, eps: float) -> Any:
    rows = x.reshape(-1, size)
    centered = rows - rows.mean(1, keepdim=True)
    variance = (centered * centered).mean(1, keepdim=True)
    value = variance.detach()
    variance = variance + (value - value)  # inf becomes nan, as in the kernel
    return _affine((centered * (variance + eps).rsqrt()).reshape(x.shape), weight, bias)


def _affine(y: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@primitive(saves=("rstd",))
def rms_norm(x: Array, weight: Array | None, size: int, eps: float) -> Any:
    """RMS norm over the last dimensions, `size` elements in all."""
    y, _, rstd = kernel.forward(_rows(x, size), _flat(weight), None, eps, False)
    return y.reshape(x.shape).astype(x.dtype, copy=False), rstd


@rms_norm.vjp_joint("x", "weight")
def _(g: Array, live: Any, x: Array, weight: Array | None, size: int, rstd: Array) -> Any:
    gx, g_weight, _ = kernel.backward(
        _gradient_rows(g, size), _rows(x, size), _flat(weight), None, rstd, (*live, False)
    )
    return None if gx is None else gx.reshape(x.shape), _like_parameter(g_weight, weight)


@rms_norm.defined_as
def _rms_norm(x: Any, weight: Any, size: int, eps: float) -> Any:
    rows = x.reshape(-1, size)
    scale = ((rows * rows).mean(1, keepdim=True) + eps).rsqrt()
    return _affine((rows * scale).reshape(x.shape), weight, None)


layer_norm.primitive.narrow = rms_norm.primitive.narrow = True


def batch_statistics(x: Array) -> tuple[Array, Array]:
    """The mean and the (biased) variance of each channel of `x` (N, C, ...)."""
    return batch_kernel.statistics(_channels(x))


def _channels(x: Array) -> Array:
    """`x` (N, C, ...) as (N, C, L)."""
    length = int(np.prod(x.shape[2:]))
    return _wide(x).reshape(*x.shape[:2], length)


@primitive(node="NativeBatchNorm")
def batch_norm(
    x: Array, weight: Array | None, bias: Array | None, mean: Array, variance: Array, eps: float
) -> Array:
    """Batch norm of `x` (N, C, ...) by its own statistics, which `batch_statistics` has found."""
    y = batch_kernel.forward(_channels(x), _flat(weight), _flat(bias), mean, variance, eps)
    return like_images(in_order(y).reshape(x.shape).astype(x.dtype, copy=False), x)


@batch_norm.vjp_joint("x", "weight", "bias")
def _(
    g: Array, live: Any, x: Array, weight: Array | None, mean: Array, variance: Array, eps: float
) -> Any:
    gx, g_weight, g_bias = batch_kernel.backward(
        _channels(g), _channels(x), _flat(weight), mean, variance, eps, live
    )
    return None if gx is None else gx.reshape(x.shape), g_weight, g_bias


@batch_norm.defined_as
def _batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: object,
    variance: Tensor,
    eps: float,
) -> Tensor:
    over = [dim for dim in range(len(x.shape)) if dim != 1]  # all but the channels
    along = [1, -1] + [1] * (len(x.shape) - 2)
    centered = x - x.mean(over, keepdim=True)
    variance = (centered * centered).mean(over, keepdim=True)
    weight = None if weight is None else weight.reshape(along)
    bias = None if bias is None else bias.reshape(along)
    return _affine(centered * (variance + eps).rsqrt(), weight, bias)
