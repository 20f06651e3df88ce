"""Averaged SGD: beside the weights, the average of all weights since a time t0."""

from __future__ import annotations

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.undivided import write
from tinygrad_edu.optim.common import (
    average,
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


class ASGD(Optimizer):
    """x <- x (1 - lambd eta) - eta g;  ax <- ax + mu (x - ax);
    eta = lr / (1 + lambd lr t)^alpha,  mu = 1 / max(1, t - t0).

    The average is `optimizer.state[p]["ax"]`; the parameter itself is x.

    Args:
        params: parameters, named parameters or groups.
        lr: learning rate, >= 0; a number or one-element tensor.
        lambd: decay.
        alpha: power of the decay of eta.
        t0: the step after which the average begins.
        weight_decay: >= 0; an L2 penalty: g <- g + weight_decay x.
        maximize: climb instead of descend.
        foreach: accepted; there is one implementation.
        capturable: count the steps on the GPU, so that a CUDA graph can hold a step.
        differentiable: not supported.

    Raises:
        ValueError: an option out of range.
        RuntimeError: `differentiable`.

    Source: Polyak and Juditsky, Acceleration of Stochastic Approximation by Averaging (1992); the
    schedule of eta: Bottou, Large-Scale Machine Learning with SGD (2010).

    >>> import tinygrad_edu as torch
    >>> w = torch.tensor([1.0], requires_grad=True)
    >>> optimizer = torch.optim.ASGD([w], lr=0.1, lambd=0)
    >>> (3 * w).sum().backward()
    >>> optimizer.step()
    >>> round(w.item(), 4)
    0.7
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_lr(lr)
        check_not_negative({"weight_decay value": weight_decay})
        check_implementation(foreach, differentiable)
        defaults = dict(
            lr=lr, lambd=lambd, alpha=alpha, t0=t0, weight_decay=weight_decay, foreach=foreach,
            maximize=maximize, differentiable=differentiable, capturable=capturable,
        )  # fmt: skip
        super().__init__(params, defaults)

    def _new_state(self, x: Array, group: Group) -> State:
        return {
            "step": counter(0.0, x, group["capturable"]),
            "eta": counter(number(group["lr"]), x, group["capturable"]),
            "mu": counter(1.0, x, group["capturable"]),
            "ax": zeros_like(x),
        }

    def _update(self, x: Array, g: Array, state: State, group: Group) -> None:
        t, lr, lambd = counted(state["step"]) + 1, number(group["lr"]), group["lambd"]
        eta, mu, mean = counted(state["eta"]), counted(state["mu"]), state["ax"].array
        g = penalized(g, x, group["weight_decay"])
        x_new = x * (1 - lambd * eta)
        x_new -= eta * g
        mean_new = average(mean, x_new, mu) if not isinstance(mu, float) or mu != 1 else x_new
        # torch keeps the new values as float32, and its foreach form computes them so as well
        step = counter(t).array if group["foreach"] and isinstance(t, float) else t
        eta = lr / (1 + lambd * lr * step) ** group["alpha"]
        late = t - group["t0"]
        mu = 1 / (max(1, late) if isinstance(t, float) else np.maximum(late, 1))
        write(
            (x, x_new),
            (mean, mean_new),
            (state["step"].array, t),
            (state["eta"].array, counter(eta).array if isinstance(t, float) else eta),
            (state["mu"].array, counter(mu).array if isinstance(t, float) else mu),
        )
