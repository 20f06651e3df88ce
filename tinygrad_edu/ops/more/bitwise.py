"""Operations on the bits of integers and on bools, and the greatest common divisor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.dtypes import Array, common, is_floating, not_implemented, promote_to
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.ops.arguments import elementwise, ufunc

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


def _integers(name: str, a: Tensor, b: Tensor, bools: bool = True) -> tuple[Any, Any]:
    """Both with their common dtype; torch's error if that holds no integers (or bools)."""
    target = common(a, b)
    if is_floating(target) or (target.kind == "b" and not bools):
        raise not_implemented(name, target)
    a, b = promote_to(target, a, b)
    return a, b


@ufunc("bitwise_and")
@primitive
def bitwise_and(a: Array, b: Array) -> Array:
    """`a & b`, element by element; of bools, whether both hold.

    Raises:
        NotImplementedError: one of them holds floats.

    >>> import tinygrad_edu as torch
    >>> torch.bitwise_and(torch.tensor([5, 6]), 3)
    tensor([1, 2])
    """
    return np.bitwise_and(*_integers("bitwise_and", a, b))


@ufunc("bitwise_or")
@primitive
def bitwise_or(a: Array, b: Array) -> Array:
    """`a | b`, element by element; of bools, whether one holds.  Errors as `bitwise_and`.

    >>> import tinygrad_edu as torch
    >>> torch.bitwise_or(torch.tensor([5, 6]), 3)
    tensor([7, 7])
    """
    return np.bitwise_or(*_integers("bitwise_or", a, b))


@ufunc("bitwise_xor")
@primitive
def bitwise_xor(a: Array, b: Array) -> Array:
    """`a ^ b`, element by element; of bools, whether exactly one holds.  Errors as `bitwise_and`.

    >>> import tinygrad_edu as torch
    >>> torch.bitwise_xor(torch.tensor([5, 6]), 3)
    tensor([6, 5])
    """
    return np.bitwise_xor(*_integers("bitwise_xor", a, b))


@ufunc("invert")
@primitive
def bitwise_not(x: Array) -> Array:
    """`~x`, element by element; of bools, whether it does not hold.  Errors as `bitwise_and`.

    >>> import tinygrad_edu as torch
    >>> torch.bitwise_not(torch.tensor([True, False]))
    tensor([False,  True])
    """
    if is_floating(x.dtype):
        raise not_implemented("bitwise_not", x.dtype)
    return np.invert(x)


def invert(input: Tensor) -> Tensor:
    """`~input`; TypeError for floats, as Python's operator has it."""
    if is_floating(input.array.dtype):
        raise TypeError(
            "~ (operator.invert) is only implemented on integer and Boolean-type tensors"
        )
    return bitwise_not(input)


@elementwise
@primitive
def bitwise_left_shift(a: Array, b: Array) -> Array:
    """`a << b`, element by element.  Errors as `bitwise_and`.

    >>> import tinygrad_edu as torch
    >>> torch.bitwise_left_shift(torch.tensor([1, 3]), 2)
    tensor([ 4, 12])
    """
    return np.left_shift(*_integers("bitwise_left_shift", a, b, bools=False))


@elementwise
@primitive
def bitwise_right_shift(a: Array, b: Array) -> Array:
    """`a >> b`, element by element; the sign stays.  Errors as `bitwise_and`.

    >>> import tinygrad_edu as torch
    >>> torch.bitwise_right_shift(torch.tensor([4, -12]), 2)
    tensor([ 1, -3])
    """
    return np.right_shift(*_integers("bitwise_right_shift", a, b, bools=False))


def rleft_shift(input: Tensor, other: Tensor) -> Tensor:
    """`other << input`: what the operator calls when `other` is a number."""
    return bitwise_left_shift(other, input)


def rright_shift(input: Tensor, other: Tensor) -> Tensor:
    """`other >> input`: what the operator calls when `other` is a number."""
    return bitwise_right_shift(other, input)


@elementwise
@primitive(numbers="none")
def gcd(a: Array, b: Array) -> Array:
    """The greatest common divisor of integers, element by element.

    >>> import tinygrad_edu as torch
    >>> torch.gcd(torch.tensor([12, 18]), torch.tensor([8, 27]))
    tensor([4, 9])
    """
    return np.gcd(*_integers("gcd", a, b, bools=False))


@elementwise
@primitive(numbers="none")
def lcm(a: Array, b: Array) -> Array:
    """The least common multiple of integers, element by element.

    >>> import tinygrad_edu as torch
    >>> torch.lcm(torch.tensor([4, 6]), torch.tensor([6, 9]))
    tensor([12, 18])
    """
    return np.lcm(*_integers("lcm", a, b, bools=False))
