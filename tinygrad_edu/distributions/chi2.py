"""The chi-squared distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from tinygrad_edu.distributions import constraints
from tinygrad_edu.distributions.gamma import Gamma


class Chi2(Gamma):
    """The sum of squares of `df` standard normal numbers: Gamma(df / 2, 1 / 2).

    >>> import tinygrad_edu as torch
    >>> torch.distributions.Chi2(4.0).mean
    tensor(4.)
    """

    arg_constraints = {"df": constraints.positive}
    df = property(lambda self: self.concentration * 2)

    def __init__(self, df: Any, validate_args: bool | None = None) -> None:
        super().__init__(0.5 * df, 0.5, validate_args=validate_args)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Self:
        new = super().expand(batch_shape, _instance)
        new.concentration = self.concentration.expand(*batch_shape)
        new.rate = self.rate.expand(*batch_shape)
        return new
