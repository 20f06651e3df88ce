"""Modules as functions of their parameters: other tensors stand in for them during one call."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

from tinygrad_edu.nn.modules.conversion import typename
from tinygrad_edu.nn.modules.module import Module
from tinygrad_edu.tensor import Tensor

__all__ = ["functional_call"]


def functional_call(
    module: Module, parameters_and_buffers: Any, args: Any = None, kwargs: Any = None, *,
    tie_weights: bool = True, strict: bool = False,
) -> Any:  # fmt: skip
    """The older name of `torch.func.functional_call`."""
    from tinygrad_edu.func import functional_call as call

    warnings.warn(
        "`torch.nn.utils.stateless.functional_call` is deprecated as of PyTorch 2.0 and will be"
        " removed in a future version of PyTorch. Please use `torch.func.functional_call` instead"
        " which is a drop-in replacement.",
        FutureWarning,
        stacklevel=2,
    )
    return call(
        module, parameters_and_buffers, args, kwargs, tie_weights=tie_weights, strict=strict
    )


def call_with(
    module: Module,
    given: dict[str, Any],
    args: object,
    kwargs: Any,
    tie_weights: bool,
    strict: bool,
) -> Any:
    """`torch.func.functional_call` with one dictionary, which gets what `forward` assigns."""
    own: dict[str, Any] = dict(module.named_parameters(remove_duplicate=False))
    own.update(module.named_buffers(remove_duplicate=False))
    values = _for_all_names(given, own) if tie_weights else dict(given)
    if strict:
        _check_names(values.keys(), own.keys(), type(module).__name__)
    arguments = args if isinstance(args, tuple) else () if args is None else (args,)
    with _standing_in(module, values):
        try:
            return module(*arguments, **(kwargs or {}))
        finally:
            now = {path: _present(module, path) for path in given}
            given.update({path: value for path, value in now.items() if value is not _ABSENT})


def _for_all_names(given: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """What is given, under each of the names of a tensor that has several.

    Raises:
        ValueError: different values for one tensor.
    """
    names: dict[int, list[str]] = {}
    for name, tensor in own.items():
        names.setdefault(id(tensor), []).append(name)
    values = dict(given)
    for tied in names.values():
        present = [name for name in tied if name in given]
        if len({id(given[name]) for name in present}) > 1:
            raise ValueError(
                f"functional_call got multiple values for keys {sorted(present)}, which are tied."
                " Consider using tie_weights=False"
            )
        if present:
            values.update(dict.fromkeys(tied, given[present[0]]))
    return values


def _check_names(found: Any, expected: Any, name: str) -> None:
    """Raise torch's RuntimeError unless both sets of names are equal."""
    lines = [f"Error(s) in reparametrizing for {name}:"]
    for what, names in (("Unexpected", found - expected), ("Missing", expected - found)):
        if names:
            lines.append(f"{what} key(s): {', '.join(map(repr, sorted(names)))}.")
    if len(lines) > 1:
        raise RuntimeError("\n\t".join(lines))


_ABSENT = object()


@contextlib.contextmanager
def _standing_in(module: Module, values: dict[str, Any]) -> Iterator[None]:
    """Other tensors at these paths of a module while the block runs."""
    before: dict[str, Any] = {}
    try:
        for path, value in values.items():
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(
                    f"the value for {path!r} is a {typename(value)}: {value!r} is not an instance"
                    " of torch.Tensor"
                )
            before[path] = _checked(path, _present(module, path))
            _put(module, path, value)
        yield
    finally:
        for path in reversed(before):
            _put(module, path, before[path])


def _find(module: Module, path: str) -> tuple[Module, dict[str, Any] | None, str]:
    """The module that a path leads to, its dictionary that holds the name, if any, and the name."""
    if not isinstance(path, str):
        raise TypeError(f"the name of a tensor should be a string, not {typename(path)}: {path!r}")
    parent, _, name = path.rpartition(".")
    if not name:
        raise KeyError('tensor name can\'t be empty string ""')
    owner = module.get_submodule(parent)
    held = next((d for d in (owner._parameters, owner._buffers) if name in d), None)
    return owner, held, name


def _present(module: Module, path: str) -> Any:
    owner, held, name = _find(module, path)
    return getattr(owner, name, _ABSENT) if held is None else held[name]


def _put(module: Module, path: str, value: object) -> None:
    owner, held, name = _find(module, path)
    if held is not None:  # not through __setattr__: the place takes any tensor for now
        held[name] = value
    elif value is not _ABSENT:
        setattr(owner, name, value)
    elif hasattr(owner, name):
        delattr(owner, name)


def _checked(path: str, value: Any) -> object:
    """What a path leads to, if a tensor may stand there."""
    if value is not None and value is not _ABSENT and not isinstance(value, Tensor):
        raise TypeError(f"attribute `{path}`: {value!r} is not an instance of torch.Tensor")
    return value
