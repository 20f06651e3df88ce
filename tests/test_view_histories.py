"""Where the history of a view begins: all views of views, in all modes; all changes of shape."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import Any

import pytest

import tinygrad_edu as ours

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")

VIEWS: dict[str, Callable[[Any], Any]] = {
    "as_strided": lambda x: x.as_strided(x.shape, x.stride()),
    "view": lambda x: x.view(-1) if x.is_contiguous() else x.view(x.shape),
    "view_as": lambda x: x.view_as(x),
    "transpose": lambda x: x.transpose(0, -1),
    "permute": lambda x: x.permute(*range(x.dim())[::-1]),
    "movedim": lambda x: x.movedim(0, -1),
    "expand": lambda x: x.expand(2, *x.shape),
    "unsqueeze": lambda x: x.unsqueeze(0),
    "squeeze": lambda x: x.squeeze(),
    "select": lambda x: x.select(0, 0),
    "[...]": lambda x: x[...],
    "[:, None]": lambda x: x[:, None],
    "narrow": lambda x: x.narrow(0, 0, 1),
    "unbind": lambda x: x.unbind()[0],
    "split": lambda x: x.split(1)[0],
    "unfold": lambda x: x.unfold(0, 1, 1),
    "diagonal": lambda x: x.diagonal(),
    "detach": lambda x: x.detach(),
}
MODES: dict[str, Callable[[Any], Any]] = {
    "recorded": lambda _: contextlib.nullcontext(),
    "no_grad": lambda library: library.no_grad(),
    "inference_mode": lambda library: library.inference_mode(),
}
CHANGES: dict[str, Callable[[Any], Any]] = {
    "t_": lambda x: x.t_(),
    "transpose_": lambda x: x.transpose_(0, -1),
    "swapaxes_": lambda x: x.swapaxes_(0, 1),
    "swapdims_": lambda x: x.swapdims_(-1, 0),
    "unsqueeze_": lambda x: x.unsqueeze_(0),
    "squeeze_": lambda x: x.squeeze_(),
    "squeeze_(0)": lambda x: x.squeeze_(0),
    "as_strided_": lambda x: x.as_strided_(x.shape[::-1], x.stride()[::-1]),
    "swapaxes_ twice": lambda x: x.swapaxes_(0, -1).swapaxes_(0, -1),
}
STARTS = ("leaf", "result", "a leaf that is a view")


def start(library: Any, kind: str, shape: tuple[int, ...] = (2, 2)) -> tuple[Any, Any]:
    """A leaf, and what views are made of."""
    count = 1
    for size in shape:
        count *= size
    values = library.tensor([float(i + 1) for i in range(count)])
    x = values.view(shape) if kind == "a leaf that is a view" else values.reshape(shape).clone()
    x.requires_grad_()
    return x, x * 1 if kind == "result" else x


def weighted(library: Any, y: Any) -> Any:
    return (y * (library.arange(y.numel()) % 7 - 2.5).reshape(y.shape)).sum()


def gradient(library: Any, y: Any, x: Any) -> Any:
    """What `x` gets from `y`: a list, None, or "refused"."""
    try:
        (g,) = library.autograd.grad(weighted(library, y), x, allow_unused=True, retain_graph=True)
    except RuntimeError:
        return "refused"
    return None if g is None else g.tolist()


def two_views(library: Any, kind: str, modes: tuple[str, str], views: tuple[str, str]) -> Any:
    x, base = start(library, kind)
    try:
        with MODES[modes[0]](library):
            first = VIEWS[views[0]](base)
        with MODES[modes[1]](library):
            second = VIEWS[views[1]](first)
        seen = [(t.requires_grad, t.is_leaf, t.grad_fn is None) for t in (first, second)]
    except (RuntimeError, IndexError):
        return "refused"
    return seen, gradient(library, second, x)


@pytest.mark.parametrize("kind", STARTS)
@pytest.mark.parametrize("modes", [*itertools.product(MODES, repeat=2)], ids=" then ".join)
def test_views_of_views(kind: str, modes: tuple[str, str]) -> None:
    for views in itertools.product(VIEWS, repeat=2):
        found, expected = (two_views(library, kind, modes, views) for library in (ours, torch))
        assert found == expected, views


def of_a_frozen_base(library: Any, views: tuple[str, str]) -> Any:
    x, base = start(library, "leaf")
    first = VIEWS[views[0]](base)
    x.requires_grad_(False)
    try:
        second = VIEWS[views[1]](first)
    except (RuntimeError, IndexError):
        return "refused"
    x.requires_grad_()
    return second.requires_grad, gradient(library, second, x)


def test_a_view_keeps_its_history_when_its_base_asks_for_no_gradient_any_more() -> None:
    for views in itertools.product(VIEWS, repeat=2):
        found, expected = (of_a_frozen_base(library, views) for library in (ours, torch))
        assert found == expected, views


def changed(library: Any, kind: str, shape: Any, view: str, change: str, whose: str) -> Any:
    """The gradients through a view and its base after one of them got another shape."""
    x, base = start(library, kind, shape)
    try:
        v = VIEWS[view](base)
        with library.no_grad():
            CHANGES[change](base if whose == "base" else v)
        return list(v.shape), gradient(library, v, x), gradient(library, base, x)
    except (RuntimeError, IndexError):
        return "refused", "refused", "refused"


@pytest.mark.parametrize("kind", STARTS)
@pytest.mark.parametrize("whose", ["base", "view"])
def test_a_change_of_shape_that_is_not_recorded(kind: str, whose: str) -> None:
    """Views find their places in the base as it lies now, and their gradients too."""
    compared = 0
    for shape, view, change in itertools.product([(2, 2), (2, 3), (1, 3)], VIEWS, CHANGES):
        case = shape, view, change, whose
        found = changed(ours, kind, *case)
        alike = "result" if kind == "result" else "leaf"  # torch loses a leaf that is a view
        expected = changed(torch, alike, *case)
        for mine, theirs in zip(found, expected, strict=True):
            if "refused" in (mine, theirs):
                continue  # by torch where the size changed, by us where no way leads back
            compared += 1
            assert without_ones(mine) == without_ones(theirs), case
    assert compared > 150


def without_ones(values: Any) -> Any:
    """The same without dimensions of size 1: torch's gradient has the shape that its leaf had."""
    if not isinstance(values, list):
        return values
    inner = [without_ones(v) for v in values]
    return inner[0] if len(inner) == 1 else inner


@pytest.mark.parametrize("mode", MODES)
def test_views_of_a_result_that_lies_in_memory_of_its_own(mode: str) -> None:
    for T in (ours, torch):
        x = T.ones(2, 3, 4, requires_grad=True)
        y = T.nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True)
        with MODES[mode](T):
            assert y.flatten().requires_grad and y.transpose(0, 1).requires_grad


@pytest.mark.parametrize("computed", [False, True])
def test_no_backward_pass_starts_at_a_view_made_under_no_grad(computed: bool) -> None:
    """It says that it requires grad, as torch's does, but nothing leads back from it."""
    for library in (ours, torch):
        x = library.ones(2, requires_grad=True)
        x = x * 2 if computed else x
        with library.no_grad():
            y = x.unsqueeze(0)
        start = library.ones(1, 2)
        for walk in (
            lambda y=y, start=start: y.backward(start),
            lambda y=y, start=start, library=library: library.autograd.grad(y, y, start),
            lambda y=y, x=x, start=start, library=library: library.autograd.grad(
                y, x, start, allow_unused=True
            ),
        ):
            assert y.requires_grad
            with pytest.raises(RuntimeError, match="element 0 of tensors does not require grad"):
                walk()
        assert library.autograd.grad((y * 2).sum(), x, allow_unused=True) == (None,)
