"""A slice of the fuzzers, always the same, and a check that they find what they are for."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

import fuzz_programs  # noqa: E402
import fuzz_training  # noqa: E402
from fuzz_programs import Scaled  # noqa: E402

import tinygrad_edu as ours  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


def silent(text: str) -> None:
    """Says nothing: what is found is in the assertion."""


def test_random_programs() -> None:
    counts, found = fuzz_programs.fuzz(seed=0, programs=150, say=silent)
    assert not found, "\n\n".join(fuzz_programs.runnable(lines, what) for what, lines in found)
    assert counts["programs"] == 150
    assert sum(n for what, n in counts.items() if what.startswith(("known", "not"))) < 40


def test_random_trainings() -> None:
    counts, found = fuzz_training.fuzz(seed=0, programs=25, say=silent)
    assert not found, found
    assert counts["not compared: rounding decides"] < 10


class Planted:
    """The library with a fault of its own in one function, for the fuzzers to find."""

    def __init__(self, name: str, faulty: Any) -> None:
        setattr(self, name, faulty)

    def __getattr__(self, name: str) -> Any:
        return getattr(ours, name)


class WrongTanh(ours.autograd.Function):
    """Its derivative is too large by a percent."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        y = ours.tanh(x)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (y,) = ctx.saved_tensors
        return g * (1 - y * y) * 1.01


FAULTS = {
    "first values": ("tanh", WrongTanh.apply),
    "values": ("exp", lambda x: x.exp() + 1e-3),
    "dtype": ("sqrt", lambda x: x.sqrt().double()),
    "shape": ("cos", lambda x: x.cos()[None]),
    "refused": ("atan", lambda x: x.atan() if x.ndim < 2 else ours.zeros(2) + ours.zeros(3)),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_planted_fault_is_found_and_made_small(kind: str) -> None:
    name, faulty = FAULTS[kind]
    library = Planted(name, faulty)
    counts, found = fuzz_programs.fuzz(7, 40, only=f"^{name}$", T=library, say=silent)
    kinds = [what.kind for what, _ in found]
    assert kind in kinds, kinds
    lines = found[kinds.index(kind)][1]
    assert sum(f"T.{name}(" in line for line in lines) == 1
    assert len(lines) <= 5, lines
    assert fuzz_programs.difference(lines, ours) is None


def test_a_program_found_runs_as_it_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    what = fuzz_programs.Difference("values", "x1.values: here 1, torch 2")
    exec(fuzz_programs.runnable(["x0 = T.tensor([1.5])", "x1 = x0 * 2"], what), {})
    assert capsys.readouterr().out == "tensor([3.])\ntensor([3.])\n"


def test_rounding_is_no_difference() -> None:
    """What a change in the last place changes much is not compared."""
    lines = ["x0 = T.tensor([0.1, 0.7], dtype=T.float64)", "x1 = T.sin(x0 * 1e12)"]
    counts: Any = fuzz_programs.Counter()
    assert fuzz_programs.difference(lines, Scaled(1), counts) is None
    assert counts["not compared: rounding decides"] == 1


def test_a_fault_in_training_is_found() -> None:
    """A linear layer whose loss is off, and an optimizer that forgets its state."""

    class Forgetful(ours.optim.Adam):
        def load_state_dict(self, state_dict: Any) -> None:
            super().load_state_dict({**state_dict, "state": {}})

    class Optimizers(Planted):
        def __getattr__(self, name: str) -> Any:
            return getattr(ours.optim, name)

    library = Planted("optim", Optimizers("Adam", Forgetful))
    plan = fuzz_training.Plan(3, "flat", (), optimizer="Adam(lr=0.01)")
    what = fuzz_training.difference(plan, library)
    assert what is not None and what[0] == "resumed"
    assert fuzz_training.difference(plan) is None
