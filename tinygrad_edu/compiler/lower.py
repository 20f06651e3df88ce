"""What the commonest operations become in a program: the calls of NumPy that they come to.

For given shapes and dtypes most of a forward function is decided: that there are two dimensions, a
bias, one dtype.  What is left are the calls that compute, with the same results, bit for bit.  An
operation that is not here, or other shapes, are called as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_edu import random
from tinygrad_edu.kernels.distributions import bernoulli
from tinygrad_edu.kernels.gate import gate
from tinygrad_edu.kernels.memory_order import CHUNK
from tinygrad_edu.ops import activation, arithmetic, matmul

_CONSTANTS: dict[Any, Any] = {}
_LARGEST = 1 << 16
"""Of more elements a constant array would cost more memory than its making costs time."""


def constant(value: float, shape: tuple[int, ...], dtype: Any) -> Any:
    """An array of one number, which all programs share and none writes."""
    key = value, shape, dtype
    if key not in _CONSTANTS:
        _CONSTANTS[key] = np.full(shape, value, dtype)
        _CONSTANTS[key].flags.writeable = False
    return _CONSTANTS[key]


def simple(*values: Any) -> bool:
    """Whether these are arrays of one float dtype that lie in C order."""
    return all([
        type(v) is np.ndarray and v.dtype == values[0].dtype and v.dtype.kind == "f"
        and v.itemsize >= 4 and v.ndim and v.size and v.flags.c_contiguous for v in values
    ])  # fmt: skip


def _rows(name: str, shape: tuple[int, ...]) -> str:
    """An array as a matrix of all its rows, as an expression."""
    return name if len(shape) == 2 else f"{name}.reshape{math.prod(shape[:-1]), shape[-1]}"


def _fits_linear(x: Any, w: Any, b: Any) -> bool:
    if x.ndim < 2 or w.ndim != 2 or not simple(x, w):
        return False
    return b is None or (simple(x, b) and b.shape == w.shape[:1])


# Forward: `(writer, y, names, values)` gives the lines that compute `y`, or None.


def _linear(writer: Any, y: str, names: Any, values: Any) -> list[str] | None:
    x, w, b = values
    if not _fits_linear(x, w, b):
        return None
    lines = [f"{y} = np.matmul({_rows(names[0], x.shape)}, {names[1]}.T)"]
    lines += [] if b is None else [f"np.add({y}, {names[2]}, out={y})"]
    return lines + ([f"{y} = {y}.reshape{(*x.shape[:-1], len(w))}"] if x.ndim > 2 else [])


def _relu(writer: Any, y: str, names: Any, values: Any) -> list[str] | None:
    (x,) = values
    if not simple(x) or x.size > _LARGEST:
        return None
    zeros = writer.name(constant(0.0, x.shape, x.dtype), "zeros")
    return [f"{y} = np.maximum({names[0]}, {zeros})"]


def _elementwise(function: str) -> Callable[..., list[str] | None]:
    def lines(writer: Any, y: str, names: Any, values: Any) -> list[str] | None:
        if not simple(*values) or values[0].shape != values[1].shape:
            return None
        return [f"{y} = np.{function}({names[0]}, {names[1]})"]

    return lines


FORWARD: dict[Any, Callable[..., list[str] | None]] = {
    matmul._linear.primitive.forward: _linear,
    activation.relu.primitive.forward: _relu,
    arithmetic._add.primitive.forward: _elementwise("add"),
    arithmetic._sub.primitive.forward: _elementwise("subtract"),
    arithmetic.mul.primitive.forward: _elementwise("multiply"),
}


def lower_noise(writer: Any, like: Any, p: float) -> str | None:
    """Dropout's noise of the default generator, as an expression."""
    if not simple(like) or like.size > CHUNK or not 0 < p < 1:
        return None
    wide = like.dtype.type
    stream = writer.name(random.default_generator, "stream")
    keep = f"{writer.name(bernoulli, 'bernoulli')}({stream}, {like.size}, {1 - p!r})"
    scale = writer.name(wide(1) / wide(1 - p), "scale")
    return f"np.multiply({keep}.reshape{like.shape}, {scale}, dtype={writer.name(like.dtype, 't')})"


# Backward: `(writer, g, names, values, node, edge)` gives a rule's result, or None.
# `names` and `values` are what the rule is given beside `g`; a shape stands for itself.


def _linear_x(writer: Any, g: str, names: Any, values: Any, node: Any, edge: Any) -> str | None:
    (w,) = values
    if not simple(w) or w.ndim != 2 or len(node.shape) < 2:
        return None
    product = f"np.matmul({_rows(g, node.shape)}, {names[0]})"
    whole = (*node.shape[:-1], w.shape[1])
    return product if len(node.shape) == 2 else f"{product}.reshape{whole}"


def _linear_weight(
    writer: Any, g: str, names: Any, values: Any, node: Any, edge: Any
) -> str | None:
    x, shape, *_ = values
    if not simple(x) or len(shape) != 2 or x.ndim < 2:
        return None
    return f"np.matmul({_rows(g, node.shape)}.T, {_rows(names[0], x.shape)})"


def _linear_bias(writer: Any, g: str, names: Any, values: Any, node: Any, edge: Any) -> str | None:
    x_shape, shape, bias_shape = values
    if len(shape) != 2 or len(x_shape) < 2 or bias_shape != shape[:1]:
        return None
    ones = constant(1.0, (math.prod(node.shape[:-1]),), node.dtype)
    return f"np.matmul({writer.name(ones, 'ones')}, {_rows(g, node.shape)})"


def _times(writer: Any, g: str, names: Any, values: Any, node: Any, edge: Any) -> str | None:
    (other,) = values
    fits = simple(other) and other.shape == node.shape == edge.shape
    return f"np.multiply({g}, {names[0]})" if fits else None


def _relu_x(writer: Any, g: str, names: Any, values: Any, node: Any, edge: Any) -> str | None:
    (y,) = values
    if not simple(y) or y.size > _LARGEST:
        return None
    zeros = writer.name(constant(0.0, y.shape, y.dtype), "zeros")
    return f"{writer.name(gate, 'gate')}({g}, {names[0]} != {zeros})"  # y > 0, or nan


BACKWARD: dict[Any, Callable[..., str | None]] = {
    matmul._linear.primitive.rules["x"]: _linear_x,
    matmul._linear.primitive.rules["weight"]: _linear_weight,
    matmul._linear.primitive.rules["bias"]: _linear_bias,
    activation.relu.primitive.rules["x"]: _relu_x,
    arithmetic.mul.primitive.rules["a"]: _times,
    arithmetic.mul.primitive.rules["b"]: _times,
}
