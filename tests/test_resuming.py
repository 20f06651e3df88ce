"""Training that goes on from a checkpoint, here or in the other library."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
from checkpoints import plain, saved, torch

import tinygrad_edu as ours


def training(library: Any, kind: str) -> tuple[Any, Any, Any]:
    library.manual_seed(3)
    model = library.nn.Sequential(
        library.nn.Linear(4, 5), library.nn.BatchNorm1d(5), library.nn.ReLU(),
        library.nn.Dropout(0.5), library.nn.Linear(5, 2),
    )  # fmt: skip
    options = {"momentum": 0.9} if kind == "SGD" else {}
    optimizer = getattr(library.optim, kind)(model.parameters(), lr=0.01, **options)
    cycle = kind not in ("Adagrad", "Adadelta")
    scheduler = library.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.1, total_steps=50, cycle_momentum=cycle
    )
    return model, optimizer, scheduler


def steps(library: Any, run: Any, count: int) -> list[float]:
    model, optimizer, scheduler = run
    losses = []
    for _ in range(count):
        optimizer.zero_grad()
        loss = (model(library.randn(8, 4)) ** 2).mean()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return losses


def checkpoint(library: Any, run: Any) -> dict[str, Any]:
    model, optimizer, scheduler = run
    return {
        "model": model.state_dict(), "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(), "random": library.get_rng_state(),
    }  # fmt: skip


def resume(library: Any, run: Any, state: dict[str, Any]) -> None:
    for part, name in zip(run, ("model", "optimizer", "scheduler"), strict=True):
        part.load_state_dict(state[name])
    library.set_rng_state(state["random"])


@pytest.mark.parametrize(
    "kind", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "NAdam", "Adadelta"]
)
def test_a_resumed_run_equals_one_never_interrupted(kind: str, tmp_path: pathlib.Path) -> None:
    whole = training(ours, kind)
    steps(ours, whole, 5)
    ours.save(checkpoint(ours, whole), tmp_path / "c.pt")
    losses = steps(ours, whole, 5)
    ours.manual_seed(99)
    again = training(ours, kind)
    resume(ours, again, ours.load(tmp_path / "c.pt"))
    assert steps(ours, again, 5) == losses
    assert plain(checkpoint(ours, again)) == plain(checkpoint(ours, whole))


@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
@pytest.mark.parametrize("first, second", [(torch, ours), (ours, torch)])
def test_a_run_goes_on_in_the_other_library(
    kind: str, first: Any, second: Any, tmp_path: pathlib.Path
) -> None:
    run = training(first, kind)
    steps(first, run, 5)
    first.save(checkpoint(first, run), tmp_path / "c.pt")
    other = training(second, kind)
    resume(second, other, second.load(tmp_path / "c.pt"))
    np.testing.assert_allclose(steps(second, other, 10), steps(first, run, 10), rtol=2e-4)


SCHEDULERS = {
    "StepLR": {"step_size": 2}, "MultiStepLR": {"milestones": [2, 4]}, "ConstantLR": {},
    "LinearLR": {}, "ExponentialLR": {"gamma": 0.9}, "CosineAnnealingLR": {"T_max": 9},
    "CosineAnnealingWarmRestarts": {"T_0": 3}, "PolynomialLR": {}, "LambdaLR": {
        "lr_lambda": lambda step: 0.9**step
    }, "MultiplicativeLR": {"lr_lambda": lambda step: 0.9},
    "CyclicLR": {"base_lr": 0.1, "max_lr": 0.3, "step_size_up": 3},
    "OneCycleLR": {"max_lr": 0.3, "total_steps": 20}, "ReduceLROnPlateau": {"patience": 1},
}  # fmt: skip


@pytest.mark.parametrize("kind", SCHEDULERS)
@pytest.mark.parametrize("first, second", [(ours, ours), (torch, ours), (ours, torch)])
def test_every_scheduler_goes_on(kind: str, first: Any, second: Any) -> None:
    def make(library: Any) -> tuple[Any, Any]:
        parameter = library.nn.Parameter(library.ones(2))
        optimizer = library.optim.SGD([parameter], lr=0.1, momentum=0.9)
        return optimizer, getattr(library.optim.lr_scheduler, kind)(optimizer, **SCHEDULERS[kind])

    def steps(optimizer: Any, scheduler: Any, count: int) -> list[float]:
        rates = []
        for _ in range(count):
            optimizer.step()
            scheduler.step(*[1.0] * (kind == "ReduceLROnPlateau"))
            rates.append(optimizer.param_groups[0]["lr"])
        return rates

    optimizer, scheduler = make(first)
    steps(optimizer, scheduler, 4)
    try:
        file = saved(first, [optimizer.state_dict(), scheduler.state_dict()])
        torch.load(file, weights_only=True)
        file.seek(0)
    except Exception as error:  # some states of torch's own its safe reader refuses
        assert first is torch, error
        pytest.skip(f"torch cannot read its own: {error}")
    other, following = make(second)
    states = second.load(file)
    other.load_state_dict(states[0])
    following.load_state_dict(states[1])
    found, expected = steps(other, following, 6), steps(optimizer, scheduler, 6)
    assert found == (expected if first is second else pytest.approx(expected, rel=1e-12))


def test_generator_state_of_its_own(tmp_path: pathlib.Path) -> None:
    generator = ours.Generator().manual_seed(5)
    ours.randn(7, generator=generator)
    ours.save({"generator": generator.get_state()}, tmp_path / "g.pt")
    expected = ours.randn(5, generator=generator)
    fresh = ours.Generator()
    fresh.set_state(ours.load(tmp_path / "g.pt")["generator"])
    assert ours.equal(ours.randn(5, generator=fresh), expected)
    theirs = torch.Generator()
    theirs.set_state(torch.load(tmp_path / "g.pt")["generator"])
    np.testing.assert_allclose(torch.randn(5, generator=theirs), expected.numpy(), rtol=1e-6)
