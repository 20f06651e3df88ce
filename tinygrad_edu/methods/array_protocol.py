"""What lets other libraries take a tensor for an array: NumPy's protocols, and DLPack."""

from __future__ import annotations

from typing import Any


class ArrayProtocol:
    """What lets other libraries take a tensor for an array."""

    __array_priority__ = 1000

    def __array_ufunc__(self: Any, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """What NumPy calls for `np.exp(t)`, `array * t`, `array += t`."""
        from tinygrad_edu.methods import numpy_protocol  # all operations, which few programs need

        return numpy_protocol.array_ufunc(self, ufunc, method, *inputs, **kwargs)

    def __array_function__(self: Any, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """What NumPy calls for `np.sum(t, axis=0)`, `np.concatenate([t, u])`."""
        from tinygrad_edu.methods import numpy_protocol

        return numpy_protocol.array_function(self, function, types, args, kwargs)

    def __array__(self: Any, dtype: Any = None, copy: Any = None) -> Any:
        """Its memory as a NumPy array, copied only where that is asked for or needed.

        Raises:
            RuntimeError: it requires grad.
            ValueError: `copy` is False, and another dtype needs one.
        """
        array = self.numpy()
        if copy is False and dtype is not None and array.dtype != dtype:
            raise ValueError("Unable to avoid copy while creating an array as requested.")
        if dtype is None and not copy:
            return array
        return array.astype(array.dtype if dtype is None else dtype, copy=bool(copy))

    def __dlpack__(self: Any, **options: Any) -> Any:
        """Its memory for another library's `from_dlpack`, without a copy.

        Raises:
            BufferError: it requires grad.
        """
        if self.requires_grad:
            raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self: Any) -> Any:
        """Where its memory is, as DLPack says it."""
        return self.array.__dlpack_device__()
