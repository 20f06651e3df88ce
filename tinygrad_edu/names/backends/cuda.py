"""`torch.backends.cuda`: switches of the GPU's matrix products; those of attention do nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from tinygrad_edu import backend
from tinygrad_edu.names import settings


class _Products:
    """Switches of matrix products.  16-bit ones are always added up in float32."""

    allow_fp16_reduced_precision_reduction = True
    allow_bf16_reduced_precision_reduction = True

    @property
    def allow_tf32(self) -> bool:
        """Whether float32 products may round their factors; see set_float32_matmul_precision."""
        return settings.get_float32_matmul_precision() != "highest"

    @allow_tf32.setter
    def allow_tf32(self, allowed: bool) -> None:
        settings.set_float32_matmul_precision("high" if allowed else "highest")


matmul = _Products()
preferred_linalg_library: Any = None
_attention = {"flash": True, "mem_efficient": True, "math": True, "cudnn": True}


def is_built() -> bool:
    """Whether a GPU could be used: CuPy is there and finds one."""
    return backend.cupy_problem() is None


def enable_flash_sdp(enabled: bool) -> None:
    """Accepted; attention has one kernel per device here."""
    _attention["flash"] = enabled


def enable_mem_efficient_sdp(enabled: bool) -> None:
    """Accepted; attention has one kernel per device here."""
    _attention["mem_efficient"] = enabled


def enable_math_sdp(enabled: bool) -> None:
    """Accepted; attention has one kernel per device here."""
    _attention["math"] = enabled


def enable_cudnn_sdp(enabled: bool) -> None:
    """Accepted; attention has one kernel per device here."""
    _attention["cudnn"] = enabled


@contextlib.contextmanager
def sdp_kernel(
    enable_flash: bool = True,
    enable_math: bool = True,
    enable_mem_efficient: bool = True,
    enable_cudnn: bool = True,
) -> Iterator[None]:
    """The old form of `nn.attention.sdpa_kernel`: sets the switches, which change nothing here."""
    before = dict(_attention)
    _attention.update(flash=enable_flash, mem_efficient=enable_mem_efficient, math=enable_math,
                      cudnn=enable_cudnn)  # fmt: skip
    try:
        yield
    finally:
        _attention.update(before)


def flash_sdp_enabled() -> bool:
    """What `enable_flash_sdp` was given last."""
    return _attention["flash"]


def mem_efficient_sdp_enabled() -> bool:
    """What `enable_mem_efficient_sdp` was given last."""
    return _attention["mem_efficient"]


def math_sdp_enabled() -> bool:
    """What `enable_math_sdp` was given last."""
    return _attention["math"]
