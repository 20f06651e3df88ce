"""Activations as layers.  Each calls the function of its name in nn/functional.

Only PReLU has a parameter.  `inplace=True` overwrites the input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinygrad_edu.names.missing import elsewhere
from tinygrad_edu.nn import functional as F
from tinygrad_edu.nn.modules.module import Module
from tinygrad_edu.tensor import Tensor


def _inplace(module: Module, before: str = "") -> str:
    """A layer's printed options: those in `before`, then `inplace=True` if it is set."""
    return ", ".join([part for part in (before, "inplace=True" * module.inplace) if part])


class _Inplace(Module):
    """A layer whose only option is `inplace`."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def extra_repr(self) -> str:
        return _inplace(self)


class ReLU(_Inplace):
    """`max(x, 0)`.

    Shape: (*) -> (*).

    >>> import tinygrad_edu as torch
    >>> torch.nn.ReLU()(torch.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.relu(input, self.inplace)


class SiLU(_Inplace):
    """`x * sigmoid(x)`, also known as swish.

    Shape: (*) -> (*).
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.silu(input, self.inplace)


class LeakyReLU(Module):
    """`x` where x > 0, else `negative_slope * x`.

    Shape: (*) -> (*).

    Args:
        negative_slope: the slope below 0.
        inplace: overwrite the input.

    >>> import tinygrad_edu as torch
    >>> torch.nn.LeakyReLU(0.1)(torch.tensor([-1.0, 2.0]))
    tensor([-0.1000,  2.0000])
    """

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope = negative_slope
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.leaky_relu(input, self.negative_slope, self.inplace)

    def extra_repr(self) -> str:
        return _inplace(self, f"negative_slope={self.negative_slope}")


class GELU(Module):
    """`x * Phi(x)`, with the normal distribution function Phi.

    Shape: (*) -> (*).

    Args:
        approximate: "none" for Phi by erf; "tanh" for the approximation by tanh.

    Source: D. Hendrycks and K. Gimpel, "Gaussian Error Linear Units" (2016), section 2.

    >>> import tinygrad_edu as torch
    >>> torch.nn.GELU()(torch.tensor([-1.0, 2.0]))
    tensor([-0.1587,  1.9545])
    """

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        return F.gelu(input, approximate=self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Softplus(Module):
    """`log(1 + exp(beta * x)) / beta`; x itself where `beta * x > threshold`.

    Shape: (*) -> (*).
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = beta
        self.threshold = threshold

    def forward(self, input: Tensor) -> Tensor:
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class Sigmoid(Module):
    """`1 / (1 + exp(-x))`.

    Shape: (*) -> (*).
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.sigmoid(input)


class Tanh(Module):
    """`tanh(x)`.

    Shape: (*) -> (*).
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.tanh(input)


class LogSigmoid(Module):
    """`log(1 / (1 + exp(-x)))`.

    Shape: (*) -> (*).
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.logsigmoid(input)


class GLU(Module):
    """`a * sigmoid(b)` for the two halves a, b of the input along `dim`.

    Shape: (*, 2 n, *) -> (*, n, *), the size along `dim`.
    """

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        return F.glu(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(Module):
    """`exp(x) / sum(exp(x))` along `dim`.

    Shape: (*) -> (*).

    Args:
        dim: the dimension along which the results add up to 1.

    >>> import tinygrad_edu as torch
    >>> torch.nn.Softmax(dim=1)(torch.zeros(1, 2))
    tensor([[0.5000, 0.5000]])
    """

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        return F.softmax(input, self.dim, _stacklevel=5)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Softmax):
    """`x - log(sum(exp(x)))` along `dim`.

    Shape: (*) -> (*).
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.log_softmax(input, self.dim, _stacklevel=5)


class Softmin(Softmax):
    """`softmax(-x)` along `dim`.

    Shape: (*) -> (*).
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.softmin(input, self.dim, _stacklevel=5)


if not TYPE_CHECKING:  # a type checker is to miss what is not here
    __getattr__ = elsewhere(__name__, "nn.modules.attention", "nn.modules.more.activation")
