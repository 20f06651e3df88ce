"""The memory that a tensor and its views share: as bytes, and as elements of a dtype."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np

from tinygrad_edu.backend import device, device_of
from tinygrad_edu.dtypes import dtype, from_numpy
from tinygrad_edu.kernels.memory_order import owner


class UntypedStorage:
    """The bytes behind a tensor; what `tensor.untyped_storage()` returns.

    Unlike torch, they are not resized, and on a GPU not read one by one.

    >>> import tinygrad_edu as torch
    >>> x = torch.zeros(4, 4)
    >>> x[1].untyped_storage().nbytes(), x[1].untyped_storage() == x.untyped_storage()
    (64, True)
    """

    _kind = np.dtype(np.uint8)

    def __init__(self, array: Any) -> None:
        self._array = owner(array) if hasattr(array, "base") else array

    @classmethod
    def from_file(cls, filename: Any, shared: bool = False, nbytes: int = 0) -> Self:
        """The bytes of a file, read as they are used; what is written reaches it if `shared`."""
        bytes_ = np.memmap(filename, np.uint8, "r+" if shared else "c", shape=(nbytes,))
        return cls(bytes_.view(np.ndarray))

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(self._elements(), dtype=dtype, copy=copy)

    def untyped(self) -> UntypedStorage:
        """The same memory as bytes."""
        return UntypedStorage(self._array)

    def nbytes(self) -> int:
        """How many bytes there are."""
        return int(self._array.nbytes)

    def __len__(self) -> int:
        return int(self._elements().size)

    size = __len__

    @property
    def device(self) -> device:
        """Where they are."""
        return device_of(self._array)

    def data_ptr(self) -> int:
        """The address of the first byte; 0 on the device meta."""
        array = self._array
        if self.device.type == "meta":
            return 0
        return int(array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr)

    def _elements(self) -> Any:
        """The whole memory as a flat array, in the order of the addresses."""
        flat = self._array.ravel(order="K")
        if flat.size and not np.shares_memory(flat, self._array):
            raise RuntimeError("this memory has gaps, so it is no run of elements")
        return flat.view(self._kind)

    def tolist(self) -> list[Any]:
        """The elements as Python's numbers."""
        return self._elements().tolist()  # type: ignore[no-any-return]

    def __getitem__(self, index: Any) -> Any:
        found = self._elements()[index]
        return self._part(found) if isinstance(index, slice) else found.item()

    def _part(self, elements: Any) -> Any:
        """A storage of some of the elements."""
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__, _array=elements)
        return made

    def __setitem__(self, index: Any, value: Any) -> None:
        self._elements()[index] = value

    def __iter__(self) -> Any:
        return iter(self.tolist())

    def fill_(self, value: Any) -> Any:
        """Write one value everywhere."""
        self[:] = value
        return self

    def copy_(self, source: Any) -> Any:
        """Write the elements of another storage."""
        self[:] = source._elements()
        return self

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.data_ptr() == other.data_ptr()

    def __hash__(self) -> int:
        return self.data_ptr()

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + self.nbytes()

    def __repr__(self) -> str:
        lines = "".join([f" {value}\n" for value in self.tolist()])
        return f"{lines}[torch.storage.{self._name()} of size {len(self)}]"

    def _name(self) -> str:
        return f"UntypedStorage(device={self.device})"


class TypedStorage(UntypedStorage):
    """The elements behind a tensor; what `tensor.storage()` returns.

    >>> import warnings, tinygrad_edu as torch
    >>> x = torch.tensor([[4.0, 1.0], [5.0, 3.0]])
    >>> with warnings.catch_warnings(action="ignore"):
    ...     storage = x.t().storage()
    >>> storage[1] = 2.0
    >>> storage.tolist(), x[0, 1].item()
    ([4.0, 2.0, 5.0, 3.0], 2.0)
    """

    def __init__(self, array: Any) -> None:
        super().__init__(array)
        self._kind = array.dtype

    @property
    def dtype(self) -> dtype:
        """The type of the elements."""
        return from_numpy(self._kind)

    def element_size(self) -> int:
        """How many bytes an element has."""
        return int(self._kind.itemsize)

    def _name(self) -> str:
        return f"TypedStorage(dtype={self.dtype}, device={self.device})"


def storage_of(tensor: Any) -> TypedStorage:
    """`tensor.storage()`: the memory that it shares with its views, as elements of its dtype."""
    warnings.warn(
        "TypedStorage is deprecated. It will be removed in the future and UntypedStorage will be"
        " the only storage class. This should only matter to you if you are using storages"
        " directly.  To access UntypedStorage directly, use tensor.untyped_storage() instead of"
        " tensor.storage()",
        UserWarning,
        stacklevel=3,
    )
    return TypedStorage(tensor.array)
