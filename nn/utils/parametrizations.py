"""Weight norm, spectral norm and orthogonal weights as parametrizations; see parametrize.py."""

from __future__ import annotations

import typing as _typing
from typing import Any

from tinygrad_edu.dtypes import finfo
from tinygrad_edu.engine.switches import no_grad
from tinygrad_edu.linalg import householder_product, matrix_exp, qr, solve
from tinygrad_edu.names.missing import missing as _missing
from tinygrad_edu.nn import functional as F
from tinygrad_edu.nn.modules.module import Module
from tinygrad_edu.nn.utils import parametrize
from tinygrad_edu.nn.utils.spectral_hooks import as_matrix, check_iterations, default_dim
from tinygrad_edu.nn.utils.weight_hooks import norm_except_dim, normed
from tinygrad_edu.ops.comparison import allclose
from tinygrad_edu.ops.creation import eye, zeros_like
from tinygrad_edu.ops.joining import cat
from tinygrad_edu.ops.sampling import randn
from tinygrad_edu.tensor import Tensor

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


class _WeightNorm(Module):
    """`g v / |v|`."""

    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Any:
        return normed(weight_v, weight_g, self.dim)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return norm_except_dim(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Let the weight be a length times a direction, `original0` and `original1`.

    Args:
        module: a layer, which is returned.
        name: of its weight.
        dim: each slice along it has a length of its own; None: one length for all.

    Files of `nn.utils.weight_norm`, with `weight_g` and `weight_v`, can be loaded.

    Source: Salimans and Kingma, "Weight Normalization", 2016.

    >>> import tinygrad_edu as torch
    >>> layer = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(20, 40))
    >>> layer.parametrizations.weight.original0.shape
    torch.Size([40, 1])
    """
    parametrize.register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def rename(state: Any, prefix: str, *rest: Any) -> None:
        old = f"{prefix}{name}_g", f"{prefix}{name}_v"
        if all(key in state for key in old):
            for i, key in enumerate(old):
                state[f"{prefix}parametrizations.{name}.original{i}"] = state.pop(key)

    module._register_load_state_dict_pre_hook(rename)
    return module


class _SpectralNorm(Module):
    """The weight divided by its largest singular value, `u W v`."""

    _u: Tensor
    _v: Tensor

    def __init__(
        self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12
    ) -> None:
        super().__init__()
        n = weight.ndim
        if not -n <= dim < n:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [-{n}, {n - 1}] but got {dim})"
            )
        check_iterations(n_power_iterations)
        self.dim, self.eps = dim % n, eps
        if n == 1:
            return  # a vector's only singular value is its length
        self.n_power_iterations = n_power_iterations
        matrix = as_matrix(weight, self.dim)
        u, v = (matrix.new_empty(size).normal_(0, 1) for size in matrix.shape)
        self.register_buffer("_u", F.normalize(u, dim=0, eps=eps))
        self.register_buffer("_v", F.normalize(v, dim=0, eps=eps))
        self._step(matrix, 15)

    def _step(self, matrix: Tensor, count: int) -> None:
        """Steps of power iteration, in place."""
        with no_grad():
            for _ in range(count):
                F.normalize(matrix.mv(self._v), dim=0, eps=self.eps, out=self._u)
                F.normalize(matrix.t().mv(self._u), dim=0, eps=self.eps, out=self._v)

    def forward(self, weight: Tensor) -> Any:
        if weight.ndim == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = as_matrix(weight, self.dim)
        if self.training:
            self._step(matrix, self.n_power_iterations)
        # copies, for u and v may move on before the gradients are computed
        return weight / self._u.clone().dot(matrix.mv(self._v.clone()))

    def right_inverse(self, value: Tensor) -> Tensor:
        return value


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """Let the weight be divided by its largest singular value, followed by power iteration.

    Args:
        module: a layer, which is returned.
        name: of its weight.
        n_power_iterations: steps each time the weight is read in training.
        eps: lengths below it count as this.
        dim: of the outputs; None: 1 for transposed convolutions, else 0.

    Raises:
        ValueError: there is no such weight, or `n_power_iterations` is not positive.

    Source: Miyato et al., "Spectral Normalization for GANs", 2018, algorithm 1.

    >>> import tinygrad_edu as torch
    >>> layer = torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(20, 40))
    >>> list(layer.parametrizations.state_dict())
    ['weight.original', 'weight.0._u', 'weight.0._v']
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    made = _SpectralNorm(weight, n_power_iterations, default_dim(module, dim), eps)
    return parametrize.register_parametrization(module, name, made)


class _Orthogonal(Module):
    """A matrix with orthonormal columns, or rows if it is wide, from an unconstrained one."""

    def __init__(self, weight: Tensor, orthogonal_map: str) -> None:
        super().__init__()
        self.shape, self.orthogonal_map = weight.shape, orthogonal_map
        self.register_buffer("base", None)

    def forward(self, x: Tensor) -> Any:
        wide = x.shape[-2] < x.shape[-1]
        x = x.mT if wide else x
        rows, columns = x.shape[-2:]
        if self.orthogonal_map == "householder":
            a = x.tril(-1)
            q = householder_product(a, 2.0 / (1.0 + (a * a).sum(-2)))
            q = q * x.detach().diagonal(dim1=-2, dim2=-1).int().unsqueeze(-2)  # signs
        else:
            x = x.tril()
            if rows != columns:
                zeros = x.new_zeros(*x.shape[:-1], rows - columns)
                x = cat([x, zeros], -1)
            a = x - x.mT  # skew-symmetric
            if self.orthogonal_map == "matrix_exp":
                q = matrix_exp(a)
            else:
                one = eye(rows, dtype=a.dtype, device=a.device)
                q = solve(one - 0.5 * a, one + 0.5 * a)
            q = q[..., :columns]
        q = self.base @ q
        return q.mT if wide else q

    def right_inverse(self, q: Tensor) -> Tensor:
        if q.shape != self.shape:
            raise ValueError(
                f"Expected a matrix or batch of matrices of shape {self.shape}. Got a tensor of"
                f" shape {q.shape}."
            )
        given = q
        q = q.mT if q.shape[-2] < q.shape[-1] else q
        rows, columns = q.shape[-2:]
        one = eye(columns, dtype=q.dtype, device=q.device)
        tolerance = 10.0 * rows * finfo(q.dtype).eps
        if rows != columns:  # completed to a square matrix
            more = randn(*q.shape[:-2], rows, rows - columns, dtype=q.dtype, device=q.device)
            self.base = _orthonormal(cat([q, more], -1))
        elif allclose(q.mT @ q, one, atol=tolerance):
            self.base = q.clone()
        else:
            self.base = _orthonormal(q)
        start = zeros_like(given)
        start.diagonal(dim1=-2, dim2=-1).fill_(-1.0)
        return start


def _orthonormal(a: Tensor) -> Any:
    """The Q of a = Q R with R's diagonal positive."""
    q, r = qr(a)
    return q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)


def orthogonal(
    module: Module,
    name: str = "weight",
    orthogonal_map: str | None = None,
    *,
    use_trivialization: bool = True,
) -> Module:
    """Let the weight, or each matrix of a batch, have orthonormal columns; rows, if it is wide.

    Args:
        module: a layer, which is returned.
        name: of its weight.
        orthogonal_map: how an orthogonal matrix is made from unconstrained numbers:
            "matrix_exp", the default of square ones, "cayley" or "householder".
        use_trivialization: multiply it by a buffer `base`, the weight that was assigned last.

    Raises:
        ValueError: no such weight, fewer than 2 dimensions, or another map.
        NotImplementedError: without trivialization.

    Source: Lezcano-Casado, "Trivializations for gradient-based optimization on manifolds", 2019.

    >>> import tinygrad_edu as torch
    >>> layer = torch.nn.utils.parametrizations.orthogonal(torch.nn.Linear(4, 3))
    >>> torch.allclose(layer.weight @ layer.weight.T, torch.eye(3), atol=1e-6)
    True
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if weight.ndim < 2:
        raise ValueError(
            f"Expected a matrix or batch of matrices. Got a tensor of {weight.ndim} dimensions."
        )
    if orthogonal_map is None:
        square = weight.shape[-2] == weight.shape[-1]
        orthogonal_map = "matrix_exp" if square else "householder"
    if orthogonal_map not in ("matrix_exp", "cayley", "householder"):
        raise ValueError(
            'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". Got:'
            f" {orthogonal_map}"
        )
    if not use_trivialization:
        raise NotImplementedError(
            "use_trivialization=False is not written: the weight could not be assigned to"
        )
    made = _Orthogonal(weight, orthogonal_map)
    return parametrize.register_parametrization(module, name, made, unsafe=True)


if not _typing.TYPE_CHECKING:  # a type checker finds unknown names by itself
    __getattr__ = _missing(__name__)
