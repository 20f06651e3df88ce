"""`y = a x + b y` in one pass, by the BLAS, where NumPy takes three.

It rounds each product and the sum, as NumPy does.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.threads import blas

SMALL = 2048
"""Of fewer elements the passes cost less than telling the BLAS where they are."""
_BYTES = ctypes.c_char * 0


def blas_axpby(dtype: np.dtype[Any], *factors: float) -> Callable[..., Any] | None:
    """The BLAS's function for that dtype and these factors; None where there is none.

    It is called as `axpby(n, a, x, 1, b, y, 1)`, with `addresses` for x and y.  Of a factor of 0
    it would not read the array, and so lose a nan.
    """
    library = blas()
    return None if library is None or 0 in factors else library.axpby.get(dtype)


def serves(arrays: Sequence[Array]) -> bool:
    """Whether it may be given these: it looks at neither size nor dtype, and would write beyond."""
    n, kind = arrays[0].size, arrays[0].dtype
    return n >= SMALL and all(
        [a.flags.c_contiguous and a.size == n and a.dtype is kind for a in arrays]
    )


def addresses(*arrays: Array) -> list[Any]:
    """Where arrays lie, for a function of C; of those that may be written the quick way."""
    try:
        return list(map(_BYTES.from_buffer, arrays))
    except TypeError:
        return [a.__array_interface__["data"][0] for a in arrays]
