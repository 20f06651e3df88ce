"""RMSprop: the gradient divided by the root of its average square."""

from __future__ import annotations

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.undivided import descend
from tinygrad_edu.optim.common import (
    average,
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


class RMSprop(Optimizer):
    """v <- alpha v + (1 - alpha) g^2;  x <- x - lr g / (sqrt(v) + eps).

    Centered: v less the square of the average gradient, an estimate of the variance, stands under
    the root.  With momentum: b <- momentum b + g / (sqrt(v) + eps), x <- x - lr b.

    Args:
        params: parameters, named parameters or groups.
        lr: learning rate, >= 0; a number or one-element tensor.
        alpha: >= 0, decay of the average.
        eps: >= 0, keeps the denominator from 0.
        weight_decay: >= 0; an L2 penalty: g <- g + weight_decay x.
        momentum: >= 0.
        centered: divide by the standard deviation of the gradient.
        maximize: climb instead of descend.
        foreach: accepted; there is one implementation.
        capturable: count the steps on the GPU, so that a CUDA graph can hold a step.
        differentiable: not supported.

    Raises:
        ValueError: an option out of range.
        RuntimeError: `differentiable`.

    Source: Tieleman and Hinton, Neural Networks for Machine Learning (2012), lecture 6e; centered:
    Graves, Generating Sequences With Recurrent Neural Networks (2013), equations 38 to 45.

    >>> import tinygrad_edu as torch
    >>> w = torch.tensor([1.0], requires_grad=True)
    >>> optimizer = torch.optim.RMSprop([w], lr=0.1, alpha=0.75)
    >>> (3 * w).sum().backward()
    >>> optimizer.step()
    >>> round(w.item(), 4)  # v is g^2 / 4
    0.8
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        check_not_negative(
            {
                "epsilon value": eps,
                "momentum value": momentum,
                "weight_decay value": weight_decay,
                "alpha value": alpha,
            }
        )
        check_implementation(foreach, differentiable)
        defaults = dict(
            lr=lr, momentum=momentum, alpha=alpha, eps=eps, centered=centered,
            weight_decay=weight_decay, capturable=capturable, foreach=foreach,
            maximize=maximize, differentiable=differentiable,
        )  # fmt: skip
        super().__init__(params, defaults)

    def _new_state(self, x: Array, group: Group) -> State:
        state = {"step": counter(0.0, x, group["capturable"]), "square_avg": zeros_like(x)}
        if group["momentum"] > 0:
            state["momentum_buffer"] = zeros_like(x)
        if group["centered"]:
            state["grad_avg"] = zeros_like(x)
        return state

    def _update(self, x: Array, g: Array, state: State, group: Group) -> None:
        t = counted(state["step"]) + 1
        lr, alpha, v = number(group["lr"]), group["alpha"], state["square_avg"].array
        g = penalized(g, x, group["weight_decay"])
        variance = v_new = average_square(v, g, alpha)
        new = [(v, v_new), (state["step"].array, t)]
        if group["centered"]:
            mean = state["grad_avg"].array
            mean_new = average(mean, g, 1 - alpha)
            variance = v_new - mean_new * mean_new
            new.append((mean, mean_new))
        scale = np.sqrt(variance) + group["eps"]
        if group["momentum"] > 0:
            buffer = state["momentum_buffer"].array
            buffer_new = buffer * group["momentum"]
            buffer_new += g / scale
            new.append((buffer, buffer_new))
            descend(x, [lr * buffer_new], *new)
        else:
            descend(x, [lr * g / scale], *new)
