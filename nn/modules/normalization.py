"""LayerNorm, RMSNorm and GroupNorm: each sample is normalised by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinygrad_edu.nn import functional as F
from tinygrad_edu.nn import init
from tinygrad_edu.nn.modules.module import Module
from tinygrad_edu.nn.parameter import Parameter
from tinygrad_edu.ops.creation import empty
from tinygrad_edu.tensor import Tensor


def _shape(given: int | Sequence[int]) -> tuple[int, ...]:
    return (given,) if isinstance(given, int) else tuple(given)


class LayerNorm(Module):
    """`(x - mean) / sqrt(variance + eps) * weight + bias` over the last dimensions.

    Shape: (*, *normalized_shape) -> (*, *normalized_shape).

    Args:
        normalized_shape: sizes of those dimensions; an int for the last one alone.
        eps: added to the variance.
        elementwise_affine: whether there are weight (starts at 1) and bias (starts at 0).
        bias: whether there is a bias.
        device, dtype: of the parameters.

    Source: Ba, Kiros, Hinton, "Layer Normalization", 2016.

    >>> import tinygrad_edu as torch
    >>> torch.nn.LayerNorm(2)(torch.tensor([[1.0, 3.0]])).detach()
    tensor([[-1.0000,  1.0000]])
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float = 1e-5,
        elementwise_affine: bool = True, bias: bool = True, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.normalized_shape = shape = _shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        for name, wanted in (("weight", True), ("bias", bias)):
            made = elementwise_affine and wanted
            values = Parameter(empty(shape, device=device, dtype=dtype)) if made else None
            self.register_parameter(name, values)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights become 1, biases 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps},"
            f" elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """`x / sqrt(mean(x**2) + eps) * weight` over the last dimensions.

    Shape: (*, *normalized_shape) -> (*, *normalized_shape).

    Args:
        normalized_shape: sizes of those dimensions; an int for the last one alone.
        eps: None means `finfo(dtype).eps`.
        elementwise_affine: whether there is a weight (starts at 1).
        device, dtype: of the weight.

    Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019.

    >>> import tinygrad_edu as torch
    >>> torch.nn.RMSNorm(2)(torch.tensor([[3.0, 4.0]])).detach()
    tensor([[0.8485, 1.1314]])
    """

    weight: Parameter | None

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float | None = None,
        elementwise_affine: bool = True, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.normalized_shape = _shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        weight = empty(self.normalized_shape, device=device, dtype=dtype)
        self.register_parameter("weight", Parameter(weight) if elementwise_affine else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights become 1."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )


class LocalResponseNorm(Module):
    """`functional.local_response_norm`: each element divided by those in neighbouring channels.

    Shape: (N, C, *) -> (N, C, *).

    Args:
        size: how many channels.
        alpha, beta, k: of `x / (k + alpha * mean of x**2)**beta`.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input: Tensor) -> Tensor:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class GroupNorm(Module):
    """Layer norm over each of `num_groups` groups of channels, scaled per channel.

    Shape: (N, num_channels, *) -> (N, num_channels, *).

    Args:
        num_groups: divides num_channels.
        num_channels: size of dimension 1.
        eps: added to the variance.
        affine: whether there are weight (starts at 1) and bias (starts at 0).
        device, dtype: of the parameters.
        bias: whether there is a bias.

    Raises:
        ValueError: num_groups does not divide num_channels.

    Source: Wu and He, "Group Normalization", 2018.

    >>> import tinygrad_edu as torch
    >>> torch.nn.GroupNorm(2, 4)(torch.tensor([[1.0, 3.0, 5.0, 9.0]])).detach()
    tensor([[-1.0000,  1.0000, -1.0000,  1.0000]])
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True,
        device: Any = None, dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        if num_channels % num_groups:
            raise ValueError(
                f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})"
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        for name, wanted in (("weight", True), ("bias", bias)):
            made = affine and wanted
            values = Parameter(empty(num_channels, device=device, dtype=dtype)) if made else None
            self.register_parameter(name, values)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weights become 1, biases 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine},"
            f" bias={self.bias is not None}"
        )
