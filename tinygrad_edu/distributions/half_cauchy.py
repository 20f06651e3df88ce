"""The half-Cauchy distribution."""

from __future__ import annotations

import math
from typing import Any

from tinygrad_edu.distributions import constraints
from tinygrad_edu.distributions.cauchy import Cauchy
from tinygrad_edu.distributions.transformed_distribution import TransformedDistribution
from tinygrad_edu.distributions.transforms import AbsTransform
from tinygrad_edu.ops.creation import full_like, zeros_like
from tinygrad_edu.ops.masking import where


class HalfCauchy(TransformedDistribution):
    """The law of |x|, x having a Cauchy distribution around 0 of that scale.

    >>> import tinygrad_edu as torch
    >>> torch.distributions.HalfCauchy(1.0).cdf(torch.tensor(1.0))
    tensor(0.5000)
    """

    arg_constraints = {"scale": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True
    scale = property(lambda self: self.base_dist.scale)
    mean = variance = property(lambda self: full_like(self.scale, math.inf))
    mode = property(lambda self: zeros_like(self.scale))

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        base = Cauchy(0, scale, validate_args=False)
        super().__init__(base, AbsTransform(), validate_args=validate_args)

    def log_prob(self, value: Any) -> Any:
        both_sides = self.base_dist.log_prob(self._checked(value)) + math.log(2)
        return where(value >= 0, both_sides, -math.inf)

    def cdf(self, value: Any) -> Any:
        return 2 * self.base_dist.cdf(self._checked(value)) - 1

    def icdf(self, prob: Any) -> Any:
        return self.base_dist.icdf((prob + 1) / 2)

    def entropy(self) -> Any:
        return self.base_dist.entropy() - math.log(2)
