"""The multivariate normal distribution."""

from __future__ import annotations

import math
from typing import Any

from tinygrad_edu.distributions import constraints
from tinygrad_edu.distributions.distribution import Distribution
from tinygrad_edu.distributions.utils import lazy_property, new_empty
from tinygrad_edu.ops.more.linalg import cholesky, inv, solve
from tinygrad_edu.ops.shape import broadcast_shapes


def times(matrix: Any, vector: Any) -> Any:
    """The product of (batches of) a matrix and a vector."""
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def mahalanobis(scale_tril: Any, x: Any) -> Any:
    """x^T (L L^T)^-1 x = |L^-1 x|^2."""
    shape = broadcast_shapes(scale_tril.shape[:-2], x.shape[:-1])
    lower = scale_tril.expand(*shape, *scale_tril.shape[-2:])
    return solve(lower, x.expand(*shape, -1).unsqueeze(-1)).squeeze(-1).pow(2).sum(-1)


def half_log_det(scale_tril: Any) -> Any:
    """log det L, half the logarithm of the covariance's determinant."""
    return scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)


class MultivariateNormal(Distribution):
    """Normal vectors with mean `loc` and a covariance matrix S = L L^T.

    Args:
        loc: (*, n).
        covariance_matrix, precision_matrix, scale_tril: (*, n, n); exactly one of S, its inverse,
            or its Cholesky factor L.

    Raises:
        ValueError: not exactly one of the three is given, or one has too few dimensions.

    >>> import tinygrad_edu as torch
    >>> d = torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))
    >>> d.log_prob(torch.zeros(2))
    tensor(-1.8379)
    """

    arg_constraints = {
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.real_vector
    has_rsample = True
    mean = mode = property(lambda self: self.loc)

    def __init__(
        self, loc: Any, covariance_matrix: Any = None, precision_matrix: Any = None,
        scale_tril: Any = None, validate_args: bool | None = None,
    ) -> None:  # fmt: skip
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        matrices = {
            "covariance_matrix": covariance_matrix, "precision_matrix": precision_matrix,
            "scale_tril": scale_tril,
        }  # fmt: skip
        given = {name: matrix for name, matrix in matrices.items() if matrix is not None}
        if len(given) != 1:
            raise ValueError(
                "Exactly one of covariance_matrix or precision_matrix or scale_tril may be"
                " specified."
            )
        ((name, matrix),) = given.items()
        if matrix.dim() < 2:
            raise ValueError(
                f"{name}{' matrix' * (name == 'scale_tril')} must be at least two-dimensional,"
                " with optional leading batch dimensions"
            )
        batch_shape = broadcast_shapes(matrix.shape[:-2], loc.shape[:-1])
        vars(self)[name] = matrix.expand(*batch_shape, -1, -1)
        self.loc = loc.expand(*batch_shape, -1)
        super().__init__(batch_shape, self.loc.shape[-1:], validate_args=validate_args)
        if name == "scale_tril":
            self._tril = matrix
        else:
            self._tril = cholesky(matrix if name == "covariance_matrix" else inv(matrix))

    def _full(self, matrix: Any) -> Any:
        return matrix.expand(self._batch_shape + self._event_shape + self._event_shape)

    @lazy_property
    def scale_tril(self) -> Any:
        return self._full(self._tril)

    @lazy_property
    def covariance_matrix(self) -> Any:
        return self._full(self._tril @ self._tril.mT)

    @lazy_property
    def precision_matrix(self) -> Any:
        return self._full(inv(self._tril @ self._tril.mT))

    @property
    def variance(self) -> Any:
        return self._tril.pow(2).sum(-1).expand(self._batch_shape + self._event_shape)

    def rsample(self, sample_shape: Any = ()) -> Any:
        noise = new_empty(self._extended_shape(sample_shape), self.loc).normal_()
        return self.loc + times(self._tril, noise)

    def log_prob(self, value: Any) -> Any:
        distance = mahalanobis(self._tril, self._checked(value) - self.loc)
        n = self._event_shape[0]
        return -0.5 * (n * math.log(2 * math.pi) + distance) - half_log_det(self._tril)

    def entropy(self) -> Any:
        n = self._event_shape[0]
        entropy = 0.5 * n * (1.0 + math.log(2 * math.pi)) + half_log_det(self._tril)
        return entropy.expand(self._batch_shape)
