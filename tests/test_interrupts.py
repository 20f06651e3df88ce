"""Ctrl-C, wherever it falls in a training step, leaves every mode as it was.

A trace function raises KeyboardInterrupt before the n-th bytecode that runs in the package.  The
suite tries a sample of the places; `pytest --sweep tests/test_interrupts.py` tries every one.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest
from interrupting import Interrupter, sweep

import tinygrad_edu as torch
from tinygrad_edu import nn
from tinygrad_edu.engine import mode
from tinygrad_edu.engine.graph import Leaf

_SAMPLE = 150

BLOCKS = {"__enter__", "__exit__"}
"""The methods in which a mode is set by one assignment.  An interrupt that falls into one of them,
before or behind that assignment, can leave the mode of this thread wrong: the block was entered and
will not be left, or the other way round.  `with` offers no better."""
RESTORING = {"_run", "unpacked", "__call__", "replay_recorded", "apply"}
"""Functions that put the mode back in a `finally`; before its only bytecodes Python itself never
looks for an interrupt, but this test raises one there too."""


torch.manual_seed(0)
MODEL = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.LayerNorm(4), nn.Linear(4, 2))
OPTIMIZER = torch.optim.AdamW(MODEL.parameters())
W = torch.ones(2, requires_grad=True)
X, Y = torch.randn(5, 3), torch.tensor([0, 1, 1, 0, 1])


def under_autocast() -> None:
    with torch.autocast("cpu"):
        loss = nn.functional.cross_entropy(MODEL(X), Y)
    loss.backward()


def under_no_grad() -> None:
    with torch.no_grad():
        MODEL(X)
        with torch.enable_grad():
            MODEL(X)
    with torch.inference_mode():
        MODEL(X)


def in_half() -> None:
    x = X.to(torch.float16).requires_grad_()
    (x * x).sum().backward()


def with_anomalies_detected() -> None:
    with torch.autograd.detect_anomaly():
        nn.functional.mse_loss(MODEL(X), torch.zeros(5, 2)).backward()


def keeping_on_cpu() -> None:
    with torch.autograd.graph.save_on_cpu():
        loss = nn.functional.cross_entropy(MODEL(X), Y)
    loss.backward()


def of_second_order() -> None:
    x = X.clone().requires_grad_()
    (g,) = torch.autograd.grad((x * x * x).sum(), x, create_graph=True)
    g.sum().backward()


def a_step() -> None:
    OPTIMIZER.zero_grad()
    nn.functional.cross_entropy(MODEL(X), Y).backward()
    nn.utils.clip_grad_norm_(MODEL.parameters(), 1.0)
    OPTIMIZER.step()


STEPS = [
    under_autocast, under_no_grad, in_half, with_anomalies_detected, keeping_on_cpu,
    of_second_order, a_step,
]  # fmt: skip


def _process() -> Any:
    return tuple(mode.listeners), tuple(mode.around), torch.get_default_dtype(), _others_may_add()


def _others_may_add() -> bool:
    """Whether another thread can add to gradients: nobody holds the lock for ever."""
    taken: list[bool] = []

    def take() -> None:
        taken.append(Leaf.lock.acquire(timeout=5))
        if taken[0]:
            Leaf.lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return taken[0]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_modes_survive_an_interrupt(step: Any, request: pytest.FixtureRequest) -> None:
    step()  # what is made once, is made
    process, plain, left = _process(), mode.state.mode, []
    for interrupter in sweep(request, step, _SAMPLE):
        if not interrupter.run(step):
            # Not reached; or NumPy asked for a text to put into an error that it then dropped.
            assert interrupter.seen < interrupter.at or interrupter.name == "__repr__"
            continue
        assert _process() == process, interrupter.where
        now = mode.state.mode
        if (now.recorder, now.maker, now.inference, now.listeners, now.around) != (
            plain.recorder, plain.maker, plain.inference, plain.listeners, plain.around,
        ):  # fmt: skip
            left.append(interrupter.name)
        mode.state.mode = plain
    assert set(left) <= BLOCKS | RESTORING
    step()


def test_an_interrupt_while_gradients_are_added_keeps_no_other_thread_waiting() -> None:
    def step() -> None:
        (torch.ones(2) * W).sum().backward()

    step()  # from here on there is a gradient to add to
    counted = Interrupter(0, function="accumulate")
    counted.run(step)
    assert counted.seen > 40
    for place in range(1, counted.seen + 1):
        assert Interrupter(place, function="accumulate").run(step)
        assert _others_may_add(), place


def test_entering_and_leaving_are_one_assignment_each() -> None:
    """The blocks in which a mode can be left wrong have one assignment of it in each method."""
    step, left = under_no_grad, 0
    parts = ("engine/switches.py", "engine/mode.py")
    counted = Interrupter(0, parts)
    counted.run(step)
    plain = mode.state.mode
    for place in range(1, counted.seen + 1):
        interrupter = Interrupter(place, parts)
        interrupter.run(step)
        left += mode.state.mode.recorder is not plain.recorder
        mode.state.mode = plain
    # three blocks, entered and left: a few bytecodes beside each of the six assignments
    assert left <= 6 * 12, left
