"""Matrices as products: QR, eigenvalues, singular values, and what follows from them.

The rules need the factors.  They compute them again from the matrix, through the operation itself,
so that under `create_graph=True` the factors are tensors with a history, and the second derivative
needs no formulas of its own.

Source of the rules: Giles, "An extended collection of matrix derivative results for forward and
reverse mode algorithmic differentiation" (2008); Golub and Pereyra, "The differentiation of
pseudo-inverses" (1973).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.backend import solving
from tinygrad_edu.dtypes import Array, scalar_type_name
from tinygrad_edu.engine.boundary import LinAlgError
from tinygrad_edu.engine.composed import composed
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.kernels.memory_order import by_columns
from tinygrad_edu.names import return_types
from tinygrad_edu.names.missing import elsewhere
from tinygrad_edu.ops.arguments import named, no_derivative, operand, raw
from tinygrad_edu.ops.joining import _cat
from tinygrad_edu.ops.masking import tril
from tinygrad_edu.ops.matmul import matmul
from tinygrad_edu.ops.more.linalg import _check_square, _turned, singular_parts, substitute
from tinygrad_edu.out import takes_out

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


def _check_matrix(name: str, x: Array) -> None:
    if x.ndim < 2:
        raise RuntimeError(f"linalg.{name}: The input tensor A must have at least 2 dimensions.")
    if x.dtype.kind != "f" or x.dtype.itemsize == 2:
        raise RuntimeError(
            f"linalg.{name}: Expected a float32 or float64 tensor as input. Got"
            f" {scalar_type_name(x.dtype)}"
        )


def _chain(*factors: object) -> Any:
    product = factors[0]
    for factor in factors[1:]:
        product = matmul(product, factor)
    return product


def _constant(values: Array, like: Any) -> Array:
    """The array beside `like`, in its dtype."""
    beside = raw(like)
    return np.asarray(values.astype(beside.dtype), like=beside)


# QR -----------------------------------------------------------------------------------------------


@primitive(multiple=True, node="LinalgQr", half="as it is")
def _qr(A: Array, mode: str) -> Any:
    factor: Any = np.linalg.qr
    return tuple([by_columns(part) for part in factor(A, mode)])


def _qr_gradient(g: Tensor, y: Tensor, A_shape: tuple[int, ...], mode: str) -> Any:
    rows, columns = A_shape[-2:]
    if mode == "complete" and rows > columns:
        raise RuntimeError(
            "linalg_qr_backward: The QR decomposition is not differentiable when mode='complete'"
            " and nrows > ncols"
        )
    (q, r), (g_q, g_r) = y, g
    if columns <= rows:
        return _square_qr_gradient(g_q, g_r, q, r)
    # the last columns of R are those of A, turned by Q
    if g_r is None:
        rest = _constant(np.zeros((*A_shape[:-1], columns - rows)), q)
    else:
        rest = matmul(q, g_r[..., rows:])
        through_q = matmul(matmul(q, r[..., rows:]), _turned(g_r[..., rows:]))
        g_q = through_q if g_q is None else g_q + through_q
        g_r = g_r[..., :rows]
    return _cat([_square_qr_gradient(g_q, g_r, q, r[..., :rows]), rest], -1)


def _square_qr_gradient(g_q: Any, g_r: Any, q: Any, r: Any) -> Any:
    """With M = R gR' - gQ' Q: (gQ + Q (lower triangle of M, mirrored)) inv(R)'."""
    m: Any = 0.0
    if g_r is not None:
        m = m + matmul(r, _turned(g_r))
    if g_q is not None:
        m = m - matmul(_turned(g_q), q)
    inner = matmul(q, tril(m) + _turned(tril(m, -1)))
    inner = inner if g_q is None else inner + g_q
    return _turned(substitute(r, _turned(inner), True))


_qr.vjp(A=_qr_gradient)


@primitive(half="as it is")
def _only_r(A: Array) -> Array:
    r: Array = np.linalg.qr(A, "r")
    return by_columns(r)


_only_r.vjp(
    A=no_derivative(
        "The derivative of linalg.qr depends on Q, which is not computed when mode='r'. Please use"
        " linalg.qr(A, mode='reduced') if you are going to differentiate through linalg.qr."
    )
)


@takes_out
@composed(autocast={"cpu": "float32"})
def qr(A: Tensor, mode: str = "reduced") -> Any:
    """`A = Q R`: Q with orthonormal columns, R an upper triangle.

    Args:
        A: (..., m, n), float32 or float64.
        mode: "reduced" (Q has min(m, n) columns), "complete" (m columns) or "r" (R alone, without
            a gradient).

    Raises:
        RuntimeError: another mode; or, in backward, more rows than columns with "complete".

    >>> import tinygrad_edu as torch
    >>> q, r = torch.linalg.qr(torch.tensor([[3.0, 1.0], [4.0, 2.0]]))
    >>> torch.allclose(q @ r, torch.tensor([[3.0, 1.0], [4.0, 2.0]]))
    True
    """
    x = operand("linalg.qr", A)
    _check_matrix("qr", x)
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r',"
            " or 'complete'"
        )
    if mode == "r":
        return return_types.linalg_qr(wrap(np.empty_like(x, shape=(0,))), _only_r(A))
    return return_types.linalg_qr(*_qr(A, mode))


# Eigenvalues of symmetric matrices ----------------------------------------------------------------


@primitive(multiple=True, node="LinalgEigh", half="as it is")
def _eigh(A: Array, UPLO: str) -> Any:
    _check_square("eigh", A)
    factor: Any = np.linalg.eigh
    with solving(A):
        values, vectors = factor(A, UPLO)
    return values, by_columns(vectors)


def _differences(values: Any) -> Any:
    """values[j] - values[i], with ones on the diagonal."""
    gap = values[..., None, :] - values[..., :, None]
    return gap + _constant(np.eye(values.shape[-1]), values)


def _eigh_gradient(g: Tensor, y: Tensor) -> Any:
    """`V (diag(gw) + skew part of V' gV / differences of w) V'`."""
    (w, v), (g_w, g_v) = y, g
    eye = _constant(np.eye(w.shape[-1]), w)
    inner: Any = 0.0
    if g_v is not None:
        inner = _skew(matmul(_turned(v), g_v)) / (2 * _differences(w)) * (1 - eye)
    if g_w is not None:
        inner = inner + g_w[..., None] * eye
    return _chain(v, inner, _turned(v))


_eigh.vjp(A=_eigh_gradient)


@takes_out
@named(input="A")
@composed(autocast={"cpu": "float32"})
def eigh(A: Tensor, UPLO: str = "L") -> Any:
    """Eigenvalues, rising, and eigenvectors (columns) of symmetric matrices: `A = V diag(w) V'`.

    Args:
        A: (..., n, n); only one triangle is read,
        UPLO: the lower ("L") or the upper ("U").

    The gradient is infinite or nan where eigenvalues are equal and eigenvectors are used.

    >>> import tinygrad_edu as torch
    >>> torch.linalg.eigh(torch.tensor([[2.0, 0.0], [0.0, 1.0]])).eigenvalues
    tensor([1., 2.])
    """
    if UPLO.upper() not in ("L", "U"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    _check_matrix("eigh", operand("linalg.eigh", A))
    return return_types.linalg_eigh(*_eigh(A, UPLO.upper()))


@takes_out
@named(input="A")
@composed(autocast={"cpu": "float32"})
def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """The eigenvalues, rising, of symmetric matrices; see `eigh`."""
    values: Tensor = eigh(A, UPLO)[0]
    return values


# Singular values ----------------------------------------------------------------------------------


def _refuse_nan(A: Array) -> None:
    """torch's error for matrices that have no singular values."""
    if np.isnan(A).any():
        raise LinAlgError(
            "linalg.svd: The algorithm failed to converge because the input matrix contained"
            " non-finite values."
        )


@primitive(multiple=True, node="LinalgSvd", half="as it is")
def _svd(A: Array, full_matrices: bool) -> Any:
    _refuse_nan(A)
    u, s, vh = singular_parts(A, full_matrices)
    return by_columns(u), s, by_columns(vh)


def _skew(x: Tensor) -> Any:
    return x - _turned(x)


def _svd_gradient(g: Tensor, y: Tensor, A_shape: tuple[int, ...]) -> Any:
    """`U (S-weighted skew parts + diag(gS)) V'`, and the parts of gU, gV outside U and V."""
    rows, columns = A_shape[-2:]
    (u, s, vh), (g_u, g_s, g_vh) = y, g
    if u.shape[-1] != vh.shape[-2]:  # full matrices
        g_u, g_vh = _reduced(g_u, g_vh, min(rows, columns))
        u, vh = u[..., : s.shape[-1]], vh[..., : s.shape[-1], :]
    eye = _constant(np.eye(s.shape[-1]), s)
    inner: Any = 0.0 if g_s is None else g_s[..., None] * eye
    gaps = _differences(s * s)
    if g_u is not None:
        inner = inner + _skew(matmul(_turned(u), g_u)) / gaps * s[..., None, :]
    if g_vh is not None:
        inner = inner + s[..., :, None] * (_skew(matmul(vh, _turned(g_vh))) / gaps)
    total = _chain(u, inner, vh)
    if g_u is not None and rows > columns:
        outside = g_u - _chain(u, _turned(u), g_u)
        total = total + matmul(outside / s[..., None, :], vh)
    if g_vh is not None and columns > rows:
        outside = g_vh - _chain(g_vh, _turned(vh), vh)
        total = total + matmul(u, outside / s[..., :, None])
    return total


def _reduced(g_u: Any, g_vh: Any, count: int) -> tuple[Any, Any]:
    """The gradients of the first singular vectors; the others are an arbitrary basis of the rest.

    Raises:
        RuntimeError: a gradient arrives for those others.
    """
    others = [
        raw(part)
        for part in (
            g_u if g_u is None else g_u[..., count:],
            g_vh if g_vh is None else g_vh[..., count:, :],
        )
        if part is not None
    ]
    if any([part.any() for part in others]):
        raise RuntimeError(
            "svd_backward: with full_matrices=True the singular vectors of matrices that are not"
            " square have no gradient; use full_matrices=False"
        )
    return g_u if g_u is None else g_u[..., :count], g_vh if g_vh is None else g_vh[..., :count, :]


_svd.vjp(A=_svd_gradient)


@takes_out
@composed(autocast={"cpu": "float32"})
def svd(A: Tensor, full_matrices: bool = True, *, driver: str | None = None) -> Any:
    """`A = U diag(S) Vh`, singular values falling.

    Args:
        A: (..., m, n), float32 or float64.
        full_matrices: U and Vh are square; False: they have min(m, n) columns and rows.
        driver: refused: it chooses among routines on the GPU.

    The gradient is infinite or nan where singular values are equal and the vectors are used.

    Unlike torch, which ignores it, a gradient of vectors beyond the first min(m, n), which are not
    determined by A, is refused.

    >>> import tinygrad_edu as torch
    >>> torch.linalg.svd(torch.tensor([[0.0, 2.0], [1.0, 0.0]])).S
    tensor([2., 1.])
    """
    if driver is not None:
        raise RuntimeError("torch.linalg.svd: keyword argument `driver=` is only for CUDA inputs")
    _check_matrix("svd", operand("linalg.svd", A))
    return return_types.linalg_svd(*_svd(A, full_matrices))


@takes_out
@composed(autocast={"cpu": "float32"})
def svdvals(A: Tensor, *, driver: str | None = None) -> Tensor:
    """The singular values of matrices, falling.

    >>> import tinygrad_edu as torch
    >>> torch.linalg.svdvals(torch.tensor([[0.0, 2.0], [1.0, 0.0]]))
    tensor([2., 1.])
    """
    values: Tensor = svd(A, False, driver=driver)[1]
    return values


@primitive(node="LinalgPinv", half="as it is")
def _pinv(A: Array, absolute: Any, relative: Any, hermitian: bool) -> Array:
    if hermitian:
        with solving(A):
            s, u = np.linalg.eigh(A)
        vh = _turned(u)
    else:
        _refuse_nan(A)
        u, s, vh = singular_parts(A, full_matrices=False)
    sizes = np.abs(s)
    large = sizes > _limit(sizes, absolute, relative)
    inverse = np.where(large, 1 / np.where(large, s, 1), 0)
    return np.matmul(_turned(vh) * inverse[..., None, :], _turned(u))


def _pinv_gradient(g: Tensor, A: Tensor, y: Tensor) -> Any:
    """`-P'gP' + (I - A P) g' P P' + P'P g' (I - P A)`, with P the pseudoinverse."""
    left = _constant(np.eye(A.shape[-2]), A) - matmul(A, y)
    right = _constant(np.eye(A.shape[-1]), A) - matmul(y, A)
    turned, back = _turned(y), _turned(g)
    total = -_chain(turned, g, turned)
    return total + _chain(left, back, y, turned) + _chain(turned, y, back, right)


_pinv.vjp(A=_pinv_gradient)


@takes_out(dtype="any")
@named(input="A")
@composed(autocast={"cpu": "float32"})
@np.errstate(all="ignore")
def pinv(
    A: Tensor,
    rcond: float | Tensor | None = None,
    hermitian: bool = False,
    *,
    atol: float | Tensor | None = None,
    rtol: float | Tensor | None = None,
) -> Tensor:
    """The Moore-Penrose pseudoinverse of matrices.

    Args:
        A: (..., m, n).
        hermitian: A is symmetric: its eigenvalues serve, and only its lower triangle is read.
        atol, rtol: singular values up to the larger of `atol` and `rtol` times the largest count
            as 0; numbers or tensors of one number per matrix.  Where neither is given, `rtol` is
            max(m, n) times the precision of the dtype.
        rcond: the old name of `rtol`.

    >>> import tinygrad_edu as torch
    >>> torch.linalg.pinv(torch.tensor([[2.0], [0.0]]))
    tensor([[0.5000, 0.0000]])
    """
    x = operand("linalg.pinv", A)
    _check_matrix("pinv", x)
    if hermitian:
        _check_square("matrix_rank", x)
    return _pinv(A, *_tolerances(x, atol, rcond if rtol is None else rtol), hermitian)


def _sizes(x: Array, hermitian: bool) -> Array:
    """The singular values; of a symmetric matrix, the sizes of its eigenvalues."""
    if hermitian:
        _check_square("matrix_rank", x)
    with solving(x):
        if hermitian:
            return np.abs(np.linalg.eigvalsh(x))
        _refuse_nan(x)
        return np.linalg.svd(x, compute_uv=False)


def _tolerances(x: Array, atol: Any, rtol: Any) -> tuple[Any, Any]:
    """What may be lacking to 0: of any matrix, and relative to its largest singular value."""
    if rtol is None:
        given = atol is not None and (isinstance(atol, TensorBase) or atol > 0)
        rtol = 0.0 if given else max(x.shape[-2:]) * np.finfo(x.dtype).eps
    return _per_matrix(0.0 if atol is None else atol), _per_matrix(rtol)


def _limit(sizes: Array, absolute: Any, relative: Any) -> Array:
    """The size up to which singular values count as 0, beside the sizes."""
    largest = sizes.max(-1, keepdims=True) if sizes.size else sizes.sum(-1, keepdims=True)
    limit: Array = np.maximum(absolute, (relative * largest).astype(sizes.dtype))
    return limit


def _per_matrix(tolerance: Any) -> Any:
    return tolerance.array[..., None] if isinstance(tolerance, TensorBase) else tolerance


@takes_out(dtype="any")
@named(input="A")
@composed(autocast={"cpu": "float32"})
def matrix_rank(
    A: Tensor,
    tol: float | Tensor | None = None,
    hermitian: bool = False,
    *,
    atol: float | Tensor | None = None,
    rtol: float | Tensor | None = None,
) -> Tensor:
    """How many singular values of each matrix are not 0.

    Args:
        tol: the old name of `atol`.
        hermitian, atol, rtol: as in `pinv`.

    >>> import tinygrad_edu as torch
    >>> torch.linalg.matrix_rank(torch.ones(3, 3))
    tensor(1)
    """
    x = operand("linalg.matrix_rank", A)
    _check_matrix("matrix_rank", x)
    sizes = _sizes(x, hermitian)
    atol, rtol = (tol if atol is None else atol), (0.0 if tol is not None else rtol)
    return wrap((sizes > _limit(sizes, *_tolerances(x, atol, rtol))).sum(-1))


_DRIVERS = ("gels", "gelsy", "gelsd", "gelss")


@takes_out(dtype="any")
@named(input="A", b="B")
@composed(autocast={"cpu": "float32"})
@np.errstate(all="ignore")
def lstsq(A: Tensor, B: Tensor, rcond: float | None = None, *, driver: str | None = None) -> Any:
    """The X that makes `|A X - B|` least, by the pseudoinverse of A.

    Args:
        A: (..., m, n).
        B: (..., m, k), or (..., m).
        rcond: as `rtol` of `pinv`.
        driver: "gels", "gelsy" (if None), "gelsd" or "gelss"; there is one method, but which of
            the results are filled depends on it, as in torch.

    Returns:
        solution; residuals, if m > n, A has full rank and the driver is not "gelsy"; rank, not
        for "gels"; singular_values, for "gelsd" and "gelss".
    """
    a, b = operand("linalg.lstsq", A), operand("linalg.lstsq", B)
    for name, given, least in (("input", a, 2), ("other", b, 1)):
        if given.ndim < least:
            raise RuntimeError(f"torch.linalg.lstsq: {name} must have at least {least} dimensions.")
    driver = driver or "gelsy"
    if driver not in _DRIVERS:
        raise RuntimeError(
            "torch.linalg.lstsq: parameter `driver` should be one of (gels, gelsy, gelsd, gelss)"
        )
    vector = b.ndim == 1 or (b.ndim == a.ndim - 1 and b.shape == a.shape[:-1])
    right = B[..., None] if vector else B
    if a.shape[-2] != right.shape[-2]:
        raise RuntimeError(
            f"torch.linalg.lstsq: input.size(-2) should match other.size({-1 if vector else -2})"
        )
    x: Any = matmul(pinv(A, rtol=rcond), right)
    rank = matrix_rank(A, rtol=rcond)
    full = a.shape[-2] > a.shape[-1] and (driver == "gels" or (rank.array == a.shape[-1]).all())
    residuals = x.reshape(-1)[:0]
    if full and driver != "gelsy":
        rest = matmul(A, x) - right
        residuals = (rest * rest).sum(-2)
    values = np.linalg.svd(a, compute_uv=False) if driver in ("gelsd", "gelss") else a[:0].ravel()
    ranks = rank if driver != "gels" else wrap(rank.array.ravel()[:0])
    return return_types.linalg_lstsq(x[..., 0] if vector else x, residuals, ranks, wrap(values))


if not TYPE_CHECKING:  # a type checker is to miss what is not here
    __getattr__ = elsewhere(__name__, "ops.more.solvers")
