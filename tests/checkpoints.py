"""What the tests of files share: saving in one library, loading in the other, comparing states."""

from __future__ import annotations

import io
from collections import OrderedDict
from typing import Any

import pytest

import tinygrad_edu as ours

torch = pytest.importorskip("torch")

DTYPES = [
    "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16",
    "float32", "float64",
]  # fmt: skip
try:
    import ml_dtypes  # noqa: F401

    DTYPES.append("bfloat16")
except ImportError:
    pass


def saved(library: Any, obj: Any) -> io.BytesIO:
    file = io.BytesIO()
    library.save(obj, file)
    file.seek(0)
    return file


def there(obj: Any) -> Any:
    """Saved here, loaded by torch."""
    return torch.load(saved(ours, obj), weights_only=True)


def here(obj: Any) -> Any:
    """Saved by torch, loaded here."""
    return ours.load(saved(torch, obj))


def plain(x: Any) -> Any:
    """A state in words that both libraries share; equal words mean equal states."""
    kind = type(x).__name__
    if kind != "device" and (callable(x) or kind in _UNFINISHED):
        return "a name"
    if isinstance(x, (ours.Tensor, torch.Tensor)):
        bits = x.detach().contiguous()
        if isinstance(bits, torch.Tensor):
            raw = bytes(bits.reshape(-1).view(torch.uint8).numpy()) if bits.numel() else b""
        else:
            raw = bits.array.tobytes()
        return (kind, str(x.dtype), tuple(x.shape), x.requires_grad, raw)
    if isinstance(x, (OrderedDict, dict)):
        return (
            kind,
            [(plain(k), plain(v)) for k, v in x.items()],
            plain(getattr(x, "__dict__", 0)),
        )
    if isinstance(x, (set, frozenset)):
        return (kind, sorted([repr(plain(v)) for v in x]))
    if isinstance(x, (list, tuple)):
        return (kind, [plain(v) for v in x])
    return (kind, repr(x))


_UNFINISHED = {"Function", "StorageType", "StoredMemory", "TypedStorage"}
"""What a file that is made by hand can leave over: names it may call, memory without a tensor."""
