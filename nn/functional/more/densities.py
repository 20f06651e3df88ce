"""Losses that compare distributions, or say how likely targets are."""

from __future__ import annotations

import warnings

import numpy as np

from tinygrad_edu.engine.boundary import need_tensors, users_level
from tinygrad_edu.engine.composed import composed, of_tensors
from tinygrad_edu.nn.functional.losses import read_reduction, reduced
from tinygrad_edu.ops.more.special import xlogy
from tinygrad_edu.tensor import Tensor


@composed(autocast="float32")
def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """`target * (log(target) - input)`: how far the distribution `input` is from `target`.

    Args:
        input: log-probabilities.
        target: probabilities, or their logarithms if `log_target`.
        reduction: "none", "sum", "mean", or "batchmean", the sum divided by the first size.

    Source: Kullback and Leibler, "On Information and Sufficiency", 1951.

    >>> import tinygrad_edu as torch
    >>> p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.75]])
    >>> torch.nn.functional.kl_div(q.log(), p, reduction="batchmean")
    tensor(0.1438)
    """
    need_tensors("kl_div", input=input, target=target)
    legacy = size_average is not None or reduce is not None
    per_row = reduction == "batchmean"
    if reduction == "mean" and not legacy:
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size."
            "'batchmean' divides only by the batch size, and aligns with the KL div math"
            " definition.'mean' will be changed to behave the same as 'batchmean' in the next major"
            " release.",
            stacklevel=users_level(),
        )
    how = read_reduction(size_average, reduce, "sum" if per_row else reduction)
    if log_target:
        losses = target.exp() * (target - input)
    else:
        losses = xlogy(target, target) - target * input
    total = reduced(losses, how)
    return total / input.array.shape[0] if per_row and input.array.ndim else total


@composed(autocast="float32")
def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """`exp(x) - t * x`: the negative log-likelihood of counts t under a Poisson law of rate exp(x).

    Args:
        log_input: x is the logarithm of the rate; else the rate, `x - t * log(x + eps)`.
        full: add Stirling's approximation of log(t!) where t > 1.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.poisson_nll_loss(torch.zeros(1), torch.tensor([2.0]))
    tensor(1.)
    """
    need_tensors("poisson_nll_loss", input=input, target=target)
    reduction = read_reduction(size_average, reduce, reduction)
    if log_input:
        losses = input.exp() - target * input
    else:
        losses = input - target * (input + eps).log()
    if full:
        stirling = target * target.log() - target + 0.5 * (2 * np.pi * target).log()
        losses = losses + stirling.masked_fill(target <= 1, 0)
    return reduced(losses, reduction)


@of_tensors
def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """`(log(var) + (input - target)**2 / var) / 2`: targets under a normal law.

    Args:
        input: means, any shape.
        var: variances >= 0: the shape of `input`, one size 1, the last dimension missing, or a
            number.
        full: add log(2 pi) / 2.
        eps: variances below it count as this.

    Raises:
        ValueError: a negative variance, a shape that does not fit, no such reduction.

    Source: Nix and Weigend, "Estimating the Mean and Variance of the Target", 1994.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.gaussian_nll_loss(torch.zeros(1), torch.ones(1), torch.ones(1))
    tensor(0.5000)
    """
    if not isinstance(var, Tensor):
        var = input.new_full(input.array.shape, float(var))
    if bool((var.array < 0).any()):
        raise ValueError("var has negative entry/entries")
    shape, other = input.array.shape, var.array.shape
    if other == shape[:-1] and other != shape:
        var = var.unsqueeze(-1)
    elif other != shape:
        differing = [n for m, n in zip(shape, other, strict=False) if m != n]
        if len(other) != len(shape) or sum(differing) != 1:
            raise ValueError("var is of incorrect size")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not valid")
    # The floor changes the value only: the gradient passes as if it were not there.
    var = var + (var.detach().clamp(min=eps) - var.detach())
    losses = 0.5 * (var.log() + (input - target) ** 2 / var)
    return reduced(losses + 0.5 * float(np.log(2 * np.pi)) if full else losses, reduction)
