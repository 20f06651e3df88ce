"""What the commonest operations become in a program: the calls of NumPy that they come to.

For given shapes and dtypes most of a forward function, or of a rule, is decided: that there are
two dimensions, a bias, one dtype.  What is left are the calls that compute, with the same results,
bit for bit.  An operation that is not here, or other shapes, are called as they are.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from tinygrad_edu.kernels.gate import gate
from tinygrad_edu.ops import activation, arithmetic, matmul

_LARGEST = 1 << 16
"""Of more elements a constant array would cost more memory than its making costs time."""


@functools.cache
def constant(value: float, shape: tuple[int, ...], dtype: Any) -> Any:
    """An array of one number, which all programs share and none writes."""
    made = np.full(shape, value, dtype)
    made.flags.writeable = False
    return made


def simple(x: Any, dtype: Any) -> bool:
    """Whether this is an array of this float dtype that lies in C order."""
    wide = type(x) is np.ndarray and x.dtype == dtype and x.dtype.kind == "f" and x.itemsize >= 4
    return bool(wide and x.ndim and x.size and x.flags.c_contiguous)


def _alike(y: Any, *values: Any) -> bool:
    return all([getattr(v, "shape", v) == y for v in values])


def _alike_and_small(y: Any, *values: Any) -> bool:
    return _alike(y, *values) and math.prod(y) <= _LARGEST


_linear, _mul, _relu = (f.primitive for f in (matmul._linear, arithmetic.mul, activation.relu))
_FORMS: dict[Any, tuple[Any, str]] = {
    _linear.forward: (
        lambda y, x, w, b: x.ndim > 1 == w.ndim - 1 and (b is None or b.shape == w.shape[:1]),
        "np.matmul({0}, {1}.T)\nnp.add({y}, {2}, out={y})",
    ),
    _linear.rules["x"]: (lambda gx, g, w: len(g) > 1 == w.ndim - 1, "np.matmul({0}, {1})"),
    _linear.rules["weight"]: (
        lambda gw, g, x, *shapes: len(gw) == 2 and len(g) > 1, "np.matmul({0}.T, {1})",
    ),
    _linear.rules["bias"]: (
        lambda gb, g, x, w, b: len(w) == 2 and len(g) > 1 and b == w[:1], "np.matmul({ones}, {0})",
    ),
    _relu.forward: (_alike_and_small, "np.maximum({0}, {zeros})"),
    _relu.rules["x"]: (_alike_and_small, "{gate}({0}, {1} != {zeros})"),  # y > 0, or nan
    _mul.rules["a"]: (_alike, "np.multiply({0}, {1})"),
    _mul.rules["b"]: (_alike, "np.multiply({0}, {1})"),
    _mul.forward: (_alike, "np.multiply({0}, {1})"),
    arithmetic._add.primitive.forward: (_alike, "np.add({0}, {1})"),
    arithmetic._sub.primitive.forward: (_alike, "np.subtract({0}, {1})"),
}  # fmt: skip
"""Of a forward function or rule whether it may be lowered, and to what.

The question is asked with the shape of the result and the arguments, of a gradient its shape.
"""


def lower(
    writer: Any, function: Any, names: Any, values: Any, shape: tuple[int, ...], dtype: Any
) -> str | None:
    """What a call comes to: an expression and, behind it, further lines; None if it stays a call.

    Args:
        names, values: of the arguments; the value of a gradient, the first of a rule, is its shape.
        shape, dtype: of the result.
    """
    fits, text = _FORMS.get(function, (None, ""))
    arrays = [v for v in values if hasattr(v, "dtype")]
    if fits is None or not all([simple(a, dtype) for a in arrays]) or not fits(shape, *values):
        return None
    if "matmul" in text:  # of rows, whatever they are arranged in
        flat = []
        for name, value in zip(names, values, strict=True):
            whole: Any = getattr(value, "shape", value) or ()
            many = len(whole) > 2
            flat.append(f"{name}.reshape{math.prod(whole[:-1]), whole[-1]}" if many else name)
        first, *more = text.split("\n")
        first += f".reshape{shape}" if len(shape) > 2 else ""
        names, text = flat, "\n".join([first, *(more if names[-1] != "None" else ())])
    rows = math.prod(values[0][:-1]) if "ones" in text else 0
    known = {"ones": (1.0, (rows,), dtype), "zeros": (0.0, shape, dtype)}
    made: Any = {k: constant(*how) for k, how in known.items() if k in text} | {"gate": gate}
    used = {k: writer.name(value, k) for k, value in made.items() if k in text}
    return text.format(*names, y="{y}", **used)
