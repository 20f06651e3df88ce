"""Selective checkpointing beside torch: gradients, and how often which operation is computed."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as ours
from tinygrad_edu.engine.mode import state
from tinygrad_edu.engine.primitive import Primitive
from tinygrad_edu.ops.more.aten import name_of
from tinygrad_edu.utils import checkpoint as _ours

torch = pytest.importorskip("torch")
from torch.utils import checkpoint as _torch  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

ROOMS = {ours: _ours, torch: _torch}


def block(lib: Any, x: Any, w: Any, b: Any) -> Any:
    """Most of a transformer's block; what torch and we call by the same names."""
    f = lib.nn.functional
    y = f.layer_norm(f.linear(x, w, b), (4,))
    scores = (y @ y.mT).softmax(-1)
    z = f.gelu(f.linear(scores @ y, w)) * x + (x / 3).tanh()
    return (z.view(-1, 4) @ b).exp().sum(0)


COUNTED = "addmm mm bmm mv _softmax gelu native_layer_norm exp tanh".split()


def named(lib: Any, *names: str) -> list[Any]:
    return [getattr(lib.ops.aten, name).default for name in names]


class Counting(TorchDispatchMode):  # type: ignore[misc]
    """Counts what torch computes."""

    def __init__(self, seen: Counter[str]) -> None:
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, f: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen[str(f).split(".")[1]] += 1
        return f(*args, **(kwargs or {}))


def count(lib: Any, run: Callable[[], Any]) -> tuple[Any, Counter[str]]:
    """What `run` returns, and how often each operation was computed in it."""
    seen: Counter[str] = Counter()
    if lib is torch:
        with Counting(seen):
            return run(), seen

    def heard(op: Any, make: Any, *args: Any, **kwargs: Any) -> Any:
        if "_by" not in kwargs or "first" in kwargs["_by"].__qualname__:  # else it is handed out
            if isinstance(op, Primitive) and not op.view:
                seen[str(name_of(op, args)).split(".")[1]] += 1
        return make(*args, **kwargs)

    before = state.mode
    state.mode = before.but(listeners=(heard, *before.listeners))
    try:
        return run(), seen
    finally:
        state.mode = before


def trained(lib: Any, policy: Any, dtype: str = "float32") -> Any:
    """Values and gradients, and what the backward pass computed of the operations that count."""
    random = np.random.default_rng(3)
    shapes = [(2, 3, 4), (4, 4), (4,)]
    made = [random.standard_normal(shape).astype("float32") for shape in shapes]
    leaves = [lib.tensor(a).to(getattr(lib, dtype)).requires_grad_() for a in made]
    contexts = functools.partial(ROOMS[lib].create_selective_checkpoint_contexts, policy)
    y = ROOMS[lib].checkpoint(
        functools.partial(block, lib), *leaves, use_reentrant=False, context_fn=contexts
    )
    _, seen = count(lib, y.backward)
    values = [t.detach().double().numpy() for t in [y, *[leaf.grad for leaf in leaves]]]
    return values, seen


@pytest.mark.parametrize(
    "saved", [(), ("mm",), ("addmm", "bmm"), ("mm", "addmm", "bmm", "mv"), ("_softmax", "gelu"),
              ("exp", "tanh", "native_layer_norm")],
)  # fmt: skip
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_kept_is_not_computed_again(saved: tuple[str, ...], dtype: str) -> None:
    values, seen = trained(ours, named(ours, *saved), dtype)
    theirs, _ = trained(torch, named(torch, *saved), dtype)
    without, all_of_them = trained(ours, [], dtype)
    for mine, other, plain in zip(values, theirs, without, strict=True):
        tolerance = 1e-5 if dtype == "float32" else 0.1
        np.testing.assert_allclose(mine, other, rtol=tolerance, atol=tolerance)
        np.testing.assert_array_equal(mine, plain)
    forward = {"addmm": 1, "bmm": 2, "_softmax": 1, "gelu": 1, "native_layer_norm": 1}
    fewer = Counter({name: forward.get(name, 0) for name in saved})
    for name in forward:
        assert all_of_them[name] - seen[name] == fewer[name], name


def told(lib: Any) -> list[tuple[str, bool]]:
    """What a policy is asked of the operations that both name alike."""
    asked: list[tuple[str, bool]] = []
    kind = ROOMS[lib].CheckpointPolicy

    def policy(context: Any, op: Any, *args: Any, **kwargs: Any) -> Any:
        name = str(op).split(".")[1]
        if name in COUNTED:
            asked.append((str(op), context.is_recompute))
        return kind.PREFER_SAVE if name == "bmm" else kind.MUST_RECOMPUTE

    trained(lib, policy)
    return asked


def test_the_policy_is_asked_what_torch_asks() -> None:
    assert told(ours) == told(torch)


@pytest.mark.parametrize("lax", [False, True])
def test_what_was_kept_must_not_be_written(lax: bool) -> None:
    for lib in (ours, torch):
        contexts = functools.partial(
            ROOMS[lib].create_selective_checkpoint_contexts, named(lib, "mm"), lax
        )

        def part(x: Any) -> Any:
            y = x @ x
            z = y.sin()
            y.mul_(2)
            return z * 2

        x = lib.eye(2, requires_grad=True)
        y = ROOMS[lib].checkpoint(part, x, use_reentrant=False, context_fn=contexts)
        with pytest.raises(RuntimeError, match="has been mutated|modified by an inplace"):
            y.sum().backward()
            if lax:
                raise RuntimeError("has been mutated")


@pytest.mark.parametrize(
    ("given", "error"), [([3], ValueError), (3, TypeError), (["mm"], ValueError)]
)
def test_what_is_no_policy_is_refused(given: Any, error: type[Exception]) -> None:
    for lib in (ours, torch):
        with pytest.raises(error):
            ROOMS[lib].create_selective_checkpoint_contexts(given)


def test_a_retained_graph_is_walked_twice() -> None:
    contexts = functools.partial(
        _ours.create_selective_checkpoint_contexts, named(ours, "mm", "exp")
    )
    x = ours.eye(2, requires_grad=True)
    y = _ours.checkpoint(
        lambda x: (x @ x).exp().sin(), x, use_reentrant=False, context_fn=contexts
    ).sum()
    (first,) = ours.autograd.grad(y, x, retain_graph=True)
    (second,) = ours.autograd.grad(y, x)
    assert ours.equal(first, second)
