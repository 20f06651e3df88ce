"""Averaged SGD: beside the weights, the average of all weights since a time t0."""

from __future__ import annotations

from tinygrad_edu.dtypes import Array
from tinygrad_edu.tensor import Tensor

from .common import (
    average,
    check_implementation,
    check_lr,
    check_not_negative,
    count,
    counter,
    number,
    penalized,
    zeros_like,
)
from .optimizer import Group, Optimizer, Params, State


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
        foreach, capturable: accepted; there is one implementation.
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
            "step": counter(),
            "eta": counter(number(group["lr"])),
            "mu": counter(1.0),
            "ax": zeros_like(x),
        }

    def _update(self, x: Array, g: Array, state: State, group: Group) -> None:
        t, lr, lambd = count(state["step"]), number(group["lr"]), group["lambd"]
        eta, mu, mean = state["eta"].array, state["mu"].array, state["ax"].array
        g = penalized(g, x, group["weight_decay"])
        x *= 1 - lambd * float(eta)
        x -= float(eta) * g
        if mu != 1:
            average(mean, x, float(mu))
        else:
            mean[...] = x
        # torch keeps the new values as float32, and its foreach form computes them so as well
        step = state["step"].array if group["foreach"] else t
        eta[...] = counter(lr / (1 + lambd * lr * step) ** group["alpha"]).array
        mu[...] = counter(1 / max(1, t - group["t0"])).array
