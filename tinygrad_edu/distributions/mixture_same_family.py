"""Mixtures of distributions of one family."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinygrad_edu.distributions import constraints
from tinygrad_edu.distributions.categorical import Categorical
from tinygrad_edu.distributions.distribution import Distribution
from tinygrad_edu.engine.switches import no_grad
from tinygrad_edu.ops.softmax import log_softmax
from tinygrad_edu.size import Size

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


class MixtureSameFamily(Distribution):
    """The component k, with a probability that `mixture_distribution` says, then a sample of it.

    Args:
        mixture_distribution: Categorical over K classes.
        component_distribution: its last batch dimension, of size K, counts the components.

    Raises:
        ValueError: the arguments are of other classes, or their batch shapes do not fit.

    >>> import tinygrad_edu as torch
    >>> from tinygrad_edu.distributions import Categorical, MixtureSameFamily, Normal
    >>> mix = Categorical(torch.ones(2))
    >>> MixtureSameFamily(mix, Normal(torch.tensor([-1.0, 1.0]), torch.ones(2))).variance
    tensor(2.)
    """

    arg_constraints: dict[str, Any] = {}
    mixture_distribution = property(lambda self: self._mixture_distribution)
    component_distribution = property(lambda self: self._component_distribution)

    def __init__(
        self, mixture_distribution: Any, component_distribution: Any,
        validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        for given, kind, name in (
            (mixture_distribution, Categorical, "Mixture"),
            (component_distribution, Distribution, "Component"),
        ):
            if not isinstance(given, kind):
                raise ValueError(
                    f" The {name} distribution needs to be an  instance of"
                    f" torch.distributions.{kind.__name__}"
                )
        self._mixture_distribution = mixture_distribution
        self._component_distribution = component_distribution
        *batch, count = component_distribution.batch_shape
        ours = mixture_distribution.batch_shape
        if any([1 != a != b != 1 for a, b in zip(reversed(ours), reversed(batch), strict=False)]):
            raise ValueError(
                f"`mixture_distribution.batch_shape` ({ours}) is not compatible with"
                f" `component_distribution.batch_shape`({Size(batch)})"
            )
        classes = mixture_distribution.logits.shape[-1]
        if classes != count:
            raise ValueError(
                f"`mixture_distribution component` ({classes}) does not equal"
                f" `component_distribution.batch_shape[-1]` ({count})"
            )
        event = component_distribution.event_shape
        self._event_ndims = len(event)
        super().__init__(batch, event, validate_args=validate_args)

    @constraints.dependent_property
    def support(self) -> Any:
        return constraints.MixtureSameFamilyConstraint(self._component_distribution.support)

    def _expected(self, of_components: Any) -> Any:
        """Weighted by the probabilities, and summed over the components."""
        probs = self._mixture_distribution.probs
        probs = probs.reshape(*probs.shape, *[1] * self._event_ndims)
        return (probs * of_components).sum(-1 - self._event_ndims)

    def _pad(self, x: Tensor) -> Tensor:
        return x.unsqueeze(-1 - self._event_ndims)

    @property
    def mean(self) -> Any:
        return self._expected(self._component_distribution.mean)

    @property
    def variance(self) -> Any:
        between = (self._component_distribution.mean - self._pad(self.mean)).pow(2.0)
        return self._expected(self._component_distribution.variance) + self._expected(between)

    def cdf(self, x: Tensor) -> Any:
        of_components = self._component_distribution.cdf(self._pad(x))
        return (of_components * self._mixture_distribution.probs).sum(-1)

    def log_prob(self, x: Tensor) -> Any:
        of_components = self._component_distribution.log_prob(self._pad(self._checked(x)))
        log_probs = log_softmax(self._mixture_distribution.logits, -1)
        return (of_components + log_probs).logsumexp(-1)

    def sample(self, sample_shape: Any = ()) -> Any:
        with no_grad():
            choice = self._mixture_distribution.sample(sample_shape)
            values = self._component_distribution.sample(sample_shape)
            dim = choice.dim()
            index = choice.reshape(*choice.shape, *[1] * (self._event_ndims + 1))
            index = index.expand(*choice.shape, 1, *self._event_shape)
            return values.gather(dim, index).squeeze(dim)

    def __repr__(self) -> str:
        return (
            f"MixtureSameFamily(\n  {self._mixture_distribution},"
            f"\n  {self._component_distribution})"
        )
