"""Results of several tensors with names: `x.max(0)` has `values` and `indices`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


def _show(self: Any) -> str:
    fields = ",\n".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
    return f"torch.return_types.{type(self).__name__}(\n{fields})"


class ValuesIndices(NamedTuple):
    """Elements, and where along the dimension they were found."""

    values: Tensor
    indices: Tensor


class MinMax(NamedTuple):
    """The least and the largest element."""

    min: Tensor
    max: Tensor


class SignLogabsdet(NamedTuple):
    """A determinant as its sign and the logarithm of its size."""

    sign: Tensor
    logabsdet: Tensor


class Qr(NamedTuple):
    """The factors of a QR decomposition."""

    Q: Tensor
    R: Tensor


class Eigh(NamedTuple):
    """The eigenvalues and eigenvectors of symmetric matrices."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class Svd(NamedTuple):
    """The factors of a singular value decomposition."""

    U: Tensor
    S: Tensor
    Vh: Tensor


class Lstsq(NamedTuple):
    """The solution of a least-squares problem, and what is left."""

    solution: Tensor
    residuals: Tensor
    rank: Tensor
    singular_values: Tensor


class Solution(NamedTuple):
    """The solution of a triangular system, and a copy of its matrix."""

    solution: Tensor
    cloned_coefficient: Tensor


class OldSvd(NamedTuple):
    """The factors of a singular value decomposition, V not transposed."""

    U: Tensor
    S: Tensor
    V: Tensor


class CholeskyInfo(NamedTuple):
    """A Cholesky factor, and whether there is one."""

    L: Tensor
    info: Tensor


class InverseInfo(NamedTuple):
    """An inverse, and whether there is one."""

    inverse: Tensor
    info: Tensor


class SolveInfo(NamedTuple):
    """The solution of a system, and whether there is one."""

    result: Tensor
    info: Tensor


class MantissaExponent(NamedTuple):
    """A number as mantissa times a power of two."""

    mantissa: Tensor
    exponent: Tensor


class HistogramEdges(NamedTuple):
    """Counts, and the edges of what was counted."""

    hist: Tensor
    bin_edges: Tensor


def _named(name: str, base: Any) -> type:
    return type(name, (base,), {"__repr__": _show, "__slots__": (), "__module__": __name__})


sort, topk, kthvalue, median, nanmedian, mode, max, min, cummax, cummin = [
    _named(name, ValuesIndices)
    for name in "sort topk kthvalue median nanmedian mode max min cummax cummin".split()
]
aminmax = _named("aminmax", MinMax)
linalg_slogdet = _named("linalg_slogdet", SignLogabsdet)
linalg_qr = _named("linalg_qr", Qr)
linalg_eigh = _named("linalg_eigh", Eigh)
linalg_svd = _named("linalg_svd", Svd)
linalg_lstsq = _named("linalg_lstsq", Lstsq)
linalg_cholesky_ex = _named("linalg_cholesky_ex", CholeskyInfo)
linalg_inv_ex = _named("linalg_inv_ex", InverseInfo)
linalg_solve_ex = _named("linalg_solve_ex", SolveInfo)
triangular_solve = _named("triangular_solve", Solution)
qr = _named("qr", Qr)
svd = _named("svd", OldSvd)
frexp = _named("frexp", MantissaExponent)
histogram = _named("histogram", HistogramEdges)
