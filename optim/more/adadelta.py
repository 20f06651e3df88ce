"""Adadelta: steps as large as recent steps, relative to recent gradients; no rate to choose."""

from __future__ import annotations

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.undivided import descend
from tinygrad_edu.optim.common import (
    average_square,
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


class Adadelta(Optimizer):
    """v <- rho v + (1 - rho) g^2;  d = sqrt(u + eps) / sqrt(v + eps) g;
    u <- rho u + (1 - rho) d^2;  x <- x - lr d.

    Args:
        params: parameters, named parameters or groups.
        lr: learning rate, >= 0; a number or one-element tensor.
        rho: decay of the averages, in [0, 1].
        eps: >= 0, added under both roots.
        weight_decay: >= 0; an L2 penalty: g <- g + weight_decay x.
        maximize: climb instead of descend.
        foreach: accepted; there is one implementation.
        capturable: count the steps on the GPU, so that a CUDA graph can hold a step.
        differentiable: not supported.

    Raises:
        ValueError: an option out of range.
        RuntimeError: `differentiable`.

    Source: Zeiler, ADADELTA: An Adaptive Learning Rate Method (2012), algorithm 1.

    >>> import tinygrad_edu as torch
    >>> w = torch.tensor([1.0], requires_grad=True)
    >>> optimizer = torch.optim.Adadelta([w], eps=0.01)
    >>> (3 * w).sum().backward()
    >>> optimizer.step()
    >>> w.item() < 1
    True
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        check_not_negative({"epsilon value": eps, "weight_decay value": weight_decay})
        check_implementation(foreach, differentiable)
        defaults = dict(
            lr=lr, rho=rho, eps=eps, weight_decay=weight_decay, maximize=maximize,
            capturable=capturable, foreach=foreach, differentiable=differentiable,
        )  # fmt: skip
        super().__init__(params, defaults)

    def _new_state(self, x: Array, group: Group) -> State:
        return {
            "step": counter(0.0, x, group["capturable"]),
            "square_avg": zeros_like(x),
            "acc_delta": zeros_like(x),
        }

    def _update(self, x: Array, g: Array, state: State, group: Group) -> None:
        t = counted(state["step"]) + 1
        rho, eps = group["rho"], group["eps"]
        v, u = state["square_avg"].array, state["acc_delta"].array
        g = penalized(g, x, group["weight_decay"])
        v_new = average_square(v, g, rho)
        d = np.sqrt(u + eps) / np.sqrt(v_new + eps) * g
        u_new = average_square(u, d, rho)
        d *= number(group["lr"])
        descend(x, [d], (v, v_new), (u, u_new), (state["step"].array, t))
