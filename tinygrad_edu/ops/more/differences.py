"""Differences of neighbours, integrals by the trapezoidal rule, and slopes of sampled functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tinygrad_edu.backend import new_like
from tinygrad_edu.dtypes import default, from_numpy, is_floating
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.nodes import lasting
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.ops.arguments import (
    numpy_names,
    operand,
    raw,
)
from tinygrad_edu.ops.casting import clone
from tinygrad_edu.ops.indexing import _slice
from tinygrad_edu.ops.joining import _cat
from tinygrad_edu.ops.more.cumulative import _part, cumsum
from tinygrad_edu.ops.reduction import sum
from tinygrad_edu.out import takes_out
from tinygrad_edu.size import read_dim, read_dims

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


def _neighbours(x: Tensor, dim: int) -> tuple[Any, Any]:
    return _part(x, dim, slice(1, None)), _part(x, dim, slice(0, -1))


@numpy_names
def _diff_reads(
    input: Tensor, n: int = 1, dim: int = -1, prepend: object = None, append: object = None
) -> Any:
    """What `out` must not overlap in part: the last to be subtracted, if it is no copy."""
    if n == 0:
        return "same", [input]
    if n > 1 or prepend is not None or append is not None:
        return "any", []
    return "same", _neighbours(input, read_dim(dim, input.array.ndim))


@takes_out(
    dtype=lambda input, n=1, *_, **__: "any" if n else "same",
    overlap=_diff_reads,
)
@numpy_names
def diff(
    input: Tensor,
    n: int = 1,
    dim: int = -1,
    prepend: Tensor | None = None,
    append: Tensor | None = None,
) -> Tensor:
    """Differences of neighbours, `x[i+1] - x[i]` along `dim`, taken `n` times.

    Args:
        prepend, append: tensors to join to the front and the end first.

    >>> import tinygrad_edu as torch
    >>> torch.diff(torch.tensor([1, 4, 9]))
    tensor([3, 5])
    """
    ndim = operand("diff", input).ndim
    if not ndim:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    dim = read_dim(dim, ndim)
    if n == 0:
        return clone(input)
    parts: list[Any] = [part for part in (prepend, input, append) if part is not None]
    x: Tensor = _cat(parts, dim) if len(parts) > 1 else input
    for _ in range(n):
        later, earlier = _neighbours(x, dim)
        x = later ^ earlier if raw(x).dtype == bool else later - earlier
    return x


def _times(x: Any, factor: Any) -> Any:
    return x * factor if isinstance(factor, TensorBase) else lasting(x * factor)


def _over(x: Any, divisor: Any) -> Any:
    return x / divisor if isinstance(divisor, TensorBase) else lasting(x / divisor)


def _dimension(name: str, y: Any, x: Any, dim: int) -> int:
    """`dim` from the front; the errors of `trapezoid`."""
    shape = operand(name, y).shape
    if not shape:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    dim = read_dim(dim, len(shape))
    places = [x.array] if hasattr(x, "array") else []
    if any(a.dtype == bool for a in (y.array, *places)):
        which = "`x` or `y`" if places else "`y`"
        raise RuntimeError(f"{name}: received a bool input for {which}, but bool is not supported")
    if places and x.array.ndim == 1 and len(x.array) != shape[dim]:
        raise RuntimeError(f"{name}: There must be one `x` value for each sample point")
    return dim


def _widths(y: Any, x: Any, dim: int) -> Any:
    """The widths of the strips between the places `x`, in a shape that goes with that of `y`."""
    ndim = y.array.ndim
    if x.array.ndim == 1:
        return diff(x).reshape((-1, *(1,) * (ndim - dim - 1)))
    return diff(x, dim=dim - ndim)


def _sums(y: Any, dim: int) -> Any:
    """The sums of neighbours."""
    return _part(y, dim, slice(1, None)) + _part(y, dim, slice(0, -1))


@numpy_names
def trapezoid(y: Any, x: Any = None, *, dx: Any = 1, dim: int = -1) -> Tensor:
    """The integral of samples `y` along `dim` by the trapezoidal rule.

    Args:
        x: where the samples were taken; else they are `dx` apart.

    >>> import tinygrad_edu as torch
    >>> torch.trapezoid(torch.tensor([1.0, 2.0, 3.0]))
    tensor(4.)
    """
    shape = operand("trapezoid", y).shape
    if shape and not shape[read_dim(dim, len(shape))]:  # asked first of all, as in torch
        rest = list(shape)
        del rest[dim]
        return wrap(new_like(y.array, tuple(rest), 0))
    dim = _dimension("trapezoid", y, x, dim)
    result: Tensor
    if hasattr(x, "array"):
        result = _over(sum(_sums(y, dim) * _widths(y, x, dim), dim), 2)
        return result
    # In torch's order, which decides what becomes of infinities: all, less half of both ends.
    before = (slice(None),) * dim
    ends = _slice(y, (*before, 0)) + _slice(y, (*before, -1))
    result = _times(sum(y, dim) - _times(ends, 0.5), dx if x is None else x)
    return result


@numpy_names
def cumulative_trapezoid(y: Any, x: Any = None, *, dx: Any = 1, dim: int = -1) -> Tensor:
    """The running integral of `trapezoid`."""
    dim = _dimension("cumulative_trapezoid", y, x, dim)
    if hasattr(x, "array"):
        doubled: Any = cumsum(_sums(y, dim) * _widths(y, x, dim), dim)
        result: Tensor = _over(doubled, 2)
        return result
    return cumsum(_times(_over(_sums(y, dim), 2), dx if x is None else x), dim)


@numpy_names
def gradient(
    input: Tensor,
    *,
    spacing: Any = None,
    dim: int | Sequence[int] | None = None,
    edge_order: int = 1,
) -> tuple[Tensor, ...]:
    """The slope of samples along each dimension, by central differences.

    Args:
        spacing: the distance of neighbours, 1 if None: a number, one per dimension, or for each
            dimension a vector of places.
        dim: one dimension or several; all if None.
        edge_order: whether the slopes at both ends are of one difference (1) or of two (2).

    >>> import tinygrad_edu as torch
    >>> torch.gradient(torch.tensor([1.0, 4.0, 9.0]))
    (tensor([3., 4., 5.]),)
    """
    shape = operand("gradient", input).shape
    dims = range(len(shape)) if dim is None else read_dims(dim, len(shape))
    several = isinstance(spacing, (list, tuple))
    steps = list(spacing) if several else [1 if spacing is None else spacing] * len(dims)
    if len(steps) != len(dims):
        raise RuntimeError(
            "torch.gradient expected spacing to be unspecified, a scalar or a list of length equal"
            f" to 'self.dim() = {len(dims)}', since dim argument was not given, but got a list of"
            f" length {len(steps)}"
            if dim is None
            else "torch.gradient expected spacing to be unspecified, a scalar or it's spacing and"
            f" dim arguments to have the same length, but got a spacing argument of length"
            f" {len(steps)} and a dim argument of length {len(dims)}."
        )
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    if any([shape[d] <= edge_order for d in dims]):
        raise RuntimeError(
            "torch.gradient expected each dimension size to be at least edge_order+1"
        )
    x = input if is_floating(input.array.dtype) else input.to(from_numpy(default()))
    return tuple([_slope(x, h, d, edge_order) for h, d in zip(steps, dims, strict=True)])


def _slope(x: Any, h: Any, dim: int, edge_order: int) -> Tensor:
    """Differences of the neighbours on both sides; at the ends, of one side."""
    even = not (isinstance(h, TensorBase) and h.array.ndim)
    gaps: Any = None if even else diff(h).reshape((-1, *(1,) * (x.array.ndim - dim - 1)))

    def at(start: int | None, stop: int | None) -> Any:
        return _part(x, dim, slice(start, stop))

    if even:
        middle = _over(at(2, None) - at(None, -2), 2 * h)
    else:
        left, right = gaps[:-1], gaps[1:]
        middle = _weighted(at(None, -2), at(1, -1), at(2, None), left, right)
    near, far = (h, h) if even else (gaps[:1], gaps[1:2])
    first = _at_end(at(0, 1), at(1, 2), at(2, 3), near, far, edge_order)
    near, far = (h, h) if even else (gaps[-1:], gaps[-2:-1])
    last = -_at_end(at(-1, None), at(-2, -1), at(-3, -2), near, far, edge_order)
    joined: Tensor = _cat([first, middle, last], dim)
    return joined


def _weighted(a: Tensor, b: Tensor, c: object, left: Any, right: Any) -> Any:
    """The slope at b of the parabola through three samples, `left` and `right` apart."""
    both = left + right
    of_a, of_b, of_c = right / (left * both), (right - left) / (left * right), left / (right * both)
    return b * of_b - a * of_a + c * of_c


def _at_end(a: Tensor, b: Any, c: object, near: Any, far: Any, edge_order: int) -> Any:
    """The slope at the first of three samples: of two of them, or of the parabola through all."""
    if edge_order == 1:
        return _over(b - a, near)
    both = near + far
    ends = _times(a, (near + both) / (near * both)) + _times(c, near / (far * both))
    return _times(b, both / (near * far)) - ends
