"""Activations that draw random numbers: RReLU and the Gumbel softmax."""

from __future__ import annotations

from tinygrad_edu.dtypes import float64
from tinygrad_edu.engine.composed import of_tensors
from tinygrad_edu.engine.switches import no_grad
from tinygrad_edu.nn.functional.activation import leaky_relu
from tinygrad_edu.ops.creation import empty, ones_like
from tinygrad_edu.tensor import Tensor


@of_tensors
def rrelu(
    input: Tensor,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Tensor:
    """`x` where x > 0, else `a x`; while training each a is drawn from [lower, upper).

    Args:
        lower, upper: the bounds of a; else a is their mean.
        training: whether to draw.
        inplace: overwrite the input.

    Raises:
        RuntimeError: lower > upper.

    Source: Xu et al., "Empirical evaluation of rectified activations", 2015.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.rrelu(torch.tensor([-4.0, 4.0]), 0.25, 0.75)
    tensor([-2.,  4.])
    """
    if lower > upper:
        raise RuntimeError(
            f"Lower bound should be less than or equal to the upper bound, got {lower} > {upper}"
        )
    input = input if inplace else input.contiguous()  # as torch's kernel needs it
    if not training:
        return leaky_relu(input, (lower + upper) / 2, inplace)
    with no_grad():  # drawn one by one as float64, for the elements that need one, as in torch
        below = input.array <= 0
        drawn = empty(int(below.sum()), dtype=float64).uniform_(lower, upper)
        slope = ones_like(input.detach())
        slope.array[below] = drawn.to(input.device).array
    return input.mul_(slope) if inplace else input * slope


def rrelu_(
    input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False,
    generator: None = None,
) -> Tensor:  # fmt: skip
    """`rrelu`, overwriting the input."""
    return rrelu(input, lower, upper, training, True)


@of_tensors
def gumbel_softmax(
    logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """Samples of a distribution over classes that can be differentiated: softmax((l + G) / tau).

    Args:
        logits: unnormalised log-probabilities l; G is noise of the Gumbel law.
        tau: temperature > 0.
        hard: return one-hot samples, with the gradient of the soft ones.
        eps: without effect, as in torch.
        dim: the dimension of the classes.

    Source: Jang et al., "Categorical reparameterization with Gumbel-softmax", 2017.

    >>> import tinygrad_edu as torch
    >>> torch.nn.functional.gumbel_softmax(torch.zeros(4), hard=True).sum()
    tensor(1.)
    """
    with no_grad():
        noise = empty(logits.shape, dtype=logits.dtype, device=logits.device)
        noise = -noise.exponential_().log()
    soft: Tensor = ((logits + noise) / tau).softmax(dim)
    if not hard:
        return soft
    with no_grad():
        index = soft.max(dim, keepdim=True)[1]
        picked = (soft * 0).scatter_(dim, index, 1.0)
    return picked - soft.detach() + soft
