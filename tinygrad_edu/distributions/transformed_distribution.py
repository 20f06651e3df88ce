"""Distributions of transformed random variables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from tinygrad_edu.distributions import constraints
from tinygrad_edu.distributions.distribution import Distribution
from tinygrad_edu.distributions.independent import Independent
from tinygrad_edu.distributions.transforms import ComposeTransform, Transform
from tinygrad_edu.distributions.utils import sum_rightmost
from tinygrad_edu.engine.switches import no_grad
from tinygrad_edu.size import Size

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


class TransformedDistribution(Distribution):
    """The law of t(x) where x follows `base_distribution`: log p(t(x)) = log p(x) - log |dt/dx|.

    Args:
        base_distribution: of x.
        transforms: one Transform, or several to apply in turn.

    Raises:
        ValueError: a transform is no Transform, or needs more dimensions than there are.

    >>> import tinygrad_edu as torch
    >>> from tinygrad_edu.distributions import Normal, TransformedDistribution, transforms
    >>> d = TransformedDistribution(Normal(0.0, 1.0), transforms.ExpTransform())
    >>> d.log_prob(torch.tensor(1.0))
    tensor(-0.9189)
    """

    arg_constraints: dict[str, Any] = {}

    def __init__(
        self, base_distribution: Any, transforms: Any, validate_args: bool | None = None
    ) -> None:
        listed = transforms if isinstance(transforms, list) else [transforms]
        if not all([isinstance(t, Transform) for t in listed]):
            raise ValueError(f"transforms must be a Transform or list, but was {transforms}")
        self.transforms = listed
        base_shape = base_distribution.batch_shape + base_distribution.event_shape
        base_dims = len(base_distribution.event_shape)
        whole = ComposeTransform(listed)
        if len(base_shape) < whole.domain.event_dim:
            raise ValueError(
                "base_distribution needs to have shape with size at least"
                f" {whole.domain.event_dim}, but got {base_shape}."
            )
        shape = Size(whole.forward_shape(base_shape))
        wide = Size(whole.inverse_shape(shape))
        if base_shape != wide:
            base_distribution = base_distribution.expand(wide[: len(wide) - base_dims])
        extra = whole.domain.event_dim - base_dims
        self.base_dist = Independent(base_distribution, extra) if extra > 0 else base_distribution
        change = whole.codomain.event_dim - whole.domain.event_dim
        cut = len(shape) - max(whole.codomain.event_dim, base_dims + change)
        super().__init__(shape[:cut], shape[cut:], validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Self:
        shape = Size(batch_shape) + self._event_shape
        for t in reversed(self.transforms):
            shape = t.inverse_shape(shape)
        base = self.base_dist.expand(shape[: len(shape) - len(self.base_dist.event_shape)])
        new = super().expand(batch_shape, _instance)
        new.base_dist = base
        return new

    @constraints.dependent_property(is_discrete=False)
    def support(self) -> Any:
        if not self.transforms:
            return self.base_dist.support
        support = self.transforms[-1].codomain
        extra = len(self._event_shape) - support.event_dim
        return constraints.independent(support, extra) if extra > 0 else support

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        result: bool = self.base_dist.has_rsample
        return result

    def _transformed(self, x: Tensor) -> Tensor:
        for t in self.transforms:
            x = t(x)
        return x

    def sample(self, sample_shape: Any = ()) -> Any:
        with no_grad():
            return self._transformed(self.base_dist.sample(sample_shape))

    def rsample(self, sample_shape: Any = ()) -> Any:
        return self._transformed(self.base_dist.rsample(sample_shape))

    def log_prob(self, value: Tensor) -> Any:
        y, dims, total = self._checked(value), len(self._event_shape), 0.0
        for t in reversed(self.transforms):
            x = t.inv(y)
            dims += t.domain.event_dim - t.codomain.event_dim
            log_det = t.log_abs_det_jacobian(x, y)
            total = total - sum_rightmost(log_det, dims - t.domain.event_dim)
            y = x
        of_base = self.base_dist.log_prob(y)
        return total + sum_rightmost(of_base, dims - len(self.base_dist.event_shape))

    def _monotone(self, p: Any) -> Any:
        """1 - p if the transforms together turn the order round."""
        sign = ComposeTransform(self.transforms).sign
        return p if isinstance(sign, int) and sign == 1 else sign * (p - 0.5) + 0.5

    def cdf(self, value: Tensor) -> Any:
        for t in reversed(self.transforms):
            value = t.inv(value)
        if self._validate_args:
            self.base_dist._validate_sample(value)
        return self._monotone(self.base_dist.cdf(value))

    def icdf(self, value: Tensor) -> Tensor:
        return self._transformed(self.base_dist.icdf(self._monotone(value)))
