"""Comparisons and logic: tensors of bools, through which no gradient flows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.backend import new_like
from tinygrad_edu.dtypes import Array, default, is_floating, promote, scalar_type_name
from tinygrad_edu.engine.boundary import need_tensors, not_a_tensor, same_device
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.kernels.memory_order import in_turn
from tinygrad_edu.ops.arguments import elementwise, ufunc

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


@ufunc("equal")
@primitive(numbers="second", half="widened, numbers rounded")
def eq(a: Array, b: Array) -> Array:
    """`a == b`, element by element.

    Args:
        a, b: tensors of broadcastable shapes, or one of them a number.

    Raises:
        RuntimeError: the shapes do not broadcast.

    >>> import tinygrad_edu as torch
    >>> torch.eq(torch.tensor([1, 2]), 2)
    tensor([False,  True])
    """
    a, b = promote(a, b)
    return np.equal(a, b)


@ufunc("not_equal")
@primitive(numbers="second", half="widened, numbers rounded")
def ne(a: Array, b: Array) -> Array:
    """`a != b`, element by element; arguments and errors as `eq`.

    >>> import tinygrad_edu as torch
    >>> torch.ne(torch.tensor([1, 2]), 2)
    tensor([ True, False])
    """
    a, b = promote(a, b)
    return np.not_equal(a, b)


@ufunc("less")
@primitive(numbers="second", half="widened, numbers rounded")
def lt(a: Array, b: Array) -> Array:
    """`a < b`, element by element; arguments and errors as `eq`.

    >>> import tinygrad_edu as torch
    >>> torch.lt(torch.tensor([1, 2]), 2)
    tensor([ True, False])
    """
    a, b = promote(a, b)
    return np.less(a, b)


@ufunc("less_equal")
@primitive(numbers="second", half="widened, numbers rounded")
def le(a: Array, b: Array) -> Array:
    """`a <= b`, element by element; arguments and errors as `eq`.

    >>> import tinygrad_edu as torch
    >>> torch.le(torch.tensor([1, 3]), 2)
    tensor([ True, False])
    """
    a, b = promote(a, b)
    return np.less_equal(a, b)


@ufunc("greater")
@primitive(numbers="second", half="widened, numbers rounded")
def gt(a: Array, b: Array) -> Array:
    """`a > b`, element by element; arguments and errors as `eq`.

    >>> import tinygrad_edu as torch
    >>> torch.gt(torch.tensor([1, 3]), 2)
    tensor([False,  True])
    """
    a, b = promote(a, b)
    return np.greater(a, b)


@ufunc("greater_equal")
@primitive(numbers="second", half="widened, numbers rounded")
def ge(a: Array, b: Array) -> Array:
    """`a >= b`, element by element; arguments and errors as `eq`.

    >>> import tinygrad_edu as torch
    >>> torch.ge(torch.tensor([1, 2]), 2)
    tensor([False,  True])
    """
    a, b = promote(a, b)
    return np.greater_equal(a, b)


not_equal, less, less_equal, greater, greater_equal = ne, lt, le, gt, ge


def operator(compare: Callable[..., Any]) -> Callable[..., Any]:
    """The comparison as Python's operator, which lets other types have their say.

    `x == None` is then False, as in torch, and `x < None` a TypeError.
    """

    def call(x: Tensor, other: Tensor) -> Any:
        try:
            return compare(x, other)
        except TypeError:
            if isinstance(other, TensorBase):
                raise
            if isinstance(other, np.ndarray):  # whatever its class
                return compare(x, wrap(np.asarray(other)))
            return NotImplemented

    return call


@ufunc("logical_and")
@primitive(numbers="none")
def logical_and(a: Array, b: Array) -> Array:
    """Whether both are not zero, element by element.

    >>> import tinygrad_edu as torch
    >>> torch.logical_and(torch.tensor([1, 0]), torch.tensor([True, True]))
    tensor([ True, False])
    """
    promote(a, b)  # TypeError unless both are numbers
    return np.logical_and(a, b)


@ufunc("logical_or")
@primitive(numbers="none")
def logical_or(a: Array, b: Array) -> Array:
    """Whether one of them is not zero, element by element.

    >>> import tinygrad_edu as torch
    >>> torch.logical_or(torch.tensor([1, 0]), torch.tensor([True, False]))
    tensor([ True, False])
    """
    promote(a, b)  # TypeError unless both are numbers
    return np.logical_or(a, b)


@ufunc("logical_xor")
@primitive(numbers="none")
def logical_xor(a: Array, b: Array) -> Array:
    """Whether exactly one of them is not zero, element by element.

    >>> import tinygrad_edu as torch
    >>> torch.logical_xor(torch.tensor([1, 0]), torch.tensor([True, True]))
    tensor([False,  True])
    """
    promote(a, b)  # TypeError unless both are numbers
    return np.logical_xor(a, b)


@ufunc("logical_not")
@primitive
def logical_not(x: Array) -> Array:
    """Whether it is zero, element by element.

    >>> import tinygrad_edu as torch
    >>> torch.logical_not(torch.tensor([1.5, 0.0]))
    tensor([False,  True])
    """
    return np.logical_not(x)


@ufunc("isnan")
@primitive
def isnan(x: Array) -> Array:
    """Whether it is nan, element by element.

    >>> import tinygrad_edu as torch
    >>> torch.isnan(torch.tensor([float("nan"), 1.0]))
    tensor([ True, False])
    """
    return np.isnan(x)


@ufunc("isinf")
@primitive
def isinf(x: Array) -> Array:
    """Whether it is inf or -inf, element by element.

    >>> import tinygrad_edu as torch
    >>> torch.isinf(torch.tensor([float("-inf"), 1.0]))
    tensor([ True, False])
    """
    return np.isinf(x)


@ufunc("isfinite")
@primitive
def isfinite(x: Array) -> Array:
    """Whether it is neither nan nor infinite, element by element.

    >>> import tinygrad_edu as torch
    >>> torch.isfinite(torch.tensor([float("inf"), 1.0]))
    tensor([False,  True])
    """
    return np.isfinite(x)


@elementwise
@primitive
def isposinf(x: Array) -> Array:
    """Whether it is inf, element by element.

    >>> import tinygrad_edu as torch
    >>> torch.isposinf(torch.tensor([float("inf"), float("-inf")]))
    tensor([ True, False])
    """
    return np.equal(x, np.inf)


@elementwise
@primitive
def isneginf(x: Array) -> Array:
    """Whether it is -inf, element by element.

    >>> import tinygrad_edu as torch
    >>> torch.isneginf(torch.tensor([float("inf"), float("-inf")]))
    tensor([False,  True])
    """
    return np.equal(x, -np.inf)


@ufunc("signbit")
@primitive
def signbit(x: Array) -> Array:
    """Whether the sign is minus, element by element; also of -0.0.

    >>> import tinygrad_edu as torch
    >>> torch.signbit(torch.tensor([-0.0, 1.0]))
    tensor([ True, False])
    """
    return np.signbit(x) if is_floating(x.dtype) else np.less(x, 0)


@elementwise
@primitive
def isreal(x: Array) -> Array:
    """Whether it is a real number: all are.

    >>> import tinygrad_edu as torch
    >>> torch.isreal(torch.tensor([1.0]))
    tensor([True])
    """
    return np.ones_like(x, dtype=bool)


@primitive
def isin(
    elements: Array, test_elements: Array, assume_unique: bool = False, invert: bool = False
) -> Array:
    """Whether each of `elements` is among `test_elements`; whether it is not, if `invert`.

    Args:
        elements, test_elements: tensors of any shapes, or one of them a number.
        assume_unique: accepted for torch's sake.

    >>> import tinygrad_edu as torch
    >>> torch.isin(torch.tensor([1, 2, 3]), torch.tensor([2, 5]))
    tensor([False,  True, False])
    """
    a, b = promote(elements, test_elements)
    a, b = (x if hasattr(x, "dtype") else new_like(y, (), x, type(x)) for x, y in ((a, b), (b, a)))
    return np.isin(a, b, invert=invert)


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and the same elements.

    Raises:
        TypeError: one of them is not a tensor.

    >>> import tinygrad_edu as torch
    >>> torch.equal(torch.ones(2), torch.ones(2)), torch.equal(torch.ones(2), torch.ones(3))
    (True, False)
    """
    need_tensors("equal", input=input, other=other)
    same_device("equal", input.array, other.array)
    if input.array.shape != other.array.shape:
        return False
    return bool(eq(input, other).array.all())


@primitive
def isclose(
    a: Array, b: Array, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Array:
    """Whether `|a - b| <= atol + rtol * |b|`, element by element; infinities must be equal.

    Args:
        a, b: tensors of broadcastable shapes and one dtype.
        rtol, atol: the tolerances, relative and absolute; not negative.
        equal_nan: whether two nan count as close.

    Raises:
        RuntimeError: the dtypes differ, or a tolerance is negative.

    >>> import tinygrad_edu as torch
    >>> torch.isclose(torch.tensor([1.0, 2.0]), torch.tensor([1.0000001, 2.1]))
    tensor([ True, False])
    """
    for position, given in enumerate((a, b), 1):
        if not hasattr(given, "dtype"):
            raise not_a_tensor("isclose", position, given)
    if a.dtype != b.dtype:
        raise RuntimeError(f"{scalar_type_name(a.dtype)} did not match {scalar_type_name(b.dtype)}")
    for name, value in (("rtol", rtol), ("atol", atol)):
        if value < 0:
            raise RuntimeError(f"{name} must be greater than or equal to zero, but got {value}")
    close, first, second = np.equal(a, b), a, b
    if equal_nan:
        close = close | (np.isnan(a) & np.isnan(b))
    if not is_floating(a.dtype):
        a, b = a.astype(default()), b.astype(default())
    error = np.absolute(a - b)
    close = close | (np.isfinite(error) & (error <= atol + np.absolute(b * rtol)))
    return in_turn(close, first, second)


def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """Whether all elements are close; arguments and errors as `isclose`.

    >>> import tinygrad_edu as torch
    >>> torch.allclose(torch.ones(2), torch.ones(2) + 1e-9)
    True
    """
    return bool(isclose(input, other, rtol, atol, equal_nan).array.all())
