"""The pickle inside a checkpoint, written as torch would write it.

Only what `load` and torch's `load(weights_only=True)` read again is written: tensors, and plain
containers and values.  Tensors that share memory are saved with the memory they share, once.
"""

from __future__ import annotations

import ctypes
import struct
from collections import Counter, OrderedDict
from typing import Any, NamedTuple

import numpy as np

from tinygrad_edu import dtypes
from tinygrad_edu.backend import device, device_of
from tinygrad_edu.dtypes import Array
from tinygrad_edu.serialization.reading import STORAGE_NAMES, parameter_class
from tinygrad_edu.size import Size
from tinygrad_edu.tensor import Tensor

_STORAGE_OF = {kind: name for name, kind in STORAGE_NAMES.items()}


class Span:
    """The part of an array's memory that the tensors of a checkpoint use."""

    def __init__(self, owner: Any, array: Array, low: int, high: int) -> None:
        self.owner, self.low, self.high = owner, low, high
        self.array = array
        self.kind = array.dtype
        self.place = device_of(array)

    def bytes(self) -> Any:
        """The bytes themselves, of main memory without a copy."""
        size = self.high - self.low
        if not size:
            return memoryview(b"")
        if self.place.type == "cpu":
            return memoryview((ctypes.c_char * size).from_address(self.low)).cast("B")
        start = self.array.data + (self.low - self.array.data.ptr)
        raw = type(self.array)((size,), np.uint8, memptr=start).get()
        return memoryview(raw)


class Place(NamedTuple):
    """A tensor's place: which span, and its first element and steps in it, in elements."""

    key: Any
    offset: int
    stride: tuple[int, ...]


class Pickler:
    """Writes objects; `spans` are the memories of the tensors it has met.

    A first one finds out how far the spans reach, a second one, given them, writes.
    """

    def __init__(self, spans: dict[Any, Span] | None = None) -> None:
        self.out = bytearray(b"\x80\x02")
        self.known = spans
        self.spans: dict[Any, Span] = {}
        self.numbers: dict[Any, int] = {}
        self.memo: dict[Any, int] = {}
        self.alive: list[Any] = []
        self.path: list[str] = []

    def dump(self, obj: Any) -> bytes:
        """The pickle of an object.

        Raises:
            TypeError: it holds something that a checkpoint cannot hold.
        """
        try:
            self.save(obj)
        except RecursionError:
            raise ValueError("cannot save an object nested so deeply") from None
        self.out += b"."
        return bytes(self.out)

    def save(self, obj: Any) -> None:
        kind = type(obj)
        if issubclass(kind, Tensor):
            self.shared(id(obj), obj, self.tensor)
            return
        writer = _WRITERS.get(kind)
        if writer is None:
            raise TypeError(f"save(): {self.where()} is a {kind.__name__}. {_advice(obj)}")
        writer(self, obj)

    def where(self) -> str:
        return "obj" + "".join(self.path)

    def inside(self, step: str, obj: Any) -> None:
        """Save a part, remembering the way to it for the error message."""
        self.path.append(step)
        self.save(obj)
        self.path.pop()

    # Noting and recalling.

    def note(self, key: Any) -> None:
        number = self.memo[key] = len(self.memo)
        self.out += b"q%c" % number if number < 256 else b"r" + struct.pack("<I", number)

    def recall(self, key: Any) -> bool:
        number = self.memo.get(key)
        if number is None:
            return False
        self.out += b"h%c" % number if number < 256 else b"j" + struct.pack("<I", number)
        return True

    def shared(self, key: Any, obj: Any, write: Any) -> None:
        """Write an object, or recall it if it has been written."""
        if not self.recall(key):
            self.alive.append(obj)  # so that no other gets its id
            write(obj)

    def name(self, module: str, name: str) -> None:
        if not self.recall((module, name)):
            self.out += f"c{module}\n{name}\n".encode()
            self.note((module, name))

    # Plain values.

    def nothing(self, obj: None) -> None:
        self.out += b"N"

    def bool(self, obj: bool) -> None:
        self.out += b"\x88" if obj else b"\x89"

    def int(self, obj: int) -> None:
        if 0 <= obj < 256:
            self.out += b"K%c" % obj
        elif 0 <= obj < 65536:
            self.out += b"M" + struct.pack("<H", obj)
        elif -(2**31) <= obj < 2**31:
            self.out += b"J" + struct.pack("<i", obj)
        else:
            size = obj.bit_length() // 8 + 1
            if size > 255:
                raise ValueError(f"save(): {self.where()} is an integer of {size} bytes")
            self.out += b"\x8a%c" % size + obj.to_bytes(size, "little", signed=True)

    def float(self, obj: float) -> None:
        self.out += b"G" + struct.pack(">d", obj)

    def complex(self, obj: complex) -> None:
        self.name("__builtin__", "complex")
        self.float(obj.real)
        self.float(obj.imag)
        self.out += b"\x86R"

    def str(self, obj: str) -> None:
        if not self.recall(obj):
            encoded = obj.encode("utf-8", "surrogatepass")
            self.out += b"X" + struct.pack("<I", len(encoded)) + encoded
            self.note(obj)

    def bytes(self, obj: bytes) -> None:
        self.name("_codecs", "encode")
        self.str(obj.decode("latin1"))
        self.str("latin1")
        self.out += b"\x86R"

    def bytearray(self, obj: bytearray) -> None:
        self.name("__builtin__", "bytearray")
        self.str(obj.decode("latin1"))
        self.str("latin-1")
        self.out += b"\x86R"

    def dtype(self, obj: dtypes.dtype) -> None:
        self.name("torch", obj.name)

    def device(self, obj: device) -> None:
        self.name("torch", "device")
        self.str(obj.type)
        if obj.index is None:
            self.out += b"\x85R"
        else:
            self.int(obj.index)
            self.out += b"\x86R"

    def size(self, obj: Size) -> None:
        self.name("torch", "Size")
        self.integers(obj)
        self.out += b"\x85R"

    def integers(self, obj: tuple[int, ...]) -> None:
        self.out += b"("
        for i in obj:
            self.int(i)
        self.out += b"t"

    # Containers.

    def tuple(self, obj: tuple[Any, ...]) -> None:
        if not obj:
            self.out += b")"
            return
        if self.recall(id(obj)):
            return
        self.alive.append(obj)
        self.out += b"("
        for i, part in enumerate(obj):
            self.inside(f"[{i}]", part)
        if id(obj) in self.memo:
            raise ValueError(f"save(): {self.where()} is a tuple that contains itself")
        self.out += b"t"
        self.note(id(obj))

    def list(self, obj: list[Any]) -> None:
        self.shared(id(obj), obj, self._new_list)

    def _new_list(self, obj: list[Any]) -> None:
        self.out += b"]"
        self.note(id(obj))
        self._fill_list(obj)

    def _fill_list(self, obj: Any) -> None:
        if obj:
            self.out += b"("
            for i, part in enumerate(obj):
                self.inside(f"[{i}]", part)
            self.out += b"e"

    def set(self, obj: set[Any]) -> None:
        self.shared(id(obj), obj, self._new_set)

    def _new_set(self, obj: set[Any]) -> None:
        self.name("__builtin__", "set")
        self.out += b"]"
        self._fill_list(list(obj))
        self.out += b"\x85R"
        self.note(id(obj))

    def dict(self, obj: dict[Any, Any]) -> None:
        self.shared(id(obj), obj, self._new_dict)

    def _new_dict(self, obj: dict[Any, Any]) -> None:
        self.out += b"}"
        self.note(id(obj))
        self._fill_dict(obj)

    def _fill_dict(self, obj: dict[Any, Any]) -> None:
        if obj:
            self.out += b"("
            for key, value in obj.items():
                _check_key(key, self.where())
                self.save(key)
                self.inside(f"[{key!r}]", value)
            self.out += b"u"

    def ordered(self, obj: OrderedDict[Any, Any]) -> None:
        self.shared(id(obj), obj, self._new_ordered)

    def _new_ordered(self, obj: OrderedDict[Any, Any]) -> None:
        self.name("collections", "OrderedDict")
        self.out += b")R"
        self.note(id(obj))
        self._fill_dict(obj)
        if obj.__dict__:  # a module's state_dict carries its _metadata so
            self.out += b"}"
            self._fill_dict(obj.__dict__)
            self.out += b"b"

    def counter(self, obj: Counter[Any]) -> None:
        self.shared(id(obj), obj, self._new_counter)

    def _new_counter(self, obj: Counter[Any]) -> None:
        self.name("collections", "Counter")
        self.out += b"}"
        self._fill_dict(obj)
        self.out += b"\x85R"
        self.note(id(obj))

    # Tensors.

    def tensor(self, obj: Tensor) -> None:
        if parameter_class and isinstance(obj, parameter_class[0]):
            self.name("torch._utils", "_rebuild_parameter")
            self._tensor(obj.array, False)
            self.bool(obj.requires_grad)
            self._no_hooks()
            self.out += b"\x87R"
        else:
            self._tensor(obj.array, obj.requires_grad)
        self.note(id(obj))

    def _no_hooks(self) -> None:
        self.name("collections", "OrderedDict")
        self.out += b")R"

    def _tensor(self, array: Array, requires_grad: bool) -> None:
        kind = dtypes.from_numpy(array.dtype)
        typed = kind in _STORAGE_OF
        self.name("torch._utils", "_rebuild_tensor_v2" if typed else "_rebuild_tensor_v3")
        key, offset, stride = self._place(array)
        span = self.spans[key] if self.known is None else self.known[key]
        number = self.numbers.setdefault(key, len(self.numbers))
        size = span.high - span.low
        self.out += b"(("
        self.str("storage")
        if typed:
            self.name("torch", _STORAGE_OF[kind])
        else:
            self.name("torch.storage", "UntypedStorage")
        self.str(str(number))
        self.str("cpu" if span.place.type == "cpu" else f"cuda:{span.place.index or 0}")
        self.int(size // kind.itemsize if typed else size)
        self.out += b"tQ"
        self.int(offset - (span.low // kind.itemsize if array.size else offset))
        self.integers(array.shape)
        self.integers(stride)
        self.bool(requires_grad)
        self._no_hooks()
        if not typed:
            self.dtype(kind)
        self.out += b"tR"
