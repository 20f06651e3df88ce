"""Files in the safetensors format, through its own library: tensors by name, and nothing else.

    from tinygrad_edu.safetensors import load_file, save_file

The functions have the names and the arguments of `safetensors.torch`.  The library needs to be
installed: pip install 'tinygrad-edu[safetensors]'.
"""

from __future__ import annotations

import importlib
import json
import os
import struct
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu import dtypes
from tinygrad_edu.backend import CPU, to_device
from tinygrad_edu.backend import device as Device
from tinygrad_edu.dtypes import Array
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.serialization.atomic import replacing
from tinygrad_edu.serialization.directory import CHUNK
from tinygrad_edu.serialization.storing import write_all
from tinygrad_edu.tensor import Tensor

if TYPE_CHECKING:
    from types import ModuleType
    from typing import Protocol

    from tinygrad_edu.ops.creation import DeviceLike

    class HasState(Protocol):
        """A module, as far as it matters here."""

        def state_dict(self) -> Any: ...
        def load_state_dict(self, state_dict: Any, strict: bool = True) -> Any: ...


__all__ = ["load", "load_file", "load_model", "safe_open", "save", "save_file", "save_model"]

_DTYPES = {
    "BOOL": dtypes.bool_, "U8": dtypes.uint8, "I8": dtypes.int8, "U16": dtypes.uint16,
    "I16": dtypes.int16, "U32": dtypes.uint32, "I32": dtypes.int32, "U64": dtypes.uint64,
    "I64": dtypes.int64, "F16": dtypes.float16, "BF16": dtypes.bfloat16, "F32": dtypes.float32,
    "F64": dtypes.float64,
}  # fmt: skip


def _library(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ImportError(
            "this needs the package safetensors: pip install 'tinygrad-edu[safetensors]'"
        ) from None


def save(tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """Tensors by name as the bytes of a safetensors file.

    Args:
        tensors: of any dtype, layout and device.
        metadata: strings by name, for the file's head.

    Raises:
        TypeError: a name is not a string, or a value not a tensor.
        RuntimeError: two tensors share memory, which this format cannot say.

    >>> import tinygrad_edu as torch
    >>> from tinygrad_edu.safetensors import load, save
    >>> load(save({"weight": torch.ones(2, 3).T}))["weight"].shape
    torch.Size([3, 2])
    """
    found: bytes = _library("safetensors.numpy").save(_arrays(tensors), metadata=metadata)
    return found


def save_file(
    tensors: Mapping[str, Tensor], filename: Any, metadata: dict[str, str] | None = None
) -> None:
    """`save` to a file, which is replaced as a whole or not at all.

    >>> import pathlib, tempfile, tinygrad_edu as torch
    >>> from tinygrad_edu.safetensors import load_file, save_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "model.safetensors")
    ...     save_file({"weight": torch.zeros(2)}, path)
    ...     load_file(path)
    {'weight': tensor([0., 0.])}
    """
    _library("safetensors")  # do not write what could not be read
    arrays = _arrays(tensors)
    # The library's own function would write a hidden file of another name, then rename it.
    order = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    head = _head({name: arrays[name] for name in order}, metadata)
    with replacing(filename) as target:
        write_all(target.file, struct.pack("<Q", len(head)) + head)
        for name in order:
            raw = memoryview(arrays[name].reshape(-1).view(np.uint8))
            for done in range(0, len(raw), CHUNK):
                write_all(target.file, bytes(raw[done : done + CHUNK]))


def _head(arrays: Mapping[str, Array], metadata: Mapping[str, str] | None) -> bytes:
    """What precedes the bytes of the tensors: their names, types, shapes and places.

    Raises:
        TypeError: the metadata are not strings by name.
    """
    lines: dict[str, Any] = {}
    if metadata is not None:
        for name, value in metadata.items():
            if not isinstance(name, str) or not isinstance(value, str):
                raise TypeError(f"metadata must be a dict of strings, but has {name!r}: {value!r}")
        lines["__metadata__"] = dict(metadata)
    names = {kind: name for name, kind in _DTYPES.items()}
    at = 0
    for name, array in arrays.items():
        if name == "__metadata__":
            raise ValueError("no tensor can have the name '__metadata__' in a safetensors file")
        kind = names[dtypes.from_numpy(array.dtype)]
        place = [at, at + array.nbytes]
        lines[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": place}
        at += array.nbytes
    text = json.dumps(lines, separators=(",", ":"), ensure_ascii=False).encode()
    return text + b" " * (-len(text) % 8)  # so that the tensors' bytes are aligned


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    """The tensors as arrays whose elements lie in order in the main memory.

    The library writes the bytes of an array as they lie in memory, whatever its strides say.
    """
    if not isinstance(tensors, Mapping):
        raise TypeError(f"tensors must be a dict of tensors, not {type(tensors).__name__}")
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise TypeError(
                f"tensors must be a dict of tensors by name, but has {name!r}:"
                f" {type(tensor).__name__}"
            )
    for one, other in _overlapping(tensors):
        raise RuntimeError(
            f"'{one}' and '{other}' share memory, which a safetensors file cannot say: use"
            " save_model, or clone() one of them"
        )
    return {
        name: np.array(to_device(tensor.array, CPU), order="C", copy=None)
        for name, tensor in tensors.items()
    }


def _overlapping(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    """Pairs of names whose tensors have memory in common."""
    reach = []
    for name, tensor in tensors.items():
        array = tensor.array
        if array.size:
            steps = [(n - 1) * s for n, s in zip(array.shape, array.strides, strict=True)]
            low = tensor.data_ptr() + sum([min(step, 0) for step in steps])
            high = tensor.data_ptr() + sum([max(step, 0) for step in steps]) + array.itemsize
            reach.append((str(tensor.device), low, high, name))
    widest = ("", 0, 0, "")
    for span in sorted(reach):
        if span[0] == widest[0] and span[1] < widest[2]:
            yield widest[3], span[3]
        if span[0] != widest[0] or span[2] > widest[2]:
            widest = span


def load(data: bytes, device: DeviceLike = "cpu") -> dict[str, Tensor]:
    """The tensors in the bytes of a safetensors file."""
    place = Device(device)
    return {
        name: _tensor(_view(entry), place)
        for name, entry in _library("safetensors").deserialize(data)
    }


def _view(entry: Mapping[str, Any]) -> Array:
    return np.frombuffer(entry["data"], _kind(entry["dtype"])).reshape(entry["shape"])


def _kind(name: str) -> dtypes.NumpyDtype:
    """The dtype for the format's name of it; asking for bfloat16's makes NumPy know it."""
    found = _DTYPES.get(name)
    if found is None:
        raise TypeError(f"tensors of type {name} are not supported")
    return found.numpy


def _tensor(array: Array, place: Device) -> Tensor:
    dtypes.from_numpy(array.dtype)  # TypeError if it has no counterpart here
    if not array.flags.writeable:
        array = array.copy()
    return wrap(to_device(array, place))


def load_file(filename: object, device: DeviceLike = "cpu") -> dict[str, Tensor]:
    """The tensors in a safetensors file, by name.

    Args:
        filename: its path.
        device: where the tensors go.

    Raises:
        FileNotFoundError: there is none.
        safetensors.SafetensorError: it is damaged.
    """
    with safe_open(filename, "pt", device) as file:
        return {name: file.get_tensor(name) for name in file.keys()}


class safe_open:
    """A safetensors file whose tensors are read one by one, when they are asked for.

    Args:
        filename: its path.
        framework: "pt" as for torch, or "np" for NumPy arrays.
        device: where tensors go.

    >>> import pathlib, tempfile, tinygrad_edu as torch
    >>> from tinygrad_edu.safetensors import safe_open, save_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "model.safetensors")
    ...     save_file({"weight": torch.zeros(2, 2)}, path)
    ...     with safe_open(path, framework="pt") as file:
    ...         [(name, file.get_slice(name)[:1]) for name in file.keys()]
    [('weight', tensor([[0., 0.]]))]
    """

    def __init__(self, filename: Any, framework: str = "pt", device: Any = "cpu") -> None:
        _known_framework(framework)
        self._wrapped = framework == "pt"
        self._place = Device(device)
        self._file = _library("safetensors").safe_open(os.fspath(filename), framework="np")

    def keys(self) -> list[str]:
        """The names of the tensors."""
        return list(self._file.keys())

    def metadata(self) -> dict[str, str] | None:
        """The strings in the file's head."""
        found: dict[str, str] | None = self._file.metadata()
        return found

    def get_tensor(self, name: str) -> Any:
        """One tensor."""
        self._check(name)
        return self._give(self._file.get_tensor(name))

    def get_slice(self, name: str) -> _Slice:
        """One tensor of which only the part that is indexed will be read."""
        self._check(name)
        return _Slice(self._file.get_slice(name), self._give)

    def _check(self, name: str) -> None:
        _kind(str(self._file.get_slice(name).get_dtype()))

    def _give(self, array: Array) -> Any:
        return _tensor(array, self._place) if self._wrapped else array

    def __enter__(self) -> safe_open:
        self._file.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.__exit__(kind, error, trace)


def _known_framework(framework: str) -> None:
    if framework not in ("pt", "np"):
        raise ValueError(f"framework must be 'pt' or 'np', not {framework!r}")


class _Slice:
    """A tensor in a file, to be indexed."""

    def __init__(self, found: Any, give: Any) -> None:
        self._found, self._give = found, give

    def __getitem__(self, index: Any) -> Any:
        return self._give(self._found[index])

    def get_shape(self) -> list[int]:
        """Its shape."""
        return list(self._found.get_shape())

    def get_dtype(self) -> str:
        """The format's name of its dtype, such as "F32"."""
        return str(self._found.get_dtype())


def _drop_tied(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors without those that are another one by a second name; and those names."""
    kept: dict[Any, str] = {}
    tied: dict[str, str] = {}
    for name in sorted(state):
        tensor = state[name]
        key = (tensor.data_ptr(), tensor.shape, tensor.stride(), str(tensor.device))
        if tensor.numel() and key in kept:
            tied[name] = kept[key]
        else:
            kept[key] = name
    return {name: tensor for name, tensor in state.items() if name not in tied}, tied


def save_model(model: HasState, filename: object, metadata: dict[str, str] | None = None) -> None:
    """Save a module's parameters and buffers; tied ones once, with a note in the metadata.

    Args:
        model: the module.
        filename: the path.
        metadata: strings by name, for the file's head.
    """
    state, tied = _drop_tied(model.state_dict())
    save_file(state, filename, {**tied, **(metadata or {})} or None)


def load_model(
    model: HasState, filename: object, strict: bool = True, device: DeviceLike = "cpu"
) -> tuple[set[str], list[str]]:
    """Load a file of `save_model` into a module of the same structure.

    Args:
        model: the module.
        filename: the path.
        strict: whether names that only one side has are an error.
        device: where the file's tensors are put first.

    Returns:
        the names that the file lacks, and those that the module does not know.

    Raises:
        RuntimeError: names or shapes do not match.
    """
    state = load_file(filename, device)
    _, tied = _drop_tied(model.state_dict())
    for name, other in tied.items():  # the file may have kept either name
        if other in state and name not in state:
            state[name] = state[other]
        elif name in state and other not in state:
            state[other] = state[name]
    missing, unexpected = model.load_state_dict(state, strict=strict)
    return set(missing), list(unexpected)
