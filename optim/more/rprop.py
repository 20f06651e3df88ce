"""Rprop: each weight has its own step size; of the gradient only the sign counts."""

from __future__ import annotations

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.undivided import descend
from tinygrad_edu.optim.common import (
    check_implementation,
    check_lr,
    counted,
    counter,
    number,
    zeros_like,
)
from tinygrad_edu.optim.optimizer import Group, Optimizer, Params, State
from tinygrad_edu.tensor import Tensor


class Rprop(Optimizer):
    """step <- clamp(step eta, lowest, highest);  x <- x - step sign(g).

    eta is etas[1] where g has kept its sign, etas[0] where it has changed; there x stays this time.

    Args:
        params: parameters, named parameters or groups.
        lr: the first step size, >= 0; a number or one-element tensor.
        etas: factors of the step size, 0 < etas[0] < 1 < etas[1].
        step_sizes: lowest and highest step size.
        maximize: climb instead of descend.
        foreach: accepted; there is one implementation.
        capturable: count the steps on the GPU, so that a CUDA graph can hold a step.
        differentiable: not supported.

    Raises:
        ValueError: an option out of range.
        RuntimeError: `differentiable`.

    Source: Riedmiller and Braun, The RPROP Algorithm (1993), section II, without the way back.

    >>> import tinygrad_edu as torch
    >>> w = torch.tensor([1.0], requires_grad=True)
    >>> optimizer = torch.optim.Rprop([w], lr=0.1)
    >>> (3 * w).sum().backward()
    >>> optimizer.step()
    >>> round(w.item(), 4)
    0.9
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        check_implementation(foreach, differentiable)
        defaults = dict(
            lr=lr, etas=etas, step_sizes=step_sizes, foreach=foreach, maximize=maximize,
            differentiable=differentiable, capturable=capturable,
        )  # fmt: skip
        super().__init__(params, defaults)

    def _new_state(self, x: Array, group: Group) -> State:
        step_size = zeros_like(x)
        step_size.array.fill(number(group["lr"]))
        return {
            "step": counter(0.0, x, group["capturable"]),
            "prev": zeros_like(x),
            "step_size": step_size,
        }

    def _update(self, x: Array, g: Array, state: State, group: Group) -> None:
        t = counted(state["step"]) + 1
        previous, size = state["prev"].array, state["step_size"].array
        agreement = g * previous
        lower, higher = group["etas"]
        factor = np.where(agreement > 0, higher, np.where(agreement < 0, lower, 1.0))
        size_new = np.clip(size * factor.astype(x.dtype), *group["step_sizes"])
        g = np.where(agreement < 0, 0, g)
        d = np.sign(g) * size_new
        descend(x, [d], (size, size_new), (previous, g), (state["step"].array, t))
