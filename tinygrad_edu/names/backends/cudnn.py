"""`torch.backends.cudnn`: cuDNN is not used; its switches can be set, to no effect."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

enabled = True
benchmark = False
benchmark_limit: int | None = 10
deterministic = False
allow_tf32 = True


def is_available() -> bool:
    """False: cuDNN is not used."""
    return False


def version() -> int | None:
    """None: cuDNN is not used."""
    return None


@contextlib.contextmanager
def flags(
    enabled: bool = False,
    benchmark: bool = False,
    benchmark_limit: int | None = 10,
    deterministic: bool = False,
    allow_tf32: bool = True,
    fp32_precision: str = "none",
    depthwise_kernel: str | None = None,
) -> Iterator[None]:
    """Set the switches inside a block."""
    names = ("enabled", "benchmark", "benchmark_limit", "deterministic", "allow_tf32")
    before = {name: globals()[name] for name in names}
    given = (enabled, benchmark, benchmark_limit, deterministic, allow_tf32)
    globals().update(zip(names, given, strict=True))
    try:
        yield
    finally:
        globals().update(before)
