"""The functions of `torch` whose operations are in `ops/more/`; imported when one is asked for."""

from __future__ import annotations

from tinygrad_edu.ops.more.activation import celu, hardshrink, prelu, selu, threshold
from tinygrad_edu.ops.more.arranging import (
    adjoint,
    block_diag,
    cartesian_prod,
    combinations,
    diagonal_scatter,
    fill,
    fliplr,
    flipud,
    masked_scatter,
    repeat_interleave,
    roll,
    rot90,
    select_scatter,
    slice_scatter,
    tril_indices,
    triu_indices,
    vander,
)  # fmt: skip
from tinygrad_edu.ops.more.bitwise import (
    bitwise_and,
    bitwise_left_shift,
    bitwise_not,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    gcd,
    lcm,
)  # fmt: skip
from tinygrad_edu.ops.more.counting import (
    bincount,
    bucketize,
    histc,
    histogram,
    searchsorted,
    unique,
    unique_consecutive,
    unravel_index,
)  # fmt: skip
from tinygrad_edu.ops.more.cumulative import (
    cummax,
    cummin,
    cumprod,
    cumsum,
    cumulative_trapezoid,
    diff,
    gradient,
    logcumsumexp,
    prod,
    trapezoid,
)  # fmt: skip
from tinygrad_edu.ops.more.decompositions import matrix_power
from tinygrad_edu.ops.more.drawing import normal
from tinygrad_edu.ops.more.einsum import einsum
from tinygrad_edu.ops.more.linalg import (
    cholesky,
    det,
    diag,
    diag_embed,
    diagflat,
    diagonal,
    logdet,
    slogdet,
    trace,
)
from tinygrad_edu.ops.more.linalg import inv as inverse
from tinygrad_edu.ops.more.norms import cdist, dist, norm, renorm
from tinygrad_edu.ops.more.placing import index_copy, index_fill, scatter, take, take_along_dim
from tinygrad_edu.ops.more.products import (
    addbmm,
    addmm,
    addmv,
    addr,
    baddbmm,
    bmm,
    chain_matmul,
    cross,
    dot,
    ger,
    inner,
    kron,
    mm,
    mv,
    outer,
    tensordot,
    vdot,
)  # fmt: skip
from tinygrad_edu.ops.more.real import (
    angle,
    conj,
    conj_physical,
    frexp,
    nextafter,
    real,
    resolve_conj,
    resolve_neg,
)  # fmt: skip
from tinygrad_edu.ops.more.rejection import poisson
from tinygrad_edu.ops.more.resampling import channel_shuffle, pixel_shuffle, pixel_unshuffle
from tinygrad_edu.ops.more.scattering import index_reduce, put, scatter_reduce
from tinygrad_edu.ops.more.series import i0, igamma, igammac
from tinygrad_edu.ops.more.series import multigammaln as mvlgamma
from tinygrad_edu.ops.more.solvers import (
    cholesky_inverse,
    cholesky_solve,
    matrix_exp,
    pca_lowrank,
    pinverse,
    svd_lowrank,
    triangular_solve,
)  # fmt: skip
from tinygrad_edu.ops.more.solvers import (
    householder_product as orgqr,
)
from tinygrad_edu.ops.more.solvers import (
    old_qr as qr,
)
from tinygrad_edu.ops.more.solvers import (
    old_svd as svd,
)
from tinygrad_edu.ops.more.sorting import (
    argsort,
    kthvalue,
    median,
    mode,
    msort,
    nanmedian,
    sort,
    topk,
)
from tinygrad_edu.ops.more.special import (
    digamma,
    erfc,
    erfinv,
    lgamma,
    logaddexp,
    logaddexp2,
    logit,
    polygamma,
    xlogy,
)
from tinygrad_edu.ops.more.statistics import (
    corrcoef,
    cov,
    nanquantile,
    quantile,
    std,
    std_mean,
    var,
    var_mean,
)  # fmt: skip
from tinygrad_edu.ops.more.strided import as_strided, empty_strided, resize_as_
from tinygrad_edu.ops.more.trigonometric import (
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    cosh,
    deg2rad,
    hypot,
    rad2deg,
    sinc,
    sinh,
    tan,
)

trapz = trapezoid
arcsin, arccos, arctan, arctan2 = asin, acos, atan, atan2
arcsinh, arccosh, arctanh = asinh, acosh, atanh

__all__ = [
    "acos", "acosh", "addbmm", "addmm", "addmv", "addr", "adjoint", "angle", "arccos",
    "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "argsort", "as_strided",
    "asin", "asinh", "atan", "atan2", "atanh", "baddbmm", "bincount", "bitwise_and",
    "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift", "bitwise_xor",
    "block_diag", "bmm", "bucketize", "cartesian_prod", "cdist", "celu", "chain_matmul",
    "channel_shuffle", "cholesky", "cholesky_inverse", "cholesky_solve", "combinations", "conj",
    "conj_physical", "corrcoef", "cosh", "cov", "cross", "cummax", "cummin", "cumprod",
    "cumsum", "cumulative_trapezoid", "deg2rad", "det", "diag", "diag_embed", "diagflat",
    "diagonal", "diagonal_scatter", "diff", "digamma", "dist", "dot", "einsum", "empty_strided",
    "erfc", "erfinv", "fill", "fliplr", "flipud", "frexp", "gcd", "ger", "gradient",
    "hardshrink", "histc", "histogram", "hypot", "i0", "igamma", "igammac", "index_copy",
    "index_fill", "index_reduce", "inner", "inverse", "kron", "kthvalue", "lcm", "lgamma",
    "logaddexp", "logaddexp2", "logcumsumexp", "logdet", "logit", "masked_scatter",
    "matrix_exp", "matrix_power", "median", "mm", "mode", "msort", "mv", "mvlgamma",
    "nanmedian", "nanquantile", "nextafter", "norm", "normal", "orgqr", "outer", "pca_lowrank",
    "pinverse", "pixel_shuffle", "pixel_unshuffle", "poisson", "polygamma", "prelu", "prod",
    "put", "qr", "quantile", "rad2deg", "real", "renorm", "repeat_interleave", "resize_as_",
    "resolve_conj", "resolve_neg", "roll", "rot90", "scatter", "scatter_reduce", "searchsorted",
    "select_scatter", "selu", "sinc", "sinh", "slice_scatter", "slogdet", "sort", "std",
    "std_mean", "svd", "svd_lowrank", "take", "take_along_dim", "tan", "tensordot", "threshold",
    "topk", "trace", "trapezoid", "trapz", "triangular_solve", "tril_indices", "triu_indices",
    "unique", "unique_consecutive", "unravel_index", "vander", "var", "var_mean", "vdot",
    "xlogy",
]  # fmt: skip
