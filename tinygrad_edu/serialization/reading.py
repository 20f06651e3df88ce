"""The pickle inside a checkpoint, read without ever running what it says.

A pickle is a program for a small stack machine, and Python's own reader lets it import any module
and call anything in it.  This reader knows the opcodes that torch writes and no others, and a
closed list of names; what a name stands for is decided here, never imported.  torch's own
`weights_only=True` works the same way.

Everything a tensor claims (how many bytes, which shape, which strides) is compared with the
archive before any memory is allocated for it.
"""

from __future__ import annotations

import struct
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

from tinygrad_edu import dtypes
from tinygrad_edu.autograd.record import wrap
from tinygrad_edu.backend import device
from tinygrad_edu.serialization.archive import Archive
from tinygrad_edu.serialization.errors import CheckpointError
from tinygrad_edu.serialization.memory import Memory
from tinygrad_edu.size import Size
from tinygrad_edu.tensor import Tensor

STORAGE_NAMES = {
    "BoolStorage": dtypes.bool_, "ByteStorage": dtypes.uint8, "CharStorage": dtypes.int8,
    "ShortStorage": dtypes.int16, "IntStorage": dtypes.int32, "LongStorage": dtypes.int64,
    "HalfStorage": dtypes.float16, "BFloat16Storage": dtypes.bfloat16,
    "FloatStorage": dtypes.float32, "DoubleStorage": dtypes.float64,
}  # fmt: skip
"""torch's name for a run of memory, by the type of its elements; newer types have none."""

MAX_DIMS = 64
MAX_KEY_PARTS = 1000
_MAX_INT = 2**63

parameter_class: list[type] = []
"""`nn.Parameter`, which registers itself here, because the engine does not import nn."""


class StorageType(NamedTuple):
    """What `torch.FloatStorage` stands for; bytes if `dtype` is None."""

    dtype: dtypes.dtype | None


class StoredMemory(NamedTuple):
    """A run of memory in the file, and what its elements are if it says so."""

    memory: Memory
    dtype: dtypes.dtype | None


class Function:
    """A name that the pickle may call; what it does is in this file."""

    def __init__(self, name: str, call: Callable[..., Any]) -> None:
        self.name, self.call = name, call

    def __repr__(self) -> str:
        return f"<{self.name}>"


def _integer(value: Any, what: str) -> int:
    if value.__class__ is not int or not 0 <= value < _MAX_INT:
        raise CheckpointError(f"a tensor's {what} is {_short(value)}, no count")
    return int(value)


def _integers(value: Any, what: str) -> tuple[int, ...]:
    if value.__class__ not in (tuple, Size) or len(value) > MAX_DIMS:
        raise CheckpointError(f"a tensor's {what} is {_short(value)}, no tuple of counts")
    return tuple([_integer(v, what) for v in value])


def _short(value: Any) -> str:
    if value.__class__ in (int, float, str, bytes, bool, type(None)):
        text = repr(value if not isinstance(value, (str, bytes)) else value[:80])
        return text if len(text) < 100 else text[:100] + "..."
    return f"a {type(value).__name__}"


def _tensor(
    stored: Any, offset: Any, size: Any, stride: Any, requires_grad: Any, dtype: dtypes.dtype
) -> Tensor:
    """The tensor whose first element is element `offset` of the memory."""
    memory: Memory = stored.memory
    offset = _integer(offset, "offset")
    size, stride = _integers(size, "size"), _integers(stride, "stride")
    if len(size) != len(stride):
        raise CheckpointError(f"a tensor has size {size} but stride {stride}")
    numel = 1
    for count in size:
        numel *= count
    # The place of the last element, in Python's integers, which do not overflow.
    reach = [(count - 1) * step for count, step in zip(size, stride, strict=True)]
    last = offset + sum(reach) if numel else -1
    if numel >= _MAX_INT or (last + 1) * dtype.itemsize > memory.size:
        raise CheckpointError(
            f"a tensor of size {list(size)}, stride {list(stride)} and offset {offset} of"
            f" {dtype} does not fit its storage of {memory.size} bytes"
        )
    if not numel:
        offset, stride = 0, tuple([0] * len(size))
    if requires_grad.__class__ is not bool:
        raise CheckpointError(f"a tensor's requires_grad is {_short(requires_grad)}, no bool")
    tensor = wrap(memory.view(dtype.numpy, size, stride, offset), None, memory.storage)
    if requires_grad:
        if not dtype.is_floating_point:
            raise CheckpointError(f"a tensor of {dtype} cannot require a gradient")
        tensor.requires_grad_()
    return tensor


def _rebuild_tensor_v2(
    stored: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any,
    hooks: Any,
    metadata: Any = None,
) -> Tensor:
    if not isinstance(stored, StoredMemory) or stored.dtype is None:
        raise CheckpointError("a tensor has no storage of a known type")
    return _tensor(stored, offset, size, stride, requires_grad, stored.dtype)


def _rebuild_tensor(stored: Any, offset: Any, size: Any, stride: Any) -> Tensor:
    return _rebuild_tensor_v2(stored, offset, size, stride, False, None)


def _rebuild_tensor_v3(
    stored: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any,
    hooks: Any,
    dtype: Any,
    metadata: Any = None,
) -> Tensor:
    if not isinstance(stored, StoredMemory) or not isinstance(dtype, dtypes.dtype):
        raise CheckpointError("a tensor has no storage or no type")
    return _tensor(stored, offset, size, stride, requires_grad, dtype)


def _rebuild_parameter(data: Any, requires_grad: Any, hooks: Any) -> Any:
    if type(data) is not Tensor or requires_grad.__class__ is not bool or data.requires_grad:
        raise CheckpointError("a Parameter is not made of a tensor")
    if requires_grad and not data.is_floating_point():
        raise CheckpointError(f"a Parameter of {data.dtype} cannot require a gradient")
    return parameter_class[0](data, requires_grad)


def _rebuild_parameter_with_state(data: Any, requires_grad: Any, hooks: Any, state: Any) -> Any:
    return _with_attributes(_rebuild_parameter(data, requires_grad, hooks), state)


def _rebuild_from_type_v2(function: Any, kind: Any, args: Any, state: Any) -> Any:
    if not isinstance(function, Function) or function.call not in _REBUILDERS:
        raise CheckpointError(f"a tensor is made by {_short(function)}")
    if not isinstance(kind, Function) or args.__class__ is not tuple:
        raise CheckpointError("a tensor with attributes has no class")
    return _with_attributes(function.call(*args), state)


def _with_attributes(tensor: Tensor, state: Any) -> Tensor:
    """Attributes that a user set on a tensor; none may stand for something of the class."""
    state = state[0] if state.__class__ is tuple and len(state) == 2 else state
    if state.__class__ is not dict:
        raise CheckpointError("a tensor's attributes are no dict")
    for name, value in state.items():
        taken = {"array", "storage"}
        if name.__class__ is not str or name in taken or hasattr(type(tensor), name):
            raise CheckpointError(f"a tensor has an attribute {_short(name)}, which is not free")
        tensor.__dict__[name] = value
    return tensor


_REBUILDERS = (_rebuild_tensor, _rebuild_tensor_v2, _rebuild_tensor_v3)


def check_key(key: Any) -> Any:
    """A key of a dict or an element of a set: a plain value, or a small tuple of such.

    Hashing a tuple visits all its parts each time, shared ones again and again, and on C's stack.
    """
    parts, seen = [key], 0
    while parts:
        part = parts.pop()
        kind = part.__class__
        seen += 1
        if kind is tuple or kind is Size:
            parts.extend(part)
        elif kind is int and not -_MAX_INT <= part < 2 * _MAX_INT:
            raise CheckpointError("a key is an integer of more than 64 bits")
        elif kind not in _KEYS:
            raise CheckpointError(f"a key is a {kind.__name__}")
        if seen + len(parts) > MAX_KEY_PARTS:
            raise CheckpointError(f"a key has more than {MAX_KEY_PARTS} parts")
    return key


_KEYS = {int, str, bool, float, bytes, type(None), dtypes.dtype, device, complex}


def _pairs(given: Any) -> list[tuple[Any, Any]]:
    if given.__class__ is dict:
        return list(given.items())
    if given.__class__ is not list:
        raise CheckpointError(f"a dictionary is made of {_short(given)}")
    for pair in given:
        if pair.__class__ not in (list, tuple) or len(pair) != 2:
            raise CheckpointError("a dictionary is not made of pairs")
        check_key(pair[0])
    return [(key, value) for key, value in given]


def _ordered_dict(given: Any = None) -> OrderedDict[Any, Any]:
    return OrderedDict() if given is None else OrderedDict(_pairs(given))


def _counter(given: Any = None) -> Counter[Any]:
    counter: Counter[Any] = Counter()
    if given is not None:
        dict.update(counter, _pairs(given))
    return counter


def _set(given: Any = ()) -> set[Any]:
    if given.__class__ not in (list, tuple):
        raise CheckpointError(f"a set is made of {_short(given)}")
    return {check_key(element) for element in given}


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if text.__class__ is not str or encoding not in ("latin1", "latin-1"):
        raise CheckpointError("bytes are not made of a string by latin1")
    return str(text).encode("latin1")


def _bytearray(text: Any = "", encoding: Any = "latin1") -> bytearray:
    return bytearray(text if text.__class__ is bytes else _encode(text, encoding))


def _complex(real: Any, imag: Any) -> complex:
    if real.__class__ is not float or imag.__class__ is not float:
        raise CheckpointError("a complex number is not made of two floats")
    return complex(real, imag)


def _size(given: Any = ()) -> Size:
    return Size(_integers(given, "size") if given.__class__ is tuple else _integers((given,), ""))


def _device(kind: Any, index: Any = None) -> device:
    if kind.__class__ is not str or index.__class__ not in (int, type(None)):
        raise CheckpointError("a device is not made of a name and a number")
    return device(kind, index)


def _layout(name: Any) -> str:
    if name != "torch.strided":
        raise CheckpointError(f"tensors of layout {_short(name)} are not supported")
    return "torch.strided"


def _class(*args: Any) -> Any:
    raise CheckpointError("a class of tensors is called, which torch never writes")


def _names() -> dict[str, Any]:
    functions: dict[str, Callable[..., Any]] = {
        "torch._utils._rebuild_tensor": _rebuild_tensor,
        "torch._utils._rebuild_tensor_v2": _rebuild_tensor_v2,
        "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
        "torch._utils._rebuild_parameter": _rebuild_parameter,
        "torch._utils._rebuild_parameter_with_state": _rebuild_parameter_with_state,
        "torch._tensor._rebuild_from_type_v2": _rebuild_from_type_v2,
        "torch.Size": _size,
        "torch.device": _device,
        "torch.serialization._get_layout": _layout,
        "torch.Tensor": _class,
        "torch.nn.parameter.Parameter": _class,
        "collections.OrderedDict": _ordered_dict,
        "collections.Counter": _counter,
        "_codecs.encode": _encode,
    }
    builtins = {"set": _set, "bytearray": _bytearray, "complex": _complex, "bytes": _bytearray}
    for module in ("builtins", "__builtin__"):  # its name in Python 3, and in Python 2
        functions |= {f"{module}.{name}": call for name, call in builtins.items()}
        functions[f"{module}.bytes"] = lambda text="", code="latin1": bytes(_bytearray(text, code))
    names: dict[str, Any] = {name: Function(name, call) for name, call in functions.items()}
    names |= {f"torch.{name}": StorageType(kind) for name, kind in STORAGE_NAMES.items()}
    names["torch.storage.UntypedStorage"] = StorageType(None)
    names |= {f"torch.{name}": kind for name, kind in dtypes.dtype._by_name.items()}
    return names


NAMES = _names()
"""Every name that a checkpoint may use."""

_MARK = object()


class Unpickler:
    """Interprets the pickle `data`; `memory(key, location, size)` finds a tensor's memory."""

    def __init__(self, data: bytes, find: Callable[[str, str], Memory]) -> None:
        self.data, self.find, self.at = data, find, 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def load(self) -> Any:
        """The object that the pickle describes.

        Raises:
            CheckpointError: it is damaged, or asks for something that is not on the list.
        """
        data, actions = self.data, _ACTIONS
        while True:
            if self.at >= len(data):
                raise CheckpointError("the pickle ends too early")
            opcode = data[self.at]
            self.at += 1
            if opcode == 0x2E:  # STOP
                if len(self.stack) != 1 or self.stack[0] is _MARK:
                    raise CheckpointError("the pickle does not end with one object")
                return self.stack[0]
            action = actions.get(opcode)
            if action is None:
                raise CheckpointError(
                    f"the pickle uses opcode {bytes([opcode])!r} ({_OPCODES.get(opcode, 'unknown')}"
                    "), which torch does not write into checkpoints; it is refused"
                )
            action(self)

    def take(self, count: int) -> bytes:
        """The next bytes."""
        start, self.at = self.at, self.at + count
        if self.at > len(self.data):
            raise CheckpointError("the pickle ends too early")
        return self.data[start : self.at]

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        end = self.data.find(b"\n", self.at, self.at + 1000)
        if end < 0:
            raise CheckpointError("a name in the pickle has no end")
        text = self.data[self.at : end]
        self.at = end + 1
        return text.decode("ascii", "backslashreplace")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise CheckpointError("the pickle takes more from its stack than it put there")
        return self.stack.pop()

    def top(self, *kinds: type) -> Any:
        """The object on top of the stack, which must be exactly of one of these types."""
        found = self.pop()
        if found.__class__ not in kinds:
            raise CheckpointError(f"the pickle fills a {type(found).__name__}")
        self.stack.append(found)
        return found

    def since_mark(self) -> list[Any]:
        """Take off what lies above the last mark, and the mark."""
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is _MARK:
                found = self.stack[i + 1 :]
                del self.stack[i:]
                return found
        raise CheckpointError("the pickle has no mark where it needs one")

    # What each opcode does, in the order of the list below.

    def proto(self) -> None:
        if self.at != 1 or self.take(1) != b"\x02":
            raise CheckpointError("the pickle is not of protocol 2, which torch writes")

    def string(self) -> None:
        self.push(self.take(self.number("<I")).decode("utf-8", "surrogatepass"))

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise CheckpointError(f"the pickle recalls object {index}, which it never noted")
        self.push(self.memo[index])

    def put(self, index: int) -> None:
        self.memo[index] = self.pop()
        self.push(self.memo[index])

    def tuple_of(self, count: int) -> None:
        parts = [self.pop() for _ in range(count)]
        self.push(tuple(parts[::-1]))

    def append(self) -> None:
        item = self.pop()
        self.top(list).append(item)

    def appends(self) -> None:
        items = self.since_mark()
        self.top(list).extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.top(dict, OrderedDict, Counter)
        if len(items) % 2:
            raise CheckpointError("the pickle has a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[check_key(key)] = value

    def set_item(self) -> None:
        value = self.pop()
        self.set_items([self.pop(), value])

    def name(self) -> None:
        name = f"{self.line()}.{self.line()}"
        if name not in NAMES:
            raise CheckpointError(
                f"the file asks for '{name}', which is not among the names a checkpoint may use;"
                " loading never imports or runs anything that a file asks for"
            )
        self.push(NAMES[name])

    def reduce(self) -> None:
        args, function = self.pop(), self.pop()
        if not isinstance(function, Function):
            raise CheckpointError(f"the pickle calls {_short(function)}")
        if args.__class__ is not tuple:
            raise CheckpointError(f"the pickle calls {function.name} without a tuple")
        try:
            self.push(function.call(*args))
        except CheckpointError:
            raise
        except ImportError:  # bfloat16 without ml_dtypes
            raise
        except Exception as error:
            raise CheckpointError(f"{function.name} cannot be made: {error}") from None

    def build(self) -> None:
        """Attributes of an OrderedDict, as of a module's state_dict; nothing else has any."""
        state = self.pop()
        target = self.top(OrderedDict)
        if state.__class__ is not dict:
            raise CheckpointError("the attributes of an OrderedDict are no dict")
        for name, value in state.items():
            if name.__class__ is not str or hasattr(OrderedDict, name):
                raise CheckpointError(f"an OrderedDict has an attribute {_short(name)}")
            target.__dict__[name] = value

    def persistent(self) -> None:
        """A run of memory: ("storage", type, key, location, numel)."""
        found = self.pop()
        if found.__class__ is not tuple or len(found) != 5 or found[0] != "storage":
            raise CheckpointError("the pickle refers to something outside that is no storage")
        _, kind, key, location, numel = found
        if not isinstance(kind, StorageType) or key.__class__ is not str:
            raise CheckpointError("a storage has no known type or no name")
        if location.__class__ is not str:
            raise CheckpointError("a storage's location is no string")
        memory = self.find(key, location)
        itemsize = 1 if kind.dtype is None else kind.dtype.itemsize
        if _integer(numel, "storage") != memory.size // itemsize:
            raise CheckpointError(
                f"storage '{key}' claims {numel} elements of {itemsize} bytes, but the archive"
                f" holds {memory.size} bytes of it"
            )
        self.push(StoredMemory(memory, kind.dtype))

    def long(self) -> None:
        self.push(int.from_bytes(self.take(self.take(1)[0]), "little", signed=True))


_ACTIONS: dict[int, Callable[[Unpickler], None]] = {
    ord(opcode): action
    for opcode, action in {
        "\x80": Unpickler.proto,
        "}": lambda p: p.push({}),
        "]": lambda p: p.push([]),
        ")": lambda p: p.push(()),
        "(": lambda p: p.push(_MARK),
        "N": lambda p: p.push(None),
        "\x88": lambda p: p.push(True),
        "\x89": lambda p: p.push(False),
        "K": lambda p: p.push(p.number("<B")),
        "M": lambda p: p.push(p.number("<H")),
        "J": lambda p: p.push(p.number("<i")),
        "\x8a": Unpickler.long,
        "G": lambda p: p.push(p.number(">d")),
        "X": Unpickler.string,
        "q": lambda p: p.put(p.number("<B")),
        "r": lambda p: p.put(p.number("<I")),
        "h": lambda p: p.get(p.number("<B")),
        "j": lambda p: p.get(p.number("<I")),
        "\x85": lambda p: p.tuple_of(1),
        "\x86": lambda p: p.tuple_of(2),
        "\x87": lambda p: p.tuple_of(3),
        "t": lambda p: p.push(tuple(p.since_mark())),
        "a": Unpickler.append,
        "e": Unpickler.appends,
        "s": Unpickler.set_item,
        "u": lambda p: p.set_items(p.since_mark()),
        "0": lambda p: p.pop() and None,
        "c": Unpickler.name,
        "R": Unpickler.reduce,
        "b": Unpickler.build,
        "Q": Unpickler.persistent,
    }.items()
}

_OPCODES = {
    ord("i"): "INST", ord("o"): "OBJ", 0x81: "NEWOBJ", 0x92: "NEWOBJ_EX", 0x93: "STACK_GLOBAL",
    0x82: "EXT1", 0x83: "EXT2", 0x84: "EXT4", ord("P"): "PERSID", 0x97: "NEXT_BUFFER",
    0x98: "READONLY_BUFFER", ord("2"): "DUP", 0x95: "FRAME", 0x8c: "SHORT_BINUNICODE",
    0x94: "MEMOIZE", ord("I"): "INT", ord("L"): "LONG", ord("F"): "FLOAT", ord("S"): "STRING",
    ord("V"): "UNICODE", 0x8b: "LONG4", ord("1"): "POP_MARK",
}  # fmt: skip


def read(archive: Archive, find: Callable[[str, str], Memory]) -> Any:
    """The objects in an archive."""
    data = archive.read("data.pkl")
    try:
        return Unpickler(data, find).load()
    except UnicodeDecodeError as error:
        raise CheckpointError(f"a string in the pickle is no UTF-8: {error}") from None
