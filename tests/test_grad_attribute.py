"""Reading `.grad` where no gradient will ever be: a warning, as in torch."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

import tinygrad_edu as ours

torch = pytest.importorskip("torch")


def leaf(T: Any) -> Any:
    return T.ones(3, requires_grad=True)


def retained(T: Any) -> Any:
    y = leaf(T) * 2
    y.retain_grad()
    return y


def after_backward(T: Any) -> Any:
    y = retained(T)
    y.sum().backward()
    return y


def assigned(T: Any) -> Any:
    y = leaf(T) * 2
    y.grad = T.ones(3)
    return y


def written(T: Any) -> Any:
    base = T.zeros(3)
    base.mul_(leaf(T))
    return base


def parameter_of(T: Any) -> Any:
    layer = T.nn.Linear(2, 2)
    layer.zero_grad()
    return layer.weight


def under_no_grad(T: Any) -> Any:
    y = leaf(T) * 2
    with T.no_grad():
        return y.view(3)


KINDS: dict[str, Callable[[Any], Any]] = {
    "leaf": leaf,
    "constant": lambda T: T.ones(3),
    "computed": lambda T: leaf(T) * 2,
    "computed twice": lambda T: (leaf(T) * 2).sum(),
    "computed from a constant": lambda T: T.ones(3) * 2,
    "view": lambda T: leaf(T)[:2],
    "detached": lambda T: (leaf(T) * 2).detach(),
    "detached view": lambda T: leaf(T).detach()[:2],
    "frozen": lambda T: leaf(T).requires_grad_(False),
    "written": written,
    "retained": retained,
    "retained, after backward": after_backward,
    "assigned": assigned,
    "parameter": parameter_of,
    "view under no_grad": under_no_grad,
    "one of several": lambda T: leaf(T).unbind()[0],
    "of a layer": lambda T: T.nn.Linear(2, 2)(T.ones(2)),
}


def said(T: Any, kind: str, read: Callable[[Any], Any]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read(KINDS[kind](T))
    for one in caught:
        assert one.category is UserWarning and one.filename == __file__
    return [str(one.message).partition(" (Triggered")[0] for one in caught]


def delete(y: Any) -> None:
    del y.grad


@pytest.mark.parametrize("read", [lambda y: y.grad, lambda y: hasattr(y, "grad"), delete],
                         ids=["y.grad", "hasattr", "del"])  # fmt: skip
@pytest.mark.parametrize("kind", KINDS)
def test_it_warns_where_torch_does(kind: str, read: Callable[[Any], Any]) -> None:
    assert said(ours, kind, read) == said(torch, kind, read)


def test_training_reads_no_such_gradient() -> None:
    """The library itself asks only leaves: pytest makes errors of all warnings."""
    model = ours.nn.Sequential(ours.nn.Linear(3, 3), ours.nn.BatchNorm1d(3), ours.nn.Dropout())
    ours.nn.utils.parametrizations.weight_norm(model[0])
    for kind in (ours.optim.SGD, ours.optim.AdamW):
        optimizer = kind(model.parameters(), lr=0.1)
        for to_none in (True, False):
            optimizer.zero_grad(set_to_none=to_none)
            model(ours.ones(4, 3)).sum().backward()
            ours.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    repr(model(ours.ones(4, 3)))
