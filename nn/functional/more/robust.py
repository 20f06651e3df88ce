"""Losses that grow no faster than a line where the error is large."""

from __future__ import annotations

from tinygrad_edu.engine.composed import composed
from tinygrad_edu.nn.functional.losses import (
    _warn_of_broadcasting,
    _weighted,
    read_reduction,
    reduced,
)
from tinygrad_edu.ops.arguments import plain
from tinygrad_edu.ops.losses import absolute_error
from tinygrad_edu.ops.more.robust import huber, smooth_l1
from tinygrad_edu.tensor import Tensor


@composed(autocast="float32")
def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """`d**2 / (2 * beta)` where `d = |input - target| < beta`, else `d - beta / 2`.

    Args:
        beta: where the parabola turns into a line, >= 0; 0 gives `l1_loss`.

    Raises:
        RuntimeError: beta is negative.

    Source: Girshick, "Fast R-CNN", 2015, eq. 3.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.smooth_l1_loss(torch.tensor([0.5, 3.0]), torch.zeros(2))
    tensor(1.3125)
    """
    _warn_of_broadcasting(input, target)
    reduction = read_reduction(size_average, reduce, reduction)
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    bend = plain(beta)
    losses = smooth_l1(input, target, bend) if bend else absolute_error(input, target)
    return reduced(losses, reduction)


@composed(autocast={"cpu": "float32"})
def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """`d**2 / 2` where `d = |input - target| <= delta`, else `delta * (d - delta / 2)`.

    Args:
        delta: where the parabola turns into a line, > 0.
        weight: of each element; "mean" divides by the number of elements all the same.

    Raises:
        RuntimeError: delta is not positive.
        ValueError: `weight` has another shape.

    Source: Huber, "Robust Estimation of a Location Parameter", 1964.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.huber_loss(torch.tensor([0.5, 3.0]), torch.zeros(2))
    tensor(1.3125)
    """
    _warn_of_broadcasting(input, target)
    reduction = read_reduction(None, None, reduction)
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    losses = _weighted(huber(input, target, plain(delta)), weight, input.array.shape, "none")
    return reduced(losses, reduction)
