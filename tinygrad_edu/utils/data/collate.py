"""How samples become a batch: `default_collate`; and without batches, `default_convert`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any, TypeAlias

import numpy as np

from tinygrad_edu.dtypes import float64
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.ops.creation import as_tensor, tensor
from tinygrad_edu.ops.joining import stack
from tinygrad_edu.out_of_memory import told
from tinygrad_edu.tensor import Tensor

CollateFunctions: TypeAlias = dict[type | tuple[type, ...], Callable[..., Any]]
"""For each type of sample, the function that joins a list of them."""


def default_convert(data: object) -> Any:
    """NumPy arrays and numbers as tensors, anywhere inside lists, tuples and dicts.

    Everything else stays what it is, arrays of strings or objects too; tuples become lists.

    >>> default_convert({"x": np.array([1, 2]), "name": "a"})
    {'x': tensor([1, 2]), 'name': 'a'}
    """
    if isinstance(data, Tensor):
        return data
    if isinstance(data, (np.ndarray, np.generic)):
        return data if data.dtype.kind in "SUO" else as_tensor(data)
    if isinstance(data, Mapping):
        return _rebuild_mapping(data, {key: default_convert(data[key]) for key in data})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*[default_convert(part) for part in data])
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _rebuild_sequence(data, [default_convert(part) for part in data])
    return data


def pin(data: object) -> Any:
    """`data` with its tensors in page-locked memory; also calls `pin_memory` of other objects."""
    if hasattr(data, "pin_memory"):
        return data.pin_memory()
    if isinstance(data, Mapping):
        return _rebuild_mapping(data, {key: pin(data[key]) for key in data})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*[pin(part) for part in data])
    if isinstance(data, tuple):
        return tuple([pin(part) for part in data])
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _rebuild_sequence(data, [pin(part) for part in data])
    return data


@told
def default_collate(batch: Sequence[Any]) -> Any:
    """Join samples into a batch: equal parts are stacked along a new first dimension.

    Args:
        batch: samples of one structure. Tensors, arrays and numbers become one tensor; strings
            stay a list; of dicts, named tuples and sequences one is made whose parts are batches.
            A plain tuple becomes a list, as in torch.

    Raises:
        TypeError: a sample holds something else, such as None or an array of strings.
        RuntimeError: tensors of different shapes, or sequences of different lengths.

    >>> default_collate([(1, {"a": 0.5}), (2, {"a": 1.5})])
    [tensor([1, 2]), {'a': tensor([0.5000, 1.5000], dtype=torch.float64)}]
    """
    return collate(batch, collate_fn_map=default_collate_fn_map)


def collate(batch: Sequence[Any], *, collate_fn_map: CollateFunctions | None = None) -> Any:
    """`default_collate` with your own functions for some types.

    Args:
        batch: samples of one structure.
        collate_fn_map: for a type, or a tuple of types, the function that joins samples of it; it
            is called as `function(samples, collate_fn_map=collate_fn_map)`.

    Raises:
        TypeError, RuntimeError: as `default_collate`.

    >>> join = lambda words, *, collate_fn_map: "+".join(words)
    >>> collate([{"w": "a"}, {"w": "b"}], collate_fn_map={str: join})
    {'w': 'a+b'}
    """
    first, functions = batch[0], collate_fn_map or {}
    function = functions.get(type(first))
    if function is None:
        matching = [functions[kind] for kind in functions if isinstance(first, kind)]
        function = matching[0] if matching else None
    if function is not None:
        return function(batch, collate_fn_map=collate_fn_map)

    def join(parts: Sequence[Any]) -> Any:
        return collate(parts, collate_fn_map=collate_fn_map)

    if isinstance(first, Mapping):
        parts = {key: join([sample[key] for sample in batch]) for key in first}
        return _rebuild_mapping(first, parts)
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*[join(column) for column in zip(*batch, strict=False)])
    if isinstance(first, Sequence) and not isinstance(first, (str, bytes)):
        if any(len(sample) != len(first) for sample in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        columns = zip(*batch, strict=True)
        return _rebuild_sequence(first, [join(column) for column in columns])
    raise _unknown(type(first))


def _rebuild_mapping(like: Mapping[Any, Any], parts: dict[Any, Any]) -> Any:
    """`parts` in a mapping of the type of `like`; a plain dict if that type cannot be built."""
    try:
        if not isinstance(like, MutableMapping):
            build: Any = type(like)
            return build(parts)
        twin = copy.copy(like)  # keeps what a subclass holds beside its items
        twin.update(parts)
        return twin
    except TypeError:
        return parts


def _rebuild_sequence(like: Sequence[Any], parts: list[Any]) -> Any:
    """`parts` in a sequence of the type of `like`; a list for tuples, and if it cannot be built."""
    if type(like) is list or isinstance(like, tuple):
        return parts
    try:
        if not isinstance(like, MutableSequence):
            build: Any = type(like)
            return build(parts)
        twin = copy.copy(like)
        for i, part in enumerate(parts):
            twin[i] = part
        return twin
    except TypeError:
        return parts


def _unknown(kind: object) -> TypeError:
    return TypeError(
        "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists;"
        f" found {kind}"
    )


def collate_tensors(batch: Sequence[Any], *, collate_fn_map: object = None) -> Tensor:
    """`stack(batch)`; faster where there is no graph to extend and nothing to convert."""
    arrays = [x.array for x in batch if type(x) is Tensor and x.node is None]
    alike = len({(type(array), array.shape, array.dtype) for array in arrays}) == 1
    if alike and len(arrays) == len(batch) and isinstance(arrays[0], (np.ndarray, np.generic)):
        return wrap(np.array(arrays))
    return stack(batch)


def _collate_arrays(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    if batch[0].dtype.kind in "SUO":
        raise _unknown(batch[0].dtype)
    return collate([as_tensor(array) for array in batch], collate_fn_map=collate_fn_map)


def _collate_numpy_scalars(batch: Sequence[Any], *, collate_fn_map: object = None) -> Tensor:
    return as_tensor(batch)


def _collate_floats(batch: Sequence[Any], *, collate_fn_map: object = None) -> Tensor:
    return tensor(batch, dtype=float64)


def _collate_ints(batch: Sequence[Any], *, collate_fn_map: object = None) -> Tensor:
    return tensor(batch)


def _collate_text(batch: Sequence[Any], *, collate_fn_map: object = None) -> Any:
    return batch


default_collate_fn_map: CollateFunctions = {
    Tensor: collate_tensors,
    np.ndarray: _collate_arrays,
    (np.bool_, np.number, np.object_): _collate_numpy_scalars,
    float: _collate_floats,
    int: _collate_ints,
    str: _collate_text,
    bytes: _collate_text,
}
"""The functions that `default_collate` uses, by type; entries may be added."""
