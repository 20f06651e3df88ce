"""What Adam keeps from step to step changes nothing: its steps are those of the base class's loop,
which looks everything up anew, bit for bit."""

from __future__ import annotations

import copy
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as torch
from tinygrad_edu.kernels.adam import WHOLE
from tinygrad_edu.kernels.axpby import SMALL
from tinygrad_edu.optim.optimizer import Optimizer

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


def step_of_the_base(optimizer: Any) -> None:
    """Nothing kept: every parameter by `_update`."""
    for group in optimizer.param_groups:
        with np.errstate(all="ignore"):
            for p in group["params"]:
                if p.grad is not None:
                    Optimizer._update_parameter(optimizer, p, group)


def left(params: list[Any], optimizer: Any) -> list[Any]:
    found = [(p.array.tobytes(), p.array.strides, p._version) for p in params]
    states = [{k: v.array.tobytes() for k, v in optimizer.state.get(p, {}).items()} for p in params]
    return [found, states]


def same_steps(
    make: Callable[[list[Any]], Any], dtype: Any = np.float32, turned: bool = False,
    between: Callable[[int, Any], None] = lambda call, optimizer: None, calls: int = 5,
) -> Any:  # fmt: skip
    """Steps of an optimizer, and of its twin that keeps nothing; returns the first."""
    both = [parameters(dtype, turned) for _ in range(2)]
    optimizers = [make(params) for params in both]
    for call in range(calls):
        for params, optimizer in zip(both, optimizers, strict=True):
            between(call, optimizer)
            draw_gradients(params, call)
        optimizers[0].step()
        step_of_the_base(optimizers[1])
        assert left(both[0], optimizers[0]) == left(both[1], optimizers[1]), call
    return optimizers[0]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("kind", ["Adam", "AdamW"])
def test_arrays_of_all_sizes_and_kinds(kind: str, dtype: Any, turned: bool) -> None:
    optimizer = same_steps(lambda p: getattr(torch.optim, kind)(p), dtype, turned)
    kept = [p.shape for p in optimizer._kept.rows]
    expected = [s for s in SHAPES if 0 not in s and not (turned and len(s) == 2)]
    assert kept == ([] if dtype is np.float16 else expected)


@pytest.mark.parametrize(
    "options",
    [
        {"amsgrad": True}, {"maximize": True}, {"weight_decay": 0.1}, {"weight_decay": 0},
        {"lr": 1}, {"betas": (0.0, 0.9)}, {"betas": (0.9, 0.0)}, {"eps": 0}, {"lr": 0.0},
        {"lr": torch.tensor(0.01)}, {"decoupled_weight_decay": True, "weight_decay": 0.3},
        {"amsgrad": True, "weight_decay": 0.1, "maximize": True},
    ],
)  # fmt: skip
def test_options(options: dict[str, Any]) -> None:
    optimizer = same_steps(lambda p: torch.optim.Adam(p, **options))
    assert bool(optimizer._kept.rows) is not isinstance(options.get("lr"), torch.Tensor)


def test_what_changes_between_steps_is_seen() -> None:
    """Rates, options, state and arrays that are exchanged, and groups that are added."""

    def between(call: int, optimizer: Any) -> None:
        group = optimizer.param_groups[0]
        p = group["params"][4]
        if call == 2:
            group["lr"] = 0.5
        elif call == 3:
            group["betas"], group["eps"] = (0.5, 0.6), 1e-3
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
            group["lr"] = 0.0  # the BLAS is not asked any more
        elif call == 8:
            group["lr"], group["weight_decay"], group["amsgrad"] = 0.1, 0, True
            for q, state in optimizer.state.items():
                state["max_exp_avg_sq"] = torch.zeros(q.shape)
        elif call == 9:
            group["amsgrad"], group["weight_decay"] = False, 0.1
            optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(3))], "lr": 1.0})
        elif call == 10:
            optimizer.param_groups[1]["params"][0].grad = torch.ones(3)
            group["decoupled_weight_decay"] = False

    same_steps(lambda p: torch.optim.AdamW(p), between=between, calls=12)


def test_groups_with_options_of_their_own() -> None:
    def make(params: list[Any]) -> Any:
        groups = [{"params": params[::2], "weight_decay": 0.0}, {"params": params[1::2]}]
        return torch.optim.AdamW(groups, lr=0.01)

    optimizer = same_steps(make)
    rows = {p: row for p, (_, row) in optimizer._kept.rows.items()}
    draw_gradients([*rows], 1)
    optimizer.step()  # the groups do not drive each other out
    assert all([optimizer._kept.rows[p][1] is row for p, row in rows.items()])


def test_gradients_are_only_read_and_not_kept() -> None:
    params = parameters(np.float32)
    optimizer = torch.optim.AdamW(params)
    for call in range(4):
        draw_gradients(params, call)
        before = [None if p.grad is None else p.grad.array.copy() for p in params]
        optimizer.step()
        for p, g in zip(params, before, strict=True):
            assert g is None or np.array_equal(p.grad.array, g)
    grads = [weakref.ref(p.grad.array) for p in params if p.grad is not None]
    assert grads
    optimizer.zero_grad()
    assert not any([array() is not None for array in grads])


def test_copies_and_threads_keep_their_own() -> None:
    w = torch.nn.Parameter(torch.ones(SMALL))
    optimizer = torch.optim.Adam([w], lr=0.1)
    for _ in range(3):
        w.grad = torch.ones(SMALL)
        optimizer.step()
    twin = copy.deepcopy(optimizer)
    assert twin._kept is not optimizer._kept and not twin._kept.rows
    pools = [optimizer._kept.pool]
    thread = threading.Thread(target=lambda: (optimizer.step(), pools.append(optimizer._kept.pool)))
    thread.start()
    thread.join()
    assert pools[1] and pools[0] is not pools[1]
    assert optimizer.state[w]["step"] == 4


def test_a_model_that_is_gone_is_not_kept_alive() -> None:
    w = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([w])
    for _ in range(3):
        w.grad = torch.ones(3)
        optimizer.step()
    gone = weakref.ref(w)
    del w, optimizer
    gc.collect()
    assert gone() is None
