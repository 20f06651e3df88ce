"""Systems of equations with triangular or factored matrices, and functions of whole matrices.

All are composed of the operations in linalg.py and decompositions.py, so their derivatives of any
order follow from those.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.backend import CPU, beside, new_like, to_device
from tinygrad_edu.dtypes import Array, from_numpy, int64, is_floating
from tinygrad_edu.engine.boundary import LinAlgError
from tinygrad_edu.engine.composed import composed, of_tensors
from tinygrad_edu.engine.nodes import lasting
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.names import return_types
from tinygrad_edu.names.missing import elsewhere
from tinygrad_edu.ops import sampling
from tinygrad_edu.ops.arguments import named, operand, raw
from tinygrad_edu.ops.casting import clone, contiguous
from tinygrad_edu.ops.creation import ones_like
from tinygrad_edu.ops.joining import stack
from tinygrad_edu.ops.masking import tril, triu, where
from tinygrad_edu.ops.matmul import matmul
from tinygrad_edu.ops.more.decompositions import _check_matrix, _constant, pinv, qr, svd, svdvals
from tinygrad_edu.ops.more.linalg import (
    _check_square,
    _solve,
    _turned,
    cholesky,
    inv,
    solve,
    stored_by_columns,
    substitute,
)
from tinygrad_edu.ops.more.norms import matrix_or_vector_norm
from tinygrad_edu.ops.reduction import mean
from tinygrad_edu.out import takes_out
from tinygrad_edu.size import read_dims

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


def _triangle(A: Tensor, upper: bool, unit: bool) -> Tensor:
    part = triu(A, int(unit)) if upper else tril(A, -int(unit))
    return part + _constant(np.eye(A.array.shape[-1]), A) if unit else part


@takes_out(overlap=lambda A, B, **_: ("same", [B]))
@named(input="A")
def solve_triangular(
    A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """The X with `A @ X = B`, or `X @ A = B` if not `left`; only one triangle of A is read.

    Args:
        A: (..., n, n).
        B: (..., n, k); (..., k, n) if not `left`.
        upper: which triangle.
        unitriangular: the diagonal counts as ones, and is not read.

    Raises:
        RuntimeError: the matrices are not square, or the shapes do not fit.

    >>> import tinygrad_edu as torch
    >>> A = torch.tensor([[2.0, 9.0], [1.0, 1.0]])
    >>> torch.linalg.solve_triangular(A, torch.tensor([[2.0], [3.0]]), upper=False)
    tensor([[1.],
            [2.]])
    """
    a, b = operand("linalg.solve_triangular", A), operand("linalg.solve_triangular", B)
    _check_square("solve_triangular", a)
    _check_matrix("solve_triangular", b)
    if a.shape[-1] != b.shape[-2 if left else -1]:
        raise RuntimeError(
            "linalg.solve_triangular: Incompatible shapes of A and B for the equation"
            f" {'AX = B' if left else 'XA = B'} ({a.shape[-2]}x{a.shape[-1]} and"
            f" {b.shape[-2]}x{b.shape[-1]})"
        )
    T = _triangle(A, upper, unitriangular)
    if left:
        return substitute(T, B, upper, True)
    result: Tensor = _turned(substitute(_turned(T), _turned(B), not upper))
    return result


@takes_out
@named(input="b")
@composed(autocast={"cpu": "float32"})
def triangular_solve(
    b: Tensor, A: Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> Any:
    """The old name of `linalg.solve_triangular`; returns (solution, a copy of A)."""
    if operand("triangular_solve", b).ndim < 2 or operand("triangular_solve", A).ndim < 2:
        raise RuntimeError("torch.triangular_solve: Expected A and b to have 2 or more dimensions")
    T = _triangle(A, upper, unitriangular)
    T, upper = (_turned(T), not upper) if transpose else (T, upper)
    return return_types.triangular_solve(substitute(T, b, upper, True), A.clone())


@takes_out(dtype="any")
@named(input="B", input2="L")
@composed(autocast={"cpu": "float32"})
def cholesky_solve(B: Tensor, L: Any, upper: bool = False) -> Tensor:
    """The X with `A @ X = B`, from the Cholesky factor L of A; L.T if `upper`.

    >>> import tinygrad_edu as torch
    >>> torch.cholesky_solve(torch.tensor([[8.0]]), torch.tensor([[2.0]]))
    tensor([[2.]])
    """
    for name, x in (("b", operand("cholesky_solve", B)), ("u", operand("cholesky_solve", L))):
        if x.ndim < 2:
            raise RuntimeError(
                f"{name} should have at least 2 dimensions, but has {x.ndim} dimensions instead"
            )
    T = _turned(L) if upper else L  # torch's gradient, too, is that of all of it
    return substitute(_turned(T), substitute(T, B, False), True, True)


@takes_out(dtype="any")
@named(input="L")
@composed(autocast={"cpu": "float32"})
def cholesky_inverse(L: Any, upper: bool = False) -> Tensor:
    """The inverse of A, from its Cholesky factor L; L.T if `upper`.

    >>> import tinygrad_edu as torch
    >>> torch.cholesky_inverse(torch.tensor([[2.0]]))
    tensor([[0.2500]])
    """
    x = operand("cholesky_inverse", L)
    _check_square("cholesky_inverse", x)
    return cholesky_solve(
        wrap(np.broadcast_to(_constant(np.eye(x.shape[-1]), x), x.shape)), L, upper
    )


@takes_out(dtype="any")
@named(input="A")
@composed(autocast={"cpu": "float32"})
def cond(A: Any, p: float | str | None = None) -> Tensor:
    """The condition number `norm(A, p) * norm(inv(A), p)`.

    Args:
        A: (..., n, n); (..., m, n) for p in None, 2, -2: the ratio of singular values.
        p: an order of `matrix_norm`.

    >>> import tinygrad_edu as torch
    >>> torch.linalg.cond(torch.tensor([[4.0, 0.0], [0.0, 2.0]]))
    tensor(2.)
    """
    x = operand("linalg.cond", A)
    _check_matrix("cond", x)
    if p in (None, 2, -2):
        if not x.size:
            return wrap(np.zeros(x.shape[:-2], x.dtype))
        s: Any = svdvals(A)
        result: Tensor = s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
        return result
    if p not in ("fro", "nuc", 1, -1, math.inf, -math.inf):
        raise RuntimeError(f"linalg.cond got an invalid norm type: {p}")
    _check_square("cond", x)
    if not x.size:
        return wrap(np.zeros(x.shape[:-2], x.dtype))
    sizes = [matrix_or_vector_norm(m, p, (-2, -1)) for m in (A, inv(A))]
    return sizes[0] * sizes[1]


@takes_out(dtype="any")
@named(input="A")
@composed(autocast={"cpu": "float32"})
def tensorinv(A: Any, ind: int = 2) -> Tensor:
    """The inverse of A as a map from its last dimensions to its first `ind` ones.

    >>> import tinygrad_edu as torch
    >>> torch.linalg.tensorinv(torch.eye(4).reshape(4, 2, 2), ind=1).shape
    torch.Size([2, 2, 4])
    """
    shape = operand("linalg.tensorinv", A).shape
    if ind <= 0:
        raise RuntimeError("Expected a strictly positive integer for 'ind'")
    front, back = shape[:ind], shape[ind:]
    if math.prod(front) != math.prod(back):
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[ind:]) =="
            f" prod(self.shape[:ind]), but got {math.prod(back)} != {math.prod(front)}"
        )
    square: Any = inv(A.reshape((math.prod(back), math.prod(front))))
    result: Tensor = square.reshape((*back, *front))
    return result


@takes_out(dtype="any")
@named(input="A", other="B")
@composed(autocast={"cpu": "float32"})
def tensorsolve(A: Any, B: Any, dims: Sequence[int] | None = None) -> Tensor:
    """The X with `tensordot(A, X, X.ndim) = B`.

    Args:
        dims: dimensions of A to move to the end first.
    """
    a, b = operand("linalg.tensorsolve", A), operand("linalg.tensorsolve", B)
    if dims is not None:
        moved = read_dims(dims, a.ndim)
        A = A.movedim(moved, tuple(range(-len(moved), 0)))
    rest = A.array.shape[b.ndim :]
    if math.prod(rest) != b.size:
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[other.ndim:]) =="
            f" prod(self.shape[:other.ndim]), but got {math.prod(rest)} != {b.size}"
        )
    solved: Any = _solve(A.reshape((b.size, b.size)), B.reshape((b.size, 1)))
    result: Tensor = solved.reshape(rest)
    return result


@of_tensors
def vander(x: Tensor, *, N: int | None = None) -> Tensor:
    """The powers 0 to N - 1 of every element, in a new last dimension.

    >>> import tinygrad_edu as torch
    >>> torch.linalg.vander(torch.tensor([2, 3]))
    tensor([[1, 2],
            [1, 3]])
    """
    array = operand("linalg.vander", x)
    count = array.shape[-1] if N is None else N
    if count <= 1:
        raise RuntimeError("N must be greater than 1.")
    x = x if is_floating(array.dtype) else x.to(int64)
    x = x if array.ndim else x.reshape(1)
    powers: list[Any] = [ones_like(x)]
    for _ in range(count - 1):
        powers.append(powers[-1] * x)
    return stack(powers, -1)


_COEFFICIENTS = (
    64764752532480000, 32382376266240000, 7771770303897600, 1187353796428800, 129060195264000,
    10559470521600, 670442572800, 33522128640, 1323241920, 40840800, 960960, 16380, 182, 1,
)  # fmt: skip
_PADE = tuple(b / _COEFFICIENTS[0] for b in _COEFFICIENTS)
"""The first is 1, so that a diagonal of ones stays one, however often it is squared."""


def _halvings(x: Array) -> Array:
    """How often each of the matrices is halved; what is not finite is not."""
    size = np.abs(x).sum(-2).max(-1) if x.size else np.zeros(x.shape[:-2])
    size = np.where(np.isfinite(size), size, 0)
    return np.maximum(0, np.ceil(np.log2(np.maximum(size, 1) / 5.37)))


def _squared(y: Any, halvings: Array) -> Any:
    """Each matrix squared as often as it was halved."""
    for k in range(int(halvings.max()) if halvings.size else 0):
        left = halvings > k
        square = matmul(y, y)
        y = square if left.all() else where(left[..., None, None], square, y)
    return y


@named(input="A")
@composed(autocast={"cpu": "as_given"})
@np.errstate(all="ignore")
def matrix_exp(A: Any) -> Tensor:
    """The exponential of square matrices, `I + A + A A / 2 + ...`.

    Source: Higham, "The scaling and squaring method for the matrix exponential revisited" (2005),
    with the approximant of degree 13 for all.

    >>> import tinygrad_edu as torch
    >>> torch.matrix_exp(torch.zeros(2, 2))
    tensor([[1., 0.],
            [0., 1.]])
    """
    x = operand("linalg.matrix_exp", A)
    if x.dtype.itemsize == 2 and is_floating(x.dtype):
        return matrix_exp(A.float()).to(A.dtype)
    _check_square("matrix_exp", x)
    halvings = _halvings(x)
    eye = _constant(np.eye(x.shape[-1]), x)
    A = A * (0.5**halvings)[..., None, None].astype(x.dtype)
    a2 = matmul(A, A)
    odd: Any = _PADE[13] * eye
    even: Any = _PADE[12] * eye
    for k in range(11, 0, -2):
        odd = matmul(a2, odd) + _PADE[k] * eye
        even = matmul(a2, even) + _PADE[k - 1] * eye
    odd = matmul(A, odd)
    y = _squared(_solve(even - odd, even + odd), halvings)
    return clone(contiguous(y))  # the result may be written, as in torch


@takes_out(dtype="any")
@named(input2="tau")
@composed(autocast={"cpu": "float32"})
def householder_product(input: Any, tau: Any) -> Tensor:
    """The first columns of the product of the reflections `I - tau[i] v[i] v[i]'`.

    Args:
        input: (..., m, n), in column i below the diagonal the vector v[i], whose entry there is 1.
        tau: (..., k), k <= n <= m.
    """
    x, t = operand("linalg.householder_product", input), operand("householder_product", tau)
    _check_matrix("householder_product", x)
    rows, columns = x.shape[-2:]
    if rows < columns:
        raise RuntimeError(
            "torch.linalg.householder_product: input.shape[-2] must be greater than or equal to"
            " input.shape[-1]"
        )
    if columns < t.shape[-1]:
        raise RuntimeError(
            "torch.linalg.householder_product: input.shape[-1] must be greater than or equal to"
            " tau.shape[-1]"
        )
    v = tril(input, -1) + _constant(np.eye(rows, columns), x)
    eye = np.broadcast_to(_constant(np.eye(rows, columns), x), x.shape)
    q: Any = where(np.zeros_like(x, dtype=bool), input, eye)
    for i in reversed(range(t.shape[-1])):
        reflector = v[..., i : i + 1]
        q = q - tau[..., i, None, None] * matmul(reflector, matmul(_turned(reflector), q))
    return stored_by_columns(q)


def pinverse(input: Tensor, rcond: float | Tensor = 1e-15) -> Tensor:
    """The old name of `linalg.pinv`, with a limit of its own."""
    return pinv(input, rcond)


@takes_out
def old_qr(input: Tensor, some: bool = True) -> Any:
    """The old name of `linalg.qr`; `some` means mode="reduced"."""
    return return_types.qr(*qr(input, "reduced" if some else "complete"))


@takes_out
def old_svd(input: Tensor, some: bool = True, compute_uv: bool = True) -> Any:
    """The old name of `linalg.svd`; V comes untransposed, `some` means not full matrices."""
    if not compute_uv:
        x = operand("svd", input)
        blank = [np.zeros_like(x, shape=(*x.shape[:-2], n, n)) for n in x.shape[-2:]]
        return return_types.svd(wrap(blank[0]), svdvals(input), wrap(blank[1]))
    u, s, vh = svd(input, not some)
    return return_types.svd(u, s, _turned(vh))


def _failing_order(matrix: Array, positive: bool) -> int:
    """0, or the order of the first leading minor that is not positive (or is singular)."""
    for order in range(1, len(matrix) + 1):
        try:
            if positive:
                if np.isnan(np.linalg.cholesky(matrix[:order, :order])[-1, -1]):
                    return order
            elif np.linalg.matrix_rank(matrix[:, :order]) < order:
                return order
        except np.linalg.LinAlgError:
            return order
    return 0


def _checked(name: str, A: Any, check_errors: bool, positive: bool) -> tuple[Any, Tensor]:
    """A, with the identity for matrices that fail, and `info`: the order at which each does."""
    x = operand(f"linalg.{name}", A)
    _check_square(name, x)
    if not x.size:
        return A, wrap(new_like(x, x.shape[:-2], 0, np.int32))
    matrices = to_device(x, CPU).reshape((-1, *x.shape[-2:]))
    orders = [_failing_order(m, positive) for m in matrices]
    info = beside(np.asarray(orders, np.int32).reshape(x.shape[:-2]), x)
    if not any(orders):
        return A, wrap(info)
    if check_errors:
        at = next(i for i, order in enumerate(orders) if order)
        why = (
            f"the leading minor of order {orders[at]} is not positive-definite"
            if positive
            else f"the first {orders[at]} columns of the input matrix are dependent"
        )
        raise LinAlgError(f"linalg.{name}: (Batch element {at}): {why}.")
    return where((info == 0)[..., None, None], A, _constant(np.eye(x.shape[-1]), x)), wrap(info)


@takes_out
@named(input="A")
@composed(autocast={"cpu": "float32"})
def cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False) -> Any:
    """`cholesky` without an exception: (L, info), where `info` is 0 or the order that failed.

    The L of a matrix that failed is the identity; of one that holds nan it is nan.
    """
    safe, info = _checked("cholesky_ex", A, check_errors, True)
    L = cholesky(safe, upper=upper)
    spoilt = np.isnan(raw(A)).any((-2, -1)) & (info.array != 0)
    if spoilt.any():
        triangle = np.tri(A.array.shape[-1], dtype=bool)
        L = where(spoilt[..., None, None] & (triangle.T if upper else triangle), math.nan, L)
    return return_types.linalg_cholesky_ex(L, info)


@takes_out
@composed(autocast={"cpu": "float32"})
def inv_ex(A: Tensor, *, check_errors: bool = False) -> Any:
    """`inv` without an exception: (inverse, info), where `info` is 0 or the order that failed.

    The inverse of a matrix that failed is the identity.
    """
    safe, info = _checked("inv_ex", A, check_errors, False)
    return return_types.linalg_inv_ex(inv(safe), info)


@takes_out
def solve_ex(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False) -> Any:
    """`solve` without an exception: (result, info), where `info` is 0 or the order that failed."""
    safe, info = _checked("solve_ex", A, check_errors, False)
    return return_types.linalg_solve_ex(solve(safe, B, left=left), info)


def svd_lowrank(A: Any, q: int | None = 6, niter: int = 2, M: Any = None) -> Any:
    """The `q` largest singular values of `A - M`, approximately, and their vectors: (U, S, V).

    Args:
        A: (..., m, n).
        niter: rounds of refinement.

    Source: Halko, Martinsson, Tropp, "Finding structure with randomness" (2011), algorithms 4.4 and
    5.1.
    """
    A = A if M is None else A - M
    wide = A.array.shape[-2] < A.array.shape[-1]
    A = _turned(A) if wide else A
    rows, columns = A.array.shape[-2:]
    count = min(6, rows, columns) if q is None else q
    sketch = sampling.randn(columns, count, dtype=from_numpy(A.array.dtype), device=A.device)
    Q = qr(matmul(A, sketch))[0]
    for _ in range(niter):
        Q = qr(matmul(_turned(A), Q))[0]
        Q = qr(matmul(A, Q))[0]
    u, s, vh = svd(matmul(_turned(Q), A), False)
    u, v = matmul(Q, u), _turned(vh)
    return (v, s, u) if wide else (u, s, v)


def pca_lowrank(A: Tensor, q: int | None = None, center: bool = True, niter: int = 2) -> Any:
    """The principal components of the rows of A by `svd_lowrank`, after taking off their mean.

    >>> import tinygrad_edu as torch
    >>> torch.pca_lowrank(torch.eye(4), q=2)[1].shape
    torch.Size([2])
    """
    rows, columns = operand("pca_lowrank", A).shape[-2:]
    count = min(6, rows, columns) if q is None else q
    if not 0 <= count <= min(rows, columns):
        raise ValueError(
            f"q(={q}) must be non-negative integer and not greater than min(m, n)="
            f"{min(rows, columns)}"
        )
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    return svd_lowrank(A - mean(A, -2, True) if center else A, count, niter)


@takes_out
@named(input="A")
def matrix_power(A: Tensor, n: int) -> Tensor:
    """The product of n factors A; of its inverse if n is negative.

    Raises:
        RuntimeError: the matrices are not square, or n is negative and one is singular.

    >>> import tinygrad_edu as torch
    >>> torch.linalg.matrix_power(torch.tensor([[1.0, 1.0], [0.0, 1.0]]), 5)
    tensor([[1., 5.],
            [0., 1.]])
    """
    x = operand("linalg.matrix_power", A)
    _check_square("matrix_power", x, low=n >= 0)
    if n < 0:
        return matrix_power(inv(A), -n)
    if n == 3:  # in torch's order, which decides what becomes of infinities
        return matmul(matmul(A, A), A)
    result: Any = None
    base: Any = A
    while n:
        if n & 1:
            result = base if result is None else matmul(result, base)
        n >>= 1
        base = matmul(base, base) if n else base
    if result is None:
        eye = _constant(np.eye(x.shape[-1]), x)
        nowhere = np.zeros_like(x, dtype=bool, order="C")
        eye_like: Tensor = lasting(where(nowhere, A, np.broadcast_to(eye, x.shape)))
        return eye_like
    product: Tensor = result.clone() if result is A else result
    return product


if not TYPE_CHECKING:  # a type checker is to miss what is not here
    __getattr__ = elsewhere(__name__, "ops.more.products")
