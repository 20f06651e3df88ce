"""The negative binomial distribution."""

from __future__ import annotations

from typing import Any

from tinygrad_edu.distributions import constraints
from tinygrad_edu.distributions.distribution import Distribution
from tinygrad_edu.distributions.gamma import Gamma
from tinygrad_edu.distributions.utils import (
    broadcast_all,
    either,
    lazy_property,
    logits_to_probs,
    probs_to_logits,
)
from tinygrad_edu.engine.switches import no_grad
from tinygrad_edu.ops.activation import log_sigmoid
from tinygrad_edu.ops.more.rejection import poisson


class NegativeBinomial(Distribution):
    """How many trials succeed, each with probability `probs`, until `total_count` have failed.

    Args:
        total_count: not negative; it need not be whole.
        probs, logits: one of the two.

    Raises:
        ValueError: both are given, or neither.

    >>> import tinygrad_edu as torch
    >>> torch.distributions.NegativeBinomial(3.0, torch.tensor(0.5)).mean
    tensor(3.)
    """

    arg_constraints = {
        "total_count": constraints.greater_than_eq(0),
        "probs": constraints.half_open_interval(0.0, 1.0), "logits": constraints.real,
    }  # fmt: skip
    support = constraints.nonnegative_integer
    mean = property(lambda self: self.total_count * self.logits.exp())
    mode = property(lambda self: ((self.total_count - 1) * self.logits.exp()).floor().clamp(min=0))
    variance = property(lambda self: self.mean / (-self.logits).sigmoid())
    param_shape = property(lambda self: self._param.shape)

    def __init__(
        self, total_count: Any, probs: Any = None, logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        either(probs, logits)
        if probs is not None:
            self.total_count, self.probs = broadcast_all(total_count, probs)
        else:
            self.total_count, self.logits = broadcast_all(total_count, logits)
        self.total_count = self.total_count.type_as(self._param)
        super().__init__(self._param.shape, validate_args=validate_args)

    @property
    def _param(self) -> Any:
        return vars(self).get("probs", vars(self).get("logits"))

    @lazy_property
    def logits(self) -> Any:
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self) -> Any:
        return logits_to_probs(self.logits, is_binary=True)

    def sample(self, sample_shape: Any = ()) -> Any:
        with no_grad():
            rates = Gamma(self.total_count, (-self.logits).exp(), validate_args=False)
            return poisson(rates.sample(sample_shape))

    def log_prob(self, value: Any) -> Any:
        n, k = self.total_count, self._checked(value)
        weight = n * log_sigmoid(-self.logits) + k * log_sigmoid(self.logits)
        ways = (n + k).lgamma() - (1.0 + k).lgamma() - n.lgamma()
        return weight + ways.masked_fill(n + k == 0.0, 0.0)
