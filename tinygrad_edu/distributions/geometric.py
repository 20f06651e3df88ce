"""The geometric distribution."""

from __future__ import annotations

from typing import Any

from tinygrad_edu.distributions import constraints
from tinygrad_edu.distributions.distribution import Distribution
from tinygrad_edu.distributions.utils import (
    broadcast_all,
    either,
    lazy_property,
    logits_to_probs,
    new_empty,
    probs_to_logits,
)
from tinygrad_edu.dtypes import finfo
from tinygrad_edu.engine.switches import no_grad
from tinygrad_edu.ops.creation import zeros_like
from tinygrad_edu.ops.losses import bce_logits


class Geometric(Distribution):
    """How many trials fail before one succeeds: k with probability (1 - p)^k p, p being `probs`.

    Raises:
        ValueError: both of `probs` and `logits` are given, or neither.

    >>> import tinygrad_edu as torch
    >>> torch.distributions.Geometric(0.25).mean
    tensor(3.)
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.nonnegative_integer
    mean = property(lambda self: 1.0 / self.probs - 1.0)
    mode = property(lambda self: zeros_like(self.probs))
    variance = property(lambda self: (1.0 / self.probs - 1.0) / self.probs)

    def __init__(
        self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        either(probs, logits)
        if probs is not None:
            (self.probs,) = broadcast_all(probs)
        else:
            (self.logits,) = broadcast_all(logits)
        param = self.logits if probs is None else self.probs
        super().__init__(param.shape, validate_args=validate_args)
        if self._validate_args and probs is not None and not (param > 0).all():
            raise ValueError(
                f"Expected parameter probs (Tensor of shape {tuple(param.shape)}) of distribution"
                f" {self!r} to be positive but found invalid values:\n{param[param <= 0]}"
            )

    @lazy_property
    def logits(self) -> Any:
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self) -> Any:
        return logits_to_probs(self.logits, is_binary=True)

    def sample(self, sample_shape: Any = ()) -> Any:
        with no_grad():
            u = new_empty(self._extended_shape(sample_shape), self.probs)
            u.uniform_(finfo(u.dtype).tiny, 1)
            return (u.log() / (-self.probs).log1p()).floor()

    def log_prob(self, value: Any) -> Any:
        value, probs = broadcast_all(self._checked(value), self.probs)
        failing = probs.masked_fill((probs == 1) & (value == 0), 0.0)
        return value * (-failing).log1p() + self.probs.log()

    def entropy(self) -> Any:
        return bce_logits(self.logits, self.probs) / self.probs
