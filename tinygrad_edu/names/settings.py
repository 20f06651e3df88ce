"""What scripts set or ask in their first lines: threads, precision, determinism, compilation."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tinygrad_edu.backend import switches
from tinygrad_edu.kernels import threads
from tinygrad_edu.names.missing import elsewhere

# ---- threads


def set_num_threads(num: int) -> None:
    """How many threads a product of matrices or attention may use.

    Args:
        num: at least 1.  At the start it is what NumPy's BLAS uses: as many as there are
            processors, or the environment variable OMP_NUM_THREADS.

    Raises:
        RuntimeError: it is not.

    Unlike torch, other operations run on one thread. And the threads of a BLAS other than the
    OpenBLAS of NumPy's wheels cannot be set: this warns, and OMP_NUM_THREADS is the way.

    >>> import tinygrad_edu as torch
    >>> torch.set_num_threads(torch.get_num_threads())
    """
    if isinstance(num, bool) or not isinstance(num, int):
        raise RuntimeError(f"set_num_threads expects an int, but got {type(num).__name__}")
    if num < 1:
        raise RuntimeError("set_num_threads expects a positive integer")
    if threads.blas() is None and num != threads.count():
        warnings.warn(
            "NumPy's BLAS keeps its number of threads, which only OpenBLAS lets this change; start"
            f" Python with OMP_NUM_THREADS={num}",
            stacklevel=2,
        )
    threads.set_count(num)


def get_num_threads() -> int:
    """How many threads a product of matrices or attention uses at most."""
    return threads.count()


def set_num_interop_threads(num: int) -> None:
    """Accepted, to no effect: operations never run beside one another."""


def get_num_interop_threads() -> int:
    """1: operations never run beside one another."""
    return 1


# ---- precision and determinism


class _Set:
    precision = "highest"
    warn_only = False


def set_float32_matmul_precision(precision: str) -> None:
    """How a GPU computes float32 matrix products; on the CPU always in float32.

    Args:
        precision: "highest": in float32; "high" or "medium": the factors rounded to TF32's 10 bits.

    Raises:
        RuntimeError: another word.
    """
    if precision not in ("highest", "high", "medium"):
        raise RuntimeError(
            f"Float32 matmul precision must be 'highest', 'high' or 'medium', got {precision!r}"
        )
    _Set.precision = precision
    switches.tf32 = precision != "highest"


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` was given last."""
    return _Set.precision


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Let operations give the same bits each time; on the CPU they always do.

    On a GPU, sums by index (the gradients of embedding and of indexing, `scatter_add`) are then
    added up in a fixed order, which takes a sort.
    """
    switches.deterministic, _Set.warn_only = bool(mode), bool(warn_only)


def are_deterministic_algorithms_enabled() -> bool:
    """What `use_deterministic_algorithms` was given last."""
    return switches.deterministic


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """Whether it was given `warn_only`."""
    return switches.deterministic and _Set.warn_only


def set_flush_denormal(mode: bool) -> bool:
    """False: it cannot be set."""
    return False


def unavailable(what: str, reason: str) -> Callable[..., Any]:
    """A function that raises NotImplementedError, saying why."""

    def refuse(*args: object, **kwargs: object) -> Any:
        raise NotImplementedError(f"{what} is not available in tinygrad_edu: {reason}")

    refuse.__name__ = refuse.__qualname__ = what.rpartition(".")[2]
    refuse.__doc__ = f"NotImplementedError: {reason}"
    return refuse


if not TYPE_CHECKING:  # a type checker is to miss what is not here
    __getattr__ = elsewhere(__name__, "compiler")
