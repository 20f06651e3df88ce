"""The less common activations: elu and its family, mish, and those made of straight pieces.

Where a function has a kink, the derivative there is torch's choice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.dtypes import (
    Array,
    fitting,
    floating,
    int64,
    is_floating,
    not_implemented,
    scalar_type_name,
)
from tinygrad_edu.engine.composed import of_tensors
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.kernels import composed
from tinygrad_edu.kernels.memory_order import in_turn
from tinygrad_edu.ops import masking, shape
from tinygrad_edu.ops.activation import _floats, softplus
from tinygrad_edu.ops.arguments import elementwise, plain
from tinygrad_edu.ops.elementary import sigmoid, tanh
from tinygrad_edu.ops.extrema import clamp, gate
from tinygrad_edu.ops.rounding import abs

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


@elementwise
@primitive(node="PreluKernel", autocast="lower")
def _prelu(x: Array, weight: Array) -> Array:
    return np.where(x > 0, x, weight * x)


_prelu.vjp(
    x=lambda g, x, weight: masking.where(x > 0, g, g * weight),
    weight=lambda g, x: gate(g * x, ~(x > 0)),
)


@of_tensors
def prelu(input: Any, weight: Any) -> Tensor:
    """`x` where x > 0, else `weight * x`, with a weight that is learned.

    Args:
        input: (N, C, ...) or any shape.
        weight: (C,) or (1,).

    Raises:
        RuntimeError: the weight has neither one element nor one per channel.

    Source: K. He et al., "Delving Deep into Rectifiers" (2015), eq. 1.

    >>> import tinygrad_edu as torch
    >>> torch.prelu(torch.tensor([-1.0, 2.0]), torch.tensor([0.5]))
    tensor([-0.5000,  2.0000])
    """
    ndim, size = input.array.ndim, weight.array.size
    if weight.array.ndim > 1:
        raise RuntimeError(
            "prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim ="
            f" {weight.array.ndim}"
        )
    if size != 1:
        channels = input.array.shape[1] if ndim > 1 else 1
        if size != channels:
            raise RuntimeError(
                "Mismatch of parameter numbers and input channel size. Found parameter numbers ="
                f" {size} and channel size = {channels}."
            )
    sizes = [1] * ndim
    if ndim > 1:
        sizes[1] = size
    return _prelu(input, shape.reshape(weight, sizes))


@primitive
def _elu(x: Array, alpha: float, scale: float, rate: float) -> Array:
    _floats("elu", x)
    return in_turn(np.where(x > 0, x * scale, composed.expm1(x * rate) * (alpha * scale)), x)


@primitive
def _elu_slope(x: Array, alpha: float, scale: float, rate: float) -> Array:
    """The derivative of `_elu`; its own is 0 at 0, between the two sides."""
    curved = np.exp(np.minimum(x, 0) * rate) * (alpha * scale * rate)
    return np.where(x <= 0, curved, x.dtype.type(scale))


_elu.vjp(x=lambda g, x, alpha, scale, rate: g * _elu_slope(x, alpha, scale, rate))
_elu_slope.vjp(
    x=lambda g, x, alpha, scale, rate: gate(
        g * (_elu_slope(clamp(x, None, 0.0), alpha, scale, rate) * rate), x < 0
    )
)


def elu(input: Any, alpha: float = 1.0) -> Tensor:
    """`x` where x > 0, else `alpha * (exp(x) - 1)`.

    Source: D.-A. Clevert et al., "Fast and Accurate Deep Network Learning by Exponential Linear
    Units" (2015), eq. 16.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.elu(torch.tensor([-1.0, 2.0]))
    tensor([-0.6321,  2.0000])
    """
    return _elu(input, plain(alpha), 1.0, 1.0)


def selu(input: Any) -> Tensor:
    """`1.0507 * elu(x, 1.6733)`: activations keep mean 0 and variance 1 from layer to layer.

    Source: G. Klambauer et al., "Self-Normalizing Neural Networks" (2017), eq. 2 and 14.

    >>> import tinygrad_edu as torch
    >>> torch.selu(torch.tensor([-1.0, 2.0]))
    tensor([-1.1113,  2.1014])
    """
    return _elu(input, 1.6732632423543772848170429916717, 1.0507009873554804934193349852946, 1.0)


def celu(input: Any, alpha: float = 1.0) -> Tensor:
    """`x` where x > 0, else `alpha * (exp(x / alpha) - 1)`.

    Raises:
        RuntimeError: alpha is 0.

    Source: J. Barron, "Continuously Differentiable Exponential Linear Units" (2017), eq. 2.

    >>> import tinygrad_edu as torch
    >>> torch.celu(torch.tensor([-1.0, 2.0]), alpha=2.0)
    tensor([-0.7869,  2.0000])
    """
    if alpha == 0:
        raise RuntimeError("ZeroDivisionError: alpha cannot be 0 for CELU")
    return _elu(input, plain(alpha), 1.0, 1.0 / plain(alpha))


@elementwise
@primitive
def mish(x: Array) -> Array:
    """`x * tanh(softplus(x))`.

    Source: D. Misra, "Mish: A Self Regularized Non-Monotonic Activation Function" (2019), eq. 1.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.mish(torch.tensor([-1.0, 0.0, 2.0]))
    tensor([-0.3034,  0.0000,  1.9440])
    """
    return _floats("mish", x) * np.tanh(softplus.primitive.forward(x, 1.0, 20.0))


def _mish_slope(x: Any) -> Any:
    t = tanh(softplus(x))
    return t + x * sigmoid(x) * (1 - t * t)


mish.vjp(x=lambda g, x: g * _mish_slope(x))


@primitive
def _hardtanh(x: Array, low: Any, high: Any) -> Array:
    return in_turn(np.minimum(np.maximum(x, low), high), x)


_hardtanh.vjp(x=lambda g, x, low, high: gate(g, ~((x <= low) | (x >= high))))


@of_tensors
def hardtanh(input: Any, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """`x` clamped to [min_val, max_val]; unlike `clamp`, with derivative 0 at the bounds.

    Raises:
        ValueError: `min_val > max_val`.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.hardtanh(torch.tensor([-3.0, 0.5, 2.0]))
    tensor([-1.0000,  0.5000,  1.0000])
    """
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    min_val, max_val = plain(min_val), plain(max_val)
    kind = input.array.dtype
    if kind.kind == "b":
        raise RuntimeError("Bool inputs not supported for hardtanh")
    if not is_floating(kind):
        min_val, max_val = [fitting(int64.numpy, bound) for bound in (min_val, max_val)]
        if kind.kind == "u" and (min_val < 0 or max_val < 0):
            raise RuntimeError("cannot do hardtanh on an unsigned type with negative limits")
    min_val, max_val = fitting(kind, min_val), fitting(kind, max_val)
    return _hardtanh(input, min_val, max_val)


@of_tensors
def relu6(input: Any) -> Tensor:
    """`min(max(x, 0), 6)`.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.relu6(torch.tensor([-3.0, 3.0, 9.0]))
    tensor([0., 3., 6.])
    """
    return hardtanh(input, 0.0, 6.0)


@elementwise
@primitive
def hardsigmoid(x: Array) -> Array:
    """`relu6(x + 3) / 6`, a sigmoid of straight lines.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.hardsigmoid(torch.tensor([-4.0, 0.0, 1.5]))
    tensor([0.0000, 0.5000, 0.7500])
    """
    return np.minimum(np.maximum(_floats("hardsigmoid", x) + 3, 0), 6) / 6


hardsigmoid.vjp(x=lambda g, x: gate(g / 6, (x > -3) & (x < 3)))


@elementwise
@primitive
def hardswish(x: Array) -> Array:
    """`x * relu6(x + 3) / 6`.

    Source: A. Howard et al., "Searching for MobileNetV3" (2019), section 5.2.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.hardswish(torch.tensor([-2.0, 0.0, 1.5]))
    tensor([-0.3333,  0.0000,  1.1250])
    """
    return x * np.minimum(np.maximum(_floats("hardswish", x) + 3, 0), 6) / 6


hardswish.vjp(
    x=lambda g, x: masking.where(x < 3, gate(g * (x / 3 + 0.5), x > -3), g),
)


@primitive(half="widened, numbers fit")
def hardshrink(x: Array, lambd: float = 0.5) -> Array:
    """`x` where |x| > lambd, else 0.

    >>> import tinygrad_edu as torch
    >>> torch.hardshrink(torch.tensor([-1.0, 0.3, 0.5]))
    tensor([-1.,  0.,  0.])
    """
    _floats("hardshrink", x)
    y = np.where((x >= -lambd) & (x <= lambd), 0, x).astype(x.dtype, copy=False)
    return in_turn(y, x)


hardshrink.vjp(x=lambda g, x, lambd: gate(g, ~((x >= -lambd) & (x <= lambd))))


@primitive
def softshrink(x: Array, lambd: float = 0.5) -> Array:
    """`x` moved towards 0 by `lambd`, but not beyond it.

    Raises:
        RuntimeError: lambd is negative.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.softshrink(torch.tensor([-1.0, 0.3, 2.0]))
    tensor([-0.5000,  0.0000,  1.5000])
    """
    if lambd < 0:
        most = f"{float(np.finfo(x.dtype).max):g}" if is_floating(x.dtype) else "inf"
        raise RuntimeError(
            f"lambda must be in range [0, {most}] for input dtype {scalar_type_name(x.dtype)}, but"
            f" found {lambd:g}"
        )
    _floats("softshrink", x)
    y = np.where(x > lambd, x - lambd, np.where(x < -lambd, x + lambd, x * 0))
    return in_turn(y.astype(x.dtype, copy=False), x)


softshrink.vjp(x=lambda g, x, lambd: gate(g, ~((x >= -lambd) & (x <= lambd))))


@primitive(half="widened, numbers fit")
def threshold(x: Array, threshold: float, value: float) -> Array:
    """`x` where x > threshold, else `value`.

    >>> import tinygrad_edu as torch
    >>> torch.threshold(torch.tensor([-1.0, 0.5]), 0.0, 20.0)
    tensor([20.0000,  0.5000])
    """
    if x.dtype == bool:
        raise not_implemented("threshold_cpu", x.dtype)
    return in_turn(np.where(x <= threshold, x.dtype.type(fitting(x.dtype, value)), x), x)


threshold.vjp(x=lambda g, x, threshold: gate(g, ~(x <= threshold)))


@elementwise
@primitive(node="Div")
def softsign(x: Array) -> Array:
    """`x / (1 + |x|)`, in (-1, 1).

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.softsign(torch.tensor([-1.0, 3.0]))
    tensor([-0.5000,  0.7500])
    """
    x = floating(x)
    return x / (np.absolute(x) + 1)


def _softsign_slope(x: Any) -> Any:
    share = 1 / (abs(x) + 1)
    return share * share


softsign.vjp(x=lambda g, x: g * _softsign_slope(x))


def tanhshrink(input: Any) -> Tensor:
    """`input - tanh(input)`.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.tanhshrink(torch.tensor([0.0, 2.0]))
    tensor([0.0000, 1.0360])
    """
    y: Tensor = input - tanh(input)
    return y
