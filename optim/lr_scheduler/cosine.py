"""A schedule along a cosine."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tinygrad_edu.names.missing import elsewhere
from tinygrad_edu.optim.lr_scheduler.base import ChainedForm, copy
from tinygrad_edu.optim.optimizer import Optimizer

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


class CosineAnnealingLR(ChainedForm):
    """lr = eta_min + (lr_0 - eta_min) (1 + cos(pi epoch / T_max)) / 2

    It falls for `T_max` epochs, then rises again, and so on.

    Args:
        optimizer: whose learning rates to set.
        T_max: epochs of half a period.
        eta_min: the lowest learning rate.
        last_epoch: -1, or the last epoch that was run.

    Source: Loshchilov and Hutter, SGDR (ICLR 2017), equation 5, without the restarts.

    >>> import tinygrad_edu as torch
    >>> optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
    >>> scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=2)
    >>> optimizer.step()
    >>> for _ in range(3): scheduler.step(); print(round(scheduler.get_last_lr()[0], 6))
    0.5
    0.0
    0.5
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        self.T_max = T_max
        self.eta_min = eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """The learning rates of the epoch `last_epoch`, each from the present one."""
        epoch, half = self.last_epoch, self.T_max
        if self._is_initial or (epoch - 1 - half) % (2 * half):
            return super().get_lr()
        self._warn_outside_step()  # at the lowest point there is nothing left to multiply
        rise = 1 - math.cos(math.pi / half)
        return [
            copy(group["lr"]) + (base_lr - self.eta_min) * rise / 2
            for group, base_lr in self._each_group(self.base_lrs)
        ]

    def _next_lr(self, lr: float | Tensor) -> float | Tensor:
        epoch, half = self.last_epoch, self.T_max
        if self._is_initial:
            return lr
        now = 1 + math.cos(math.pi * epoch / half)
        before = 1 + math.cos(math.pi * (epoch - 1) / half)
        return now / before * (lr - self.eta_min) + self.eta_min

    def _lr_at_epoch(self, base_lr: float | Tensor) -> float | Tensor:
        height = 1 + math.cos(math.pi * self.last_epoch / self.T_max)
        return self.eta_min + (base_lr - self.eta_min) * height / 2


if not TYPE_CHECKING:  # a type checker is to miss what is not here
    __getattr__ = elsewhere(__name__, "optim.lr_scheduler.restarts")
