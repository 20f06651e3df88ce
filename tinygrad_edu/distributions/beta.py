"""The beta distribution."""

from __future__ import annotations

from typing import Any

from tinygrad_edu.distributions import constraints
from tinygrad_edu.distributions.dirichlet import Dirichlet
from tinygrad_edu.distributions.distribution import Distribution
from tinygrad_edu.distributions.utils import broadcast_all
from tinygrad_edu.ops.joining import stack


class Beta(Distribution):
    """Density proportional to x^(concentration1 - 1) (1 - x)^(concentration0 - 1) on [0, 1].

    Unlike torch, `rsample` raises NotImplementedError if a concentration needs a gradient.

    >>> import tinygrad_edu as torch
    >>> torch.distributions.Beta(1.0, 3.0).mean
    tensor(0.2500)
    """

    arg_constraints = {
        "concentration1": constraints.positive,
        "concentration0": constraints.positive,
    }
    support = constraints.unit_interval
    has_rsample = True
    concentration1 = property(lambda self: self._dirichlet.concentration[..., 0])
    concentration0 = property(lambda self: self._dirichlet.concentration[..., 1])
    mean = property(lambda self: self._dirichlet.mean[..., 0])
    mode = property(lambda self: self._dirichlet.mode[..., 0])
    variance = property(lambda self: self._dirichlet.variance[..., 0])

    def __init__(
        self, concentration1: Any, concentration0: Any, validate_args: bool | None = None
    ) -> None:
        both = stack(broadcast_all(concentration1, concentration0), -1)
        self._dirichlet = Dirichlet(both, validate_args=validate_args)
        super().__init__(both.shape[:-1], validate_args=validate_args)

    def rsample(self, sample_shape: Any = ()) -> Any:
        return self._dirichlet.rsample(sample_shape)[..., 0]

    def log_prob(self, value: Any) -> Any:
        self._checked(value)
        return self._dirichlet.log_prob(stack([value, 1.0 - value], -1))

    def entropy(self) -> Any:
        return self._dirichlet.entropy()
