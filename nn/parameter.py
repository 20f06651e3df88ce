"""Parameter and Buffer: the two kinds of tensors a module owns.

A parameter is trained; a buffer is not, but belongs to the module's state: a running mean, say.
Both share the array they are made from.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_edu.autograd.graph import Leaf
from tinygrad_edu.autograd.record import wrap
from tinygrad_edu.dtypes import default, is_floating
from tinygrad_edu.tensor import Tensor, parameter_class


def _share(cls: type[Any], data: Tensor | None) -> Any:
    """A tensor of class `cls` on the memory of `data`, without its history."""
    if data is not None and not isinstance(data, Tensor):
        raise TypeError(f"{cls.__name__}(): argument 'data' must be Tensor, not {_kind(data)}")
    t = object.__new__(cls)
    if data is None:
        data = wrap(np.empty(0, default()))
    t.array, t.storage = data.array, data.storage
    return t


def _kind(value: object) -> str:
    return type(value).__name__


class Parameter(Tensor):
    """A tensor to be trained: assigned to a module's attribute, it joins `module.parameters()`.

    Args:
        data: a tensor, whose memory the parameter shares; None for an empty one.
        requires_grad: whether it is to receive gradients.

    Raises:
        RuntimeError: it requires grad but does not hold floats.

    >>> import tinygrad_edu as torch
    >>> torch.nn.Parameter(torch.ones(2))
    Parameter containing:
    tensor([1., 1.], requires_grad=True)
    """

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Parameter:
        parameter: Parameter = _share(cls, data)
        if requires_grad:
            if not is_floating(parameter.array.dtype):
                raise RuntimeError(
                    "Only Tensors of floating point and complex dtype can require gradients"
                )
            parameter.node = Leaf(parameter)
        return parameter

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        pass  # made by __new__

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        """A parameter with a copy of the values; gradients are not copied."""
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.data.clone(), self.requires_grad)
        copied: Parameter = memo[id(self)]
        return copied


parameter_class.append(Parameter)


class Buffer(Tensor):
    """A tensor that belongs to a module's state without being trained.

    Assigned to a module's attribute, it is registered as by `register_buffer`.

    Args:
        data: a tensor, whose memory the buffer shares; None for an empty one.
        persistent: whether `state_dict` contains it.

    >>> import tinygrad_edu as torch
    >>> layer = torch.nn.Module()
    >>> layer.steps = torch.nn.Buffer(torch.zeros(1))
    >>> list(layer.state_dict())
    ['steps']
    """

    persistent: bool

    def __new__(cls, data: Tensor | None = None, *, persistent: bool = True) -> Buffer:
        buffer: Buffer = _share(cls, data)
        buffer.persistent = persistent
        if data is not None and data.requires_grad:
            buffer.requires_grad_()
        return buffer

    def __init__(self, data: Tensor | None = None, *, persistent: bool = True) -> None:
        pass  # made by __new__

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return _rebuild_buffer, (type(self), self.data, self.persistent, self.requires_grad)


def _rebuild_buffer(cls: type[Buffer], data: Tensor, persistent: bool, grad: bool) -> Buffer:
    buffer = cls(data, persistent=persistent)
    buffer.requires_grad_(grad)
    return buffer
