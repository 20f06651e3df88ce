"""`torch.linalg`: norms, determinants, inverses and solvers under torch's names."""

from typing import TYPE_CHECKING

from tinygrad_edu.engine.boundary import LinAlgError
from tinygrad_edu.names.missing import missing
from tinygrad_edu.ops.matmul import matmul
from tinygrad_edu.ops.more.decompositions import (
    eigh,
    eigvalsh,
    lstsq,
    matrix_rank,
    pinv,
    qr,
    svd,
    svdvals,
)
from tinygrad_edu.ops.more.diagonals import diagonal_of_matrices as diagonal
from tinygrad_edu.ops.more.linalg import cholesky, det, inv, slogdet, solve
from tinygrad_edu.ops.more.norms import matrix_norm, vector_norm
from tinygrad_edu.ops.more.norms import matrix_or_vector_norm as norm
from tinygrad_edu.ops.more.products import linalg_cross as cross
from tinygrad_edu.ops.more.products import multi_dot, vecdot
from tinygrad_edu.ops.more.solvers import (
    cholesky_ex,
    cond,
    householder_product,
    inv_ex,
    matrix_exp,
    matrix_power,
    solve_ex,
    solve_triangular,
    tensorinv,
    tensorsolve,
    vander,
)

__all__ = [
    "LinAlgError",
    "eigh", "eigvalsh", "lstsq", "matrix_power", "matrix_rank", "pinv", "qr", "svd", "svdvals",
    "cholesky", "cross", "det", "diagonal", "inv", "matmul", "matrix_norm", "multi_dot", "norm",
    "slogdet", "solve", "vector_norm", "cholesky_ex", "cond", "householder_product", "inv_ex",
    "matrix_exp", "solve_ex", "solve_triangular", "tensorinv", "tensorsolve", "vander", "vecdot",
]  # fmt: skip

if not TYPE_CHECKING:  # a type checker is to miss what is not here
    __getattr__ = missing(__name__)
