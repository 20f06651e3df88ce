"""Muon: SGD with momentum whose steps for a matrix are made nearly orthogonal."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_edu.backend import new_like
from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.undivided import descend
from tinygrad_edu.optim.common import average, zeros_like
from tinygrad_edu.optim.optimizer import Group, Optimizer, Params, State
from tinygrad_edu.tensor import Tensor


class Muon(Optimizer):
    """B <- momentum B + (1 - momentum) g;  u = orthogonal(g + momentum (B - g)), or of B;
    x <- x (1 - lr weight_decay) - lr scale u.

    Args:
        params: matrices, named or in groups; biases and embeddings belong to another optimizer.
        lr: learning rate, >= 0; a number or one-element tensor.
        weight_decay: >= 0, shrinks x itself.
        momentum: of the average B.
        nesterov: look one step ahead along B.
        ns_coefficients, ns_steps: of the iteration x <- a x + b (x xᵀ) x + c (x xᵀ)² x, which
            brings all singular values near 1.
        eps: the least length to divide by.
        adjust_lr_fn: "original" or None, scale = sqrt(max(1, rows / columns)); "match_rms_adamw",
            scale = 0.2 sqrt(max(rows, columns)).

    Raises:
        ValueError: an option out of range, or a parameter that is not a matrix.

    The iteration is rounded to bfloat16, as in torch.

    Source: Jordan, "Muon: an optimizer for hidden layers in neural networks", 2024.

    >>> import tinygrad_edu as torch
    >>> w = torch.eye(2, requires_grad=True)
    >>> optimizer = torch.optim.Muon([w], lr=0.1, weight_decay=0)
    >>> w.sum().backward()
    >>> optimizer.step()
    >>> bool((w.diagonal() < 1).all())
    True
    """

    _averages = ("momentum_buffer",)

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        if isinstance(lr, Tensor) and lr.array.size != 1:
            raise ValueError("Tensor lr must be 1-element")
        options = {"Learning rate": lr, "momentum": momentum, "weight decay": weight_decay}
        for name, value in options.items():
            if not 0.0 <= value:
                raise ValueError(f"{name} should be >= 0 but is: {value}")
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        defaults = dict(
            lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov,
            ns_coefficients=ns_coefficients, eps=eps, ns_steps=ns_steps, adjust_lr_fn=adjust_lr_fn,
        )  # fmt: skip
        super().__init__(params, defaults)
        for group in self.param_groups:
            for p in group["params"]:
                if p.ndim != 2:
                    raise ValueError(
                        "Muon only supports 2D parameters whereas we found a parameter with size:"
                        f" {p.shape}"
                    )

    def _new_state(self, x: Array, group: Group) -> State:
        return {"momentum_buffer": zeros_like(x)}

    def _update(self, x: Array, g: Array, state: State, group: Group) -> None:
        lr, momentum = group["lr"], group["momentum"]
        if isinstance(lr, Tensor):  # products with it are rounded to its dtype, as in torch
            lr = lr.array.reshape(())
        buffer = state["momentum_buffer"].array
        buffer_new = average(buffer, g, 1 - momentum)
        update = g + momentum * (buffer_new - g) if group["nesterov"] else buffer_new
        update = orthogonal(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
        rows, columns = x.shape
        if group["adjust_lr_fn"] == "match_rms_adamw":
            scale = 0.2 * math.sqrt(max(rows, columns))
        else:
            scale = math.sqrt(max(1, rows / columns))
        shrink = float(1 - lr * group["weight_decay"])
        d = float(lr * scale) * update.astype(x.dtype)
        descend(x, [d], (buffer, buffer_new), shrink=shrink)


def orthogonal(g: Array, coefficients: tuple[float, ...], steps: int, eps: float) -> Array:
    """A matrix with the singular vectors of g and values near 1, by the Newton-Schulz iteration.

    Raises:
        ValueError: too many steps, or other than 3 coefficients.
    """
    if steps >= 100:
        raise ValueError("Number of steps must be less than 100 for computational efficiency")
    if len(coefficients) != 3:
        raise ValueError("Coefficients must be a tuple of exactly 3 values")
    a, b, c = coefficients
    tall = g.shape[0] > g.shape[1]
    x = _rounded(g.T if tall else g)
    length = _rounded(np.sqrt(np.square(x, dtype=np.float32).sum(keepdims=True)))
    x = _rounded(x / np.maximum(length, _rounded(new_like(x, (1, 1), eps))))
    for _ in range(steps):
        square = _rounded(x @ x.T)
        polynomial = _rounded(b * square + c * (square @ square))
        x = _rounded(a * x + polynomial @ x)
    return x.T if tall else x


def _rounded(x: Array) -> Any:
    """The nearest bfloat16 numbers, ties to even, as float32."""
    bits = x.astype(np.float32, order="C", copy=False).view(np.uint32)
    nearest = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (nearest & np.uint32(0xFFFF0000)).view(np.float32)
