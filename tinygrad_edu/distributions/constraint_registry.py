"""`transform_to` and `biject_to`: from numbers without bounds to values that fulfil a constraint.

An optimizer moves freely in the space of all numbers; the transform takes what it finds to where a
parameter must be.  `biject_to` gives transforms that are one-to-one, with Jacobians.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tinygrad_edu.distributions import constraints, transforms, vector_transforms

if TYPE_CHECKING:
    from tinygrad_edu.distributions.transforms import Transform


__all__ = ["ConstraintRegistry", "biject_to", "transform_to"]


class ConstraintRegistry:
    """Which transform leads to a constraint.

    >>> import tinygrad_edu as torch
    >>> d = torch.distributions
    >>> d.transform_to(d.constraints.positive)(torch.zeros(2))
    tensor([1., 1.])
    """

    def __init__(self) -> None:
        self.known: dict[Any, Callable[[Any], Any]] = {}

    def register(self, constraint: Any, factory: Callable[[Any], Any] | None = None) -> Any:
        """Note the function that makes a transform of a constraint of that class; a decorator, too.

        Args:
            constraint: a constraint or its class.
            factory: takes such a constraint.
        """
        if factory is None:
            return lambda factory: self.register(constraint, factory)
        self.known[_key(constraint)] = factory
        return factory

    def __call__(self, constraint: Any) -> Any:
        """The transform; NotImplementedError if none is known."""
        factory = self.known.get(_key(constraint))
        if factory is None:
            raise NotImplementedError(f"Cannot transform {_key(constraint)} constraints")
        return factory(constraint)


def _key(constraint: Any) -> Any:
    """What constraints of one kind have in common: those made by functions, a name."""
    kind = constraint if isinstance(constraint, type) else type(constraint)
    return getattr(constraint, "name", kind)


biject_to, transform_to = ConstraintRegistry(), ConstraintRegistry()


def _affine(constraint: Any, sign: float = 1.0) -> Transform | Transform:
    """Exp, shifted to a bound."""
    (bound,) = constraint.shown.values()
    if isinstance(bound, float) and bound == 0.0:
        return transforms.ExpTransform()
    move = transforms.AffineTransform(bound, sign)
    return transforms.ComposeTransform([transforms.ExpTransform(), move])


def _interval(constraint: Any) -> Transform | Transform:
    """The logistic function, stretched to an interval."""
    low, high = constraint.shown["lower_bound"], constraint.shown["upper_bound"]
    if isinstance(low, float) and (low, high) == (0.0, 1.0):
        return transforms.SigmoidTransform()
    stretch = transforms.AffineTransform(low, high - low)
    return transforms.ComposeTransform([transforms.SigmoidTransform(), stretch])


def _independent(registry: ConstraintRegistry) -> Callable[[Any], Any]:
    return lambda c: vector_transforms.IndependentTransform(
        registry(c.base_constraint), c.reinterpreted_batch_ndims
    )


for _registry in (biject_to, transform_to):
    _registry.register(constraints.real, lambda c: transforms.identity_transform)
    _registry.register(constraints.independent, _independent(_registry))
    for _example in (constraints.positive, constraints.nonnegative):
        _registry.register(_example, _affine)
    _registry.register(constraints.less_than(0.0), lambda c: _affine(c, -1.0))
    for _example in (constraints.unit_interval, constraints.half_open_interval(0.0, 1.0)):
        _registry.register(_example, _interval)
biject_to.register(constraints.simplex, lambda c: vector_transforms.StickBreakingTransform())
transform_to.register(constraints.simplex, lambda c: vector_transforms.SoftmaxTransform())
