"""AdamW: Adam that shrinks the parameters themselves instead of penalizing them in the gradient."""

from __future__ import annotations

from typing import Any

from tinygrad_edu.optim.adam import Adam
from tinygrad_edu.optim.optimizer import Params
from tinygrad_edu.tensor import Tensor


class AdamW(Adam):
    """x <- x (1 - lr weight_decay), then Adam's step; its gradient averages see no decay.

    Args:
        params: parameters, named parameters or groups.
        lr: learning rate, >= 0; a number or one-element tensor.
        betas: decay of the averages of g and g^2, each in [0, 1).
        eps: >= 0, keeps the denominator from 0.
        weight_decay: >= 0.
        amsgrad: divide by the root of the largest average square so far.
        maximize: climb instead of descend.
        foreach, fused: accepted; there is one implementation.
        capturable: count the steps on the GPU, so that a CUDA graph can hold a step.
        differentiable: not supported.

    Raises:
        ValueError, RuntimeError: as for `Adam`.

    Source: Loshchilov and Hutter, Decoupled Weight Decay Regularization (ICLR 2019), algorithm 2;
    the decay is multiplied by lr, as in torch.

    >>> import tinygrad_edu as torch
    >>> w = torch.tensor([1.0], requires_grad=True)
    >>> optimizer = torch.optim.AdamW([w], lr=0.1, weight_decay=0.5)
    >>> (3 * w).sum().backward()
    >>> optimizer.step()
    >>> round(w.item(), 4)  # 1 - 0.1 * 0.5, then 0.1 along the gradient
    0.85
    """

    def __init__(
        self, params: Params, lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False,
        foreach: bool | None = None, capturable: bool = False, differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad,
            foreach=foreach, maximize=maximize, capturable=capturable,
            differentiable=differentiable, fused=fused, decoupled_weight_decay=True,
        )  # fmt: skip

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:  # a checkpoint of Adam's has it off
            group["decoupled_weight_decay"] = True
