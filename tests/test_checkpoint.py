"""`utils.checkpoint` against torch's and against the same model without it."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
from beside_torch import same_error

import tinygrad_edu as ours
from tinygrad_edu.engine.graph import Node
from tinygrad_edu.testing import assert_close
from tinygrad_edu.utils.checkpoint import CheckpointError, checkpoint, checkpoint_sequential

torch = pytest.importorskip("torch")
pytest.importorskip("torch.utils.checkpoint")


def model(T: Any) -> Any:
    nn = T.nn
    return nn.Sequential(
        nn.Linear(5, 8), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(8, 8), nn.LayerNorm(8),
        nn.GELU(), nn.Dropout(0.2), nn.Linear(8, 3),
    )  # fmt: skip


def run(T: Any, through: Any) -> list[np.ndarray]:
    """Two steps, so that the random numbers after the first count too."""
    T.manual_seed(3)
    net = model(T)
    x = T.randn(4, 5, requires_grad=True)
    found = []
    for _ in range(2):
        y = through(net, x)
        (y**2).sum().backward()
        found += [y.detach().numpy().copy(), x.grad.numpy().copy(), T.rand(2).numpy()]
    return [*found, *[p.grad.numpy() for p in net.parameters()]]


def plainly(net: Any, x: Any) -> Any:
    return net(x)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("library", [ours, torch], ids=["ours", "torch"])
def test_same_as_without(library: Any, reentrant: bool) -> None:
    saving = library.utils.checkpoint.checkpoint
    expected = run(library, plainly)
    found = run(library, lambda net, x: saving(net, x, use_reentrant=reentrant))
    for a, b in zip(found, expected, strict=True):
        assert (a == b).all()


def test_same_as_torch() -> None:
    def through(T: Any) -> Any:
        saving = T.utils.checkpoint.checkpoint
        return lambda net, x: saving(net, x, use_reentrant=False)

    for a, b in zip(run(ours, through(ours)), run(torch, through(torch)), strict=True):
        assert_close(ours.from_numpy(a), b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("segments", [1, 2, 3])
def test_sequential(segments: int) -> None:
    def through(net: Any, x: Any) -> Any:
        return checkpoint_sequential(net, segments, x, use_reentrant=False)

    for a, b in zip(run(ours, through), run(ours, plainly), strict=True):
        assert (a == b).all()


def test_parameters_without_input_gradients_kwargs_and_structures() -> None:
    w = ours.tensor([2.0, 3.0], requires_grad=True)

    def part(x: Any, *, scale: float) -> Any:
        return {"y": (w * x * scale).exp(), "z": [w.sin()]}

    found = checkpoint(part, ours.ones(2), use_reentrant=False, scale=0.5)
    g = ours.autograd.grad((found["y"] * found["z"][0]).sum(), w, create_graph=True)[0]
    (second,) = ours.autograd.grad(g.sum(), w)
    plain = part(ours.ones(2), scale=0.5)
    h = ours.autograd.grad((plain["y"] * plain["z"][0]).sum(), w, create_graph=True)[0]
    assert (g == h).all() and (second == ours.autograd.grad(h.sum(), w)[0]).all()


def test_nothing_is_kept_and_the_function_runs_twice() -> None:
    calls = []
    arrays: list[Any] = []

    def part(x: Any) -> Any:
        calls.append(1)
        y = x.exp()
        arrays.append(weakref.ref(y.array))
        return y.sin()

    x = ours.ones(3, requires_grad=True)
    gc.disable()
    try:
        y = checkpoint(part, x, use_reentrant=False)
        assert arrays[0]() is None
        y.sum().backward()
        assert len(calls) == 2 and arrays[1]() is None
    finally:
        gc.enable()
    assert Node.__init__.__name__ == "__init__"


def test_nested() -> None:
    def inner(x: Any) -> Any:
        return ours.nn.functional.dropout(x.exp(), 0.5)

    def outer(x: Any) -> Any:
        return checkpoint(inner, x.sin(), use_reentrant=False).cos() * x

    results = []
    for saving in (False, True):
        ours.manual_seed(0)
        x = ours.linspace(0, 1, 6).requires_grad_()
        y = checkpoint(outer, x, use_reentrant=False) if saving else outer(x)
        y.sum().backward()
        results.append(x.grad)
    assert (results[0] == results[1]).all()


def test_retain_graph() -> None:
    x = ours.linspace(0, 1, 6).requires_grad_()
    y = checkpoint(lambda x: x.exp().sin(), x, use_reentrant=False).sum()
    y.backward(retain_graph=True)
    first = x.grad.clone()
    y.backward()
    assert (x.grad == 2 * first).all()
    with pytest.raises(RuntimeError, match="a second time"):
        y.backward()


def test_written_input_and_changed_function() -> None:
    def written(T: Any) -> None:
        x = T.ones(3, requires_grad=True) * 1
        y = T.utils.checkpoint.checkpoint(lambda x: x.exp().sin(), x, use_reentrant=False)
        x.mul_(2)
        y.sum().backward()

    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        written(ours)
    sizes = iter([3, 2])

    def changing(x: Any) -> Any:
        return x[: next(sizes)].exp()

    y = checkpoint(changing, ours.ones(4, requires_grad=True), use_reentrant=False)
    with pytest.raises(CheckpointError, match="different metadata"):
        y.sum().backward()
    shorter = iter([2, 1])

    def repeating(x: Any) -> Any:
        for _ in range(next(shorter)):
            x = x.exp()
        return x

    y = checkpoint(repeating, ours.ones(4, requires_grad=True), use_reentrant=False)
    with pytest.raises(CheckpointError, match="different number"):
        y.sum().backward()


def test_errors_of_the_function_pass() -> None:
    same_error(
        lambda T: T.utils.checkpoint.checkpoint(
            lambda x: x @ x, T.ones(2, 3, requires_grad=True), use_reentrant=False
        ),
        RuntimeError,
    )
    assert Node.__init__.__name__ == "__init__"
