"""Hooks: user functions that a module calls before or after `forward`, or on the way back.

    forward-pre hook    hook(module, args)                        may replace the inputs
    forward hook        hook(module, args, output)                may replace the output
    backward-pre hook   hook(module, grad_output)                 may replace the output's gradient
    backward hook       hook(module, grad_input, grad_output)     may replace the input's gradient

A module without hooks never comes here: `Module.__call__` goes straight to `forward`.

Backward hooks need to see the gradients that pass the module's two borders.  Both borders are
operations that do nothing forward, `border`, put around the inputs and around the outputs; their
derivative rule hands the gradients to the hooks.
"""

from __future__ import annotations

import functools
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tinygrad_edu.backend import module_of
from tinygrad_edu.dtypes import Array
from tinygrad_edu.engine.graph import Variable
from tinygrad_edu.engine.hooks import RemovableHandle
from tinygrad_edu.engine.mode import is_recording
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.engine.views import View, base_of

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


# Calling a module that has hooks ------------------------------------------------------------------


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
    while not isinstance(result, Variable):
        if isinstance(result, dict):
            result = next(v for v in result.values() if isinstance(v, Variable))
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


# The borders of a module, where backward hooks look at gradients ----------------------------------


@primitive(variadic=True, multiple=True)
def border(tensors: Sequence[Array], on_gradients: Any) -> tuple[Array, ...]:
    """The tensors themselves; on the way back their gradients go through `on_gradients`."""
    return tuple(tensors)


border.vjp(tensors=lambda g, on_gradients: on_gradients(g))
border.primitive.owns = False


def _alias_part(x: Any) -> tuple[Any]:
    from tinygrad_edu.engine.second import alias

    return (alias(x),)


def _cross(tensors: list[Any], on_gradients: Callable[[list[Any]], list[Any]]) -> Any:
    """Put the tensors behind a border.  They share memory with the originals, as views do."""
    crossed: Any = border(tensors, on_gradients)
    for before, after in zip(tensors, crossed, strict=True):
        after._storage, after.plain = before._storage, False
        base, path = base_of(before)
        after.view_of = View(base, (*path, (_alias_part, (), 0)), is_recording())
    return crossed


class Borders:
    """One call of a module, as its backward hooks see it."""

    def __init__(self, module: Module, pre_hooks: Iterable[Hook], hooks: Iterable[Hook]) -> None:
        self.module = module
        self.pre_hooks = [hook.function for hook in pre_hooks]
        self.hooks = [hook.function for hook in hooks]
        self.inputs = Border((), False)
        self.grad_output: tuple[Any, ...] | None = None
        """The gradients at the outputs, on their way to the inputs."""

    def around_inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, those that need a gradient behind a border."""
        self.inputs = Border(args, bool(self.hooks))
        return self.inputs.around(args, self._at_inputs)

    def around_outputs(self, result: Any) -> Any:
        """The output, a tensor or a tuple with tensors, behind a border."""
        if not isinstance(result, (Variable, tuple)):
            warnings.warn(
                "For backward hooks to be called, module output should be a Tensor or a tuple of"
                f" Tensors but received {type(result)}",
                stacklevel=5,
            )
            return result
        outputs = result if isinstance(result, tuple) else (result,)
        self.outputs = Border(outputs, bool(self.hooks or self.pre_hooks))
        crossed = self.outputs.around(outputs, self._at_outputs)
        return _like(result, crossed) if isinstance(result, tuple) else crossed[0]

    def _at_outputs(self, gradients: list[Any]) -> list[Any]:
        """The way back enters the module: `gradients` of its outputs."""
        grad_output = self.outputs.among_all(gradients)
        for hook in self.pre_hooks:
            replaced = hook(self.module, grad_output)
            grad_output = _checked(replaced, grad_output, "pre hook", "output")
        self.grad_output = grad_output
        if self.hooks and not self.inputs.places:
            self._without_inputs()
        return self.outputs.collect(grad_output, gradients)

    def _at_inputs(self, gradients: list[Any]) -> list[Any]:
        """The way back leaves the module: `gradients` of its inputs."""
        if self.grad_output is None:  # it came from inside, not through the outputs
            return gradients
        grad_input = self.inputs.with_zeros(self.inputs.among_all(gradients))
        for hook in self.hooks:
            replaced = hook(self.module, grad_input, self.grad_output)
            grad_input = _checked(replaced, grad_input, "hook", "input")
        self.grad_output = None
        return self.inputs.collect(grad_input, gradients)

    def _without_inputs(self) -> None:
        warnings.warn(
            "Full backward hook is firing when gradients are computed with respect to module"
            " outputs since no inputs require gradients.",
            stacklevel=2,
        )
        for hook in self.hooks:
            replaced = hook(self.module, (None,) * self.inputs.width, self.grad_output)
            if replaced is not None and any([g is not None for g in replaced]):
                raise RuntimeError(
                    "Backward hook for Modules where no input requires gradient should always"
                    " return None or None for all gradients."
                )
        self.grad_output = None


def _like(before: tuple[Any, ...], values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Other values in a tuple of the same class: a namedtuple, say."""
    if type(before) is tuple or values is before:
        return values
    made = tuple.__new__(type(before), values)
    if hasattr(before, "__dict__"):
        vars(made).update(vars(before))
    return made


class Border:
    """The tensors among some values, and which of them need a gradient.

    Attributes:
        places: of the tensors that need a gradient.
        zeros: for the place of every tensor, what makes its zero gradient.
        width: how many values there are.
    """

    def __init__(self, values: Sequence[Any], watched: bool) -> None:
        self.width = len(values)
        self.places: list[int] = []
        self.zeros: dict[int, Callable[[], Array]] = {}
        for i, v in enumerate(values):
            if watched and is_recording() and isinstance(v, Variable):
                xp, shape, dtype = module_of(v.array), v.array.shape, v.array.dtype
                self.zeros[i] = functools.partial(xp.zeros, shape, dtype)
                if v.node is not None:
                    self.places.append(i)

    def around(
        self, values: tuple[Any, ...], on_gradients: Callable[[list[Any]], list[Any]]
    ) -> tuple[Any, ...]:
        """The values, those that need a gradient behind a border of the graph."""
        if not self.places:
            return values
        crossed = iter(_cross([values[i] for i in self.places], on_gradients))
        return tuple([next(crossed) if i in self.places else v for i, v in enumerate(values)])

    def among_all(self, gradients: list[Any]) -> tuple[Any, ...]:
        """One entry per value: its gradient as a tensor, or None."""
        full: list[Any] = [None] * self.width
        for place, g in zip(self.places, gradients, strict=True):
            full[place] = g if g is None or isinstance(g, Variable) else wrap(g)
        return tuple(full)

    def with_zeros(self, full: tuple[Any, ...]) -> tuple[Any, ...]:
        """Zeros instead of None for those values that are tensors."""
        return tuple(
            [
                wrap(self.zeros[i]()) if g is None and i in self.zeros else g
                for i, g in enumerate(full)
            ]
        )

    def collect(self, full: tuple[Any, ...], before: list[Any]) -> list[Any]:
        """The gradients of those that need one: arrays if the walk works on arrays."""
        tensors = any([isinstance(g, Variable) for g in before])
        full = self.with_zeros(full)
        return [full[i] if tensors else full[i].array for i in self.places]


def _checked(replaced: Any, before: tuple[Any, ...], kind: str, what: str) -> tuple[Any, ...]:
    """The gradients a hook returned, or those it was given if it returned None."""
    if replaced is None:
        return before
    given: tuple[Any, ...] = (replaced,) if isinstance(replaced, Variable) else tuple(replaced)
    if len(given) != len(before):
        raise RuntimeError(
            f"Backward {kind} returned an invalid number of grad_{what}, got {len(given)}, but"
            f" expected {len(before)}"
        )
    return given
