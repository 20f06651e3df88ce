"""The categorical distribution."""

from __future__ import annotations

import math
from typing import Any

from tinygrad_edu.distributions import constraints
from tinygrad_edu.distributions.distribution import Distribution
from tinygrad_edu.distributions.utils import (
    either,
    lazy_property,
    logits_to_probs,
    probs_to_logits,
)
from tinygrad_edu.dtypes import finfo
from tinygrad_edu.ops.creation import arange, full
from tinygrad_edu.ops.sampling import multinomial
from tinygrad_edu.ops.shape import broadcast_tensors
from tinygrad_edu.size import Size


class Categorical(Distribution):
    """One of K classes, numbered from 0: class i with probability probs[i].

    Args:
        probs: (*, K) weights >= 0; they are divided by their sum.
        logits: (*, K) logarithms of weights.

    Raises:
        ValueError: both of `probs` and `logits` are given, or neither, or a 0-d tensor.

    >>> import tinygrad_edu as torch
    >>> policy = torch.distributions.Categorical(logits=torch.tensor([0.0, -1e9, -1e9]))
    >>> policy.sample((3,))
    tensor([0, 0, 0])
    """

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    has_enumerate_support = True
    param_shape = property(lambda self: self._param.shape)
    mode = property(lambda self: self.probs.argmax(dim=-1))

    def __init__(
        self, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        either(probs, logits)
        name, given = ("logits", logits) if probs is None else ("probs", probs)
        if given.dim() < 1:
            raise ValueError(f"`{name}` parameter must be at least one-dimensional.")
        if probs is not None:
            self.probs = probs / probs.sum(-1, keepdim=True)
        else:
            self.logits = logits - logits.logsumexp(dim=-1, keepdim=True)
        self._num_events = given.shape[-1]
        super().__init__(given.shape[:-1], validate_args=validate_args)

    @property
    def _param(self) -> Any:
        return vars(self).get("probs", vars(self).get("logits"))

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        return constraints.integer_interval(0, self._num_events - 1)

    @lazy_property
    def logits(self) -> Any:
        return probs_to_logits(self.probs)

    @lazy_property
    def probs(self) -> Any:
        return logits_to_probs(self.logits)

    @property
    def mean(self) -> Any:
        """NaN: classes have no mean."""
        return full(self._batch_shape, math.nan, dtype=self.probs.dtype, device=self.probs.device)

    variance = mean

    def sample(self, sample_shape: Any = ()) -> Any:
        rows = self.probs.reshape(-1, self._num_events)
        drawn = multinomial(rows, Size(sample_shape).numel(), True).T
        return drawn.reshape(self._extended_shape(sample_shape))

    def log_prob(self, value: Any) -> Any:
        index = self._checked(value).long().unsqueeze(-1)
        index, logits = broadcast_tensors(index, self.logits)
        return logits.gather(-1, index[..., :1]).squeeze(-1)

    def entropy(self) -> Any:
        logits = self.logits.clamp(min=finfo(self.logits.dtype).min)
        return -(logits * self.probs).sum(-1)

    def enumerate_support(self, expand: bool = True) -> Any:
        values = arange(self._num_events, device=self._param.device)
        values = values.view(-1, *[1] * len(self._batch_shape))
        return values.expand(-1, *self._batch_shape) if expand else values
