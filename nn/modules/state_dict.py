"""Saving and loading: a module's parameters and persistent buffers as one flat dictionary.

The keys are paths, `"encoder.layers.0.weight"`, the same as torch's, so a torch checkpoint,
brought over as arrays, fits a module of the same structure.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from tinygrad_edu.engine.hooks import RemovableHandle
from tinygrad_edu.engine.switches import no_grad
from tinygrad_edu.nn.parameter import Parameter
from tinygrad_edu.tensor import Tensor

if TYPE_CHECKING:
    from tinygrad_edu.nn.modules.module import Module

_EXTRA = "_extra_state"


class _IncompatibleKeys(
    NamedTuple("IncompatibleKeys", [("missing_keys", list[str]), ("unexpected_keys", list[str])])
):
    """What did not match in `load_state_dict(strict=False)`."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return super().__repr__()

    __str__ = __repr__


class StateDictMethods:
    """The part of `Module` that saves and loads."""

    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    _modules: dict[str, Any]
    _non_persistent_buffers_set: set[str]
    _state_dict_pre_hooks: OrderedDict[int, Callable[..., Any]]
    _state_dict_hooks: OrderedDict[int, Callable[..., Any]]
    _load_state_dict_pre_hooks: OrderedDict[int, Callable[..., Any]]
    _load_state_dict_post_hooks: OrderedDict[int, Callable[..., Any]]

    def get_extra_state(self) -> Any:
        """State besides parameters and buffers, to be saved; a module may define it."""
        raise RuntimeError(
            "Reached a code path in Module.get_extra_state() that should never be called."
        )

    def set_extra_state(self, state: Any) -> None:
        """Restore what `get_extra_state` returned; a module defines both or neither."""
        raise RuntimeError(
            "Reached a code path in Module.set_extra_state() that should never be called."
        )

    # Saving ---------------------------------------------------------------------------------------

    def state_dict(
        self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> Any:
        """All parameters and persistent buffers by their paths.

        Args:
            destination: a dictionary to fill instead of a new one.
            prefix: put before every path.
            keep_vars: give the parameters themselves; else detached tensors that share their
                memory.

        torch's old form, without keywords, is understood too.

        >>> import tinygrad_edu as torch
        >>> list(torch.nn.Linear(2, 1).state_dict())
        ['weight', 'bias']
        """
        given: list[Any] = [*args, *(destination, prefix, keep_vars)[len(args) :]]
        destination, prefix, keep_vars = given
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        module = cast("Module", self)
        local_metadata = {"version": module._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = local_metadata
        for hook in self._state_dict_pre_hooks.values():
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, child in self._modules.items():
            if child is not None:
                child.state_dict(
                    destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars
                )
        for hook in self._state_dict_hooks.values():
            replaced = hook(self, destination, prefix, local_metadata)
            if replaced is not None:
                destination = replaced
        return destination

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Save this module alone, without its children."""
        for name, value in self._own_state():
            if value is not None:
                destination[prefix + name] = value if keep_vars else value.detach()
        if self._has_extra("get_extra_state"):
            destination[prefix + _EXTRA] = self.get_extra_state()

    def _own_state(self) -> Iterable[tuple[str, Any]]:
        """The parameters and persistent buffers of this module, by name."""
        for name, value in self._parameters.items():
            yield name, value
        for name, value in self._buffers.items():
            if name not in self._non_persistent_buffers_set:
                yield name, value

    def _has_extra(self, method: str) -> bool:
        return getattr(type(self), method) is not getattr(StateDictMethods, method)

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, prefix, keep_vars)` before the module is saved."""
        return RemovableHandle(self._state_dict_pre_hooks, hook)

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, local_metadata)` after the module is saved.

        Raises:
            RuntimeError: at the call of `state_dict`, if the hook returned something.
        """

        @functools.wraps(hook)
        def without_result(*args: object) -> None:
            if hook(*args) is not None:
                raise RuntimeError("state_dict post-hook must return None")

        return RemovableHandle(self._state_dict_hooks, without_result)

    def _register_state_dict_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """As `register_state_dict_post_hook`, but a result replaces the dictionary."""
        return RemovableHandle(self._state_dict_hooks, hook)

    # Loading --------------------------------------------------------------------------------------

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Copy the values of a state dict into the parameters and buffers.

        Args:
            state_dict: paths and tensors, as `state_dict` gives them.
            strict: raise an error unless the keys are exactly those of this module.
            assign: put the given tensors in the places of the present ones instead of copying.

        Returns:
            The keys that were missing in `state_dict`, and those it had in excess.

        Raises:
            TypeError: `state_dict` is not a mapping.
            RuntimeError: shapes differ, or, if `strict`, keys; all differences are reported.

        >>> import tinygrad_edu as torch
        >>> a, b = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
        >>> a.load_state_dict(b.state_dict())
        <All keys matched successfully>
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        missing: list[str] = []
        unexpected: list[str] = []
        errors: list[str] = []
        metadata = getattr(state_dict, "_metadata", None)
        given: Any = OrderedDict(state_dict)  # hooks may change it
        if metadata is not None:
            given._metadata = metadata

        def load(module: StateDictMethods, local: Any, prefix: str) -> None:
            local_metadata = {} if metadata is None else metadata.get(prefix[:-1], {})
            if assign:
                local_metadata["assign_to_params_buffers"] = assign
            module._load_from_state_dict(
                local, prefix, local_metadata, True, missing, unexpected, errors
            )
            for name, child in module._modules.items():
                if child is not None:
                    path = f"{prefix}{name}."
                    load(child, {k: v for k, v in local.items() if k.startswith(path)}, path)
            keys = _IncompatibleKeys(missing, unexpected)
            for hook in module._load_state_dict_post_hooks.values():
                if hook(module, keys) is not None:
                    raise AssertionError(
                        "Hooks registered with ``register_load_state_dict_post_hook`` are not"
                        " expected to return new values, if incompatible_keys need to be modified,"
                        " it should be done inplace."
                    )

        load(self, given, "")
        if strict:
            errors[:0] = _report("Missing", missing) + _report("Unexpected", unexpected)
        if errors:
            listed = "\n\t".join(errors)
            raise RuntimeError(
                f"Error(s) in loading state_dict for {type(self).__name__}:\n\t{listed}"
            )
        return _IncompatibleKeys(missing, unexpected)

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Load this module alone, without its children; a module may override it."""
        arguments = (prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        for hook in self._load_state_dict_pre_hooks.values():
            hook(state_dict, *arguments)
        assign = bool(local_metadata.get("assign_to_params_buffers", False))
        own = {name: value for name, value in self._own_state() if value is not None}
        for name, value in own.items():
            key = prefix + name
            if key in state_dict:
                self._load_one(key, name, value, state_dict[key], assign, error_msgs)
            elif strict:
                missing_keys.append(key)
        extra = prefix + _EXTRA
        if self._has_extra("set_extra_state"):
            if extra in state_dict:
                self.set_extra_state(state_dict[extra])
            elif strict:
                missing_keys.append(extra)
        elif strict and extra in state_dict:
            unexpected_keys.append(extra)
        for key in state_dict if strict else ():
            if key.startswith(prefix) and key != extra:
                name, dot, _ = key[len(prefix) :].partition(".")
                if name not in (self._modules if dot else own):
                    unexpected_keys.append(key)

    def _load_one(
        self, key: str, name: str, value: Tensor, given: Any, assign: bool, errors: list[str]
    ) -> None:
        kind = "parameter" if name in self._parameters else "buffer"
        if not isinstance(given, Tensor):
            errors.append(
                f'While copying the {kind} named "{key}", expected torch.Tensor or Tensor-like'
                f" object from checkpoint but received {type(given)}"
            )
            return
        if value.ndim == 0 and given.shape == (1,):
            given = given[0]  # checkpoints from before there were 0-d tensors
        if given.shape != value.shape:
            errors.append(
                f"size mismatch for {key}: copying a param with shape {given.shape} from"
                f" checkpoint, the shape in current model is {value.shape}."
            )
            return
        try:
            with no_grad():
                if not assign:
                    value.copy_(given)
                    return
                if isinstance(value, Parameter):
                    if isinstance(given, Parameter):
                        given.requires_grad_(value.requires_grad)
                    else:
                        given = Parameter(given, requires_grad=value.requires_grad)
                setattr(self, name, given)
        except Exception as error:
            errors.append(
                f'While copying the {kind} named "{key}", whose dimensions in the model are'
                f" {value.shape} and whose dimensions in the checkpoint are {given.shape}, an"
                f" exception occurred : {error.args}."
            )

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, local_metadata, strict, missing_keys,
        unexpected_keys, error_msgs)` before the module is loaded."""
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def _register_load_state_dict_pre_hook(
        self, hook: Callable[..., Any], with_module: bool = False
    ) -> RemovableHandle:
        """The same, the module left out of the arguments unless `with_module`."""
        bound = functools.partial(hook, self) if with_module else hook
        return RemovableHandle(self._load_state_dict_pre_hooks, bound)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, incompatible_keys)` after the module is loaded.

        It may change the two lists in `incompatible_keys`, and returns None.
        """
        return RemovableHandle(self._load_state_dict_post_hooks, hook)


def _report(kind: str, keys: list[str]) -> list[str]:
    if not keys:
        return []
    listed = ", ".join(f'"{key}"' for key in keys)
    return [f"{kind} key(s) in state_dict: {listed}. "]
