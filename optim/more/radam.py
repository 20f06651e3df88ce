"""RAdam: Adam that waits until it knows the variance of the gradient."""

from __future__ import annotations

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.undivided import descend
from tinygrad_edu.optim.common import (
    average,
    average_square,
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


class RAdam(Optimizer):
    """m, v as in Adam;  x <- x - lr m_hat r sqrt(1 - beta2^t) / (sqrt(v) + eps)  once rho_t > 5;
    before that  x <- x - lr m_hat.

    rho_t = rho - 2 t beta2^t / (1 - beta2^t) with rho = 2 / (1 - beta2) - 1, and
    r^2 = (rho_t - 4)(rho_t - 2) rho / ((rho - 4)(rho - 2) rho_t).

    Args:
        params: parameters, named parameters or groups.
        lr: learning rate, >= 0; a number or one-element tensor.
        betas: decay of the averages m and v, each in [0, 1).
        eps: >= 0, keeps the denominator from 0.
        weight_decay: >= 0; an L2 penalty: g <- g + weight_decay x.
        decoupled_weight_decay: shrink x itself instead of the penalty.
        maximize: climb instead of descend.
        foreach: accepted; there is one implementation.
        capturable: count the steps on the GPU, so that a CUDA graph can hold a step.
        differentiable: not supported.

    Raises:
        ValueError: an option out of range.
        RuntimeError: `differentiable`.

    Source: Liu et al., On the Variance of the Adaptive Learning Rate and Beyond (ICLR 2020),
    algorithm 2.

    >>> import tinygrad_edu as torch
    >>> w = torch.tensor([1.0], requires_grad=True)
    >>> optimizer = torch.optim.RAdam([w], lr=0.1)
    >>> (3 * w).sum().backward()
    >>> optimizer.step()
    >>> round(w.item(), 4)  # the first steps are those of momentum
    0.7
    """

    _averages = ("exp_avg",)

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        check_not_negative({"epsilon value": eps})
        check_betas(betas)
        check_not_negative({"weight_decay value": weight_decay})
        check_implementation(foreach, differentiable)
        defaults = dict(
            lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, maximize=maximize,
            foreach=foreach, capturable=capturable,
            decoupled_weight_decay=decoupled_weight_decay, differentiable=differentiable,
        )  # fmt: skip
        super().__init__(params, defaults)

    def _new_state(self, x: Array, group: Group) -> State:
        return {
            "step": counter(0.0, x, group["capturable"]),
            "exp_avg": zeros_like(x),
            "exp_avg_sq": zeros_like(x),
        }

    def _update(self, x: Array, g: Array, state: State, group: Group) -> None:
        t, lr, decay = counted(state["step"]) + 1, number(group["lr"]), group["weight_decay"]
        beta1, beta2 = group["betas"]
        m, v = state["exp_avg"].array, state["exp_avg_sq"].array
        if not group["decoupled_weight_decay"]:
            g = penalized(g, x, decay)
        m_new, v_new = average(m, g, 1 - beta1), average_square(v, g, beta2)
        step = m_new / (1 - beta1**t) * lr
        rho = 2 / (1 - beta2) - 1
        rho_t = rho - 2 * t * beta2**t / (1 - beta2**t)
        if not isinstance(rho_t, float):  # on a GPU, which goes both ways
            far = np.where(rho_t > 5, rho_t, 6.0)
            r = ((far - 4) * (far - 2) * rho / ((rho - 4) * (rho - 2) * far)) ** 0.5
            adapted = r * (1 - beta2**t) ** 0.5 / (np.sqrt(v_new) + group["eps"])
            step *= np.where(rho_t > 5, adapted, 1.0).astype(x.dtype)
        elif rho_t > 5:
            r = ((rho_t - 4) * (rho_t - 2) * rho / ((rho - 4) * (rho - 2) * rho_t)) ** 0.5
            step *= (1 - beta2**t) ** 0.5 / (np.sqrt(v_new) + group["eps"])
            step *= r
        shrink = 1 - lr * decay if group["decoupled_weight_decay"] else 1.0
        descend(x, [step], (m, m_new), (v, v_new), (state["step"].array, t), shrink=shrink)
