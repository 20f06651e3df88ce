"""What torch offers for complex numbers, of real ones; and what they are made of in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu import return_types
from tinygrad_edu.dtypes import (
    Array,
    common,
    dtype,
    floating,
    from_numpy,
    is_floating,
    is_half,
)
from tinygrad_edu.engine.boundary import not_a_tensor, not_implemented
from tinygrad_edu.engine.graph import Variable
from tinygrad_edu.engine.inplace import write_out
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.ops.arithmetic import zero_gradient
from tinygrad_edu.ops.dims import operand
from tinygrad_edu.ops.extrema import gate

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


def real(input: Any) -> Any:
    """The tensor itself: all its numbers are real."""
    operand("real", input)
    return input


def imag(input: Any) -> Any:
    """Refused, as in torch: there are no complex numbers."""
    raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")


conj = conj_physical = resolve_conj = resolve_neg = real


@primitive
def angle(x: Array) -> Array:
    """0 for positive numbers, pi for negative ones.

    >>> import tinygrad_edu as torch
    >>> torch.angle(torch.tensor([1.0, -2.0]))
    tensor([0.0000, 3.1416])
    """
    x = floating(x)
    y = np.where(x < 0, np.pi, 0.0).astype(x.dtype)
    return np.where(np.isnan(x), x, y)


angle.vjp(x=zero_gradient)


@primitive
def _nextafter(a: Array, b: Array, kind: str) -> Array:
    """In the dtype of that name: for 16 bits, too, the next number is one of that dtype."""
    target = dtype._by_name[kind].numpy
    return np.nextafter(a.astype(target, copy=False), b.astype(target, copy=False))


_nextafter.vjp(a=lambda g, a, b: gate(g, a != b),
               b=zero_gradient)  # fmt: skip


def nextafter(input: Any, other: Any, *, out: Any = None) -> Tensor:
    """The next float after `input` in the direction of `other`.

    Args:
        input, other: tensors of floats, of broadcastable shapes.

    >>> import tinygrad_edu as torch
    >>> torch.nextafter(torch.tensor([1.0]), torch.tensor([2.0])) > 1
    tensor([True])
    """
    for position, x in enumerate((input, other), 1):
        if not isinstance(x, Variable):
            raise not_a_tensor("nextafter", position, x)
    target = common(input.array, other.array)
    if not is_floating(target):
        raise not_implemented("nextafter_cpu", target)
    y = _nextafter(input, other, from_numpy(target).name)
    return write_out("nextafter", out, y)  # type: ignore[no-any-return]


@primitive(node="Frexp")
def _mantissa(x: Array) -> Array:
    return np.frexp(x)[0]


@primitive
def _halved(a: Array, x: Array) -> Array:
    """`a` divided by the power of two in `x`."""
    return np.ldexp(a, -np.frexp(x)[1])


_mantissa.vjp(x=lambda g, x: _halved(g, x))
_halved.vjp(a=lambda g, x: _halved(g, x), x=lambda g, x: zero_gradient(x))


def frexp(input: Any) -> Any:
    """`input = mantissa * 2 ** exponent`, with the mantissa's size in [1/2, 1).

    >>> import tinygrad_edu as torch
    >>> torch.frexp(torch.tensor([6.0]))
    torch.return_types.frexp(
    mantissa=tensor([0.7500]),
    exponent=tensor([3], dtype=torch.int32))
    """
    x = operand("frexp", input)
    if not is_floating(x.dtype):
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")
    wide = x.astype(np.float32) if is_half(x.dtype) else x
    return return_types.frexp(_mantissa(input), wrap(np.frexp(wide)[1]))
