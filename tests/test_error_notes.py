"""Errors say in which module they arose and what would make shapes fit; messages stay torch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import tinygrad_edu as torch
from tinygrad_edu import nn
from tinygrad_edu.nn import functional as F


def notes(act: Callable[[], Any]) -> list[str]:
    with pytest.raises(Exception) as caught:
        act()
    return getattr(caught.value, "__notes__", [])


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(9, 2, bias=False))

    def forward(self, x: Any) -> Any:
        return self.net(x)


def test_the_module_is_named_by_its_path() -> None:
    model = Net()
    found = notes(lambda: model(torch.ones(2, 4)))
    assert found[-1] == "in model.net[2]: Linear(9, 2, bias=False)"
    assert len([note for note in found if note.startswith("in ")]) == 1


def test_also_with_hooks_and_as_an_attribute() -> None:
    class Owner:
        def __init__(self) -> None:
            self.model = Net()

        def run(self) -> Any:
            return self.model(torch.ones(2, 4))

    owner = Owner()
    owner.model.net[2].register_forward_hook(lambda *args: None)
    assert notes(owner.run)[-1].startswith("in self.model.net[2]: Linear(9, 2")


def test_one_without_a_name_and_an_error_of_the_users() -> None:
    assert notes(lambda: nn.Linear(4, 3)(torch.ones(2, 5)))[-1] == "in Linear(4, 3)"

    class Broken(nn.Module):
        def forward(self, x: Any) -> Any:
            raise KeyError("mine")

    broken = nn.Sequential(Broken())
    assert notes(lambda: broken(1)) == ["in broken[0]: Broken()"]


o = torch.ones
FITS: dict[str, tuple[Callable[[], Any], str]] = {
    "a @ b": (lambda: o(2, 3) @ o(2, 3), "b.transpose(0, 1) of shape [3, 2] would fit"),
    "left": (lambda: o(3, 2) @ o(3, 4), "a.transpose(0, 1) of shape [2, 3] would fit"),
    "linear": (lambda: nn.Linear(12, 3)(o(2, 3, 4)), "x.flatten(1) of shape [2, 12] would fit"),
    "+": (lambda: o(2, 3) + o(2), "b.unsqueeze(1) of shape [2, 1] would fit"),
    "+ transposed": (lambda: o(2, 3) + o(3, 2), "b.transpose(0, 1) of shape [2, 3] would fit"),
    "cat": (lambda: torch.cat([o(2, 3), o(3, 4)], 0), "tensors[1] of shape [3, 4]"),
    "cat, fits": (
        lambda: torch.cat([o(2, 3), o(3, 4)], 1), "all but dimension 1 must be equal"
    ),
    "view": (lambda: o(2, 3).view(2, 2), "(-1, 2) would fit"),
    "view of a transposed": (lambda: o(2, 3).t().view(-1), "reshape"),
    "cross_entropy": (
        lambda: F.cross_entropy(o(2, 5, 7), o(2, 5).long()),
        "input.transpose(1, 2) of shape [2, 7, 5] would fit",
    ),
    "cross_entropy, column": (
        lambda: F.cross_entropy(o(2, 5), o(2, 1).long()),
        "target.squeeze(1) of shape [2] would fit",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FITS)
def test_what_would_fit(name: str) -> None:
    act, hint = FITS[name]
    assert any(hint in note for note in notes(act)), notes(act)


def test_a_hint_that_says_so_does_fit() -> None:
    """Every call that a hint proposes is made, and works."""
    a, b, x = o(2, 3), o(2, 3), o(2, 3, 4)
    assert (a @ b.transpose(0, 1)).shape == (2, 2)
    assert nn.Linear(12, 3)(x.flatten(1)).shape == (2, 3)
    assert (a + o(2).unsqueeze(1)).shape == (2, 3)
    assert F.cross_entropy(o(2, 5, 7).transpose(1, 2), o(2, 5).long()).shape == ()


def test_no_hint_where_shapes_are_not_to_blame() -> None:
    assert notes(lambda: o(2, 3) + o(2, 3).view(-1, 3).sum("x")) == []
    assert notes(lambda: o(2, 3)[5]) == []


def test_anomaly_points_to_the_users_line_first() -> None:
    with torch.autograd.detect_anomaly():
        x = torch.zeros(1, requires_grad=True)
        y = torch.sqrt(x) * 0  # this line
        found = notes(lambda: y.backward())
    assert __file__ in found[0].splitlines()[0] and "# this line" in found[0].splitlines()[0]
