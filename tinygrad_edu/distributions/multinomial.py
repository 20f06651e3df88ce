"""The multinomial distribution."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tinygrad_edu.distributions import constraints
from tinygrad_edu.distributions.categorical import Categorical
from tinygrad_edu.distributions.distribution import Distribution
from tinygrad_edu.distributions.utils import broadcast_all
from tinygrad_edu.ops.creation import arange, ones_like, zeros

if TYPE_CHECKING:
    from tinygrad_edu.distributions.constraints import Constraint
    from tinygrad_edu.tensor import Tensor


class Multinomial(Distribution):
    """How often each of K classes comes up in n draws: n! prod p_i^k_i / k_i!, n `total_count`.

    Raises:
        NotImplementedError: `total_count` is not an int.

    >>> import tinygrad_edu as torch
    >>> torch.distributions.Multinomial(3, torch.tensor([1.0, 0.0])).sample()
    tensor([3., 0.])
    """

    arg_constraints = {"probs": constraints.simplex, "logits": constraints.real_vector}
    param_shape = property(lambda self: self._categorical.param_shape)
    probs = property(lambda self: self._categorical.probs)
    logits = property(lambda self: self._categorical.logits)
    mean = property(lambda self: self.probs * self.total_count)
    variance = property(lambda self: self.total_count * self.probs * (1 - self.probs))

    def __init__(
        self, total_count: int = 1, probs: Any = None, logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        if not isinstance(total_count, int):
            raise NotImplementedError("inhomogeneous total_count is not supported")
        self.total_count = total_count
        self._categorical = Categorical(probs=probs, logits=logits)
        shape = self._categorical.param_shape
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> Constraint:
        return constraints.multinomial(self.total_count)

    def sample(self, sample_shape: Any = ()) -> Any:
        draws = self._categorical.sample((self.total_count, *sample_shape)).movedim(0, -1)
        counts = zeros(
            self._extended_shape(sample_shape), dtype=self.probs.dtype, device=self.probs.device
        )
        return counts.scatter_add_(-1, draws, ones_like(draws).type_as(counts))

    def log_prob(self, value: Tensor | float) -> Tensor:
        logits, value = broadcast_all(self.logits, self._checked(value))
        logits = logits.masked_fill((value == 0) & (logits == -math.inf), 0.0)
        ways = (value.sum(-1) + 1).lgamma() - (value + 1).lgamma().sum(-1)
        return ways + (logits * value).sum(-1)

    def entropy(self) -> Any:
        """n H(category) - log n! + the expected log x! of each count x, which is binomial."""
        n = self.total_count
        x = arange(1, n + 1, dtype=self.probs.dtype, device=self.probs.device)
        x = x.view(-1, *[1] * self.probs.dim())
        ways = math.lgamma(n + 1) - (x + 1).lgamma() - (n - x + 1).lgamma()
        p = self.probs
        chances = (ways + x.xlogy(p) + (n - x).xlogy(1 - p)).exp()
        of_counts = (chances * (x + 1).lgamma()).sum(0).sum(-1)
        return n * self._categorical.entropy() - math.lgamma(n + 1) + of_counts
