"""What all distributions have in common."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Self

from tinygrad_edu.distributions import constraints
from tinygrad_edu.distributions.utils import lazy_property
from tinygrad_edu.engine.switches import no_grad
from tinygrad_edu.size import Size
from tinygrad_edu.tensor import Tensor


class Distribution:
    """A probability distribution, or a batch of them.

    Args:
        batch_shape: one distribution for each entry of this shape.
        event_shape: the shape of one sample of one of them.
        validate_args: check parameters and values; by default as `set_default_validate_args` says.

    Raises:
        ValueError: a parameter violates its constraint.

    >>> import tinygrad_edu as torch
    >>> d = torch.distributions.Normal(torch.zeros(2), 1.0)
    >>> d.batch_shape, d.event_shape, d.sample((3,)).shape
    (torch.Size([2]), torch.Size([]), torch.Size([3, 2]))
    """

    has_rsample = False
    has_enumerate_support = False
    _validate_args = __debug__

    def __init__(
        self,
        batch_shape: Sequence[int] = (),
        event_shape: Sequence[int] = (),
        validate_args: bool | None = None,
    ) -> None:
        self._batch_shape, self._event_shape = Size(batch_shape), Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args:
            self._check_parameters()

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Whether distributions check their arguments unless told otherwise."""
        if value not in (True, False):
            raise ValueError("validate_args must be True or False")
        Distribution._validate_args = value

    def _check_parameters(self) -> None:
        try:
            wanted = self.arg_constraints
        except NotImplementedError:
            warnings.warn(
                f"{type(self)} does not define `arg_constraints`. Please set"
                " `arg_constraints = {}` or initialize the distribution with `validate_args=False`"
                " to turn off validation.",
                stacklevel=4,
            )
            return
        for name, constraint in wanted.items():
            lazy = isinstance(getattr(type(self), name, None), lazy_property)
            if constraints.is_dependent(constraint) or (lazy and name not in vars(self)):
                continue
            value = getattr(self, name)
            if not constraint.check(value).all():
                raise ValueError(
                    f"Expected parameter {name} ({type(value).__name__} of shape"
                    f" {tuple(value.shape)}) of distribution {self!r} to satisfy the constraint"
                    f" {constraint!r}, but found invalid values:\n{value}"
                )

    def _validate_sample(self, value: Any) -> None:
        """ValueError unless the value has a fitting shape and lies in the support."""
        if not isinstance(value, Tensor):
            raise ValueError("The value argument to log_prob must be a Tensor")
        if value.shape[value.dim() - len(self._event_shape) :] != self._event_shape:
            raise ValueError(
                "The right-most size of value must match event_shape:"
                f" {value.shape} vs {self._event_shape}."
            )
        expected = self._batch_shape + self._event_shape
        for i, j in zip(reversed(value.shape), reversed(expected), strict=False):
            if i != 1 and j != 1 and i != j:
                raise ValueError(
                    "Value is not broadcastable with batch_shape+event_shape:"
                    f" {value.shape} vs {expected}."
                )
        try:
            support = self.support
        except NotImplementedError:
            warnings.warn(
                f"{type(self)} does not define `support` to enable sample validation. Please"
                " initialize the distribution with `validate_args=False` to turn off validation.",
                stacklevel=3,
            )
            return
        if not support.check(value).all():
            raise ValueError(
                f"Expected value argument ({type(value).__name__} of shape {tuple(value.shape)})"
                f" to be within the support ({support!r}) of the distribution {self!r},"
                f" but found invalid values:\n{value}"
            )

    def _checked(self, value: Any) -> Any:
        """The value, checked if this distribution checks."""
        if self._validate_args:
            self._validate_sample(value)
        return value

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Self:
        """The same distribution, its parameters expanded to a larger batch shape.

        >>> import tinygrad_edu as torch
        >>> torch.distributions.Normal(0.0, 1.0).expand([2]).batch_shape
        torch.Size([2])
        """
        new: Self = object.__new__(type(self)) if _instance is None else _instance
        shape, dims = Size(batch_shape), len(self._batch_shape)
        parameters = self.arg_constraints
        for name, value in vars(self).items():
            if isinstance(value, Distribution):
                value = value.expand(shape + value._batch_shape[dims:])
            elif name in parameters and isinstance(value, Tensor):
                value = value.expand(shape + value.shape[dims:])
            vars(new)[name] = value
        new._batch_shape = shape
        return new

    @property
    def batch_shape(self) -> Size:
        """One distribution for each entry of this shape."""
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        """The shape of one sample of one of the distributions."""
        return self._event_shape

    @property
    def arg_constraints(self) -> dict[str, Any]:
        """The constraint of each parameter."""
        raise NotImplementedError

    @property
    def support(self) -> Any:
        """The constraint that samples fulfil."""
        raise NotImplementedError

    @property
    def mean(self) -> Any:
        raise NotImplementedError

    @property
    def mode(self) -> Any:
        raise NotImplementedError(f"{type(self)} does not implement mode")

    @property
    def variance(self) -> Any:
        raise NotImplementedError

    @property
    def stddev(self) -> Any:
        """The standard deviation."""
        return self.variance.sqrt()

    def sample(self, sample_shape: Sequence[int] = ()) -> Any:
        """Values of shape `sample_shape + batch_shape + event_shape`, without a gradient."""
        with no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Any:
        """Like `sample`, but differentiable with respect to the parameters."""
        raise NotImplementedError(f"{type(self).__name__} has no differentiable samples")

    def sample_n(self, n: int) -> Any:
        """`sample((n,))`."""
        warnings.warn(
            "`sample_n(n)` will be deprecated. Use `sample((n,))` instead.",
            FutureWarning,
            stacklevel=2,
        )
        return self.sample((n,))

    def log_prob(self, value: Any) -> Any:
        """The logarithm of the density, or of the probability, at `value`."""
        raise NotImplementedError

    def cdf(self, value: Any) -> Any:
        """The probability of a sample <= `value`."""
        raise NotImplementedError

    def icdf(self, value: Any) -> Any:
        """The inverse of `cdf`."""
        raise NotImplementedError

    def enumerate_support(self, expand: bool = True) -> Any:
        """All values of a discrete distribution, along a new dimension 0."""
        raise NotImplementedError

    def entropy(self) -> Any:
        """-E[log p], of shape `batch_shape`, in nats."""
        raise NotImplementedError

    def perplexity(self) -> Any:
        """exp(entropy)."""
        return self.entropy().exp()

    def _extended_shape(self, sample_shape: Sequence[int] = ()) -> Size:
        return Size(sample_shape) + self._batch_shape + self._event_shape

    def __repr__(self) -> str:
        shown = {k: vars(self)[k] for k in self.arg_constraints if k in vars(self)}
        text = ", ".join(f"{k}: {v if v.numel() == 1 else v.shape}" for k, v in shown.items())
        return f"{type(self).__name__}({text})"
