"""NAdam: Adam that looks one step ahead along its momentum."""

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


class NAdam(Optimizer):
    """m, v as in Adam;  mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2);
    x <- x - lr ((1 - mu_t) g / (1 - M_t) + mu_t+1 m / (1 - M_t+1)) / (sqrt(v_hat) + eps),
    M_t = mu_1 mu_2 ... mu_t.

    Args:
        params: parameters, named parameters or groups.
        lr: learning rate, >= 0; a number or one-element tensor.
        betas: decay of the averages m and v, each in [0, 1).
        eps: >= 0, keeps the denominator from 0.
        weight_decay: >= 0; an L2 penalty: g <- g + weight_decay x.
        momentum_decay: >= 0, how fast mu_t approaches beta1.
        decoupled_weight_decay: shrink x itself instead of the penalty.
        maximize: climb instead of descend.
        foreach: accepted; there is one implementation.
        capturable: count the steps on the GPU, so that a CUDA graph can hold a step.
        differentiable: not supported.

    Raises:
        ValueError: an option out of range.
        RuntimeError: `differentiable`.

    Source: Dozat, Incorporating Nesterov Momentum into Adam (ICLR workshop 2016), algorithm 2.

    >>> import tinygrad_edu as torch
    >>> w = torch.tensor([1.0], requires_grad=True)
    >>> optimizer = torch.optim.NAdam([w], lr=0.1)
    >>> (3 * w).sum().backward()
    >>> optimizer.step()
    >>> w.item() < 1
    True
    """

    _averages = ("exp_avg",)

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
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
        check_not_negative(
            {"weight_decay value": weight_decay, "momentum_decay value": momentum_decay}
        )
        check_implementation(foreach, differentiable)
        defaults = dict(
            lr=lr, betas=betas, eps=eps, weight_decay=weight_decay,
            momentum_decay=momentum_decay, decoupled_weight_decay=decoupled_weight_decay,
            maximize=maximize, foreach=foreach, capturable=capturable,
            differentiable=differentiable,
        )  # fmt: skip
        super().__init__(params, defaults)

    def _new_state(self, x: Array, group: Group) -> State:
        return {
            "step": counter(0.0, x, group["capturable"]),
            "mu_product": counter(1.0, x, group["capturable"]),
            "exp_avg": zeros_like(x),
            "exp_avg_sq": zeros_like(x),
        }

    def _update(self, x: Array, g: Array, state: State, group: Group) -> None:
        t, lr, decay = counted(state["step"]) + 1, number(group["lr"]), group["weight_decay"]
        beta1, beta2 = group["betas"]
        m, v = state["exp_avg"].array, state["exp_avg_sq"].array
        if not group["decoupled_weight_decay"]:
            g = penalized(g, x, decay)
        mu, mu_next = (
            beta1 * (1.0 - 0.5 * 0.96 ** (s * group["momentum_decay"])) for s in (t, t + 1)
        )
        products = state["mu_product"].array * mu  # rounded to the counter's dtype
        m_new, v_new = average(m, g, 1 - beta1), average_square(v, g, beta2)
        scale = np.sqrt(v_new / (1 - beta2**t)) + group["eps"]
        product = float(products) if isinstance(t, float) else products
        by_g = lr * (1.0 - mu) / (1.0 - product) * g / scale
        by_m = lr * mu_next / (1.0 - product * mu_next) * m_new / scale
        shrink = 1 - lr * decay if group["decoupled_weight_decay"] else 1.0
        counters = (state["step"].array, t), (state["mu_product"].array, products)
        descend(x, [by_g, by_m], (m, m_new), (v, v_new), *counters, shrink=shrink)
