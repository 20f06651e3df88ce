"""Pooling: the largest, the average or another norm of every window; see ops/pooling.py."""

from __future__ import annotations

import functools
from typing import Any

from tinygrad_edu.engine.composed import composed
from tinygrad_edu.ops import fractional, pooling
from tinygrad_edu.ops.convolution import per_dim
from tinygrad_edu.ops.sampling import rand
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


def _max_unpool(n: int) -> Any:
    def max_unpool(
        input: Tensor,
        indices: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        output_size: Any = None,
    ) -> Tensor:
        return pooling.max_unpool(n, input, indices, kernel_size, stride, padding, output_size)

    return _named(
        max_unpool,
        f"max_unpool{n}d",
        f"Zeros with the elements of `input` at the `indices` that `max_pool{n}d` returned.",
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


def _fractional_max_pool(n: int) -> Any:
    name = f"fractional_max_pool{n}d"

    def fractional_max_pool(
        input: Tensor,
        kernel_size: Any,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> Any:
        if output_size is None and output_ratio is None:
            raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
        if input.ndim <= n:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [{-input.ndim},"
                f" {input.ndim - 1}], but got {-n - 1})"
            )
        x = input if input.ndim == n + 2 else input.unsqueeze(0)
        sizes = tuple(x.shape[2:])
        if output_size is None:
            ratios = output_ratio if isinstance(output_ratio, (tuple, list)) else [output_ratio] * n
            output_size = [int(size * r) for size, r in zip(sizes, ratios, strict=True)]
        kernel = per_dim(kernel_size, n, "kernel_size")
        out = per_dim(output_size, n, "output_size")
        _check_fractional(name, tuple(input.shape), sizes, kernel, out)
        if _random_samples is None:
            lead = x.shape[0], x.shape[1]
            _random_samples = rand(*lead, n, dtype=input.dtype, device=input.device)
        y, index = fractional.fractional_max_pool(x, kernel, out, _random_samples)
        if x is not input:
            y, index = y.squeeze(0), index.squeeze(0)
        return (y, index) if return_indices else y

    return _named(
        fractional_max_pool,
        name,
        f"""The largest element of windows that begin at random places.

    Args:
        input: (N, C, ...) or (C, ...) with {n} further dimensions.
        kernel_size: of the window; one number, or one per dimension.
        output_size: of the result; or
        output_ratio: what to multiply the sizes by, in (0, 1).
        return_indices: return also the positions in the flattened input.

    Raises:
        ValueError: neither size nor ratio is given.
        RuntimeError: sizes do not fit.

    Source: Graham, "Fractional Max-Pooling", 2014.
    """,
    )


def _check_fractional(name: str, shape: Any, sizes: Any, kernel: Any, out: Any) -> None:
    n = len(sizes)
    if len(shape) not in (n + 1, n + 2) or 0 in shape[-n - 1 :]:
        raise RuntimeError(
            f"{name}(): Expected input to have non-zero size for non-batch dimensions, but got"
            f"{list(shape)} with {len(shape)} dimensions"
        )
    for what, size, k, o in zip(("time", "height", "width")[-n:], sizes, kernel, out, strict=True):
        if o + k - 1 > size - (n == 3):
            raise RuntimeError(
                f"{name}(): pool {what} {k} too large relative to input {what} {size}"
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
avg_pool1d, avg_pool2d = _avg_pool(1), _avg_pool(2)
lp_pool1d, lp_pool2d = _lp_pool(1), _lp_pool(2)
max_unpool1d = _max_unpool(1)
adaptive_avg_pool1d, adaptive_avg_pool2d = _adaptive_avg_pool(1), _adaptive_avg_pool(2)
adaptive_max_pool1d, adaptive_max_pool2d = _adaptive_max_pool(1), _adaptive_max_pool(2)
max_pool3d, avg_pool3d, lp_pool3d = _in_float32(_max_pool(3), _avg_pool(3), _lp_pool(3))
adaptive_avg_pool3d, adaptive_max_pool3d = _in_float32(_adaptive_avg_pool(3), _adaptive_max_pool(3))
max_unpool2d, max_unpool3d = _in_float32(_max_unpool(2), _max_unpool(3))
fractional_max_pool2d, fractional_max_pool3d = _in_float32(
    _fractional_max_pool(2), _fractional_max_pool(3)
)
max_pool1d_with_indices, max_pool2d_with_indices, max_pool3d_with_indices = map(
    _with_indices, (max_pool1d, max_pool2d, max_pool3d)
)
(
    adaptive_max_pool1d_with_indices, adaptive_max_pool2d_with_indices,
    adaptive_max_pool3d_with_indices,
) = map(_with_indices, (adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d))  # fmt: skip
fractional_max_pool2d_with_indices, fractional_max_pool3d_with_indices = map(
    _with_indices, (fractional_max_pool2d, fractional_max_pool3d)
)
