"""Calling a module that has hooks (see hooks.py)."""

from __future__ import annotations

import functools
import warnings
from typing import TYPE_CHECKING, Any

from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.nn.modules.hooks import Hook, Hooks, everywhere

if TYPE_CHECKING:
    from tinygrad_edu.nn.modules.module import Module


def call_with_hooks(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What `module(*args, **kwargs)` does when there are hooks."""
    finished: set[Key] = set()
    try:
        return _call(module, args, kwargs, finished)
    except Exception:
        _run_always_called(module, args, kwargs, finished)
        raise


def _call(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any], finished: set[Key]) -> Any:
    for hook in _both("forward_pre", module._forward_pre_hooks).values():
        args, kwargs = _run_forward_pre(module, hook, args, kwargs)
    borders = None
    backward_pre = _both("backward_pre", module._backward_pre_hooks)
    both = [*_both("backward", module._backward_hooks).values()]
    backward = [hook for hook in both if hook.full]
    if backward_pre or backward:
        from tinygrad_edu.nn.modules.borders import Borders

        borders = Borders(module, backward_pre.values(), backward)
        args = borders.around_inputs(args)
    result = module.forward(*args, **kwargs)
    for key, hook in _both("forward", module._forward_hooks).items():
        finished.add(key)
        replaced = _run_forward(module, hook, args, kwargs, result)
        if replaced is not None:
            result = replaced
    if borders is not None:
        result = borders.around_outputs(result)
    if len(backward) < len(both):
        node = _first_tensor(result).grad_fn
        for hook in [hook for hook in both if node is not None and not hook.full]:
            node.register_hook(functools.partial(hook.function, module))
    return result


def _first_tensor(result: Any) -> Any:
    while not isinstance(result, TensorBase):
        if isinstance(result, dict):
            result = next(v for v in result.values() if isinstance(v, TensorBase))
        else:
            result = result[0]
    return result


Key = tuple[bool, int]
"""Whether a hook is the module's own, and the number of its handle among those."""


def _both(kind: str, own: Hooks) -> dict[Key, Hook]:
    """The hooks everywhere and the module's own of one kind, copied: a hook may remove itself."""
    shared = {(False, i): hook for i, (its_kind, hook) in everywhere.items() if its_kind == kind}
    mine = {i: hook if isinstance(hook, Hook) else Hook(hook) for i, hook in own.items()}
    return shared | {(True, i): hook for i, hook in mine.items()}


def _run_forward_pre(
    module: Module, hook: Hook, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if not hook.with_kwargs:
        replaced = hook.function(module, args)
        if replaced is None:
            return args, kwargs
        return (replaced if isinstance(replaced, tuple) else (replaced,)), kwargs
    replaced = hook.function(module, args, kwargs)
    if replaced is None:
        return args, kwargs
    if not (isinstance(replaced, tuple) and len(replaced) == 2):
        raise RuntimeError(
            "forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got"
            f" {replaced}."
        )
    return replaced


def _run_forward(
    module: Module, hook: Hook, args: tuple[Any, ...], kwargs: dict[str, Any], result: object
) -> Any:
    if hook.with_kwargs:
        return hook.function(module, args, kwargs, result)
    return hook.function(module, args, result)


def _run_always_called(
    module: Module, args: tuple[Any, ...], kwargs: dict[str, Any], finished: set[Key]
) -> None:
    """After an exception: call the `always_call` hooks that have not run yet."""
    for key, hook in _both("forward", module._forward_hooks).items():
        if not hook.always_call or key in finished:
            continue
        try:
            _run_forward(module, hook, args, kwargs, None)
        except Exception as error:
            warnings.warn(
                "module forward hook with ``always_call=True`` raised an exception that was"
                f" silenced as another error was raised in forward: {error}",
                stacklevel=4,
            )
