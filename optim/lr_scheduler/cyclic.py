"""Schedules that go up and down, and let momentum go down and up against them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tinygrad_edu.optim.lr_scheduler.base import (
    LRScheduler,
    check_optimizer,
    one_per_group,
    saved_function,
    set_value,
    values_of,
)
from tinygrad_edu.optim.optimizer import Optimizer


class _CyclesMomentum(LRScheduler):
    """What both share: where an optimizer keeps its momentum."""

    cycle_momentum: bool
    use_beta1: bool

    def _start_momentum(
        self, base: float | list[float], highest: float | list[float], last_epoch: int
    ) -> tuple[Any, Any]:
        """Check that there is a momentum; at the start set it to the highest."""
        optimizer = self.optimizer
        if "momentum" not in optimizer.defaults and "betas" not in optimizer.defaults:
            raise ValueError(
                "optimizer must support momentum or beta1 with `cycle_momentum` option enabled"
            )
        self.use_beta1 = "betas" in optimizer.defaults
        bases = one_per_group("base_momentum", optimizer, base)
        tops = one_per_group("max_momentum", optimizer, highest)
        if last_epoch == -1:
            for top, low, group in zip(tops, bases, optimizer.param_groups, strict=True):
                self._set_momentum(group, top)
                group["max_momentum"] = top
                group["base_momentum"] = low
        return bases, tops

    def _set_momentum(self, group: dict[str, Any], value: object) -> None:
        if self.use_beta1:
            group["betas"] = (value, *group["betas"][1:])
        else:
            group["momentum"] = value


class CyclicLR(_CyclesMomentum):
    """lr = base_lr + (max_lr - base_lr) h scale;  h goes 0, 1, 0 along each cycle.

    Args:
        optimizer: whose learning rates to set; step the scheduler after every batch.
        base_lr, max_lr: the bounds, for all groups or a list with one for each.
        step_size_up: batches of the way up.
        step_size_down: batches of the way down; as many as up if None.
        mode: how cycles shrink: "triangular" not at all, "triangular2" by half each time,
            "exp_range" by gamma^batch.
        gamma: for "exp_range".
        scale_fn: a function in place of `mode`, of the cycle's number (1, 2, ...) or the batch.
        scale_mode: "cycle" or "iterations": what `scale_fn` is a function of.
        cycle_momentum: also move momentum (or the first beta) against the learning rate.
        base_momentum, max_momentum: its bounds.
        last_epoch: -1, or the last batch that was run.

    Raises:
        ValueError: an unknown mode, or no momentum to cycle.

    Source: Smith, Cyclical Learning Rates for Training Neural Networks (WACV 2017), section 3.

    >>> import tinygrad_edu as torch
    >>> optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0, momentum=0.9)
    >>> schedule = torch.optim.lr_scheduler.CyclicLR(optimizer, 0.0, 1.0, step_size_up=2)
    >>> optimizer.step()
    >>> for _ in range(4): schedule.step(); print(*schedule.get_last_lr())
    0.5
    1.0
    0.5
    0.0
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | list[float],
        max_lr: float | list[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.8,
        max_momentum: float | list[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        base_lrs = one_per_group("base_lr", optimizer, base_lr)
        if last_epoch == -1:
            for lr, group in zip(base_lrs, optimizer.param_groups, strict=True):
                set_value(group, "lr", lr)
        self.max_lrs = one_per_group("max_lr", optimizer, max_lr)
        up = float(step_size_up)
        self.total_size = up + (up if step_size_down is None else float(step_size_down))
        self.step_ratio = up / self.total_size
        if mode not in ("triangular", "triangular2", "exp_range") and scale_fn is None:
            raise ValueError("mode is invalid and scale_fn is None")
        self.mode = mode
        self.gamma = gamma
        self._scale_fn_custom = scale_fn
        self.scale_mode = scale_mode
        if scale_fn is None:
            self.scale_mode = "iterations" if mode == "exp_range" else "cycle"
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self.base_momentums, self.max_momentums = self._start_momentum(
                base_momentum, max_momentum, last_epoch
            )
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def scale_fn(self, x: float) -> float:
        """How high cycle `x`, or the cycle around batch `x`, goes."""
        if self._scale_fn_custom is not None:
            return self._scale_fn_custom(x)
        if self.mode == "triangular":
            return 1.0
        return float(1 / 2.0 ** (x - 1) if self.mode == "triangular2" else self.gamma**x)

    def get_lr(self) -> list[Any]:
        """The learning rates of batch `last_epoch`; sets the momentum, too."""
        self._warn_outside_step()
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        along = 1.0 + self.last_epoch / self.total_size - cycle  # in [0, 1)
        if along <= self.step_ratio:
            height = along / self.step_ratio
        else:
            height = (along - 1) / (self.step_ratio - 1)
        scale = self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.cycle_momentum:
            bounds = list(zip(self.base_momentums, self.max_momentums, strict=True))
            for group, (low, top) in self._each_group(bounds):
                self._set_momentum(group, top - (top - low) * height * scale)
        lrs = zip(self.base_lrs, self.max_lrs, strict=True)
        return [low + (top - low) * height * scale for low, top in lrs]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer; of `scale_fn` only a callable object is kept."""
        function = self._scale_fn_custom
        saved = None if function is None else saved_function(function)
        return super().state_dict() | {"_scale_fn_custom": saved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned; `scale_fn` stays this scheduler's own."""
        function = self._scale_fn_custom
        super().load_state_dict(state_dict)
        self._scale_fn_custom = function
        if state_dict["_scale_fn_custom"] is not None:
            function.__dict__.update(state_dict["_scale_fn_custom"])


class OneCycleLR(_CyclesMomentum):
    """One cycle over the whole training: up to `max_lr`, then down far below the start.

    From max_lr / div_factor to max_lr in the first `pct_start` of the steps, then to
    max_lr / div_factor / final_div_factor.

    Args:
        optimizer: whose learning rates to set; step the scheduler after every batch.
        max_lr: the highest rate, for all groups or a list with one for each.
        total_steps: batches of the whole training; or give epochs and steps_per_epoch.
        epochs, steps_per_epoch: their product is the number of batches.
        pct_start: share of the steps on the way up, a float in [0, 1].
        anneal_strategy: "cos" or "linear".
        cycle_momentum: also move momentum (or the first beta) against the learning rate.
        base_momentum, max_momentum: its bounds.
        div_factor, final_div_factor: set the first and the last learning rate.
        three_phase: down to the first rate in as many steps as up, then to the last.
        last_epoch: -1, or the last batch that was run.

    Raises:
        ValueError: an argument is out of range; more steps than there are.

    Source: Smith and Topin, Super-Convergence (2017), section 2; two phases as in fastai.

    >>> import tinygrad_edu as torch
    >>> optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=0.1, momentum=0.9)
    >>> schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=10)
    >>> optimizer.step(); schedule.step(); schedule.step(); schedule.get_last_lr()
    [1.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        self.total_steps = _total_steps(total_steps, epochs, steps_per_epoch)
        self._schedule_phases = _phases(pct_start, self.total_steps, three_phase)
        if pct_start < 0 or pct_start > 1 or not isinstance(pct_start, float):
            raise ValueError(f"Expected float between 0 and 1 pct_start, but got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        self._anneal_func_type = anneal_strategy
        tops = one_per_group("max_lr", optimizer, max_lr)
        if last_epoch == -1:
            for group, top in zip(optimizer.param_groups, tops, strict=True):
                group["initial_lr"] = top / div_factor
                group["max_lr"] = top
                group["min_lr"] = group["initial_lr"] / final_div_factor
        self.cycle_momentum = cycle_momentum
        if cycle_momentum:
            self._start_momentum(base_momentum, max_momentum, last_epoch)
        super().__init__(optimizer, last_epoch)

    def _between(self, start: Any, end: Any, share: float) -> Any:
        if self._anneal_func_type == "linear":
            return (end - start) * share + start
        return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)

    def get_lr(self) -> list[Any]:
        """The learning rates of batch `last_epoch`; sets the momentum, too.

        Raises:
            ValueError: there are no steps left.
        """
        self._warn_outside_step()
        step = self.last_epoch
        if step > self.total_steps:
            raise ValueError(
                f"Tried to step {step} times. The specified number of total steps is"
                f" {self.total_steps}"
            )
        last_end = 0.0
        for phase in self._schedule_phases:
            if step <= phase["end_step"] or phase is self._schedule_phases[-1]:
                break
            last_end = phase["end_step"]
        share = (step - last_end) / (phase["end_step"] - last_end)

        def between(start_key: str, end_key: str) -> list[Any]:
            starts = values_of(self.optimizer, phase[start_key])
            ends = values_of(self.optimizer, phase[end_key])
            pairs = zip(starts, ends, strict=True)
            return [self._between(start, end, share) for start, end in pairs]

        lrs = between("start_lr", "end_lr")
        if self.cycle_momentum:
            for group, momentum in self._each_group(between("start_momentum", "end_momentum")):
                self._set_momentum(group, momentum)
        return lrs


def _total_steps(total: int | None, epochs: int | None, per_epoch: int | None) -> int:
    if total is not None:
        if total <= 0 or not isinstance(total, int):
            raise ValueError(f"Expected positive integer total_steps, but got {total}")
        return total
    if epochs is None or per_epoch is None:
        raise ValueError("You must define either total_steps OR (epochs AND steps_per_epoch)")
    for name, value in (("epochs", epochs), ("steps_per_epoch", per_epoch)):
        if not isinstance(value, int) or value <= 0:
            raise ValueError(f"Expected positive integer {name}, but got {value}")
    return epochs * per_epoch


def _phases(pct_start: float, total: int, three: bool) -> list[dict[str, Any]]:
    """The phases: the step that ends each, and between which options of a group it goes."""
    peak = float(pct_start * total) - 1
    ways = [(peak, "initial_lr", "max_lr", "max_momentum", "base_momentum")]
    if three:
        back = float(2 * pct_start * total) - 2
        ways += [
            (back, "max_lr", "initial_lr", "base_momentum", "max_momentum"),
            (total - 1, "initial_lr", "min_lr", "max_momentum", "max_momentum"),
        ]
    else:
        ways += [(total - 1, "max_lr", "min_lr", "base_momentum", "max_momentum")]
    keys = ("end_step", "start_lr", "end_lr", "start_momentum", "end_momentum")
    return [dict(zip(keys, way, strict=True)) for way in ways]
