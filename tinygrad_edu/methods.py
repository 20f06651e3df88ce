"""The operations that a tensor offers as methods and operators, family by family.

This is the one place where operations are bound to `Tensor`.  Each lives in `ops/`, beside its
derivative; `inplace` makes the twin that writes its result into the tensor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from tinygrad_edu.dtypes import (
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
)
from tinygrad_edu.engine.fast import operator
from tinygrad_edu.engine.graph import Variable
from tinygrad_edu.engine.inplace import inplace
from tinygrad_edu.engine.types import Operation
from tinygrad_edu.engine.views import inplace_view
from tinygrad_edu.ops import (
    activation,
    arithmetic,
    arranging,
    bitwise,
    casting,
    comparison,
    counting,
    cumulative,
    decompositions,
    elementary,
    extrema,
    gathering,
    indexing,
    joining,
    largest,
    layout,
    linalg,
    norms,
    powers,
    products,
    real,
    reduction,
    rounding,
    sampling,
    scattering,
    series,
    shape,
    solvers,
    sorting,
    special,
    statistics,
    strided,
    trigonometric,
)
from tinygrad_edu.ops import softmax as softmaxes
from tinygrad_edu.size import Size
from tinygrad_edu.storage import UntypedStorage

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


Binary: TypeAlias = "Operation[[Any, Any]]"
Unary: TypeAlias = "Operation[[Any]]"


class Methods:
    """What `Tensor` inherits its operations from."""

    # ---------------------------------------------------------------- shape

    view = shape.view
    view_as = shape.view_as
    reshape = shape.reshape
    reshape_as = shape.reshape_as
    flatten = shape.flatten
    ravel = shape.ravel
    unflatten = shape.unflatten
    permute = shape.permute
    transpose = swapdims = shape.transpose
    transpose_ = swapdims_ = inplace_view(shape.transpose, shape.step_back)
    swapaxes, swapaxes_ = shape.swapaxes, inplace_view(shape.swapaxes, shape.step_back)
    t, t_ = shape.t, inplace_view(shape.t, shape.step_back)
    movedim = moveaxis = shape.movedim
    squeeze, squeeze_ = shape.squeeze, inplace_view(shape.squeeze, shape.step_back)
    unsqueeze, unsqueeze_ = shape.unsqueeze, inplace_view(shape.unsqueeze, shape.step_back)
    expand = shape.expand
    expand_as = shape.expand_as
    broadcast_to = shape.broadcast_to
    repeat = shape.repeat
    tile = shape.tile
    flip = shape.flip
    fliplr = arranging.fliplr
    flipud = arranging.flipud
    roll = arranging.roll
    rot90 = arranging.rot90
    clone = layout.clone
    contiguous = layout.contiguous
    T = property(lambda self: shape._permute(self, tuple(range(self.array.ndim))[::-1]))
    mT = property(lambda self: shape.transpose(self, -2, -1))
    H = property(shape.t)
    imag = property(real.imag)
    mH = property(arranging.adjoint)
    adjoint = arranging.adjoint
    repeat_interleave = arranging.repeat_interleave
    unfold = arranging.unfold
    split = joining.split
    chunk = joining.chunk
    tensor_split = joining.tensor_split
    split_with_sizes = joining.split_with_sizes
    unsafe_split, unsafe_chunk = joining.unsafe_split, joining.unsafe_chunk
    hsplit, vsplit, dsplit = joining.hsplit, joining.vsplit, joining.dsplit
    as_strided = strided.as_strided
    as_strided_ = inplace_view(strided.as_strided, strided.no_step_back)
    new_empty_strided = strided.new_empty_strided
    resize_, resize_as_ = strided.resize_, strided.resize_as_
    sum_to_size = strided.sum_to_size
    unbind = joining.unbind

    # ---------------------------------------------------------------- indexing

    __getitem__ = indexing.getitem
    __setitem__ = indexing.setitem
    select = indexing.select
    narrow = indexing.narrow
    masked_fill = indexing.masked_fill
    masked_fill_ = inplace(indexing.masked_fill)
    masked_select = indexing.masked_select
    nonzero = indexing.nonzero
    argwhere = indexing.argwhere
    index_put = indexing.index_put
    index_put_ = indexing.index_put_
    tril, tril_ = linalg.tril, inplace(linalg.tril)
    triu, triu_ = linalg.triu, inplace(linalg.triu)
    copy_ = indexing.copy_
    gather = gathering.gather
    scatter = gathering.scatter
    scatter_ = inplace(gathering.scatter)
    scatter_add = gathering.scatter_add
    scatter_add_ = inplace(gathering.scatter_add)
    scatter_reduce = scattering.scatter_reduce
    scatter_reduce_ = inplace(scattering.scatter_reduce)
    index_reduce = scattering.index_reduce
    index_reduce_ = inplace(scattering.index_reduce)
    put, put_ = scattering.put, inplace(scattering.put)
    index_select = gathering.index_select
    index_add = gathering.index_add
    index_add_ = inplace(gathering.index_add)
    index_copy = gathering.index_copy
    index_copy_ = inplace(gathering.index_copy)
    index_fill = gathering.index_fill
    index_fill_ = inplace(gathering.index_fill)
    take_along_dim = gathering.take_along_dim
    take = gathering.take
    masked_scatter = arranging.masked_scatter
    masked_scatter_ = inplace(arranging.masked_scatter)
    select_scatter = arranging.select_scatter
    slice_scatter = arranging.slice_scatter
    diagonal_scatter = arranging.diagonal_scatter

    def where(self, condition: Tensor, other: Any) -> Tensor:
        """This tensor where the condition holds, else `other`."""
        found: Tensor = indexing.where(condition, self, other)
        return found

    def norm(
        self, p: Any = "fro", dim: Any = None, keepdim: Any = False, dtype: Any = None
    ) -> Tensor:
        """See `torch.norm`; here `dtype` is the fourth argument."""
        return norms.norm(self, p, dim, keepdim, dtype=dtype)

    def fill_(self, value: Any) -> Tensor:
        """Write one value everywhere."""
        if isinstance(value, Variable) and value.array.ndim:
            raise RuntimeError(
                "fill_ only supports 0-dimension value tensor but got tensor with"
                f" {value.array.ndim} dimensions."
            )
        return indexing.fill_(self, value)

    def zero_(self) -> Tensor:
        """Write zeros everywhere."""
        return indexing.fill_(self, 0)

    def untyped_storage(self) -> UntypedStorage:
        """The memory that it shares with its views."""
        return UntypedStorage(self.array)  # type: ignore[attr-defined]

    def new(self, *data: Any, size: Any = (0,), device: Any = None) -> Tensor:
        """`new_empty(*sizes)`, or `new_tensor(data)`: how early scripts made tensors."""
        sizes = not data or isinstance(data[0], (int, Size))
        make = self.new_empty if sizes else self.new_tensor  # type: ignore[attr-defined]
        return make(*(data or size), device=device)  # type: ignore[no-any-return]

    # ---------------------------------------------------------------- dtype and device

    to = casting.to
    type = casting.tensor_type
    type_as = casting.type_as
    cpu = casting.cpu
    cuda = casting.cuda
    get_device = casting.get_device
    is_pinned = casting.is_pinned
    pin_memory = casting.pin_memory
    float = casting._caster(float32)
    double = casting._caster(float64)
    half = casting._caster(float16)
    bfloat16 = casting._caster(bfloat16)
    long = casting._caster(int64)
    int = casting._caster(int32)
    short = casting._caster(int16)
    char = casting._caster(int8)
    byte = casting._caster(uint8)
    bool = casting._caster(bool_)

    # ---------------------------------------------------------------- arithmetic

    __add__: Binary = operator(arithmetic._add)
    __radd__: Binary = arithmetic._add
    __sub__: Binary = operator(arithmetic._sub)
    __rsub__: Binary = arithmetic._rsub
    __mul__: Binary = operator(arithmetic.mul)
    __rmul__: Binary = arithmetic.mul
    __truediv__: Binary = operator(arithmetic._div)
    __rtruediv__ = powers.rdiv
    __floordiv__: Binary = operator(arithmetic.floor_divide)
    __rfloordiv__ = arithmetic.rfloor_divide
    __mod__: Binary = operator(arithmetic.remainder)
    __rmod__ = arithmetic.rremainder
    __pow__: Binary = operator(powers.pow)
    __rpow__ = powers.rpow
    __neg__: Unary = arithmetic.neg
    __pos__ = arithmetic.positive
    __abs__: Unary = rounding.abs
    __iadd__ = comparison.operator(inplace(arithmetic._add))
    __isub__ = comparison.operator(inplace(arithmetic._sub))
    __imul__ = comparison.operator(inplace(arithmetic.mul))
    __itruediv__ = comparison.operator(inplace(arithmetic._div))
    __ifloordiv__ = comparison.operator(inplace(arithmetic.floor_divide))
    __imod__ = comparison.operator(inplace(arithmetic.remainder))
    __ipow__ = comparison.operator(inplace(powers.pow))
    add, add_ = arithmetic.add, arithmetic.add_
    sub, sub_ = arithmetic.sub, arithmetic.sub_
    mul, mul_ = arithmetic.mul, inplace(arithmetic.mul)
    div, div_ = arithmetic.div, arithmetic.div_
    subtract, subtract_ = sub, sub_
    multiply, multiply_ = mul, mul_
    divide, divide_ = true_divide, true_divide_ = div, div_
    positive = arithmetic.positive
    neg, neg_ = negative, negative_ = arithmetic.neg, inplace(arithmetic.neg)
    floor_divide, floor_divide_ = arithmetic.floor_divide, inplace(arithmetic.floor_divide)
    remainder, remainder_ = arithmetic.remainder, inplace(arithmetic.remainder)
    fmod, fmod_ = arithmetic.fmod, inplace(arithmetic.fmod)
    addcmul, addcmul_ = arithmetic.addcmul, inplace(arithmetic.addcmul)
    addcdiv, addcdiv_ = arithmetic.addcdiv, inplace(arithmetic.addcdiv)
    ldexp, ldexp_ = powers.ldexp, inplace(powers.ldexp)
    heaviside, heaviside_ = rounding.heaviside, inplace(rounding.heaviside)
    lerp, lerp_ = arithmetic.lerp, inplace(arithmetic.lerp)
    pow, pow_ = powers.pow, inplace(powers.pow)
    square, square_ = powers.square, inplace(powers.square)
    reciprocal, reciprocal_ = powers.reciprocal, inplace(powers.reciprocal)
    sqrt, sqrt_ = powers.sqrt, inplace(powers.sqrt)
    rsqrt, rsqrt_ = powers.rsqrt, inplace(powers.rsqrt)
    float_power, float_power_ = powers.float_power, powers.float_power_
    clamp, clamp_ = extrema.clamp, inplace(extrema.clamp)
    clamp_min, clamp_min_ = extrema.clamp_min, inplace(extrema.clamp_min)
    clamp_max, clamp_max_ = extrema.clamp_max, inplace(extrema.clamp_max)
    clip, clip_ = clamp, clamp_
    maximum, minimum = extrema.maximum, extrema.minimum
    fmax, fmin = extrema.fmax, extrema.fmin

    # ---------------------------------------------------------------- elementary

    exp, exp_ = elementary.exp, inplace(elementary.exp)
    exp2, exp2_ = elementary.exp2, inplace(elementary.exp2)
    expm1, expm1_ = elementary.expm1, inplace(elementary.expm1)
    log, log_ = elementary.log, inplace(elementary.log)
    log2, log2_ = elementary.log2, inplace(elementary.log2)
    log10, log10_ = elementary.log10, inplace(elementary.log10)
    log1p, log1p_ = elementary.log1p, inplace(elementary.log1p)
    sin, sin_ = trigonometric.sin, inplace(trigonometric.sin)
    cos, cos_ = trigonometric.cos, inplace(trigonometric.cos)
    tan, tan_ = trigonometric.tan, inplace(trigonometric.tan)
    asin, asin_ = trigonometric.asin, inplace(trigonometric.asin)
    acos, acos_ = trigonometric.acos, inplace(trigonometric.acos)
    atan, atan_ = trigonometric.atan, inplace(trigonometric.atan)
    sinh, sinh_ = trigonometric.sinh, inplace(trigonometric.sinh)
    cosh, cosh_ = trigonometric.cosh, inplace(trigonometric.cosh)
    tanh, tanh_ = trigonometric.tanh, inplace(trigonometric.tanh)
    asinh, asinh_ = trigonometric.asinh, inplace(trigonometric.asinh)
    acosh, acosh_ = trigonometric.acosh, inplace(trigonometric.acosh)
    atanh, atanh_ = trigonometric.atanh, inplace(trigonometric.atanh)
    atan2, atan2_ = trigonometric.atan2, inplace(trigonometric.atan2)
    hypot, hypot_ = trigonometric.hypot, inplace(trigonometric.hypot)
    sinc, sinc_ = trigonometric.sinc, inplace(trigonometric.sinc)
    deg2rad, deg2rad_ = trigonometric.deg2rad, inplace(trigonometric.deg2rad)
    rad2deg, rad2deg_ = trigonometric.rad2deg, inplace(trigonometric.rad2deg)
    arcsin, arcsin_ = asin, asin_
    arccos, arccos_ = acos, acos_
    arctan, arctan_ = atan, atan_
    arctan2, arctan2_ = atan2, atan2_
    arcsinh, arcsinh_ = asinh, asinh_
    arccosh, arccosh_ = acosh, acosh_
    arctanh, arctanh_ = atanh, atanh_
    abs, abs_ = rounding.abs, inplace(rounding.abs)
    sign, sign_ = rounding.sign, inplace(rounding.sign)
    ceil, ceil_ = rounding.ceil, inplace(rounding.ceil)
    floor, floor_ = rounding.floor, inplace(rounding.floor)
    trunc, trunc_ = rounding.trunc, inplace(rounding.trunc)
    round, round_ = rounding.round, inplace(rounding.round)
    frac, frac_ = rounding.frac, inplace(rounding.frac)
    nan_to_num, nan_to_num_ = rounding.nan_to_num, inplace(rounding.nan_to_num)
    conj = conj_physical = resolve_conj = resolve_neg = real.real
    angle, frexp = real.angle, real.frexp
    nextafter, nextafter_ = real.nextafter, inplace(real.nextafter)
    copysign, copysign_ = rounding.copysign, inplace(rounding.copysign)
    absolute, absolute_ = abs, abs_
    sgn, sgn_ = sign, sign_
    conj_physical_ = real.real
    fix, fix_ = trunc, trunc_
    erf, erf_ = special.erf, inplace(special.erf)
    erfc, erfc_ = special.erfc, inplace(special.erfc)
    erfinv, erfinv_ = special.erfinv, inplace(special.erfinv)
    lgamma, lgamma_ = special.lgamma, inplace(special.lgamma)
    digamma, digamma_ = special.digamma, inplace(special.digamma)
    logit, logit_ = special.logit, inplace(special.logit)
    xlogy, xlogy_ = special.xlogy, inplace(special.xlogy)
    i0, i0_ = series.i0, inplace(series.i0)
    igamma, igamma_ = series.igamma, inplace(series.igamma)
    igammac, igammac_ = series.igammac, inplace(series.igammac)
    mvlgamma, mvlgamma_ = series.multigammaln, inplace(series.multigammaln)
    polygamma, polygamma_ = special.of_order, inplace(special.of_order)
    logaddexp, logaddexp2 = special.logaddexp, special.logaddexp2
    relu, relu_ = activation.relu, inplace(activation.relu)
    sigmoid, sigmoid_ = activation.sigmoid, inplace(activation.sigmoid)
    prelu = activation.prelu
    hardshrink = activation.hardshrink

    # ---------------------------------------------------------------- comparison

    __eq__ = comparison.operator(comparison.eq)
    __ne__ = comparison.operator(comparison.ne)
    __lt__ = comparison.operator(comparison.lt)
    __le__ = comparison.operator(comparison.le)
    __gt__ = comparison.operator(comparison.gt)
    __ge__ = comparison.operator(comparison.ge)
    __and__: Binary = operator(bitwise.bitwise_and)
    __rand__: Binary = bitwise.bitwise_and
    __or__: Binary = operator(bitwise.bitwise_or)
    __ror__: Binary = bitwise.bitwise_or
    __xor__: Binary = operator(bitwise.bitwise_xor)
    __rxor__: Binary = bitwise.bitwise_xor
    __invert__ = bitwise.invert
    __lshift__: Binary = operator(bitwise.bitwise_left_shift)
    __rshift__: Binary = operator(bitwise.bitwise_right_shift)
    __iand__ = comparison.operator(inplace(bitwise.bitwise_and))
    __ior__ = comparison.operator(inplace(bitwise.bitwise_or))
    __ixor__ = comparison.operator(inplace(bitwise.bitwise_xor))
    __ilshift__ = comparison.operator(inplace(bitwise.bitwise_left_shift))
    __irshift__ = comparison.operator(inplace(bitwise.bitwise_right_shift))
    __rlshift__ = bitwise.rleft_shift
    __rrshift__ = bitwise.rright_shift
    eq, eq_ = comparison.eq, inplace(comparison.eq)
    ne, ne_ = comparison.ne, inplace(comparison.ne)
    lt, lt_ = comparison.lt, inplace(comparison.lt)
    le, le_ = comparison.le, inplace(comparison.le)
    gt, gt_ = comparison.gt, inplace(comparison.gt)
    ge, ge_ = comparison.ge, inplace(comparison.ge)
    not_equal, not_equal_ = ne, ne_
    less, less_ = lt, lt_
    less_equal, less_equal_ = le, le_
    greater, greater_ = gt, gt_
    greater_equal, greater_equal_ = ge, ge_
    logical_and, logical_and_ = comparison.logical_and, inplace(comparison.logical_and)
    logical_or, logical_or_ = comparison.logical_or, inplace(comparison.logical_or)
    logical_xor, logical_xor_ = comparison.logical_xor, inplace(comparison.logical_xor)
    logical_not, logical_not_ = comparison.logical_not, inplace(comparison.logical_not)
    bitwise_and, bitwise_and_ = bitwise.bitwise_and, inplace(bitwise.bitwise_and)
    bitwise_or, bitwise_or_ = bitwise.bitwise_or, inplace(bitwise.bitwise_or)
    bitwise_xor, bitwise_xor_ = bitwise.bitwise_xor, inplace(bitwise.bitwise_xor)
    bitwise_not, bitwise_not_ = bitwise.bitwise_not, inplace(bitwise.bitwise_not)
    bitwise_left_shift = bitwise.bitwise_left_shift
    bitwise_left_shift_ = inplace(bitwise.bitwise_left_shift)
    bitwise_right_shift = bitwise.bitwise_right_shift
    bitwise_right_shift_ = inplace(bitwise.bitwise_right_shift)
    gcd, gcd_ = bitwise.gcd, inplace(bitwise.gcd)
    lcm, lcm_ = bitwise.lcm, inplace(bitwise.lcm)
    equal = comparison.equal
    isclose, allclose = comparison.isclose, comparison.allclose
    isnan, isinf, isfinite = comparison.isnan, comparison.isinf, comparison.isfinite
    isreal = comparison.isreal
    isposinf, isneginf = comparison.isposinf, comparison.isneginf
    signbit = comparison.signbit

    # ---------------------------------------------------------------- reduction

    sum, mean, prod = reduction.sum, reduction.mean, reduction.prod
    nansum, nanmean = reduction.nansum, reduction.nanmean
    any, all, count_nonzero = reduction.any, reduction.all, reduction.count_nonzero
    logsumexp = reduction.logsumexp
    var, std = statistics.var, statistics.std
    quantile, nanquantile = statistics.quantile, statistics.nanquantile
    cov, corrcoef = statistics.cov, statistics.corrcoef
    dist = norms.dist
    renorm, renorm_ = norms.renorm, inplace(norms.renorm)
    max, min = largest.max, largest.min
    amax, amin, aminmax = largest.amax, largest.amin, largest.aminmax
    argmax, argmin = largest.argmax, largest.argmin
    cummax, cummin = largest.cummax, largest.cummin
    cumsum, cumsum_ = cumulative.cumsum, inplace(cumulative.cumsum)
    cumprod, cumprod_ = cumulative.cumprod, inplace(cumulative.cumprod)
    logcumsumexp = cumulative.logcumsumexp
    diff = cumulative.diff

    # ---------------------------------------------------------------- sorting

    sort, argsort, msort = sorting.sort, sorting.argsort, sorting.msort
    topk, kthvalue = sorting.topk, sorting.kthvalue
    median, nanmedian, mode = sorting.median, sorting.nanmedian, sorting.mode
    unique, unique_consecutive = counting.unique, counting.unique_consecutive
    bincount, histc = counting.bincount, counting.histc
    histogram = counting.histogram

    # ---------------------------------------------------------------- matmul

    matmul = products.matmul
    __matmul__: Binary = operator(products.matmul)
    __rmatmul__ = products.rmatmul
    mm, bmm, mv = products.mm, products.bmm, products.mv
    dot, vdot, inner = products.dot, products.vdot, products.inner
    outer = ger = products.outer
    addmm, addmm_ = products.addmm, inplace(products.addmm)
    addmv, addmv_ = products.addmv, inplace(products.addmv)
    addr, addr_ = products.addr, inplace(products.addr)
    addbmm, addbmm_ = products.addbmm, inplace(products.addbmm)
    baddbmm, baddbmm_ = products.baddbmm, inplace(products.baddbmm)
    kron, cross = products.kron, products.cross
    diagonal, diag, trace = linalg.diagonal, linalg.diag, linalg.trace
    diag_embed, diagflat = linalg.diag_embed, linalg.diagflat
    fill_diagonal_ = linalg.fill_diagonal_
    det, slogdet, logdet = linalg.det, linalg.slogdet, linalg.logdet
    inverse, pinverse = linalg.inv, solvers.pinverse
    matrix_power = decompositions.matrix_power
    cholesky_solve, cholesky_inverse = solvers.cholesky_solve, solvers.cholesky_inverse
    triangular_solve, matrix_exp = solvers.triangular_solve, solvers.matrix_exp
    orgqr = solvers.householder_product
    qr, svd = solvers.old_qr, solvers.old_svd
    cholesky = linalg.cholesky
    # ---------------------------------------------------------------- softmax
    softmax = softmaxes.softmax
    log_softmax = softmaxes.log_softmax
    # ---------------------------------------------------------------- sampling

    uniform_ = sampling.uniform_
    normal_ = sampling.normal_
    random_ = sampling.random_
    bernoulli = sampling.bernoulli
    bernoulli_ = sampling.bernoulli_
    exponential_ = sampling.exponential_
    log_normal_ = sampling.log_normal_
    cauchy_ = sampling.cauchy_
    geometric_ = sampling.geometric_
    multinomial = sampling.multinomial

    real = property(lambda self: self)  # last: it hides the module
