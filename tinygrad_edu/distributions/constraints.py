"""Which values a parameter or a sample may have: what `validate_args` checks.

A constraint's `check(value)` returns a bool for each event, so the last `event_dim` dimensions of
the value are reduced.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tinygrad_edu.ops.comparison import isclose
from tinygrad_edu.ops.creation import full
from tinygrad_edu.ops.more.decompositions import eigvalsh

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


class Constraint:
    """What a value must fulfil; the base class.

    Attributes:
        is_discrete: only separate values fulfil it.
        event_dim: how many dimensions on the right make up one value.
    """

    is_discrete: Any = False
    event_dim: Any = 0

    def check(self, value: Tensor) -> Any:
        """A bool tensor: which events fulfil the constraint."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return type(self).__name__.removeprefix("_") + "()"


class _Test(Constraint):
    """A constraint given by its test; `shown` are the bounds to print."""

    def __init__(
        self, name: str, test: Callable[[Any], Any], event_dim: int = 0,
        discrete: bool = False, **shown: Any,
    ) -> None:  # fmt: skip
        self.name, self.test, self.shown = name, test, shown
        self.event_dim, self.is_discrete = event_dim, discrete

    def check(self, value: Tensor) -> Any:
        return self.test(value)

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{key}={value}' for key, value in self.shown.items())})"


class _Dependent(Constraint):
    """Stands where the constraint depends on other values; it cannot be checked."""

    def __init__(self, *, is_discrete: Any = NotImplemented, event_dim: Any = NotImplemented):
        self._is_discrete, self._event_dim = is_discrete, event_dim

    def __call__(self, *, is_discrete: Any = None, event_dim: Any = None) -> _Dependent:
        return _Dependent(
            is_discrete=self._is_discrete if is_discrete is None else is_discrete,
            event_dim=self._event_dim if event_dim is None else event_dim,
        )

    @property
    def is_discrete(self) -> Any:
        if self._is_discrete is NotImplemented:
            raise NotImplementedError(".is_discrete cannot be determined statically")
        return self._is_discrete

    @property
    def event_dim(self) -> Any:
        if self._event_dim is NotImplemented:
            raise NotImplementedError(".event_dim cannot be determined statically")
        return self._event_dim

    def check(self, value: Tensor) -> Any:
        raise ValueError("Cannot determine validity of dependent constraint")


class dependent_property(property, _Dependent):
    """A property of an object; of the class, a constraint that depends on the object."""

    def __init__(self, fn: Any = None, *, is_discrete: Any = NotImplemented,
                 event_dim: Any = NotImplemented) -> None:  # fmt: skip
        property.__init__(self, fn)
        _Dependent.__init__(self, is_discrete=is_discrete, event_dim=event_dim)

    def __call__(self, fn: Any) -> dependent_property:  # type: ignore[override]
        return dependent_property(fn, is_discrete=self._is_discrete, event_dim=self._event_dim)


class independent(Constraint):
    """The constraint holds for all entries of the last `reinterpreted_batch_ndims` dimensions."""

    def __init__(self, base_constraint: Constraint, reinterpreted_batch_ndims: int) -> None:
        self.base_constraint = base_constraint
        self.reinterpreted_batch_ndims = reinterpreted_batch_ndims

    @property
    def is_discrete(self) -> Any:
        return self.base_constraint.is_discrete

    @property
    def event_dim(self) -> Any:
        return self.base_constraint.event_dim + self.reinterpreted_batch_ndims

    def check(self, value: Tensor) -> Any:
        result = self.base_constraint.check(value)
        kept = result.dim() - self.reinterpreted_batch_ndims
        if kept < 0:
            raise ValueError(f"Expected value.dim() >= {self.event_dim} but got {value.dim()}")
        return result.reshape(*result.shape[:kept], -1).all(-1)

    def __repr__(self) -> str:
        return f"IndependentConstraint({self.base_constraint!r}, {self.reinterpreted_batch_ndims})"


class MixtureSameFamilyConstraint(Constraint):
    """The constraint of a mixture's components, which have one more batch dimension."""

    def __init__(self, base_constraint: Constraint) -> None:
        self.base_constraint = base_constraint
        self.is_discrete = base_constraint.is_discrete
        self.event_dim = base_constraint.event_dim

    def check(self, value: Tensor) -> Any:
        if value.dim() < self.event_dim:
            raise ValueError(f"Expected value.dim() >= {self.event_dim} but got {value.dim()}")
        return self.base_constraint.check(value.unsqueeze(-1 - self.event_dim)).all(-1)

    def __repr__(self) -> str:
        return f"MixtureSameFamilyConstraint({self.base_constraint!r})"


def is_dependent(constraint: Any) -> bool:
    """Whether it can be checked only knowing other values."""
    return isinstance(constraint, _Dependent)


def greater_than(lower_bound: float | Tensor) -> Constraint:
    """lower_bound < x."""
    return _Test("GreaterThan", lambda x: lower_bound < x, lower_bound=lower_bound)


def greater_than_eq(lower_bound: float | Tensor) -> Constraint:
    """lower_bound <= x."""
    return _Test("GreaterThanEq", lambda x: lower_bound <= x, lower_bound=lower_bound)


def less_than(upper_bound: float | Tensor) -> Constraint:
    """x < upper_bound."""
    return _Test("LessThan", lambda x: x < upper_bound, upper_bound=upper_bound)


def interval(lower_bound: float | Tensor, upper_bound: float | Tensor) -> Constraint:
    """lower_bound <= x <= upper_bound."""
    return _Test(
        "Interval", lambda x: (lower_bound <= x) & (x <= upper_bound),
        lower_bound=lower_bound, upper_bound=upper_bound,
    )  # fmt: skip


def half_open_interval(lower_bound: float | Tensor, upper_bound: float | Tensor) -> Constraint:
    """lower_bound <= x < upper_bound."""
    return _Test(
        "HalfOpenInterval", lambda x: (lower_bound <= x) & (x < upper_bound),
        lower_bound=lower_bound, upper_bound=upper_bound,
    )  # fmt: skip


def integer_interval(lower_bound: float | Tensor, upper_bound: float | Tensor) -> Constraint:
    """lower_bound <= x <= upper_bound, x being whole."""
    return _Test(
        "IntegerInterval", lambda x: (x % 1 == 0) & (lower_bound <= x) & (x <= upper_bound),
        discrete=True, lower_bound=lower_bound, upper_bound=upper_bound,
    )  # fmt: skip


def _integer_from(lower_bound: int) -> Constraint:
    return _Test(
        "IntegerGreaterThan", lambda x: (x % 1 == 0) & (x >= lower_bound),
        discrete=True, lower_bound=lower_bound,
    )  # fmt: skip


def multinomial(upper_bound: float | Tensor) -> Constraint:
    """Vectors of x_i >= 0 whose sum is at most upper_bound."""
    return _Test(
        "Multinomial", lambda x: (x >= 0).all(-1) & (x.sum(-1) <= upper_bound), 1, discrete=True
    )


def _is_boolean(x: Tensor) -> Any:
    return (x == 0) | (x == 1)


def _is_lower(x: Tensor) -> Any:
    return (x.tril() == x).all(-1).all(-1)


def _is_symmetric(x: Any) -> Tensor:
    if x.shape[-1] != x.shape[-2]:
        return _of_matrix(x, False)
    return isclose(x, x.mT, atol=1e-6).all(-1).all(-1)


def _of_matrix(x: Any, answer: bool) -> Tensor:
    return full(x.shape[:-2], answer, device=x.device)


def _is_definite(x: Any, strictly: bool) -> Any:
    symmetric = _is_symmetric(x)
    if not symmetric.all():
        return symmetric
    smallest = eigvalsh(x.detach())[..., 0]
    return smallest > 0 if strictly else smallest >= 0


dependent = _Dependent()
boolean = _Test("Boolean", _is_boolean, discrete=True)
one_hot = _Test("OneHot", lambda x: _is_boolean(x).all(-1) & (x.sum(-1) == 1), 1, discrete=True)
nonnegative_integer = _integer_from(0)
positive_integer = _integer_from(1)
real = _Test("Real", lambda x: x == x)
real_vector = independent(real, 1)
positive = greater_than(0.0)
nonnegative = greater_than_eq(0.0)
unit_interval = interval(0.0, 1.0)
simplex = _Test("Simplex", lambda x: (x >= 0).all(-1) & ((x.sum(-1) - 1).abs() < 1e-6), 1)
lower_triangular = _Test("LowerTriangular", _is_lower, 2)
lower_cholesky = _Test(
    "LowerCholesky", lambda x: _is_lower(x) & (x.diagonal(dim1=-2, dim2=-1) > 0).all(-1), 2
)
square = _Test("Square", lambda x: _of_matrix(x, x.shape[-2] == x.shape[-1]), 2)
symmetric = _Test("Symmetric", _is_symmetric, 2)
positive_semidefinite = _Test("PositiveSemidefinite", lambda x: _is_definite(x, False), 2)
positive_definite = _Test("PositiveDefinite", lambda x: _is_definite(x, True), 2)
