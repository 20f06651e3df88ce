"""QR, eigenvalues, singular values, pseudoinverse beside torch's, differentiated twice."""

from __future__ import annotations

import numpy as np
import pytest
from beside_torch import beside_torch, same_error

import tinygrad_edu as ours

torch = pytest.importorskip("torch")
random = np.random.default_rng(0)


def R(*shape):
    return random.standard_normal(shape)


@pytest.mark.parametrize("shape", [(3, 3), (5, 3), (2, 4, 2), (2, 4), (2, 3, 5)])
def test_qr(shape):
    for which in range(2):
        beside_torch(lambda T, x, which=which: T.linalg.qr(x)[which], R(*shape))
    beside_torch(lambda T, x: (lambda q, r: q.sum(-2) * r.sum(-2)[..., : q.shape[-1]])(
        *T.linalg.qr(x)), R(*shape))  # fmt: skip
    for mode in ("complete", "r"):
        for which in range(2):
            beside_torch(
                lambda T, x, which=which, mode=mode: T.linalg.qr(x, mode)[which],
                constants=[R(*shape)],
            )


@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 4)])
def test_eigh(shape):
    def symmetric(x):
        return x + x.mT

    beside_torch(lambda T, x: T.linalg.eigh(symmetric(x)).eigenvalues, R(*shape))
    beside_torch(lambda T, x: T.linalg.eigvalsh(symmetric(x), UPLO="U"), R(*shape))
    # the square, because the sign of an eigenvector means nothing
    beside_torch(lambda T, x: T.linalg.eigh(symmetric(x)).eigenvectors ** 2, R(*shape))


@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 3), (2, 2, 4)])
def test_svd(shape):
    beside_torch(lambda T, x: T.linalg.svdvals(x), R(*shape))
    beside_torch(lambda T, x: T.linalg.svd(x, full_matrices=False).S, R(*shape))
    beside_torch(lambda T, x: T.linalg.svd(x, full_matrices=False).U ** 2, R(*shape))
    beside_torch(lambda T, x: T.linalg.svd(x, full_matrices=False).Vh ** 2, R(*shape))

    def rebuilt(T, x):
        u, s, vh = T.linalg.svd(x, full_matrices=False)
        return (u * s.exp().unsqueeze(-2)) @ vh

    beside_torch(rebuilt, R(*shape))
    beside_torch(lambda T, x: T.linalg.svd(x).U.abs(), constants=[R(*shape)])


@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 2, 4)])
def test_pinv(shape):
    beside_torch(lambda T, x: T.linalg.pinv(x), R(*shape))
    beside_torch(lambda T, x: T.linalg.matrix_rank(x), constants=[R(*shape)])
    low = R(4, 1) @ R(1, 3)
    beside_torch(lambda T, x: T.linalg.matrix_rank(x), constants=[low])
    beside_torch(lambda T, x: T.linalg.pinv(x), constants=[low])


def test_lstsq():
    beside_torch(lambda T, a, b: T.linalg.lstsq(a, b).solution, R(5, 3), R(5, 2))
    beside_torch(
        lambda T, a, b: T.linalg.lstsq(a, b, driver="gelsd").residuals, constants=[R(5, 3), R(5, 2)]
    )


@pytest.mark.parametrize("n", [-2, 0, 1, 2, 5])
def test_matrix_power(n):
    beside_torch(lambda T, x: T.linalg.matrix_power(x, n), *([R(3, 3)] if n else []),
                 constants=[] if n else [R(3, 3)])  # fmt: skip


@pytest.mark.parametrize("ord", ["nuc", 2, -2])
def test_norms(ord):
    beside_torch(lambda T, x: T.linalg.matrix_norm(x, ord), R(2, 3, 4))
    beside_torch(lambda T, x: T.linalg.norm(x, ord, (2, 0), keepdim=True), R(2, 3, 4))


@pytest.mark.parametrize(
    "run",
    [
        lambda T: T.linalg.qr(T.ones(3)),
        lambda T: T.linalg.qr(T.ones(3, 3), "other"),
        lambda T: T.linalg.eigh(T.ones(3, 2)),
        lambda T: T.linalg.svd(T.ones(3)),
        lambda T: T.linalg.matrix_power(T.ones(3, 2), 2),
        lambda T: T.linalg.lstsq(T.ones(3, 2), T.ones(2, 2)),
    ],
)
def test_errors(run):
    same_error(run, "")


def test_checked_forms_name_what_fails() -> None:
    """`check_errors=True` raises torch's exception; without, `info` says where it failed."""
    singular = ours.tensor([[[2.0, 1.0], [1.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]])
    result = ours.linalg.inv_ex(singular)
    assert result.info.tolist() == [0, 2]
    assert ours.allclose(result.inverse[0], ours.linalg.inv(singular[0]))
    for checked in (ours.linalg.inv_ex, ours.linalg.cholesky_ex):
        with pytest.raises(ours.linalg.LinAlgError, match="Batch element 1"):
            checked(singular, check_errors=True)


def test_full_singular_vectors_have_a_gradient_only_where_they_are_determined() -> None:
    """Those beyond min(m, n) are an arbitrary basis of the rest."""
    x = ours.randn(3, 2, dtype=ours.float64, requires_grad=True)
    u = ours.linalg.svd(x, full_matrices=True).U
    u[:, :2].abs().sum().backward()
    reduced = ours.linalg.svd(x, full_matrices=False).U
    (expected,) = ours.autograd.grad(reduced.abs().sum(), x)
    assert ours.allclose(x.grad, expected)
    with pytest.raises(RuntimeError, match="full_matrices"):
        ours.linalg.svd(x, full_matrices=True).U.abs().sum().backward()


def test_singular_values_of_infinities_come_to_an_end() -> None:
    """LAPACK searches for the vectors of this matrix for ever; no interrupt would reach it."""
    inf, nan = float("inf"), float("nan")
    rows = [[-inf, 1.555, 1.628], [1.685, 0.155, 1.642], [-0.374, -1.439, -0.762]]
    results = []
    for library in (ours, torch):
        one = library.tensor(rows, dtype=library.float64)
        both = library.stack([library.eye(3, dtype=library.float64), one])
        linalg = library.linalg
        results.append([
            linalg.svdvals(one).tolist(), linalg.svd(both).S.tolist(), linalg.pinv(one).tolist(),
            linalg.matrix_norm(both, 2).tolist(), linalg.matrix_norm(both, "nuc").tolist(),
            linalg.cond(one).item(), int(linalg.matrix_rank(one)),
        ])  # fmt: skip
        one[0, 0] = nan
        for call in (linalg.svd, linalg.svdvals, linalg.pinv):
            with pytest.raises(RuntimeError, match="converge"):
                call(one)
    np.testing.assert_equal(*results)
