"""Dropout: multiply by noise that is 0 with probability p, and 1 on average.

`dropout(x) = x * noise`, that is all; the derivative is that of the product.  The noise is drawn in
the order of memory from the default generator, exactly as torch draws it (see random.py).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_edu import random
from tinygrad_edu.dtypes import Array, is_floating
from tinygrad_edu.engine.boundary import not_a_tensor
from tinygrad_edu.engine.composed import of_tensors
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.kernels import cuda
from tinygrad_edu.kernels.cuda import launch
from tinygrad_edu.ops.arithmetic import mul
from tinygrad_edu.tensor import Tensor

_SELU_FLOOR = 1.7580993408473766
"""SELU's value at minus infinity, with the sign changed."""


def check_probability(p: float) -> None:
    """ValueError unless 0 <= p <= 1."""
    if not 0 <= p <= 1:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """While training, each element is zero with probability p, else multiplied by 1 / (1 - p).

    Args:
        input: floats of any shape.
        p: the probability, in [0, 1].
        training: if false, the result is the input.
        inplace: overwrite the input.

    Raises:
        ValueError: p is outside [0, 1].
        RuntimeError: the input does not hold floats.

    Source: Srivastava et al., "Dropout", 2014.

    >>> import tinygrad_edu as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.nn.functional.dropout(torch.ones(4), p=0.5)
    tensor([0., 0., 2., 0.])
    """
    check_probability(p)
    try:
        x = input.array
    except AttributeError:
        raise not_a_tensor("dropout", 1, input) from None
    if p == 0 or not training or x.size == 0:
        return input
    _require_floats(x)
    if launch.ready(x, half=True) and not inplace:
        return _drawn_where_needed(input, p)
    noise = random.dropout_noise(random.default_generator, x, p)
    return _times(input, noise, inplace)


@primitive(saves=("kept",), node="NativeDropout", half="by gpu")
def _drawn_where_needed(x: Array, p: float) -> Any:
    """The same in one launch on a GPU; a byte for each element is kept, and no noise."""
    from tinygrad_edu.random import gpu as gpu_random

    return gpu_random.dropout(random.default_generator, x, p)


@primitive(half="by gpu")
def _dropped_alike(x: Array, kept: Array, p: float) -> Array:
    return cuda.elementwise.dropout_again(x, kept, p)


_drawn_where_needed.vjp(x=lambda g, kept, p: _dropped_alike(g, kept, p))
_dropped_alike.vjp(x=lambda g, kept, p: _dropped_alike(g, kept, p))


def _times(input: Tensor, noise: Array, inplace: bool) -> Tensor:
    return input.mul_(wrap(noise)) if inplace else mul(input, wrap(noise))


def _require_floats(x: Array) -> None:
    if not is_floating(x.dtype):
        raise RuntimeError(f"result type Float can't be cast to the desired output type {x.dtype}")


# Dropping whole channels --------------------------------------------------------------------------


def _per_channel(x: Array) -> Array:
    """An array of the type of `x` with one element for every sample and channel."""
    _require_floats(x)
    if x.ndim < 2:
        raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
    return np.empty_like(x, order="C", shape=x.shape[:2] + (1,) * (x.ndim - 2))


def _channel_dropout(input: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
    x = input.array
    if p == 0 or not training or x.size == 0:
        return input
    noise = random.dropout_noise(random.default_generator, _per_channel(x), p)
    return _times(input, noise, inplace)


def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """As `dropout`, but whole channels of an input (N, C, L) or (C, L) are zero.

    Raises:
        ValueError: p is outside [0, 1].
        RuntimeError: the input has another number of dimensions.

    >>> import tinygrad_edu as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.nn.functional.dropout1d(torch.ones(3, 2))
    tensor([[0., 0.],
            [0., 0.],
            [2., 2.]])
    """
    check_probability(p)
    if input.ndim not in (2, 3):
        raise RuntimeError(
            f"dropout1d: Expected 2D or 3D input, but received a {input.ndim}D input: (C, L) or"
            " (N, C, L), with or without a batch dimension"
        )
    return _batched(input, 3, p, training, inplace)


def _batched(input: Tensor, ndim: int, p: float, training: bool, inplace: bool) -> Tensor:
    if input.ndim == ndim:
        return _channel_dropout(input, p, training, inplace)
    if inplace:
        _channel_dropout(input.unsqueeze(0), p, training, True)
        return input
    return _channel_dropout(input.unsqueeze(0), p, training, False).squeeze(0)


def _warn_of_shape(name: str, ndim: int, expected: Sequence[int]) -> None:
    if ndim not in expected:
        warnings.warn(
            f"{name}: Received a {ndim}-D input to {name}, which is deprecated and will result in"
            " an error in a future release: use dropout instead. It drops channels of inputs of"
            f" {' or '.join([f'{n}D' for n in expected])}.",
            stacklevel=3,
        )


def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """As `dropout`, but whole channels of an input (N, C, H, W) are zero.

    A 3-d input is taken for (N, C, L), with a warning, as in torch.

    Raises:
        ValueError: p is outside [0, 1].

    >>> import tinygrad_edu as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.nn.functional.dropout2d(torch.ones(1, 3, 1, 2), training=True).flatten()
    tensor([0., 0., 0., 0., 2., 2.])
    """
    check_probability(p)
    _warn_of_shape("dropout2d", input.ndim, (3, 4))
    if input.ndim == 3:
        warnings.warn(
            "dropout2d: Received a 3D input to dropout2d and assuming that channel-wise 1D dropout"
            " behavior is desired - input is interpreted as shape (N, C, L), where C is the channel"
            " dim. Use dropout1d to say so.",
            stacklevel=2,
        )
    return _channel_dropout(input, p, training, inplace)


def dropout3d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """As `dropout`, but whole channels of an input (N, C, D, H, W) or (C, D, H, W) are zero.

    Raises:
        ValueError: p is outside [0, 1].

    >>> import tinygrad_edu as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.nn.functional.dropout3d(torch.ones(1, 3, 1, 1, 2), training=True).flatten()
    tensor([0., 0., 0., 0., 2., 2.])
    """
    check_probability(p)
    _warn_of_shape("dropout3d", input.ndim, (4, 5))
    return _batched(input, 5, p, training, inplace)


# Keeping the mean at 0 and the variance at 1 ------------------------------------------------------


@of_tensors
def alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """Dropout for SELU: dropped elements take SELU's lowest value; mean and variance are kept.

    `y = a (x d - α' (1 - d)) + b` with d ∈ {0, 1} drawn for every element, P(d = 0) = p,
    α' = 1.758, and a, b such that an input of mean 0 and variance 1 gives such an output.

    Raises:
        ValueError: p is outside [0, 1].

    Source: Klambauer et al., "Self-normalizing neural networks", 2017.

    >>> import tinygrad_edu as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.nn.functional.alpha_dropout(torch.ones(3), training=True)
    tensor([-0.7792, -0.7792,  1.6656])
    """
    check_probability(p)
    return _alpha_dropout(input, input.array, p, training, inplace)


@of_tensors
def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """As `alpha_dropout`, but whole channels of an input (N, C, ...) are dropped.

    >>> import tinygrad_edu as torch
    >>> _ = torch.manual_seed(0)
    >>> torch.nn.functional.feature_alpha_dropout(torch.ones(2, 2), training=True)
    tensor([[-0.7792, -0.7792],
            [ 1.6656, -0.7792]])
    """
    check_probability(p)
    like = _per_channel(input.array) if training and 0 < p < 1 else input.array
    return _alpha_dropout(input, like, p, training, inplace)


def _alpha_dropout(input: Tensor, like: Array, p: float, training: bool, inplace: bool) -> Tensor:
    """`like` has the shape and the memory order of the decisions."""
    x: Any = input.array
    if p == 0 or not training or x.size == 0:
        return input
    _require_floats(x)
    if p == 1:
        return _times(input, np.zeros_like(x), inplace)
    kept = random.keep_mask(random.default_generator, like, p).astype(x.dtype)
    a = 1 / math.sqrt((_SELU_FLOOR**2 * p + 1) * (1 - p))
    shift = (kept - 1) * (_SELU_FLOOR * a) + _SELU_FLOOR * a * p
    factor, addend = [wrap(y.astype(x.dtype, copy=False)) for y in (kept * a, shift)]
    if inplace:
        return input.mul_(factor).add_(addend)
    return mul(input, factor) + addend
