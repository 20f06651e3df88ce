"""A tensor as Python's own things: numbers, lists, truth, something to iterate over."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tinygrad_edu.backend import CPU, to_device
from tinygrad_edu.dtypes import is_floating
from tinygrad_edu.engine.composed import heard
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.ops import joining
from tinygrad_edu.out_of_memory import told


class PythonProtocol:
    """What Python's built-in functions and statements ask of a tensor."""

    def _host(self: Any) -> Any:
        array = self.array
        return array if array.__class__ is np.ndarray else to_device(array, CPU)

    @heard("item")
    def item(self: Any) -> int | float | bool:
        """Its only element as a Python number; RuntimeError if it has several."""
        if self.array.size != 1:
            raise RuntimeError(
                f"a Tensor with {self.array.size} elements cannot be converted to Scalar"
            )
        number: int | float | bool = self._host().item()
        return number

    @heard("tolist")
    @told
    def tolist(self: Any) -> Any:
        """Its elements as nested lists of Python numbers; of a 0-d tensor, the number."""
        return self._host().tolist()

    @heard("numpy")
    def numpy(self: Any, *, force: bool = False) -> Any:
        """Its memory as a NumPy array.

        Raises:
            RuntimeError: it needs a gradient.
            TypeError: it is on a GPU.
        """
        if force:
            return self.detach().cpu().array.view()
        if self.requires_grad:
            raise RuntimeError(
                "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy()"
                " instead."
            )
        if not self.is_cpu:
            raise TypeError(
                f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to copy"
                " the tensor to host memory first."
            )
        return self.array.view()  # whose shape may be set without ours

    def _number(self: Any, convert: Callable[[Any], Any]) -> Any:
        if self.array.size != 1:
            raise ValueError("only one element tensors can be converted to Python scalars")
        if self.requires_grad:
            warnings.warn(
                "Converting a tensor with requires_grad=True to a scalar may lead to unexpected"
                " behavior.\nConsider using tensor.detach() first.",
                stacklevel=3,
            )
        return convert(self._host().item())

    def __float__(self: Any) -> float:
        return float(self._number(float))

    def __int__(self: Any) -> int:
        return int(self._number(int))

    def __index__(self: Any) -> int:
        if self.array.size != 1 or is_floating(self.array.dtype):
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self._host().item())

    def __bool__(self: Any) -> bool:
        if self.array.size == 0:
            raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
        if self.array.size > 1:
            raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
        return bool(self._host().item())

    is_nonzero = __bool__

    def __len__(self: Any) -> int:
        if not self.array.ndim:
            raise TypeError("len() of a 0-d tensor")
        return len(self.array)

    def __iter__(self: Any) -> Iterator[Any]:
        if not self.array.ndim:
            raise TypeError("iteration over a 0-d tensor")
        return iter(joining.unbind(self, 0))

    def __contains__(self: Any, element: Any) -> bool:
        value = element.array if isinstance(element, TensorBase) else element
        if not isinstance(value, (bool, int, float, np.generic)) and not hasattr(value, "dtype"):
            raise RuntimeError(
                "Tensor.__contains__ only supports Tensor or scalar, but you passed in a"
                f" {type(element)}."
            )
        return bool((self.array == value).any())
