"""The pickle inside a checkpoint, read without ever running what it says.

A pickle is a program for a small stack machine, and Python's own reader lets it import any module
and call anything in it.  This reader knows the opcodes that torch writes and no others, and the
closed list of names in `names`; what a name stands for is decided there, never imported.  torch's
own `weights_only=True` works the same way.
"""

from __future__ import annotations

import pickle
import struct
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar

from tinygrad_edu.serialization import classes
from tinygrad_edu.serialization.errors import CheckpointError
from tinygrad_edu.serialization.keys import Filling
from tinygrad_edu.serialization.memory import Memory
from tinygrad_edu.serialization.names import (
    ENCODE,
    NAMES,
    OF_MODULES,
    Function,
    StorageType,
    StoredMemory,
    integer,
    is_record,
    set_attributes,
    short,
)
from tinygrad_edu.size import Size

_MARK = object()
_STOP = pickle.STOP[0]
_TABLE = 2
"""What is copied into a table of keys is paid for so many times: it takes longer."""
_SIZED = (str, bytes, bytearray, tuple, Size, list, dict, OrderedDict, Counter, set)


def _weight(args: tuple[Any, ...]) -> int:
    """How many elements or bytes a function can copy at most, given these arguments."""
    parts = [part for arg in args if arg.__class__ is tuple for part in arg]
    return sum([len(part) for part in (*args, *parts) if part.__class__ in _SIZED])


class Unpickler:
    """Interprets the pickle `data`; `find(key, location, size)` finds a tensor's memory.

    With `whole` it makes modules of the running program, too: see `classes`.  The pickle begins at
    `at`, and ends where that is after `load`.
    """

    actions: ClassVar[dict[int, Callable[[Any], None]]]

    def __init__(
        self, data: bytes, find: Callable[[str, str, int], Memory], whole: bool = False, at: int = 0
    ) -> None:
        self.data, self.find, self.at, self.start = data, find, at, at
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.filling = Filling(len(data))
        self.encoded: dict[int, tuple[str, bytes]] = {}  # bytes by the id of their letters
        self.whole = whole
        self.made: dict[int, Any] = {}  # objects of classes, by their ids

    def load(self) -> Any:
        """The object that the pickle describes.

        Raises:
            CheckpointError: it is damaged, or asks for something that is not on the list.
        """
        data, actions = self.data, self.actions
        while True:
            if self.at >= len(data):
                raise CheckpointError("the pickle ends too early")
            opcode = data[self.at]
            self.at += 1
            if opcode == _STOP:
                if len(self.stack) != 1 or self.stack[0] is _MARK:
                    raise CheckpointError("the pickle does not end with one object")
                for made in self.made.values():
                    classes.finish(made)
                return self.stack[0]
            action = actions.get(opcode)
            if action is None:
                code = bytes([opcode])
                raise CheckpointError(
                    f"the pickle uses opcode {code!r} ({_OPCODES.get(code, 'unknown')}), which"
                    " torch does not write into checkpoints; it is refused"
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

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise CheckpointError("the pickle takes more from its stack than it put there")
        return self.stack.pop()

    def last(self, count: int) -> list[Any]:
        """Take off so many objects, of which the last lies on top."""
        return [self.pop() for _ in range(count)][::-1]

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
        if self.at != self.start + 1 or self.take(1) != b"\x02":
            raise CheckpointError("the pickle is not of protocol 2, which torch writes")

    def string(self, length: int, errors: str = "surrogatepass") -> None:
        try:
            self.push(self.take(length).decode("utf-8", errors))
        except UnicodeDecodeError as error:
            raise CheckpointError(f"a string in the pickle is no UTF-8: {error}") from None

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise CheckpointError(f"the pickle recalls object {index}, which it never noted")
        self.push(self.memo[index])

    def put(self, index: int) -> None:
        if index > len(self.memo) + 256:  # Python counts up, from 0 or 1
            raise CheckpointError(f"the pickle notes object {index} before as many were made")
        self.memo[index] = self.pop()
        self.push(self.memo[index])

    def append(self, items: list[Any]) -> None:
        self.top(list).extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.top(dict, OrderedDict, Counter)
        if len(items) % 2:
            raise CheckpointError("the pickle has a key without a value")
        self.filling.fill(target, items[::2], items[1::2])

    def name(self) -> None:
        name = f"{self.line()}.{self.line()}"
        known = NAMES.get(name) or (OF_MODULES.get(name) if self.whole else None)
        self.push(known or classes.accepted(name, self.whole))

    def make(self) -> None:
        """An object of a class that was accepted, still without attributes."""
        args, cls = self.pop(), self.pop()
        if not isinstance(cls, type) or args.__class__ is not tuple or args:
            raise CheckpointError(f"the pickle makes an object of {short(cls)}")
        made: Any = object.__new__(cls)
        self.made[id(made)] = made
        self.push(made)

    def reduce(self) -> None:
        args, function = self.pop(), self.pop()
        if not isinstance(function, Function):
            raise CheckpointError(f"the pickle calls {short(function)}")
        if args.__class__ is not tuple:
            raise CheckpointError(f"the pickle calls {function.name} without a tuple")
        if function is ENCODE and args and id(args[0]) in self.encoded:
            self.push(self.encoded[id(args[0])][1])
            return
        self.filling.pay(_weight(args) * (_TABLE if function.fills else 1))
        try:
            result = function.call(*(self.filling, *args) if function.fills else args)
        except (CheckpointError, MemoryError, ImportError):  # bfloat16 needs ml_dtypes
            raise
        except Exception as error:
            raise CheckpointError(f"{function.name} cannot be made: {error}") from None
        if function is ENCODE:
            self.encoded[id(args[0])] = (args[0], result)
        self.push(result)

    def build(self) -> None:
        """Attributes of an object just made, or of an OrderedDict such as a module's state_dict."""
        state = self.pop()
        if self.stack and id(self.stack[-1]) in self.made:
            classes.fill(self.stack[-1], state)
            return
        target = self.top(OrderedDict)
        if state.__class__ is not dict:
            raise CheckpointError("the attributes of an OrderedDict are no dict")
        self.filling.pay(len(state))
        set_attributes(target, state)

    def persistent(self) -> None:
        """A run of memory: ("storage", type, key, location, numel)."""
        found = self.pop()
        if not is_record(found, "storage", 5):
            raise CheckpointError("the pickle refers to something outside that is no storage")
        _, kind, key, location, numel = found
        if not isinstance(kind, StorageType) or key.__class__ is not str:
            raise CheckpointError("a storage has no known type or no name")
        if location.__class__ is not str:
            raise CheckpointError("a storage's location is no string")
        itemsize = kind.itemsize
        memory = self.find(key, location, integer(numel, "storage") * itemsize)
        if numel != memory.size // itemsize:
            raise CheckpointError(
                f"storage '{key}' claims {numel} elements of {itemsize} bytes, but the archive"
                f" holds {memory.size} bytes of it"
            )
        self.push(StoredMemory(memory, kind))

    def long(self) -> None:
        self.push(int.from_bytes(self.take(self.take(1)[0]), "little", signed=True))


Unpickler.actions = {
    code[0]: action
    for code, action in {
        pickle.PROTO: Unpickler.proto,
        pickle.EMPTY_DICT: lambda p: p.push({}),
        pickle.EMPTY_LIST: lambda p: p.push([]),
        pickle.EMPTY_TUPLE: lambda p: p.push(()),
        pickle.MARK: lambda p: p.push(_MARK),
        pickle.NONE: lambda p: p.push(None),
        pickle.NEWTRUE: lambda p: p.push(True),
        pickle.NEWFALSE: lambda p: p.push(False),
        pickle.BININT1: lambda p: p.push(p.number("<B")),
        pickle.BININT2: lambda p: p.push(p.number("<H")),
        pickle.BININT: lambda p: p.push(p.number("<i")),
        pickle.LONG1: Unpickler.long,
        pickle.BINFLOAT: lambda p: p.push(p.number(">d")),
        pickle.BINUNICODE: lambda p: p.string(p.number("<I")),
        pickle.BINPUT: lambda p: p.put(p.number("<B")),
        pickle.LONG_BINPUT: lambda p: p.put(p.number("<I")),
        pickle.BINGET: lambda p: p.get(p.number("<B")),
        pickle.LONG_BINGET: lambda p: p.get(p.number("<I")),
        pickle.TUPLE1: lambda p: p.push(tuple(p.last(1))),
        pickle.TUPLE2: lambda p: p.push(tuple(p.last(2))),
        pickle.TUPLE3: lambda p: p.push(tuple(p.last(3))),
        pickle.TUPLE: lambda p: p.push(tuple(p.since_mark())),
        pickle.APPEND: lambda p: p.append(p.last(1)),
        pickle.APPENDS: lambda p: p.append(p.since_mark()),
        pickle.SETITEM: lambda p: p.set_items(p.last(2)),
        pickle.SETITEMS: lambda p: p.set_items(p.since_mark()),
        pickle.GLOBAL: Unpickler.name,
        pickle.REDUCE: Unpickler.reduce,
        pickle.NEWOBJ: Unpickler.make,
        pickle.BUILD: Unpickler.build,
        pickle.BINPERSID: lambda p: p.persistent(),
    }.items()
}
_OPCODES = {code: name for name, code in vars(pickle).items() if isinstance(code, bytes)}
"""Python's names of all opcodes, for errors."""
