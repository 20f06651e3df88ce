"""The larger and the smaller of two: maximum, minimum, fmax, fmin, clamp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.dtypes import (
    Array,
    NumpyDtype,
    fitting,
    not_implemented,
    promote,
    promote_to,
    result_type,
)
from tinygrad_edu.engine.boundary import not_a_tensor
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.kernels.gate import gate as _gate_kernel
from tinygrad_edu.kernels.memory_order import in_turn
from tinygrad_edu.ops import masking
from tinygrad_edu.ops.arguments import ufunc
from tinygrad_edu.ops.comparison import isnan
from tinygrad_edu.out import takes_out

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


@primitive
def gate(g: Array, mask: Array) -> Array:
    """`g` where `mask` holds, else 0: how a gradient passes a function with kinks."""
    return _gate_kernel(g, mask)


gate.vjp(g=lambda g, mask: gate(g, mask))


@primitive
def weigh(a: Array, weight: Array) -> Array:
    """`a * weight`; 0 where the weight is 0, even of what is not finite."""
    return np.where(weight == 0, 0, a * weight)


weigh.vjp(a=lambda g, weight: weigh(g, weight),
          weight=lambda g, a: g * a)  # fmt: skip


def _share(g: Tensor, mine: object, theirs: object) -> Any:
    """The part of `g` for the operand `mine` that won over `theirs`; half where they tie."""
    return masking.where(mine == theirs, g / 2, g)


@ufunc("maximum")
@primitive(numbers="none")
def maximum(a: Array, b: Array) -> Array:
    """The larger one, element by element; nan if one is nan.  Where they tie, each gets half of
    the gradient.

    >>> import tinygrad_edu as torch
    >>> torch.maximum(torch.tensor([1.0, 5.0]), torch.tensor([3.0, 2.0]))
    tensor([3., 5.])
    """
    a, b = promote(a, b)
    return np.maximum(a, b)


maximum.vjp(
    a=lambda g, a, b: masking.where(a < b, 0.0, _share(g, a, b)),
    b=lambda g, a, b: masking.where(b < a, 0.0, _share(g, b, a)),
)


@ufunc("minimum")
@primitive(numbers="none")
def minimum(a: Array, b: Array) -> Array:
    """The smaller one, element by element; nan if one is nan.  Where they tie, each gets half of
    the gradient.

    >>> import tinygrad_edu as torch
    >>> torch.minimum(torch.tensor([1.0, 5.0]), torch.tensor([3.0, 2.0]))
    tensor([1., 2.])
    """
    a, b = promote(a, b)
    return np.minimum(a, b)


minimum.vjp(
    a=lambda g, a, b: masking.where(a > b, 0.0, _share(g, a, b)),
    b=lambda g, a, b: masking.where(b > a, 0.0, _share(g, b, a)),
)


@ufunc("fmax")
@primitive(numbers="none")
def fmax(a: Array, b: Array) -> Array:
    """The larger one, element by element; the other one if one is nan.

    >>> import tinygrad_edu as torch
    >>> torch.fmax(torch.tensor([1.0, float("nan")]), torch.tensor([3.0, 2.0]))
    tensor([3., 2.])
    """
    a, b = promote(a, b)
    return np.fmax(a, b)


fmax.vjp(
    a=lambda g, a, b: masking.where((a >= b) | isnan(b), g, 0.0),
    b=lambda g, a, b: masking.where((a >= b) | isnan(b), 0.0, g),
)


@ufunc("fmin")
@primitive(numbers="none")
def fmin(a: Array, b: Array) -> Array:
    """The smaller one, element by element; the other one if one is nan.

    >>> import tinygrad_edu as torch
    >>> torch.fmin(torch.tensor([1.0, float("nan")]), torch.tensor([3.0, 2.0]))
    tensor([1., 2.])
    """
    a, b = promote(a, b)
    return np.fmin(a, b)


fmin.vjp(
    a=lambda g, a, b: masking.where((a <= b) | isnan(b), g, 0.0),
    b=lambda g, a, b: masking.where((a <= b) | isnan(b), 0.0, g),
)


def _clamp_name(x: Array, min: object, max: object) -> str:
    return f"ClampBackward{int(not hasattr(min, 'dtype') and not hasattr(max, 'dtype'))}"


@primitive(node=_clamp_name, half="widened, numbers fit")
def clamp(x: Array, min: Any = None, max: Any = None) -> Array:
    """`x` raised to `min` where it is lower, then lowered to `max` where it is higher.

    The gradient of `x` is that of the result where `min <= x <= max`, else 0.

    Args:
        x: a tensor.
        min, max: numbers or tensors; None for no bound.  If `min > max`, the result is `max`.

    Raises:
        RuntimeError: both bounds are None.

    >>> import tinygrad_edu as torch
    >>> torch.clamp(torch.tensor([-2.0, 0.5, 2.0]), -1, 1)
    tensor([-1.0000,  0.5000,  1.0000])
    """
    bounds = [bound for bound in (min, max) if bound is not None]
    if not bounds:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if any([bound.__class__ is bool for bound in bounds]) and x.dtype.kind == "b":
        raise not_implemented("clamp", x.dtype)
    target = x.dtype if x.dtype.kind == "f" else None
    if target is None or any([hasattr(bound, "dtype") for bound in bounds]):
        target = result_type(x, *bounds)
    x, min, max = [_bound(target, value) for value in (x, min, max)]
    y = x if min is None else np.maximum(x, min)
    y = y if max is None else np.minimum(y, max)
    return y if x.flags.c_contiguous and x.shape == y.shape else in_turn(y, x, min, max)


def _bound(target: NumpyDtype, value: Any) -> Any:
    """An array cast, a number that fits, or None."""
    if hasattr(value, "dtype"):
        return promote_to(target, value)[0]
    return None if value is None else fitting(target, value)


def _inside(x: Any, min: Any, max: Any) -> Any:
    if min is None:
        return x <= max
    return x >= min if max is None else (x >= min) & (x <= max)


clamp.vjp(
    x=lambda g, x, min, max: gate(g, _inside(x, min, max)),
    min=lambda g, x, min, max: gate(g, (x < min) if max is None else (x < min) & (min < max)),
    max=lambda g, x, min, max: gate(g, (x > max) if min is None else (x > max) | (max < min)),
)
clip = clamp


@takes_out(dtype="any", overlap="same")
def clamp_min(input: Tensor, min: float | Tensor) -> Tensor:
    """`input` raised to `min` where it is lower.

    >>> import tinygrad_edu as torch
    >>> torch.clamp_min(torch.tensor([-2.0, 2.0]), 0)
    tensor([0., 2.])
    """
    if not isinstance(input, TensorBase):
        raise not_a_tensor("clamp_min", 1, input)
    return clamp(input, min, None)


@takes_out(dtype="any", overlap="same")
def clamp_max(input: Tensor, max: float | Tensor) -> Tensor:
    """`input` lowered to `max` where it is higher.

    >>> import tinygrad_edu as torch
    >>> torch.clamp_max(torch.tensor([-2.0, 2.0]), 0)
    tensor([-2.,  0.])
    """
    if not isinstance(input, TensorBase):
        raise not_a_tensor("clamp_max", 1, input)
    return clamp(input, None, max)
