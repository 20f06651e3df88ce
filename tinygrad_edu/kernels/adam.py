"""One step of Adam on one parameter; `optim/adam.py` has the definition it must equal."""

from __future__ import annotations

from functools import partial

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.blocks import blocks, constants
from tinygrad_edu.kernels.undivided import Calls


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

    Twelve passes over blocks that stay in the cache, with one scratch array; decoupled decay and
    `v_max` take one more each, an L2 penalty two and a second scratch array.  The correction of `v`
    is moved out of the division:

        m / (sqrt(v) / c + eps)  =  c m / (sqrt(v) + c eps)        with c = sqrt(1 - beta2^t)
    """
    c = (1 - beta2**t) ** 0.5
    l2 = weight_decay != 0 and not decoupled
    w1, b2, w2, step, epsilon, shrink, penalty = constants(
        x, 1 - beta1, beta2, 1 - beta2, -lr / (1 - beta1**t) * c, c * eps,
        1 - lr * weight_decay, weight_decay,
    )  # fmt: skip
    arrays = (x, g, m, v) if v_max is None else (x, g, m, v, v_max)
    calls: Calls = []
    for parts in blocks(*arrays, scratch=2 if l2 else 1):
        xs, gs, ms, vs, s = *parts[:4], parts[-1]
        if l2:  # g + weight_decay x, in the other scratch array
            calls += [(np.multiply, xs, penalty, s), (np.add, gs, s, parts[-2])]
            gs = parts[-2]
        elif weight_decay != 0:
            calls.append((np.multiply, xs, shrink, xs))
        calls += [
            (np.subtract, gs, ms, s),  # m += (1 - beta1) (g - m)
            (np.multiply, s, w1, s),
            (np.add, ms, s, ms),
            (np.multiply, vs, b2, vs),  # v = beta2 v + (1 - beta2) g g
            (np.multiply, gs, w2, s),
            (np.multiply, s, gs, s),
            (np.add, vs, s, vs),
        ]
        if v_max is not None:
            calls.append((partial(np.maximum, out=parts[4]), parts[4], vs))
            vs = parts[4]
        calls += [
            (np.sqrt, vs, s),  # x += step m / (sqrt(v) + epsilon)
            (np.add, s, epsilon, s),
            (np.divide, ms, s, s),
            (np.multiply, s, step, s),
            (np.add, xs, s, xs),
        ]
    return calls
