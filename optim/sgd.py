"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from operator import setitem

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.kernels import cuda
from tinygrad_edu.kernels.sgd import sgd_calls
from tinygrad_edu.kernels.undivided import Calls, undivided
from tinygrad_edu.optim.common import (
    check_implementation,
    check_lr,
    check_not_negative,
    number,
)
from tinygrad_edu.optim.optimizer import Group, Optimizer, Params, Rows, State
from tinygrad_edu.tensor import Tensor


def sgd(
    x: Array, g: Array, b: Array | None, lr: float, momentum: float = 0.0, dampening: float = 0.0,
    weight_decay: float = 0.0, nesterov: bool = False,
) -> tuple[Array, Array | None]:  # fmt: skip
    """The definition of a step of SGD: the new `x` and `b`, which is None before the first step.

    A step makes the calls of `kernels.sgd.sgd_calls`, which compute the same in place.

    >>> import numpy as np
    >>> x, b = sgd(np.ones(1), np.full(1, 3.0), None, 0.1, momentum=0.9)
    >>> x, b = sgd(x, np.full(1, 3.0), b, 0.1, momentum=0.9)
    >>> np.allclose(x, 1 - 0.1 * 3 - 0.1 * (0.9 * 3 + 3))
    True
    """
    if weight_decay != 0:
        g = g + weight_decay * x
    if momentum != 0:
        b = g if b is None else momentum * b + (1 - dampening) * g
        g = g + momentum * b if nesterov else b
    return x - lr * g, b


class SGD(Optimizer):
    """x <- x - lr g;  with momentum:  b <- momentum b + (1 - dampening) g,  x <- x - lr b.

    The first b is g itself.  With nesterov x moves by g + momentum b instead of b.

    Args:
        params: parameters, named parameters or groups.
        lr: learning rate, >= 0; a number or one-element tensor.
        momentum: >= 0, how much of the last b is kept.
        dampening: how much of g is left out of b.
        weight_decay: >= 0; an L2 penalty: g <- g + weight_decay x.
        nesterov: look ahead along b; needs momentum and no dampening.
        maximize: climb instead of descend.
        foreach, fused: accepted; there is one implementation.
        differentiable: not supported.

    Raises:
        ValueError: an option out of range.
        RuntimeError: `differentiable`, or `fused` together with `foreach`.

    Source: Polyak (1964), the heavy ball; nesterov: Sutskever, Martens, Dahl and Hinton, On the
    importance of initialization and momentum in deep learning (ICML 2013), equations 1 to 4, there
    with lr inside b.

    >>> import tinygrad_edu as torch
    >>> w = torch.tensor([1.0], requires_grad=True)
    >>> optimizer = torch.optim.SGD([w], lr=0.1, momentum=0.9)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (3 * w).sum().backward()
    ...     optimizer.step()
    >>> round(w.item(), 4)  # 1 - 0.1 * 3 - 0.1 * (0.9 * 3 + 3)
    0.13
    """

    def __init__(
        self, params: Params, lr: float | Tensor = 1e-3, momentum: float = 0, dampening: float = 0,
        weight_decay: float | Tensor = 0, nesterov: bool = False, *, maximize: bool = False,
        foreach: bool | None = None, differentiable: bool = False, fused: bool | None = None,
    ) -> None:  # fmt: skip
        check_lr(lr)
        check_not_negative({"momentum value": momentum, "weight_decay value": weight_decay})
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        check_implementation(foreach, differentiable, fused)
        defaults = dict(
            lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay,
            nesterov=nesterov, maximize=maximize, foreach=foreach,
            differentiable=differentiable, fused=fused,
        )  # fmt: skip
        super().__init__(params, defaults)

    def _new_state(self, x: Array, group: Group) -> State:
        return {"momentum_buffer": None} if group["momentum"] != 0 else {}

    def _row(self, x: Array, g: Array, state: State, group: Group) -> list[Array]:
        if group["momentum"] == 0:
            return [x, g]
        buffer = state.get("momentum_buffer")
        return [x, g, np.empty_like(x) if buffer is None else buffer.array]

    def _shared(self, state: State, group: Group) -> bool:
        return group["momentum"] != 0 and state.get("momentum_buffer") is None

    def _calls_together(self, rows: Rows, states: list[State], first: bool, group: Group) -> Calls:
        calls = cuda.tensors.sgd_calls(
            rows, number(group["lr"]), group["momentum"], group["dampening"],
            number(group["weight_decay"]), first, group["nesterov"], group["maximize"],
        )  # fmt: skip
        if first:
            calls += [
                (setitem, state, "momentum_buffer", wrap(row[2]))
                for row, state in zip(rows, states, strict=True)
            ]
        return calls

    def _update(self, x: Array, g: Array, state: State, group: Group) -> None:
        momentum, b, first = group["momentum"], None, False
        if momentum != 0:
            buffer = state.get("momentum_buffer")
            first = buffer is None
            b = np.empty_like(x) if buffer is None else buffer.array
        calls = sgd_calls(
            x, g, b, first, number(group["lr"]), momentum, group["dampening"],
            number(group["weight_decay"]), group["nesterov"],
        )  # fmt: skip
        if b is not None and first:
            calls.append((setitem, state, "momentum_buffer", wrap(b)))
        undivided(calls)
