"""The Bernoulli distribution."""

from __future__ import annotations

import math
from typing import Any

from tinygrad_edu.distributions import constraints
from tinygrad_edu.distributions.distribution import Distribution
from tinygrad_edu.distributions.utils import (
    broadcast_all,
    either,
    lazy_property,
    logits_to_probs,
    probs_to_logits,
)
from tinygrad_edu.engine.switches import no_grad
from tinygrad_edu.ops.creation import arange
from tinygrad_edu.ops.losses import bce_logits
from tinygrad_edu.ops.sampling import bernoulli


class Bernoulli(Distribution):
    """1 with probability `probs`, else 0; or given by the log-odds `logits`.

    Raises:
        ValueError: both are given, or neither.

    >>> import tinygrad_edu as torch
    >>> torch.distributions.Bernoulli(logits=torch.zeros(2)).probs
    tensor([0.5000, 0.5000])
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.boolean
    has_enumerate_support = True
    mean = property(lambda self: self.probs)
    variance = property(lambda self: self.probs * (1 - self.probs))
    param_shape = property(lambda self: self._param.shape)

    def __init__(
        self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        either(probs, logits)
        if probs is not None:
            (self.probs,) = broadcast_all(probs)
        else:
            (self.logits,) = broadcast_all(logits)
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

    @property
    def mode(self) -> Any:
        ones: Any = (self.probs >= 0.5).to(self.probs.dtype)
        return ones.masked_fill(self.probs == 0.5, math.nan)

    def sample(self, sample_shape: Any = ()) -> Any:
        with no_grad():
            return bernoulli(self.probs.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: Any) -> Any:
        self._checked(value)
        logits, value = broadcast_all(self.logits, value)
        return -bce_logits(logits, value)

    def entropy(self) -> Any:
        return bce_logits(self.logits, self.probs)

    def enumerate_support(self, expand: bool = True) -> Any:
        values = arange(2, dtype=self._param.dtype, device=self._param.device)
        values = values.view(-1, *[1] * len(self._batch_shape))
        return values.expand(-1, *self._batch_shape) if expand else values
