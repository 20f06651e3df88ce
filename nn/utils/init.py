"""Layers whose initial values will be overwritten."""

from __future__ import annotations

import inspect

from tinygrad_edu.nn.modules.module import Module

__all__ = ["skip_init"]


def skip_init(module_cls: type[Module], *args: object, **kwargs: object) -> Module:
    """`module_cls(*args, **kwargs)`, a layer whose values will be overwritten.

    Unlike torch, the values are the usual initial ones, and the random numbers are drawn and given
    back: the stream goes on as if none had been drawn, as it does in torch.

    Raises:
        RuntimeError: `module_cls` is not a Module class, or its constructor takes no `device`.

    >>> import tinygrad_edu as torch
    >>> torch.nn.utils.skip_init(torch.nn.Linear, 5, 1).weight.shape
    torch.Size([1, 5])
    """
    from tinygrad_edu.random import get_rng_state, set_rng_state

    if not (isinstance(module_cls, type) and issubclass(module_cls, Module)):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    if "device" not in inspect.signature(module_cls).parameters:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    state = get_rng_state()
    module = module_cls(*args, **kwargs)
    set_rng_state(state)
    return module
