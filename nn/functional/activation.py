"""Activations as functions; each formula and derivative is in tinygrad_edu/ops/activation.py.

`inplace=True` overwrites the input: the tensor itself then is the result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_edu.engine.inplace import inplace as in_place
from tinygrad_edu.ops import activation as ops
from tinygrad_edu.ops.activation import (
    gelu,
    glu,
    hardshrink,
    logsigmoid,
    prelu,
    sigmoid,
    softplus,
    softshrink,
    softsign,
    tanhshrink,
)
from tinygrad_edu.ops.trigonometric import tanh
from tinygrad_edu.tensor import Tensor

celu_ = in_place(ops.celu)
elu_ = in_place(ops.elu)
hardtanh_ = in_place(ops.hardtanh)
leaky_relu_ = in_place(ops.leaky_relu)
relu_ = in_place(ops.relu)
selu_ = in_place(ops.selu)
threshold_ = in_place(ops.threshold)
_relu6_ = in_place(ops.relu6)
_hardsigmoid_ = in_place(ops.hardsigmoid)
_hardswish_ = in_place(ops.hardswish)
_silu_ = in_place(ops.silu)
_mish_ = in_place(ops.mish)


def _either(inplace: bool, op: Callable[..., Any], twin: Callable[..., Any], *args: Any) -> Tensor:
    result: Tensor = (twin if inplace else op)(*args)
    return result


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """`max(x, 0)`.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.relu(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return _either(inplace, ops.relu, relu_, input)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """`min(max(x, 0), 6)`."""
    return _either(inplace, ops.relu6, _relu6_, input)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """`x` where x > 0, else `negative_slope * x`."""
    return _either(inplace, ops.leaky_relu, leaky_relu_, input, negative_slope)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """`x` where x > 0, else `alpha * (exp(x) - 1)`."""
    return _either(inplace, ops.elu, elu_, input, alpha)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """`1.0507 * elu(x, 1.6733)`."""
    return _either(inplace, ops.selu, selu_, input)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """`x` where x > 0, else `alpha * (exp(x / alpha) - 1)`."""
    return _either(inplace, ops.celu, celu_, input, alpha)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """`x * sigmoid(x)`."""
    return _either(inplace, ops.silu, _silu_, input)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """`x * tanh(softplus(x))`."""
    return _either(inplace, ops.mish, _mish_, input)


def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """`x` clamped to [min_val, max_val].

    Raises:
        ValueError: `min_val > max_val`.
    """
    return _either(inplace, ops.hardtanh, hardtanh_, input, min_val, max_val)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """`relu6(x + 3) / 6`."""
    return _either(inplace, ops.hardsigmoid, _hardsigmoid_, input)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """`x * relu6(x + 3) / 6`."""
    return _either(inplace, ops.hardswish, _hardswish_, input)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """`x` where x > threshold, else `value`."""
    return _either(inplace, ops.threshold, threshold_, input, threshold, value)


__all__ = [
    "celu", "celu_", "elu", "elu_", "gelu", "glu", "hardshrink", "hardsigmoid", "hardswish",
    "hardtanh", "hardtanh_", "leaky_relu", "leaky_relu_", "logsigmoid", "mish", "prelu", "relu",
    "relu6", "relu_", "selu", "selu_", "sigmoid", "silu", "softplus", "softshrink", "softsign",
    "tanh", "tanhshrink", "threshold", "threshold_",
]  # fmt: skip
