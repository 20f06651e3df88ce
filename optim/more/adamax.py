"""Adamax: Adam with the largest recent gradient in place of the root of the average square."""

from __future__ import annotations

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.undivided import descend
from tinygrad_edu.optim.common import (
    average,
    check_betas,
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


class Adamax(Optimizer):
    """m <- beta1 m + (1 - beta1) g;  u <- max(beta2 u, |g| + eps);
    x <- x - lr / (1 - beta1^t) m / u.

    Args:
        params: parameters, named parameters or groups.
        lr: learning rate, >= 0; a number or one-element tensor.
        betas: decay of m and u, each in [0, 1).
        eps: >= 0, keeps u from 0.
        weight_decay: >= 0; an L2 penalty: g <- g + weight_decay x.
        maximize: climb instead of descend.
        foreach: accepted; there is one implementation.
        capturable: count the steps on the GPU, so that a CUDA graph can hold a step.
        differentiable: not supported.

    Raises:
        ValueError: an option out of range.
        RuntimeError: `differentiable`.

    Source: Kingma and Ba, Adam (ICLR 2015), algorithm 2, there without eps.

    >>> import tinygrad_edu as torch
    >>> w = torch.tensor([1.0], requires_grad=True)
    >>> optimizer = torch.optim.Adamax([w], lr=0.1)
    >>> (3 * w).sum().backward()
    >>> optimizer.step()
    >>> round(w.item(), 4)
    0.9
    """

    _averages = ("exp_avg",)

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_lr(lr)
        check_not_negative({"epsilon value": eps})
        check_betas(betas)
        check_not_negative({"weight_decay value": weight_decay})
        check_implementation(foreach, differentiable)
        defaults = dict(
            lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, foreach=foreach,
            maximize=maximize, differentiable=differentiable, capturable=capturable,
        )  # fmt: skip
        super().__init__(params, defaults)

    def _new_state(self, x: Array, group: Group) -> State:
        return {
            "step": counter(0.0, x, group["capturable"]),
            "exp_avg": zeros_like(x),
            "exp_inf": zeros_like(x),
        }

    def _update(self, x: Array, g: Array, state: State, group: Group) -> None:
        t = counted(state["step"]) + 1
        beta1, beta2 = group["betas"]
        m, u = state["exp_avg"].array, state["exp_inf"].array
        g = penalized(g, x, group["weight_decay"])
        m_new = average(m, g, 1 - beta1)
        u_new = np.maximum(u * beta2, np.abs(g) + group["eps"])
        d = number(group["lr"]) / (1 - beta1**t) * m_new / u_new
        descend(x, [d], (m, m_new), (u, u_new), (state["step"].array, t))
