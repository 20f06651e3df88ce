"""Running results along one dimension."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.memory_order import in_order


def accumulate(ufunc: Any, x: Array, dim: int) -> Array:
    """`y[i] = ufunc(x[0], ..., x[i])` along `dim`.

    On the GPU by doubling: after step k every element has met its 2**k predecessors.
    """
    if isinstance(x, np.ndarray):
        return in_order(ufunc.accumulate(x, axis=dim))
    y, reach = x.copy(), 1
    along: Array = np.moveaxis(y, dim, 0)
    while reach < len(along):
        along[reach:] = ufunc(along[reach:], along[:-reach])
        reach *= 2
    return y
