"""A small autograd engine over NumPy, or CuPy on a GPU, with PyTorch's names.

    import tinygrad_edu as torch

Everything a script asks of `torch` is gathered here; each family of operations is in `ops/`.
"""

from __future__ import annotations

import warnings as _warnings
from math import e, inf, nan, pi
from typing import TYPE_CHECKING as _TYPE_CHECKING

# torch computes log(0) and 1/0 without a word.  So do we: NumPy's floating-point warnings are
# silenced where they come from our own modules, and nowhere else.
_warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"tinygrad_edu\.")

from tinygrad_edu.kernels.allocator import keep_freed_memory as _keep_freed_memory

_keep_freed_memory()

from tinygrad_edu import autograd, cuda, linalg, random, return_types, special, version
from tinygrad_edu.missing import missing as _missing
from tinygrad_edu.tensor import Tensor
from tinygrad_edu.backend import device, get_default_device, set_default_device
from tinygrad_edu.out_of_memory import OutOfMemoryError
from tinygrad_edu.size import Size
from tinygrad_edu.dtypes import (
    bfloat16, can_cast, double, dtype, finfo, float16, float32, float64, get_default_dtype, half,
    iinfo, int16, int32, int64, int8, long, set_default_dtype, short, uint16, uint32, uint64, uint8,
    bool_ as bool, float_ as float, int_ as int,
)  # fmt: skip
from tinygrad_edu.engine.switches import (
    enable_grad, inference_mode, is_grad_enabled, is_inference_mode_enabled, no_grad,
    set_grad_enabled,
)  # fmt: skip
from tinygrad_edu.printing import set_printoptions

# ---- creation
from tinygrad_edu.ops.creation import (
    arange, as_tensor, asarray, empty, empty_like, eye, from_dlpack, from_numpy, full, full_like,
    linspace, logspace, ones, ones_like, scalar_tensor, tensor, zeros, zeros_like,
)  # fmt: skip

# ---- shape, joining, indexing
from tinygrad_edu.ops.shape import (
    atleast_1d, atleast_2d, atleast_3d, broadcast_shapes, broadcast_tensors, broadcast_to, flatten,
    flip, movedim, permute, ravel, reshape, squeeze, swapaxes, t, tile, transpose, unflatten,
    unsqueeze,
)  # fmt: skip
from tinygrad_edu.ops.layout import clone
from tinygrad_edu.ops.joining import (
    cat, chunk, column_stack, dsplit, dstack, hsplit, hstack, meshgrid, split, split_with_sizes,
    stack, tensor_split, unbind, unsafe_chunk, unsafe_split, vsplit, vstack,
)  # fmt: skip
from tinygrad_edu.ops.indexing import (
    argwhere, index_put, masked_fill, masked_select, narrow, nonzero, select, where,
)  # fmt: skip
from tinygrad_edu.ops.gathering import (
    gather, index_add, index_copy, index_fill, index_select, scatter, scatter_add, take,
    take_along_dim,
)  # fmt: skip
from tinygrad_edu.ops.arranging import (
    adjoint, block_diag, cartesian_prod, combinations, diagonal_scatter, fill, fliplr, flipud,
    masked_scatter, repeat_interleave, roll, rot90, select_scatter, slice_scatter, tril_indices,
    triu_indices, vander,
)  # fmt: skip
from tinygrad_edu.ops.scattering import index_reduce, put, scatter_reduce
from tinygrad_edu.ops.strided import as_strided, empty_strided, resize_as_
from tinygrad_edu.ops.real import (
    angle, conj, conj_physical, frexp, nextafter, real, resolve_conj, resolve_neg,
)  # fmt: skip
from tinygrad_edu.ops.casting import promote_types, result_type

swapdims = transpose
moveaxis = movedim
concat = concatenate = cat
row_stack = vstack

# ---- arithmetic
from tinygrad_edu.ops.arithmetic import (
    add, addcdiv, addcmul, div, floor_divide, fmod, lerp, mul, neg, positive, remainder, rsub, sub,
)  # fmt: skip
from tinygrad_edu.ops.powers import float_power, ldexp, pow, reciprocal, rsqrt, sqrt, square
from tinygrad_edu.ops.extrema import clamp, clamp_max, clamp_min, fmax, fmin, maximum, minimum
from tinygrad_edu.ops.bitwise import (
    bitwise_and, bitwise_left_shift, bitwise_not, bitwise_or, bitwise_right_shift, bitwise_xor, gcd,
    lcm,
)  # fmt: skip

subtract, multiply, divide, true_divide, negative = sub, mul, div, div, neg
clip = clamp

# ---- elementary
from tinygrad_edu.ops.elementary import exp, exp2, expm1, log, log10, log1p, log2
from tinygrad_edu.ops.trigonometric import (
    acos, acosh, asin, asinh, atan, atan2, atanh, cos, cosh, deg2rad, hypot, rad2deg, sin, sinc,
    sinh, tan, tanh,
)  # fmt: skip
from tinygrad_edu.ops.rounding import (
    abs, ceil, copysign, floor, frac, heaviside, nan_to_num, round, sign, trunc,
)  # fmt: skip
from tinygrad_edu.ops.special import (
    digamma, erf, erfc, erfinv, lgamma, logaddexp, logaddexp2, logit, polygamma, xlogy,
)  # fmt: skip
from tinygrad_edu.ops.series import i0, igamma, igammac, multigammaln as mvlgamma
from tinygrad_edu.ops.activation import celu, hardshrink, prelu, relu, selu, sigmoid, threshold

arcsin, arccos, arctan, arctan2 = asin, acos, atan, atan2
arcsinh, arccosh, arctanh = asinh, acosh, atanh
absolute, sgn, fix = abs, sign, trunc
relu_, sigmoid_, tanh_, exp_, sqrt_ = (
    Tensor.relu_, Tensor.sigmoid_, Tensor.tanh_, Tensor.exp_, Tensor.sqrt_,
)  # fmt: skip
clamp_, abs_, neg_ = Tensor.clamp_, Tensor.abs_, Tensor.neg_
fill_, zero_ = Tensor.fill_, Tensor.zero_

# ---- comparison
from tinygrad_edu.ops.comparison import (
    allclose, eq, equal, ge, gt, isclose, isfinite, isin, isinf, isnan, isneginf, isposinf, isreal,
    le, logical_and, logical_not, logical_or, logical_xor, lt, ne, signbit,
)  # fmt: skip

not_equal, less, less_equal, greater, greater_equal = ne, lt, le, gt, ge

# ---- reduction
from tinygrad_edu.ops.reduction import (
    all, any, count_nonzero, logsumexp, mean, nanmean, nansum, prod, sum,
)  # fmt: skip
from tinygrad_edu.ops.statistics import (
    corrcoef, cov, nanquantile, quantile, std, std_mean, var, var_mean,
)  # fmt: skip
from tinygrad_edu.ops.norms import cdist, dist, norm, renorm
from tinygrad_edu.ops.largest import amax, amin, aminmax, argmax, argmin, cummax, cummin, max, min
from tinygrad_edu.ops.cumulative import (
    cumprod, cumsum, cumulative_trapezoid, diff, gradient, logcumsumexp, trapezoid,
)  # fmt: skip

trapz = trapezoid

# ---- sorting
from tinygrad_edu.ops.sorting import argsort, kthvalue, median, mode, msort, nanmedian, sort, topk
from tinygrad_edu.ops.counting import (
    bincount, bucketize, histc, histogram, searchsorted, unique, unique_consecutive, unravel_index,
)  # fmt: skip

# ---- matmul
from tinygrad_edu.ops.products import (
    addbmm, addmm, addmv, addr, baddbmm, bmm, chain_matmul, cross, dot, ger, inner, kron, matmul,
    mm, mv, outer, tensordot, vdot,
)  # fmt: skip
from tinygrad_edu.ops.einsum import einsum
from tinygrad_edu.ops.linalg import (
    cholesky, det, diag, diag_embed, diagflat, diagonal, logdet, slogdet, trace, tril, triu,
)  # fmt: skip

from tinygrad_edu.ops.solvers import (
    cholesky_inverse, cholesky_solve, matrix_exp, pca_lowrank, pinverse, svd_lowrank,
    triangular_solve,
    householder_product as orgqr, old_qr as qr, old_svd as svd,
)  # fmt: skip

inverse, matrix_power = linalg.inv, linalg.matrix_power

# ---- softmax, convolution, images
from tinygrad_edu.ops.softmax import log_softmax, softmax
from tinygrad_edu.ops.convolution import (
    conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d,
)  # fmt: skip
from tinygrad_edu.ops.resampling import channel_shuffle, pixel_shuffle, pixel_unshuffle

# ---- random
from tinygrad_edu.random import (
    default_generator, Generator, get_rng_state, initial_seed, manual_seed, seed, set_rng_state,
)  # fmt: skip
from tinygrad_edu.ops.sampling import (
    bernoulli, multinomial, normal, rand, rand_like, randint, randint_like, randn, randn_like,
    randperm,
)  # fmt: skip
from tinygrad_edu.ops.rejection import poisson


# ---- questions
def is_tensor(obj: object) -> bool:  # type: ignore[valid-type]
    """Whether it is a Tensor."""
    return isinstance(obj, Tensor)


def numel(input: Tensor) -> int:  # type: ignore[valid-type]
    """How many elements the tensor has."""
    return input.numel()


def is_floating_point(input: Tensor) -> bool:  # type: ignore[valid-type]
    """Whether its elements are floats."""
    return input.is_floating_point()


def is_complex(input: Tensor) -> bool:  # type: ignore[valid-type]
    """False: there are no complex numbers."""
    return input.is_complex()


def is_nonzero(input: Tensor) -> bool:  # type: ignore[valid-type]
    """Whether its only element is not zero."""
    return input.is_nonzero()


# ---- types, settings, formats
from tinygrad_edu.legacy import (
    BFloat16Tensor, BoolTensor, ByteTensor, CharTensor, DoubleTensor, FloatTensor, HalfTensor,
    IntTensor, LongTensor, set_default_tensor_type, ShortTensor,
)  # fmt: skip
from tinygrad_edu.settings import (
    are_deterministic_algorithms_enabled, compile, get_float32_matmul_precision,
    get_num_interop_threads, get_num_threads, is_deterministic_algorithms_warn_only_enabled,
    set_float32_matmul_precision, set_flush_denormal, set_num_interop_threads, set_num_threads,
    use_deterministic_algorithms,
)  # fmt: skip
from tinygrad_edu.version import __version__
from tinygrad_edu.batching import vmap

layout = memory_format = str  # the classes of these:
strided = "torch.strided"
contiguous_format = "torch.contiguous_format"
preserve_format = "torch.preserve_format"
channels_last = "torch.channels_last"
channels_last_3d = "torch.channels_last_3d"

# The rest is imported when it is asked for: each name, and the submodule that it is in.
_IN = {
    "amp": ["GradScaler"],
    "amp.autocast_mode": [
        "autocast", "clear_autocast_cache", "get_autocast_cpu_dtype", "get_autocast_dtype",
        "get_autocast_gpu_dtype", "is_autocast_cache_enabled", "is_autocast_cpu_enabled",
        "is_autocast_enabled", "set_autocast_cache_enabled", "set_autocast_dtype",
        "set_autocast_enabled",
    ],
    "autograd.anomaly": ["is_anomaly_enabled"],
    "nn.functional": [
        "cosine_similarity", "group_norm", "layer_norm", "pairwise_distance", "pdist", "rms_norm",
    ],
    "nn.functional.low_level": [
        "constant_pad_nd", "embedding_bag", "gru_cell", "index_put_", "is_inference",
        "is_same_size", "lstm_cell", "narrow_copy", "rnn_relu_cell", "rnn_tanh_cell",
    ],
    "serialization": ["load", "save"],
    "": [
        "accelerator", "amp", "backends", "compiler", "cpu", "distributed", "distributions",
        "func", "hub", "jit", "mps", "multiprocessing", "nn", "onnx", "optim", "profiler",
        "serialization", "testing", "types", "utils", "xpu",
    ],
}  # fmt: skip
_LATER = {name: module for module, names in _IN.items() for name in names}

if _TYPE_CHECKING:
    from tinygrad_edu import accelerator, amp, backends, compiler, cpu, distributed, distributions
    from tinygrad_edu import func, hub, jit, mps, multiprocessing, nn, onnx, optim, profiler
    from tinygrad_edu import serialization, testing, types, utils, xpu
    from tinygrad_edu.amp import GradScaler
    from tinygrad_edu.amp.autocast_mode import (
        autocast, clear_autocast_cache, get_autocast_cpu_dtype, get_autocast_dtype,
        get_autocast_gpu_dtype, is_autocast_cache_enabled, is_autocast_cpu_enabled,
        is_autocast_enabled, set_autocast_cache_enabled, set_autocast_dtype, set_autocast_enabled,
    )  # fmt: skip
    from tinygrad_edu.autograd.anomaly import is_anomaly_enabled
    from tinygrad_edu.nn.functional import (
        cosine_similarity, group_norm, layer_norm, pairwise_distance, pdist, rms_norm,
    )  # fmt: skip
    from tinygrad_edu.nn.functional.low_level import (
        constant_pad_nd, embedding_bag, gru_cell, index_put_, is_inference, is_same_size,
        lstm_cell, narrow_copy, rnn_relu_cell, rnn_tanh_cell,
    )  # fmt: skip
    from tinygrad_edu.serialization import load, save
else:  # a type checker finds unknown names by itself
    __getattr__ = _missing(__name__, _LATER)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LATER])
