"""Read and write parts of tensors: `x[...]`, where, masked_fill.

There are two kinds of index.  Integers, slices, `None` and `...` are *basic*: they
lead to a view, which shares memory with `x`.  Index tensors, lists and masks are *advanced*: they
pick elements into a new tensor.  An index of both kinds is taken in two steps, the basic part
first; that is where torch differs from NumPy, for which an integer beside an index array counts as
an array.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.backend import beside, device_of, module_of, new_like
from tinygrad_edu.dtypes import (
    Array,
    fitting,
    is_half,
    scalar_type_name,
)  # fmt: skip
from tinygrad_edu.engine.boundary import other_device, same_device
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.inplace import check_history, check_writable, inplace, refuse_overlap
from tinygrad_edu.engine.levels import refuse_captured
from tinygrad_edu.engine.mode import is_recording, state
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.record import as_array, current_node
from tinygrad_edu.engine.versions import watched
from tinygrad_edu.kernels.atomic import add_at
from tinygrad_edu.kernels.cuda import checks
from tinygrad_edu.kernels.memory_order import broadcast_strides, clone, in_order, stored
from tinygrad_edu.names.missing import elsewhere
from tinygrad_edu.ops.arguments import named
from tinygrad_edu.ops.arithmetic import zero_gradient
from tinygrad_edu.ops.casting import on_device_of
from tinygrad_edu.ops.shape import expand, reshape

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


def _steps(x: Array, index: tuple[Any, ...]) -> str:
    """torch takes an index entry by entry: `x[1, :2, None]` is a Select, a Slice, ..."""
    if len(index) == 1 and index[0].__class__ in _KINDS:
        return _KINDS[index[0].__class__]
    kinds = [_KINDS.get(e.__class__, "") for e in index if e != _ALL]
    return "Slice" if not kinds else kinds[0] if len(kinds) == 1 else _nested(tuple(kinds))


_ALL = slice(None)
_KINDS = {int: "Select", slice: "Slice", type(None): "Unsqueeze"}


@functools.cache
def _nested(kinds: tuple[str, ...]) -> str:
    chain = "x"
    for kind in kinds:
        chain = f"{kind}({chain})" if kind else chain
    return chain if "(" in chain else "Slice"


@primitive(view=True, node=_steps)
def _slice(x: Array, index: tuple[Any, ...]) -> Array:
    y = x[index if Ellipsis in index else (*index, ...)]
    if None in index:  # NumPy's steps along new dimensions are 0, torch's are not
        rest = tuple([part for part in index if part is not None])
        y = x[rest if Ellipsis in rest else (*rest, ...)].reshape(y.shape)
    return y


@primitive
def _unslice(part: Array, shape: tuple[int, ...], index: tuple[Any, ...]) -> Array:
    """Zeros of that shape, with `part` where `index` leads to."""
    zeros = new_like(part, shape, 0)
    zeros[index] = part
    return zeros


_slice.vjp(x=lambda g, x_shape, index: _unslice(g, x_shape, index))
_unslice.vjp(part=lambda g, index: _slice(g, index))


@primitive(node="Index")
def _take(x: Array, index: tuple[Any, ...]) -> Array:
    return taken(x, index)


@primitive
def _untake(picked: Array, shape: tuple[int, ...], index: tuple[Any, ...]) -> Array:
    """Zeros of that shape, with `picked` added at the index; an element named twice gets both."""
    return add_at(new_like(picked, shape, 0), index, picked)


_take.vjp(x=lambda g, x_shape, index: _untake(g, x_shape, index))
_untake.vjp(picked=lambda g, index: _take(g, index))


_Parts = tuple[tuple[Any, ...], tuple[Any, ...] | None]


def taken(x: Array, index: tuple[Any, ...]) -> Array:
    """`x[index]` for index arrays and full slices, laid out in memory as torch does it.

    The axes that are not indexed keep the order they have in `x`, new ones that of the indices.
    """
    y = x[index]
    if x.flags.c_contiguous and all([isinstance(p, slice) or p.flags.c_contiguous for p in index]):
        return in_order(y)
    used = [0 if isinstance(part, slice) else _dims_of(part) for part in index]
    starts = np.cumsum([0, *[n or 1 for n in used]]).tolist()
    taken = [i for start, n in zip(starts, used, strict=False) for i in range(start, start + n)]
    kept = [step for i, step in enumerate(x.strides) if i not in taken]
    front = taken[0] if taken[-1] - taken[0] < len(taken) else 0
    blank, new = [0] * len(kept), y.ndim - len(kept)
    shape = y.shape[front : front + new]
    parts = [part for part in index if not isinstance(part, slice)]
    steps = [(1,) if p.dtype == bool else broadcast_strides(p, shape) for p in parts]
    steps = [(0,) * (new - len(step)) + step for step in steps]  # a mask stands for one axis
    return stored(
        y,
        (*kept[:front], *[0] * new, *kept[front:]),
        *[(*blank[:front], *step, *blank[front:]) for step in steps],
    )


def parse(x: Array, index: Any) -> _Parts:
    """The basic part of an index and, if there is one, the advanced part to apply after it.

    Raises:
        IndexError: too many indices, one out of range, a mask of another shape, an index that is
            none of the allowed types.
        ValueError: a slice goes backward.
    """
    entries = index if isinstance(index, tuple) else (index,)
    entries = tuple([_read(entry) for entry in entries])
    named = sum([_dims_of(entry) for entry in entries])
    if named > x.ndim:
        raise IndexError(f"too many indices for tensor of dimension {x.ndim}")
    if Ellipsis not in [e for e in entries if not hasattr(e, "dtype")]:
        entries = (*entries, Ellipsis)
    basic: list[Any] = []
    advanced: list[Any] = []
    dim, found = 0, False
    for entry in entries:
        if entry is Ellipsis:
            full = [slice(None)] * (x.ndim - named)
            basic += full
            advanced += full
            dim += len(full)
            named = x.ndim  # a second one stands for nothing
        elif entry is None:
            basic.append(None)
            advanced.append(slice(None))
        elif isinstance(entry, bool):
            basic.append(None)
            advanced.append(beside(np.array([entry]), x))
            found = True
        elif isinstance(entry, slice):
            basic.append(entry)
            advanced.append(slice(None))
            dim += 1
        elif isinstance(entry, int):
            basic.append(_check_int(entry, x, dim))
            dim += 1
        else:
            used = _dims_of(entry)
            basic += [slice(None)] * used
            advanced.append(_check_array(entry, x, dim))
            dim += used
            found = True
    return tuple(basic), tuple(advanced) if found else None


def _dims_of(entry: Any) -> int:
    """How many dimensions of the tensor an entry uses up."""
    if entry is None or entry is Ellipsis or isinstance(entry, bool):
        return 0
    return entry.ndim if hasattr(entry, "dtype") and entry.dtype == bool else 1


def _read(entry: Any) -> Any:
    """One entry in plain form: None, ..., bool, int, slice, or an array of int64 or bool."""
    if entry is None or entry is Ellipsis or isinstance(entry, (bool, np.bool_)):
        return bool(entry) if isinstance(entry, np.bool_) else entry
    if isinstance(entry, slice):
        return _read_slice(entry)
    if isinstance(entry, (int, np.integer)):
        return int(entry)
    if isinstance(entry, (list, tuple, range)):
        entry = np.array(_values(entry))
        entry = entry.astype(np.int64) if not entry.size else entry
    array = entry.array if isinstance(entry, TensorBase) else entry
    if not hasattr(array, "dtype"):
        raise IndexError(
            "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are"
            f" valid indices (got {type(entry).__name__})"
        )
    wide = array is entry or array.dtype in (bool, np.uint8, np.int32, np.int64)
    if array.dtype.kind not in "iub" or not wide:
        raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
    if array.dtype == np.uint8:
        return array.astype(bool)
    if array.ndim == 0:
        return array.item()
    return array


def _values(entries: Any) -> Any:
    if isinstance(entries, TensorBase):
        return entries.array
    return [_values(e) for e in entries] if isinstance(entries, (list, tuple)) else entries


def _read_slice(entry: slice) -> slice:
    parts = [None if p is None else p.__index__() for p in (entry.start, entry.stop, entry.step)]
    if parts[2] is not None and parts[2] <= 0:
        raise ValueError("step must be greater than zero")
    return slice(*parts)


def _check_int(entry: int, x: Array, dim: int) -> int:
    size = x.shape[dim]
    if not -size <= entry < size:
        raise IndexError(f"index {entry} is out of bounds for dimension {dim} with size {size}")
    return entry


def _check_array(entry: Array, x: Array, dim: int) -> Array:
    if entry.dtype == bool:
        if entry.shape != x.shape[dim : dim + entry.ndim]:
            raise IndexError(
                f"The shape of the mask {list(entry.shape)} at index {dim} does not match the"
                f" shape of the indexed tensor {list(x.shape)} at index {dim}"
            )
    elif isinstance(x, np.ndarray) and not isinstance(entry, np.ndarray):
        raise RuntimeError(
            "indices should be either on cpu or on the same device as the indexed tensor (cpu)"
        )
    else:
        size = x.shape[dim]
        wrong = checks.wrong_index(entry, -size, size)
        if wrong is not None:
            raise IndexError(f"index {wrong} is out of bounds for dimension {dim} with size {size}")
    return beside(entry, x)


def _is_identity(basic: tuple[Any, ...]) -> bool:
    return all([e is Ellipsis or (isinstance(e, slice) and e == slice(None)) for e in basic])


_PLAIN = (int, type(None), type(Ellipsis))


def _is_plain(entries: tuple[Any, ...]) -> bool:
    """Whether NumPy reads these entries as torch does, so that they can be used as they are."""
    return all([type(e) in _PLAIN or (type(e) is slice and e.step is None) for e in entries])


def _numbered(entries: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Plain entries, an index tensor of one number and no dimension as that number, or None."""
    if _is_plain(entries):
        return entries
    numbered = tuple([_number(e) if isinstance(e, TensorBase) else e for e in entries])
    return numbered if _is_plain(numbered) else None


def _number(entry: Any) -> Any:
    x = entry.array
    whole = x.__class__ is np.ndarray and not x.ndim and x.dtype == np.int64
    return x.item() if whole else entry


def _alone(x: Any, index: Any) -> tuple[Any, ...]:
    """An index without commas, as a tuple of one."""
    if not x.array.ndim and type(index) in (int, slice):
        if index == 0:
            raise IndexError(
                "invalid index of a 0-dim tensor. Use `tensor.item()` to convert a 0-dim tensor to"
                " a number"
            )
        if type(index) is int:
            raise IndexError(f"index {index} is out of bounds for dimension 0 with size 0")
        raise IndexError("slice() cannot be applied to a 0-dim tensor.")
    return tuple(index) if type(index) is list and _names_dims(index) else (index,)


def _names_dims(index: list[Any]) -> bool:
    """Whether a list stands for a tuple, an entry per dimension, and not for one index tensor.

    As once in NumPy: a short list does if one of its entries is more than a number.
    """
    more = (list, tuple, range, slice, TensorBase, np.ndarray, type(None), type(Ellipsis))
    return len(index) < 32 and any([isinstance(entry, more) for entry in index])


def getitem(x: Any, index: Any) -> Tensor:
    """`x[index]`: a view for integers, slices, None and `...`; a copy for index tensors and masks.

    >>> import tinygrad_edu as torch
    >>> x = torch.arange(6).view(2, 3)
    >>> x[1, ::2], x[x > 3], x[:, [2, 0]]
    (tensor([3, 5]), tensor([4, 5]), tensor([[2, 0],
            [5, 3]]))
    """
    entries = index if type(index) is tuple else _alone(x, index)
    numbers = _numbered(entries)
    if numbers is not None:
        return _slice(x, numbers)
    basic, advanced = parse(x.array, entries)
    if advanced is None:
        return _slice(x, basic)
    picked = x if _is_identity(basic) else _slice(x, basic)
    return watched(_take(picked, advanced), "index", entries)


def _numbers(x: Array, value: Any) -> Array:
    """What is assigned to parts of `x`, as an array; NumPy would drop an imaginary part."""
    y = module_of(x).asarray(value)
    if y.dtype.kind in "cOSUmM":
        what = "complex numbers are" if y.dtype.kind == "c" else f"a {type(value).__name__} is"
        raise TypeError(f"can't assign to a tensor: {what} not supported")
    return y


def setitem(x: Any, index: Any, value: Any) -> None:
    """`x[index] = value`, in place.

    Raises:
        RuntimeError: the value does not broadcast to the part, or `x` may not be written.
    """
    entries = index if type(index) is tuple else _alone(x, index)
    numbers = _numbered(entries)
    basic, advanced = parse(x.array, entries) if numbers is None else (numbers, None)
    if isinstance(value, (int, float)):
        value = _assigned(value, x.array.dtype)
    whole = _is_identity(basic) and basic.count(slice(None)) <= x.array.ndim
    if state.mode.level is not None:
        refuse_captured(x, "copy_" if advanced is None else "index_put_", (entries, value))
    target = x if whole else _slice(x, basic)
    check_writable(target)
    if isinstance(value, TensorBase):
        value = _checked(target, advanced, value)
    plain = value.array if isinstance(value, TensorBase) else _numbers(x.array, value)
    if advanced is not None:
        _refuse_own_indices(target, entries)
    fitting = plain.shape
    if fitting:  # a single number fits everywhere
        part = target.array if advanced is None else target.array[advanced]
        fitting = _without_leading_ones(plain.shape, part.ndim)
    if fitting and not _fits(fitting, part.shape):
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(plain.shape)} cannot be broadcast to"
            f" indexing result of shape {list(part.shape)}"
        )
    if is_recording() and (current_node(x) is not None or current_node(value) is not None):
        _assign_recorded(target, advanced, value, plain, fitting)
        return
    target.array[... if advanced is None else advanced] = plain.reshape(fitting)
    x._storage.write()


def _checked(target: Any, advanced: Any, value: Any) -> Any:
    """The tensor to assign, on the device of the target; what torch refuses is refused."""
    if device_of(value.array) != device_of(target.array):
        if advanced is not None and value.array.ndim:
            raise other_device("index_put_", target.array, value.array)
        value = on_device_of(target.array, value)
    if advanced is None:
        refuse_overlap(target, (value,), gaps="expanded")
        return value
    if value.array.ndim or not _is_filled(value.array, advanced):
        refuse_overlap(target, (value,), apart=True)
    _check_put(target.array, value.array, advanced)
    return value


def _assign_recorded(
    target: Any, advanced: Any, value: Any, plain: Array, fitting: tuple[int, ...]
) -> None:
    """The assignment as an operation with a derivative."""
    if fitting != plain.shape and isinstance(value, TensorBase):
        value = reshape(value, fitting)  # type: ignore[arg-type]
    if advanced is not None:
        own = tuple([e if isinstance(e, slice) else e.copy() for e in advanced])
        _index_put_(target, own, value, False)  # its index is not seen by `watched`
    elif not plain.ndim:
        _fill_in_place(target, value)
    else:
        if isinstance(value, TensorBase) and fitting != target.array.shape:
            value = expand(value, target.array.shape)  # type: ignore[arg-type]
        copy_(target, value)


def _assigned(value: object, target: Any) -> Any:
    """The number as an element; 16-bit floats take what is too large as inf."""
    if value.__class__ is int and not -(2**63) <= value < 2**63:
        raise ValueError("Overflow when unpacking long long")
    return value if is_half(target) else fitting(target, value)


def _check_put(x: Array, values: Array, index: tuple[Any, ...]) -> None:
    """torch casts values put by an index only when a mask is filled with one value."""
    if values.dtype != x.dtype and not _is_filled(values, index):
        names = [scalar_type_name(array.dtype) for array in (x, values)]
        raise RuntimeError(
            "Index put requires the source and destination dtypes match, got"
            f" {names[0]} for the destination and {names[1]} for the source."
        )


def _is_filled(values: Array, index: tuple[Any, ...] | None) -> bool:
    """Whether torch takes `x[index] = values` for filling a part, or a mask, with one number."""
    masked = all([isinstance(e, slice) or e.dtype == bool for e in index or ()])
    return masked and values.size == 1


def _refuse_own_indices(x: Any, indices: Any) -> None:
    """torch's error for writing into a tensor through an index that it holds itself."""
    refuse_overlap(
        x,
        [i for i in indices if isinstance(i, TensorBase) and i.array.dtype not in (bool, np.uint8)],
        apart=True,
    )


def _without_leading_ones(shape: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    """The shape of a value that may have more dimensions than the part, if they are of size 1."""
    while len(shape) > ndim and shape[0] == 1:
        shape = shape[1:]
    return shape


@primitive(node="CopyBackwards")
def _copied(x: Array, value: Array) -> Array:
    """`value` in the shape and dtype of `x`: what `x` holds after `x.copy_(value)`."""
    if isinstance(value, (bool, int, float)) and not isinstance(x, np.ndarray):
        value = new_like(x, (), value, type(value))  # without a copy from the host
    elif not hasattr(value, "dtype"):
        value = module_of(x).asarray(value)
    return np.broadcast_to(value.astype(x.dtype), x.shape)


_copied.vjp(x=zero_gradient, value=lambda g: g)


@named(other="src")
def copy_(x: Any, src: Any, non_blocking: bool = False) -> Tensor:
    """Write the values of `src` into `x`, broadcast and cast; gradients flow to `src`.

    `src` may be on another device.

    >>> import tinygrad_edu as torch
    >>> torch.zeros(2).copy_(torch.tensor([1, 2]))
    tensor([1., 2.])
    """
    if isinstance(src, (int, float)):
        src = fitting(x.array.dtype, src)
    source = src.array if isinstance(src, TensorBase) else np.asarray(src)
    if source.dtype.kind == "c":
        raise TypeError("complex numbers are not supported")
    shape = x.array.shape
    if not _fits(source.shape, shape):
        raise RuntimeError(
            f"The size of tensor a ({list(shape)}) must match the size of tensor b"
            f" ({list(source.shape)}): copy_ broadcasts its source only"
        )
    if isinstance(src, TensorBase) and device_of(source) != device_of(x.array):
        src = on_device_of(x.array, src)
    return _copy_in_place(x, src)


def _fits(value: tuple[int, ...], part: tuple[int, ...]) -> bool:
    pairs = zip(reversed(value), reversed(part), strict=False)
    return len(value) <= len(part) and all([a == b or a == 1 for a, b in pairs])


_copy_in_place = inplace(_copied, "copy_", gaps="copied")
_fill_in_place = inplace(_copied, "fill_", check=check_history, reads=0)


def fill_(x: Any, value: Any) -> Tensor:
    """Write one value everywhere, even if several elements share memory."""
    if isinstance(value, complex):
        raise TypeError("complex numbers are not supported")
    if isinstance(value, (int, float, np.generic)):
        value = fitting(x.array.dtype, value)
    elif isinstance(value, TensorBase) and device_of(value.array) != device_of(x.array):
        value = on_device_of(x.array, value)
    return _fill_in_place(x, value)


@primitive
def _index_put(x: Array, index: tuple[Any, ...], values: Array, accumulate: bool) -> Array:
    same_device("index_put", x, values)  # CuPy would copy values of the host silently
    y = clone(as_array(x))
    values = values.astype(x.dtype) if hasattr(values, "astype") else values
    if getattr(values, "ndim", 0) > 1:  # NumPy would leave out leading dimensions of size 1
        parts = [part for part in index if not isinstance(part, slice)]
        new = max([1 if part.dtype == bool else part.ndim for part in parts])
        if values.ndim > y.ndim - sum([_dims_of(part) for part in parts]) + new:
            raise RuntimeError(
                f"shape mismatch: value tensor of shape {list(values.shape)} cannot be broadcast to"
                f" indexing result of shape {list(y[index].shape)}"
            )
    if accumulate:
        return add_at(y, index, values)
    y[index] = values
    return y


_index_put.vjp(
    x=lambda g, index, accumulate: g if accumulate else _index_put(g, index, 0.0, False),
    values=lambda g, index: _take(g, index),
)
_index_put_ = inplace(_index_put, apart=True)


if not TYPE_CHECKING:  # a type checker is to miss what is not here
    __getattr__ = elsewhere(__name__, "ops.masking", "ops.more.putting", "ops.joining")
