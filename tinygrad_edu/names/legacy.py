"""The tensor types of early PyTorch: `torch.FloatTensor([1, 2])`, `isinstance(t, LongTensor)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinygrad_edu import dtypes
from tinygrad_edu.backend import device_of, set_default_device
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.ops import creation

if TYPE_CHECKING:
    from tinygrad_edu.ops.creation import Dtype
    from tinygrad_edu.tensor import Tensor


class _Type(type):
    """The class of such a type: calling it makes a tensor; tensors of its dtype belong to it."""

    dtype: Any
    device = "cpu"

    def __call__(cls, *data: Any) -> Tensor:
        place = {"dtype": cls.dtype, "device": cls.device}
        if len(data) == 1 and not isinstance(data[0], int):
            return creation.tensor(data[0], **place)
        return creation.empty(*data, **place) if data else creation.empty(0, **place)

    def __instancecheck__(cls, instance: object) -> bool:
        if not isinstance(instance, TensorBase):
            return False
        same = dtypes.from_numpy(instance.array.dtype) == cls.dtype
        return same and device_of(instance.array).type == cls.device

    def __repr__(cls) -> str:
        return f"<class 'torch.{cls.__name__}'>"


def _type(name: str, dtype: Dtype, device: str = "cpu") -> Any:
    return _Type(name, (), {"dtype": dtype, "device": device, "__doc__": f"Tensors of {dtype!r}."})


FloatTensor: Any = _type("FloatTensor", dtypes.float32)
DoubleTensor: Any = _type("DoubleTensor", dtypes.float64)
HalfTensor: Any = _type("HalfTensor", dtypes.float16)
BFloat16Tensor: Any = _type("BFloat16Tensor", dtypes.bfloat16)
LongTensor: Any = _type("LongTensor", dtypes.int64)
IntTensor: Any = _type("IntTensor", dtypes.int32)
ShortTensor: Any = _type("ShortTensor", dtypes.int16)
CharTensor: Any = _type("CharTensor", dtypes.int8)
ByteTensor: Any = _type("ByteTensor", dtypes.uint8)
BoolTensor: Any = _type("BoolTensor", dtypes.bool_)
CudaFloatTensor: Any = _type("FloatTensor", dtypes.float32, "cuda")
CudaLongTensor: Any = _type("LongTensor", dtypes.int64, "cuda")

_PLAIN = [FloatTensor, DoubleTensor, HalfTensor, BFloat16Tensor]
_BY_NAME = {f"torch.{t.__name__}": t for t in _PLAIN} | {"torch.cuda.FloatTensor": CudaFloatTensor}


def set_default_tensor_type(t: object) -> None:
    """The old form of `set_default_dtype`, and of `set_default_device` if the type is a GPU's.

    Args:
        t: a type such as `torch.DoubleTensor`, or its name.

    Raises:
        TypeError: it is not a floating-point type.

    >>> import tinygrad_edu as torch
    >>> torch.set_default_tensor_type("torch.DoubleTensor"); torch.tensor([0.5]).dtype
    torch.float64
    >>> torch.set_default_tensor_type(torch.FloatTensor)
    """
    kind = _BY_NAME.get(t) if isinstance(t, str) else t
    if not isinstance(kind, _Type):
        raise TypeError(f"invalid type object: {t!r}; it must be a type such as FloatTensor")
    dtypes.set_default_dtype(kind.dtype)
    set_default_device(None if kind.device == "cpu" else kind.device)
