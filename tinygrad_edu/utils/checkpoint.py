"""Checkpointing: keep nothing of a part of the model, compute it again in the backward pass.

The part runs once with saved-tensor hooks that throw away what its operations keep.  The first
time the backward pass asks for any of it, the part runs again, from the same inputs and the same
states of the random generator and of autocast; its operations keep the same things in the same
order.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from tinygrad_edu.autograd.saved import saved_tensors_hooks
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.switches import enable_grad
from tinygrad_edu.engine.types import Call
from tinygrad_edu.random import default_states, go_back
from tinygrad_edu.utils.selective import (
    CheckpointPolicy as CheckpointPolicy,
)
from tinygrad_edu.utils.selective import (
    SelectiveCheckpointContext as SelectiveCheckpointContext,
)
from tinygrad_edu.utils.selective import (
    create_selective_checkpoint_contexts as create_selective_checkpoint_contexts,
)


class CheckpointError(RuntimeError):
    """The function did something else when it was computed again."""


class _Enough(Exception):
    """Ends a second run: whatever was kept in the first is there again."""


_early_stop: list[bool] = []
"""What `set_checkpoint_early_stop` says, the innermost block last."""


@contextlib.contextmanager
def set_checkpoint_early_stop(enable: bool) -> Iterator[None]:
    """Inside the block, whether checkpoints stop early: see `early_stop` of `checkpoint`."""
    _early_stop.append(enable)
    try:
        yield
    finally:
        _early_stop.pop()


class _Place:
    """Stands for one kept tensor: which it was, and its value once it has been computed again."""

    def __init__(self, number: int, tensor: Any) -> None:
        self.number = number
        self.what = tuple(tensor.array.shape), tensor.array.dtype
        self.value: Any = None


class _Part:
    """One run of a checkpointed function."""

    def __init__(self, function: Call, args: Any, kwargs: Any, rng: bool, early: bool) -> None:
        self.function, self.args, self.kwargs, self.early = function, args, kwargs, early
        self.rng_state = default_states() if rng else None
        mode = sys.modules.get("tinygrad_edu.amp.autocast_mode")  # not there: nobody used it
        self.autocast = contextlib.nullcontext if mode is None else mode.as_it_is()
        self.places: list[weakref.ref[_Place]] = []  # a place lives as long as its node needs it
        tensors: list[Any] = [a for a in (*args, *kwargs.values()) if isinstance(a, TensorBase)]
        self.versions = [(t, t._storage.version) for t in tensors]
        self.again: Callable[[], Any] = contextlib.nullcontext

    def pack(self, tensor: Any) -> _Place:
        place = _Place(len(self.places), tensor)
        self.places.append(weakref.ref(place))
        return place

    def unpack(self, place: _Place) -> Any:
        if place.value is None:
            self.compute_again()
        if place.value is None:
            raise CheckpointError(
                "torch.utils.checkpoint: A different number of tensors was saved during the"
                f" original forward and recomputation. Number saved in the forward:"
                f" {len(self.places)}"
            )
        return place.value

    def compute_again(self) -> None:
        """Run the function once more and hand out what its operations keep."""
        for tensor, version in self.versions:
            if tensor._storage.version != version:
                raise RuntimeError(
                    "one of the variables needed for gradient computation has been modified by an"
                    f" inplace operation: an input of a checkpointed function, {tensor.dtype!r}"
                    f" {list(tensor.shape)}, is at version {tensor._storage.version}; expected"
                    f" version {version} instead."
                )
        numbers = itertools.count()

        def hand_out(tensor: Any) -> None:
            number = next(numbers)
            place = self.places[number]() if number < len(self.places) else None
            if place is not None:
                give(place, tensor)
            if self.early and number + 1 == len(self.places):
                raise _Enough

        def give(place: _Place, tensor: Any) -> None:
            found = tuple(tensor.array.shape), tensor.array.dtype
            if found != place.what:
                raise CheckpointError(
                    "torch.utils.checkpoint: Recomputed values for the following tensors have"
                    " different metadata than during the forward pass: tensor at position"
                    f" {place.number}, saved {place.what}, recomputed {found}"
                )
            place.value = tensor.detach()

        before = default_states()
        if self.rng_state is not None:
            go_back(self.rng_state)
        try:
            with (
                enable_grad(),
                self.autocast(),
                self.again(),
                saved_tensors_hooks(hand_out, _never),
                contextlib.suppress(_Enough),
            ):
                self.function(*self.args, **self.kwargs)
        finally:
            if self.rng_state is not None:
                go_back(before)


def _never(packed: object) -> Any:
    raise AssertionError("the graph of a recomputation is not walked")


def noop_context_fn() -> tuple[Any, Any]:
    """Two contexts that change nothing."""
    return contextlib.nullcontext(), contextlib.nullcontext()


def checkpoint(
    function: Call,
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Callable[[], tuple[Any, Any]] = noop_context_fn,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """`function(*args, **kwargs)`, keeping only the arguments; the rest is computed again.

    Args:
        function: a part of the model. It must do the same each time, random numbers aside.
        use_reentrant: accepted for compatibility.
        context_fn: returns two contexts, for the first run and for the second.
        preserve_rng_state: give the second run the random numbers of the first, so that dropout
            drops the same elements.
        early_stop: end the second run as soon as all is there that the first run kept.
        determinism_check, debug: accepted for compatibility; shapes and dtypes are always compared.

    Raises:
        CheckpointError: the second run kept other tensors than the first.
        RuntimeError: an argument was written in place in between.
        ValueError: keyword arguments for the function with `use_reentrant=True`.

    Unlike torch, `use_reentrant=True` runs the same code as `use_reentrant=False`: gradients also
    reach parameters where no argument requires grad.

    Source: Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016.

    >>> import tinygrad_edu as torch
    >>> from tinygrad_edu.utils.checkpoint import checkpoint
    >>> layer = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh(), torch.nn.Dropout(0.5))
    >>> x = torch.ones(2, 4, requires_grad=True)
    >>> y = checkpoint(layer, x, use_reentrant=False)
    >>> y.sum().backward(); x.grad.shape
    torch.Size([2, 4])
    """
    if use_reentrant and kwargs:
        raise ValueError(f"Unexpected keyword arguments: {','.join(kwargs)}")
    early = use_reentrant is False and (_early_stop[-1] if _early_stop else early_stop)
    part = _Part(function, args, kwargs, preserve_rng_state, early)
    first, second = context_fn()
    part.again = lambda: second
    with saved_tensors_hooks(part.pack, part.unpack), first:
        return function(*args, **kwargs)


def checkpoint_sequential(
    functions: Any,
    segments: int,
    input: Any,
    use_reentrant: bool | None = None,
    **kwargs: Any,
) -> Any:
    """Run functions one after another, in segments of which all but the last are checkpointed.

    Args:
        functions: a Sequential, or a list of functions of one tensor.
        segments: how many.
        input: what the first function takes.
        use_reentrant, kwargs: as for `checkpoint`.

    >>> import tinygrad_edu as torch
    >>> from tinygrad_edu.utils.checkpoint import checkpoint_sequential
    >>> x = torch.ones(1, requires_grad=True)
    >>> y = checkpoint_sequential([torch.exp, torch.sin, torch.cos], 2, x, use_reentrant=False)
    >>> y.shape
    torch.Size([1])
    """
    parts = list(functions.children() if hasattr(functions, "children") else functions)
    size = len(parts) // segments

    def run(start: int, stop: int) -> Callable[[Any], Any]:
        def segment(x: Any) -> Any:
            for part in parts[start:stop]:
                x = part(x)
            return x

        return segment

    for i in range(segments - 1):
        input = checkpoint(
            run(i * size, (i + 1) * size),
            input,
            use_reentrant=use_reentrant,
            **kwargs,
        )
    return run(size * (segments - 1), len(parts))(input)
