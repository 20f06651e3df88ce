"""`UntypedStorage`: the memory that a tensor and its views share."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_edu.kernels.memory_order import owner


class UntypedStorage:
    """The bytes behind a tensor; what `tensor.untyped_storage()` returns.

    Unlike torch, they can be asked about, but neither read nor resized.

    >>> import tinygrad_edu as torch
    >>> x = torch.zeros(4, 4)
    >>> x[1].untyped_storage().nbytes(), x[1].untyped_storage() == x.untyped_storage()
    (64, True)
    """

    def __init__(self, array: Any) -> None:
        self._array = owner(array)

    def nbytes(self) -> int:
        """How many bytes there are."""
        return int(self._array.nbytes)

    size = __len__ = nbytes

    def data_ptr(self) -> int:
        """The address of the first byte."""
        array = self._array
        return int(array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UntypedStorage) and self.data_ptr() == other.data_ptr()

    def __hash__(self) -> int:
        return self.data_ptr()

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + self.nbytes()
