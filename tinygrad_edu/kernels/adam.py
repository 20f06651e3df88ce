"""One step of Adam on one parameter, in place; `optim/adam.py` has the definition it must equal."""

from __future__ import annotations

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.blocks import blocks, constants


def adam_(
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
) -> None:
    """Write the new values into `x`, `m`, `v` and `v_max`; the arguments of `optim.adam.adam`.

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
    for parts in blocks(*arrays, scratch=2 if l2 else 1):
        xs, gs, ms, vs, s = *parts[:4], parts[-1]
        if l2:  # g + weight_decay x, in the other scratch array
            np.multiply(xs, penalty, out=s)
            gs = np.add(gs, s, out=parts[-2])
        elif weight_decay != 0:
            np.multiply(xs, shrink, out=xs)
        np.subtract(gs, ms, out=s)  # m += (1 - beta1) (g - m)
        np.multiply(s, w1, out=s)
        np.add(ms, s, out=ms)
        np.multiply(vs, b2, out=vs)  # v = beta2 v + (1 - beta2) g g
        np.multiply(gs, w2, out=s)
        np.multiply(s, gs, out=s)
        np.add(vs, s, out=vs)
        if v_max is not None:
            vs = np.maximum(parts[4], vs, out=parts[4])
        np.sqrt(vs, out=s)  # x += step m / (sqrt(v) + epsilon)
        np.add(s, epsilon, out=s)
        np.divide(ms, s, out=s)
        np.multiply(s, step, out=s)
        np.add(xs, s, out=xs)
