"""Max pooling backwards, and over windows at random places; see ops/more/fractional.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinygrad_edu.engine.boundary import need_tensors
from tinygrad_edu.nn.functional.pooling import _in_float32, _named, _with_indices
from tinygrad_edu.ops.convolution import per_dim
from tinygrad_edu.ops.more import fractional
from tinygrad_edu.ops.sampling import rand
from tinygrad_edu.tensor import Tensor


def _max_unpool(n: int) -> Any:
    def max_unpool(
        input: Tensor,
        indices: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        output_size: Any = None,
    ) -> Tensor:
        return fractional.max_unpool(n, input, indices, kernel_size, stride, padding, output_size)

    return _named(
        max_unpool,
        f"max_unpool{n}d",
        f"Zeros with the elements of `input` at the `indices` that `max_pool{n}d` returned.",
    )


def _fractional_max_pool(n: int) -> Any:
    name = f"fractional_max_pool{n}d"

    def fractional_max_pool(
        input: Tensor,
        kernel_size: int | tuple[int, ...],
        output_size: Sequence[int] | None = None,
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
        need_tensors(name, input=input)
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


def _check_fractional(name: str, shape: tuple[int, ...], sizes: Any, kernel: Any, out: Any) -> None:
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


max_unpool1d, max_unpool2d, max_unpool3d = _in_float32(*map(_max_unpool, (1, 2, 3)))


fractional_max_pool2d, fractional_max_pool3d = _in_float32(
    _fractional_max_pool(2), _fractional_max_pool(3)
)


fractional_max_pool2d_with_indices, fractional_max_pool3d_with_indices = map(
    _with_indices, (fractional_max_pool2d, fractional_max_pool3d)
)
