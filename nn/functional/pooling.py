"""Pooling: the largest, the average or another norm of every window; see ops/pooling.py."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from tinygrad_edu.engine.composed import composed
from tinygrad_edu.names.missing import elsewhere
from tinygrad_edu.ops import pooling
from tinygrad_edu.ops.convolution import per_dim
from tinygrad_edu.out import takes_out
from tinygrad_edu.tensor import Tensor


def _max_pool(n: int) -> Any:
    def max_pool(
        input: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> Any:
        y, index = pooling.max_pool(n, input, kernel_size, stride, padding, dilation, ceil_mode)
        return (y, index) if return_indices else y

    return _named(
        max_pool,
        f"max_pool{n}d",
        f"""The largest element of every window of the last {n} dimensions.

    Args:
        input: (N, C, ...) or (C, ...) with {n} further dimensions.
        kernel_size: of the window; one number, or one per dimension.
        stride: from one window to the next; the kernel size if None.
        padding: on both sides, at most half the window; never the largest.
        dilation: from one element of the window to the next.
        ceil_mode: a last window may end outside.
        return_indices: return also the positions in the flattened input.

    Raises:
        RuntimeError: sizes do not fit.
    """,
    )


def _avg_pool(n: int) -> Any:
    def avg_pool(
        input: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Tensor:
        return pooling.avg_pool(
            n, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
        )

    return _named(
        avg_pool,
        f"avg_pool{n}d",
        f"""The average of every window of the last {n} dimensions.

    Args:
        input: (N, C, ...) or (C, ...) with {n} further dimensions.
        kernel_size, stride, padding, ceil_mode: as of `max_pool{n}d`; the padding is zeros.
        count_include_pad: whether padding counts in the average.
        divisor_override: divide by this instead.

    Raises:
        RuntimeError: sizes do not fit.
    """,
    )


def _check_rank(n: int, input: Tensor, output_size: Any) -> None:
    if n > 1 and isinstance(output_size, (tuple, list)) and input.ndim <= len(output_size):
        raise ValueError(f"Input dimension should be at least {len(output_size) + 1}")


def _adaptive_avg_pool(n: int) -> Any:
    def adaptive_avg_pool(input: Tensor, output_size: Any) -> Tensor:
        _check_rank(n, input, output_size)
        return pooling.adaptive_avg_pool(n, input, output_size)

    return _named(
        adaptive_avg_pool,
        f"adaptive_avg_pool{n}d",
        f"""Averages of windows such that the last {n} dimensions get the sizes `output_size`.

    Output i of m averages the inputs from floor(i n / m) to ceil((i + 1) n / m).  None keeps a
    size.
    """,
    )


def _adaptive_max_pool(n: int) -> Any:
    def adaptive_max_pool(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
        _check_rank(n, input, output_size)
        y, index = pooling.adaptive_max_pool(n, input, output_size)
        return (y, index) if return_indices else y

    return _named(
        adaptive_max_pool,
        f"adaptive_max_pool{n}d",
        f"The largest elements of the windows that `adaptive_avg_pool{n}d` averages.",
    )


def _lp_pool(n: int) -> Any:
    def lp_pool(
        input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None,
        ceil_mode: bool = False,
    ) -> Tensor:  # fmt: skip
        count = 1
        for size in per_dim(kernel_size, n, "kernel_size"):
            count *= size
        mean = pooling.avg_pool(
            n, input.pow(norm_type), kernel_size, stride, 0, ceil_mode, True, None
        )
        return (mean.sign() * mean.abs().relu() * count).pow(1 / norm_type)

    return _named(
        lp_pool,
        f"lp_pool{n}d",
        "`sum(x ** norm_type) ** (1 / norm_type)` over every window.",
    )


def _with_indices(pool: Any) -> Any:
    """The pooling that always returns the positions too."""

    @functools.wraps(pool)
    def with_indices(*args: Any, **kwargs: Any) -> Any:
        return pool(*args, **{**kwargs, "return_indices": True})

    return _named(
        with_indices, f"{pool.__name__}_with_indices", f"`{pool.__name__}` and positions."
    )


def _in_float32(*pools: Any) -> Any:
    """These functions, run in float32 on a CPU under autocast."""
    return map(composed(autocast={"cpu": "float32"}), pools)


def _named(function: Any, name: str, doc: str) -> Any:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


max_pool1d, max_pool2d = _max_pool(1), _max_pool(2)
avg_pool1d, avg_pool2d = _avg_pool(1), takes_out(_avg_pool(2))
lp_pool1d, lp_pool2d = _lp_pool(1), _lp_pool(2)
adaptive_avg_pool1d, adaptive_avg_pool2d = _adaptive_avg_pool(1), _adaptive_avg_pool(2)
adaptive_max_pool1d, adaptive_max_pool2d = _adaptive_max_pool(1), _adaptive_max_pool(2)
max_pool3d, avg_pool3d, lp_pool3d = _in_float32(_max_pool(3), _avg_pool(3), _lp_pool(3))
avg_pool3d = takes_out(avg_pool3d)
adaptive_avg_pool3d, adaptive_max_pool3d = _in_float32(_adaptive_avg_pool(3), _adaptive_max_pool(3))
max_pool1d_with_indices, max_pool2d_with_indices, max_pool3d_with_indices = map(
    _with_indices, (max_pool1d, max_pool2d, max_pool3d)
)
(
    adaptive_max_pool1d_with_indices, adaptive_max_pool2d_with_indices,
    adaptive_max_pool3d_with_indices,
) = map(_with_indices, (adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d))  # fmt: skip


if not TYPE_CHECKING:  # a type checker is to miss what is not here
    __getattr__ = elsewhere(__name__, "nn.functional.more.pooling")
