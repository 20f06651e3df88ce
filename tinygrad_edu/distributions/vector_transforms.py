"""Transforms whose last dimension is one event: softmax, stick breaking, any transform made so.

They belong to `transforms`, where torch and pickles have them.
"""

from __future__ import annotations

from typing import Any

from tinygrad_edu.distributions import constraints
from tinygrad_edu.distributions.transforms import SigmoidTransform, Transform
from tinygrad_edu.distributions.utils import sum_rightmost
from tinygrad_edu.dtypes import finfo
from tinygrad_edu.ops.activation import softplus
from tinygrad_edu.ops.joining import cat
from tinygrad_edu.ops.softmax import softmax

__all__ = ["IndependentTransform", "SoftmaxTransform", "StickBreakingTransform"]


class IndependentTransform(Transform):
    """`base_transform`, its last dimensions being one event: Jacobians are summed over them."""

    __module__ = Transform.__module__

    def __init__(
        self, base_transform: Any, reinterpreted_batch_ndims: int, cache_size: int = 0
    ) -> None:
        super().__init__(cache_size)
        self.base_transform, self.ndims = base_transform, reinterpreted_batch_ndims
        self.domain = constraints.independent(base_transform.domain, self.ndims)
        self.codomain = constraints.independent(base_transform.codomain, self.ndims)
        self.bijective = base_transform.bijective

    def _call(self, x: Any) -> Any:
        return self.base_transform(x)

    def _inverse(self, y: Any) -> Any:
        return self.base_transform.inv(y)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        return sum_rightmost(self.base_transform.log_abs_det_jacobian(x, y), self.ndims)


class SoftmaxTransform(Transform):
    """y = softmax(x) over the last dimension; the inverse takes one of many x, log y."""

    __module__ = Transform.__module__

    domain, codomain = constraints.real_vector, constraints.simplex

    def _call(self, x: Any) -> Any:
        return softmax(x, -1)

    def _inverse(self, y: Any) -> Any:
        return y.log()


class StickBreakingTransform(Transform):
    """n numbers become n + 1 parts of 1: each breaks a piece off what the ones before have left."""

    __module__ = Transform.__module__

    domain, codomain = constraints.real_vector, constraints.simplex
    bijective = True

    def _even(self, x: Any) -> Any:
        """Makes all parts equal where x is 0: part i is one of n + 1 - i."""
        return x.shape[-1] + 1 - x.new_ones(x.shape[-1]).cumsum(-1)

    def _call(self, x: Any) -> Any:
        part = SigmoidTransform()(x - self._even(x).log())
        left = (1 - part).cumprod(-1)
        first = x.new_ones((*x.shape[:-1], 1))
        return cat([part, first], -1) * cat([first, left], -1)

    def _inverse(self, y: Any) -> Any:
        left = 1 - y[..., :-1].cumsum(-1)
        left = left.clamp(min=finfo(y.dtype).tiny)
        return y[..., :-1].log() - left.log() + self._even(left).log()

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
        x = x - self._even(x).log()
        return (y[..., :-1].log() - softplus(x)).sum(-1)
