"""torch's database of optimizers replayed here: every set of options of every optimizer.

Both libraries start from the same parameters and take the same steps with the same gradients, with
each implementation (`foreach`, `fused`) the options allow.  After every step parameters, state and
state_dict are equal; in the middle, ours continues from torch's state_dict.

    python -m tests.replay optimizers [name ...]
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from replay.both import (
    Outcome,
    agree,
    is_tensor,
    outcome,
    same_refusal,
    translate,
)
from replay.exclusions import OPTIMIZERS
from torch.testing._internal.common_optimizers import OptimizerInfo

import tinygrad_edu as ours

STEPS = 4


def numbers(seed: int) -> list[np.ndarray]:
    """Arrays in the shapes of the parameters; matrices only, which is all that Muon takes."""
    random = np.random.default_rng(seed)
    return [random.standard_normal(shape) for shape in ((4, 3), (1, 5), (2, 2))]


class Side:
    """One library's parameters and optimizer; or what it said instead of making one."""

    def __init__(self, library: Any, name: str, kwargs: dict[str, Any]) -> None:
        self.library, self.refusal = library, None
        self.params = [library.nn.Parameter(library.from_numpy(a)) for a in numbers(0)]
        cls = getattr(library.optim, name)
        try:
            self.optimizer = cls(self.params, **translate(kwargs, library))
        except Exception as problem:
            self.refusal = problem

    def step(self, i: int) -> None:
        for p, g in zip(self.params, numbers(1 + i), strict=True):
            p.grad = self.library.from_numpy(g)
        if i == 2:
            self.params[1].grad = None  # a parameter that took no part in this step
        try:
            self.optimizer.step()
        except Exception as problem:
            self.refusal = problem


def same_state(mine: Any, theirs: Any, where: str) -> None:
    """AssertionError unless two nested states have the same keys, types and numbers."""
    if is_tensor(theirs):
        assert is_tensor(mine), f"{where}: {mine!r} is no tensor"
        agree(where, [mine], [theirs])
    elif isinstance(theirs, dict):
        assert list(mine) == list(theirs), f"{where}: keys {list(mine)}, not {list(theirs)}"
        for key in theirs:
            same_state(mine[key], theirs[key], f"{where}[{key!r}]")
    elif isinstance(theirs, (list, tuple)):
        assert type(mine) is type(theirs) and len(mine) == len(theirs), f"{where}: {mine!r}"
        for i, (a, b) in enumerate(zip(mine, theirs, strict=True)):
            same_state(a, b, f"{where}[{i}]")
    else:
        assert mine == theirs, f"{where}: {mine!r} is not {theirs!r}"


def replay(info: OptimizerInfo, kwargs: dict[str, Any]) -> None:
    """Compare a few steps; AssertionError where the libraries differ."""
    theirs, mine = Side(torch, info.name, kwargs), Side(ours, info.name, kwargs)
    for i in range(STEPS):
        if theirs.refusal is not None or mine.refusal is not None:
            return same_refusal(mine.refusal, theirs.refusal, "$^")
        theirs.step(i)
        mine.step(i)
        if theirs.refusal is None:
            agree(f"parameters after step {i}", mine.params, theirs.params)
            expected = theirs.optimizer.state_dict()
            same_state(mine.optimizer.state_dict(), expected, "state_dict")
            if i == 1:
                theirs.optimizer.load_state_dict(expected)
                mine.optimizer.load_state_dict(translate(expected, ours))


def replay_error(info: OptimizerInfo, error: Any) -> None:
    """What torch refuses or warns of, we do, with the same type and words."""

    def refused(library: Any) -> Exception | None:
        cls = getattr(library.optim, info.name)
        sample = error.optimizer_error_input
        params = sample.params
        if params is None:
            params = [torch.nn.Parameter(torch.zeros(2, 3))]
        same: dict[int, Any] = {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)
                cls(rebuilt(params, library, same), **translate(sample.kwargs, library)).step()
        except Exception as problem:
            return problem
        return None

    same_refusal(refused(ours), refused(torch), error.error_regex)


def rebuilt(value: Any, library: Any, same: dict[int, Any]) -> Any:
    """`translate`, but a tensor that occurs twice is one tensor there too."""
    if isinstance(value, torch.Tensor):
        return same.setdefault(id(value), translate(value, library))
    if isinstance(value, (list, tuple)):
        return type(value)([rebuilt(v, library, same) for v in value])
    if isinstance(value, dict):
        return {k: rebuilt(v, library, same) for k, v in value.items()}
    return value


def replay_optimizer(info: OptimizerInfo, every: int = 1) -> Iterator[Outcome]:
    """The outcome of each set of options and implementation, and of each error input."""
    ways: list[dict[str, Any]] = [{}]
    if "foreach" in info.supported_impls:
        ways += [{"foreach": True}, {"foreach": False}]
    if "cpu" in info.supports_fused_on:
        ways += [{"fused": True}]
    for i, sample in enumerate(info.optim_inputs_func("cpu")[::every]):
        for way in ways:
            kwargs = {**sample.kwargs, **way}
            label = f"{i} {sample.desc} {way or ''}".strip()
            yield outcome(info.name, label, lambda kwargs=kwargs: replay(info, kwargs), OPTIMIZERS)
    for i, error in enumerate(info.optim_error_inputs_func("cpu", torch.float64)):
        label = f"error {i} {error.optimizer_error_input.desc}"
        yield outcome(info.name, label, lambda error=error: replay_error(info, error), OPTIMIZERS)
