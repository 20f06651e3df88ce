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
    logcumsumexp,
    prod,
)  # fmt: skip
from tinygrad_edu.ops.more.diagonals import diag, diag_embed, diagflat, diagonal, trace
from tinygrad_edu.ops.more.differences import cumulative_trapezoid, diff, gradient, trapezoid
from tinygrad_edu.ops.more.drawing import normal
from tinygrad_edu.ops.more.einsum import einsum
from tinygrad_edu.ops.more.linalg import cholesky, det, logdet, slogdet
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
from tinygrad_edu.ops.more.putting import index_put
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
    matrix_power,
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
from tinygrad_edu.ops.more.weighted import addcdiv, addcmul, lerp
from tinygrad_edu.tensor import Tensor

trapz = trapezoid
arcsin, arccos, arctan, arctan2 = asin, acos, atan, atan2
arcsinh, arccosh, arctanh = asinh, acosh, atanh

acos_, acosh_, addmv_, arccos_, arccosh_, arcsin_ = (
    Tensor.acos_, Tensor.acosh_, Tensor.addmv_, Tensor.arccos_, Tensor.arccosh_, Tensor.arcsin_,
)  # fmt: skip
arcsinh_, arctan_, arctanh_, as_strided_, asin_, asinh_ = (
    Tensor.arcsinh_, Tensor.arctan_, Tensor.arctanh_, Tensor.as_strided_, Tensor.asin_,
    Tensor.asinh_,
)  # fmt: skip
atan_, atanh_, ceil_, clamp_max_, clamp_min_, clip_ = (
    Tensor.atan_, Tensor.atanh_, Tensor.ceil_, Tensor.clamp_max_, Tensor.clamp_min_,
    Tensor.clip_,
)  # fmt: skip
conj_physical_, cos_, cosh_, deg2rad_, erf_ = (
    Tensor.conj_physical_, Tensor.cos_, Tensor.cosh_, Tensor.deg2rad_,
    Tensor.erf_,
)  # fmt: skip
erfc_, exp2_, expm1_, fix_, floor_, frac_ = (
    Tensor.erfc_, Tensor.exp2_, Tensor.expm1_, Tensor.fix_, Tensor.floor_, Tensor.frac_,
)  # fmt: skip
gcd_, i0_, lcm_, ldexp_, log10_, log1p_ = (
    Tensor.gcd_, Tensor.i0_, Tensor.lcm_, Tensor.ldexp_, Tensor.log10_, Tensor.log1p_,
)  # fmt: skip
log2_, log_, logit_, nan_to_num_, negative_, rad2deg_ = (
    Tensor.log2_, Tensor.log_, Tensor.logit_, Tensor.nan_to_num_, Tensor.negative_,
    Tensor.rad2deg_,
)  # fmt: skip
reciprocal_, round_, rsqrt_, sin_, sinc_, sinh_ = (
    Tensor.reciprocal_, Tensor.round_, Tensor.rsqrt_, Tensor.sin_, Tensor.sinc_, Tensor.sinh_,
)  # fmt: skip
square_, tan_, trunc_, xlogy_ = (
    Tensor.square_, Tensor.tan_, Tensor.trunc_, Tensor.xlogy_,
)  # fmt: skip

__all__ = [
    "acos", "acos_", "acosh", "acosh_", "addbmm", "addcdiv", "addcmul", "addmm", "addmv",
    "addmv_", "addr", "adjoint", "angle", "arccos", "arccos_", "arccosh", "arccosh_", "arcsin",
    "arcsin_", "arcsinh", "arcsinh_", "arctan", "arctan2", "arctan_", "arctanh", "arctanh_",
    "argsort", "as_strided", "as_strided_", "asin", "asin_", "asinh", "asinh_", "atan", "atan2",
    "atan_", "atanh", "atanh_", "baddbmm", "bincount", "bitwise_and", "bitwise_left_shift",
    "bitwise_not", "bitwise_or", "bitwise_right_shift", "bitwise_xor", "block_diag", "bmm",
    "bucketize", "cartesian_prod", "cdist", "ceil_", "celu", "chain_matmul", "channel_shuffle",
    "cholesky", "cholesky_inverse", "cholesky_solve", "clamp_max_", "clamp_min_", "clip_",
    "combinations", "conj", "conj_physical", "conj_physical_", "corrcoef", "cos_", "cosh",
    "cosh_", "cov", "cross", "cummax", "cummin", "cumprod", "cumsum", "cumulative_trapezoid",
    "deg2rad", "deg2rad_", "det", "diag", "diag_embed", "diagflat", "diagonal",
    "diagonal_scatter", "diff", "digamma", "dist", "dot", "einsum", "empty_strided", "erf_",
    "erfc", "erfc_", "erfinv", "exp2_", "expm1_", "fill", "fix_", "fliplr", "flipud", "floor_",
    "frac_", "frexp", "gcd", "gcd_", "ger", "gradient", "hardshrink", "histc", "histogram",
    "hypot", "i0", "i0_", "igamma", "igammac", "index_copy", "index_fill", "index_put",
    "index_reduce", "inner", "inverse", "kron", "kthvalue", "lcm", "lcm_", "ldexp_", "lerp",
    "lgamma", "log10_", "log1p_", "log2_", "log_", "logaddexp", "logaddexp2", "logcumsumexp",
    "logdet", "logit", "logit_", "masked_scatter", "matrix_exp", "matrix_power", "median", "mm",
    "mode", "msort", "mv", "mvlgamma", "nan_to_num_", "nanmedian", "nanquantile", "negative_",
    "nextafter", "norm", "normal", "orgqr", "outer", "pca_lowrank", "pinverse", "pixel_shuffle",
    "pixel_unshuffle", "poisson", "polygamma", "prelu", "prod", "put", "qr", "quantile",
    "rad2deg", "rad2deg_", "real", "reciprocal_", "renorm", "repeat_interleave", "resize_as_",
    "resolve_conj", "resolve_neg", "roll", "rot90", "round_", "rsqrt_", "scatter",
    "scatter_reduce", "searchsorted", "select_scatter", "selu", "sin_", "sinc", "sinc_", "sinh",
    "sinh_", "slice_scatter", "slogdet", "sort", "square_", "std", "std_mean", "svd",
    "svd_lowrank", "take", "take_along_dim", "tan", "tan_", "tensordot", "threshold", "topk",
    "trace", "trapezoid", "trapz", "triangular_solve", "tril_indices", "triu_indices", "trunc_",
    "unique", "unique_consecutive", "unravel_index", "vander", "var", "var_mean", "vdot",
    "xlogy", "xlogy_",
]  # fmt: skip
