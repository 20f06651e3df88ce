"""`torch.compile` and `torch.compiler`: functions that record their operations and replay them.

Read in this order:

    compiled.py   what happens when a compiled function is called
    watch.py      what a run of Python code looks at
    guards.py     that, written down, to be compared at each call
    capture.py    the recorder: a listener to the operations' calls
    program.py    the recording written out in Python, as functions of arrays
    lower.py      what the commonest operations become in it

docs/compile.md tells the whole story, with a plan to look at.
"""

from __future__ import annotations

import functools
from typing import Any

from tinygrad_edu.compiler.compiled import Compiled, Unsupported
from tinygrad_edu.nn.modules.module import Module

__all__ = [
    "Compiled", "OptimizedModule", "Unsupported", "allow_in_graph", "assume_constant_result",
    "compile", "cudagraph_mark_step_begin", "disable",
    "explain", "is_compiling", "is_dynamo_compiling", "reset",
]  # fmt: skip

_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
_BACKENDS = ("inductor", "eager", "aot_eager", "cudagraphs")


class OptimizedModule(Module):
    """A compiled module: calls are recorded and replayed, all else is that of `_orig_mod`.

    As in torch, the names in its `state_dict` begin with `_orig_mod.`.
    """

    def __init__(self, module: Module, compiled: Compiled) -> None:
        super().__init__()
        self._modules["_orig_mod"] = module
        del self.__dict__["training"]  # it is the module's
        self.__dict__["_compiled"] = compiled

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The module's output."""
        return self.__dict__["_compiled"](*args, **kwargs)

    forward = __call__

    def __getattr__(self, name: str) -> Any:
        module = self.__dict__.get("_modules", {}).get("_orig_mod")
        if module is None:  # it is being unpickled
            raise AttributeError(name)
        return module if name == "_orig_mod" else getattr(module, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if "_compiled" in self.__dict__:
            setattr(self._orig_mod, name, value)
        else:
            super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._orig_mod, name)


def compile(
    model: Any = None, *, fullgraph: bool = False, dynamic: bool | None = None, backend: Any = None,
    mode: str | None = None, options: dict[str, Any] | None = None, disable: bool = False,
    name: str | None = None, recompile_limit: int | None = None, isolate_recompiles: bool = False,
    shapes_spec: Any = None,
) -> Any:  # fmt: skip
    """A function or module that records the operations of a call, and replays them in later ones.

    Args:
        model: what to compile; without it, a decorator is returned.
        fullgraph: raise where the whole cannot be recorded, instead of running it as it is.
        backend, mode: checked, and of no further effect.
        disable: return the model itself.
        dynamic, options and the others: accepted for torch's sake.

    Raises:
        RuntimeError: the model is none, or there is no such mode or backend.
        Unsupported: at a call, under `fullgraph`: why it cannot be recorded.

    A whole training step may be compiled: `backward`, clipping and the optimizer are part of it.

    Unlike torch, the first two calls with some shapes run as they are and are watched; nothing is
    generated but Python (docs/compile.md). What is left behind is that of the function, bit for
    bit.

    >>> import tinygrad_edu as torch
    >>> @torch.compile(mode="reduce-overhead")
    ... def double(x): return 2 * x
    >>> double(torch.ones(1))
    tensor([2.])
    """
    if mode is not None and options is not None:
        raise RuntimeError("Either mode or options can be specified, but both can't be specified.")
    if mode is not None and mode not in _MODES:
        raise RuntimeError(f"Unrecognized mode={mode}, should be one of: {', '.join(_MODES)}")
    if backend is not None and backend not in _BACKENDS:
        raise RuntimeError(f"Invalid backend: {backend!r}; there are {', '.join(_BACKENDS)}")
    if model is None:
        return functools.partial(compile, fullgraph=fullgraph, disable=disable)
    if not callable(model):
        raise RuntimeError(f"torch.compile expects a function or a module, got {type(model)}")
    if disable or isinstance(model, (Compiled, OptimizedModule)):
        return model
    compiled = Compiled(model, fullgraph)
    return OptimizedModule(model, compiled) if isinstance(model, Module) else compiled


def explain(compiled: Any) -> str:
    """What has become of each signature that a compiled function was called with.

    >>> import tinygrad_edu as torch
    >>> @torch.compile
    ... def scaled(x): return torch.relu(x) * 3
    >>> for _ in range(3): y = scaled(torch.ones(2))
    >>> print(torch.compiler.explain(scaled))
    recorded:
    def program(given, x0):
        v1 = np.maximum(x0, zeros)
        v2 = mul(v1, 3)
        del v1
        t0 = wrap(v2)
        del v2
        return t0
    """
    compiled = getattr(compiled, "_compiled", compiled)
    compiled = vars(compiled).get("forward", compiled) if isinstance(compiled, Module) else compiled
    if not isinstance(compiled, Compiled):
        return "not compiled"
    found = [e for entries in compiled.known.values() for e in entries if e.reason or e.source]
    told = [f"runs as it is: {e.reason}" if e.reason else f"recorded:\n{e.source}" for e in found]
    return "\n\n".join(told) or "not called often enough yet"


def is_compiling() -> bool:
    """False: a function is recorded while it runs as it is."""
    return False


is_dynamo_compiling = is_compiling


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """The function itself, not compiled; also as a decorator."""
    if fn is None:
        return disable
    if isinstance(fn, OptimizedModule):
        return fn._orig_mod
    return fn.function if isinstance(fn, Compiled) else fn


def reset() -> None:
    """Nothing to reset: recordings belong to their function."""


cudagraph_mark_step_begin = reset
"""Nothing to mark."""


def allow_in_graph(fn: Any) -> Any:
    """The function itself."""
    return fn


assume_constant_result = allow_in_graph
