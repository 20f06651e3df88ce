"""The last linear layer of a classifier and its loss as one module."""

from __future__ import annotations

import math
from typing import Any

from tinygrad_edu.nn import functional as F
from tinygrad_edu.nn.functional.more.linear_loss import LinearCrossEntropyOptions
from tinygrad_edu.nn.modules.linear import Linear
from tinygrad_edu.nn.modules.loss import _WeightedLoss
from tinygrad_edu.tensor import Tensor


class LinearCrossEntropyLoss(_WeightedLoss):
    """`functional.linear_cross_entropy` with a layer `linear` of its own.

    Shape: (N, in_features), (N) -> ().

    Args:
        in_features: width of the input.
        num_classes: C.
        out_features: further dimensions of the target.
        bias, device, dtype: of the layer.
        reduction, weight, ignore_index, label_smoothing, options: as of the function.

    Raises:
        RuntimeError: `weight` has another shape, or `label_smoothing` lies outside [0, 1].

    >>> import tinygrad_edu as torch
    >>> loss = torch.nn.LinearCrossEntropyLoss(5, 10)
    >>> loss(torch.ones(3, 5), torch.tensor([1, 0, 4])).shape
    torch.Size([])
    """

    linear: Linear

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: Any = None,
        dtype: Any = None,
        reduction: str = "mean",
        weight: Tensor | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: LinearCrossEntropyOptions | None = None,
    ) -> None:
        if weight is not None and weight.shape != (num_classes,):
            raise RuntimeError(
                f"expected weight shape to be {(num_classes,)}, got {tuple(weight.shape)}"
            )
        if not 0 <= label_smoothing <= 1:
            raise RuntimeError(
                f"expected label_smoothing to be in range [0, 1], got {label_smoothing}"
            )
        super().__init__(weight, reduction=reduction)
        self.num_classes, self.out_features = num_classes, out_features
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing
        rows = math.prod(out_features, start=num_classes)
        self.linear = Linear(in_features, rows, bias=bias, device=device, dtype=dtype)
        self.options = options

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        shape = (self.num_classes, *self.out_features)
        bias = self.linear.bias
        return F.linear_cross_entropy(
            input,
            self.linear.weight.reshape(*shape, self.linear.in_features),
            target,
            linear_bias=None if bias is None else bias.reshape(shape),
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            options=self.options,
        )

    def extra_repr(self) -> str:
        return (
            f"in_features={self.linear.in_features}, num_classes={self.num_classes},"
            f" out_features={self.out_features}, bias={self.linear.bias is not None},"
            f" reduction={self.reduction}, ignore_index={self.ignore_index},"
            f" label_smoothing={self.label_smoothing}, options={self.options}"
        )
