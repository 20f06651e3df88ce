"""The Dirichlet distribution."""

from __future__ import annotations

from typing import Any

from tinygrad_edu.distributions import constraints
from tinygrad_edu.distributions.distribution import Distribution
from tinygrad_edu.ops.embedding import one_hot
from tinygrad_edu.ops.masking import where
from tinygrad_edu.ops.more.rejection import standard_gamma


class Dirichlet(Distribution):
    """Density proportional to prod x_i^(a_i - 1) on vectors of positive numbers that add up to 1.

    Unlike torch, `rsample` raises NotImplementedError if the concentration needs a gradient.

    Args:
        concentration: (*, K), the a_i > 0.

    >>> import tinygrad_edu as torch
    >>> torch.distributions.Dirichlet(torch.tensor([1.0, 3.0])).mean
    tensor([0.2500, 0.7500])
    """

    arg_constraints = {"concentration": constraints.independent(constraints.positive, 1)}
    support = constraints.simplex
    has_rsample = True

    def __init__(self, concentration: Any, validate_args: bool | None = None) -> None:
        if concentration.dim() < 1:
            raise ValueError("`concentration` parameter must be at least one-dimensional.")
        self.concentration = concentration
        shape = concentration.shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    def rsample(self, sample_shape: Any = ()) -> Any:
        expanded = self.concentration.expand(self._extended_shape(sample_shape))
        return standard_gamma(expanded, divided=True)

    def log_prob(self, value: Any) -> Any:
        a = self.concentration
        weighted = (a - 1.0).xlogy(self._checked(value)).sum(-1)
        return weighted + a.sum(-1).lgamma() - a.lgamma().sum(-1)

    @property
    def mean(self) -> Any:
        return self.concentration / self.concentration.sum(-1, True)

    @property
    def mode(self) -> Any:
        above = (self.concentration - 1).clamp(min=0.0)
        mode = above / above.sum(-1, True)
        corner = one_hot(mode.argmax(-1), mode.shape[-1]).to(mode.dtype)
        return where((self.concentration < 1).all(-1, keepdim=True), corner, mode)

    @property
    def variance(self) -> Any:
        a, total = self.concentration, self.concentration.sum(-1, True)
        return a * (total - a) / (total.pow(2) * (total + 1))

    def entropy(self) -> Any:
        a, k = self.concentration, self._event_shape[0]
        total = a.sum(-1)
        expected = (k - total) * total.digamma() + ((a - 1.0) * a.digamma()).sum(-1)
        return a.lgamma().sum(-1) - total.lgamma() - expected
