"""`torch.nn.attention`: the choice between implementations of attention, of which there is one."""

from __future__ import annotations

import contextlib
import typing as _typing
from collections.abc import Iterator
from enum import IntEnum

from tinygrad_edu.names.backends import cuda as _flags
from tinygrad_edu.names.missing import missing as _missing

__all__ = ["SDPBackend", "sdpa_kernel"]


class SDPBackend(IntEnum):
    """torch's implementations of `scaled_dot_product_attention`."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4


_NAMES = {
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "mem_efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}


@contextlib.contextmanager
def sdpa_kernel(
    backends: list[SDPBackend] | SDPBackend, set_priority: bool = False
) -> Iterator[dict[str, object]]:
    """Choose implementations of attention; `torch.backends.cuda.flash_sdp_enabled()` tells which.

    Unlike torch, the choice changes no computation: attention has one implementation per device
    here, whose memory grows linearly with the length, and which gives what each of torch's gives.

    Raises:
        AssertionError: something other than an SDPBackend or a list.

    >>> import tinygrad_edu as torch
    >>> from tinygrad_edu.nn.attention import SDPBackend, sdpa_kernel
    >>> with sdpa_kernel(SDPBackend.MATH):
    ...     torch.backends.cuda.flash_sdp_enabled()
    False
    """
    if not isinstance(backends, (list, SDPBackend)):
        raise AssertionError(
            "Backend must be an instance of SDPBackend or a list of SDPBackend instances, got"
            f" {type(backends).__name__}"
        )
    chosen = [backends] if isinstance(backends, SDPBackend) else backends
    before = dict(_flags._attention)
    _flags._attention.update({name: backend in chosen for name, backend in _NAMES.items()})
    try:
        yield {}
    finally:
        _flags._attention.update(before)


if not _typing.TYPE_CHECKING:  # a type checker finds unknown names by itself
    __getattr__ = _missing(__name__)
