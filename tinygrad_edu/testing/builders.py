"""Strategies for modules, optimizers, index expressions and programs of views."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from tinygrad_edu import nn, optim
from tinygrad_edu.testing.strategies import Shape, views

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn


@st.composite
def modules(draw: DrawFn, features: int = 4, depth: int = 4) -> nn.Module:
    """Networks from (N, features) to (N, any), of linear layers, activations and norms.

    Args:
        depth: at most how many layers.

    They are in training mode and hold no batch norm or dropout, so that each row of the output
    depends on its row of the input alone, and two calls agree.

    >>> import tinygrad_edu as torch
    >>> from hypothesis import find
    >>> model = find(modules(3), lambda m: len(m) > 1)
    >>> model(torch.ones(2, 3)).shape[0]
    2
    """
    layers: list[nn.Module] = []
    for _ in range(draw(st.integers(1, depth))):
        kind = draw(st.sampled_from(["linear", "activation", "norm", "residual"]))
        if kind == "linear":
            wider = draw(st.integers(1, 6))
            layers.append(nn.Linear(features, wider, bias=draw(st.booleans())))
            features = wider
        elif kind == "activation":
            layers.append(draw(st.sampled_from(_ACTIVATIONS))())
        elif kind == "norm":
            layers.append(nn.LayerNorm(features))
        else:
            layers.append(Residual(nn.Sequential(nn.Linear(features, features), nn.Tanh())))
    return nn.Sequential(*layers)


_ACTIVATIONS: list[Callable[[], nn.Module]] = [nn.ReLU, nn.Tanh, nn.GELU, nn.Sigmoid, nn.SiLU]


class Residual(nn.Module):
    """`x + inner(x)`."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Any) -> Any:
        """(N, features) -> (N, features)."""
        return x + self.inner(x)


@st.composite
def optimizers(draw: DrawFn) -> Callable[[Any], optim.Optimizer]:
    """Functions that make an optimizer of parameters, with options that work.

    >>> from hypothesis import find
    >>> make = find(optimizers(), lambda make: True)
    >>> isinstance(make(nn.Linear(2, 2).parameters()), optim.Optimizer)
    True
    """
    rate = draw(st.sampled_from([1e-3, 1e-2, 0.1]))
    decay = draw(st.sampled_from([0.0, 0.1]))
    name = draw(st.sampled_from(["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"]))
    options: dict[str, Any] = {"lr": rate, "weight_decay": decay}
    if name == "SGD":
        options["momentum"] = draw(st.sampled_from([0.0, 0.9]))
        options["nesterov"] = options["momentum"] > 0 and draw(st.booleans())
    elif name in ("Adam", "AdamW"):
        options["amsgrad"] = draw(st.booleans())
    cls = getattr(optim, name)
    return lambda parameters: cls(parameters, **options)


@st.composite
def index_expressions(draw: DrawFn, shape: Shape) -> Any:
    """What may stand in the brackets of `x[...]`, for a tensor of that shape.

    Numbers, slices with steps, None, `...` and lists of positions, in tuples; all within bounds.

    >>> from hypothesis import find
    >>> find(index_expressions((3, 4)), lambda i: ... in i and None in i)
    (None, Ellipsis)
    """
    dims = draw(st.integers(0, len(shape)))
    parts: list[Any] = []
    listed = False
    for size in shape[:dims]:
        kinds = ["slice", *(["number"] if size else []), *(["list"] if size and not listed else [])]
        kind = draw(st.sampled_from(kinds))
        if kind == "number":
            parts.append(draw(st.integers(-size, size - 1)))
        elif kind == "slice":
            start, stop = draw(st.integers(0, size)), draw(st.integers(0, size))
            parts.append(slice(start, stop, draw(st.integers(1, 2))))
        else:
            listed = True
            parts.append(draw(st.lists(st.integers(-size, size - 1), min_size=1, max_size=4)))
    if draw(st.booleans()):
        parts.insert(draw(st.integers(0, len(parts))), None)
    if draw(st.booleans()):
        parts.append(...)
    return tuple(parts)


@st.composite
def view_programs(draw: DrawFn, shape: Shape, steps: int = 4) -> tuple[Callable[[Any], Any], str]:
    """Programs that take views of a tensor of that shape and write into them, as (function, text).

    The function copies its argument, takes views of the copy, multiplies some of them in place by
    a number or adds another, and returns the copy: what a framework must get right is that writes
    through views reach it, and its gradient.  It works on torch's tensors too.

    Args:
        steps: at most how many views are written.

    >>> import tinygrad_edu as torch
    >>> from hypothesis import find
    >>> program, text = find(view_programs((2, 2)), lambda p: "mul_" in p[1])
    >>> program(torch.ones(2, 2)).shape
    torch.Size([2, 2])
    """
    writes: list[tuple[Callable[[Any], Any], str, float]] = []
    lines = ["y = x.clone()"]
    for _ in range(draw(st.integers(1, steps))):
        view, text = draw(views(shape))
        method = draw(st.sampled_from(["mul_", "add_"]))
        number = draw(st.sampled_from([-1.0, 0.5, 2.0]))
        writes.append((view, method, number))
        lines.append(f"y{text}.{method}({number})" if text.startswith(("[", ".")) else text)

    def program(x: Any) -> Any:
        y = x.clone()
        for view, method, number in writes:
            getattr(view(y), method)(number)
        return y

    return program, "; ".join(lines)
