"""`torch.types`: names that annotations use."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import IO, TypeAlias

from tinygrad_edu.backend import device
from tinygrad_edu.dtypes import dtype
from tinygrad_edu.size import Size
from tinygrad_edu.tensor import Tensor

_dtype, _device, _layout = dtype, device, str
Number: TypeAlias = int | float | bool
Device: TypeAlias = device | str | int | None
FileLike: TypeAlias = str | os.PathLike[str] | IO[bytes]
_size: TypeAlias = Size | list[int] | tuple[int, ...]
_TensorOrTensors: TypeAlias = Tensor | Sequence[Tensor]
