"""Losses as modules: each holds the options, and calls the function of the same name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinygrad_edu.names.missing import elsewhere
from tinygrad_edu.nn import functional as F
from tinygrad_edu.nn.functional.losses import legacy_reduction
from tinygrad_edu.nn.modules.module import Module
from tinygrad_edu.tensor import Tensor


class _Loss(Module):
    """A loss with a `reduction`: "none", "sum" or "mean"."""

    reduction: str

    def __init__(
        self,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        if size_average is not None or reduce is not None:
            reduction = legacy_reduction(size_average, reduce)
        self.reduction = reduction


class _WeightedLoss(_Loss):
    """A loss with a buffer `weight`."""

    weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)


class CrossEntropyLoss(_WeightedLoss):
    """`functional.cross_entropy`: scores (N, C, ...) and right classes (N, ...).

    Args:
        weight: of each class, shape (C,).
        ignore_index: rows with this class are left out.
        reduction: "none", "sum" or "mean".
        label_smoothing: in [0, 1].

    >>> import tinygrad_edu as torch
    >>> criterion = torch.nn.CrossEntropyLoss()
    >>> criterion(torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 1]))
    tensor(0.1269)
    """

    def __init__(
        self, weight: Tensor | None = None, size_average: bool | None = None,
        ignore_index: int = -100, reduce: bool | None = None, reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(_WeightedLoss):
    """`functional.nll_loss`: as `CrossEntropyLoss`, of log-probabilities.

    Shape: (N, C, ...), (N, ...) -> (); (N, ...) with reduction="none".

    >>> import tinygrad_edu as torch
    >>> logp = torch.log_softmax(torch.tensor([[2.0, 0.0]]), 1)
    >>> torch.nn.NLLLoss()(logp, torch.tensor([0]))
    tensor(0.1269)
    """

    def __init__(
        self, weight: Tensor | None = None, size_average: bool | None = None,
        ignore_index: int = -100, reduce: bool | None = None, reduction: str = "mean",
    ) -> None:  # fmt: skip
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index = ignore_index

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.nll_loss(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
        )


class MSELoss(_Loss):
    """`functional.mse_loss`: the mean of `(input - target)**2`.

    Shape: (*), (*) -> (); (*) with reduction="none".

    >>> import tinygrad_edu as torch
    >>> torch.nn.MSELoss()(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))
    tensor(2.)
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(input, target, reduction=self.reduction)


class L1Loss(_Loss):
    """`functional.l1_loss`: the mean of `|input - target|`.

    Shape: (*), (*) -> (); (*) with reduction="none".
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.l1_loss(input, target, reduction=self.reduction)


class BCELoss(_WeightedLoss):
    """`functional.binary_cross_entropy`, of probabilities.

    Shape: (*), (*) -> (); (*) with reduction="none".
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy(input, target, weight=self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(_Loss):
    """`functional.binary_cross_entropy_with_logits`, of scores.

    Shape: (*), (*) -> (); (*) with reduction="none".

    Args:
        weight: of each element, broadcast.
        reduction: "none", "sum" or "mean".
        pos_weight: how much more a yes counts than a no, broadcast.

    >>> import tinygrad_edu as torch
    >>> torch.nn.BCEWithLogitsLoss()(torch.zeros(2), torch.tensor([0.0, 1.0]))
    tensor(0.6931)
    """

    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(
        self, weight: Tensor | None = None, size_average: bool | None = None,
        reduce: bool | None = None, reduction: str = "mean", pos_weight: Tensor | None = None,
    ) -> None:  # fmt: skip
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            input,
            target,
            weight=self.weight,
            reduction=self.reduction,
            pos_weight=self.pos_weight,
        )


if not TYPE_CHECKING:  # a type checker is to miss what is not here
    __getattr__ = elsewhere(__name__, "nn.modules.more.losses")
