"""The less common activations as layers."""

from __future__ import annotations

import warnings
from typing import Any

from tinygrad_edu.nn import functional as F
from tinygrad_edu.nn import init as initial
from tinygrad_edu.nn.modules.activation import _Inplace, _inplace
from tinygrad_edu.nn.modules.module import Module
from tinygrad_edu.nn.parameter import Parameter
from tinygrad_edu.ops.creation import empty
from tinygrad_edu.tensor import Tensor


class SELU(_Inplace):
    """`1.0507 * elu(x, 1.6733)`: activations keep mean 0 and variance 1 from layer to layer.

    Shape: (*) -> (*).
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.selu(input, self.inplace)


class Mish(_Inplace):
    """`x * tanh(softplus(x))`.

    Shape: (*) -> (*).
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.mish(input, self.inplace)


class Hardsigmoid(_Inplace):
    """`relu6(x + 3) / 6`.

    Shape: (*) -> (*).
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.hardsigmoid(input, self.inplace)

    def extra_repr(self) -> str:
        return ""


class Hardswish(_Inplace):
    """`x * relu6(x + 3) / 6`.

    Shape: (*) -> (*).
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.hardswish(input, self.inplace)

    def extra_repr(self) -> str:
        return ""


class PReLU(Module):
    """`x` where x > 0, else `weight * x`, with a weight that is learned.

    Shape: (N, C, *) -> (N, C, *).

    Args:
        num_parameters: 1, or one per channel (dimension 1 of the input).
        init: the weight to begin with.
        device, dtype: of the weight.

    Source: K. He et al., "Delving Deep into Rectifiers" (2015), eq. 1.

    >>> import tinygrad_edu as torch
    >>> torch.nn.PReLU()(torch.tensor([-1.0, 2.0]))
    tensor([-0.2500,  2.0000], grad_fn=<PreluKernelBackward0>)
    """

    weight: Parameter

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.init = init
        self.weight = Parameter(empty(num_parameters, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight back to its first value."""
        initial.constant_(self.weight, self.init)

    def forward(self, input: Tensor) -> Tensor:
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class ELU(Module):
    """`x` where x > 0, else `alpha * (exp(x) - 1)`.

    Shape: (*) -> (*).
    """

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha = alpha
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.elu(input, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        return _inplace(self, f"alpha={self.alpha}")


class CELU(ELU):
    """`x` where x > 0, else `alpha * (exp(x / alpha) - 1)`.

    Shape: (*) -> (*).
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.celu(input, self.alpha, self.inplace)


class Hardtanh(Module):
    """`x` clamped to [min_val, max_val].

    Shape: (*) -> (*).

    Raises:
        AssertionError: `max_val` is not greater than `min_val`.
    """

    def __init__(
        self,
        min_val: float = -1.0,
        max_val: float = 1.0,
        inplace: bool = False,
        min_value: float | None = None,
        max_value: float | None = None,
    ) -> None:
        super().__init__()
        for old, new in ((min_value, "min"), (max_value, "max")):
            if old is not None:
                warnings.warn(
                    f"keyword argument `{new}_value` is deprecated and rename to `{new}_val`",
                    FutureWarning,
                    stacklevel=2,
                )
        self.min_val = min_val if min_value is None else min_value
        self.max_val = max_val if max_value is None else max_value
        self.inplace = inplace
        assert self.max_val > self.min_val, (
            f"max_val ({self.max_val}) must be greater than min_val ({self.min_val})"
        )

    def forward(self, input: Tensor) -> Tensor:
        return F.hardtanh(input, self.min_val, self.max_val, self.inplace)

    def extra_repr(self) -> str:
        return _inplace(self, f"min_val={self.min_val}, max_val={self.max_val}")


class ReLU6(Hardtanh):
    """`min(max(x, 0), 6)`.

    Shape: (*) -> (*).
    """

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(0.0, 6.0, inplace)

    def extra_repr(self) -> str:
        return _inplace(self)


class Threshold(Module):
    """`x` where x > threshold, else `value`.

    Shape: (*) -> (*).
    """

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__()
        self.threshold = threshold
        self.value = value
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.threshold(input, self.threshold, self.value, self.inplace)

    def extra_repr(self) -> str:
        return _inplace(self, f"threshold={self.threshold}, value={self.value}")


class Hardshrink(Module):
    """`x` where |x| > lambd, else 0.

    Shape: (*) -> (*).
    """

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, input: Tensor) -> Tensor:
        return F.hardshrink(input, self.lambd)

    def extra_repr(self) -> str:
        return f"{self.lambd}"


class Softshrink(Hardshrink):
    """`x` moved towards 0 by `lambd`, but not beyond it.

    Shape: (*) -> (*).
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.softshrink(input, self.lambd)


class Softsign(Module):
    """`x / (1 + |x|)`.

    Shape: (*) -> (*).
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.softsign(input)


class Tanhshrink(Module):
    """`x - tanh(x)`.

    Shape: (*) -> (*).
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.tanhshrink(input)


class Softmax2d(Module):
    """Softmax over the channels of an input (N, C, H, W) or (C, H, W).

    Raises:
        ValueError: the input has neither 3 nor 4 dimensions.
    """

    def forward(self, input: Tensor) -> Tensor:
        if input.array.ndim not in (3, 4):
            raise ValueError(
                f"Softmax2d: expected input to be 3D or 4D, got {input.array.ndim}D instead"
            )
        return F.softmax(input, -3, _stacklevel=5)


class RReLU(Module):
    """`x` where x > 0, else `a x`; while training each a is drawn from [lower, upper).

    Shape: (*) -> (*).

    Args:
        lower, upper: the bounds of a; in evaluation a is their mean.
        inplace: overwrite the input.

    Source: Xu et al., "Empirical evaluation of rectified activations", 2015.

    >>> import tinygrad_edu as torch
    >>> torch.nn.RReLU(0.25, 0.75).eval()(torch.tensor([-4.0, 4.0]))
    tensor([-2.,  4.])
    """

    def __init__(
        self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False
    ) -> None:
        super().__init__()
        self.lower, self.upper, self.inplace = lower, upper, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.rrelu(input, self.lower, self.upper, self.training, self.inplace)

    def extra_repr(self) -> str:
        shown = f"lower={self.lower}, upper={self.upper}"
        return shown + ", inplace=True" if self.inplace else shown
