"""One step of SGD on one parameter, in place; `optim/sgd.py` has the definition it must equal."""

from __future__ import annotations

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.blocks import blocks, constants


def sgd_(
    x: Array,
    g: Array,
    b: Array | None,
    first: bool,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> None:
    """Write the new values into `x` and, with momentum, into `b`; the arguments of `optim.sgd.sgd`.

    Args:
        b: None without momentum.
        first: `b` holds nothing yet.
    """
    mu, keep, penalty, step = constants(x, momentum, 1 - dampening, weight_decay, -lr)
    arrays = (x, g) if b is None else (x, g, b)
    for parts in blocks(*arrays, scratch=2):
        xs, gs, s, total = parts[0], parts[1], parts[-2], parts[-1]
        if weight_decay != 0:  # g + weight_decay x
            np.multiply(xs, penalty, out=s)
            gs = np.add(gs, s, out=total)
        if b is not None:
            bs = parts[2]
            if first:
                bs[...] = gs
            else:  # b = momentum b + (1 - dampening) g
                np.multiply(bs, mu, out=bs)
                fresh = np.multiply(gs, keep, out=s) if dampening != 0 else gs
                np.add(bs, fresh, out=bs)
            if nesterov:  # g + momentum b
                np.multiply(bs, mu, out=s)
                gs = np.add(gs, s, out=total)
            else:
                gs = bs
        np.multiply(gs, step, out=s)  # x -= lr g
        np.add(xs, s, out=xs)
