"""Stochastic gradient descent, with momentum."""

from __future__ import annotations

from collections import defaultdict
from operator import setitem

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.kernels.blocks import blocks, constants
from tinygrad_edu.kernels.cuda import tensors
from tinygrad_edu.kernels.undivided import Calls, undivided
from tinygrad_edu.optim.common import (
    check_implementation,
    check_lr,
    check_not_negative,
    number,
    together,
)
from tinygrad_edu.optim.optimizer import Group, Optimizer, Params, State
from tinygrad_edu.tensor import Tensor


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
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float | Tensor = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
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

    def _update_together(self, params: list[Tensor], group: Group) -> list[Tensor]:
        if not together(params):
            return params
        rest, rows, fresh = [], defaultdict(list), []
        for p in params:
            x, g = p.array, p.grad.array  # type: ignore[union-attr]
            state = {} if isinstance(x, np.ndarray) else self._state_of(p, group)
            row, first = [x, g], False
            if group["momentum"] != 0 and state:
                first = state["momentum_buffer"] is None
                row.append(np.empty_like(x) if first else state["momentum_buffer"].array)
            if isinstance(x, np.ndarray) or not tensors.fit(*row):
                rest.append(p)
                continue
            rows[x.dtype, x.device.id, first].append(row)
            fresh += [(state, row[2])] if first else []
            p.storage.write()
        for (*_, first), same in rows.items():
            tensors.sgd(
                same, number(group["lr"]), group["momentum"], group["dampening"],
                number(group["weight_decay"]), first, group["nesterov"], group["maximize"],
            )  # fmt: skip
        for state, buffer in fresh:  # only now do they hold numbers
            state["momentum_buffer"] = wrap(buffer)
        return rest

    def _update(self, x: Array, g: Array, state: State, group: Group) -> None:
        momentum, decay = group["momentum"], number(group["weight_decay"])
        dampening, nesterov = group["dampening"], group["nesterov"]
        arrays, first = [x, g], False
        if momentum != 0:
            first = state.get("momentum_buffer") is None
            arrays.append(np.empty_like(x) if first else state["momentum_buffer"].array)
        (step,) = constants(x, -number(group["lr"]))
        if decay != 0:
            (penalty,) = constants(x, decay)
        if momentum != 0:
            (mu,) = constants(x, momentum)
        if dampening != 0:
            (keep,) = constants(x, 1 - dampening)
        calls: Calls = []
        for xs, gs, *more in blocks(*arrays, scratch=2 if nesterov else 1):
            s = more[-1]
            if decay != 0:  # g + weight_decay x
                calls += [(np.multiply, xs, penalty, s), (np.add, gs, s, s)]
                gs = s
            if momentum != 0:
                bs, other = more[0], more[-2] if nesterov else s
                if first:
                    calls.append((setitem, bs, ..., gs))
                elif dampening != 0:  # b = momentum b + (1 - dampening) g
                    calls += [(np.multiply, bs, mu, bs), (np.multiply, gs, keep, other)]
                    calls.append((np.add, bs, other, bs))
                else:
                    calls += [(np.multiply, bs, mu, bs), (np.add, bs, gs, bs)]
                if nesterov:  # g + momentum b
                    calls += [(np.multiply, bs, mu, other), (np.add, gs, other, other)]
                gs = other if nesterov else bs
            calls += [(np.multiply, gs, step, s), (np.add, xs, s, xs)]  # x -= lr g
        if momentum != 0 and first:
            calls.append((setitem, state, "momentum_buffer", wrap(arrays[2])))
        undivided(calls)
