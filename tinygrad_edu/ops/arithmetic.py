"""Arithmetic: add, sub, mul, div, pow, remainder and their kin.

Operands are tensors or Python numbers; `promote` casts them to their common type (see dtypes.py).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.autograd.errors import not_implemented
from tinygrad_edu.autograd.graph import Variable
from tinygrad_edu.autograd.inplace import inplace
from tinygrad_edu.autograd.primitive import primitive, wrap
from tinygrad_edu.dtypes import Array, common, default, floating, is_floating, promote, promote_to
from tinygrad_edu.ops import elementary, indexing

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


def _is_bool(x: Any) -> bool:
    return isinstance(x, bool) or getattr(x, "dtype", None) == bool


def flat(g: Any) -> Any:
    """The gradient through a step function: zeros like `g`."""
    return wrap(np.zeros_like(g.array)) if isinstance(g, Variable) else np.zeros_like(g)


@primitive
def _add(a: Array, b: Array) -> Array:
    a, b = promote(a, b)
    return np.add(a, b)


_add.vjp(a=lambda g: g,
         b=lambda g: g)  # fmt: skip


@primitive
def _sub(a: Array, b: Array) -> Array:
    a, b = promote(a, b)
    if a.__class__ is np.ndarray and a.dtype.kind == "b" or _is_bool(b):
        _refuse_bool(a, b)
    return np.subtract(a, b)


_sub.vjp(a=lambda g: g,
         b=lambda g: -g)  # fmt: skip


def _refuse_bool(a: Any, b: Any) -> None:
    """torch's errors where bools are subtracted."""
    if _is_bool(a) and _is_bool(b):
        raise RuntimeError(
            "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or"
            " `logical_xor()` operator instead."
        )


@primitive
def mul(a: Array, b: Array) -> Array:
    """`a * b`, element by element.

    Args:
        a, b: tensors of broadcastable shapes, or one of them a number.

    Raises:
        RuntimeError: the shapes do not broadcast.

    >>> import tinygrad_edu as torch
    >>> torch.mul(torch.tensor([1.0, 2.0]), 3)
    tensor([3., 6.])
    """
    a, b = promote(a, b)
    return np.multiply(a, b)


mul.vjp(a=lambda g, b: g * b,
        b=lambda g, a: g * a)  # fmt: skip


@primitive
def _div(a: Array, b: Array) -> Array:
    target = common(a, b)
    a, b = promote_to(target if is_floating(target) else default(), a, b)
    return np.true_divide(a, b)


_div.vjp(a=lambda g, b: g / b,
         b=lambda g, b, y: -g * (y / b))  # fmt: skip


@primitive
def _rsub(a: Array, b: Array) -> Array:
    return _sub.primitive.forward(b, a)


_rsub.vjp(a=lambda g: -g)
