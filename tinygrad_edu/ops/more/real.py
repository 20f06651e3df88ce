"""What torch offers for complex numbers, of real ones; and what they are made of in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.dtypes import (
    Array,
    common,
    dtype,
    floating,
    from_numpy,
    is_floating,
    not_implemented,
)
from tinygrad_edu.engine.boundary import not_a_tensor
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.record import as_array
from tinygrad_edu.kernels.memory_order import in_turn
from tinygrad_edu.names import return_types
from tinygrad_edu.ops.arguments import elementwise, operand
from tinygrad_edu.ops.arithmetic import zero_gradient
from tinygrad_edu.ops.extrema import gate
from tinygrad_edu.out import takes_out, write_out

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


def real(input: Tensor) -> Tensor:
    """The tensor itself: all its numbers are real."""
    operand("real", input)
    return input


def imag(input: Tensor) -> Any:
    """Refused, as in torch: there are no complex numbers."""
    raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")


conj = resolve_conj = resolve_neg = real


@takes_out(overlap="same")
def conj_physical(input: Tensor) -> Tensor:
    """The tensor itself, as `real`."""
    return real(input)


@elementwise
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
    y = np.nextafter(a.astype(target, copy=False), b.astype(target, copy=False))
    return in_turn(y, a, b, dtype=target)


_nextafter.vjp(a=lambda g, a, b: gate(g, a != b),
               b=zero_gradient)  # fmt: skip


def nextafter(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The next float after `input` in the direction of `other`.

    Args:
        input, other: tensors of floats, of broadcastable shapes.

    >>> import tinygrad_edu as torch
    >>> torch.nextafter(torch.tensor([1.0]), torch.tensor([2.0])) > 1
    tensor([True])
    """
    for position, x in enumerate((input, other), 1):
        if not isinstance(x, TensorBase):
            raise not_a_tensor("nextafter", position, x)
    target = common(input.array, other.array)
    if not is_floating(target):
        raise not_implemented("nextafter_cpu", target)
    y = _nextafter(input, other, from_numpy(target).name)
    return write_out("nextafter", out, y, input, other)


@primitive(node="Frexp", multiple=True, saves=("exponent",))
def _frexp(x: Array) -> Any:
    mantissa, exponent = map(as_array, np.frexp(x))
    return (mantissa, exponent), exponent


@primitive
def _scaled(a: Array, exponent: Array) -> Array:
    """`a` times a power of two."""
    return np.ldexp(a, exponent)


_frexp.vjp(x=lambda g, exponent: _scaled(g[0], -exponent))
_scaled.vjp(a=lambda g, exponent: _scaled(g, exponent))


@takes_out(overlap="same")
def frexp(input: Tensor) -> Any:
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
    mantissa, exponent = _frexp(input)
    return return_types.frexp(mantissa, exponent.detach())
