"""The less common activations as functions; see tinygrad_edu/ops/more/activation.py."""

from __future__ import annotations

from tinygrad_edu.engine.inplace import inplace as in_place
from tinygrad_edu.nn.functional.activation import _either
from tinygrad_edu.ops.more import activation as ops
from tinygrad_edu.ops.more.activation import hardshrink, prelu, softshrink, softsign, tanhshrink
from tinygrad_edu.tensor import Tensor

celu_ = in_place(ops.celu)
elu_ = in_place(ops.elu)
hardtanh_ = in_place(ops.hardtanh)
selu_ = in_place(ops.selu)
threshold_ = in_place(ops.threshold)
_relu6_ = in_place(ops.relu6)
_hardsigmoid_ = in_place(ops.hardsigmoid)
_hardswish_ = in_place(ops.hardswish)
_mish_ = in_place(ops.mish)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """`min(max(x, 0), 6)`."""
    return _either(inplace, ops.relu6, _relu6_, input)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """`x` where x > 0, else `alpha * (exp(x) - 1)`."""
    return _either(inplace, ops.elu, elu_, input, alpha)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """`1.0507 * elu(x, 1.6733)`."""
    return _either(inplace, ops.selu, selu_, input)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """`x` where x > 0, else `alpha * (exp(x / alpha) - 1)`."""
    return _either(inplace, ops.celu, celu_, input, alpha)


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
    "celu", "celu_", "elu", "elu_", "hardshrink", "hardsigmoid", "hardswish", "hardtanh",
    "hardtanh_", "mish", "prelu", "relu6", "selu", "selu_", "softshrink", "softsign", "tanhshrink",
    "threshold", "threshold_",
]  # fmt: skip
