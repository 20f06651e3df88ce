"""Sums with a weighted part: addcmul, addcdiv, lerp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.dtypes import (
    Array,
    fitting,
    is_floating,
    not_implemented,
    promote_to,
    result_type,
)
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.kernels.memory_order import in_turn
from tinygrad_edu.ops.arguments import numbers_first, plain
from tinygrad_edu.ops.arithmetic import BOOL, mul

if TYPE_CHECKING:
    pass


@numbers_first(3, "value")
@primitive(autocast={"cuda": "widest"})
def addcmul(x: Array, tensor1: Array, tensor2: Array, value: Any = 1) -> Array:
    """`x + value * tensor1 * tensor2`.

    Args:
        x, tensor1, tensor2: tensors of broadcastable shapes.
        value: a number.

    >>> import tinygrad_edu as torch
    >>> torch.addcmul(torch.zeros(2), torch.ones(2), torch.tensor([1.0, 2.0]), value=0.5)
    tensor([0.5000, 1.0000])
    """
    if x.dtype == tensor1.dtype == tensor2.dtype == BOOL:
        raise not_implemented("addcmul", x.dtype)
    target = result_type(x, tensor1, tensor2)
    x, tensor1, tensor2 = promote_to(target, x, tensor1, tensor2)
    value = fitting(target, value)
    product = mul(tensor1, tensor2) if value == 1 else mul(mul(tensor1, value), tensor2)
    return in_turn(np.add(x, product), x, tensor1, tensor2)


addcmul.vjp(
    x=lambda g: g,
    tensor1=lambda g, tensor2, value: g * (tensor2 * value),
    tensor2=lambda g, tensor1, value: g * (tensor1 * value),
)


@numbers_first(3, "value")
@primitive(autocast={"cuda": "widest"}, numbers="none")
def addcdiv(x: Array, tensor1: Array, tensor2: Array, value: Any = 1) -> Array:
    """`x + value * tensor1 / tensor2`.

    Args:
        x, tensor1, tensor2: tensors of broadcastable shapes.
        value: a number.

    Raises:
        RuntimeError: both `tensor1` and `tensor2` hold integers.

    >>> import tinygrad_edu as torch
    >>> torch.addcdiv(torch.zeros(2), torch.ones(2), torch.tensor([1.0, 2.0]), value=3)
    tensor([3.0000, 1.5000])
    """
    if not (is_floating(tensor1.dtype) or is_floating(tensor2.dtype)):
        raise RuntimeError(
            "Integer division with addcdiv is not supported; use"
            " (input + value * torch.trunc(tensor1 / tensor2)) or make them floats"
        )
    x, tensor1, tensor2 = promote_to(result_type(x, tensor1, tensor2), x, tensor1, tensor2)
    scaled = tensor1 if value == 1 else mul(tensor1, value)
    return in_turn(np.add(x, np.true_divide(scaled, tensor2)), x, tensor1, tensor2)


addcdiv.vjp(
    x=lambda g: g,
    tensor1=lambda g, tensor2, value: g * (value / tensor2),
    tensor2=lambda g, tensor1, tensor2, value: -g * (value * tensor1 / (tensor2 * tensor2)),
)


@primitive
def lerp(x: Array, end: Array, weight: Array) -> Array:
    """`x + weight * (end - x)`: from `x` at weight 0 to `end` at weight 1.

    Args:
        x, end: tensors of broadcastable shapes and one dtype.
        weight: a tensor or a number.

    Raises:
        RuntimeError: the dtypes differ, or are not floats.

    >>> import tinygrad_edu as torch
    >>> torch.lerp(torch.zeros(2), torch.tensor([1.0, 2.0]), 0.25)
    tensor([0.2500, 0.5000])
    """
    if x.dtype != end.dtype:
        raise RuntimeError(f"expected dtype {x.dtype} for `end` but got dtype {end.dtype}")
    if not is_floating(x.dtype):
        raise not_implemented("lerp", x.dtype)
    way = end - x
    weight = plain(weight)
    if not hasattr(weight, "dtype"):
        y = x + weight * way if abs(weight) < 0.5 else end - way * (1 - weight)
    else:
        y = np.where(np.abs(weight) < 0.5, x + weight * way, end - way * (1 - weight))
    return in_turn(y, x, end, weight)


lerp.vjp(
    x=lambda g, weight: g * (1 - weight),
    end=lambda g, weight: g * weight,
    weight=lambda g, x, end: g * (end - x),
)
