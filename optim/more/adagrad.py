"""Adagrad: each weight divided by the root of the sum of its squared gradients."""

from __future__ import annotations

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.undivided import descend
from tinygrad_edu.optim.common import (
    check_implementation,
    check_lr,
    check_not_negative,
    counted,
    counter,
    number,
    penalized,
    zeros_like,
)
from tinygrad_edu.optim.optimizer import Group, Optimizer, Params, State
from tinygrad_edu.tensor import Tensor


class Adagrad(Optimizer):
    """s <- s + g^2;  x <- x - lr_t g / (sqrt(s) + eps),  lr_t = lr / (1 + (t - 1) lr_decay).

    Args:
        params: parameters, named parameters or groups.
        lr: learning rate, >= 0; a number or one-element tensor.
        lr_decay: >= 0.
        weight_decay: >= 0; an L2 penalty: g <- g + weight_decay x.
        initial_accumulator_value: >= 0, the first s.
        eps: >= 0, keeps the denominator from 0.
        maximize: climb instead of descend.
        foreach, fused: accepted; there is one implementation.
        differentiable: not supported.

    Raises:
        ValueError: an option out of range.
        RuntimeError: `differentiable`, or `fused` together with `foreach`.

    Source: Duchi, Hazan and Singer, Adaptive Subgradient Methods (JMLR 2011), figure 1 with
    diagonal matrices.

    >>> import tinygrad_edu as torch
    >>> w = torch.tensor([1.0], requires_grad=True)
    >>> optimizer = torch.optim.Adagrad([w], lr=0.1)
    >>> (3 * w).sum().backward()
    >>> optimizer.step()
    >>> round(w.item(), 4)  # g / sqrt(g^2) is 1
    0.9
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_lr(lr)
        check_not_negative(
            {
                "lr_decay value": lr_decay,
                "weight_decay value": weight_decay,
                "initial_accumulator_value value": initial_accumulator_value,
                "epsilon value": eps,
            }
        )
        check_implementation(foreach, differentiable, fused)
        defaults = dict(
            lr=lr, lr_decay=lr_decay, eps=eps, weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value, foreach=foreach,
            maximize=maximize, differentiable=differentiable, fused=fused,
        )  # fmt: skip
        super().__init__(params, defaults)

    def _new_state(self, x: Array, group: Group) -> State:
        total = zeros_like(x)
        total.array.fill(group["initial_accumulator_value"])
        return {"step": counter(), "sum": total}

    def _update(self, x: Array, g: Array, state: State, group: Group) -> None:
        total = state["sum"].array
        t = counted(state["step"]) + 1
        lr = number(group["lr"]) / (1 + (t - 1) * group["lr_decay"])
        g = penalized(g, x, group["weight_decay"])
        total_new = total + g * g
        d = lr * g / (np.sqrt(total_new) + group["eps"])
        descend(x, [d], (total, total_new), (state["step"].array, t))
