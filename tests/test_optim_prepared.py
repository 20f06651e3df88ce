"""The prepared steps of compiled programs leave what the optimizer's own leave, bit for bit."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as torch
from tinygrad_edu.kernels.adam import WHOLE
from tinygrad_edu.kernels.axpby import SMALL
from tinygrad_edu.optim.more.prepared import PreparedStep, prepared

SHAPES = [(), (0,), (3,), (SMALL - 1,), (SMALL + 5,), (40, 70), (520, 505)]
assert 520 * 505 > WHOLE  # cut into blocks


def parameters(dtype: Any, turned: bool = False) -> list[Any]:
    rng = np.random.default_rng(0)
    made = [torch.tensor(rng.standard_normal(s).astype(dtype)) for s in SHAPES]
    made = [t.T if turned and t.ndim == 2 else t for t in made]
    return [torch.nn.Parameter(t) for t in made]


def draw_gradients(params: list[Any], call: int) -> None:
    rng = np.random.default_rng(call)
    for i, p in enumerate(params):
        g = torch.tensor(rng.standard_normal(p.shape).astype(p.array.dtype))
        if call == 2 and g.ndim == 2:
            g = torch.tensor(g.array.T.copy()).T
        p.grad = None if call == 3 and i % 2 else g


def left(params: list[Any], optimizer: Any) -> list[Any]:
    found = [(p.array.tobytes(), p.array.strides, p._version) for p in params]
    states = [{k: v.array.tobytes() for k, v in optimizer.state.get(p, {}).items()} for p in params]
    return [found, states]


def same_steps(
    make: Callable[[list[Any]], Any], dtype: Any = np.float32, turned: bool = False,
    between: Callable[[int, Any], None] = lambda call, optimizer: None, calls: int = 5,
) -> PreparedStep:  # fmt: skip
    """Steps of the optimizer, and prepared ones of its twin."""
    both = [parameters(dtype, turned) for _ in range(2)]
    optimizers = [make(params) for params in both]
    step = prepared(optimizers[1], type(optimizers[1]).step)
    for call in range(calls):
        for params, optimizer in zip(both, optimizers, strict=True):
            between(call, optimizer)
            draw_gradients(params, call)
        optimizers[0].step()
        step(optimizers[1])
        assert left(both[0], optimizers[0]) == left(both[1], optimizers[1]), call
    return step


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("kind", ["Adam", "AdamW"])
def test_arrays_of_all_sizes_and_kinds(kind: str, dtype: Any, turned: bool) -> None:
    step = same_steps(lambda p: getattr(torch.optim, kind)(p), dtype, turned)
    used = [row is not None for row in step.rows.values()]
    assert any(used) is (dtype is not np.float16)
    assert not any([row.x.ndim > 1 for row in step.rows.values() if row and turned])


@pytest.mark.parametrize(
    "options",
    [
        {"amsgrad": True}, {"maximize": True}, {"weight_decay": 0.1}, {"weight_decay": 0},
        {"lr": 1}, {"betas": (0.0, 0.9)}, {"betas": (0.9, 0.0)}, {"eps": 0}, {"lr": 0.0},
        {"lr": torch.tensor(0.01)}, {"decoupled_weight_decay": True, "weight_decay": 0.3},
    ],
)  # fmt: skip
def test_options(options: dict[str, Any]) -> None:
    same_steps(lambda p: torch.optim.Adam(p, **options))


def test_other_optimizers_are_not_concerned() -> None:
    class Own(torch.optim.AdamW):
        pass

    w = [torch.ones(2, requires_grad=True)]
    for optimizer in (Own(w), torch.optim.SGD(w, 0.1), torch.optim.NAdam(w)):
        step = type(optimizer).step
        assert prepared(optimizer, step) is step


def test_what_changes_between_steps_is_seen() -> None:
    """Rates, options, state and arrays that are exchanged, hooks, and groups that are added."""
    log: list[str] = []

    def between(call: int, optimizer: Any) -> None:
        group = optimizer.param_groups[0]
        p = group["params"][4]
        if call == 2:
            group["lr"] = 0.5
        elif call == 3:
            group["betas"], group["eps"] = (0.5, 0.6), np.float64(1e-3)
        elif call == 4:
            saved = copy.deepcopy(optimizer.state_dict())
            optimizer.load_state_dict(saved)
        elif call == 5:
            p.data = p.data * 2
        elif call == 6:
            optimizer.state[p]["exp_avg"] = torch.ones(p.shape)
            optimizer.state[group["params"][3]]["exp_avg_sq"] = torch.ones(SMALL - 1)
            del optimizer.state[group["params"][5]]
        elif call == 7:
            optimizer.register_step_post_hook(lambda o, a, k: log.append("stepped"))
        elif call == 8:
            optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(3))], "lr": 1.0})

    same_steps(lambda p: torch.optim.AdamW(p), between=between, calls=10)
    assert log == ["stepped"] * 6


def test_gradients_and_other_tensors_are_only_read() -> None:
    params = parameters(np.float32)
    optimizer = torch.optim.AdamW(params)
    step = prepared(optimizer, type(optimizer).step)
    for call in range(4):
        draw_gradients(params, call)
        before = [None if p.grad is None else p.grad.array.copy() for p in params]
        step(optimizer)
        for p, g in zip(params, before, strict=True):
            assert g is None or np.array_equal(p.grad.array, g)
