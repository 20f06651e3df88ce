"""Steps of Adam and AdamW that look up what they need once, for a training step that is compiled.

An optimizer's step asks of every parameter where its arrays are and how they lie, gets scratch for
it, and makes the list of calls.  Of a small model that takes as long as the calls do.  Here all but
the gradient and the numbers of the step is kept; the calls are those of `kernels.adam.passes`.
"""

from __future__ import annotations

from operator import setitem
from typing import Any

import numpy as np

from tinygrad_edu import backend
from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.adam import WHOLE, known_numbers, passes
from tinygrad_edu.kernels.axpby import addresses, serves
from tinygrad_edu.kernels.blocks import BLOCK, blocks
from tinygrad_edu.kernels.undivided import Calls, undivided
from tinygrad_edu.optim import optimizer as base
from tinygrad_edu.optim.adam import Adam
from tinygrad_edu.optim.adamw import AdamW
from tinygrad_edu.out_of_memory import out_of_memory
from tinygrad_edu.tensor import Tensor

_NUMBERS = ("lr", "eps", "weight_decay")


class Row:
    """A parameter's arrays and state, cut into blocks, with scratch and where it all lies."""

    def __init__(self, x: Array, state: base.State, scratch: Array) -> None:
        self.x, self.state = x, state
        self.m, self.v = state["exp_avg"].array, state["exp_avg_sq"].array
        whole, served = x.size <= WHOLE, serves((x, self.m, self.v))
        parts = [*blocks(x, self.m, self.v, scratch=0, length=x.size if whole else 0)]
        self.blocks = []
        for xs, ms, vs in parts:
            arrays = xs, ms, vs, scratch[: xs.size].reshape(xs.shape)
            self.blocks.append((arrays, addresses(*arrays) if served else None))

    def holds(self, x: Array, state: base.State) -> bool:
        """Whether these are its arrays still."""
        same = x is self.x and state is self.state and state["exp_avg"].array is self.m
        return same and state["exp_avg_sq"].array is self.v

    def calls(self, g: Array, known: Any, shrinks: bool) -> Calls:
        """Those of a step along `g`."""
        calls: Calls = []
        start, flat = 0, g if len(self.blocks) == 1 else g.reshape(-1)
        for (xs, ms, vs, s), at in self.blocks:
            gs = flat if flat is g else flat[start : start + xs.size]
            start += xs.size
            if at is None or known[2] is None:
                calls += passes((xs, gs, ms, vs, s), None, known, shrinks)
            else:
                places = [at[0], *addresses(gs), *at[1:]]
                calls += passes((xs, gs, ms, vs, s), places, known, shrinks)
        return calls


class PreparedStep:
    """`step(optimizer)`, with what stays from step to step kept.

    Args:
        optimizer: an Adam or AdamW.
        step: what to call where something is out of the ordinary, such as a hook.
    """

    def __init__(self, optimizer: Adam, step: Any) -> None:
        self.optimizer, self.step = optimizer, step
        self.rows: dict[Tensor, Row | None] = {}
        self.scratch: dict[Any, Array] = {}

    def __call__(self, optimizer: Adam) -> None:
        """Make the step."""
        hooks = [*map(optimizer._hooks.get, ("step_pre", "step_post"))]
        unusual = any([*hooks, base._global_pre_hooks, base._global_post_hooks])
        if unusual or backend.switches.capturing or not all(map(_plain, optimizer.param_groups)):
            self.step(optimizer)
            return
        try:
            with np.errstate(all="ignore"):  # a warning would run Python amid the writes
                for group in optimizer.param_groups:
                    self.move(group)
        except MemoryError as error:
            raise out_of_memory(f"{type(optimizer).__name__}.step", error) from None

    def move(self, group: base.Group) -> None:
        """Move the parameters of a group."""
        optimizer, rows = self.optimizer, self.rows
        shrinks = group["weight_decay"] != 0
        given = (group["lr"], *group["betas"], group["eps"], group["weight_decay"])
        before: Any = None
        known: Any = None
        for p in group["params"]:
            grad, x = p._grad, p.array
            if grad is None:
                continue
            state, row, g = optimizer.state.get(p), rows.get(p), grad.array
            if state and (row is None or not row.holds(x, state)):
                row = rows[p] = self.row(x, optimizer._state_of(p, group))
            if row is None or not state or not _fits(g, x):
                optimizer._update_parameter(p, group)
                continue
            count = state["step"].array
            t = float(count) + 1
            if before != (t, x.dtype):
                before = t, x.dtype
                known = known_numbers(x.dtype, t, *given)
            calls = row.calls(g, known, shrinks)
            calls.append((setitem, count, ..., t))
            p._storage.write()
            undivided(calls)

    def row(self, x: Array, state: base.State) -> Row | None:
        """What is kept of a parameter; None if its step is the optimizer's."""
        arrays = (x, state["exp_avg"].array, state["exp_avg_sq"].array)
        alike = [a.__class__ is np.ndarray and _fits(a, x) for a in arrays]
        if x.dtype.char not in "fd" or not x.size or not all(alike):
            return None
        length = x.size if x.size <= WHOLE else BLOCK // x.itemsize
        scratch = self.scratch.get(x.dtype)
        if scratch is None or scratch.size < length:
            scratch = self.scratch[x.dtype] = np.empty(length, x.dtype)
        return Row(x, state, scratch)


def _fits(a: Array, x: Array) -> bool:
    """Whether an array may be walked beside `x`."""
    return a.dtype is x.dtype and a.shape == x.shape and a.flags.c_contiguous


def _plain(group: base.Group) -> bool:
    """Whether a group's options are those of the calls above."""
    numbers = [*group["betas"], *[group[name] for name in _NUMBERS]]
    odd = group["amsgrad"] or group["maximize"] or group["capturable"]
    l2 = group["weight_decay"] != 0 and not group["decoupled_weight_decay"]
    return not (odd or l2) and all([n.__class__ is float or n.__class__ is int for n in numbers])


def prepared(optimizer: Any, step: Any) -> Any:
    """`step` of an Adam or AdamW as a `PreparedStep`; of others as it is."""
    known = type(optimizer) in (Adam, AdamW)
    return PreparedStep(optimizer, step) if known else step
