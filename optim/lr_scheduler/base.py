"""What all schedulers share: they set `group["lr"]` of an optimizer, once per `step()`."""

from __future__ import annotations

import functools
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from types import FunctionType
from typing import Any, Concatenate, ParamSpec, TypeVar

from tinygrad_edu.engine.boundary import users_level
from tinygrad_edu.engine.composed import heard
from tinygrad_edu.optim.optimizer import Group, Optimizer
from tinygrad_edu.tensor import Tensor

T = TypeVar("T")
P = ParamSpec("P")
Scheduler = TypeVar("Scheduler", bound="LRScheduler")

EPOCH_DEPRECATION_WARNING = (
    "The epoch parameter in `scheduler.step()` was not necessary and is being deprecated where"
    " possible. Please use `scheduler.step()` to step the scheduler. During the deprecation, if"
    " epoch is different from None, the closed form is used instead of the new chainable form,"
    " where available. Please open an issue if you are unable to replicate your use case:"
    " https://github.com/pytorch/pytorch/issues/new/choose."
)
_SEE = "See more details at https://pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate"
_OVERRIDDEN = (
    "Seems like `optimizer.step()` has been overridden after learning rate scheduler"
    " initialization. Please, make sure to call `optimizer.step()` before `lr_scheduler.step()`. "
    + _SEE
)
_WRONG_ORDER = (
    "Detected call of `lr_scheduler.step()` before `optimizer.step()`. In PyTorch 1.1.0 and later,"
    " you should call them in the opposite order: `optimizer.step()` before `lr_scheduler.step()`."
    "  Failure to do this will result in PyTorch skipping the first value of the learning rate"
    " schedule. " + _SEE
)


def check_optimizer(optimizer: Optimizer) -> None:
    """Raise torch's TypeError unless it is an optimizer."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")


def copy(value: Any) -> Any:
    """An option, never shared with the group it comes from."""
    return value.clone() if isinstance(value, Tensor) else value


def values_of(optimizer: Optimizer, key: str) -> list[Any]:
    """`group[key]` of every group.

    Raises:
        KeyError: a group has none.
    """
    for i, group in enumerate(optimizer.param_groups):
        if key not in group:
            raise KeyError(
                f"param_groups[{i}] has no {key!r}, which the scheduler gives to the groups that it"
                " is made with: make a new one after add_param_group()"
            )
    return [copy(group[key]) for group in optimizer.param_groups]


def set_value(group: dict[str, Any], key: str, value: object) -> None:
    """Set an option; an option that is a tensor is filled in place."""
    if isinstance(group[key], Tensor):
        group[key].fill_(value.item() if isinstance(value, Tensor) else value)
    else:
        group[key] = value


def one_per_group(name: str, optimizer: Optimizer, value: object) -> list[Any]:
    """A value for each group, from one for all or a list.

    Raises:
        ValueError: the list is not as long as there are groups.
    """
    groups = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        value = [value] * groups
    elif len(value) != groups:
        raise ValueError(
            f"{name} must have the same length as optimizer.param_groups."
            f" {name} has {len(value)} values, param_groups has {groups}."
        )
    return [copy(v) for v in value]


def saved_function(function: object) -> dict[str, Any] | None:
    """What a state dict keeps of a user's function: the attributes of a callable object."""
    return None if isinstance(function, FunctionType) else function.__dict__.copy()


def _notice_steps(optimizer: Optimizer) -> None:
    """Make `optimizer.step` leave a mark, so that a scheduler can see whether it was called."""
    present: Any = optimizer.step
    if hasattr(present, "_wrapped_by_lr_sched"):
        return
    if hasattr(present, "__func__"):
        function = present.__func__
    else:  # somebody has put a plain function in its place

        def function(_: Optimizer, *args: object, **kwargs: object) -> Any:
            return present(*args, **kwargs)

    here = weakref.ref(optimizer)  # no cycle: the optimizer dies when its last user lets go

    @functools.wraps(function)
    def step(*args: object, **kwargs: object) -> Any:
        alive: Any = here()
        alive._opt_called = True
        return function(alive, *args, **kwargs)

    vars(step)["_wrapped_by_lr_sched"] = True
    vars(optimizer)["step"] = step


def undone_if_interrupted(
    step: Callable[Concatenate[Scheduler, P], None],
) -> Callable[Concatenate[Scheduler, P], None]:
    """A scheduler's step that leaves everything as it was if an error or Ctrl-C ends it."""

    @functools.wraps(step)
    def whole(self: Scheduler, *args: P.args, **kwargs: P.kwargs) -> None:
        schedulers: list[LRScheduler] = [self]
        for one in schedulers:
            schedulers += getattr(one, "_schedulers", ())
        before = [(vars(one), dict(vars(one))) for one in schedulers]
        before += [(group, dict(group)) for group in self.optimizer.param_groups]
        options = [value for _, old in before for value in old.values()]
        rates = [(x, x.array.copy()) for x in options if isinstance(x, Tensor)]
        try:
            step(self, *args, **kwargs)
        except BaseException:
            for now, old in before:
                now.update(old)
            for x, value in rates:
                x.array[...] = value
            raise

    return whole


class LRScheduler:
    """The base class of schedulers.  A schedule defines `get_lr`, one learning rate per group.

    Args:
        optimizer: whose learning rates to set; those it has now are the base rates.
        last_epoch: -1 to start; when resuming, the number of the last epoch that was run, and
            every group must have "initial_lr".

    Raises:
        TypeError: `optimizer` is not an Optimizer.
        KeyError: "initial_lr" is missing when resuming.

    >>> import tinygrad_edu as torch
    >>> class Halve(torch.optim.lr_scheduler.LRScheduler):
    ...     def get_lr(self):
    ...         return [base_lr / 2 ** self.last_epoch for base_lr in self.base_lrs]
    >>> optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
    >>> scheduler = Halve(optimizer)
    >>> optimizer.step(); scheduler.step()
    >>> scheduler.get_last_lr()
    [0.5]
    """

    _get_lr_called_within_step = False
    _is_initial = False
    _last_lr: list[Any]
    _step_count: int

    @heard("scheduler")
    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", copy(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming"
                    " scheduler with last_epoch >= 0: load the optimizer's state first, or start"
                    " with last_epoch=-1"
                )
        self.base_lrs: list[Any] = values_of(optimizer, "initial_lr")
        self.last_epoch = last_epoch
        _notice_steps(optimizer)
        self._initial_step()

    def _initial_step(self) -> None:
        """The step that sets the first learning rate."""
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    @heard("scheduler_step")
    @undone_if_interrupted
    def step(self, epoch: int | None = None) -> None:
        """Set the learning rates of the next epoch; call it after `optimizer.step()`.

        Args:
            epoch: deprecated: go to that epoch, by the closed form where there is one.
        """
        if self._step_count == 1:
            if not hasattr(self.optimizer.step, "_wrapped_by_lr_sched"):
                warnings.warn(_OVERRIDDEN, UserWarning, stacklevel=users_level())
            elif not getattr(self.optimizer, "_opt_called", False):
                warnings.warn(_WRONG_ORDER, UserWarning, stacklevel=users_level())
        self._step_count += 1
        if epoch is not None:
            warnings.warn(EPOCH_DEPRECATION_WARNING, UserWarning, stacklevel=users_level())
        self._update_lr(epoch)

    def _update_lr(self, epoch: int | None = None) -> None:
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if epoch is not None and hasattr(self, "_get_closed_form_lr"):
            self._set_lr(self._get_closed_form_lr())
        else:
            self._set_lr(self._get_lr_within_step())

    def _get_lr_within_step(self) -> list[Any]:
        self._get_lr_called_within_step = True
        try:
            return self.get_lr()
        finally:
            self._get_lr_called_within_step = False

    def _set_lr(self, values: list[Any]) -> None:
        for group, lr in self._each_group(values):
            set_value(group, "lr", lr)
        self._last_lr = values_of(self.optimizer, "lr")

    def _each_group(self, values: Sequence[T]) -> Iterator[tuple[Group, T]]:
        """Every group with what the schedule holds for it.

        Raises:
            ValueError: there are not as many groups as when the schedule was made.
        """
        groups = self.optimizer.param_groups
        if len(groups) != len(values):
            raise ValueError(
                f"{type(self).__name__} has a value for each of {len(values)} param_groups, but the"
                f" optimizer has {len(groups)} now: make a new scheduler after add_param_group()"
            )
        return zip(groups, values, strict=True)

    def get_lr(self) -> list[Any]:
        """The learning rates of the epoch `last_epoch`; `step` calls it."""
        raise NotImplementedError(f"{type(self).__name__} must define get_lr()")

    def get_last_lr(self) -> list[Any]:
        """The learning rate of each group, as the last `step` set it."""
        return self._last_lr

    def _warn_outside_step(self) -> None:
        if not self._get_lr_called_within_step:
            warnings.warn(
                "To get the last learning rate computed by the scheduler, please use"
                " `get_last_lr()`.",
                UserWarning,
                stacklevel=3,
            )

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self.__dict__.update(state_dict)


class _LRScheduler(LRScheduler):
    """torch's old name of LRScheduler."""


class ChainedForm(LRScheduler):
    """A schedule given by two formulas: the next rate from the present one, and the closed form.

    The first lets several schedulers work on one optimizer, each multiplying what it finds, and
    goes on with groups that are added later; both give the same values up to rounding.
    """

    def _next_lr(self, lr: float) -> float | Tensor:
        """The learning rate of epoch `last_epoch`, from the present `lr`."""
        raise NotImplementedError

    def _lr_at_epoch(self, base_lr: float) -> float | Tensor:
        """The learning rate of epoch `last_epoch`, from the rate at the start."""
        raise NotImplementedError

    def get_lr(self) -> list[Any]:
        """The learning rates of the epoch `last_epoch`, each from the present one."""
        self._warn_outside_step()
        return [self._next_lr(lr) for lr in values_of(self.optimizer, "lr")]

    def _get_closed_form_lr(self) -> list[Any]:
        return [self._lr_at_epoch(base_lr) for base_lr in self.base_lrs]
