"""Hooks: user functions that a module calls before or after `forward`, or on the way back.

    forward-pre hook    hook(module, args)                        may replace the inputs
    forward hook        hook(module, args, output)                may replace the output
    backward-pre hook   hook(module, grad_output)                 may replace the output's gradient
    backward hook       hook(module, grad_input, grad_output)     may replace the input's gradient

Here they are registered; hooked.py calls them, and borders.py says what backward hooks see.  A
module without hooks needs neither: `Module.__call__` goes straight to `forward`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from tinygrad_edu.engine.hooks import RemovableHandle

if TYPE_CHECKING:
    from tinygrad_edu.nn.modules.module import Module


class Hook(NamedTuple):
    """A registered function with options; one without any is kept as it is, as in torch."""

    function: Callable[..., Any]
    with_kwargs: bool = False
    always_call: bool = False
    full: bool = True
    """Of a backward hook: it sees the gradients at the module's borders, not those of a node."""


Hooks = OrderedDict[int, Any]


everywhere: OrderedDict[int, tuple[str, Hook]] = OrderedDict()
"""Hooks on all modules, each with its kind; they run before the module's own."""


class HookMethods:
    """The part of `Module` that registers hooks."""

    _forward_pre_hooks: Hooks
    _forward_hooks: Hooks
    _backward_pre_hooks: Hooks
    _backward_hooks: Hooks

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args)` before `forward`; what it returns, if anything, replaces args.

        Args:
            hook: returns None, the one new argument, or a tuple of all positional ones.
            prepend: run before the hooks registered so far instead of after them.
            with_kwargs: call `hook(module, args, kwargs)`; it returns None or `(args, kwargs)`.

        >>> import tinygrad_edu as torch
        >>> layer = torch.nn.Identity()
        >>> with layer.register_forward_pre_hook(lambda module, args: args[0] * 2):
        ...     layer(torch.ones(2))
        tensor([2., 2.])
        """
        made = Hook(hook, with_kwargs) if with_kwargs else hook
        return RemovableHandle(self._forward_pre_hooks, made, prepend=prepend)

    def register_forward_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Call `hook(module, args, output)` after `forward`; a result replaces the output.

        Args:
            hook: returns None or the new output.
            prepend: run before the hooks registered so far instead of after them.
            with_kwargs: call `hook(module, args, kwargs, output)`.
            always_call: call it (with output None) even if `forward` raises an exception.

        >>> import tinygrad_edu as torch
        >>> layer, seen = torch.nn.Identity(), []
        >>> handle = layer.register_forward_hook(lambda module, args, output: seen.append(output))
        >>> y = layer(torch.ones(2)); seen
        [tensor([1., 1.])]
        """
        made = Hook(hook, with_kwargs, always_call) if with_kwargs or always_call else hook
        return RemovableHandle(self._forward_hooks, made, prepend=prepend)

    def register_full_backward_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, grad_output)` when the gradient of the output is known.

        Args:
            hook: takes the tuple of gradients, one per output; returns None or such a tuple.
            prepend: run before the hooks registered so far instead of after them.
        """
        return RemovableHandle(self._backward_pre_hooks, hook, prepend=prepend)

    def register_full_backward_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` when the input's gradient is known.

        Args:
            hook: takes two tuples with one entry per positional input and per output, None where
                there is no gradient; returns None or a new `grad_input`.
            prepend: run before the hooks registered so far instead of after them.

        >>> import tinygrad_edu as torch
        >>> layer = torch.nn.Identity()
        >>> handle = layer.register_full_backward_hook(lambda m, gi, go: (gi[0] * 2,))
        >>> x = torch.ones(2, requires_grad=True)
        >>> layer(x).sum().backward(); x.grad
        tensor([2., 2.])
        """
        self._one_kind_of_backward_hooks(full=True)
        return RemovableHandle(self._backward_hooks, Hook(hook), prepend=prepend)

    def register_backward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` at the node that made the (first) output.

        torch's older form: what the hook sees are the gradients of the module's last operation.

        Raises:
            RuntimeError: the module has full backward hooks.
        """
        self._one_kind_of_backward_hooks(full=False)
        return RemovableHandle(self._backward_hooks, Hook(hook, full=False))

    def _one_kind_of_backward_hooks(self, full: bool) -> None:
        if any([hook.full != full for hook in self._backward_hooks.values()]):
            raise RuntimeError(
                "Cannot use both regular backward hooks and full backward hooks on a single"
                " Module. Please use only one of them."
            )


def register_module_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook` as `Module.register_backward_hook` does, for every module."""
    return RemovableHandle(everywhere, ("backward", Hook(hook, full=False)))


def register_module_forward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, args)` before the `forward` of every module.

    >>> import tinygrad_edu as torch
    >>> hooks = torch.nn.modules.module
    >>> handle = hooks.register_module_forward_pre_hook(lambda module, args: print(module))
    >>> y = torch.nn.Flatten()(torch.ones(1, 2))
    Flatten(start_dim=1, end_dim=-1)
    >>> handle.remove()
    """
    return RemovableHandle(everywhere, ("forward_pre", Hook(hook)))


def register_module_forward_hook(
    hook: Callable[..., Any], *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Call `hook(module, args, output)` after the `forward` of every module.

    >>> import tinygrad_edu as torch
    >>> hooks = torch.nn.modules.module
    >>> handle = hooks.register_module_forward_hook(lambda module, args, output: print(module))
    >>> y = torch.nn.Flatten()(torch.ones(1, 2))
    Flatten(start_dim=1, end_dim=-1)
    >>> handle.remove()
    """
    return RemovableHandle(everywhere, ("forward", Hook(hook, with_kwargs, always_call)))


def register_module_full_backward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, grad_output)` on the way back through every module.

    >>> import tinygrad_edu as torch
    >>> hooks = torch.nn.modules.module
    >>> x = torch.ones(1, 2, requires_grad=True)
    >>> handle = hooks.register_module_full_backward_pre_hook(lambda module, go: print(go))
    >>> torch.nn.Flatten()(x).sum().backward()
    (tensor([[1., 1.]]),)
    >>> handle.remove()
    """
    return RemovableHandle(everywhere, ("backward_pre", Hook(hook)))


def register_module_full_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, grad_input, grad_output)` on the way back through every module.

    >>> import tinygrad_edu as torch
    >>> hooks = torch.nn.modules.module
    >>> x = torch.ones(1, 2, requires_grad=True)
    >>> handle = hooks.register_module_full_backward_hook(lambda module, gi, go: print(gi))
    >>> torch.nn.Flatten()(x).sum().backward()
    (tensor([[1., 1.]]),)
    >>> handle.remove()
    """
    return RemovableHandle(everywhere, ("backward", Hook(hook)))


registration: OrderedDict[int, tuple[str, Callable[..., Any]]] = OrderedDict()
"""Those who are told what becomes a part of any module, each with the kind of part."""


def register_module_parameter_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, name, param)` for every parameter that a module gets.

    What it returns, if anything, takes the place of the parameter.

    >>> import tinygrad_edu as torch
    >>> hooks = torch.nn.modules.module
    >>> with hooks.register_module_parameter_registration_hook(lambda m, name, p: print(name)):
    ...     layer = torch.nn.Linear(1, 1)
    weight
    bias
    """
    return RemovableHandle(registration, ("parameter", hook))


def register_module_buffer_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, name, buffer)` for every buffer; otherwise as for parameters."""
    return RemovableHandle(registration, ("buffer", hook))


def register_module_module_registration_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call `hook(module, name, child)` for every child module; otherwise as for parameters."""
    return RemovableHandle(registration, ("module", hook))


def registered(kind: str, module: Module, name: str, part: Any) -> Any:
    """The part that a module gets, as those who are told of it leave it."""
    for its_kind, hook in [*registration.values()]:
        found = hook(module, name, part) if its_kind == kind else None
        part = part if found is None else found
    return part
