"""One step of Adam on one parameter; `optim/adam.py` has the definition it must equal."""

from __future__ import annotations

import ctypes
from functools import partial
from typing import Any

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.axpby import addresses, blas_axpby, serves
from tinygrad_edu.kernels.blocks import Pool, blocks, flat
from tinygrad_edu.kernels.undivided import Calls

WHOLE = 1 << 18
"""Up to so many the arrays stay in the processor's last cache, and blocks would only cost calls."""


def adam_calls(
    x: Array, g: Array, m: Array, v: Array, v_max: Array | None, t: float,
    lr: float, beta1: float, beta2: float, eps: float,
    weight_decay: float = 0.0, decoupled: bool = False,
) -> Calls:  # fmt: skip
    """The calls that overwrite `x`, `m`, `v` and `v_max`; the arguments of `optim.adam.adam`.

    Seven passes over blocks that stay in the cache, three of them by the BLAS; without it, twelve,
    and one more for decoupled decay.  `v_max` takes one more, an L2 penalty two and a second
    scratch array.  The correction of `v` is moved out of the division:

        m / (sqrt(v) / c + eps)  =  c m / (sqrt(v) + c eps)        with c = sqrt(1 - beta2^t)
    """
    dtype = x.dtype if isinstance(x, np.ndarray) else None
    numbers = Numbers(dtype, (lr, beta1, beta2, eps, weight_decay), decoupled)
    numbers.set(t)
    return Passes((x, g, m, v) if v_max is None else (x, g, m, v, v_max), numbers).calls(g)


class Numbers:
    """What the passes multiply by, in places that stay from step to step, so that calls may stay.

    Args:
        dtype: of the arrays; None on a GPU, where `t` may be an array.
        options: `lr, beta1, beta2, eps, weight_decay`.
        decoupled: the decay shrinks x itself.

    Attributes:
        floats: the numbers, for the BLAS.
        arrays: the same in the form that costs NumPy least, 0-d arrays.
        kind: the BLAS's function, if it may be given them; whether a penalty is added to the
            gradient; whether x itself decays.
    """

    def __init__(self, dtype: Any, options: tuple[float, ...], decoupled: bool) -> None:
        self.dtype = dtype
        self.floats: Any = ()
        self.kind: Any = None
        if dtype is not None:
            self.array = np.empty(8, dtype)
            self.arrays: Any = [self.array[i : i + 1].reshape(()) for i in range(8)]
            kind = ctypes.c_double if dtype.itemsize == 8 else ctypes.c_float
            self.floats = [kind() for _ in self.arrays]
        self.follow(options, decoupled)

    def follow(self, options: tuple[float, ...], decoupled: bool) -> bool:
        """Take other options; False if with these the calls are others, too."""
        self.t, self.options, before = 0.0, options, self.kind
        lr, beta1, beta2, _, decay = options
        axpby = self.dtype and blas_axpby(self.dtype, lr, beta1, beta2, 1 - lr * decay)
        self.kind = axpby, decay != 0 and not decoupled, decay != 0 and decoupled
        return bool(self.kind == before)

    def set(self, t: float) -> None:
        """Make them those of step `t` = 1, 2, ..."""
        lr, beta1, beta2, eps, weight_decay = self.options
        rate, c, shrink = -lr / (1 - beta1**t), (1 - beta2**t) ** 0.5, 1 - lr * weight_decay
        if self.dtype is not None:  # torch rounds these two to the arrays' dtype
            rate, c = map(float, np.array([rate, c], self.dtype))
        values = 1 - beta1, beta2, 1 - beta2, rate * c, c * eps, shrink, weight_decay, beta1
        if self.dtype is None:
            self.arrays = values
            return
        self.t = 0.0  # an interrupt leaves no half of them behind
        self.array[:] = values
        for place, value in zip(self.floats, values, strict=True):
            place.value = value
        self.t = t


class Passes:
    """The passes over the arrays of one parameter; those behind the gradient's are made once.

    Args:
        arrays: `x, g, m, v` and perhaps `v_max`.
        pool: keeps scratch arrays for further parameters; see `blocks`.
    """

    def __init__(
        self, arrays: tuple[Array, ...], numbers: Numbers, pool: Pool | None = None
    ) -> None:
        x, self.numbers, (axpby, l2, _) = arrays[0], numbers, numbers.kind
        served = axpby is not None and serves(arrays)
        length = x.size if served and x.size <= WHOLE else 0
        self.blocks: list[tuple[tuple[Array, ...], Any, Calls]] = []
        for parts in blocks(*arrays, scratch=1 + l2, length=length, pool=pool):
            xs, _, ms, vs, *more = parts
            s, v_max = more[-1], more[0] if len(arrays) == 5 else None
            at = addresses(xs, ms, vs, s) if served else None
            block = xs, ms, vs, s, more[-2] if l2 else s
            self.blocks.append((block, at, self._behind(block, at, v_max)))

    def calls(self, g: Array) -> Calls:
        """Those of a step along `g`, which lies as the other arrays do."""
        if len(self.blocks) == 1:
            block, at, behind = self.blocks[0]
            return self._averages(g, block, at) + behind
        calls: Calls = []
        start, (along,) = 0, flat((g,)) or (g,)
        for block, at, behind in self.blocks:
            end = start + block[0].size
            calls += self._averages(along[start:end], block, at)
            calls += behind
            start = end
        return calls

    def _averages(self, g: Array, block: tuple[Array, ...], at: Any) -> Calls:
        """The calls that need the gradient: of m, and of what v is to have of it."""
        x, m, _, s, s2 = block
        calls: Calls = []
        floats, (w1, _, w2, *_, decay, _) = self.numbers.floats, self.numbers.arrays
        axpby, l2, _ = self.numbers.kind
        if l2:
            calls = [(np.multiply, x, decay, s), (np.add, g, s, s2)]
            g = s2
        if at is not None:
            along = addresses(g)[0]
            calls += [
                (axpby, g.size, floats[0], along, 1, floats[7], at[1], 1),
                (np.multiply, g, g, s),
            ]
            return calls
        calls += [
            (np.subtract, g, m, s),  # m += (1 - beta1) (g - m)
            (np.multiply, s, w1, s),
            (np.add, m, s, m),
            (np.multiply, g, w2, s),  # (1 - beta2) g g
            (np.multiply, s, g, s),
        ]
        return calls

    def _behind(self, block: tuple[Array, ...], at: Any, v_max: Array | None) -> Calls:
        """The calls behind those."""
        x, m, v, s, _ = block
        floats, (_, b2, _, step, epsilon, shrink, *_) = self.numbers.floats, self.numbers.arrays
        axpby, _, shrinks = self.numbers.kind
        calls: Calls = [(np.multiply, v, b2, v), (np.add, v, s, v)]
        if at is not None:
            at_x, _, at_v, at_s = at
            calls = [(axpby, x.size, floats[2], at_s, 1, floats[1], at_v, 1)]
        if v_max is not None:
            calls.append((partial(np.maximum, out=v_max), v_max, v))
            v = v_max
        calls += [
            (np.sqrt, v, s),  # x = shrink x + step m / (sqrt(v) + epsilon)
            (np.add, s, epsilon, s),
            (np.divide, m, s, s),
        ]
        if at is not None:
            kept = floats[5] if shrinks else 1.0
            return [*calls, (axpby, x.size, floats[3], at_s, 1, kept, at_x, 1)]
        calls += [(np.multiply, x, shrink, x)] * shrinks
        return [*calls, (np.multiply, s, step, s), (np.add, x, s, x)]
