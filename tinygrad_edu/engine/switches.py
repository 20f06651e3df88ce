"""Blocks that switch recording on or off: `no_grad`, `enable_grad`, `inference_mode`.

Each replaces the thread's mode by another (see mode.py) in one assignment, and puts back what it
changed in another.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from tinygrad_edu.engine.mode import PLAIN, Mode, is_recording, state
from tinygrad_edu.engine.types import Call, Options, typed_as

F = TypeVar("F", bound=Call)


def is_grad_enabled() -> bool:
    """Whether operations of this thread are recorded for the backward pass.

    >>> import tinygrad_edu as torch
    >>> with torch.no_grad(): print(torch.is_grad_enabled())
    False
    """
    return is_recording()


def is_inference_mode_enabled() -> bool:
    """Whether this thread is inside `inference_mode`."""
    return state.mode.inference


class _Switch:
    """A block, or a decorated function, that runs with recording switched on or off."""

    enabled: bool

    def __init__(self) -> None:
        self._before: list[tuple[Mode, Mode]] = []

    def _fresh(self) -> _Switch:
        return type(self)()

    def _inside(self, mode: Mode) -> Mode:
        """The mode inside the block, given the one outside."""
        return mode.but(enabled=self.enabled)

    def __enter__(self) -> None:
        outside = state.mode
        inside = self._inside(outside)
        self._before.append((outside, inside))
        state.mode = inside

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        outside, inside = self._before[-1]
        state.mode = outside if state.mode is inside else _restored(outside)
        self._before.pop()

    def __call__(self, orig_func: F) -> F:
        if inspect.isclass(orig_func):
            warnings.warn(
                "Decorating classes is deprecated: it switches only while an object is made."
                " Decorate the methods; for this very effect, `__init__`.",
                FutureWarning,
                stacklevel=3 if type(self).__call__ is not _Switch.__call__ else 2,
            )
        if inspect.isgeneratorfunction(orig_func):
            return self._wrap_generator(orig_func)

        @functools.wraps(orig_func)
        def inside(*args: object, **kwargs: object) -> Any:
            with self._fresh():
                return orig_func(*args, **kwargs)

        return typed_as(orig_func, inside)

    def _wrap_generator(self, function: F) -> F:
        """A generator runs with the switch set while it works, and not while its user does."""

        @functools.wraps(function)
        def inside(*args: object, **kwargs: object) -> Any:
            generator = function(*args, **kwargs)
            resume: Callable[[], Any] = functools.partial(next, generator)
            while True:
                try:
                    with self._fresh():
                        value = resume()
                except StopIteration as stop:
                    return stop.value
                try:
                    resume = functools.partial(generator.send, (yield value))
                except GeneratorExit:
                    with self._fresh():
                        generator.close()
                    raise
                except BaseException as error:
                    resume = functools.partial(generator.throw, error)

        return typed_as(function, inside)


def _restored(before: Mode) -> Mode:
    """The present mode, recording as `before`; listeners that were added since stay."""
    return state.mode.but(enabled=before.recorder is not None, inference=before.inference)


class _BareSwitch(_Switch):
    """A switch without arguments, which may also decorate a function without being called."""

    def __new__(cls, orig_func: Call | None = None) -> Any:
        switch = super().__new__(cls)
        if orig_func is None:
            return switch
        switch.__init__()  # type: ignore[misc]
        return switch(orig_func)

    def __init__(self, orig_func: Call | None = None) -> None:
        super().__init__()


class no_grad(_BareSwitch):
    """Record nothing inside the block, or inside the decorated function.

    Results do not require grad, even when inputs do.

    >>> import tinygrad_edu as torch
    >>> w = torch.ones(2, requires_grad=True)
    >>> with torch.no_grad():
    ...     y = w * 2
    >>> y.requires_grad
    False
    """

    enabled = False


class enable_grad(_BareSwitch):
    """Record operations inside the block, or the decorated function, within `no_grad` too.

    >>> import tinygrad_edu as torch
    >>> w = torch.ones(2, requires_grad=True)
    >>> with torch.no_grad(), torch.enable_grad():
    ...     y = w * 2
    >>> y.requires_grad
    True
    """

    enabled = True


class set_grad_enabled(_Switch):
    """Switch recording on or off by a condition: a block, a decorator or a plain call.

    >>> import tinygrad_edu as torch
    >>> training = False
    >>> with torch.set_grad_enabled(training): torch.is_grad_enabled()
    False
    """

    def __init__(self, mode: bool) -> None:
        super().__init__()
        self.enabled = bool(mode)
        self._called = state.mode
        state.mode = self._inside(state.mode)

    def _fresh(self) -> _Switch:
        return type(self)(self.enabled)

    def __enter__(self) -> None:
        inside = self._inside(state.mode)
        self._before.append((self._called, inside))
        state.mode = inside

    def __call__(self, orig_func: F) -> F:
        state.mode = _restored(self._called)  # it decorates: the caller's mode stays
        return super().__call__(orig_func)

    def __getstate__(self) -> Options:
        called = self._called.recorder is not None, self._called.inference
        return {"enabled": self.enabled, "_called": called}

    def __setstate__(self, state: Options) -> None:
        enabled, inference = state["_called"]
        self.enabled, self._called = (
            state["enabled"],
            PLAIN.but(enabled=enabled, inference=inference),
        )
        self._before = []


class inference_mode(_Switch):
    """`no_grad` for code whose results will never take part in training.

    Tensors made inside are marked (`is_inference()`): using one later where the backward pass
    would need it raises RuntimeError.

    >>> import tinygrad_edu as torch
    >>> with torch.inference_mode():
    ...     y = torch.ones(2) * 2
    >>> y.is_inference()
    True
    """

    def __new__(cls, mode: Any = True) -> Any:
        switch = super().__new__(cls)
        if not callable(mode):
            return switch
        switch.__init__()  # type: ignore[misc]
        return switch(mode)

    def __init__(self, mode: Any = True) -> None:
        super().__init__()
        self.inference = mode if isinstance(mode, bool) else True

    def _fresh(self) -> _Switch:
        return type(self)(self.inference)

    def _inside(self, mode: Mode) -> Mode:
        enabled = mode.recorder is not None and not self.inference
        return mode.but(enabled=enabled, inference=self.inference)
