"""Continuous relaxations of the categorical distribution."""

from __future__ import annotations

from typing import Any

from tinygrad_edu.distributions import constraints
from tinygrad_edu.distributions.categorical import Categorical
from tinygrad_edu.distributions.distribution import Distribution
from tinygrad_edu.distributions.transformed_distribution import TransformedDistribution
from tinygrad_edu.distributions.transforms import ExpTransform
from tinygrad_edu.distributions.utils import broadcast_all, clamp_probs
from tinygrad_edu.ops.creation import full_like
from tinygrad_edu.ops.sampling import rand


class ExpRelaxedCategorical(Distribution):
    """The logarithms of samples of RelaxedOneHotCategorical."""

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.real_vector
    has_rsample = True
    probs = property(lambda self: self._categorical.probs)
    logits = property(lambda self: self._categorical.logits)
    param_shape = property(lambda self: self._categorical.param_shape)

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        self._categorical = Categorical(probs, logits)
        self.temperature = temperature
        shape = self._categorical.param_shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    def rsample(self, sample_shape: Any = ()) -> Any:
        shape, like = self._extended_shape(sample_shape), self.logits
        u = clamp_probs(rand(shape, dtype=like.dtype, device=like.device))
        scores = (like - (-u.log()).log()) / self.temperature
        return scores - scores.logsumexp(dim=-1, keepdim=True)

    def log_prob(self, value: Any) -> Any:
        n = self._event_shape[0]
        logits, value = broadcast_all(self.logits, self._checked(value))
        score = logits - value * self.temperature
        score = (score - score.logsumexp(dim=-1, keepdim=True)).sum(-1)
        log_scale = full_like(self.temperature, float(n)).lgamma()
        return score + (log_scale + (n - 1) * self.temperature.log())


class RelaxedOneHotCategorical(TransformedDistribution):
    """softmax((logits + Gumbel noise) / temperature): close to one-hot, and differentiable.

    Args:
        temperature: a tensor; the nearer to 0, the nearer to one-hot.
        probs, logits: (*, K); one of the two, as of Categorical.

    Source: Maddison et al., "The concrete distribution", 2017; Jang et al., "Categorical
    reparameterization with Gumbel-softmax", 2017.

    >>> import tinygrad_edu as torch
    >>> d = torch.distributions.RelaxedOneHotCategorical(torch.tensor(0.5), torch.ones(4))
    >>> d.rsample().sum().round()
    tensor(1.)
    """

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.simplex
    has_rsample = True
    temperature = property(lambda self: self.base_dist.temperature)
    probs = property(lambda self: self.base_dist.probs)
    logits = property(lambda self: self.base_dist.logits)

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        base = ExpRelaxedCategorical(temperature, probs, logits, validate_args=validate_args)
        super().__init__(base, ExpTransform(), validate_args=validate_args)
