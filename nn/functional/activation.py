"""Activations as functions; each formula and derivative is in tinygrad_edu/ops/activation.py.

`inplace=True` overwrites the input: the tensor itself then is the result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tinygrad_edu.engine.inplace import inplace as in_place
from tinygrad_edu.names.missing import elsewhere
from tinygrad_edu.ops import activation as ops
from tinygrad_edu.ops.activation import gelu, glu, logsigmoid, sigmoid, softplus
from tinygrad_edu.ops.elementary import tanh
from tinygrad_edu.tensor import Tensor

leaky_relu_ = in_place(ops.leaky_relu)
relu_ = in_place(ops.relu)
_silu_ = in_place(ops.silu)


def _either(
    inplace: bool, op: Callable[..., Any], twin: Callable[..., Any], *args: object
) -> Tensor:
    result: Tensor = (twin if inplace else op)(*args)
    return result


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """`max(x, 0)`.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.relu(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return _either(inplace, ops.relu, relu_, input)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """`x` where x > 0, else `negative_slope * x`."""
    return _either(inplace, ops.leaky_relu, leaky_relu_, input, negative_slope)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """`x * sigmoid(x)`."""
    return _either(inplace, ops.silu, _silu_, input)


__all__ = [
    "gelu", "glu", "leaky_relu", "leaky_relu_", "logsigmoid", "relu", "relu_", "sigmoid", "silu",
    "softplus", "tanh",
]  # fmt: skip

if not TYPE_CHECKING:  # a type checker is to miss what is not here
    __getattr__ = elsewhere(__name__, "nn.functional.more.activation")
