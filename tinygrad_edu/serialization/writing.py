"""The pickle inside a checkpoint, written as torch would write it.

What `load` and torch's `load` read again is written: tensors, plain containers and values, and for
`weights_only=False` modules, plain objects and names of functions.  Tensors that share memory are
saved with the memory they share, once.
"""

from __future__ import annotations

import ctypes
import struct
from collections import Counter, OrderedDict
from collections.abc import Callable
from types import FunctionType
from typing import Any, NoReturn

import numpy as np

from tinygrad_edu import dtypes
from tinygrad_edu.backend import device, device_of
from tinygrad_edu.dtypes import Array
from tinygrad_edu.serialization import classes
from tinygrad_edu.serialization.errors import CheckpointError
from tinygrad_edu.serialization.keys import check_key
from tinygrad_edu.serialization.names import STORAGE_NAMES
from tinygrad_edu.size import Size
from tinygrad_edu.tensor import Tensor, parameter_class

_STORAGE_OF = {kind: name for name, kind in STORAGE_NAMES.items()}


class Span:
    """The part of an array's memory that the tensors of a checkpoint use."""

    def __init__(self, number: int, array: Array, low: int, high: int) -> None:
        self.number, self.array, self.low, self.high = number, array, low, high
        self.place = device_of(array)

    def bytes(self) -> Any:
        """The bytes themselves, of main memory without a copy."""
        size = self.high - self.low
        if not size:
            return memoryview(b"")
        if self.place.type == "cpu":
            return memoryview((ctypes.c_char * size).from_address(self.low)).cast("B")
        mem = self.array.data.mem
        start = type(self.array.data)(mem, self.low - mem.ptr)
        raw = type(self.array)((size,), np.uint8, memptr=start).get()
        return memoryview(raw)


class Pickler:
    """Writes objects; `spans` are the memories of the tensors it has met, in the order of the file.

    How far a span reaches is known only at the end, when all tensors in it have been met.  So the
    numbers that depend on it are left out and noted in `holes`: everything is looked at once, and
    what another thread changes meanwhile cannot make the parts of a file contradict each other.
    """

    def __init__(self) -> None:
        self.out = bytearray(b"\x80\x02")
        self.holes: list[tuple[int, Callable[[], int]]] = []
        self.spans: dict[Any, Span] = {}
        self.memo: dict[Any, int] = {}
        self.alive: list[Any] = []
        self.path: list[str] = []

    def dump(self, obj: object) -> bytes:
        """The pickle of an object.

        Raises:
            TypeError: it holds something that a checkpoint cannot hold.
        """
        try:
            self.save(obj)
        except RecursionError:
            raise ValueError("cannot save an object nested so deeply") from None
        self.out += b"."
        return self._filled()

    def _filled(self) -> bytes:
        """What was written, with the numbers that had to wait."""
        pieces: list[bytes | bytearray] = []
        at = 0
        for place, number in self.holes:
            pieces += [self.out[at:place], self.encoded(number())]
            at = place
        return b"".join([*pieces, self.out[at:]])

    def later(self, number: Callable[[], int]) -> None:
        """Leave room for an integer that is not known yet."""
        self.holes.append((len(self.out), number))

    def save(self, obj: object) -> None:
        if isinstance(obj, np.generic) and obj.dtype.kind in "biufc":
            obj = obj.item()  # the same number, which weights_only=True loads
        kind = type(obj)
        if kind in _VALUES:
            _VALUES[kind](self, obj)
        elif kind in _CONTAINERS:
            self.shared(obj, _CONTAINERS[kind])
        elif issubclass(kind, Tensor):
            self.shared(obj, Pickler.tensor)
        elif isinstance(obj, (type, FunctionType)):
            self.put_global(obj)
        elif hasattr(obj, "__dict__"):
            self.shared(obj, Pickler.put_object)
        else:
            self.refuse(obj, "")

    def refuse(self, obj: object, why: str) -> NoReturn:
        text = f"save(): {self.where()} is a {type(obj).__name__}"
        raise TypeError(f"{text}{why and f', but {why}'}. {_advice(obj)}")

    def where(self) -> str:
        return "obj" + "".join(self.path)

    def inside(self, step: str, obj: object) -> None:
        """Save a part, remembering the way to it for the error message."""
        self.path.append(step)
        self.save(obj)
        self.path.pop()

    # Noting and recalling.

    def note(self, key: object) -> None:
        number = self.memo[key] = len(self.memo)
        self.out += b"q%c" % number if number < 256 else b"r" + struct.pack("<I", number)

    def recall(self, key: object) -> bool:
        number = self.memo.get(key)
        if number is None:
            return False
        self.out += b"h%c" % number if number < 256 else b"j" + struct.pack("<I", number)
        return True

    def shared(self, obj: object, write: Callable[[Any, Any], None]) -> None:
        """Write an object, or recall it if it has been written."""
        if not self.recall(id(obj)):
            self.alive.append(obj)  # so that no other gets its id
            write(self, obj)

    def name(self, module: str, name: str) -> None:
        if not self.recall((module, name)):
            self.out += f"c{module}\n{name}\n".encode()
            self.note((module, name))

    def call(self, module: str, name: str, *args: object) -> None:
        """Write the call of a function with at most two plain values."""
        self.name(module, name)
        for arg in args:
            self.save(arg)
        self.out += (b")R", b"\x85R", b"\x86R")[len(args)]

    # Plain values.

    def put_nothing(self, obj: None) -> None:
        self.out += b"N"

    def put_bool(self, obj: bool) -> None:
        self.out += b"\x88" if obj else b"\x89"

    def put_int(self, obj: int) -> None:
        self.out += self.encoded(obj)

    def encoded(self, obj: int) -> bytes:
        """The opcode for an integer."""
        if 0 <= obj < 256:
            return b"K%c" % obj
        if 0 <= obj < 65536:
            return b"M" + struct.pack("<H", obj)
        if -(2**31) <= obj < 2**31:
            return b"J" + struct.pack("<i", obj)
        size = obj.bit_length() // 8 + 1
        if size > 255:
            raise ValueError(f"save(): {self.where()} is an integer of {size} bytes")
        return b"\x8a%c" % size + obj.to_bytes(size, "little", signed=True)

    def put_float(self, obj: float) -> None:
        self.out += b"G" + struct.pack(">d", obj)

    def put_complex(self, obj: complex) -> None:
        self.call("__builtin__", "complex", obj.real, obj.imag)

    def put_str(self, obj: str) -> None:
        if not self.recall(obj):
            self._text(obj)
            self.note(obj)

    def _text(self, text: str) -> None:
        encoded = text.encode("utf-8", "surrogatepass")
        if len(encoded) >= 2**32:
            raise ValueError(f"save(): {self.where()} is a string of {len(encoded)} bytes")
        self.out += b"X" + struct.pack("<I", len(encoded)) + encoded

    def put_bytes(self, obj: bytes) -> None:
        if not self.recall((bytes, obj)):
            self.name("_codecs", "encode")
            self._letters(obj, "latin1")
            self.note((bytes, obj))

    def put_bytearray(self, obj: bytearray) -> None:
        self.name("__builtin__", "bytearray")
        self._letters(obj, "latin-1")
        self.note(id(obj))

    def _letters(self, obj: bytes | bytearray, encoding: str) -> None:
        """Write the call of a function with bytes as a string.

        The same letters are written again for every bytearray: who calls functions on a string that
        is written once has it copied more often than it stands in the file; `load` refuses that.
        """
        self._text(obj.decode("latin1"))
        self.put_str(encoding)
        self.out += b"\x86R"

    def put_dtype(self, obj: dtypes.dtype) -> None:
        self.name("torch", obj.name)

    def put_device(self, obj: device) -> None:
        self.call("torch", "device", obj.type, *([] if obj.index is None else [obj.index]))

    def put_size(self, obj: Size) -> None:
        self.name("torch", "Size")
        self.integers(obj)
        self.out += b"\x85R"

    def integers(self, obj: tuple[int, ...]) -> None:
        self.out += b"("
        for i in obj:
            self.put_int(i)
        self.out += b"t"

    # Containers.

    def put_tuple(self, obj: tuple[Any, ...]) -> None:
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

    def put_list(self, obj: list[Any]) -> None:
        self.out += b"]"
        self.note(id(obj))
        self._fill_list(obj)

    def _fill_list(self, obj: Any) -> None:
        if obj:
            self.out += b"("
            for i, part in enumerate(list(obj)):  # a copy: another thread may append to it
                self.inside(f"[{i}]", part)
            self.out += b"e"

    def put_set(self, obj: set[Any]) -> None:
        self.name("__builtin__", "set")
        self.out += b"]"
        self._fill_list(list(obj))
        self.out += b"\x85R"
        self.note(id(obj))

    def put_dict(self, obj: dict[Any, Any]) -> None:
        self.out += b"}"
        self.note(id(obj))
        self._fill_dict(obj)

    def _fill_dict(self, obj: dict[Any, Any], step: str = "[{!r}]") -> None:
        if obj:
            self.out += b"("
            for key, value in list(obj.items()):
                _check_key(key, self.where())
                self.save(key)
                self.inside(step.format(key), value)
            self.out += b"u"

    def put_ordered(self, obj: OrderedDict[Any, Any]) -> None:
        self.call("collections", "OrderedDict")
        self.note(id(obj))
        self._fill_dict(obj)
        if obj.__dict__:  # a module's state_dict carries its _metadata so
            self.out += b"}"
            self._fill_dict(obj.__dict__)
            self.out += b"b"

    def put_counter(self, obj: Counter[Any]) -> None:
        self.name("collections", "Counter")
        self.out += b"}"
        self._fill_dict(obj)
        self.out += b"\x85R"
        self.note(id(obj))

    # Modules, plain objects, and what is known by its name.

    def put_global(self, obj: object) -> None:
        module, name = classes.name_of(obj)
        if classes.named(f"{module}.{name}") is not obj:
            self.refuse(obj, f"{name} is not found in module {module}, so no file can refer to it")
        self.name(module, name)

    def put_object(self, obj: object) -> None:
        kind = type(obj)
        if why := classes.refusal(kind):
            self.refuse(obj, why)
        try:
            state = classes.state_of(obj)
        except TypeError as error:
            self.refuse(obj, str(error))
        self.put_global(kind)
        self.out += b")\x81"
        self.note(id(obj))
        self.out += b"}"
        self._fill_dict(state, ".{}")
        self.out += b"b"

    # Tensors.

    def tensor(self, obj: Tensor) -> None:
        if parameter_class and isinstance(obj, parameter_class[0]):
            self.name("torch._utils", "_rebuild_parameter")
            self._tensor(obj.array, False)
            self.put_bool(obj.requires_grad)
            self.call("collections", "OrderedDict")  # of hooks
            self.out += b"\x87R"
        else:
            self._tensor(obj.array, obj.requires_grad)
        self.note(id(obj))

    def _tensor(self, array: Array, requires_grad: bool) -> None:
        kind = dtypes.from_numpy(array.dtype)
        typed = kind in _STORAGE_OF
        self.name("torch._utils", "_rebuild_tensor_v2" if typed else "_rebuild_tensor_v3")
        span, low, stride = self._place(array)
        unit = kind.itemsize if typed else 1
        self.out += b"(("
        self.put_str("storage")
        self.name(*(("torch", _STORAGE_OF[kind]) if typed else ("torch.storage", "UntypedStorage")))
        self.put_str(str(span.number))
        self.put_str("cpu" if span.place.type == "cpu" else f"cuda:{span.place.index or 0}")
        self.later(lambda: (span.high - span.low) // unit)
        self.out += b"tQ"
        self.later(lambda: (low - span.low) // kind.itemsize)
        self.integers(array.shape)
        self.integers(stride)
        self.put_bool(requires_grad)
        self.call("collections", "OrderedDict")  # of hooks
        if not typed:
            self.put_dtype(kind)
        self.out += b"tR"

    def _place(self, array: Array) -> tuple[Span, int, tuple[int, ...]]:
        """Of an array: its span, its address there, and its steps in elements."""
        size = array.itemsize
        steps = [
            step if count > 1 else size
            for count, step in zip(array.shape, array.strides, strict=True)
        ]
        owner = _owner(array)
        self.alive += [array, owner]  # or an id would come again
        low, high = _address(array), _address(array) + size
        kind = dtypes.from_numpy(array.dtype).name
        key: Any = (id(owner), kind, low % size)
        if not array.size:
            key, high, steps = (id(array), "empty"), low, [size] * array.ndim
        elif any([step < 0 or step % size for step in steps]):
            # No tensor of torch's can be laid out like this: it is saved as a copy.
            key = (id(array), "copy")
            array = self.spans[key].array if key in self.spans else array.copy(order="C")
            steps = list(array.strides)
            low = _address(array)
            high = low + array.nbytes
        else:
            reach = zip(array.shape, steps, strict=True)
            high += sum([(count - 1) * step for count, step in reach])
        span = self.spans.get(key)
        if span is None:
            span = self.spans[key] = Span(len(self.spans), array, low, high)
        span.low, span.high = min(span.low, low), max(span.high, high)
        return span, low, tuple([step // size for step in steps])


def _owner(array: Array) -> Any:
    """The object whose memory an array's is."""
    if not isinstance(array, np.ndarray):
        return array.data.mem
    owner: Any = array
    while getattr(owner, "base", None) is not None:
        owner = owner.base
    return owner


def _address(array: Array) -> int:
    return int(array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr)


def check_overlap(spans: list[Span]) -> None:
    """Refuse memory that is seen as two types, as torch does.

    Raises:
        RuntimeError: two tensors of different dtypes share memory.
    """
    end, before = -1, ""
    ordered = sorted([s for s in spans if s.high > s.low], key=lambda s: s.low)
    for span in ordered:
        if span.low < end and (kind := dtypes.from_numpy(span.array.dtype).name) != before:
            raise RuntimeError(
                "Cannot save multiple tensors or storages that view the same data as different"
                f" types: {before} and {kind}"
            )
        if span.high > end:
            end, before = span.high, dtypes.from_numpy(span.array.dtype).name


def _check_key(key: object, where: str) -> None:
    try:
        check_key(key)
    except CheckpointError:
        raise TypeError(
            f"save(): a key of {where} is a {type(key).__name__}; keys are plain values or tuples"
        ) from None


def _advice(obj: object) -> str:
    if isinstance(obj, FunctionType):
        return "A file refers to a function by its name: it must be defined in a module"
    if hasattr(obj, "state_dict"):
        return "Save its state_dict() instead: a checkpoint holds data, no code"
    if isinstance(obj, np.ndarray):
        return "Make it a tensor with torch.from_numpy()"
    for plain in (dict, list, tuple, set, str, bool, int, float):
        if isinstance(obj, plain):
            return f"Only plain {plain.__name__}s are saved, because no other class could be loaded"
    return "A checkpoint holds tensors, containers, strings, numbers, dtypes and devices"


_VALUES: dict[type, Callable[[Any, Any], None]] = {
    type(None): Pickler.put_nothing, bool: Pickler.put_bool, int: Pickler.put_int,
    float: Pickler.put_float, complex: Pickler.put_complex, str: Pickler.put_str,
    bytes: Pickler.put_bytes, tuple: Pickler.put_tuple, Size: Pickler.put_size,
    dtypes.dtype: Pickler.put_dtype, device: Pickler.put_device,
}  # fmt: skip
_CONTAINERS: dict[type, Callable[[Any, Any], None]] = {
    bytearray: Pickler.put_bytearray, list: Pickler.put_list, set: Pickler.put_set,
    dict: Pickler.put_dict, OrderedDict: Pickler.put_ordered, Counter: Pickler.put_counter,
}  # fmt: skip
"""What can change, so that an object met again must be the same one in the file."""
