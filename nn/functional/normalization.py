"""Normalisation: values brought to mean 0 and variance 1, over features or over a batch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tinygrad_edu.dtypes import Array, from_numpy, is_floating, not_implemented
from tinygrad_edu.engine.boundary import refuse_expanded, same_device
from tinygrad_edu.engine.composed import composed, of_tensors
from tinygrad_edu.engine.levels import refuse_captured
from tinygrad_edu.engine.nodes import shown_as
from tinygrad_edu.kernels.memory_order import channels_last
from tinygrad_edu.nn.functional.padding import pad
from tinygrad_edu.nn.functional.pooling import avg_pool2d
from tinygrad_edu.ops import normalization as ops
from tinygrad_edu.tensor import Tensor


def _check_floats(name: str, x: Array, *parameters: Tensor | None) -> None:
    """torch's errors: inputs are floats, and parameters have their dtype.

    Half-precision inputs may have float32 parameters.
    """
    if not is_floating(x.dtype):
        raise not_implemented(name, x.dtype)
    for parameter in parameters:
        if parameter is None or parameter.array.dtype == x.dtype:
            continue
        if x.dtype.itemsize < 4 and parameter.array.dtype == np.float32:
            continue
        single = parameter.array.dtype == np.float32
        wanted = "all inputs must share same datatype."
        raise RuntimeError(
            "mixed dtype (CPU): "
            + (wanted if single else "expect parameter to have scalar type of Float")
            + f" {name}: input {from_numpy(x.dtype)!r}, parameter"
            f" {from_numpy(parameter.array.dtype)!r}"
        )


def _normalized_size(x: Array, shape: Sequence[int], **parameters: Tensor | None) -> int:
    """How many elements are normalised together, after torch's checks of shapes."""
    shape = tuple(shape)
    if not shape:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one"
            " element, but got normalized_shape = []"
        )
    for name, parameter in parameters.items():
        if parameter is not None and parameter.array.shape != shape:
            raise RuntimeError(
                f"Expected {name} to be of same shape as normalized_shape, but got {name} of shape"
                f" {list(parameter.array.shape)} and normalized_shape = {list(shape)}"
            )
    if x.shape[-len(shape) :] != shape:
        sizes = ", ".join(map(str, shape))
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*, {sizes}], but got"
            f" input of size{list(x.shape)}"
        )
    return math.prod(shape)


@composed(autocast={"cuda": "float32"})
def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """`(x - mean) / sqrt(variance + eps) * weight + bias` over the last dimensions.

    Args:
        input: floats, shape (*, *normalized_shape).
        normalized_shape: sizes of the dimensions over which mean and variance are taken.
        weight, bias: shape normalized_shape, or None.
        eps: added to the variance.

    Raises:
        RuntimeError: shapes or dtypes do not fit.

    Source: Ba, Kiros, Hinton, "Layer Normalization", 2016, eq. 3 and 4.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.layer_norm(torch.tensor([[1.0, 3.0]]), (2,))
    tensor([[-1.0000,  1.0000]])
    """
    size = _normalized_size(input.array, normalized_shape, weight=weight, bias=bias)
    _check_floats("layer_norm", input.array, weight, bias)
    return ops.layer_norm(input, weight, bias, size, eps)


@of_tensors
def rms_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """`x / sqrt(mean(x**2) + eps) * weight` over the last dimensions.

    Args:
        eps: None means the dtype's own `finfo(dtype).eps`.

    Other arguments and errors are those of `layer_norm`, but weights may have any dtype.

    Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019, eq. 4.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.rms_norm(torch.tensor([[3.0, 4.0]]), (2,))
    tensor([[0.8485, 1.1314]])
    """
    size = _normalized_size(input.array, normalized_shape, weight=weight)
    _check_floats("rms_norm", input.array)
    wide = np.float32 if input.array.dtype.itemsize < 4 else input.array.dtype
    if eps is None:
        eps = float(np.finfo(wide).eps)
    if weight is None or weight.array.dtype in (input.array.dtype, wide):
        return ops.rms_norm(input, weight, size, eps)
    # With weights of yet another dtype torch makes it of several operations, and so do we.
    y = ops.rms_norm(input.to(from_numpy(np.dtype(wide))), None, size, eps)
    return (y * weight).to(input.dtype)


def _check_channels(channels: int, **parameters: Tensor | None) -> None:
    for name, parameter in parameters.items():
        if parameter is not None and parameter.array.size != channels:
            raise RuntimeError(
                f"{name} should contain {channels} elements not {parameter.array.size}"
            )


@of_tensors
def batch_norm(
    input: Tensor, running_mean: Tensor | None, running_var: Tensor | None,
    weight: Tensor | None = None, bias: Tensor | None = None, training: bool = False,
    momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """`(x - mean) / sqrt(variance + eps) * weight + bias`, each channel for itself.

    While training, mean and variance are the batch's own, and move the running ones in place:
    `running = (1 - momentum) * running + momentum * new`, the new variance being the unbiased one.
    Else the running ones are used.

    Args:
        input: shape (N, C, ...).
        running_mean, running_var: shape (C,); None, while training, to track nothing.
        weight, bias: shape (C,), or None.

    Raises:
        ValueError: training with one value per channel; eps is negative, or 0 in training.
        RuntimeError: shapes or dtypes do not fit, or no running statistics outside training.

    Source: Ioffe and Szegedy, "Batch Normalization", 2015, algorithm 1.

    >>> import tinygrad_edu as torch
    >>> x = torch.tensor([[1.0], [3.0]])
    >>> torch.nn.functional.batch_norm(x, None, None, training=True)
    tensor([[-1.0000],
            [ 1.0000]])
    """
    x = input.array
    if eps < 0 or training and eps == 0:
        which = "positive during training" if training else "non-negative"
        raise ValueError(f"batch_norm eps must be {which}, but got {eps}")
    if x.shape == (0,):  # torch takes it for a batch of no rows
        return input.clone()
    if x.ndim < 2:
        raise RuntimeError(f"batch_norm expects an input (N, C, ...), not {list(x.shape)}")
    channels, count = x.shape[1], x.shape[0] * math.prod(x.shape[2:])
    if training and count == 1:
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {input.shape}"
        )
    if not training:
        for name, running in (("running_mean", running_mean), ("running_var", running_var)):
            if running is None:
                raise RuntimeError(f"{name} must be defined in evaluation mode")
    _check_channels(
        channels, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias
    )
    _check_floats("batch_norm", x, weight, bias, running_mean, running_var)
    if not training:
        assert running_mean is not None and running_var is not None
        return _by_running(input, running_mean, running_var, weight, bias, eps)
    mean, variance = ops.batch_statistics(x)
    if count:
        unbiased = variance * (count / (count - 1))
        _move(running_mean, mean, momentum, input)
        _move(running_var, unbiased, momentum, input)
    return ops.batch_norm(input, weight, bias, mean, variance, eps)


def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """`x / (k + alpha * mean of x**2 over size neighbouring channels)**beta`.

    Args:
        input: shape (N, C, ...), 3 dimensions or more; channels outside count as 0.

    Raises:
        ValueError: fewer dimensions.

    Source: Krizhevsky et al., "ImageNet Classification with Deep CNNs", 2012, section 3.3.

    >>> import tinygrad_edu as torch
    >>> F = torch.nn.functional
    >>> F.local_response_norm(torch.ones(1, 1, 2), 1, alpha=3.0, beta=1.0)
    tensor([[[0.2500, 0.2500]]])
    """
    shape = input.shape
    if len(shape) < 3:
        raise ValueError(
            f"Expected 3D or higher dimensionality input (got {len(shape)} dimensions)"
        )
    if not input.numel():
        return input
    squares = (input * input).reshape(shape[0], 1, shape[1], -1)
    mean = avg_pool2d(pad(squares, (0, 0, size // 2, (size - 1) // 2)), (size, 1), stride=1)
    y: Tensor = input / (mean.reshape(shape) * alpha + k) ** beta
    return y


def _move(running: Tensor | None, new: Array, momentum: float, x: Tensor) -> None:
    """Move a running statistic towards its new value of `x`, in place and unrecorded."""
    if running is None:
        return
    refuse_captured(running, "batch_norm", x)
    old = running.array
    same_device("batch_norm", new, old)
    refuse_expanded(old)
    old *= 1 - momentum
    old += momentum * new.reshape(old.shape).astype(old.dtype, copy=False)
    running._storage.write()


def _by_running(
    input: Tensor, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None,
    eps: float,
) -> Tensor:  # fmt: skip
    """Batch norm with given statistics: one multiplication and one addition per element."""
    along = (-1, *[1] * (input.array.ndim - 2))
    scale = (variance + eps).rsqrt()
    if weight is not None:
        scale = scale * weight
    shift = -mean * scale
    if bias is not None:
        shift = shift + bias
    if not input.array.flags.c_contiguous and not channels_last(input.array):
        input = input.contiguous()  # torch's order of memory
    y = input * scale.reshape(along) + shift.reshape(along)
    return y if y.array.dtype == input.array.dtype else y.to(input.dtype)


@composed(autocast={"cuda": "float32"})
def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Layer norm over each group of channels of each sample, scaled per channel.

    Args:
        input: shape (N, C, ...).
        num_groups: how many groups; it divides C.
        weight, bias: shape (C,), or None.

    Raises:
        RuntimeError: num_groups does not divide C, or a parameter's shape or dtype does not fit.
        ValueError: one value per group.

    Source: Wu and He, "Group Normalization", 2018.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.group_norm(torch.tensor([[1.0, 3.0, 5.0, 9.0]]), 2)
    tensor([[-1.0000,  1.0000, -1.0000,  1.0000]])
    """
    x = input.array
    if x.ndim < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {x.ndim}")
    n, channels, length = x.shape[0], x.shape[1], math.prod(x.shape[2:])
    if n * channels // num_groups * length == 1:
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {list(x.shape)}"
        )
    if channels % num_groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input of"
            f" shape {list(x.shape)} and num_groups={num_groups}"
        )
    for name, parameter in (("weight", weight), ("bias", bias)):
        if parameter is not None and parameter.array.shape != (channels,):
            raise RuntimeError(
                f"Expected {name} to be a vector of size equal to the number of channels in input,"
                f" but got {name} of shape {list(parameter.array.shape)} and input of shape"
                f" {list(x.shape)}"
            )
    _check_floats("group_norm", x, weight, bias)
    size = channels // num_groups * length
    rows = input.reshape(n * num_groups, size)
    y = ops.layer_norm(rows, None, None, size, eps).reshape(x.shape)
    along = (-1, *[1] * (x.ndim - 2))
    y = y if weight is None else y * weight.reshape(along)
    y = y if bias is None else y + bias.reshape(along)
    y = y if y.array.dtype == x.dtype else y.to(input.dtype)
    return shown_as(y, "NativeGroupNorm(x, w, b)", x=input, w=weight, b=bias)


@of_tensors
def instance_norm(
    input: Tensor, running_mean: Tensor | None = None, running_var: Tensor | None = None,
    weight: Tensor | None = None, bias: Tensor | None = None, use_input_stats: bool = True,
    momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Batch norm of each sample by itself.

    Args:
        input: shape (N, C, ...).
        running_mean, running_var: shape (C,), moved by the average over the samples; or None.
        use_input_stats: normalise by the sample's own statistics, else by the running ones.

    Raises:
        ValueError: one value per channel of a sample.

    Source: Ulyanov, Vedaldi, Lempitsky, "Instance Normalization", 2016.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.instance_norm(torch.tensor([[[1.0, 3.0]]]))
    tensor([[[-1.0000,  1.0000]]])
    """
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    x = input.array
    n, channels, length = x.shape[0], x.shape[1], math.prod(x.shape[2:])
    if length == 1:
        raise ValueError(
            f"Expected more than 1 spatial element when training, got input size {input.shape}"
        )
    _check_channels(
        channels, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias
    )
    _check_floats("instance_norm", x, weight, bias)  # running statistics may have another dtype
    rows = input.reshape(1, n * channels, length)  # one sample with a channel for each
    mean, variance = ops.batch_statistics(rows.array)
    unbiased = variance * (length / max(length - 1, 1))
    _move(running_mean, mean.reshape(n, channels).sum(0) / n, momentum, input)
    _move(running_var, unbiased.reshape(n, channels).sum(0) / n, momentum, input)
    weight, bias = (None if p is None else p.repeat(n) for p in (weight, bias))
    y = ops.batch_norm(rows, weight, bias, mean, variance, eps).reshape(x.shape)
    return y if y.array.dtype == x.dtype else y.to(input.dtype)
