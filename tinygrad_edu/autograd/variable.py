"""`autograd.Variable`, which old scripts wrap their tensors in."""

from __future__ import annotations

from typing import Any

from tinygrad_edu.engine import graph


class _IsTensor(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, graph.TensorBase)


class Variable(metaclass=_IsTensor):
    """`Variable(t)` is the tensor's values as a tensor of its own; every tensor is a Variable.

    >>> import tinygrad_edu as torch
    >>> torch.autograd.Variable(torch.ones(1), requires_grad=True)
    tensor([1.], requires_grad=True)
    """

    def __new__(cls, data: Any, requires_grad: bool = False, volatile: bool = False) -> Any:
        return data.detach().requires_grad_(requires_grad)
