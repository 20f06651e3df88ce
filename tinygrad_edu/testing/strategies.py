"""Hypothesis strategies for tensors: shapes, dtypes, values, memory layouts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from hypothesis.strategies import SearchStrategy

from tinygrad_edu import dtypes as types
from tinygrad_edu.dtypes import Array, dtype, is_floating
from tinygrad_edu.engine.record import wrap

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn

    from tinygrad_edu.tensor import Tensor


Shape = tuple[int, ...]

LAYOUTS = ("contiguous", "transposed", "stepped", "offset")
"""How the elements of a generated tensor lie in memory:

contiguous  row after row
transposed  the last two dimensions swapped in memory
stepped     every second element of a longer memory, in the last dimension
offset      behind other elements, as `x[1:]` has it
"""


def shapes(
    min_dims: int = 0, max_dims: int = 3, min_side: int = 1, max_side: int = 4
) -> SearchStrategy[Shape]:
    """Shapes: tuples of sizes.

    Args:
        min_dims, max_dims: how many dimensions; 0 gives `()`, the shape of a 0-d tensor.
        min_side, max_side: the size of each; with `min_side=0` empty tensors occur.

    >>> from tinygrad_edu.testing import shapes
    >>> from hypothesis import find
    >>> find(shapes(min_dims=2, min_side=0), lambda shape: True)
    (0, 0)
    """
    side = st.integers(min_side, max_side)
    return st.lists(side, min_size=min_dims, max_size=max_dims).map(lambda sides: tuple(sides))


@st.composite
def broadcastable_shapes(draw: DrawFn, shape: Shape, max_dims: int = 0) -> Shape:
    """Shapes that broadcast to `shape`: leading sizes left out, others replaced by 1.

    Args:
        max_dims: if more than `len(shape)`, leading ones may also be put in front.

    >>> from tinygrad_edu.testing import broadcastable_shapes
    >>> from hypothesis import find
    >>> find(broadcastable_shapes((4, 3)), lambda shape: shape[-1:] == (1,))
    (1,)
    """
    left_out = draw(st.integers(0, len(shape)))
    kept: list[int] = [draw(st.sampled_from([size, 1])) for size in shape[left_out:]]
    in_front = max_dims - len(kept) if left_out == 0 else 0
    ones: int = draw(st.integers(0, max(in_front, 0)))
    return (1,) * ones + tuple(kept)


@st.composite
def broadcasting(
    draw: DrawFn, operands: int = 2, result: SearchStrategy[Shape] | None = None
) -> tuple[Shape, ...]:
    """Tuples of shapes that broadcast together, in every direction: (3, 1) with (4,), () with (2,).

    Args:
        operands: how many shapes.
        result: the shapes they may broadcast to; `shapes()` unless given.

    >>> from tinygrad_edu.testing import broadcasting
    >>> from hypothesis import find
    >>> find(broadcasting(2), lambda pair: len(pair[0]) == 2 and len(pair[1]) == 1)
    ((1, 1), (1,))
    """
    shape = draw(shapes() if result is None else result)
    return tuple(draw(broadcastable_shapes(shape)) for _ in range(operands))


def dtypes(kinds: str | Sequence[str] = "float") -> SearchStrategy[dtype]:
    """Element types of these kinds.

    Args:
        kinds: one or more of "float" (float32, float64), "half" (float16), "int" (int8, int16,
            int32, int64), "uint" (uint8), "bool".

    >>> from tinygrad_edu.testing import dtypes
    >>> from hypothesis import find
    >>> find(dtypes(["int", "bool"]), lambda d: not d.is_signed)
    torch.bool
    """
    known = {
        "float": [types.float32, types.float64],
        "half": [types.float16],
        "int": [types.int64, types.int32, types.int16, types.int8],
        "uint": [types.uint8],
        "bool": [types.bool_],
    }
    wanted = [kinds] if isinstance(kinds, str) else list(kinds)
    for kind in wanted:
        if kind not in known:
            raise ValueError(f"dtypes: unknown kind {kind!r}; expected one of {list(known)}")
    return st.sampled_from([d for kind in wanted for d in known[kind]])


def floats(low: float = -3.0, high: float = 3.0) -> SearchStrategy[float]:
    """Finite floats of moderate size, with few digits, so that float32 holds them exactly.

    Args:
        low, high: the bounds, both included.

    >>> from tinygrad_edu.testing import floats
    >>> from hypothesis import find
    >>> find(floats(), lambda v: v > 1)
    1.0625
    """
    first, last = math.ceil(low * 16), math.floor(high * 16)
    return st.integers(first, last).map(lambda n: n / 16)


def away_from(
    *points: float, margin: float = 0.1, low: float = -3.0, high: float = 3.0
) -> SearchStrategy[float]:
    """Floats that keep a distance from points where a function has a kink or a pole.

    Args:
        points: where not to be, such as 0 for `abs` and `relu`.
        margin: the distance to keep; much more than the step of the finite differences.

    >>> from tinygrad_edu.testing import away_from
    >>> from hypothesis import find
    >>> find(away_from(0.0, margin=0.5), lambda v: v >= 0)
    0.5
    """
    return floats(low, high).filter(lambda v: all(abs(v - p) >= margin for p in points))


def positive(low: float = 0.25, high: float = 3.0) -> SearchStrategy[float]:
    """Positive floats that keep a distance from 0, for `log`, `sqrt`, `pow`.

    >>> from tinygrad_edu.testing import positive
    >>> from hypothesis import find
    >>> find(positive(), lambda v: True)
    0.25
    """
    return floats(low, high)


def layouts() -> SearchStrategy[str]:
    """One of `LAYOUTS`."""
    return st.sampled_from(LAYOUTS)


def _laid_out(array: Array, layout: str) -> Array:
    """The same values in another memory layout."""
    if layout == "transposed" and array.ndim >= 2:
        return np.ascontiguousarray(array.swapaxes(-1, -2)).swapaxes(-1, -2)
    if layout == "stepped" and array.ndim:
        return np.repeat(array, 2, -1)[..., ::2]
    if layout == "offset" and array.ndim:
        return np.concatenate([array[:1], array])[array[:1].shape[0] :]
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {LAYOUTS}, not {layout!r}")
    return array


def _drawn(draw: DrawFn, given: object) -> Any:
    return draw(given) if isinstance(given, SearchStrategy) else given


def _default_elements(kind: Any) -> SearchStrategy[Any]:
    if kind.kind == "b":
        return st.booleans()
    if is_floating(kind):
        return floats()
    return st.integers(0 if kind.kind == "u" else -9, 9)


def _finished(array: Array, kind: Any, layout: str, requires_grad: bool) -> Tensor:
    made = wrap(_laid_out(np.asarray(array).astype(kind), layout))
    return made.requires_grad_() if requires_grad else made


@st.composite
def tensors(
    draw: Any,
    shape: Shape | SearchStrategy[Shape] | None = None,
    dtype: dtype | SearchStrategy[dtype] = types.float32,
    elements: SearchStrategy[Any] | None = None,
    layout: str | SearchStrategy[str] | None = None,
    requires_grad: bool = False,
) -> Any:
    """Tensors.

    Args:
        shape: a shape or a strategy for shapes; `shapes()` unless given.
        dtype: an element type or a strategy for them.
        elements: a strategy for the values; `floats()`, small integers or bools unless given.
        layout: one of `LAYOUTS` or a strategy; any of them unless given.
        requires_grad: make leaves that require grad.

    >>> import tinygrad_edu as torch
    >>> from tinygrad_edu.testing import tensors, positive
    >>> from hypothesis import find
    >>> find(tensors(shape=(2,), elements=positive()), lambda x: x.sum() > 1).shape
    torch.Size([2])
    """
    sizes = draw(shapes()) if shape is None else _drawn(draw, shape)
    kind = _drawn(draw, dtype).numpy
    how = draw(layouts()) if layout is None else _drawn(draw, layout)
    values = _default_elements(kind) if elements is None else elements
    wide = kind if kind.kind in "biu" else np.dtype(np.float64)
    array = draw(arrays_of.arrays(wide, sizes, elements=values, fill=st.nothing()))
    return _finished(array, kind, how, requires_grad)


def like(x: Any, **options: Any) -> SearchStrategy[Any]:
    """Tensors of the shape, dtype and device of `x`, such as a gradient to start from.

    Args:
        options: passed to `tensors`.

    >>> import tinygrad_edu as torch
    >>> from tinygrad_edu.testing import like
    >>> from hypothesis import find
    >>> find(like(torch.ones(2, 3)), lambda g: True).shape
    torch.Size([2, 3])
    """
    made = tensors(shape=tuple(x.shape), dtype=types.from_numpy(x.array.dtype), **options)
    if not x.is_cuda:
        return made
    return made.map(lambda t: t.detach().to(x.device).requires_grad_(t.requires_grad))


@st.composite
def distinct(
    draw: DrawFn,
    shape: Shape | SearchStrategy[Shape] | None = None,
    dtype: dtype = types.float32,
    gap: float = 0.25,
    layout: str | SearchStrategy[str] | None = None,
    requires_grad: bool = False,
) -> Any:
    """Tensors in which no two elements are closer than `gap`: for max, sort, median, topk.

    >>> from tinygrad_edu.testing import distinct
    >>> from hypothesis import find
    >>> find(distinct(shape=(3,)), lambda x: x[0] > x[1]).numpy().tolist()
    [0.0, -0.25, 0.25]
    """
    sizes = draw(shapes()) if shape is None else _drawn(draw, shape)
    how = draw(layouts()) if layout is None else _drawn(draw, layout)
    order = draw(st.permutations(range(math.prod(sizes))))
    values = np.array(order, np.float64).reshape(sizes) * gap
    values -= gap * (math.prod(sizes) // 2)
    return _finished(values, dtype.numpy, how, requires_grad)


def masks(
    shape: Shape | SearchStrategy[Shape] | None = None,
    layout: str | SearchStrategy[str] | None = None,
) -> SearchStrategy[Any]:
    """Tensors of bools, all-true and all-false ones included.

    >>> from tinygrad_edu.testing import masks
    >>> from hypothesis import find
    >>> find(masks(shape=(2,)), lambda m: bool(m.all()))
    tensor([True, True])
    """
    return tensors(shape=shape, dtype=types.bool_, layout=layout)


def indices(
    size: int,
    shape: Shape | SearchStrategy[Shape] | None = None,
    negative: bool = False,
    layout: str | SearchStrategy[str] | None = None,
) -> SearchStrategy[Any]:
    """int64 tensors of positions in a dimension of that size, repeated ones included.

    Args:
        size: of the dimension, at least 1.
        negative: count from the end too.

    >>> from tinygrad_edu.testing import indices
    >>> from hypothesis import find
    >>> find(indices(3, shape=(2,)), lambda i: i[0] > i[1])
    tensor([1, 0])
    """
    if size < 1:
        raise ValueError(f"indices: there is no position in a dimension of size {size}")
    values = st.integers(-size if negative else 0, size - 1)
    return tensors(shape=shape, dtype=types.int64, elements=values, layout=layout)


@st.composite
def views(draw: DrawFn, shape: Shape, steps: int = 2) -> tuple[Callable[[Any], Any], str]:
    """Chains of operations that give a view of a tensor of that shape, as (function, text).

    The function works on anything indexed and transposed the way tensors are, torch's included;
    the text says what it does.  Every view has at least one element if the shape has.

    Args:
        steps: at most how many operations: slices with steps, picked rows, transposes.

    >>> import tinygrad_edu as torch
    >>> from tinygrad_edu.testing import views
    >>> from hypothesis import find
    >>> view, text = find(views((3, 4)), lambda pair: "transpose" in pair[1])
    >>> text, view(torch.zeros(3, 4)).shape
    ('.transpose(0, 0)', torch.Size([3, 4]))
    """
    sizes, chain, text = list(shape), [], ""
    for _ in range(draw(st.integers(0, steps))):
        if not sizes:
            break
        if draw(st.booleans()):
            a, b = (draw(st.integers(0, len(sizes) - 1)) for _ in range(2))
            sizes[a], sizes[b] = sizes[b], sizes[a]
            chain.append(_transpose(a, b))
            text += f".transpose({a}, {b})"
            continue
        dim = draw(st.integers(0, len(sizes) - 1))
        start = draw(st.integers(0, max(sizes[dim] - 1, 0)))
        if draw(st.booleans()) and sizes[dim]:
            picked: Any = start
            words = str(start)
            del sizes[dim]
        else:
            step = draw(st.integers(1, 2))
            picked, words = slice(start, None, step), f"{start}::{step}"
            sizes[dim] = len(range(sizes[dim])[picked])
        chain.append(_pick((slice(None),) * dim + (picked,)))
        text += "[" + ":, " * dim + words + "]"

    def view(x: Any) -> Any:
        for step in chain:
            x = step(x)
        return x

    return view, text


def _transpose(a: int, b: int) -> Callable[[Any], Any]:
    return lambda x: x.transpose(a, b)


def _pick(index: tuple[Any, ...]) -> Callable[[Any], Any]:
    return lambda x: x[index]
