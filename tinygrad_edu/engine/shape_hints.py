"""What to do where shapes do not fit: a note for the error, made when it is raised.

The error's message stays torch's.  The note gives the shapes with their meaning and, where one
transpose, unsqueeze, squeeze or flatten would make them fit, says which.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

from tinygrad_edu.engine.graph import TensorBase

Shape = tuple[int, ...]


def add_hint(error: Exception, name: str, args: Sequence[Any]) -> None:
    """Add the note to an error of the operation `name`, called with `args`."""
    try:
        hint = _HINTS.get(name, _broadcast)(args)
    except (TypeError, ValueError, IndexError, AttributeError, ArithmeticError):
        return  # other arguments than shapes were wrong
    if hint is not None:
        error.add_note(hint)


def _shape(value: Any) -> Shape:
    return tuple(value.array.shape) if isinstance(value, TensorBase) else tuple(value.shape)


def _said(shape: Shape) -> str:
    return str(list(shape))


def _moves(shape: Shape, name: str) -> Iterator[tuple[str, Shape]]:
    """The shapes that one call makes of a shape, the likeliest first, and the calls."""
    n = len(shape)
    pairs = sorted(itertools.combinations(range(n), 2), reverse=True)
    for i, j in pairs:
        new = list(shape)
        new[i], new[j] = new[j], new[i]
        if new != list(shape):
            yield f"{name}.transpose({i}, {j})", tuple(new)
    for i in range(n + 1):
        yield f"{name}.unsqueeze({i})", (*shape[:i], 1, *shape[i:])
    for i in range(n):
        if shape[i] == 1:
            yield f"{name}.squeeze({i})", (*shape[:i], *shape[i + 1 :])
    if n > 2:
        yield f"{name}.flatten(1)", (shape[0], math.prod(shape[1:]))


def _first_that_fits(moves: Any, fits: Any) -> str:
    for call, new in moves:
        if fits(new):
            return f"; {call} of shape {_said(new)} would fit"
    return ""


def _product(a: Shape, b: Shape) -> bool:
    """Whether `a @ b` is possible."""
    if not a or not b or a[-1] != (b[-2] if len(b) > 1 else b[0]):
        return False
    return len(a) < 2 or len(b) < 2 or _together(a[:-2], b[:-2]) is not None


def _together(a: Shape, b: Shape) -> Shape | None:
    """The shape of two broadcast; None if they do not."""
    found = []
    for m, n in itertools.zip_longest(reversed(a), reversed(b), fillvalue=1):
        if m != n and 1 not in (m, n):
            return None
        found.append(max(m, n))
    return tuple(reversed(found))


def _matmul(args: Sequence[Any]) -> str | None:
    a, b = _shape(args[0]), _shape(args[1])
    if not a or not b or _product(a, b):
        return None
    columns, rows = a[-1], b[-2] if len(b) > 1 else b[0]
    hint = _first_that_fits(_moves(b, "b"), lambda new: len(new) == len(b) and _product(a, new))
    hint = hint or _first_that_fits(_moves(a, "a"), lambda new: _product(new, b))
    return (
        f"a @ b: a of shape {_said(a)} has {columns} columns, b of shape {_said(b)} has {rows} rows"
        f"{hint}"
    )


def _linear(args: Sequence[Any]) -> str | None:
    x, weight = _shape(args[0]), _shape(args[1])
    if not x or x[-1] == weight[-1]:
        return None
    hint = _first_that_fits(_moves(x, "x"), lambda new: new and new[-1] == weight[-1])
    return (
        f"x of shape {_said(x)} has {x[-1]} features in its last dimension; the layer takes"
        f" {weight[-1]} and gives {weight[0]}{hint}"
    )


def _broadcast(args: Sequence[Any]) -> str | None:
    two = [a for a in args if isinstance(a, TensorBase)]
    if len(two) != 2:
        return None
    a, b = _shape(two[0]), _shape(two[1])
    if _together(a, b) is not None:
        return None
    size = max(math.prod(a), math.prod(b))

    def fits(other: Shape, new: Shape) -> bool:
        both = _together(other, new)
        return both is not None and math.prod(both) <= size

    hint = _first_that_fits(_moves(b, "b"), lambda new: fits(a, new))
    hint = hint or _first_that_fits(_moves(a, "a"), lambda new: fits(b, new))
    return (
        f"a of shape {_said(a)} and b of shape {_said(b)}: from the last dimension on, sizes"
        f" must be equal, or one of them 1{hint}"
    )


def _cat(args: Sequence[Any]) -> str | None:
    shapes = [_shape(t) for t in args if isinstance(t, TensorBase)]
    dims = [a for a in args if isinstance(a, int) and not isinstance(a, bool)]
    dim = dims[0] % len(shapes[0]) if dims else 0

    def rest(shape: Shape) -> Shape:
        return (*shape[:dim], *shape[dim + 1 :])

    for i, shape in enumerate(shapes):
        if len(shape) != len(shapes[0]) or rest(shape) != rest(shapes[0]):
            hint = _first_that_fits(
                _moves(shape, f"tensors[{i}]"),
                lambda new: len(new) == len(shapes[0]) and rest(new) == rest(shapes[0]),
            )
            return (
                f"tensors[{i}] of shape {_said(shape)} beside tensors[0] of shape"
                f" {_said(shapes[0])}: all but dimension {dim} must be equal{hint}"
            )
    return None


def _view(args: Sequence[Any]) -> str | None:
    x, size = args[0], tuple(args[1])
    count, given = math.prod(_shape(x)), math.prod([n for n in size if n != -1])
    if count == given or (-1 in size and given and count % given == 0):
        return None if x.array.flags.c_contiguous else "x.reshape(...) copies where it must"
    hint = ""
    for i in range(len(size) if -1 not in size else 0):
        others = math.prod(size[:i] + size[i + 1 :])
        if others and count % others == 0:
            hint = f"; {(*size[:i], -1, *size[i + 1 :])} would fit: {count // others} there"
            break
    return f"x of shape {_said(_shape(x))} has {count} elements, {size} takes {given}{hint}"


def _cross_entropy(args: Sequence[Any]) -> str | None:
    x, t = _shape(args[0]), _shape(args[1])

    def fits(scores: Shape, target: Shape) -> bool:
        return len(scores) > 1 and (scores[0], *scores[2:]) == target

    if not x or x == t or fits(x, t):
        return None
    hint = _first_that_fits(_moves(t, "target"), lambda new: fits(x, new))
    hint = hint or _first_that_fits(_moves(x, "input"), lambda new: fits(new, t))
    classes = x[1] if len(x) > 1 else x[0]
    return (
        f"input of shape {_said(x)}: scores of (N, C, ...), C = {classes} classes in dimension 1;"
        f" target of shape {_said(t)}: one class for each of (N, ...){hint}"
    )


_HINTS = {
    "matmul": _matmul, "linear": _linear, "cat": _cat, "stack": _cat, "view": _view,
    "reshape_copy": _view, "cross_entropy": _cross_entropy,
}  # fmt: skip
