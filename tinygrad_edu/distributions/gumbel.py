"""The Gumbel distribution."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tinygrad_edu.distributions import constraints
from tinygrad_edu.distributions.transformed_distribution import TransformedDistribution
from tinygrad_edu.distributions.transforms import AffineTransform, ExpTransform
from tinygrad_edu.distributions.uniform import Uniform
from tinygrad_edu.distributions.utils import broadcast_all, euler_constant
from tinygrad_edu.dtypes import finfo
from tinygrad_edu.ops.creation import full_like, ones_like

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


class Gumbel(TransformedDistribution):
    """The law of loc - scale log(-log u), u being uniform on (0, 1).

    >>> import tinygrad_edu as torch
    >>> torch.distributions.Gumbel(0.0, 1.0).log_prob(torch.tensor(0.0))
    tensor(-1.)
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    mean = property(lambda self: self.loc + self.scale * euler_constant)
    mode = property(lambda self: self.loc)
    stddev = property(lambda self: (math.pi / math.sqrt(6)) * self.scale)
    variance = property(lambda self: self.stddev.pow(2))

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        info = finfo(self.loc.dtype)
        low, high = full_like(self.loc, info.tiny), full_like(self.loc, 1 - info.eps)
        steps = [
            ExpTransform().inv,
            AffineTransform(0, -ones_like(self.scale)),
            ExpTransform().inv,
            AffineTransform(loc, -self.scale),
        ]
        base = Uniform(low, high, validate_args=validate_args)
        super().__init__(base, steps, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Any:
        y = (self.loc - self._checked(value)) / self.scale
        return (y - y.exp()) - self.scale.log()

    def entropy(self) -> Tensor:
        return self.scale.log() + (1 + euler_constant)
