"""Random compositions of operations: small programs in which values are used again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import strategies as st

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn


Shape = tuple[int, ...]

# Every step maps values of size up to 3 to values of size up to 3, so no program overflows; all
# are smooth, so finite differences hold everywhere.
_UNARY: dict[str, Callable[[Any], Any]] = {
    "{}.sin()": lambda x: x.sin(),
    "{}.cos()": lambda x: x.cos(),
    "{}.tanh()": lambda x: x.tanh(),
    "{}.sigmoid()": lambda x: x.sigmoid(),
    "({} * 0.25).exp()": lambda x: (x * 0.25).exp(),
    "({} * {} + 1).sqrt() * 0.75": lambda x: (x * x + 1).sqrt() * 0.75,
    "-{}": lambda x: -x,
}
_SHAPING: dict[str, Callable[[Any], Any]] = {
    "{}.mean(-1, keepdim=True)": lambda x: x.mean(-1, keepdim=True),
    "{}.transpose(0, -1)": lambda x: x.transpose(0, -1),
    "{}.reshape(-1)": lambda x: x.reshape(-1),
    "{}[0]": lambda x: x[0],
    "{}.mean()": lambda x: x.mean(),
}
_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "({} + {}) * 0.5": lambda a, b: (a + b) * 0.5,
    "({} - {}) * 0.5": lambda a, b: (a - b) * 0.5,
    "{} * {} * 0.25": lambda a, b: a * b * 0.25,
    "{} / ({} * {} + 1)": lambda a, b: a / (b * b + 1),
}


@dataclass
class Composition:
    """A program: calling it with tensors runs its steps and returns the last value.

    It runs on whatever has the methods of a tensor, so the same program can be given to torch.

    Attributes:
        inputs: the shapes of its inputs.
        shape: the shape of its result.
        steps: (function, which values it takes), in order; values are the inputs, then the results.
        text: the program as lines of code.
    """

    inputs: tuple[Shape, ...]
    shape: Shape
    steps: list[tuple[Callable[..., Any], tuple[int, ...]]] = field(repr=False)
    text: str

    def __call__(self, *tensors: Any) -> Any:
        values = list(tensors)
        for function, places in self.steps:
            values.append(function(*[values[i] for i in places]))
        return values[-1]


def _result_shape(text: str, shape: Shape) -> Shape | None:
    """The shape after a shaping step, None where it does not apply."""
    if text == "{}.mean()":
        return ()
    if not shape:
        return None
    if text == "{}.mean(-1, keepdim=True)":
        return (*shape[:-1], 1)
    if text == "{}.transpose(0, -1)":
        return (shape[-1], *shape[1:-1], shape[0]) if len(shape) > 1 else shape
    if text == "{}.reshape(-1)":
        return (int(np.prod(shape)),)
    return shape[1:]


def _fits(a: Shape, b: Shape) -> bool:
    return all(m == n or 1 in (m, n) for m, n in zip(a[::-1], b[::-1], strict=False))


@st.composite
def compositions(
    draw: DrawFn, inputs: Sequence[Shape] = ((3,), (2, 3)), min_steps: int = 1, max_steps: int = 6
) -> Composition:
    """Programs of smooth operations in which any earlier value may be used again.

    Args:
        inputs: the shapes of the inputs, with at least one element each.
        min_steps, max_steps: how many operations.

    >>> import tinygrad_edu as torch
    >>> from tinygrad_edu.testing import compositions
    >>> from hypothesis import find
    >>> program = find(compositions(inputs=[(2,)], min_steps=2), lambda p: True)
    >>> print(program.text)
    v1 = v0.sin()
    v2 = v0.sin()
    >>> program(torch.zeros(2))
    tensor([0., 0.])
    """
    known = [tuple(shape) for shape in inputs]
    steps: list[tuple[Callable[..., Any], tuple[int, ...]]] = []
    lines: list[str] = []
    for _ in range(draw(st.integers(min_steps, max_steps))):
        i = draw(st.integers(0, len(known) - 1))
        kind = draw(st.sampled_from(["unary", "binary", "shaping"]))
        places: tuple[int, ...] = (i,)
        shape = known[i]
        function: Callable[..., Any]
        if kind == "binary":
            j = draw(st.sampled_from([k for k, s in enumerate(known) if _fits(s, known[i])]))
            text = draw(st.sampled_from(sorted(_BINARY)))
            function, places = _BINARY[text], (i, j)
            shape = np.broadcast_shapes(known[i], known[j])
        elif kind == "shaping" and shape:
            text = draw(st.sampled_from(sorted(_SHAPING)))
            function = _SHAPING[text]
            shape = _result_shape(text, shape) or ()
        else:
            text = draw(st.sampled_from(list(_UNARY)))
            function = _UNARY[text]
        names = [f"v{k}" for k in places]
        names += names[-1:] * (text.count("{}") - len(names))
        lines.append(f"v{len(known)} = " + text.format(*names))
        steps.append((function, places))
        known.append(shape)
    return Composition(tuple(known[: len(inputs)]), known[-1], steps, "\n".join(lines))
