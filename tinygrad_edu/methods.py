"""The operations that a tensor offers as methods and operators, family by family.

This is the one place where operations are bound to `Tensor`.  Each lives in `ops/`, beside its
derivative; `inplace` makes the twin that writes its result into the tensor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinygrad_edu.autograd.graph import Variable
from tinygrad_edu.autograd.inplace import inplace
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
from tinygrad_edu.ops import casting, gathering, indexing, joining, sampling, shape

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


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
    transpose = swapaxes = swapdims = shape.transpose
    t = shape.t
    movedim = moveaxis = shape.movedim
    squeeze = shape.squeeze
    unsqueeze = shape.unsqueeze
    expand = shape.expand
    expand_as = shape.expand_as
    broadcast_to = shape.broadcast_to
    repeat = shape.repeat
    tile = shape.tile
    flip = shape.flip
    fliplr = shape.fliplr
    flipud = shape.flipud
    roll = shape.roll
    rot90 = shape.rot90
    clone = shape.clone
    contiguous = shape.contiguous
    T = property(lambda self: shape._permute(self, tuple(range(self.array.ndim))[::-1]))
    mT = property(lambda self: shape.transpose(self, -2, -1))
    H = property(shape.t)
    split = joining.split
    chunk = joining.chunk
    tensor_split = joining.tensor_split
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
    tril = indexing.tril
    triu = indexing.triu
    tril_ = inplace(indexing.tril)
    triu_ = inplace(indexing.triu)
    copy_ = indexing.copy_
    gather = gathering.gather
    scatter = gathering.scatter
    scatter_ = inplace(gathering.scatter)
    scatter_add = gathering.scatter_add
    scatter_add_ = inplace(gathering.scatter_add)
    index_select = gathering.index_select
    index_add = gathering.index_add
    index_add_ = inplace(gathering.index_add)
    index_copy = gathering.index_copy
    index_copy_ = inplace(gathering.index_copy)
    index_fill = gathering.index_fill
    index_fill_ = inplace(gathering.index_fill)
    take_along_dim = gathering.take_along_dim
    take = gathering.take

    def where(self, condition: Tensor, other: Any) -> Tensor:
        """This tensor where the condition holds, else `other`."""
        found: Tensor = indexing.where(condition, self, other)
        return found

    def fill_(self, value: Any) -> Tensor:
        """Write one value everywhere."""
        if isinstance(value, Variable) and value.array.ndim:
            raise RuntimeError(
                "fill_ only supports 0-dimension value tensor but got tensor with"
                f" {value.array.ndim} dimensions."
            )
        return indexing.copy_(self, value)

    def zero_(self) -> Tensor:
        """Write zeros everywhere."""
        return indexing.copy_(self, 0)

    # ---------------------------------------------------------------- dtype and device

    to = casting.to
    type_as = casting.type_as
    cpu = casting.cpu
    cuda = casting.cuda
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
    # ---------------------------------------------------------------- elementary
    # ---------------------------------------------------------------- comparison
    # ---------------------------------------------------------------- reduction
    # ---------------------------------------------------------------- sorting
    # ---------------------------------------------------------------- matmul
    # ---------------------------------------------------------------- softmax
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
