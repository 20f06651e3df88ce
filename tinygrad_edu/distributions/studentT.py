"""Student's t-distribution."""

from __future__ import annotations

import math
from typing import Any

from tinygrad_edu.distributions import constraints
from tinygrad_edu.distributions.chi2 import Chi2
from tinygrad_edu.distributions.distribution import Distribution
from tinygrad_edu.distributions.utils import broadcast_all, new_empty
from tinygrad_edu.ops.masking import where


class StudentT(Distribution):
    """loc + scale x / sqrt(c / df), x being standard normal and c chi-squared with `df` degrees.

    Unlike torch, `rsample` raises NotImplementedError if `df` needs a gradient.

    >>> import tinygrad_edu as torch
    >>> torch.distributions.StudentT(4.0).variance
    tensor(2.)
    """

    arg_constraints = {
        "df": constraints.positive, "loc": constraints.real, "scale": constraints.positive,
    }  # fmt: skip
    support = constraints.real
    has_rsample = True
    mean = property(lambda self: where(self.df <= 1, math.nan, self.loc))
    mode = property(lambda self: self.loc)

    def __init__(
        self, df: Any, loc: Any = 0.0, scale: Any = 1.0, validate_args: bool | None = None
    ) -> None:
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        super().__init__(self.df.shape, validate_args=validate_args)

    @property
    def variance(self) -> Any:
        finite: Any = self.scale.pow(2) * self.df / (self.df - 2)
        known: Any = where(self.df > 2, finite, math.inf)
        return where(self.df <= 1, math.nan, known)

    def rsample(self, sample_shape: Any = ()) -> Any:
        shape = self._extended_shape(sample_shape)
        x: Any = new_empty(shape, self.df).normal_()
        c = Chi2(self.df, validate_args=False).rsample(sample_shape)
        return self.loc + self.scale * (x * (c / self.df).rsqrt())

    def log_prob(self, value: Any) -> Any:
        y = (self._checked(value) - self.loc) / self.scale
        half, more = 0.5 * self.df, 0.5 * (self.df + 1.0)
        scale = self.scale.log() + 0.5 * self.df.log() + 0.5 * math.log(math.pi)
        return -more * (y * y / self.df).log1p() - (scale + half.lgamma() - more.lgamma())

    def entropy(self) -> Any:
        half, more = 0.5 * self.df, 0.5 * (self.df + 1.0)
        beta = half.lgamma() + math.lgamma(0.5) - more.lgamma()
        rest = more * (more.digamma() - half.digamma()) + 0.5 * self.df.log() + beta
        return self.scale.log() + rest
