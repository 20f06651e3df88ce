"""One step of Adam on one parameter; `optim/adam.py` has the definition it must equal."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.axpby import addresses, blas_axpby, serves
from tinygrad_edu.kernels.blocks import blocks, constants
from tinygrad_edu.kernels.undivided import Calls

WHOLE = 1 << 18
"""Up to so many the arrays stay in the processor's last cache, and blocks would only cost calls."""


def adam_calls(
    x: Array,
    g: Array,
    m: Array,
    v: Array,
    v_max: Array | None,
    t: float,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float = 0.0,
    decoupled: bool = False,
) -> Calls:
    """The calls that overwrite `x`, `m`, `v` and `v_max`; the arguments of `optim.adam.adam`.

    Seven passes over blocks that stay in the cache, three of them by the BLAS; without it, twelve,
    and one more for decoupled decay.  `v_max` takes one more, an L2 penalty two and a second
    scratch array.  The correction of `v` is moved out of the division:

        m / (sqrt(v) / c + eps)  =  c m / (sqrt(v) + c eps)        with c = sqrt(1 - beta2^t)
    """
    l2 = weight_decay != 0 and not decoupled
    given = t, lr, beta1, beta2, eps, weight_decay
    known = isinstance(x, np.ndarray)  # on a GPU `t` may be an array
    values, numbers, axpby = known_numbers(x.dtype, *given) if known else _numbers(None, *given)
    arrays = (x, g, m, v) if v_max is None else (x, g, m, v, v_max)
    if not (axpby is not None and serves(arrays)):
        axpby = None
    length = x.size if axpby is not None and x.size <= WHOLE else 0
    calls: Calls = []
    for parts in blocks(*arrays, scratch=2 if l2 else 1, length=length):
        xs, gs, ms, vs, s = *parts[:4], parts[-1]
        if l2:  # g + weight_decay x, in the other scratch array
            calls += [(np.multiply, xs, numbers[6], s), (np.add, gs, s, parts[-2])]
            gs = parts[-2]
        block = (xs, gs, ms, vs, s)
        at = None if axpby is None else addresses(*block)
        largest = None if v_max is None else parts[4]
        calls += passes(block, at, (values, numbers, axpby), weight_decay != 0 and not l2, largest)
    return calls


def passes(
    block: tuple[Array, ...], at: list[Any] | None, known: Any, shrinks: bool,
    v_max: Array | None = None,
) -> Calls:  # fmt: skip
    """The calls on one block of arrays `x, g, m, v` and scratch.

    Args:
        at: their addresses, if the BLAS may be given them.
        known: see `_numbers`.
        shrinks: x itself decays.
    """
    xs, gs, ms, vs, s = block
    values, (w1, b2, w2, step, epsilon, shrink, *_), axpby = known
    calls: Calls
    if at is not None:
        n, (at_x, at_g, at_m, at_v, at_s) = xs.size, at
        calls = [
            (axpby, n, values[0], at_g, 1, values[7], at_m, 1),
            (np.multiply, gs, gs, s),
            (axpby, n, values[2], at_s, 1, values[1], at_v, 1),
        ]
    else:
        calls = [
            (np.subtract, gs, ms, s),  # m += (1 - beta1) (g - m)
            (np.multiply, s, w1, s),
            (np.add, ms, s, ms),
            (np.multiply, vs, b2, vs),  # v = beta2 v + (1 - beta2) g g
            (np.multiply, gs, w2, s),
            (np.multiply, s, gs, s),
            (np.add, vs, s, vs),
        ]
    if v_max is not None:
        calls.append((partial(np.maximum, out=v_max), v_max, vs))
        vs = v_max
    calls += [
        (np.sqrt, vs, s),  # x = shrink x + step m / (sqrt(v) + epsilon)
        (np.add, s, epsilon, s),
        (np.divide, ms, s, s),
    ]
    if at is not None:
        calls.append((axpby, n, values[3], at_s, 1, values[5] if shrinks else 1.0, at_x, 1))
        return calls
    if shrinks:
        calls.append((np.multiply, xs, shrink, xs))
    calls += [(np.multiply, s, step, s), (np.add, xs, s, xs)]
    return calls


def _numbers(
    dtype: Any, t: float, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float
) -> tuple[tuple[float, ...], tuple[Any, ...], Any]:
    """What the passes of step `t` multiply by, the same for all parameters of a dtype.

    As floats; in the form that costs NumPy least; and the BLAS's function that may take them.
    """
    c = (1 - beta2**t) ** 0.5
    step, shrink = -lr / (1 - beta1**t) * c, 1 - lr * weight_decay
    values = 1 - beta1, beta2, 1 - beta2, step, c * eps, shrink, weight_decay, beta1
    if dtype is None:
        return values, values, None
    axpby = blas_axpby(dtype, lr, beta1, beta2, shrink)
    return values, constants(np.empty(0, dtype), *values), axpby


known_numbers = lru_cache(maxsize=16)(_numbers)
