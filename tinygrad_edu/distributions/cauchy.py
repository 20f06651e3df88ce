"""The Cauchy distribution."""

from __future__ import annotations

import math
from typing import Any

from tinygrad_edu.distributions import constraints
from tinygrad_edu.distributions.distribution import Distribution
from tinygrad_edu.distributions.utils import broadcast_all, new_empty
from tinygrad_edu.ops.creation import full_like


class Cauchy(Distribution):
    """Density 1 / (pi scale (1 + ((x - loc) / scale)^2)); it has no mean.

    >>> import tinygrad_edu as torch
    >>> torch.distributions.Cauchy(0.0, 1.0).icdf(torch.tensor(0.75))
    tensor(1.)
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True
    mean = property(lambda self: full_like(self.loc, math.nan))
    mode = property(lambda self: self.loc)
    variance = property(lambda self: full_like(self.loc, math.inf))

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def rsample(self, sample_shape: Any = ()) -> Any:
        noise = new_empty(self._extended_shape(sample_shape), self.loc).cauchy_()
        return self.loc + noise * self.scale

    def log_prob(self, value: Any) -> Any:
        squared = ((self._checked(value) - self.loc) / self.scale) ** 2
        return -math.log(math.pi) - self.scale.log() - squared.log1p()

    def cdf(self, value: Any) -> Any:
        return ((self._checked(value) - self.loc) / self.scale).atan() / math.pi + 0.5

    def icdf(self, value: Any) -> Any:
        return (math.pi * (value - 0.5)).tan() * self.scale + self.loc

    def entropy(self) -> Any:
        return math.log(4 * math.pi) + self.scale.log()
