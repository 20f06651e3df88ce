"""GradScaler beside torch's: scales, skipped steps, refusals, states."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

import tinygrad_edu as ours

torch = pytest.importorskip("torch")

both = pytest.mark.parametrize("lib", [ours, torch], ids=["ours", "torch"])


def _scaled(lib: Any, **options: Any) -> Any:
    w = lib.ones(3, requires_grad=True)
    return w, lib.optim.SGD([w], lr=0.5), lib.amp.GradScaler("cpu", **options)


@both
def test_scaler_skips_a_step_with_inf_and_shrinks(lib: Any) -> None:
    w, optimizer, scaler = _scaled(lib, init_scale=8.0, growth_interval=2)
    history = []
    for bad in (None, float("inf"), None, None, float("nan"), None):
        optimizer.zero_grad()
        factor = lib.tensor([1.0, 2.0, 3.0 if bad is None else bad])
        scaler.scale((w * factor).sum()).backward()
        result = scaler.step(optimizer)
        scaler.update()
        history.append((w.tolist(), scaler.get_scale(), scaler._get_growth_tracker(), result))
    scales = [entry[1:3] for entry in history]
    assert scales == [(8.0, 1), (4.0, 0), (4.0, 1), (8.0, 0), (4.0, 0), (4.0, 1)]
    assert [entry[0][0] for entry in history] == [0.5, 0.5, 0.0, -0.5, -0.5, -1.0]
    scaler.update(64.0)
    assert scaler.get_scale() == 64
    scaler.update(lib.tensor(2.0))
    assert scaler.get_scale() == 2
    with pytest.raises(AssertionError, match="new_scale"):
        scaler.update(lib.ones(2))


@both
def test_scaler_refuses_calls_in_the_wrong_order(lib: Any) -> None:
    w, optimizer, scaler = _scaled(lib)
    for call in (scaler.unscale_, scaler.step):
        with pytest.raises(AssertionError, match="_scale is None"):
            call(optimizer)
    with pytest.raises(AssertionError, match="_scale is None"):
        scaler.update()
    scaled = scaler.scale(w.sum())
    with pytest.raises(AssertionError, match="No inf checks were recorded"):
        scaler.step(optimizer)  # no gradient yet
    scaler = lib.amp.GradScaler("cpu")
    scaled = scaler.scale(w.sum())
    with pytest.raises(AssertionError, match="prior to update"):
        scaler.update()
    scaled.backward()
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="already been called on this optimizer"):
        scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="Closure"):
        scaler.step(optimizer, closure=lambda: 0)
    with pytest.raises(AssertionError, match="pickled"):
        pickle.dumps(scaler)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="called since the last update"):
        scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="after step"):
        scaler.unscale_(optimizer)
    scaler.update()
    h = lib.ones(2).half().requires_grad_()
    optimizer = lib.optim.SGD([h], lr=0.5)
    scaler.scale(h.sum()).backward()
    with pytest.raises(ValueError, match="FP16 gradients"):
        scaler.unscale_(optimizer)
    with pytest.raises(AssertionError, match="growth"):
        lib.amp.GradScaler("cpu", growth_factor=1.0)
    with pytest.raises(AssertionError, match="backoff"):
        lib.amp.GradScaler("cpu", backoff_factor=1.0)


@both
def test_scaler_state_and_containers(lib: Any) -> None:
    w, optimizer, scaler = _scaled(lib, init_scale=4.0)
    one, (two, three) = scaler.scale([w.sum(), (w[:1].sum(), w)])
    assert one.item() == 12 and two.item() == 4 and three.tolist() == [4.0] * 3
    with pytest.raises(ValueError, match="iterable of Tensors"):
        scaler.scale(3)
    expected = {"scale": 4.0, "growth_factor": 2.0, "backoff_factor": 0.5,
                "growth_interval": 2000, "_growth_tracker": 0}  # fmt: skip
    assert scaler.state_dict() == expected
    other = lib.amp.GradScaler("cpu")
    other.load_state_dict(expected | {"_growth_tracker": 7})
    assert other.state_dict() == expected | {"_growth_tracker": 7}
    again = pickle.loads(pickle.dumps(other))
    assert again.state_dict() == other.state_dict()
    assert copy.deepcopy(other).get_scale() == 4
    with pytest.raises(RuntimeError, match="empty"):
        other.load_state_dict({})
    disabled = lib.amp.GradScaler("cpu", enabled=False)
    loss = w.sum()
    assert disabled.scale(loss) is loss and disabled.state_dict() == {}
    assert disabled.get_scale() == 1.0 and not disabled.is_enabled()
    loss.backward()
    disabled.unscale_(optimizer)
    disabled.step(optimizer)
    disabled.update()
    disabled.load_state_dict({})
    assert w.tolist() == [0.5] * 3


@both
def test_scaler_knows_its_optimizers_apart(lib: Any) -> None:
    """One optimizer's inf does not stop another's step, but the scale shrinks for both."""
    a, b = lib.ones(1, requires_grad=True), lib.ones(1, requires_grad=True)
    first, second = lib.optim.SGD([a], lr=0.5), lib.optim.SGD([b], lr=0.5)
    scaler = lib.amp.GradScaler("cpu", init_scale=2.0)
    scaler.scale(a.sum() * float("inf") + b.sum()).backward()
    scaler.step(first)
    scaler.step(second)
    scaler.update()
    assert (a.item(), b.item(), scaler.get_scale()) == (1.0, 0.5, 1.0)
