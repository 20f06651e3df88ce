"""Let the elements of an array through where a mask holds, 0 elsewhere.

Multiplying by the mask would turn a masked inf into nan, and `np.where` is slow.  Floats are words
of bits, and a word AND all ones is itself, AND all zeros is 0.0: twice as fast.
"""

from __future__ import annotations

import numpy as np

from tinygrad_edu.dtypes import Array

_WORD = {2: np.int16, 4: np.int32, 8: np.int64}


def gate(g: Array, mask: Array) -> Array:
    """`g` where `mask` holds, else 0."""
    arrays = g.__class__ is np.ndarray is mask.__class__  # not numbers
    same = arrays and g.shape == mask.shape and g.ndim > 0
    if not (same and g.flags.c_contiguous and g.dtype.kind == "f"):
        return np.where(mask, g, g.dtype.type(0))
    word = _WORD[g.itemsize]
    bits = np.negative(mask.view(np.int8)).astype(word)  # -1 is all ones
    return np.bitwise_and(bits, g.view(word), out=bits).view(g.dtype)
