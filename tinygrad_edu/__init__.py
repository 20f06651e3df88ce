"""A small autograd engine over NumPy, or CuPy on a GPU, with PyTorch's names.

    import tinygrad_edu as torch

What the examples need, in reading order:

    engine          the idea: graph, primitive, record, walk; views, writes, hooks beside them
    ops             operations, each with its derivative; `ops/more/` is the second ring
    tensor          the tensor; `methods` binds the operations to it
    methods         what is bound: operators and methods, printing, NumPy's protocols
    nn              layers and losses; `more/` in its folders is the second ring
    optim           optimizers and schedules, likewise
    utils           `data` (datasets, DataLoader), checkpointing, dlpack
    random          the generator, which draws torch's numbers
    kernels         the fast twin of each hot definition; `kernels/cuda` for a GPU
    dtypes          element types and promotion
    backend         devices; the only file that knows CuPy
    size            `Size`, and how shapes and dimensions are read
    out_of_memory   the error of memory that is not there
    out             `out=` of functions
    entrances       how nested lists and foreign arrays become tensors

Breadth:

    autograd        `Function`, `functional`, gradcheck, anomaly mode, hooks of saved tensors
    amp             autocast and GradScaler
    compiler        `torch.compile`: operations recorded once and replayed
    cuda            streams, graphs and memory of a GPU
    distributions   probability distributions and their divergences
    distributed     several processes, over MPI, and NCCL between GPUs
    func            `vmap`, `grad`, `jacrev` and their kin
    linalg          `torch.linalg`
    special         `torch.special`
    multiprocessing memory that processes share, `spawn`
    serialization   `save` and `load`: torch's files, read without running code
    safetensors     files of Hugging Face's format
    diagnosis       `doctor`, which names bugs of training programs
    testing         comparisons, strategies for property tests
    see             pictures of the engine at work
    course          exercises of docs/course: a command that checks them
    standin         lets `import torch` find this package
    profiler        how long operations take
    names           what scripts only ask for: settings, absent devices, refusals, old paths
    version         the version
"""

from __future__ import annotations

import builtins as _builtins
import warnings as _warnings
from math import e, inf, nan, pi
import typing as _typing

# torch computes log(0) and 1/0 without a word.  So do we: NumPy's floating-point warnings are
# silenced where they come from our own modules, and nowhere else.
_warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"tinygrad_edu\.")

from tinygrad_edu.engine.composed import of_tensors
from tinygrad_edu.kernels.allocator import keep_freed_memory as _keep_freed_memory

_keep_freed_memory()

from tinygrad_edu.names import moved as _moved

_moved.install()

from tinygrad_edu import autograd, random, version
from tinygrad_edu.names.missing import later as _later
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

# ---- creation
from tinygrad_edu.ops.creation import (
    arange, as_tensor, asarray, empty, empty_like, eye, from_dlpack, from_numpy, full, full_like,
    linspace, logspace, ones, ones_like, scalar_tensor, tensor, zeros, zeros_like,
)  # fmt: skip

# ---- shape, joining, indexing
from tinygrad_edu.ops.shape import (
    broadcast_shapes, broadcast_tensors, broadcast_to, flatten, flip, movedim, permute, ravel,
    reshape, squeeze, swapaxes, t, tile, transpose, unflatten, unsqueeze,
)  # fmt: skip
from tinygrad_edu.ops.casting import clone
from tinygrad_edu.ops.joining import (
    atleast_1d, atleast_2d, atleast_3d, cat, chunk, column_stack, dsplit, dstack, hsplit, hstack,
    meshgrid, narrow, select, split, split_with_sizes, stack, tensor_split, unbind, unsafe_chunk,
    unsafe_split, vsplit, vstack,
)  # fmt: skip
from tinygrad_edu.ops.masking import argwhere, masked_fill, masked_select, nonzero, where
from tinygrad_edu.ops.gathering import gather, index_add, index_select, scatter_add
from tinygrad_edu.ops.casting import promote_types, result_type

swapdims = transpose
moveaxis = movedim
concat = concatenate = cat
row_stack = vstack

# ---- arithmetic
from tinygrad_edu.ops.arithmetic import (
    add, div, floor_divide, fmod, mul, neg, positive, remainder, rsub, sub,
)  # fmt: skip
from tinygrad_edu.ops.powers import float_power, ldexp, pow, reciprocal, rsqrt, sqrt, square
from tinygrad_edu.ops.extrema import clamp, clamp_max, clamp_min, fmax, fmin, maximum, minimum

subtract, multiply, divide, true_divide, negative = sub, mul, div, div, neg
clip = clamp

# ---- elementary
from tinygrad_edu.ops.elementary import exp, exp2, expm1, log, log10, log1p, log2
from tinygrad_edu.ops.elementary import cos, sin, tanh
from tinygrad_edu.ops.rounding import (
    abs, ceil, copysign, floor, frac, heaviside, nan_to_num, round, sign, trunc,
)  # fmt: skip
from tinygrad_edu.ops.elementary import erf
from tinygrad_edu.ops.activation import relu, sigmoid

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
    all, any, count_nonzero, logsumexp, mean, nanmean, nansum, sum,
)  # fmt: skip
from tinygrad_edu.ops.largest import amax, amin, aminmax, argmax, argmin, max, min


# ---- sorting

# ---- matmul
from tinygrad_edu.ops.matmul import matmul
from tinygrad_edu.ops.masking import tril, triu


# ---- softmax, convolution, images
from tinygrad_edu.ops.softmax import log_softmax, softmax

# ---- random
from tinygrad_edu.random import (
    default_generator, Generator, get_rng_state, initial_seed, manual_seed, seed, set_rng_state,
)  # fmt: skip
from tinygrad_edu.ops.sampling import (
    bernoulli, multinomial, rand, rand_like, randint, randint_like, randn, randn_like, randperm,
)  # fmt: skip


# ---- questions
def is_tensor(obj: object) -> _builtins.bool:
    """Whether it is a Tensor."""
    return isinstance(obj, Tensor)


@of_tensors
def numel(input: Tensor) -> _builtins.int:
    """How many elements the tensor has."""
    return input.numel()


@of_tensors
def is_floating_point(input: Tensor) -> _builtins.bool:
    """Whether its elements are floats."""
    return input.is_floating_point()


def is_complex(input: Tensor) -> _builtins.bool:
    """False: there are no complex numbers."""
    return input.is_complex()


def is_nonzero(input: Tensor) -> _builtins.bool:
    """Whether its only element is not zero."""
    return input.is_nonzero()


# ---- types, settings, formats
from tinygrad_edu.version import __version__

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
    "diagnosis": ["doctor"],
    "func.batching": ["vmap"],
    "methods.printing": ["set_printoptions"],
    "names.settings": [
        "are_deterministic_algorithms_enabled", "get_float32_matmul_precision",
        "get_num_interop_threads", "get_num_threads",
        "is_deterministic_algorithms_warn_only_enabled", "set_float32_matmul_precision",
        "set_flush_denormal", "set_num_interop_threads", "set_num_threads",
        "use_deterministic_algorithms",
    ],
    "nn.functional": [
        "adaptive_avg_pool1d", "avg_pool1d", "bilinear", "celu_", "cosine_similarity", "group_norm",
        "layer_norm", "max_pool1d", "max_pool2d", "max_pool3d", "pairwise_distance", "pdist",
        "rms_norm", "rrelu", "rrelu_", "selu_", "threshold_",
    ],
    "nn.functional.more.low_level": [
        "constant_pad_nd", "embedding_bag", "gru_cell", "index_put_", "is_inference",
        "is_same_size", "lstm_cell", "narrow_copy", "rnn_relu_cell", "rnn_tanh_cell",
    ],
    "names.absent": ["PyTorchFileReader"],
    "names.jit": ["ScriptFunction", "ScriptModule"],
    "names.notebook": ["load_ipython_extension", "unload_ipython_extension"],
    "dtypes": ["cdouble", "cfloat", "chalf", "complex128", "complex32", "complex64"],
    "methods.storage": ["TypedStorage", "UntypedStorage"],
    "names.foreach": [
        f"_foreach_{name}{tail}"
        for name in "abs acos add addcdiv addcmul asin atan ceil clamp_max clamp_min clone copy cos"
        " cosh div erf erfc exp expm1 floor frac lerp lgamma log log10 log1p log2 maximum minimum"
        " mul neg norm pow reciprocal round rsqrt sigmoid sign sin sinh sqrt sub tan tanh trunc"
        " zero".split()
        for tail in ("", "_")
    ],
    "names.functions": [
        "_assert", "alpha_dropout", "alpha_dropout_", "detach", "detach_", "dropout", "dropout_",
        "embedding_renorm_", "feature_alpha_dropout", "feature_alpha_dropout_", "feature_dropout",
        "feature_dropout_", "frombuffer", "is_signed", "is_storage", "newaxis", "range",
        "resize_as_sparse_", "typename",
    ],
    "names.legacy": [
        "BFloat16Tensor", "BoolTensor", "ByteTensor", "CharTensor", "DoubleTensor",
        "FloatTensor", "HalfTensor", "IntTensor", "LongTensor", "set_default_tensor_type",
        "ShortTensor",
    ],
    "ops.convolution": [
        "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    ],
    "compiler": ["compile"],
    "serialization": ["load", "save"],
    "": [
        "_C", "accelerator", "amp", "backends", "compiler", "cpu", "cuda", "distributed",
        "distributions", "func", "functional", "hub", "jit", "linalg", "mps", "multiprocessing",
        "nn", "onnx", "optim", "profiler", "return_types", "see",
        "serialization", "special", "storage", "testing", "types", "utils", "xpu",
    ],
}  # fmt: skip

if _typing.TYPE_CHECKING:
    from tinygrad_edu.names import accelerator, backends, cpu, hub, jit, mps, onnx, types
    from tinygrad_edu.names import functional, mps as xpu
    from tinygrad_edu import amp, compiler, cuda, distributed, distributions, linalg, special
    from tinygrad_edu.methods.printing import set_printoptions
    from tinygrad_edu.names.settings import (
        are_deterministic_algorithms_enabled, get_float32_matmul_precision,
        get_num_interop_threads, get_num_threads, is_deterministic_algorithms_warn_only_enabled,
        set_float32_matmul_precision, set_flush_denormal, set_num_interop_threads, set_num_threads,
        use_deterministic_algorithms,
    )  # fmt: skip
    from tinygrad_edu.names import return_types
    from tinygrad_edu import func, multiprocessing, nn, optim
    from tinygrad_edu import profiler, see, serialization, testing, utils
    from tinygrad_edu.amp import GradScaler
    from tinygrad_edu.amp.autocast_mode import (
        autocast, clear_autocast_cache, get_autocast_cpu_dtype, get_autocast_dtype,
        get_autocast_gpu_dtype, is_autocast_cache_enabled, is_autocast_cpu_enabled,
        is_autocast_enabled, set_autocast_cache_enabled, set_autocast_dtype, set_autocast_enabled,
    )  # fmt: skip
    from tinygrad_edu.autograd.anomaly import is_anomaly_enabled
    from tinygrad_edu.func.batching import vmap
    from tinygrad_edu.nn.functional import (
        adaptive_avg_pool1d, avg_pool1d, bilinear, celu_, cosine_similarity, group_norm, layer_norm,
        max_pool1d, max_pool2d, max_pool3d, pairwise_distance, pdist, rms_norm, rrelu, rrelu_,
        selu_, threshold_,
    )  # fmt: skip
    from tinygrad_edu.nn.functional.more.low_level import (
        constant_pad_nd, embedding_bag, gru_cell, index_put_, is_inference, is_same_size,
        lstm_cell, narrow_copy, rnn_relu_cell, rnn_tanh_cell,
    )  # fmt: skip
    from tinygrad_edu.ops.convolution import (
        conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d,
    )  # fmt: skip
    from tinygrad_edu.names.legacy import (
        BFloat16Tensor, BoolTensor, ByteTensor, CharTensor, DoubleTensor, FloatTensor, HalfTensor,
        IntTensor, LongTensor, set_default_tensor_type, ShortTensor,
    )  # fmt: skip
    from tinygrad_edu.dtypes import cdouble, cfloat, chalf, complex128, complex32, complex64
    from tinygrad_edu.methods.storage import TypedStorage, UntypedStorage
    from tinygrad_edu.names.functions import (
        alpha_dropout, alpha_dropout_, detach, detach_, dropout, dropout_, embedding_renorm_,
        feature_alpha_dropout, feature_alpha_dropout_, feature_dropout, feature_dropout_,
        frombuffer, is_signed, is_storage, newaxis, range, resize_as_sparse_, typename,
    )  # fmt: skip
    from tinygrad_edu.names.further import *  # noqa: F403
    from tinygrad_edu.compiler import compile
    from tinygrad_edu.serialization import load, save
else:  # a type checker finds unknown names by itself
    __getattr__, __dir__ = _later(__name__, _IN, "names.further")


__all__ = [
    "BFloat16Tensor", "BoolTensor", "ByteTensor", "CharTensor", "DoubleTensor", "FloatTensor",
    "Generator", "GradScaler", "HalfTensor", "IntTensor", "LongTensor", "OutOfMemoryError",
    "ShortTensor", "Size", "Tensor", "__version__", "abs", "abs_", "absolute", "accelerator",
    "acos", "acosh", "add", "addbmm", "addcdiv", "addcmul", "addmm", "addmv", "addr", "adjoint",
    "all", "allclose", "amax", "amin", "aminmax", "amp", "angle", "any", "arange", "arccos",
    "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh",
    "are_deterministic_algorithms_enabled", "argmax", "argmin", "argsort", "argwhere",
    "as_strided", "as_tensor", "asarray", "asin", "asinh", "atan", "atan2", "atanh", "atleast_1d",
    "atleast_2d", "atleast_3d", "autocast", "autograd", "backends", "baddbmm", "bernoulli",
    "bfloat16", "bincount", "bitwise_and", "bitwise_left_shift", "bitwise_not", "bitwise_or",
    "bitwise_right_shift", "bitwise_xor", "block_diag", "bmm", "bool", "broadcast_shapes",
    "broadcast_tensors", "broadcast_to", "bucketize", "can_cast", "cartesian_prod", "cat", "cdist",
    "ceil", "celu", "chain_matmul", "channel_shuffle", "channels_last", "channels_last_3d",
    "cholesky", "cholesky_inverse", "cholesky_solve", "chunk", "clamp", "clamp_", "clamp_max",
    "clamp_min", "clear_autocast_cache", "clip", "clone", "column_stack", "combinations",
    "compile", "compiler", "concat", "concatenate", "conj", "conj_physical", "constant_pad_nd",
    "contiguous_format", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d", "copysign", "corrcoef", "cos", "cosh", "cosine_similarity",
    "count_nonzero", "cov", "cpu", "cross", "cuda", "cummax", "cummin", "cumprod", "cumsum",
    "cumulative_trapezoid", "default_generator", "deg2rad", "det", "device", "diag", "diag_embed",
    "diagflat", "diagonal", "diagonal_scatter", "diff", "digamma", "dist", "distributed",
    "distributions", "div", "divide", "dot", "double", "dsplit", "dstack", "dtype", "e", "einsum",
    "embedding_bag", "empty", "empty_like", "empty_strided", "enable_grad", "eq", "equal", "erf",
    "erfc", "erfinv", "exp", "exp2", "exp_", "expm1", "eye", "fill", "fill_", "finfo", "fix",
    "flatten", "flip", "fliplr", "flipud", "float", "float16", "float32", "float64", "float_power",
    "floor", "floor_divide", "fmax", "fmin", "fmod", "frac", "frexp", "from_dlpack", "from_numpy",
    "full", "full_like", "func", "gather", "gcd", "ge", "ger", "get_autocast_cpu_dtype",
    "get_autocast_dtype", "get_autocast_gpu_dtype", "get_default_device", "get_default_dtype",
    "get_float32_matmul_precision", "get_num_interop_threads", "get_num_threads", "get_rng_state",
    "gradient", "greater", "greater_equal", "group_norm", "gru_cell", "gt", "half", "hardshrink",
    "heaviside", "histc", "histogram", "hsplit", "hstack", "hub", "hypot", "i0", "igamma",
    "igammac", "iinfo", "index_add", "index_copy", "index_fill", "index_put", "index_put_",
    "index_reduce", "index_select", "inf", "inference_mode", "initial_seed", "inner", "int",
    "int16", "int32", "int64", "int8", "inverse", "is_anomaly_enabled",
    "is_autocast_cache_enabled", "is_autocast_cpu_enabled", "is_autocast_enabled", "is_complex",
    "is_deterministic_algorithms_warn_only_enabled", "is_floating_point", "is_grad_enabled",
    "is_inference", "is_inference_mode_enabled", "is_nonzero", "is_same_size", "is_tensor",
    "isclose", "isfinite", "isin", "isinf", "isnan", "isneginf", "isposinf", "isreal", "jit",
    "kron", "kthvalue", "layer_norm", "layout", "lcm", "ldexp", "le", "lerp", "less", "less_equal",
    "lgamma", "linalg", "linspace", "load", "log", "log10", "log1p", "log2", "log_softmax",
    "logaddexp", "logaddexp2", "logcumsumexp", "logdet", "logical_and", "logical_not",
    "logical_or", "logical_xor", "logit", "logspace", "logsumexp", "long", "lstm_cell", "lt",
    "manual_seed", "masked_fill", "masked_scatter", "masked_select", "matmul", "matrix_exp",
    "matrix_power", "max", "maximum", "mean", "median", "memory_format", "meshgrid", "min",
    "minimum", "mm", "mode", "moveaxis", "movedim", "mps", "msort", "mul", "multinomial",
    "multiply", "multiprocessing", "mv", "mvlgamma", "nan", "nan_to_num", "nanmean", "nanmedian",
    "nanquantile", "nansum", "narrow", "narrow_copy", "ne", "neg", "neg_", "negative", "nextafter",
    "nn", "no_grad", "nonzero", "norm", "normal", "not_equal", "numel", "ones", "ones_like",
    "onnx", "optim", "orgqr", "outer", "pairwise_distance", "pca_lowrank", "pdist", "permute",
    "pi", "pinverse", "pixel_shuffle", "pixel_unshuffle", "poisson", "polygamma", "positive",
    "pow", "prelu", "preserve_format", "prod", "profiler", "promote_types", "put", "qr",
    "quantile", "rad2deg", "rand", "rand_like", "randint", "randint_like", "randn", "randn_like",
    "random", "randperm", "ravel", "real", "reciprocal", "relu", "relu_", "remainder", "renorm",
    "repeat_interleave", "reshape", "resize_as_", "resolve_conj", "resolve_neg", "result_type",
    "return_types", "rms_norm", "rnn_relu_cell", "rnn_tanh_cell", "roll", "rot90", "round",
    "row_stack", "rsqrt", "rsub", "save", "scalar_tensor", "scatter", "scatter_add",
    "scatter_reduce", "searchsorted", "seed", "select", "select_scatter", "selu", "serialization",
    "set_autocast_cache_enabled", "set_autocast_dtype", "set_autocast_enabled",
    "set_default_device", "set_default_dtype", "set_default_tensor_type",
    "set_float32_matmul_precision", "set_flush_denormal", "set_grad_enabled",
    "set_num_interop_threads", "set_num_threads", "set_printoptions", "set_rng_state", "sgn",
    "short", "sigmoid", "sigmoid_", "sign", "signbit", "sin", "sinc", "sinh", "slice_scatter",
    "slogdet", "softmax", "sort", "special", "split", "split_with_sizes", "sqrt", "sqrt_",
    "square", "squeeze", "stack", "std", "std_mean", "strided", "sub", "subtract", "sum", "svd",
    "svd_lowrank", "swapaxes", "swapdims", "t", "take", "take_along_dim", "tan", "tanh", "tanh_",
    "tensor", "tensor_split", "tensordot", "testing", "threshold", "tile", "topk", "trace",
    "transpose", "trapezoid", "trapz", "triangular_solve", "tril", "tril_indices", "triu",
    "triu_indices", "true_divide", "trunc", "types", "uint16", "uint32", "uint64", "uint8",
    "unbind", "unflatten", "unique", "unique_consecutive", "unravel_index", "unsafe_chunk",
    "unsafe_split", "unsqueeze", "use_deterministic_algorithms", "utils", "vander", "var",
    "var_mean", "vdot", "version", "vmap", "vsplit", "vstack", "where", "xlogy", "xpu", "zero_",
    "zeros", "zeros_like",
]  # fmt: skip
