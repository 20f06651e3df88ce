"""Parameters that are computed from others: `register_parametrization(layer, "weight", f)`.

Afterwards `layer.weight` is `f(layer.parametrizations.weight.original)`, computed whenever it is
read; the optimizer sees the original.  The layer gets a class of its own, beneath its old one, in
which the name is a property.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any, NoReturn

from tinygrad_edu.engine.switches import no_grad
from tinygrad_edu.nn.modules.container import ModuleDict, ModuleList
from tinygrad_edu.nn.modules.module import Module
from tinygrad_edu.nn.parameter import Parameter
from tinygrad_edu.tensor import Tensor

__all__ = [
    "ParametrizationList", "cached", "is_parametrized", "register_parametrization",
    "remove_parametrizations", "transfer_parametrizations_and_params",
    "type_before_parametrizations",
]  # fmt: skip

_depth = 0
_kept: dict[tuple[int, str], Any] = {}


@contextlib.contextmanager
def cached() -> Iterator[None]:
    """Inside this context, each parametrized tensor is computed once, when it is first read.

    >>> from tinygrad_edu import nn
    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 3))
    >>> with nn.utils.parametrize.cached():
    ...     layer.weight is layer.weight
    True
    """
    global _depth
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if not _depth:
            _kept.clear()


class ParametrizationList(ModuleList):
    """The functions applied to one tensor, with the tensor or tensors they are applied to.

    `original` is the tensor; or `original0`, `original1`, ..., if the `right_inverse` of the
    first function returns several.
    """

    original: Tensor

    def __init__(self, modules: Sequence[Module], original: Tensor, unsafe: bool = False) -> None:
        if not modules:
            raise ValueError("ParametrizationList requires one or more modules.")
        super().__init__(modules)
        self.unsafe = unsafe
        shape, dtype = original.shape, original.dtype
        new: Any = original
        with no_grad():
            for module in reversed(list(self)):
                if hasattr(module, "right_inverse"):
                    with contextlib.suppress(NotImplementedError):
                        new = module.right_inverse(new)
        if not isinstance(new, (Tensor, Sequence)):
            raise ValueError(
                "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...)."
                f" Got {type(new).__name__}"
            )
        self.is_tensor = isinstance(new, Tensor)
        self.ntensors = 1 if isinstance(new, Tensor) else len(new)
        if isinstance(new, Tensor):
            _same("dtype", "right_inverse(original)", new.dtype, "original", dtype, _INVERSE)
            _same("device", "right_inverse(original)", new.device, "original", original.device,
                  _INVERSE)  # fmt: skip
            original.data = new
            _register(self, "original", original)
        else:
            for i, part in enumerate(new):
                self._add_part(i, part, original)
        if not unsafe:
            y = self()
            _is_tensor(y)
            _same("dtype", "parametrized", y.dtype, "unparametrized", dtype, _CHANGE)
            _same("shape", "parametrized", y.shape, "unparametrized", shape, _CHANGE)

    def _add_part(self, i: int, part: object, original: Tensor) -> None:
        if not isinstance(part, Tensor):
            raise ValueError(
                "'right_inverse' must return a Tensor or a Sequence of tensors (list, tuple...)."
                f" Got element {i} of the sequence with type {type(part).__name__}."
            )
        if isinstance(original, Parameter):
            part = Parameter(part, original.requires_grad)
        _register(self, f"original{i}", part.requires_grad_(original.requires_grad))

    def right_inverse(self, value: Tensor) -> None:
        """Set the originals so that the functions give `value`.

        Raises:
            RuntimeError: a function has no `right_inverse`.
            ValueError: what it returns does not fit.
        """
        new: Any = value
        with no_grad():
            for module in reversed(list(self)):
                if not hasattr(module, "right_inverse"):
                    raise RuntimeError(
                        f"parametrization {type(module).__name__} does not implement right_inverse."
                    )
                new = module.right_inverse(new)
        if self.is_tensor != isinstance(new, Tensor):
            kind = "a tensor" if self.is_tensor else "a sequence of tensors"
            raise ValueError(f"'right_inverse' must return {kind}. Got {type(new).__name__}.")
        if self.is_tensor:
            self._set("original", "The tensor returned by `right_inverse`", new)
            return
        if len(new) != self.ntensors:
            raise ValueError(
                "'right_inverse' must return a sequence of tensors of length"
                f" {self.ntensors}. Got a sequence of length {len(new)}."
            )
        for i, part in enumerate(new):
            self._set(f"original{i}", f"Tensor {i} returned by `right_inverse`", part)

    def _set(self, name: str, what: str, value: Tensor) -> None:
        original = getattr(self, name)
        if value.dtype != original.dtype:
            raise ValueError(
                f"{what} has dtype {value.dtype} while `{name}` has dtype {original.dtype}"
            )
        original.data = value

    def forward(self) -> Any:
        names = ["original"] if self.is_tensor else [f"original{i}" for i in range(self.ntensors)]
        first, *rest = self
        y = first(*[getattr(self, name) for name in names])
        for module in rest:
            y = module(y)
        return y


_CHANGE = (
    "Registering a parametrization may not change the {what} of the tensor, unless `unsafe` flag is"
    " enabled."
)
_INVERSE = "When `right_inverse` outputs one tensor, it may not change the {what}."


def _same(what: str, name: str, found: object, known: str, wanted: object, rule: str) -> None:
    if found != wanted:
        raise ValueError(
            f"{rule.format(what=what)}\n{known}.{what}: {wanted}\n{name}.{what}: {found}"
        )


def _is_tensor(y: Tensor) -> None:
    if not isinstance(y, Tensor):
        raise ValueError(f"A parametrization must return a tensor. Got {type(y).__name__}.")


def _register(module: Module, name: str, x: Tensor) -> None:
    if isinstance(x, Parameter):
        module.register_parameter(name, x)
    else:
        module.register_buffer(name, x)


def _give_class(module: Module) -> None:
    """Give the module a subclass for itself alone, so that it can have properties."""
    cls = type(module)

    def copied(self: object, memo: dict[int, Any]) -> Any:
        replica = memo[id(self)] = self.__new__(type(self))
        replica.__dict__ = deepcopy(self.__dict__, memo)
        return replica

    def refuse(self: object) -> NoReturn:
        raise RuntimeError(
            "Serialization of parametrized modules is only supported through state_dict()."
        )

    names: dict[str, Any] = {"__getstate__": refuse}
    if not hasattr(cls, "__deepcopy__"):
        names["__deepcopy__"] = copied
    module.__class__ = type(f"Parametrized{cls.__name__}", (cls,), names)


def _give_property(module: Module, name: str) -> None:
    def read(self: Module) -> Any:
        parametrization = self.parametrizations[name]
        if not _depth:
            return parametrization()
        key = (id(self), name)
        if key not in _kept:
            _kept[key] = parametrization()
        return _kept[key]

    def write(self: Module, value: Tensor) -> None:
        self.parametrizations[name].right_inverse(value)

    setattr(type(module), name, property(read, write))


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Let `module.weight` be `parametrization(the old weight)`, and return the module.

    Args:
        module: the layer that has the tensor.
        tensor_name: of a parameter or buffer; if it is parametrized already, this function is
            applied to the result.
        parametrization: a module with a `forward`; a method `right_inverse` gives the first
            original, and serves assignments to `module.weight`.
        unsafe: do not check that dtype and shape stay the same.

    Raises:
        ValueError: there is no such tensor, or the function does not fit.

    >>> import tinygrad_edu as torch
    >>> class Positive(torch.nn.Module):
    ...     def forward(self, x):
    ...         return x.exp()
    >>> layer = torch.nn.Linear(2, 2, bias=False)
    >>> layer = torch.nn.utils.parametrize.register_parametrization(layer, "weight", Positive())
    >>> bool((layer.weight > 0).all()), list(layer.state_dict())
    (True, ['parametrizations.weight.original'])
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        if not unsafe:
            _check_further(module, tensor_name, parametrization)
        known = module.parametrizations[tensor_name]
        known.append(parametrization)
        known.unsafe |= unsafe
    elif tensor_name in module._buffers or tensor_name in module._parameters:
        original = getattr(module, tensor_name)
        made = ParametrizationList([parametrization], original, unsafe)
        delattr(module, tensor_name)
        if not is_parametrized(module):
            _give_class(module)
            module.parametrizations = ModuleDict()
        _give_property(module, tensor_name)
        module.parametrizations[tensor_name] = made
    else:
        raise ValueError(
            f"Module '{module}' does not have a parameter, a buffer, or a parametrized element with"
            f" name '{tensor_name}'"
        )
    return module


def _check_further(module: Module, name: str, parametrization: Module) -> None:
    """Check that a further function keeps dtype and shape, and that its inverse does."""
    x = getattr(module, name)
    y = parametrization(x)
    _is_tensor(y)
    both = f"parametrization(module.{name})", f"module.{name}"
    _same("dtype", both[0], y.dtype, both[1], x.dtype, _CHANGE)
    _same("shape", both[0], y.shape, both[1], x.shape, _CHANGE)
    if hasattr(parametrization, "right_inverse"):
        with contextlib.suppress(NotImplementedError):
            z = parametrization.right_inverse(y)
            if not isinstance(z, Tensor):
                raise ValueError(
                    f"parametrization.right_inverse must return a tensor. Got: {type(z).__name__}"
                )
            _same("dtype", "right_inverse", z.dtype, both[1], x.dtype, _CHANGE)
            _same("shape", "right_inverse", z.shape, both[1], x.shape, _CHANGE)


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether that tensor of the module, or any, is computed from another.

    >>> from tinygrad_edu import nn
    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 3))
    >>> nn.utils.parametrize.is_parametrized(layer, "bias")
    False
    """
    known = getattr(module, "parametrizations", None)
    if not isinstance(known, ModuleDict):
        return False
    return len(known) > 0 if tensor_name is None else tensor_name in known


def remove_parametrizations(
    module: Module, tensor_name: str, leave_parametrized: bool = True
) -> Module:
    """Make the tensor an ordinary one again, and return the module.

    Args:
        leave_parametrized: it keeps its computed value; else it is the original again.

    Raises:
        ValueError: it is not parametrized, or has several originals to go back to.

    >>> from tinygrad_edu import nn
    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 3))
    >>> plain = nn.utils.parametrize.remove_parametrizations(layer, "weight")
    >>> [name for name, _ in plain.named_parameters()]
    ['bias', 'weight']
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    known = module.parametrizations[tensor_name]
    if known.is_tensor:
        original: Any = known.original
        if leave_parametrized:
            with no_grad():
                original.data = getattr(module, tensor_name)
    elif leave_parametrized:
        value = getattr(module, tensor_name)
        original = Parameter(value.detach()) if value.requires_grad else value
    else:
        raise ValueError(
            "Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is parametrized"
            " in terms of a sequence of tensors."
        )
    delattr(type(module), tensor_name)
    del module.parametrizations[tensor_name]
    _register(module, tensor_name, original)
    if not is_parametrized(module):
        delattr(module, "parametrizations")
        module.__class__ = type(module).__bases__[0]
    return module


def type_before_parametrizations(module: Module) -> type:
    """The module's class before it was parametrized."""
    return type(module).__bases__[0] if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(
    from_module: Module, to_module: Module, tensor_name: str | None = None
) -> Module:
    """Give another module the parametrizations, and originals, of one tensor or of all."""
    if not is_parametrized(from_module):
        return to_module
    names = list(from_module.parametrizations) if tensor_name is None else [tensor_name]
    for name in names:
        if not hasattr(to_module, name):
            setattr(to_module, name, Parameter(getattr(from_module, name).detach()))
        known = from_module.parametrizations[name]
        for function in known:
            register_parametrization(to_module, name, function)
        parts = ["original"] if known.is_tensor else [f"original{i}" for i in range(known.ntensors)]
        for part in parts:
            setattr(to_module.parametrizations[name], part, getattr(known, part))
    return to_module
