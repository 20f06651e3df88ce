"""One step of SGD on one parameter; `optim/sgd.py` has the definition it must equal."""

from __future__ import annotations

from operator import setitem

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.axpby import addresses, blas_axpby, serves
from tinygrad_edu.kernels.blocks import blocks, constants
from tinygrad_edu.kernels.undivided import Calls


def sgd_calls(
    x: Array, g: Array, b: Array | None, first: bool, lr: float, momentum: float = 0.0,
    dampening: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False,
) -> Calls:  # fmt: skip
    """The calls that overwrite `x` and, with momentum, `b`; the arguments of `optim.sgd.sgd`.

    Args:
        b: None without momentum.
        first: `b` holds nothing yet.
    """
    step, penalty, mu, keep = constants(x, -lr, weight_decay, momentum, 1 - dampening)
    calls: Calls = []
    arrays = (x, g) if b is None else (x, g, b)
    axpby = None
    if isinstance(x, np.ndarray) and serves(arrays):
        axpby = blas_axpby(x.dtype, lr, *([] if b is None else [momentum, 1 - dampening]))
    for xs, gs, *more in blocks(*arrays, scratch=2 if nesterov else 1):
        s = more[-1]
        if weight_decay != 0:  # g + weight_decay x
            calls += [(np.multiply, xs, penalty, s), (np.add, gs, s, s)]
            gs = s
        if b is not None:
            bs, other = more[0], more[-2] if nesterov else s
            if first:
                calls.append((setitem, bs, ..., gs))
            elif axpby is not None:  # b = momentum b + (1 - dampening) g
                at_g, at_b = addresses(gs, bs)
                calls.append((axpby, xs.size, 1 - dampening, at_g, 1, momentum, at_b, 1))
            elif dampening != 0:
                calls += [(np.multiply, bs, mu, bs), (np.multiply, gs, keep, other)]
                calls.append((np.add, bs, other, bs))
            else:
                calls += [(np.multiply, bs, mu, bs), (np.add, bs, gs, bs)]
            if nesterov:  # g + momentum b
                calls += [(np.multiply, bs, mu, other), (np.add, gs, other, other)]
            gs = other if nesterov else bs
        if axpby is not None:  # x -= lr g
            at_g, at_x = addresses(gs, xs)
            calls.append((axpby, xs.size, -lr, at_g, 1, 1.0, at_x, 1))
        else:
            calls += [(np.multiply, gs, step, s), (np.add, xs, s, xs)]
    return calls
