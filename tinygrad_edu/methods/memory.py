"""Methods of a tensor that few programs call: whose memory it has, its elements one by one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from tinygrad_edu.dtypes import Array, from_numpy
from tinygrad_edu.engine.levels import refuse_captured
from tinygrad_edu.engine.switches import is_grad_enabled
from tinygrad_edu.kernels import memory_order
from tinygrad_edu.kernels.memory_order import slow_to_fast
from tinygrad_edu.ops.arguments import numpy_names

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor

T = TypeVar("T", bound="Tensor")


class MemoryMethods:
    """The part of `Tensor` that is here."""

    array: Array

    # ---------------------------------------------------------------- whose memory it has

    def set_(
        self, source: Any = None, storage_offset: int = 0, size: Any = None, stride: Any = None
    ) -> Self:
        """Take over the memory of another tensor or storage; nothing is copied.

        Args:
            source: a tensor of the same dtype, an `untyped_storage()`, or None for no memory.
            storage_offset, size, stride: how to see it: the first element, the shape, the steps,
                in elements; as `source` itself unless given.

        Raises:
            RuntimeError: another dtype, elements outside the memory, a view, or a history, which
                this operation cannot have: call it on `detach()` or under `no_grad`.

        >>> import tinygrad_edu as torch
        >>> x, y = torch.zeros(2), torch.ones(3)
        >>> x.set_(y)
        tensor([1., 1., 1.])
        """
        mine: Any = self
        refuse_captured(mine, "set_", source)
        if is_grad_enabled() and (mine.requires_grad or getattr(source, "requires_grad", False)):
            if mine.requires_grad and mine.is_leaf:
                raise RuntimeError(
                    "a leaf Variable that requires grad is being used in an in-place operation."
                )
            raise RuntimeError("set_ has no derivative: call it on detach() or under no_grad()")
        if mine._base is not None:
            raise RuntimeError("set_ of a view is not supported: call detach() first")
        found = _seen(mine, source, storage_offset, size, stride)
        if found.array.dtype != self.array.dtype:
            raise RuntimeError(
                f"Could not set tensor of type {_kind(found)} to a tensor of type {_kind(mine)}"
            )
        mine.array, mine._storage, mine.plain = found.array, found._storage, False
        return self

    def is_set_to(self, tensor: Tensor) -> bool:
        """Whether both see the same memory in the same way."""
        mine: Any = self
        return bool(
            mine.data_ptr() == tensor.data_ptr()
            and self.array.shape == tensor.array.shape
            and self.array.strides == tensor.array.strides
        )

    def share_memory_(self) -> Self:
        """Move its memory, and with it all views of it, to where other processes reach it.

        A process started afterwards, or given the tensor by a queue of `torch.multiprocessing`,
        sees what this one writes, and the other way round. A tensor on a GPU stays as it is.

        Raises:
            RuntimeError: the system cannot share memory by file descriptors.

        >>> import tinygrad_edu as torch
        >>> torch.zeros(2).share_memory_().is_shared()
        True
        """
        from tinygrad_edu.multiprocessing.reductions import share

        share([self])
        return self

    def is_shared(self) -> bool:
        """Whether its memory is shared with other processes; always so on a GPU, as in torch."""
        from tinygrad_edu.multiprocessing.reductions import segment_of

        on_gpu = not isinstance(self.array, np.ndarray)
        return on_gpu or segment_of(self.array) is not None

    def as_subclass(self, cls: type[T]) -> T:
        """The same memory and history as an object of a subclass of `Tensor`.

        Raises:
            TypeError: `cls` is not such a class.

        >>> import tinygrad_edu as torch
        >>> class Labels(torch.Tensor): ...
        >>> type(torch.zeros(2).as_subclass(Labels)).__name__
        'Labels'
        """
        from tinygrad_edu.tensor import Tensor

        if not (isinstance(cls, type) and issubclass(cls, Tensor)):
            raise TypeError(
                "Creating a Tensor subclass from a class that does not inherit from Tensor is not"
                " possible. Make sure your class inherits from Tensor."
            )
        mine: Any = self
        seen: Any = mine.view(mine.shape) if self.array.flags.c_contiguous else mine[...]
        made = object.__new__(cls)
        vars(made).update(vars(seen))
        return made

    @numpy_names
    def narrow_copy(self, dim: int, start: int | Tensor, length: int) -> Tensor:
        """`narrow` in memory of its own."""
        mine: Any = self
        copied: Tensor = mine.narrow(dim, start, length).clone(
            memory_format="torch.contiguous_format"
        )
        return copied

    # ---------------------------------------------------------------- how it lies in memory

    def is_same_size(self, other: Tensor) -> bool:
        """Whether the shapes are equal."""
        if not hasattr(other, "array"):
            raise TypeError(
                "is_same_size(): argument 'other' (position 1) must be Tensor, not"
                f" {type(other).__name__}"
            )
        return bool(self.array.shape == other.array.shape)

    def dim_order(self, *, ambiguity_check: bool | Sequence[Any] = False) -> tuple[int, ...]:
        """The dimensions from the slowest to the fastest in memory.

        Args:
            ambiguity_check: refuse a tensor of which several orders are true; or the memory
                formats, one of which must be its own.

        Raises:
            RuntimeError: the order is ambiguous, where that is checked.

        >>> import tinygrad_edu as torch
        >>> torch.ones(2, 3).t().dim_order()
        (1, 0)
        """
        x = self.array
        formats = [] if isinstance(ambiguity_check, bool) else list(ambiguity_check)
        if not all([isinstance(f, str) and f.startswith("torch.") for f in formats]):
            raise TypeError(
                "The ambiguity_check argument must be a bool or a list of memory formats."
            )
        steps = x.strides
        twice = any([a == b for a, b in zip(steps, steps[1:], strict=False)])
        if ambiguity_check and (1 in x.shape or twice):
            mine: Any = self
            own = [f for f in formats if mine.is_contiguous(memory_format=f)]
            axes = memory_order.axes_of(own[0], x.ndim) if len(own) == 1 else None
            if axes is None:
                raise RuntimeError(
                    "The tensor does not have unique dim order, or cannot map to exact one of the"
                    " given memory formats."
                )
            return axes
        if ambiguity_check and (0 in steps or len(set(steps)) < x.ndim):
            raise RuntimeError("The tensor does not have unique dim order.")
        if x.flags.c_contiguous or not x.size:
            return tuple(range(x.ndim))
        return tuple(slow_to_fast(x))

    # ---------------------------------------------------------------- its elements one by one

    def apply_(self, callable: Callable[[Any], Any]) -> Self:
        """Replace every element by `callable(element)`, in place; slow, and without a gradient.

        Raises:
            RuntimeError: it requires grad.
            TypeError: it is not on the CPU, or the function returns no number.

        >>> import tinygrad_edu as torch
        >>> torch.tensor([1.0, 2.0]).apply_(lambda x: x * 10)
        tensor([10., 20.])
        """
        return self._each("apply_", callable)

    def map_(self, other: Tensor, callable: Callable[[Any, Any], Any]) -> Self:
        """Replace every element by `callable(element, element of other)`, in place.

        Args:
            other: of the same dtype; it is broadcast to this shape.

        Raises:
            As `apply_`.

        >>> import tinygrad_edu as torch
        >>> torch.tensor([1.0, 2.0]).map_(torch.tensor([3.0, 4.0]), max)
        tensor([3., 4.])
        """
        return self._each("map_", callable, other)

    def map2_(self, x: Tensor, y: Tensor, callable: Callable[[Any, Any, Any], Any]) -> Self:
        """As `map_`, with two further tensors."""
        return self._each("map2_", callable, x, y)

    def _each(self, name: str, function: Callable[..., Any], *others: Any) -> Self:
        mine: Any = self
        refuse_captured(mine, name, others)
        for place, other in enumerate(others):
            which = "other" if len(others) == 1 else "xy"[place]
            if not hasattr(other, "array"):
                raise TypeError(
                    f"{name}(): argument '{which}' (position {place + 1}) must be Tensor, not"
                    f" {type(other).__name__}"
                )
            if other.type() != mine.type():
                raise TypeError(
                    f"{name}: expected {mine.type()} for '{which}' (got {other.type()})"
                )
        if not isinstance(self.array, np.ndarray):
            raise TypeError(f"{name} is only implemented on CPU tensors")
        if any([t.requires_grad for t in (mine, *others)]):
            raise RuntimeError(
                f"Can't call {name}() on Variable that requires grad. Use"
                f" var.detach().{name}() instead."
            )
        columns = [
            t.array.ravel().tolist() for t in (mine, *[o.expand(mine.shape) for o in others])
        ]
        number = _numbers(self.array.dtype.kind)
        values = [number(function(*row)) for row in zip(*columns, strict=True)]
        self.array[...] = np.array(values, self.array.dtype).reshape(self.array.shape)
        mine._storage.write()
        return self


def _numbers(kind: str) -> Callable[[Any], Any]:
    """What makes an element of what a function returned; TypeError if that is not a number."""
    if kind == "b":
        return bool
    if kind in "iu":
        return lambda value: value if isinstance(value, int) else int(math.ldexp(value, 0))
    return lambda value: math.ldexp(value, 0)  # as float(value), but not of a string


def _kind(x: Tensor) -> str:
    return str(from_numpy(x.array.dtype)).removeprefix("torch.")


def _seen(mine: Any, source: Any, offset: int, size: Any, stride: Any) -> Any:
    """A tensor in the memory of `source`, with this shape and these steps."""
    if source is None:
        return mine.new_empty(0)
    from tinygrad_edu.methods.storage import UntypedStorage

    if isinstance(source, UntypedStorage):
        whole = mine.new_empty(0)
        whole.array = source._array.reshape(-1).view(mine.array.dtype)
        size = whole.shape if size is None else size
    elif hasattr(source, "array"):
        whole = source.detach()
    else:
        raise TypeError(f"set_(): argument 'source' must be Tensor, not {type(source).__name__}")
    if size is None:
        return whole
    size = tuple(size)
    steps = [math.prod(size[i + 1 :]) for i in range(len(size))] if stride is None else stride
    from tinygrad_edu.ops.more.strided import as_strided  # few programs need it

    return as_strided(whole, size, steps, offset)
