"""The operations that a tensor offers as methods and operators, family by family.

This is the one place where operations are bound to `Tensor`.  Each lives in `ops/`, beside its
derivative; `inplace` makes the twin that writes its result into the tensor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from tinygrad_edu.dtypes import (
    Array,
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
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.inplace import inplace
from tinygrad_edu.engine.types import Operation
from tinygrad_edu.engine.views import inplace_view
from tinygrad_edu.ops import (
    activation,
    arithmetic,
    casting,
    comparison,
    elementary,
    extrema,
    gathering,
    indexing,
    joining,
    largest,
    masking,
    powers,
    reduction,
    rounding,
    sampling,
    shape,
)
from tinygrad_edu.ops import matmul as products
from tinygrad_edu.ops import softmax as softmaxes
from tinygrad_edu.size import Size

if TYPE_CHECKING:
    from tinygrad_edu.methods.storage import TypedStorage, UntypedStorage
    from tinygrad_edu.tensor import Tensor


Binary: TypeAlias = "Operation[[Any, Any]]"
Unary: TypeAlias = "Operation[[Any]]"


class Methods:
    """What `Tensor` inherits its operations from."""

    array: Array

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
    clone = casting.clone
    contiguous = casting.contiguous
    T = property(lambda self: shape._permute(self, tuple(range(self.array.ndim))[::-1]))
    split = joining.split
    chunk = joining.chunk
    tensor_split = joining.tensor_split
    split_with_sizes = joining.split_with_sizes
    unsafe_split, unsafe_chunk = joining.unsafe_split, joining.unsafe_chunk
    hsplit, vsplit, dsplit = joining.hsplit, joining.vsplit, joining.dsplit
    unbind = joining.unbind

    # ---------------------------------------------------------------- indexing

    __getitem__ = indexing.getitem
    __setitem__ = indexing.setitem
    select = joining.select
    narrow = joining.narrow
    masked_fill = masking.masked_fill
    masked_fill_ = inplace(masking.masked_fill, reads=1)
    masked_select = masking.masked_select
    nonzero = masking.nonzero
    argwhere = masking.argwhere
    tril, tril_ = masking.tril, inplace(masking.tril)
    triu, triu_ = masking.triu, inplace(masking.triu)
    copy_ = indexing.copy_
    gather = gathering.gather
    scatter_add = gathering.scatter_add
    scatter_add_ = inplace(gathering.scatter_add, apart=True)
    index_select = gathering.index_select
    index_add = gathering.index_add
    index_add_ = inplace(gathering.index_add, apart=True, gaps="alone")

    def where(self, condition: Tensor, other: Any) -> Tensor:
        """This tensor where the condition holds, else `other`."""
        found: Tensor = masking.where(condition, self, other)
        return found

    def norm(
        self, p: Any = "fro", dim: Any = None, keepdim: Any = False, dtype: Any = None
    ) -> Tensor:
        """See `torch.norm`; here `dtype` is the fourth argument."""
        from tinygrad_edu.ops.more.norms import norm

        return norm(self, p, dim, keepdim, dtype=dtype)

    def fill_(self, value: Any) -> Tensor:
        """Write one value everywhere."""
        if isinstance(value, TensorBase) and value.array.ndim:
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
        from tinygrad_edu.methods.storage import UntypedStorage

        return UntypedStorage(self.array)

    def storage(self) -> TypedStorage:
        """The memory that it shares with its views, as elements of its dtype."""
        from tinygrad_edu.methods.storage import storage_of

        return storage_of(self)

    def new(self, *data: Any, size: Any = (0,), device: Any = None) -> Tensor:
        """`new_empty(*sizes)`, or `new_tensor(data)`: how early scripts made tensors."""
        sizes = not data or isinstance(data[0], (int, Size))
        make = self.new_empty if sizes else self.new_tensor  # type: ignore[attr-defined]
        result: Tensor = make(*(data or size), device=device)
        return result

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
    ldexp, ldexp_ = powers.ldexp, inplace(powers.ldexp)
    heaviside, heaviside_ = rounding.heaviside, inplace(rounding.heaviside)
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
    sin, sin_ = elementary.sin, inplace(elementary.sin)
    cos, cos_ = elementary.cos, inplace(elementary.cos)
    tanh, tanh_ = elementary.tanh, inplace(elementary.tanh)
    abs, abs_ = rounding.abs, inplace(rounding.abs)
    sign, sign_ = rounding.sign, inplace(rounding.sign)
    ceil, ceil_ = rounding.ceil, inplace(rounding.ceil)
    floor, floor_ = rounding.floor, inplace(rounding.floor)
    trunc, trunc_ = rounding.trunc, inplace(rounding.trunc)
    round, round_ = rounding.round, inplace(rounding.round)
    frac, frac_ = rounding.frac, inplace(rounding.frac)
    nan_to_num, nan_to_num_ = rounding.nan_to_num, inplace(rounding.nan_to_num)
    copysign, copysign_ = rounding.copysign, inplace(rounding.copysign)
    absolute, absolute_ = abs, abs_
    sgn, sgn_ = sign, sign_
    fix, fix_ = trunc, trunc_
    erf, erf_ = elementary.erf, inplace(elementary.erf)
    relu, relu_ = activation.relu, inplace(activation.relu)
    sigmoid, sigmoid_ = activation.sigmoid, inplace(activation.sigmoid)

    # ---------------------------------------------------------------- comparison

    __eq__ = comparison.operator(comparison.eq)
    __ne__ = comparison.operator(comparison.ne)
    __lt__ = comparison.operator(comparison.lt)
    __le__ = comparison.operator(comparison.le)
    __gt__ = comparison.operator(comparison.gt)
    __ge__ = comparison.operator(comparison.ge)
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
    equal = comparison.equal
    isclose, allclose = comparison.isclose, comparison.allclose
    isnan, isinf, isfinite = comparison.isnan, comparison.isinf, comparison.isfinite
    isreal = comparison.isreal
    isposinf, isneginf = comparison.isposinf, comparison.isneginf
    signbit = comparison.signbit

    # ---------------------------------------------------------------- reduction

    sum, mean = reduction.sum, reduction.mean
    nansum, nanmean = reduction.nansum, reduction.nanmean
    any, all, count_nonzero = reduction.any, reduction.all, reduction.count_nonzero
    logsumexp = reduction.logsumexp
    max, min = largest.max, largest.min
    amax, amin, aminmax = largest.amax, largest.amin, largest.aminmax
    argmax, argmin = largest.argmax, largest.argmin

    # ---------------------------------------------------------------- sorting

    # ---------------------------------------------------------------- matmul

    matmul = products.matmul
    __matmul__: Binary = operator(products.matmul)
    __rmatmul__ = products.rmatmul
    # ---------------------------------------------------------------- softmax
    softmax = softmaxes.softmax
    log_softmax = softmaxes.log_softmax
    # ---------------------------------------------------------------- sampling

    uniform_ = sampling.uniform_
    normal_ = sampling.normal_
    random_ = sampling.random_
    bernoulli = sampling.bernoulli
    bernoulli_ = sampling.bernoulli_
    multinomial = sampling.multinomial

    real = property(lambda self: self)  # last: it hides the module
