"""Rows of tinygrad_edu/ops/more/linalg.py, diagonals.py and norms.py."""

import math

from op_table import Distinct, F, Op, Pos, V, call, tied


def _spread(torch, x):
    """A well-conditioned matrix made of any."""
    return x + 3 * torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)


def _definite(torch, x):
    """A symmetric positive-definite matrix made of any."""
    return x @ x.mT + torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)


_floats = {"skip": ["int64", "bool"]}


def _complete(torch, x):
    leaf = x.detach().clone().requires_grad_()
    torch.linalg.qr(leaf, "complete")[0].sum().backward()  # of a tall matrix that is an error
    return torch.linalg.qr(x, "complete")[1]


ROWS = [
    Op("linalg.diagonal", call(F(2, 3, 4)), call(F(2, 3, 4), offset=-1, dim1=0)),
    Op("diagonal", call(F(3, 3)), call(F(2, 3), 1), call(F(2, 3, 4), -1, 0, 2), call(F(2, 3), 5),
       bad=[call(F(3)), call(F(2, 2), 0, 0, 0), call(F(2, 2), 0, 0, 3)]),
    Op("diag", call(F(3)), call(F(3), -1), call(F(2, 3)), call(F(3, 2), 1),
       bad=[call(F(2, 2, 2)), call(F())]),
    Op("diag_embed", call(F(2, 3)), call(F(3), 1), call(F(2, 3), -1, 0, 2)),
    Op("Tensor.fill_diagonal_", call(F(3, 3), 5.0), call(F(2, 3), 1), call(F(5, 2), 1.5),
       call(F(7, 2), 2.5, True), call(F(2, 2, 2), 3), bad=[call(F(3), 1), call(F(2, 3, 2), 1)],
       run=lambda torch, x, *args: (x * 1).contiguous().fill_diagonal_(*args)),
    Op("diagflat", call(F(2, 2)), call(F(3), 1)),
    Op("linalg.det", call(F(3, 3)), call(F(2, 2, 2)), call(F(0, 0)),
       bad=[call(F(2, 3)), call(F(3))], second=False, **_floats),
    Op("det, twice", call(F(2, 3, 3)), run=lambda torch, x: torch.det(_spread(torch, x)),
       covers=["det"], **_floats),
    Op("linalg.slogdet", call(F(2, 3, 3)),
       run=lambda torch, x: torch.linalg.slogdet(_spread(torch, x))[1], covers=["slogdet"],
       **_floats),
    Op("linalg.slogdet, sign", call(F(3, 3)), **_floats,
       run=lambda torch, x: torch.linalg.slogdet(x)[0]),
    Op("logdet", call(F(3, 3)), run=lambda torch, x: torch.logdet(_definite(torch, x)), **_floats),
    Op("linalg.inv", call(F(2, 3, 3)), bad=[call(F(2, 3))],
       run=lambda torch, x: torch.linalg.inv(_spread(torch, x) if x.shape[-2] == 3 else x),
       covers=["inverse"], **_floats),
    Op("linalg.solve", call(F(3, 3), F(3, 2)), call(F(3, 3), F(3)), call(F(2, 3, 3), F(3, 2)),
       call(F(2, 3, 3), F(2, 3)), bad=[call(F(3, 3), F(2, 2))],
       run=lambda torch, a, b: torch.linalg.solve(_spread(torch, a), b), **_floats),
    Op("linalg.cholesky", call(F(3, 3)), call(F(2, 3, 3)), covers=["cholesky"],
       run=lambda torch, x: torch.linalg.cholesky(_definite(torch, x)), **_floats),
    Op("linalg.matrix_norm", call(F(2, 3)), call(F(3, 2, 3), 1), call(F(3, 2, 3), -math.inf),
       call(F(2, 3), math.inf, keepdim=True), call(F(3, 2, 3), -1, (2, 0)),
       call(F(3, 2, 3), "fro", (0, 1)), call(F(2, 3), "nuc"), call(F(3, 2, 3), 2, (2, 0), True),
       bad=[call(F(3)), call(F(2, 2), 3)], **_floats),
    Op("linalg.qr", call(F(4, 3)), call(F(2, 2, 3)), bad=[call(F(3)), call(F(2, 2), "x")],
       tolerance=(2e-3, 1e-3), **_floats),
    Op("linalg.qr, complete", call(F(3, 3)), bad=[call(F(4, 3))], run=_complete, **_floats),
    Op("linalg.qr, R alone", call(F(4, 3, grad=False)), covers=["only_r"], **_floats,
       run=lambda torch, x: torch.linalg.qr(x, "r")[1]),
    Op("linalg.eigvalsh", call(F(2, 3, 3)), bad=[call(F(2, 3))], covers=["linalg.eigh", "eigh"],
       run=lambda torch, x: torch.linalg.eigvalsh(x + x.mT if x.shape[-2] == 3 else x), **_floats,
       tolerance=(1e-3, 1e-3)),
    Op("linalg.eigh, signs undone", call(F(3, 3)), call(F(2, 3, 3)), call(F(1, 2, 2, 2)),
       run=lambda torch, x: [y.square() for y in torch.linalg.eigh(x + x.mT)], **_floats,
       tolerance=(1e-3, 1e-3)),
    Op("linalg.svdvals", call(F(2, 3, 2)), bad=[call(F(3))], covers=["linalg.svd", "svd"],
       tolerance=(1e-3, 1e-3), **_floats),
    Op("linalg.pinv", call(F(4, 2)), call(F(2, 2, 4)), tolerance=(5e-3, 5e-3), **_floats),
    Op("pinverse", call(F(4, 2)), call(F(values=[[1.0, 0.0], [0.0, 1e-9]], grad=False)),
       tolerance=(5e-3, 5e-3), **_floats),
    Op("linalg.matrix_rank", call(F(4, 2, grad=False)), **_floats),
    Op("linalg.matrix_power", call(F(3, 3), 3), call(F(2, 2, grad=False), 0),
       covers=["matrix_power"], **_floats),
    Op("linalg.lstsq", call(F(4, 2), F(4, 1)), tolerance=(5e-3, 5e-3), **_floats,
       run=lambda torch, a, b: torch.linalg.lstsq(a, b).solution),
    Op("dist", call(F(2, 3), F(2, 3)), call(F(2, 3), F(3), 1), call(Distinct(4), F(4), math.inf)),
    Op("linalg.cross", call(F(2, 3), F(2, 3)), call(F(3, 2), F(3, 2), dim=0),
       bad=[call(F(2, 2), F(2, 2)), call(F(3), F(1, 3))], skip=["bool"]),
    Op("cumulative_trapezoid", call(F(2, 3)), call(F(4), dx=0.5), call(F(4), Pos(4)),
       skip=["bool", "uint8"]),
    Op("nanquantile", call(Distinct(5), 0.3), tied(V([[1.0, math.nan], [2.0, 3.0]]), 0.4),
       tied(V([[1.0, math.nan], [2.0, 3.0]]), 0.4, 1), **_floats),
]  # fmt: skip


def _triangular(torch, x):
    """Far from singular: the diagonal is large."""
    return torch.tril(x) + 3 * torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)


ROWS += [
    Op("linalg.vecdot", call(F(2, 3), F(3)), call(F(2, 3), F(2, 3), dim=0), skip=["bool", "int64"]),
    Op("linalg.solve_triangular", call(F(3, 3), F(3, 2)), call(F(2, 3, 3), F(3, 2)), **_floats,
       run=lambda torch, a, b: torch.linalg.solve_triangular(_triangular(torch, a), b, upper=False),
       bad=[call(F(3, 3), F(2, 2))]),
    Op("linalg.solve_triangular, from the right", call(F(3, 3), F(2, 3)), **_floats,
       run=lambda torch, a, b: torch.linalg.solve_triangular(
           _triangular(torch, a).mT, b, upper=True, left=False, unitriangular=True)),
    Op("triangular_solve", call(F(3, 2), F(3, 3)), **_floats, covers=["triangular_solve"],
       run=lambda torch, b, a: torch.triangular_solve(b, _triangular(torch, a), False)[0]),
    Op("cholesky_solve", call(F(3, 2), F(3, 3)), **_floats,
       run=lambda torch, b, a: torch.cholesky_solve(b, _triangular(torch, a))),
    Op("cholesky_inverse", call(F(3, 3)), **_floats,
       run=lambda torch, a: torch.cholesky_inverse(_triangular(torch, a))),
    Op("linalg.cond", call(F(2, 3, 3)), call(F(3, 3), 1), call(F(3, 3), "fro"), call(F(3, 3), -2),
       run=lambda torch, x, *p: torch.linalg.cond(_spread(torch, x), *p), **_floats),
    Op("linalg.tensorinv", call(F(4, 4)), **_floats,
       run=lambda torch, x: torch.linalg.tensorinv(_spread(torch, x).reshape(4, 2, 2), 1)),
    Op("linalg.tensorsolve", call(F(4, 4), F(2, 2)), **_floats,
       run=lambda torch, x, b: torch.linalg.tensorsolve(_spread(torch, x).reshape(2, 2, 4), b)),
    Op("linalg.vander", call(F(2, 3)), call(F(3), N=2), bad=[call(F(3), N=1)], skip=["bool"]),
    Op("matrix_exp", call(F(3, 3)), call(F(2, 2, 2, low=-9, high=9)), bad=[call(F(2, 3))],
       covers=["linalg.matrix_exp"], **_floats),
    Op("linalg.householder_product", call(F(4, 3), F(2)), covers=["orgqr"], **_floats),
    Op("qr", call(F(3, 2)), run=lambda torch, x: torch.qr(x), tolerance=(1e-3, 1e-3), **_floats),
    Op("svd", call(F(3, 2)), run=lambda torch, x: torch.svd(x)[1], tolerance=(1e-3, 1e-3),
       **_floats),
    Op("linalg.cholesky_ex", call(F(2, 3, 3)), **_floats,
       run=lambda torch, x: torch.linalg.cholesky_ex(_definite(torch, x))),
    Op("linalg.cholesky_ex that fails", call(F(3, 3, grad=False)), **_floats,
       run=lambda torch, x: torch.linalg.cholesky_ex(-_definite(torch, x)).info),
    Op("linalg.inv_ex", call(F(2, 3, 3)), **_floats,
       run=lambda torch, x: torch.linalg.inv_ex(_spread(torch, x))),
    Op("linalg.inv_ex that fails", call(F(3, 3, grad=False)), **_floats,
       run=lambda torch, x: torch.linalg.inv_ex(x * 0 + 1).info),
    Op("linalg.solve_ex", call(F(3, 3), F(3, 2)), **_floats,
       run=lambda torch, a, b: torch.linalg.solve_ex(_spread(torch, a), b)),
    Op("svd_lowrank", call(F(5, 4, grad=False)), call(F(3, 6, grad=False)), **_floats,
       run=lambda torch, x: torch.svd_lowrank(x, 3)[1].shape),
    Op("pca_lowrank", call(F(5, 4)), tolerance=(1e-2, 1e-2), **_floats,
       run=lambda torch, x: torch.pca_lowrank(x, 4)[1]),
]  # fmt: skip
