"""The closed list of names that a checkpoint may use, and what each stands for.

Everything a tensor claims (how many bytes, which shape, which strides) is compared with the
archive before any memory is allocated for it.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections import Counter, OrderedDict
from collections.abc import Callable
from types import FunctionType
from typing import Any, NamedTuple

from tinygrad_edu import dtypes
from tinygrad_edu.backend import device
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.serialization import classes
from tinygrad_edu.serialization.errors import CheckpointError
from tinygrad_edu.serialization.keys import Filling
from tinygrad_edu.serialization.memory import Memory
from tinygrad_edu.size import Size
from tinygrad_edu.tensor import Tensor, parameter_class

STORAGE_NAMES = {
    "BoolStorage": dtypes.bool_, "ByteStorage": dtypes.uint8, "CharStorage": dtypes.int8,
    "ShortStorage": dtypes.int16, "IntStorage": dtypes.int32, "LongStorage": dtypes.int64,
    "HalfStorage": dtypes.float16, "BFloat16Storage": dtypes.bfloat16,
    "FloatStorage": dtypes.float32, "DoubleStorage": dtypes.float64,
}  # fmt: skip
"""torch's name for a run of memory, by the type of its elements; newer types have none."""

MAX_DIMS = 64
_MAX_INT = 2**63


class StorageType(NamedTuple):
    """What `torch.FloatStorage` stands for; bytes if `dtype` is None."""

    dtype: dtypes.dtype | None

    @property
    def itemsize(self) -> int:
        """How many bytes an element has."""
        return 1 if self.dtype is None else self.dtype.itemsize


class StoredMemory(NamedTuple):
    """A run of memory in the file, and what the file says of its elements."""

    memory: Memory
    kind: StorageType


class Function:
    """A name that the pickle may call; what it does is in this file.

    Arguments may be objects of the program's own classes.  Their types are looked at before their
    values are compared: `==` would call a method.
    """

    def __init__(self, name: str, call: Callable[..., Any], fills: bool = False) -> None:
        self.name, self.call = name, call
        self.fills = fills  # its first argument is a Filling

    def __repr__(self) -> str:
        return f"<{self.name}>"


def integer(value: object, what: str) -> int:
    """A count that a file claims; CheckpointError if it is none."""
    if value.__class__ is not int or not 0 <= value < _MAX_INT:
        raise CheckpointError(f"a tensor's {what} is {short(value)}, no count")
    return int(value)


def _integers(value: object, what: str) -> tuple[int, ...]:
    if value.__class__ not in (tuple, Size) or len(value) > MAX_DIMS:
        raise CheckpointError(f"a tensor's {what} is {short(value)}, no tuple of counts")
    return tuple([integer(v, what) for v in value])


def is_record(value: object, name: str, length: int) -> bool:
    """Whether a value is a tuple of that length that begins with its name."""
    found = value.__class__ is tuple and len(value) == length and value[0]
    return found.__class__ is str and found == name


def short(value: object) -> str:
    """A value for an error message; of a large one, its type."""
    if value.__class__ in (int, float, str, bytes, bool, type(None)):
        text = repr(value if not isinstance(value, (str, bytes)) else value[:80])
        return text if len(text) < 100 else text[:100] + "..."
    return f"a {type(value).__name__}"


def _rebuild_tensor(stored: object, offset: object, size: object, stride: object) -> Tensor:
    return _rebuild_tensor_v2(stored, offset, size, stride, False, None)


def _rebuild_tensor_v2(stored: object, *args: object) -> Tensor:
    if not isinstance(stored, StoredMemory) or stored.kind.dtype is None:
        raise CheckpointError("a tensor has no storage of a known type")
    return _rebuild_tensor_v3(*[stored, *args[:5], stored.kind.dtype, *args[5:]])


def _rebuild_tensor_v3(
    stored: object,
    offset: object,
    size: object,
    stride: object,
    requires_grad: object,
    hooks: object,
    dtype: object,
    metadata: object = None,
) -> Tensor:
    """The tensor whose first element is element `offset` of the memory."""
    if not isinstance(stored, StoredMemory) or not isinstance(dtype, dtypes.dtype):
        raise CheckpointError("a tensor has no storage or no type")
    memory = stored.memory
    offset = integer(offset, "offset")
    size, stride = _integers(size, "size"), _integers(stride, "stride")
    if len(size) != len(stride):
        raise CheckpointError(f"a tensor has size {size} but stride {stride}")
    numel = math.prod(size)
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
        raise CheckpointError(f"a tensor's requires_grad is {short(requires_grad)}, no bool")
    tensor = wrap(memory.view(dtype.numpy, size, stride, offset), None, memory.storage)
    if requires_grad:
        if not dtype.is_floating_point:
            raise CheckpointError(f"a tensor of {dtype} cannot require a gradient")
        tensor.requires_grad_()
    return tensor


def _rebuild_parameter(data: object, requires_grad: object, hooks: object) -> Tensor:
    if type(data) is not Tensor or requires_grad.__class__ is not bool or data.requires_grad:
        raise CheckpointError("a Parameter is not made of a tensor")
    if requires_grad and not data.is_floating_point():
        raise CheckpointError(f"a Parameter of {data.dtype} cannot require a gradient")
    importlib.import_module("tinygrad_edu.nn.parameter")  # which registers the class
    return parameter_class[0](data, requires_grad)


def _rebuild_parameter_with_state(
    data: object, requires_grad: object, hooks: object, state: object
) -> Tensor:
    return _with_attributes(_rebuild_parameter(data, requires_grad, hooks), state)


def _rebuild_from_type_v2(function: object, kind: object, args: object, state: object) -> Tensor:
    if not isinstance(function, Function) or function.call not in _REBUILDERS:
        raise CheckpointError(f"a tensor is made by {short(function)}")
    if not isinstance(kind, Function) or args.__class__ is not tuple:
        raise CheckpointError("a tensor with attributes has no class")
    return _with_attributes(function.call(*args), state)


def _with_attributes(tensor: Tensor, state: object) -> Tensor:
    state = state[0] if state.__class__ is tuple and len(state) == 2 else state
    if state.__class__ is not dict:
        raise CheckpointError("a tensor's attributes are no dict")
    set_attributes(tensor, state)
    return tensor


def set_attributes(obj: Any, state: dict[Any, Any]) -> None:
    """Set what a user has set; none may stand for something that objects of the class have."""
    for name, value in state.items():
        if name.__class__ is not str or name in obj.__dict__ or hasattr(type(obj), name):
            raise CheckpointError(
                f"a {type(obj).__name__} has an attribute {short(name)}, which is not free"
            )
        obj.__dict__[name] = value


_REBUILDERS = (_rebuild_tensor, _rebuild_tensor_v2, _rebuild_tensor_v3)


def _dictionary(kind: type[Any], filling: Filling, given: object = None) -> dict[Any, Any]:
    """A dictionary of that class with the items of a dict, or the pairs of a list."""
    pairs: Any = [*given.items()] if isinstance(given, dict) else given
    if given is None:
        pairs = []
    if pairs.__class__ is not list:
        raise CheckpointError(f"a dictionary is made of {short(given)}")
    if not all([pair.__class__ in (list, tuple) and len(pair) == 2 for pair in pairs]):
        raise CheckpointError("a dictionary is not made of pairs")
    made: dict[Any, Any] = kind()
    filling.fill(made, [pair[0] for pair in pairs], [pair[1] for pair in pairs])
    return made


def _set(filling: Filling, given: object = ()) -> set[Any]:
    if given.__class__ not in (list, tuple):
        raise CheckpointError(f"a set is made of {short(given)}")
    made: set[Any] = set()
    filling.fill(made, [*given])
    return made


def _encode(text: object, encoding: object = "latin1") -> bytes:
    known = encoding.__class__ is str and encoding in ("latin1", "latin-1")
    if text.__class__ is not str or not known:
        raise CheckpointError("bytes are not made of a string by latin1")
    return str(text).encode("latin1")


def _bytearray(text: object = "", encoding: object = "latin1") -> bytearray:
    return bytearray(text if text.__class__ is bytes else _encode(text, encoding))


def _bytes(text: object = "", encoding: object = "latin1") -> bytes:
    return bytes(_bytearray(text, encoding))


def _complex(real: object, imag: object) -> complex:
    if real.__class__ is not float or imag.__class__ is not float:
        raise CheckpointError("a complex number is not made of two floats")
    return complex(real, imag)


def _size(given: object = ()) -> Size:
    return Size(_integers(given, "size") if given.__class__ is tuple else _integers((given,), ""))


def _device(kind: object, index: object = None) -> device:
    if kind.__class__ is not str or index.__class__ not in (int, type(None)):
        raise CheckpointError("a device is not made of a name and a number")
    return device(kind, index)


def _layout(name: object) -> str:
    if name.__class__ is not str or name != "torch.strided":
        raise CheckpointError(f"tensors of layout {short(name)} are not supported")
    return "torch.strided"


def _class(*args: object) -> Any:
    raise CheckpointError("a class of tensors is called, which torch never writes")


_CALLED: dict[str, Callable[..., Any]] = {
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
    "_codecs.encode": _encode,
}
_FILLED: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": functools.partial(_dictionary, OrderedDict),
    "collections.Counter": functools.partial(_dictionary, Counter),
}
for _module in ("builtins", "__builtin__"):  # its name in Python 3, and in Python 2
    _FILLED[f"{_module}.set"] = _set
    _CALLED[f"{_module}.bytearray"] = _bytearray
    _CALLED[f"{_module}.bytes"] = _bytes
    _CALLED[f"{_module}.complex"] = _complex

NAMES: dict[str, Any] = (
    {name: Function(name, call) for name, call in _CALLED.items()}
    | {name: Function(name, call, fills=True) for name, call in _FILLED.items()}
    | {f"torch.{name}": StorageType(kind) for name, kind in STORAGE_NAMES.items()}
    | {"torch.storage.UntypedStorage": StorageType(None)}
    | {f"torch.{name}": kind for name, kind in dtypes.dtype._by_name.items()}
)
"""Every name that a checkpoint may use."""


def _attribute(of: object, name: object) -> Any:
    if of is not OPERATIONS:
        raise CheckpointError(f"the file asks for an attribute of {short(of)}")
    found = classes.named(f"torch.{name}") if name.__class__ is str else None
    if not isinstance(found, FunctionType):
        raise CheckpointError(
            f"the file asks for a function {short(name)}, which is not known here"
        )
    return found


OPERATIONS = object()
_GETATTR = Function("builtins.getattr", _attribute)
OF_MODULES: dict[str, Any] = {
    "builtins.getattr": _GETATTR, "__builtin__.getattr": _GETATTR,
    "torch._C._VariableFunctionsClass": OPERATIONS, "torch._C._VariableFunctions": OPERATIONS,
}  # fmt: skip
"""What only a file with whole modules may use: torch's way to refer to `torch.tanh`."""
ENCODE: Function = NAMES["_codecs.encode"]
"""How bytes are written: as a string, and a call that turns it into bytes."""
