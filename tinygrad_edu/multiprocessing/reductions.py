"""Tensors in memory that several processes see.

`share` moves arrays into a segment: anonymous memory that a file descriptor stands for.  A process
that is forked afterwards has the segment too; to one that gets a tensor in a message the descriptor
is handed, as `multiprocessing` hands over connections, and it maps the same memory.  There is no
name to clean up: the system frees the memory when the last process lets go of it.  A process that
ends waits for others to take what it has put into a queue, which torch's does not.

The tensors of a storage move together.  Views and detached twins have arrays of their own, so those
that live are looked for among all objects of the process: slow, but sharing is rare.
"""

from __future__ import annotations

import errno
import gc
import mmap
import os
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from multiprocessing import reduction, resource_sharer, util
from typing import Any

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.memory_order import owner
from tinygrad_edu.nn.parameter import Buffer, Parameter
from tinygrad_edu.out_of_memory import out_of_memory
from tinygrad_edu.tensor import _OWN, Tensor, _rebuild

ALIGNMENT = 64
"""Each array begins at a multiple of this many bytes."""


class Segment(mmap.mmap):
    """A piece of shared memory; `file` is its descriptor."""

    file: int

    def __new__(cls, file: int, size: int) -> Segment:
        made = super().__new__(cls, file, size)
        made.file = file
        return made

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        if hasattr(self, "file"):  # else there was no memory for it
            close(self.file)


_known: weakref.WeakValueDictionary[tuple[int, int], Segment] = weakref.WeakValueDictionary()
"""The segments of this process, by what the system calls them: each is mapped once."""


def _new_segment(size: int) -> Segment:
    if not hasattr(reduction, "DupFd"):
        raise RuntimeError(
            f"share_memory: {sys.platform} cannot hand file descriptors to other processes"
        )
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("tinygrad_edu")
    else:
        with tempfile.TemporaryFile() as opened:
            file = os.dup(opened.fileno())
    os.ftruncate(file, size)
    return _segment(file, size)


def _segment(file: int, size: int) -> Segment:
    """The segment of a descriptor, which it takes over."""
    status = os.fstat(file)
    key = status.st_dev, status.st_ino
    found = _known.get(key)
    if found is not None:
        os.close(file)
        return found
    try:
        _known[key] = made = Segment(file, size)
    except BaseException as error:
        os.close(file)
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            raise out_of_memory("share_memory", MemoryError()) from None
        raise
    return made


def segment_of(array: Array) -> Segment | None:
    """The segment that an array lies in, if it lies in one."""
    memory = owner(array).base
    memory = memory.obj if isinstance(memory, memoryview) else memory
    return memory if isinstance(memory, Segment) else None


def share(tensors: Iterable[Any]) -> None:
    """Move the memory of tensors, and of all that share it, into one segment.

    Those on a GPU and those that are shared already stay where they are.
    """
    given = [t for t in tensors if isinstance(t.array, np.ndarray)]
    own = {id(t): t for t in given if segment_of(t.array) is None}
    if not own:
        return
    roots = {id(root): root for root in [owner(t.array) for t in own.values()]}
    alone = all([_has_no_twin(t) for t in own.values()])
    moving = list(own.values()) if alone else _all_tensors_in(roots)
    ends = {key: np.lib.array_utils.byte_bounds(root) for key, root in roots.items()}
    places: dict[int, int] = {}
    size = 0
    for key, (first, end) in ends.items():
        places[key] = size
        size += -(-(end - first) // ALIGNMENT) * ALIGNMENT
    segment = _new_segment(max(size, ALIGNMENT))
    for key, root in roots.items():
        _view(segment, root, places[key] + _offset(root, ends[key]))[...] = root
    for t in moving:
        array, key = t.__dict__["array"], id(owner(t.__dict__["array"]))
        t.array = _view(segment, array, places[key] + _offset(array, ends[key]))


def _offset(array: Array, bounds: tuple[int, int]) -> int:
    """Where the first element lies, in bytes from the beginning of the memory."""
    return int(array.ctypes.data) - bounds[0] if array.size else 0


def _view(segment: Segment, like: Array, offset: int) -> Array:
    """An array of the segment, laid out as another one."""
    return np.ndarray(like.shape, like.dtype, segment, offset, like.strides)


def _has_no_twin(tensor: Any) -> bool:
    """Whether certainly no other tensor has this memory: the array is held by this one alone."""
    array = tensor.array
    return array.base is None and sys.getrefcount(array) == _ALONE


def _alone() -> int:
    """How many references `_has_no_twin` counts of an array that one object holds."""

    class Holder:
        array = property(lambda self: self.__dict__["array"])

    holder = Holder()
    holder.__dict__["array"] = np.empty(0)
    array = holder.array
    return sys.getrefcount(array)


_ALONE = _alone()


def _all_tensors_in(roots: dict[int, Array]) -> list[Any]:
    """All tensors of the process in the memory of these arrays."""
    found = []
    for thing in gc.get_objects():
        if issubclass(type(thing), Tensor):
            array = thing.__dict__.get("array")
            if isinstance(array, np.ndarray) and id(owner(array)) in roots:
                found.append(thing)
    return found


# Messages to other processes ----------------------------------------------------------------------


def reduce(tensor: Tensor) -> tuple[Any, ...]:
    """A tensor as a message: shared, and with the descriptor of its segment.

    Raises:
        RuntimeError: it was computed from tensors that require grad.
    """
    if not tensor.is_leaf:
        raise RuntimeError(
            "Cowardly refusing to serialize non-leaf tensor which requires_grad, since autograd"
            " does not support crossing process boundaries. If you just want to transfer the data,"
            " call detach() on the tensor before serializing (e.g., putting it on the queue)."
        )
    if not isinstance(tensor.__dict__["array"], np.ndarray) or not hasattr(reduction, "DupFd"):
        result: tuple[Any, ...] = tensor.__reduce_ex__(4)
        return result
    share([tensor])
    array = tensor.array
    segment = segment_of(array)
    assert segment is not None
    start = np.ndarray(0, np.uint8, segment).ctypes.data
    layout = array.shape, array.dtype, int(array.ctypes.data) - start, array.strides
    own = {k: v for k, v in tensor.__dict__.items() if k not in _OWN}
    return rebuild, (type(tensor), segment, layout, tensor.requires_grad), own or None


def rebuild(cls: type, segment: Segment, layout: Sequence[Any], requires_grad: bool) -> Any:
    """The tensor of a message."""
    shape, dtype, offset, strides = layout
    return _rebuild(cls, np.ndarray(shape, dtype, segment, offset, strides), requires_grad)


def _hand_over(segment: Segment) -> tuple[Any, ...]:
    """A segment in a message, once for all its tensors there."""
    return _take_over, (reduction.DupFd(segment.file), len(segment))


PATIENCE = 10.0
"""How many seconds a process waits at its end for others to take what it has handed over."""


def _wait_until_taken() -> None:
    """A descriptor can only be had from a process that lives."""
    pending = getattr(getattr(resource_sharer, "_resource_sharer", None), "_cache", None)
    end = time.monotonic() + PATIENCE
    while pending and time.monotonic() < end:
        time.sleep(0.005)


def _take_over(handle: Any, size: int) -> Segment:
    return _segment(handle.detach(), size)


def _wait_at_the_end(_: object = None) -> None:
    """Let this process wait when it ends, and when its queues have sent everything."""
    util.Finalize(None, _wait_until_taken, exitpriority=-20)


_wait_at_the_end()
util.register_after_fork(_known, _wait_at_the_end)  # a forked process has to say so itself
for _cls in (Tensor, Parameter, Buffer):
    reduction.ForkingPickler.register(_cls, reduce)
reduction.ForkingPickler.register(Segment, _hand_over)
