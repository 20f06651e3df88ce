"""Tensors on the device "meta": a shape and a dtype, and no memory.

`model.to("meta")` gives the memory of a model back whose parameters are to come from elsewhere, as
`func.functional_call` takes them.  Asking for what they hold is an error.
"""

from __future__ import annotations

import itertools
import math
import operator
from typing import Any, NoReturn

import numpy as np

from tinygrad_edu.backend import device
from tinygrad_edu.dtypes import Array


class Shape:
    """What stands in the place of an array there; whatever is computed with it is an error."""

    place = device("meta")

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape, self.dtype = shape, dtype
        self.ndim, self.size, self.itemsize = len(shape), math.prod(shape), dtype.itemsize
        self.nbytes = self.size * self.itemsize
        steps = itertools.accumulate(shape[:0:-1], operator.mul, initial=self.itemsize)
        self.strides = tuple(steps)[::-1] if shape else ()

    def copy(self, order: object = "C") -> Shape:
        """The same."""
        return self

    def __getattr__(self, name: str) -> NoReturn:
        if name[:2] == "__":  # Python's protocols ask whether there is one
            raise AttributeError(name)
        _refuse()

    def _none(self, *args: object, **kwargs: object) -> NoReturn:
        _refuse()

    __array__ = __array_ufunc__ = __array_function__ = __getitem__ = __setitem__ = _none
    __add__ = __radd__ = __mul__ = __rmul__ = __sub__ = __rsub__ = __truediv__ = _none
    __rtruediv__ = __matmul__ = __rmatmul__ = __neg__ = __pow__ = __rpow__ = _none
    __bool__ = __float__ = __int__ = __len__ = __iter__ = _none


def move(array: Array, place: device) -> Array:
    """The shape of an array; RuntimeError if `array` is one and the device another.

    >>> import tinygrad_edu as torch
    >>> layer = torch.nn.Linear(2, 3).to("meta")
    >>> layer.weight.device, layer.weight.shape
    (device(type='meta'), torch.Size([3, 2]))
    """
    if place.type != "meta":
        _refuse()
    return Shape(array.shape, array.dtype)


def _refuse() -> NoReturn:
    raise NotImplementedError(
        "a tensor on device 'meta' has no data, only a shape and a dtype; it can neither be"
        " computed with nor moved to another device"
    )
