"""Schedules that multiply the learning rate by a factor."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from tinygrad_edu.optim.lr_scheduler.base import (
    ChainedForm,
    LRScheduler,
    copy,
    saved_function,
    values_of,
)
from tinygrad_edu.optim.optimizer import Optimizer

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


class LambdaLR(LRScheduler):
    """lr = lr_0 lr_lambda(epoch)

    Args:
        optimizer: whose learning rates to set.
        lr_lambda: a function of the epoch, or a list with one for each group.
        last_epoch: -1, or the last epoch that was run.

    Raises:
        ValueError: a list that is not as long as there are groups.

    >>> import tinygrad_edu as torch
    >>> optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
    >>> scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch))
    >>> optimizer.step(); scheduler.step(); scheduler.get_last_lr()
    [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | list[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        groups = len(optimizer.param_groups)
        if not isinstance(lr_lambda, (list, tuple)):
            self.lr_lambdas = [lr_lambda] * groups
        elif len(lr_lambda) != groups:
            raise ValueError(f"Expected {groups} lr_lambdas, but got {len(lr_lambda)}")
        else:
            self.lr_lambdas = list(lr_lambda)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """lr_0 lr_lambda(last_epoch) of each group."""
        self._warn_outside_step()
        pairs = zip(self.lr_lambdas, self.base_lrs, strict=True)
        return [base_lr * factor(self.last_epoch) for factor, base_lr in pairs]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer; of the functions only callable objects are kept."""
        return super().state_dict() | {"lr_lambdas": [saved_function(f) for f in self.lr_lambdas]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned; the functions stay this scheduler's own."""
        functions = self.lr_lambdas
        super().load_state_dict(state_dict)
        self.lr_lambdas = functions
        for function, saved in zip(functions, state_dict["lr_lambdas"], strict=True):
            if saved is not None:
                function.__dict__.update(saved)


class MultiplicativeLR(LambdaLR):
    """lr <- lr lr_lambda(epoch), from the second epoch on.

    Args:
        optimizer: whose learning rates to set.
        lr_lambda: a function of the epoch, or a list with one for each group.
        last_epoch: -1, or the last epoch that was run.

    Raises:
        TypeError: something is not callable.
        ValueError: a list that is not as long as there are groups.

    >>> import tinygrad_edu as torch
    >>> optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
    >>> scheduler = torch.optim.lr_scheduler.MultiplicativeLR(optimizer, lambda epoch: 0.5)
    >>> optimizer.step(); scheduler.step(); scheduler.step(); scheduler.get_last_lr()
    [0.25]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | list[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        for function in lr_lambda if isinstance(lr_lambda, (list, tuple)) else [lr_lambda]:
            if not callable(function):
                raise TypeError(
                    f"lr_lambda should be a function, but got {type(function).__name__}"
                )
        super().__init__(optimizer, lr_lambda, last_epoch)

    def get_lr(self) -> list[Any]:
        """lr lr_lambda(last_epoch) of each group."""
        self._warn_outside_step()
        if self._is_initial:
            return values_of(self.optimizer, "lr")
        pairs = self._each_group(self.lr_lambdas)
        return [copy(group["lr"]) * factor(self.last_epoch) for group, factor in pairs]


class StepLR(ChainedForm):
    """lr <- lr gamma, every `step_size` epochs.

    Args:
        optimizer: whose learning rates to set.
        step_size: epochs between two decays.
        gamma: the factor.
        last_epoch: -1, or the last epoch that was run.

    >>> import tinygrad_edu as torch
    >>> optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
    >>> scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    >>> optimizer.step()
    >>> for _ in range(4): scheduler.step(); print(*scheduler.get_last_lr())
    1.0
    0.5
    0.5
    0.25
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _next_lr(self, lr: float | Tensor) -> Any:
        decays = self.last_epoch != 0 and self.last_epoch % self.step_size == 0
        return lr * self.gamma if decays else lr

    def _lr_at_epoch(self, base_lr: float | Tensor) -> Any:
        return base_lr * self.gamma ** (self.last_epoch // self.step_size)


class MultiStepLR(ChainedForm):
    """lr <- lr gamma, at each epoch of `milestones`.

    Args:
        optimizer: whose learning rates to set.
        milestones: epochs; one that is listed twice decays twice.
        gamma: the factor.
        last_epoch: -1, or the last epoch that was run.

    >>> import tinygrad_edu as torch
    >>> optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
    >>> scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[1, 3], gamma=0.5)
    >>> optimizer.step()
    >>> for _ in range(3): scheduler.step(); print(*scheduler.get_last_lr())
    0.5
    0.5
    0.25
    """

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones = Counter(milestones)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _next_lr(self, lr: float | Tensor) -> Any:
        times = self.milestones[self.last_epoch]
        return lr * self.gamma**times if times else lr

    def _lr_at_epoch(self, base_lr: float | Tensor) -> Any:
        passed = bisect_right(sorted(self.milestones.elements()), self.last_epoch)
        return base_lr * self.gamma**passed


class ConstantLR(ChainedForm):
    """lr = lr_0 factor for `total_iters` epochs, then lr_0.

    Args:
        optimizer: whose learning rates to set.
        factor: in [0, 1].
        total_iters: how many epochs.
        last_epoch: -1, or the last epoch that was run.

    Raises:
        ValueError: `factor` is not in [0, 1].

    >>> import tinygrad_edu as torch
    >>> optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
    >>> scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters=1)
    >>> first = scheduler.get_last_lr()
    >>> optimizer.step(); scheduler.step(); first, scheduler.get_last_lr()
    ([0.5], [1.0])
    """

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 1.0 / 3,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if factor > 1.0 or factor < 0:
            raise ValueError("Constant multiplicative factor expected to be between 0 and 1.")
        self.factor = factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def _next_lr(self, lr: float | Tensor) -> Any:
        if self.last_epoch == 0:
            return lr * self.factor
        return lr * (1.0 / self.factor) if self.last_epoch == self.total_iters else lr

    def _lr_at_epoch(self, base_lr: float | Tensor) -> Any:
        over = self.last_epoch >= self.total_iters
        return base_lr * (self.factor + over * (1 - self.factor))


class LinearLR(ChainedForm):
    """lr = lr_0 f, where f goes from `start_factor` to `end_factor` in `total_iters` equal steps.

    Args:
        optimizer: whose learning rates to set.
        start_factor: in (0, 1].
        end_factor: in [0, 1].
        total_iters: how many epochs.
        last_epoch: -1, or the last epoch that was run.

    Raises:
        ValueError: a factor is out of range.

    >>> import tinygrad_edu as torch
    >>> optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
    >>> warmup = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.25, total_iters=3)
    >>> optimizer.step()
    >>> for _ in range(3): warmup.step(); print(*warmup.get_last_lr())
    0.5
    0.75
    1.0
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        if start_factor > 1.0 or start_factor <= 0:
            raise ValueError(
                "Starting multiplicative factor expected to be greater than 0 and less or equal"
                " to 1."
            )
        if end_factor > 1.0 or end_factor < 0:
            raise ValueError("Ending multiplicative factor expected to be between 0 and 1.")
        self.start_factor = start_factor
        self.end_factor = end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def _next_lr(self, lr: float | Tensor) -> Any:
        if self.last_epoch == 0:
            return lr * self.start_factor
        if self._is_initial or self.last_epoch > self.total_iters:
            return lr
        rise = self.end_factor - self.start_factor  # over all steps; f before = before / total
        before = self.total_iters * self.start_factor + (self.last_epoch - 1) * rise
        return lr * (1.0 + rise / before)

    def _lr_at_epoch(self, base_lr: float | Tensor) -> Any:
        rise = self.end_factor - self.start_factor
        step = min(self.total_iters, self.last_epoch)
        return base_lr * (self.start_factor + rise * step / self.total_iters)


class ExponentialLR(ChainedForm):
    """lr <- lr gamma

    Args:
        optimizer: whose learning rates to set.
        gamma: the factor.
        last_epoch: -1, or the last epoch that was run.

    >>> import tinygrad_edu as torch
    >>> optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
    >>> scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    >>> optimizer.step(); scheduler.step(); scheduler.step(); scheduler.get_last_lr()
    [0.25]
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def _next_lr(self, lr: float | Tensor) -> Any:
        return lr if self._is_initial else lr * self.gamma

    def _lr_at_epoch(self, base_lr: float | Tensor) -> Any:
        return base_lr * self.gamma**self.last_epoch


class PolynomialLR(ChainedForm):
    """lr = lr_0 (1 - epoch / total_iters)^power, and 0 after that.

    Args:
        optimizer: whose learning rates to set.
        total_iters: epochs until 0.
        power: of the polynomial.
        last_epoch: -1, or the last epoch that was run.

    >>> import tinygrad_edu as torch
    >>> optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
    >>> scheduler = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=4)
    >>> optimizer.step(); scheduler.step(); scheduler.get_last_lr()
    [0.75]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_iters: int = 5,
        power: float = 1.0,
        last_epoch: int = -1,
    ) -> None:
        self.total_iters = total_iters
        self.power = power
        super().__init__(optimizer, last_epoch)

    def _next_lr(self, lr: float | Tensor) -> Any:
        if self._is_initial or self.last_epoch > self.total_iters:
            return lr
        now = 1.0 - self.last_epoch / self.total_iters
        before = 1.0 - (self.last_epoch - 1) / self.total_iters
        return lr * (now / before) ** self.power

    def _lr_at_epoch(self, base_lr: float | Tensor) -> Any:
        step = min(self.total_iters, self.last_epoch)
        return base_lr * (1.0 - step / self.total_iters) ** self.power
