"""The half-normal distribution."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tinygrad_edu.distributions import constraints
from tinygrad_edu.distributions.normal import Normal
from tinygrad_edu.distributions.transformed_distribution import TransformedDistribution
from tinygrad_edu.distributions.transforms import AbsTransform
from tinygrad_edu.ops.creation import zeros_like
from tinygrad_edu.ops.masking import where

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


class HalfNormal(TransformedDistribution):
    """The law of |x|, x being normal with mean 0 and standard deviation `scale`.

    >>> import tinygrad_edu as torch
    >>> torch.distributions.HalfNormal(1.0).mean
    tensor(0.7979)
    """

    arg_constraints = {"scale": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True
    scale = property(lambda self: self.base_dist.scale)
    mean = property(lambda self: self.scale * math.sqrt(2 / math.pi))
    mode = property(lambda self: zeros_like(self.scale))
    variance = property(lambda self: self.scale.pow(2) * (1 - 2 / math.pi))

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        base = Normal(0, scale, validate_args=False)
        super().__init__(base, AbsTransform(), validate_args=validate_args)

    def log_prob(self, value: Any) -> Any:
        both_sides = self.base_dist.log_prob(self._checked(value)) + math.log(2)
        return where(value >= 0, both_sides, -math.inf)

    def cdf(self, value: Tensor) -> Any:
        return 2 * self.base_dist.cdf(self._checked(value)) - 1

    def icdf(self, prob: Any) -> Any:
        return self.base_dist.icdf((prob + 1) / 2)

    def entropy(self) -> Any:
        return self.base_dist.entropy() - math.log(2)
