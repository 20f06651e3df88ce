"""Choosing by a mask or by place: where, masked_fill, nonzero, the triangles of matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.backend import new_like
from tinygrad_edu.dtypes import (
    Array,
    common,
    fitting,
    is_half,
    promote,
    promote_to,
    result_type,
    scalar_type_name,
)  # fmt: skip
from tinygrad_edu.engine.boundary import same_device
from tinygrad_edu.engine.composed import of_tensors
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.engine.versions import watched
from tinygrad_edu.kernels.memory_order import in_order, in_turn
from tinygrad_edu.ops.arguments import named
from tinygrad_edu.ops.indexing import _take
from tinygrad_edu.ops.shape import broadcast_tensors
from tinygrad_edu.out import takes_out

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


@primitive
def _where(condition: Array, a: Array, b: Array) -> Array:
    if condition.dtype == np.uint8:
        condition = condition != 0
    if condition.dtype != bool:
        raise RuntimeError(
            "where expected condition to be a boolean tensor, but got a tensor with dtype"
            f" {scalar_type_name(condition.dtype)}"
        )
    if not hasattr(a, "dtype") and not hasattr(b, "dtype"):
        target = result_type(a, b)
        a, b = (new_like(condition, (), n, target) for n in (a, b))
    elif hasattr(a, "dtype"):
        a, b = promote(a, b)
    else:
        b, a = promote(b, a)
    y: Array = np.where(condition, a, b)
    if condition.flags.c_contiguous and condition.shape == y.shape:
        return y
    return in_turn(y, condition, a, b)


_where.vjp(a=lambda g, condition: _where(condition, g, 0.0),
           b=lambda g, condition: _where(condition, 0.0, g))  # fmt: skip


@takes_out(overlap="same")
@named(self="input", x="input", y="other")
def where(condition: Any, input: Any = None, other: Any = None) -> Any:
    """`input` where the condition holds, else `other`, element by element.

    With the condition alone: the indices where it holds, as a tuple of tensors.

    Raises:
        RuntimeError: the condition is not of dtype bool.

    >>> import tinygrad_edu as torch
    >>> x = torch.tensor([-1.0, 2.0])
    >>> torch.where(x > 0, x, 0.0)
    tensor([0., 2.])
    """
    if input is None and other is None:
        return nonzero(condition, as_tuple=True)
    if other.__class__ in (int, float):
        _check_choice(input, other)
    elif input.__class__ in (int, float):
        _check_choice(other, input)
    return _where(condition, input, other)


def _check_choice(array: object, number: int | float) -> None:
    """Whether the common dtype holds the number; 16-bit floats take what is too large as inf."""
    array = array.array if isinstance(array, TensorBase) else array
    if (number.__class__ is float and -1e4 < number < 1e4) or not hasattr(array, "dtype"):
        return  # fits everywhere, without looking
    target = common(array, number)
    if not is_half(target):
        fitting(target, number)


def _nonzero_reads(input: Any, *, as_tuple: bool = False) -> Any:
    if as_tuple:
        raise TypeError("nonzero() got an unexpected keyword argument 'out' beside as_tuple=True")
    return "none", [input]


@takes_out(overlap=_nonzero_reads)
def nonzero(input: Any, *, as_tuple: bool = False) -> Any:
    """The indices of the elements that are not zero: one row each, or a tuple of columns.

    >>> import tinygrad_edu as torch
    >>> torch.nonzero(torch.tensor([0, 3, 5]))
    tensor([[1],
            [2]])
    """
    x = input.array
    if as_tuple:
        found = np.nonzero(x if x.ndim else x.reshape(1))
        return tuple([wrap(in_order(i)) for i in found])
    if not x.ndim:
        return wrap(np.zeros_like(x, shape=(int(x != 0), 0), dtype=np.int64))
    return wrap(np.stack(np.nonzero(x)).T)


def argwhere(input: Tensor) -> Tensor:
    """The indices of the elements that are not zero, one row each."""
    found: Tensor = nonzero(input)
    return found


@of_tensors
def masked_fill(input: Any, mask: Any, value: Any) -> Tensor:
    """`input` with `value` wherever the mask is True.

    Raises:
        RuntimeError: the mask is not of dtype bool, or the value has dimensions.

    >>> import tinygrad_edu as torch
    >>> torch.zeros(2).masked_fill(torch.tensor([True, False]), 9)
    tensor([9., 0.])
    """
    if mask.array.dtype != bool:
        raise RuntimeError(
            f"masked_fill_ only supports boolean masks, but got mask with dtype {mask.array.dtype}"
        )
    if isinstance(value, TensorBase) and value.array.ndim:
        raise RuntimeError(
            "masked_fill_ only supports a 0-dimensional value tensor, but got tensor with"
            f" {value.array.ndim} dimension(s)."
        )
    kind = input.array.dtype
    if isinstance(value, (int, float)):
        value = fitting(kind, value)
    elif (
        isinstance(value, TensorBase)
        and isinstance(value.array, np.ndarray)
        and value.array.dtype != kind
    ):
        fitting(kind, value.array.item())  # on a GPU, looking would mean waiting
    return _masked_fill(input, mask, value)


@primitive
def _masked_fill(x: Array, mask: Array, value: Any) -> Array:
    (value,) = promote_to(x.dtype, value)
    value = value if hasattr(value, "astype") else x.dtype.type(value)
    return in_order(np.where(mask, value, x))


_masked_fill.vjp(
    x=lambda g, mask: _where(mask, 0.0, g),
    value=lambda g, mask: _where(mask, g, 0.0),
)


@takes_out(overlap="none")
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where the mask is True, in one dimension; the two are broadcast.

    >>> import tinygrad_edu as torch
    >>> x = torch.tensor([1, 2, 3]); torch.masked_select(x, x > 1)
    tensor([2, 3])
    """
    if mask.array.dtype != bool:
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    same_device("masked_select", input.array, mask.array)
    x, m = broadcast_tensors(input, mask)
    return watched(_take(x, (m.array,)), "index", (mask,))


@primitive(half="as it is")
def tril(x: Array, diagonal: int = 0) -> Array:
    """The lower triangle of (a batch of) matrices; zero above the given diagonal.

    >>> import tinygrad_edu as torch
    >>> torch.tril(torch.ones(2, 2))
    tensor([[1., 0.],
            [1., 1.]])
    """
    _check_matrices("tril", x)
    return in_order(np.tril(x, diagonal))


@primitive(half="as it is")
def triu(x: Array, diagonal: int = 0) -> Array:
    """The upper triangle of (a batch of) matrices; zero below the given diagonal.

    >>> import tinygrad_edu as torch
    >>> torch.triu(torch.ones(2, 2), diagonal=1)
    tensor([[0., 1.],
            [0., 0.]])
    """
    _check_matrices("triu", x)
    return in_order(np.triu(x, diagonal))


tril.vjp(x=lambda g, diagonal: tril(g, diagonal))


triu.vjp(x=lambda g, diagonal: triu(g, diagonal))


def _check_matrices(name: str, x: Array) -> None:
    if x.ndim < 2:
        raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions")
