"""Averages of a model's weights along training: SWA and EMA."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

import numpy as np

from tinygrad_edu.engine.record import wrap
from tinygrad_edu.engine.switches import no_grad
from tinygrad_edu.nn import Module
from tinygrad_edu.nn.modules.batchnorm import _BatchNorm
from tinygrad_edu.tensor import Tensor

from .lr_scheduler.base import LRScheduler, one_per_group, values_of
from .optimizer import Optimizer

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]


def get_swa_avg_fn() -> Callable[[Tensor, Tensor, Any], Tensor]:
    """average <- average + (current - average) / (n + 1): the mean of all models so far."""

    @no_grad()
    def update(averaged: Tensor, current: Tensor, num_averaged: Any) -> Tensor:
        step: Tensor = (current - averaged) / (num_averaged + 1)
        return averaged + step

    return update


def get_ema_avg_fn(decay: float = 0.999) -> Callable[[Tensor, Tensor, Any], Tensor]:
    """average <- decay average + (1 - decay) current: recent models count more.

    Args:
        decay: in [0, 1].

    Raises:
        ValueError: `decay` is out of range.
    """
    if decay < 0.0 or decay > 1.0:
        raise ValueError(
            f"Invalid decay value {decay} provided. Please provide a value in [0,1] range."
        )

    @no_grad()
    def update(averaged: Tensor, current: Tensor, num_averaged: Any) -> Tensor:
        return decay * averaged + (1 - decay) * current

    return update


def _on_lists(
    average: Callable[[Tensor, Tensor, Any], Tensor],
) -> Callable[[list[Tensor], list[Tensor], Any], None]:
    @no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], num_averaged: Any) -> None:
        for mean, value in zip(averaged, current, strict=True):
            mean.copy_(average(mean, value, num_averaged))

    return update


def get_swa_multi_avg_fn() -> Callable[[list[Tensor], list[Tensor], Any], None]:
    """`get_swa_avg_fn` for lists of tensors, in place."""
    return _on_lists(get_swa_avg_fn())


def get_ema_multi_avg_fn(
    decay: float = 0.999,
) -> Callable[[list[Tensor], list[Tensor], Any], None]:
    """`get_ema_avg_fn` for lists of tensors, in place."""
    return _on_lists(get_ema_avg_fn(decay))


class AveragedModel(Module):
    """A copy of a model whose weights are the average of the model's weights over time.

    Args:
        model: the model; it is copied.
        device: where to keep the copy.
        avg_fn: (average, current, how many so far) -> new average; the mean of all by default.
        multi_avg_fn: the same for lists of tensors, in place.
        use_buffers: average the buffers too, instead of copying them.

    Source: Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization
    (UAI 2018), algorithm 1.

    >>> import tinygrad_edu as torch
    >>> from tinygrad_edu.optim.swa_utils import AveragedModel
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> average = AveragedModel(model)
    >>> for value in (1.0, 3.0):
    ...     _ = torch.nn.init.constant_(model.weight, value)
    ...     average.update_parameters(model)
    >>> average.module.weight.item()
    2.0
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: Module,
        device: Any = None,
        avg_fn: Callable[[Tensor, Tensor, Any], Tensor] | None = None,
        multi_avg_fn: Callable[[list[Tensor], list[Tensor], Any], None] | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = deepcopy(model)
        self.register_buffer("n_averaged", wrap(np.array(0)))
        if device is not None:
            self.to(device)
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The average model's output."""
        return self.module(*args, **kwargs)

    @no_grad()
    def update_parameters(self, model: Module) -> None:
        """Take the present weights of `model` into the average."""
        mine, theirs = self._averaged(self.module), self._averaged(model)
        theirs = [value.to(mean.device) for mean, value in zip(mine, theirs, strict=True)]
        if self.n_averaged.item() == 0:
            for mean, value in zip(mine, theirs, strict=True):
                mean.copy_(value)
        elif self.multi_avg_fn is not None:
            self.multi_avg_fn(mine, theirs, self.n_averaged)
        else:
            _on_lists(self.avg_fn or get_swa_avg_fn())(mine, theirs, self.n_averaged)
        if not self.use_buffers:
            for mean, value in zip(self.module.buffers(), model.buffers(), strict=True):
                mean.copy_(value.to(mean.device))
        self.n_averaged.add_(1)

    def _averaged(self, model: Module) -> list[Tensor]:
        buffers = model.buffers() if self.use_buffers else ()
        return [t.detach() for t in itertools.chain(model.parameters(), buffers)]


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Recompute the running statistics of every batch norm in one pass over the data.

    Args:
        loader: batches, of each of which the first element (or all, if it is a tensor) goes in.
        model: with the averaged weights.
        device: where to move the batches.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    was_training = model.training
    model.train()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    for batch in loader:
        x = batch[0] if isinstance(batch, (list, tuple)) else batch
        model(x if device is None else x.to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """lr goes from where it is to `swa_lr` in `anneal_epochs`, and stays there.

    Args:
        optimizer: whose learning rates to set.
        swa_lr: the last rate, for all groups or a list with one for each.
        anneal_epochs: how many epochs, >= 0.
        anneal_strategy: "cos" or "linear".
        last_epoch: -1, or the last epoch that was run.

    Raises:
        ValueError: an argument is out of range.

    >>> import tinygrad_edu as torch
    >>> from tinygrad_edu.optim.swa_utils import SWALR
    >>> optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
    >>> scheduler = SWALR(optimizer, 0.5, anneal_epochs=2, anneal_strategy="linear")
    >>> optimizer.step()
    >>> for _ in range(3): scheduler.step(); print(*scheduler.get_last_lr())
    0.75
    0.5
    0.5
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | list[float],
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        rates = one_per_group("swa_lr", optimizer, swa_lr)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["swa_lr"] = rate
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self._anneal_strategy = anneal_strategy
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def _share(self, step: int) -> float:
        """The share of the way done after `step` epochs, in [0, 1]."""
        t = max(0, min(1, step / max(1, self.anneal_epochs)))
        return t if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * t)) / 2

    def get_lr(self) -> list[Any]:
        """The learning rates after one epoch more."""
        self._warn_outside_step()
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._share(step - 1), self._share(step)
        rates = []
        for lr, last in zip(
            values_of(self.optimizer, "lr"), values_of(self.optimizer, "swa_lr"), strict=True
        ):
            start = last if before == 1 else (lr - before * last) / (1 - before)
            rates.append(last * now + start * (1 - now))
        return rates
