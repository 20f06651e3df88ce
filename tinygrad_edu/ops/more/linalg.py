"""Linear algebra: determinant, inverse, solving, Cholesky.

Source of the derivative rules: Giles, "An extended collection of matrix derivative results for
forward and reverse mode algorithmic differentiation" (2008).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.backend import solving
from tinygrad_edu.dtypes import Array, is_floating, scalar_type_name
from tinygrad_edu.engine.boundary import LinAlgError
from tinygrad_edu.engine.composed import composed
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.kernels.memory_order import by_columns
from tinygrad_edu.names import return_types
from tinygrad_edu.names.missing import elsewhere
from tinygrad_edu.ops.arguments import named, operand, raw
from tinygrad_edu.ops.casting import contiguous
from tinygrad_edu.ops.masking import tril as tril
from tinygrad_edu.ops.masking import triu as triu
from tinygrad_edu.ops.matmul import matmul
from tinygrad_edu.ops.more.diagonals import _diagonal
from tinygrad_edu.ops.reduction import sum
from tinygrad_edu.out import takes_out

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


def stored_by_columns(x: Tensor) -> Tensor:
    """The same matrices with their columns contiguous in memory, as LAPACK returns them."""
    y: Tensor = _turned(contiguous(_turned(x)))
    return y


def _check_square(name: str, x: Array, low: bool = False) -> None:
    if x.ndim < 2:
        raise RuntimeError(f"linalg.{name}: The input tensor A must have at least 2 dimensions.")
    if x.shape[-1] != x.shape[-2]:
        raise RuntimeError(
            f"linalg.{name}: A must be batches of square matrices, but they are"
            f" {x.shape[-2]} by {x.shape[-1]} matrices"
        )
    if not is_floating(x.dtype):
        raise RuntimeError(
            f"linalg.{name}: Expected a floating point or complex tensor as input. Got"
            f" {scalar_type_name(x.dtype)}"
        )
    if x.dtype.itemsize == 2 and not low:
        raise RuntimeError(
            f"linalg.{name}: Low precision dtypes not supported. Got {scalar_type_name(x.dtype)}"
        )


def _singular(name: str) -> LinAlgError:
    return LinAlgError(f"linalg.{name}: the input matrix is singular.")


def _turned(x: Any) -> Any:
    """The transpose of each matrix."""
    return x.swapaxes(-1, -2)


def _scalars(g: Any) -> Any:
    """One number per matrix, in the shape of a matrix."""
    return g[..., None, None]


@primitive(node="LinalgInvEx", autocast={"cpu": "float32"}, half="as it is")
def inv(A: Array) -> Array:
    """The inverse of square matrices.

    Args:
        A: (..., n, n).

    Raises:
        RuntimeError: a matrix is singular or not square.

    >>> import tinygrad_edu as torch
    >>> torch.linalg.inv(torch.tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor([[0.5000, 0.0000],
            [0.0000, 0.2500]])
    """
    _check_square("inv", A)
    try:
        with solving(A):
            return by_columns(np.linalg.inv(A))
    except np.linalg.LinAlgError:
        raise _singular("inv") from None


inv.vjp(A=lambda g, y: matmul(matmul(_turned(y), -g), _turned(y)))


@primitive(half="as it is")
def _cofactors(A: Array) -> Array:
    """The derivative of the determinant: `det(A) * inv(A)` transposed, singular A allowed.

    With A = U diag(s) V it is det(U) det(V) U diag(products of all other s) V.
    """
    u, s, v, sign = _by_singular_values(A)
    return (sign * np.matmul(u * _others(s)[..., None, :], v)).astype(A.dtype)


def _by_singular_values(A: Array) -> tuple[Array, Array, Array, Array]:
    """U, s, V as of `singular_parts`, and det(U) det(V)."""
    u, s, v = singular_parts(A)
    return u, s, v, _scalars(np.linalg.det(u) * np.linalg.det(v))


def singular_parts(A: Array, full_matrices: bool = True) -> tuple[Array, Array, Array]:
    """U, s, V with `A = U diag(s) V`; s is nan for matrices that are not finite.

    Those do not reach LAPACK: its search for their singular vectors may never come to an end.
    """
    finite = np.isfinite(A).all((-2, -1))
    with solving(A):
        u, s, v = np.linalg.svd(np.where(_scalars(finite), A, 0), full_matrices)
    s[~finite] = np.nan
    return u, s, v


def _others(s: Array) -> Array:
    """For each element of the last dimension the product of all others."""
    one = np.ones_like(s[..., :1])
    before = np.cumprod(np.concatenate([one, s[..., :-1]], -1), -1)
    after = np.cumprod(np.concatenate([one, s[..., :0:-1]], -1), -1)[..., ::-1]
    return before * after


@primitive
def _second_of_det(h: Array, A: Array) -> Array:
    """The derivative of `sum(h * _cofactors(A))`, singular A allowed; a symmetric map of h.

    In the basis of the singular vectors, a change E of `diag(s)` changes its cofactors by
    `P_ik E_kk`, summed over k, on the diagonal, and by `-P_ij E_ji` beside it, where P_ij is the
    product of all s but the i-th and the j-th.
    """
    u, s, v, sign = _by_singular_values(A)
    inner = np.matmul(np.matmul(_turned(u), h), _turned(v))
    n = s.shape[-1]
    eye = np.eye(n, dtype=bool, like=s)
    p = np.where(eye, 0, _others(np.where(eye, 1, s[..., None, :])))
    changed = np.where(eye, 0, -p * _turned(inner))
    on_diagonal = np.matmul(p, np.diagonal(inner, 0, -2, -1)[..., None])
    return (sign * np.matmul(np.matmul(u, changed + eye * on_diagonal), v)).astype(A.dtype)


def _third_of_det(g: Tensor, h: Tensor, A: Tensor) -> Any:
    """The derivative of `sum(g * _second_of_det(h, A))`, for A that can be inverted.

    That sum is det(A) (tr(N g) tr(N h) - tr(N g N h)), N the inverse.
    """
    n = inv(A)
    first, second = matmul(n, g), matmul(n, h)
    t1, t2 = _traces(first), _traces(second)
    both = matmul(first, second)
    inner = (t1 * t2 - _traces(both)) * n - matmul(t2 * first + t1 * second, n)
    return _scalars(det(A)) * _turned(inner + matmul(both + matmul(second, first), n))


def _traces(x: Any) -> Any:
    """The trace of each matrix, in the shape of a matrix."""
    return _scalars(sum(_diagonal(x, 0, x.ndim - 2, x.ndim - 1), -1))


_cofactors.vjp(A=lambda g, A: _second_of_det(g, A))
_second_of_det.vjp(h=lambda g, A: _second_of_det(g, A),
                   A=lambda g, h, A: _third_of_det(g, h, A))  # fmt: skip


@np.errstate(all="ignore")  # NumPy's own code would warn
def _of_determinant(which: int, A: Array, of_nan: float) -> Array:
    """Its sign, the logarithm of its size, or itself (2); `of_nan` for matrices that hold a nan.

    LAPACK stops at a pivot of 0, and does not see what lies behind it.
    """
    y = np.linalg.det(A) if which == 2 else np.linalg.slogdet(A)[which]
    return np.where(np.isnan(A).any((-2, -1)), np.full_like(y, of_nan), y)


@primitive(node="LinalgDet", half="as it is")
def det(A: Array) -> Array:
    """The determinant of square matrices, (..., n, n) -> (...).

    Unlike torch, the gradient at singular matrices is exact: that of the cofactors.

    Raises:
        RuntimeError: the matrices are not square.

    >>> import tinygrad_edu as torch
    >>> torch.linalg.det(torch.tensor([[2.0, 1.0], [0.0, 3.0]]))
    tensor(6.)
    """
    _check_square("det", A)
    return _of_determinant(2, A, np.nan)


det.vjp(A=lambda g, A: _scalars(g) * _cofactors(A))


@primitive(node="LinalgSlogdet", half="as it is")
def _logabsdet(A: Array) -> Array:
    return _of_determinant(1, A, np.nan)


@primitive(node="LinalgSlogdet", half="as it is")
def _sign_of_det(A: Array) -> Array:
    _check_square("slogdet", A)
    return _of_determinant(0, A, 0)  # nan has no sign


_logabsdet.vjp(A=lambda g, A: _scalars(g) * _turned(inv(A)))
_sign_of_det.vjp(A=lambda g, A: np.zeros_like(raw(A)))


@takes_out
@named(input="A")
def slogdet(A: Tensor) -> Any:
    """The sign of the determinant and the logarithm of its size, which cannot overflow.

    >>> import tinygrad_edu as torch
    >>> torch.linalg.slogdet(torch.tensor([[-2.0]])).logabsdet
    tensor(0.6931)
    """
    return return_types.linalg_slogdet(_sign_of_det(A), _logabsdet(A))


def logdet(input: Tensor) -> Tensor:
    """The logarithm of the determinant; nan where that is negative."""
    from tinygrad_edu.ops.masking import where

    sign, size = slogdet(input)
    positive: Tensor = where(sign.array < 0, np.nan, size)
    return positive


@primitive(node="LinalgSolveEx", half="as it is")
def _solve(A: Array, B: Array) -> Array:
    lead = np.broadcast_shapes(A.shape[:-2], B.shape[:-2])
    try:
        with solving(A):  # CuPy's takes no broadcast batches
            x: Array = np.linalg.solve(
                np.broadcast_to(A, (*lead, *A.shape[-2:])),
                np.broadcast_to(B, (*lead, *B.shape[-2:])),
            )
            return by_columns(x)
    except np.linalg.LinAlgError:
        raise _singular("solve") from None


_solve.vjp(A=lambda g, A, y: matmul(_solve(_turned(A), -g), _turned(y)),
           B=lambda g, A: _solve(_turned(A), g))  # fmt: skip


@primitive
def substitute(A: Array, B: Array, upper: bool, columns: bool = False) -> Array:
    """The X with `A @ X = B`, row after row, where only a triangle of A is read.

    With `columns` it is stored column after column.  The gradient of A is that of the whole matrix;
    a caller that reads a triangle takes its part.
    """
    lead = np.broadcast_shapes(A.shape[:-2], B.shape[:-2])
    X = np.broadcast_to(B, (*lead, *B.shape[-2:])).copy()
    _substitute_into(A, X, upper)
    return by_columns(X) if columns else X


def _substitute_into(A: Array, X: Array, upper: bool) -> None:
    n = A.shape[-1]
    if n > 16:
        halves = slice(0, n // 2), slice(n // 2, n)
        first, then = halves[::-1] if upper else halves
        _substitute_into(A[..., first, first], X[..., first, :], upper)
        X[..., then, :] -= np.matmul(A[..., then, first], X[..., first, :])
        return _substitute_into(A[..., then, then], X[..., then, :], upper)
    for i in reversed(range(n)) if upper else range(n):
        row, known = slice(i, i + 1), slice(i + 1, n) if upper else slice(0, i)
        X[..., row, :] -= np.matmul(A[..., row, known], X[..., known, :])
        X[..., row, :] /= A[..., row, row]


substitute.vjp(
    A=lambda g, A, y, upper: matmul(substitute(_turned(A), -g, not upper), _turned(y)),
    B=lambda g, A, upper: substitute(_turned(A), g, not upper),
)


@takes_out
@composed(autocast={"cpu": "float32"})
def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """The X with `A @ X = B`; with `X @ A = B` if not `left`.

    Args:
        A: (..., n, n).
        B: (..., n, k), or (..., n) with the leading dimensions of A.

    Raises:
        RuntimeError: a matrix is singular or not square, or the shapes do not fit.

    >>> import tinygrad_edu as torch
    >>> torch.linalg.solve(torch.tensor([[2.0, 0.0], [0.0, 4.0]]), torch.tensor([2.0, 2.0]))
    tensor([1.0000, 0.5000])
    """
    a, b = operand("linalg.solve", A), operand("linalg.solve", B)
    _check_square("solve", a)
    vector = b.ndim == 1 or (b.ndim == a.ndim - 1 and b.shape == a.shape[:-1])
    if not left:
        if vector:
            raise RuntimeError(
                "linalg.solve: Vector broadcasting of the left hand side is not"
                " supported for left=False."
            )
        turned: Any = solve(_turned(A), _turned(B))
        result: Tensor = _turned(turned)
        return result
    rows = b.shape[-1] if vector else b.shape[-2]
    if rows != a.shape[-1]:
        raise RuntimeError(
            "linalg.solve: Incompatible shapes of A and B for the equation AX = B"
            f" ({a.shape[-2]}x{a.shape[-1]} and {rows}x{1 if vector else b.shape[-1]})"
        )
    if vector:
        x: Any = _solve(A, B[..., None])[..., 0]
        y: Tensor = x if b.ndim < 2 else stored_by_columns(x)  # torch's order of memory
        return y
    return _solve(A, B)


@primitive(node="LinalgCholeskyEx", half="as it is")
def _cholesky(A: Array) -> Array:
    _check_square("cholesky", A)
    try:
        with solving(A):
            y: Array = np.linalg.cholesky(A)
        if np.isnan(np.diagonal(y, 0, -2, -1)).any():
            raise np.linalg.LinAlgError
        return by_columns(y)
    except np.linalg.LinAlgError:
        raise LinAlgError(
            "linalg.cholesky: The factorization could not be completed because the input is not"
            " positive-definite."
        ) from None


def _cholesky_gradient(g: Tensor, y: Tensor) -> Any:
    """With P the lower triangle of `y' g`, its diagonal halved: `inv(y)' P inv(y)`, symmetrized."""
    halves = 1 - np.eye(y.shape[-1]) / 2
    lower = tril(matmul(_turned(y), g)) * _like(halves, y)
    half = substitute(_turned(y), lower, True)
    whole = _turned(substitute(_turned(y), _turned(half), True))
    return (whole + _turned(whole)) / 2


def _like(constant: Array, y: Tensor) -> Array:
    """The constant with the dtype and on the device of `y`."""
    from tinygrad_edu.backend import device_of, to_device
    from tinygrad_edu.ops.arguments import raw

    return to_device(constant.astype(raw(y).dtype), device_of(raw(y)))


_cholesky.vjp(A=lambda g, y: _cholesky_gradient(g, y))


@takes_out
@named(input="A")
@composed(autocast={"cpu": "float32"})
def cholesky(A: Tensor, upper: bool = False) -> Tensor:
    """The lower triangular L with `L @ L.T = A`, for symmetric positive-definite A.

    Args:
        upper: return L transposed.

    Raises:
        LinAlgError: A is not positive-definite.

    >>> import tinygrad_edu as torch
    >>> torch.linalg.cholesky(torch.tensor([[4.0, 2.0], [2.0, 5.0]]))
    tensor([[2., 0.],
            [1., 2.]])
    """
    lower = _cholesky(A)
    return _turned(lower) if upper else lower


if not TYPE_CHECKING:  # a type checker is to miss what is not here
    __getattr__ = elsewhere(__name__, "ops.more.diagonals")
