"""Module: a tree of parameters, buffers and smaller modules, with a function on top.

A module notices what is assigned to its attributes and sorts it into three dictionaries:
parameters, buffers, and child modules.  Everything else here walks that tree: collecting all
parameters for an optimizer, switching to evaluation, printing.  Three parts have files of their
own: conversion.py moves a module to a device or dtype, state_dict.py saves and loads it, hooks.py
lets users step in before and after `forward`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Self, TypeVar

from tinygrad_edu.engine.composed import heard
from tinygrad_edu.nn.modules.conversion import ConversionMethods, typename
from tinygrad_edu.nn.modules.hooks import (
    HookMethods,
    everywhere,
    register_module_backward_hook,
    register_module_buffer_registration_hook,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
    registered,
    registration,
)
from tinygrad_edu.nn.modules.state_dict import StateDictMethods, _IncompatibleKeys
from tinygrad_edu.nn.parameter import Buffer, Parameter, clear_gradient
from tinygrad_edu.tensor import Tensor

__all__ = [
    "Module", "_IncompatibleKeys", "register_module_backward_hook",
    "register_module_buffer_registration_hook",
    "register_module_forward_hook", "register_module_forward_pre_hook",
    "register_module_module_registration_hook", "register_module_parameter_registration_hook",
    "register_module_full_backward_hook", "register_module_full_backward_pre_hook",
]  # fmt: skip

T = TypeVar("T")


def _collect(module: Module, found: dict[Module, None]) -> None:
    """Add a module and all beneath it, each once, in the order of `named_modules`."""
    if module not in found:
        found[module] = None
        for child in module._modules.values():
            if child is not None:
                _collect(child, found)


class Module(HookMethods, StateDictMethods, ConversionMethods):
    """The base class of everything with parameters: define `__init__` and `forward`.

    >>> import tinygrad_edu as torch
    >>> class Scale(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.factor = torch.nn.Parameter(torch.tensor(2.0))
    ...     def forward(self, x):
    ...         return self.factor * x
    >>> model = Scale()
    >>> model(torch.tensor([1.0, 3.0]))
    tensor([2., 6.], grad_fn=<MulBackward0>)
    >>> [name for name, p in model.named_parameters()]
    ['factor']
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _non_persistent_buffers_set: set[str]
    _version: ClassVar[int] = 1
    call_super_init: bool = False
    """Whether `__init__` goes on to the next base class, with the arguments it was given."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not self.call_super_init:
            self._refuse(args, kwargs)
        self.__dict__.update(  # not through __setattr__, which needs these dictionaries
            training=True,
            _parameters={},
            _buffers={},
            _non_persistent_buffers_set=set(),
            _modules={},
            _forward_pre_hooks=OrderedDict(),
            _forward_hooks=OrderedDict(),
            _backward_pre_hooks=OrderedDict(),
            _backward_hooks=OrderedDict(),
            _state_dict_pre_hooks=OrderedDict(),
            _state_dict_hooks=OrderedDict(),
            _load_state_dict_pre_hooks=OrderedDict(),
            _load_state_dict_post_hooks=OrderedDict(),
        )
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    def _refuse(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise a TypeError if there are arguments."""
        name = type(self).__name__
        if kwargs:
            raise TypeError(
                f"{name}.__init__() got an unexpected keyword argument '{next(iter(kwargs))}'"
            )
        if args:
            raise TypeError(
                f"{name}.__init__() takes 1 positional argument but {len(args) + 1} were given"
            )

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; every module defines its own."""
        raise NotImplementedError(
            f'Module [{type(self).__name__}] is missing the required "forward" function'
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`forward`, with the hooks around it if there are any."""
        try:
            if (
                self._forward_hooks
                or self._forward_pre_hooks
                or self._backward_hooks
                or self._backward_pre_hooks
                or everywhere
            ):
                from tinygrad_edu.nn.modules.hooked import call_with_hooks

                return call_with_hooks(self, args, kwargs)
            return self.forward(*args, **kwargs)
        except Exception as error:
            from tinygrad_edu.nn.modules.where import note_module

            note_module(error, Module.__call__.__code__)
            raise

    # Attributes: what is assigned is sorted by its kind -------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        """What the value is decides first, what the name has been so far second: a Parameter may
        replace anything, while a name that holds one accepts nothing else but None.  Modules and
        then buffers follow by the same rule.
        """
        attributes = self.__dict__
        parameters = attributes.get("_parameters")
        if isinstance(value, Parameter):
            self._drop_except("_parameters", name)
            self.register_parameter(name, value)
        elif parameters is not None and name in parameters:
            if value is not None:
                raise TypeError(
                    f"cannot assign '{typename(value)}' as parameter '{name}'"
                    " (torch.nn.Parameter or None expected)"
                )
            parameters[name] = None
        elif isinstance(value, Module):
            if "_modules" not in attributes:
                raise AttributeError("cannot assign module before Module.__init__() call")
            self._drop_except("_modules", name)
            self._modules[name] = registered("module", self, name, value) if registration else value
        elif name in attributes.get("_modules", ()):
            if value is not None:
                raise TypeError(
                    f"cannot assign '{typename(value)}' as child module '{name}'"
                    " (torch.nn.Module or None expected)"
                )
            self._modules[name] = None
        elif isinstance(value, Buffer):
            if name not in attributes.get("_buffers", ()):
                self._drop_except("_buffers", name)
            self.register_buffer(name, value, value.persistent)
        elif name in attributes.get("_buffers", ()):
            if value is not None and not isinstance(value, Tensor):
                raise TypeError(
                    f"cannot assign '{typename(value)}' as buffer '{name}'"
                    " (torch.nn.Buffer, torch.Tensor or None expected)"
                )
            self._buffers[name] = registered("buffer", self, name, value) if registration else value
        else:
            super().__setattr__(name, value)

    def _drop_except(self, kept: str, name: str) -> None:
        """Forget the attribute `name` wherever it is but in the dictionary `kept`.

        There it stays until it is replaced, so that it keeps its place in the order.
        """
        attributes = self.__dict__
        attributes.pop(name, None)
        for kind in ("_parameters", "_buffers", "_modules"):
            if kind != kept and kind in attributes:
                attributes[kind].pop(name, None)
        if "_non_persistent_buffers_set" in attributes:
            self._non_persistent_buffers_set.discard(name)

    def __getattr__(self, name: str) -> Any:
        attributes = self.__dict__  # called only for what is not found there
        parameters = attributes.get("_parameters")
        if parameters is not None:
            if name in parameters:
                return parameters[name]
            if name in (modules := attributes["_modules"]):
                return modules[name]
            if name in (buffers := attributes["_buffers"]):
                return buffers[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __delattr__(self, name: str) -> None:
        for kind in (self._parameters, self._buffers, self._modules):
            if name in kind:
                del kind[name]
                self._non_persistent_buffers_set.discard(name)
                return
        super().__delattr__(name)

    def __dir__(self) -> list[str]:
        names = {*super().__dir__(), *self._parameters, *self._buffers, *self._modules}
        return sorted(name for name in names if not name[:1].isdigit())

    # Registration by name -------------------------------------------------------------------------

    def _check_name(self, name: str, what: str, registered: str) -> None:
        if registered not in self.__dict__:
            raise AttributeError(f"cannot assign {what} before Module.__init__() call")
        if not isinstance(name, str):
            raise TypeError(f"{what} name should be a string. Got {typename(name)}")
        if hasattr(self, name) and name not in self.__dict__[registered]:
            raise KeyError(f"attribute '{name}' already exists")
        if "." in name:
            raise KeyError(f'{what} name can\'t contain ".", got: {name}')
        if name == "":
            raise KeyError(f'{what} name can\'t be empty string ""')

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter, or the empty place for one, under the attribute `name`.

        Raises:
            KeyError: the name is empty, contains a dot, or belongs to another attribute.
            TypeError: `param` is not a Parameter.
        """
        self._check_name(name, "parameter", "_parameters")
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{typename(param)}' object to parameter '{name}'"
                " (torch.nn.Parameter or None required)"
            )
        if param is not None and not param.is_leaf:
            raise ValueError(
                f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be"
                f" created explicitly. To express '{name}' as a function of another Tensor,"
                " compute the value in the forward() method."
            )
        if registration and param is not None:
            param = registered("parameter", self, name, param)
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that belongs to the state but is not trained.

        Args:
            name: the attribute.
            tensor: the buffer, or None for an empty place.
            persistent: whether `state_dict` contains it.

        Raises:
            KeyError, TypeError: as `register_parameter`.
        """
        self._check_name(name, "buffer", "_buffers")
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{typename(tensor)}' object to buffer '{name}'"
                " (torch Tensor or None required)"
            )
        if registration:
            tensor = registered("buffer", self, name, tensor)
        self._buffers[name] = tensor
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child module under the attribute `name`.

        Raises:
            KeyError, TypeError: as `register_parameter`.
        """
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{typename(module)} is not a Module subclass")
        self._check_name(name, "module", "_modules")
        if registration:
            module = registered("module", self, name, module)
        self._modules[name] = module

    def register_module(self, name: str, module: Module | None) -> None:
        """Another name for `add_module`."""
        self.add_module(name, module)

    def get_submodule(self, target: str) -> Module:
        """The module at a path such as `"encoder.layers.0"`; "" is the module itself.

        Raises:
            AttributeError: there is none.
        """
        module: Module = self
        for name in target.split(".") if target else ():
            if not hasattr(module, name):
                raise AttributeError(f"{module._get_name()} has no attribute `{name}`")
            module = getattr(module, name)
            if not isinstance(module, Module):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return module

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put a module at a path such as `"encoder.layers.0"`.

        Args:
            strict: there must be a module to replace.

        Raises:
            ValueError: the path is empty, or `module` is not a Module.
            AttributeError: the path leads nowhere, or to something that is not a module.
        """
        if target == "":
            raise ValueError("Cannot set the submodule without a target name!")
        if not isinstance(module, Module):
            raise ValueError(f"`module` is not an nn.Module, found {type(module)}")
        parent, _, name = target.rpartition(".")
        owner = self.get_submodule(parent)
        if strict or hasattr(owner, name):
            owner.get_submodule(name)
        setattr(owner, name, module)

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a path such as `"encoder.weight"`; AttributeError if there is none."""
        owner, name = self._owner(target)
        if name not in owner._parameters:
            raise AttributeError(f"`{name}` is not an nn.Parameter")
        found: Parameter = getattr(owner, name)
        return found

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a path such as `"norm.running_mean"`; AttributeError if there is none."""
        owner, name = self._owner(target)
        if name not in owner._buffers:
            raise AttributeError(f"`{name}` is not a buffer")
        found: Tensor = getattr(owner, name)
        return found

    def _owner(self, target: str) -> tuple[Module, str]:
        path, _, name = target.rpartition(".")
        owner = self.get_submodule(path)
        if not hasattr(owner, name):
            raise AttributeError(f"{owner._get_name()} has no attribute `{name}`")
        return owner, name

    # Walking the tree -----------------------------------------------------------------------------

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """Pairs (path, module) of the module itself and all beneath it, each module once.

        >>> import tinygrad_edu as torch
        >>> dict(torch.nn.Sequential(torch.nn.Identity()).named_modules(prefix="net")).keys()
        dict_keys(['net', 'net.0'])
        """
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                path = f"{prefix}.{name}" if prefix else name
                yield from module.named_modules(memo, path, remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """The module itself and all beneath it."""
        for _, module in self.named_modules(remove_duplicate=remove_duplicate):
            yield module

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Pairs (name, module) of the modules directly beneath this one, each module once."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """The modules directly beneath this one."""
        for _, module in self.named_children():
            yield module

    def _named_members(
        self,
        members: Callable[[Module], dict[str, T | None]],
        prefix: str,
        recurse: bool,
        remove_duplicate: bool,
    ) -> Iterator[tuple[str, T]]:
        seen = set()
        modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
        for path, module in modules if recurse else [(prefix, self)]:
            for name, member in members(module).items():
                if member is None or id(member) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(member))
                yield f"{path}.{name}" if path else name, member

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Pairs (path, parameter).

        Args:
            prefix: put before every path.
            recurse: include the parameters of the modules beneath.
            remove_duplicate: name a parameter that is used in several places only once.
        """
        return self._named_members(lambda m: m._parameters, prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters, each once: what an optimizer is given."""
        if not recurse or type(self).named_parameters is not Module.named_parameters:
            for _, parameter in self.named_parameters(recurse=recurse):
                yield parameter
            return
        modules: dict[Module, None] = {}
        _collect(self, modules)  # without making names
        found = [p for m in modules for p in m._parameters.values() if p is not None]
        yield from {id(p): p for p in found}.values()

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Pairs (path, buffer); arguments as in `named_parameters`."""
        return self._named_members(lambda m: m._buffers, prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """All buffers, each once."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call `fn` on every module of the tree, children before their parents."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # Modes ----------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Set `training` on the whole tree: dropout and batch normalization look at it."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self) -> Self:
        """`train(False)`."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Switch gradients of all parameters on or off, to freeze a model for example."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    @heard("zero_grad")
    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, or overwrite them by zeros if not `set_to_none`."""
        for parameter in self.parameters():
            clear_gradient(parameter, set_to_none)

    # Printing -------------------------------------------------------------------------------------

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What stands between the parentheses of the module's printed form."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = [f"({name}): {indent(repr(m))}" for name, m in self._modules.items()]
        if not children and len(lines) <= 1:
            return f"{self._get_name()}({extra})"
        return block(self._get_name(), lines + children)


def indent(text: str) -> str:
    """The text with all lines but the first moved right by two."""
    return text.replace("\n", "\n  ")


def block(name: str, lines: list[str]) -> str:
    """`name(`, the lines moved right by two, `)`."""
    return "\n  ".join([f"{name}(", *lines]) + "\n)"
