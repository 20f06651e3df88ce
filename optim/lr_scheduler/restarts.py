"""A schedule along a cosine that begins again and again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tinygrad_edu.engine.composed import heard
from tinygrad_edu.optim.lr_scheduler.base import (
    LRScheduler,
    undone_if_interrupted,
)
from tinygrad_edu.optim.optimizer import Optimizer

if TYPE_CHECKING:
    pass


class CosineAnnealingWarmRestarts(LRScheduler):
    """lr = eta_min + (lr_0 - eta_min) (1 + cos(pi T_cur / T_i)) / 2

    `T_cur` counts the epochs since the last restart, `T_i` is the length of this run: `T_0` at
    first, then `T_mult` times longer after each restart.

    Args:
        optimizer: whose learning rates to set.
        T_0: epochs of the first run, a positive integer.
        T_mult: an integer >= 1.
        eta_min: the lowest learning rate.
        last_epoch: -1, or the last epoch that was run.

    Raises:
        ValueError: an argument is out of range.

    Source: Loshchilov and Hutter, SGDR (ICLR 2017), equation 5.

    >>> import tinygrad_edu as torch
    >>> optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
    >>> schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=2)
    >>> optimizer.step()
    >>> for _ in range(3): schedule.step(); print(round(schedule.get_last_lr()[0], 6))
    0.5
    1.0
    0.5
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        if T_0 <= 0 or not isinstance(T_0, int):
            raise ValueError(f"Expected positive integer T_0, but got {T_0}")
        if T_mult < 1 or not isinstance(T_mult, int):
            raise ValueError(f"Expected integer T_mult >= 1, but got {T_mult}")
        if not isinstance(eta_min, (float, int)):
            raise ValueError(
                f"Expected float or int eta_min, but got {eta_min} of type {type(eta_min)}"
            )
        self.T_0 = T_0
        self.T_i: float = T_0
        self.T_mult = T_mult
        self.eta_min = eta_min
        self.T_cur: float = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """The learning rates `T_cur` epochs after the last restart."""
        self._warn_outside_step()
        height = 1 + math.cos(math.pi * self.T_cur / self.T_i)
        return [self.eta_min + (lr - self.eta_min) * height / 2 for lr in self.base_lrs]

    @heard("scheduler_step")
    @undone_if_interrupted
    def step(self, epoch: float | None = None) -> None:
        """Set the learning rates of the next epoch, or of `epoch`.

        Args:
            epoch: may be a fraction: `epoch + batch / batches` moves it with every batch.

        Raises:
            ValueError: `epoch` is negative.
        """
        if epoch is None and self.last_epoch >= 0:
            self.last_epoch += 1
            self.T_cur += 1
            if self.T_cur >= self.T_i:
                self.T_cur = self.T_cur % self.T_i
                self.T_i = self.T_i * self.T_mult
        else:
            self._go_to(0 if epoch is None else epoch)
        self._set_lr(self._get_lr_within_step())

    def _go_to(self, epoch: float) -> None:
        if epoch < 0:
            raise ValueError(f"Expected non-negative epoch, but got {epoch}")
        self.last_epoch = math.floor(epoch)
        if epoch < self.T_0:
            self.T_i = self.T_0
            self.T_cur = epoch
        elif self.T_mult == 1:
            self.T_cur = epoch % self.T_0
        else:  # T_0 (T_mult^n - 1) / (T_mult - 1) epochs have gone by at the n-th restart
            grown = self.T_mult - 1
            n = int(math.log(epoch / self.T_0 * grown + 1, self.T_mult))
            self.T_cur = epoch - self.T_0 * (self.T_mult**n - 1) / grown
            self.T_i = self.T_0 * self.T_mult**n
