"""A parameter's step is done or not done, wherever an interrupt or a lack of memory falls into it.

What a step writes (the parameter, its averages, its counters) is copied beforehand and put back if
the step does not come to its end.  Copies of a large parameter would cost as much as the step, so
one that is updated element by element goes block by block, while a block is in the cache: once the
first block is done, a step that is broken off goes on from there to its end before the exception
does.  (A second interrupt, in that very moment, is one too many.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.kernels.blocks import BLOCK, flat
from tinygrad_edu.tensor import Tensor

LARGE = 1 << 20
"""Bytes of a parameter from which on it is updated by blocks."""

Group: TypeAlias = dict[str, Any]
State: TypeAlias = dict[str, Any]
Update: TypeAlias = Callable[[Array, Array, State, Group], None]
"""Moves an array along a gradient in place, and changes what is remembered of it."""


def all_or_nothing(update: Update, x: Array, g: Array, state: State, group: Group) -> None:
    """`update(x, g, state, group)`, undone if it raises."""
    values = state.copy()
    arrays = [x, *[value.array for value in state.values() if isinstance(value, Tensor)]]
    contents = [_copy(array) for array in arrays]
    try:
        update(x, g, state, group)
    except BaseException:
        state.update(values)
        for array, content in zip(arrays, contents, strict=True):
            array[...] = content
        raise


def by_blocks(update: Update, x: Array, g: Array, state: State, group: Group) -> None:
    """The same for an update that treats every element by itself; begun, it is brought to its end.

    Tensors of the state have the shape of `x`, or are counters, which the last block advances.
    What the state does not have yet (None), the update makes for all of `x`.
    """
    if x.nbytes > LARGE and not any([value is None for value in state.values()]):
        keys = [k for k, v in state.items() if isinstance(v, Tensor) and v.shape == x.shape]
        lined_up = flat([x, g, *[state[key].array for key in keys]])
        if lined_up is not None:
            _Run(update, lined_up, keys, state, group).to_the_end()
            return
    all_or_nothing(update, x, g, state, group)


class _Run:
    """One update of a large parameter.

    `reached` says where the block begins that is being updated, and whether its content has been
    saved, because it may have been changed; it is one attribute, so no interrupt comes between.
    """

    def __init__(
        self, update: Update, arrays: list[Array], keys: list[str], state: State, group: Group
    ) -> None:
        self.update, self.arrays, self.keys = update, arrays, keys
        self.state, self.group = state, group
        self.size, self.length = arrays[0].size, BLOCK // arrays[0].itemsize
        self.counters = [v for k, v in state.items() if isinstance(v, Tensor) and k not in keys]
        self.counts = [counter.array.copy() for counter in self.counters]
        self.written = [array for i, array in enumerate(arrays) if i != 1]  # not the gradient
        self.saved = [_room_for(array[: self.length]) for array in self.written]
        self.reached = (0, False)

    def to_the_end(self) -> None:
        try:
            self._go_on()
        except BaseException:
            at, changed = self.reached
            if at:
                self._go_on()
            elif changed:
                self._restore(0)
            raise

    def _go_on(self) -> None:
        at, changed = self.reached
        while at < self.size:
            end = min(at + self.length, self.size)
            if changed:
                self._restore(at)
            for array, saved in zip(self.written, self.saved, strict=True):
                np.copyto(saved[: end - at], array[at:end])
            self.reached = (at, True)
            x, g, *parts = [array[at:end] for array in self.arrays]
            state = self.state | {k: wrap(part) for k, part in zip(self.keys, parts, strict=True)}
            self.update(x, g, state, self.group)
            if end < self.size:  # the counters advance with the last block only
                self._restore_counters()
            at, changed = end, False
            self.reached = (at, changed)

    def _restore(self, at: int) -> None:
        """Put the content of a block back."""
        for array, saved in zip(self.written, self.saved, strict=True):
            part = array[at : at + self.length]
            np.copyto(part, saved[: part.size])
        self._restore_counters()

    def _restore_counters(self) -> None:
        for counter, count in zip(self.counters, self.counts, strict=True):
            counter.array[...] = count


def _copy(x: Array) -> Array:
    if x.nbytes < 1 << 15:
        return x.copy()
    room = _room_for(x).reshape(x.shape)
    np.copyto(room, x)
    return room


def _room_for(x: Array) -> Array:
    """An array to copy `x` to.

    Its address is far from that of `x` modulo 4096: else the processor takes each load for one of
    what has just been stored, and a copy lasts ten times as long.
    """
    room = np.empty(x.size + 4096 // x.itemsize, x.dtype)
    shift = (x.ctypes.data - room.ctypes.data + 2048) % 4096 // x.itemsize
    return room[shift : shift + x.size]
