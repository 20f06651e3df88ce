"""Adafactor: the average of squared gradients of a matrix, kept as a row and a column."""

from __future__ import annotations

import math

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.kernels.undivided import descend
from tinygrad_edu.optim.common import (
    average,
    check_implementation,
    counted,
    counter,
    number,
    zeros_like,
)
from tinygrad_edu.optim.optimizer import Group, Optimizer, Params, State
from tinygrad_edu.tensor import Tensor


class Adafactor(Optimizer):
    """R, C <- averages of the rows' and columns' mean g²;  V = R C / mean(R);
    u = g / sqrt(V);  x <- x (1 - lr weight_decay) - step u / max(1, rms(u) / d),
    step = max(eps2, rms(x)) min(lr, 1 / sqrt(t)), the averages' weight being t^beta2_decay.

    Args:
        params: parameters, named parameters or groups; of vectors V itself is kept.
        lr: bound of the relative step, >= 0; a number or one-element tensor.
        beta2_decay: <= 0, how fast the weight of a new gradient falls.
        eps: eps1, the least root of V (None: the dtype's own), and eps2, the least rms(x) to count.
        d: >= 1, the rms of u beyond which it is shrunk.
        weight_decay: >= 0, shrinks x itself.
        foreach: accepted; there is one implementation.
        maximize: climb instead of descend.

    Raises:
        ValueError: an option out of range.

    Source: Shazeer and Stern, "Adafactor: Adaptive Learning Rates with Sublinear Memory", 2018.

    >>> import tinygrad_edu as torch
    >>> w = torch.ones(2, 3, requires_grad=True)
    >>> optimizer = torch.optim.Adafactor([w], lr=0.1)
    >>> w.sum().backward()
    >>> optimizer.step()
    >>> [tuple(optimizer.state[w][name].shape) for name in ("row_var", "col_var")]
    [(2, 1), (1, 3)]
    """

    _averages = ("row_var", "variance")

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        if isinstance(lr, Tensor) and lr.array.size != 1:
            raise ValueError("Tensor lr must be 1-element")
        least = {
            "Learning rate": (lr, 0), "epsilon1": (0 if eps[0] is None else eps[0], 0),
            "epsilon2": (eps[1], 0), "Clipping threshold d": (d, 1),
            "weight_decay": (weight_decay, 0),
        }  # fmt: skip
        for name, (value, bound) in least.items():
            if not bound <= value:
                raise ValueError(f"{name} should be >= {bound} but is: {value}")
        if not beta2_decay <= 0.0:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        check_implementation(foreach, False)
        defaults = dict(
            lr=lr, beta2_decay=beta2_decay, eps=eps, d=d, weight_decay=weight_decay,
            foreach=foreach, maximize=maximize,
        )  # fmt: skip
        super().__init__(params, defaults)

    def _new_state(self, x: Array, group: Group) -> State:
        if x.ndim < 2:
            return {"step": counter(), "variance": zeros_like(x)}
        return {
            "step": counter(),
            "row_var": wrap(np.zeros_like(x[..., :1])),
            "col_var": wrap(np.zeros_like(x[..., :1, :])),
        }

    def _update(self, x: Array, g: Array, state: State, group: Group) -> None:
        t, lr, (eps1, eps2) = counted(state["step"]) + 1, number(group["lr"]), group["eps"]
        eps1 = float(np.finfo(x.dtype).eps) if eps1 is None else eps1
        weight = t ** group["beta2_decay"]
        step = max(eps2, _rms(x)) * min(lr, 1 / math.sqrt(t))
        squares = g * g
        if x.ndim < 2:
            v = average(state["variance"].array, squares, weight)
            averages = [(state["variance"].array, v)]
        else:
            old_rows, old_columns = state["row_var"].array, state["col_var"].array
            rows = average(old_rows, squares.sum(-1, keepdims=True) / g.shape[-1], weight)
            columns = average(old_columns, squares.sum(-2, keepdims=True) / g.shape[-2], weight)
            mean = rows.sum(-2, keepdims=True) / rows.shape[-2]
            v = rows @ columns / np.maximum(mean, eps1)
            averages = [(old_rows, rows), (old_columns, columns)]
        u = g / np.sqrt(np.maximum(v, eps1 * eps1))
        u *= step / max(1.0, _rms(u) / group["d"])
        shrink = 1 - lr * group["weight_decay"]
        descend(x, [u], *averages, (state["step"].array, t), shrink=shrink)


def _rms(x: Array) -> float:
    """The root of the mean square."""
    return math.sqrt(float(np.square(x).sum()) / x.size) if x.size else math.nan
