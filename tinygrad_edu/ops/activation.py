"""Activations: relu, leaky_relu, softplus, gelu, silu, glu; the others are in more/activation.py.

Where a function has a kink, the derivative there is torch's choice: 0 for relu.  At nan a piecewise
function passes the gradient as where it is the identity, as torch's does of few elements; of many,
torch has nan or 0 there.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.dtypes import (
    Array,
    is_floating,
    not_implemented,
)
from tinygrad_edu.engine.boundary import dimension_error
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.mode import is_recording
from tinygrad_edu.engine.nodes import shown_as
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.kernels import composed, cuda
from tinygrad_edu.kernels.cuda import launch
from tinygrad_edu.kernels.memory_order import in_order, in_turn
from tinygrad_edu.names.missing import elsewhere
from tinygrad_edu.ops import masking
from tinygrad_edu.ops.arguments import elementwise, plain
from tinygrad_edu.ops.elementary import erf, tanh
from tinygrad_edu.ops.elementary import sigmoid as sigmoid
from tinygrad_edu.ops.extrema import gate
from tinygrad_edu.ops.joining import narrow

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


def _floats(name: str, x: Array) -> Array:
    if not is_floating(x.dtype):
        raise not_implemented(name, x.dtype)
    return x


@elementwise
@primitive(half="by gpu")
def relu(x: Array) -> Array:
    """`max(x, 0)`.

    Raises:
        RuntimeError: `x` holds bools.

    >>> import tinygrad_edu as torch
    >>> torch.relu(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    if x.dtype == bool:
        raise RuntimeError("Boolean inputs not supported for relu")
    if x.__class__ is not np.ndarray and launch.ready(x, half=True) and x.flags.c_contiguous:
        return cuda.elementwise.relu(x)
    y = np.empty_like(x)
    y.fill(0)  # NumPy compares two arrays four times as fast as an array and a number
    return np.maximum(x, y, out=y)


def _relu_gradient(g: Any, y: Tensor) -> Any:
    arrays = g.__class__ is not np.ndarray and not isinstance(g, TensorBase)
    if arrays and launch.ready(g, y, half=True):
        return cuda.elementwise.relu_gradient(g, y)
    return gate(g, y != 0)  # it is not below 0; nan, which is not 0, passes


relu.vjp(x=lambda g, y: _relu_gradient(g, y))


@elementwise
@primitive
def leaky_relu(x: Array, negative_slope: float = 0.01) -> Array:
    """`x` where x > 0, else `negative_slope * x`.

    Source: A. Maas et al., "Rectifier Nonlinearities Improve Neural Network Acoustic Models"
    (2013), eq. 2.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.leaky_relu(torch.tensor([-1.0, 2.0]), 0.1)
    tensor([-0.1000,  2.0000])
    """
    _floats("leaky_relu", x)
    return np.where(x > 0, x, x * negative_slope)


leaky_relu.vjp(
    x=lambda g, x, negative_slope: masking.where(x > 0, g, g * negative_slope),
)


@primitive(node="LogSigmoid")
def logsigmoid(x: Array) -> Array:
    """`log(1 / (1 + exp(-x)))` without overflow.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.logsigmoid(torch.tensor([0.0, -1000.0]))
    tensor([-6.9315e-01, -1.0000e+03])
    """
    _floats("log_sigmoid_forward", x)
    return in_order(log_sigmoid(x))


def log_sigmoid(x: Array) -> Array:
    """`log(sigmoid(x))` of an array, without overflow, laid out as it is."""
    y: Array = np.minimum(x, 0) - composed.log1p(np.exp(-np.absolute(x)))
    return y


logsigmoid.vjp(x=lambda g, x: g * sigmoid(-x))


@primitive(autocast={"cuda": "float32"})
def softplus(x: Array, beta: float = 1.0, threshold: float = 20.0) -> Array:
    """`log(1 + exp(beta * x)) / beta`, a smooth relu.

    Args:
        threshold: where `beta * x` is larger, the result is x itself.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.softplus(torch.tensor([0.0, 30.0]))
    tensor([ 0.6931, 30.0000])
    """
    scaled = _floats("softplus", x) * plain(beta)
    return in_turn(np.where(scaled > threshold, x, composed.log1p(np.exp(scaled)) / plain(beta)), x)


@primitive
def _softplus_slope(x: Array, beta: float, threshold: float) -> Array:
    scaled = x * beta
    return np.where(scaled > threshold, 1, sigmoid(scaled)).astype(x.dtype, copy=False)


softplus.vjp(x=lambda g, x, beta, threshold: g * _softplus_slope(x, beta, threshold))
_softplus_slope.vjp(
    x=lambda g, x, y, beta, threshold: gate(g * ((1 - y) * y * beta), ~(x * beta >= threshold))
)


@primitive(saves=("slope",), half="by gpu")
def gelu(x: Array, approximate: str = "none") -> tuple[Array, Array]:
    """`x * Phi(x)`, with the normal distribution function Phi.

    Args:
        approximate: "none" for Phi by erf; "tanh" for the approximation by tanh.

    Raises:
        RuntimeError: another word for `approximate`.

    Source: D. Hendrycks and K. Gimpel, "Gaussian Error Linear Units" (2016), section 2.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.gelu(torch.tensor([-1.0, 0.0, 2.0]))
    tensor([-0.1587,  0.0000,  1.9545])
    """
    if approximate not in ("none", "tanh"):
        raise RuntimeError("approximate argument must be either none or tanh.")
    from tinygrad_edu.kernels import gelu as kernel  # only models with GELU need it

    y, slope = kernel.gelu(_floats("gelu", x), approximate, is_recording())
    return in_turn(y, x), slope


def _gelu_gradient(g: Tensor, x: Tensor, slope: object, approximate: str) -> Any:
    from tinygrad_edu.kernels import gelu as kernel

    return kernel.gelu_gradient(g, x, slope, approximate)


gelu.vjp(x=_gelu_gradient)


@gelu.defined_as
def _(x: Tensor, approximate: str) -> Tensor:
    from tinygrad_edu.kernels.gelu import CUBIC, K

    if approximate == "tanh":
        return x * 0.5 * (1 + tanh(K * (x + CUBIC * (x * x * x))))
    return x * 0.5 * (1 + erf(x * math.sqrt(0.5)))


@elementwise
@primitive
def silu(x: Array) -> Array:
    """`x * sigmoid(x)`, also known as swish.

    Source: S. Elfwing et al., "Sigmoid-Weighted Linear Units" (2017), eq. 4.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.silu(torch.tensor([-1.0, 0.0, 2.0]))
    tensor([-0.2689,  0.0000,  1.7616])
    """
    return _floats("silu", x) / (1 + np.exp(-x))


def _silu_slope(x: Tensor) -> Tensor:
    s = sigmoid(x)
    return s * (1 + x * (1 - s))


silu.vjp(x=lambda g, x: g * _silu_slope(x))


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """`a * sigmoid(b)` for the two halves a, b of the input along `dim`.

    Args:
        input: its size along `dim` is even.

    Raises:
        RuntimeError: the size along `dim` is odd, or the input has no dimension.

    Source: Y. Dauphin et al., "Language Modeling with Gated Convolutional Networks" (2016), eq. 1.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.glu(torch.tensor([1.0, 2.0, 0.0, 0.0]))
    tensor([0.5000, 1.0000])
    """
    ndim = input.array.ndim
    if not ndim:
        raise RuntimeError("glu does not support 0-dimensional tensors")
    if not -ndim <= dim < ndim:
        raise dimension_error(dim, ndim)
    size = input.array.shape[dim]
    if size % 2:
        raise RuntimeError(
            f"Halving dimension must be even, but dimension {dim % ndim} is size {size}"
        )
    a = narrow(input, dim, 0, size // 2)
    b = narrow(input, dim, size // 2, size // 2)
    return shown_as(a * sigmoid(b), "Glu(x)", x=input)


if not TYPE_CHECKING:  # a type checker is to miss what is not here
    __getattr__ = elsewhere(__name__, "ops.more.activation")
