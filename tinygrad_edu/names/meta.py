"""Tensors on the device "meta": a shape and a dtype, and no memory.

`model.to("meta")` gives the memory of a model back whose parameters are to come from elsewhere, as
`func.functional_call` takes them.  Asking for what they hold is an error.
"""

from __future__ import annotations

import math
from typing import Any, NoReturn

import numpy as np

from tinygrad_edu.backend import device
from tinygrad_edu.dtypes import Array


class Shape:
    """What stands in the place of an array: its shape and type; its elements would lie in order.

    Whatever is computed with it is an error.
    """

    place = device("meta")

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape, self.dtype, self.ndim = shape, dtype, len(shape)

    itemsize = property(lambda self: self.dtype.itemsize)
    size = property(lambda self: math.prod(self.shape))
    nbytes = property(lambda self: self.size * self.itemsize)

    @property
    def strides(self) -> tuple[int, ...]:
        """The bytes from one element to the next along each dimension."""
        return tuple([math.prod(self.shape[i + 1 :]) * self.itemsize for i in range(self.ndim)])

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def copy(self, order: object = "C") -> Shape:
        """The same."""
        return self

    def __getattr__(self, name: str) -> NoReturn:
        if name[:2] == "__":  # Python's protocols ask whether there is one
            raise AttributeError(name)
        self.refuse()

    def refuse(self) -> NoReturn:
        """The error of whatever needs elements."""
        raise NotImplementedError(
            "a tensor on device 'meta' has no data, only a shape and a dtype; it can neither be"
            " computed with nor moved to another device"
        )

    def _none(self, *args: object, **kwargs: object) -> NoReturn:
        self.refuse()

    __array__ = __array_ufunc__ = __array_function__ = __getitem__ = __setitem__ = _none
    __add__ = __radd__ = __mul__ = __rmul__ = __sub__ = __rsub__ = __truediv__ = _none
    __rtruediv__ = __matmul__ = __rmatmul__ = __neg__ = __pow__ = __rpow__ = _none
    __and__ = __or__ = __invert__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = _none
    __bool__ = __float__ = __int__ = __index__ = __iter__ = _none


def move(array: Array, place: device) -> Array:
    """The shape of an array; RuntimeError if `array` is one and the device another.

    >>> import tinygrad_edu as torch
    >>> layer = torch.nn.Linear(2, 3).to("meta")
    >>> layer.weight.device, layer.weight.shape
    (device(type='meta'), torch.Size([3, 2]))
    """
    if place.type != "meta":
        array.refuse()
    return Shape(array.shape, array.dtype)
