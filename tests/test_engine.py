"""What the engine promises: the walk, the life of the graph, backward and grad."""

from __future__ import annotations

import gc
import math
import sys
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as torch
from tinygrad_edu.engine import walk as engine
from tinygrad_edu.engine.primitive import primitive


def leaf(*values: float, dtype: Any = torch.float64) -> Any:
    return torch.tensor(list(values), dtype=dtype, requires_grad=True)


# ---- the walk


@pytest.mark.parametrize("n", [100_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_many_operations_in_a_row(n: int) -> None:
    """No recursion: neither in the walk nor in letting the graph go."""
    x = leaf(1.0)
    y = x
    for _ in range(n):
        y = y + 0.0
    y.sum().backward()
    assert x.grad.item() == 1.0
    del y


def test_the_walk_takes_a_number_of_calls_in_proportion_to_the_nodes() -> None:
    """Eight times the length costs eight times the calls, not 64 times."""

    def calls(n: int) -> int:
        count = 0

        def note(*event: Any) -> None:
            nonlocal count
            count += 1

        y = x = leaf(1.0)
        for _ in range(n):
            y = y * 1.0
        total = y.sum()
        sys.setprofile(note)
        try:
            total.backward()
        finally:
            sys.setprofile(None)
        assert x.grad is not None
        return count

    assert calls(800) < 9 * calls(100)


def test_only_rules_that_lead_to_a_target_are_asked() -> None:
    """Of a product with its weights, `grad` for the input alone does not compute theirs."""
    asked: list[str] = []

    def rule(name: str, g: Any, other: Any) -> Any:
        asked.append(name)
        return g * other

    @primitive
    def product(a, b):  # type: ignore[no-untyped-def]
        return a * b

    product.vjp(a=lambda g, b: rule("a", g, b), b=lambda g, a: rule("b", g, a))
    for create in (False, True):
        a, b = leaf(2.0), leaf(3.0)
        y = product(a, b)
        (found,) = torch.autograd.grad(y, a, retain_graph=True, create_graph=create)
        assert found.item() == 3.0 and asked == ["a"]
        y.backward()
        assert asked == ["a", "a", "b"] and b.grad.item() == 2.0
        asked.clear()


def test_a_diamond_chain_takes_one_step_per_node() -> None:
    """x = x + x, 60 deep, has 2^60 paths and 60 nodes."""
    calls = 0

    @primitive
    def twice(a: Any, b: Any) -> Any:
        return a + b

    def rule(g: Any) -> Any:
        nonlocal calls
        calls += 1
        return g

    twice.vjp(a=rule, b=lambda g: g)
    x = leaf(1.0)
    y = x
    for _ in range(60):
        y = twice(y, y)
    y.backward()
    assert calls == 60 and x.grad.item() == 2.0**60


def test_a_node_waits_for_all_its_users() -> None:
    """Depth-first order would hand on a's gradient before b's share of it has come."""
    a = leaf(3.0)
    h = a * 1
    b = h * 2
    c = h * b
    c.backward()
    assert a.grad.item() == 12.0


def test_wide_fan_out() -> None:
    x = leaf(1.0, 2.0)
    total = sum((x * i for i in range(500)), torch.zeros(2, dtype=torch.float64))
    total.sum().backward()
    assert x.grad.tolist() == [124750.0, 124750.0]


# ---- the life of the graph


@pytest.fixture
def no_collector() -> Iterator[None]:
    """The cycle collector is off: what dies, dies by reference count."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("how", ["forward only", "backward", "retained", "create_graph", "hooks"])
def test_the_graph_dies_by_reference_count(how: str) -> None:
    w = leaf(*range(1, 5))
    x = torch.ones(3, 4, dtype=torch.float64)
    watched: list[weakref.ref[Any]] = []
    h = (x * w).exp()
    y = torch.cat([h, h.sin()]).softmax(-1)
    view = y[0]
    loss = (view * view).sum()
    for t in (h, y, view, loss):
        watched += [weakref.ref(t), weakref.ref(t.grad_fn)]
    watched.append(weakref.ref(h.array))
    if how == "hooks":
        h.register_hook(lambda g: g * 2)
        y.retain_grad()
    if how == "create_graph":
        (g,) = torch.autograd.grad(loss, w, create_graph=True)
        watched += [weakref.ref(g), weakref.ref(g.grad_fn)]
        g.sum().backward()
        del g
    elif how != "forward only":
        loss.backward(retain_graph=how == "retained")
    del h, y, view, loss, t
    assert [ref() for ref in watched if ref() is not None] == []


@pytest.mark.usefixtures("no_collector")
def test_in_place_histories_die_too() -> None:
    w = leaf(1.0, 2.0, 3.0)
    y = w * 2
    row = y[0]
    row.mul_(3)
    y.add_(1)
    refs = [weakref.ref(y), weakref.ref(row), weakref.ref(y.grad_fn)]
    y.sum().backward()
    assert w.grad.tolist() == [6.0, 2.0, 2.0]
    del y, row
    assert all(ref() is None for ref in refs)


@pytest.mark.usefixtures("no_collector")
def test_backward_frees_what_the_nodes_keep() -> None:
    w = leaf(1.0, 2.0)
    h = w.exp()
    kept = weakref.ref(h.array)
    loss = (h * h).sum()
    del h
    assert kept() is not None  # the product needs it
    loss.backward()
    assert kept() is None  # though the loss is still there


def test_only_what_live_rules_name_is_kept() -> None:
    w, x = leaf(1.0, 2.0), torch.tensor([3.0, 4.0], dtype=torch.float64)
    y = x * w
    kept = [k for k in y.grad_fn.kept if isinstance(k, np.ndarray)]
    assert len(kept) == 1 and kept[0] is x.array  # w itself is needed by x's rule only
    y = w.exp()
    assert [k is y.array for k in y.grad_fn.kept] == [True]  # the output, not the input
    assert (w + x).grad_fn.kept == ()
    assert w.sum().grad_fn.kept in ((), ((2,),)) or all(
        not isinstance(k, np.ndarray) for k in w.sum().grad_fn.kept
    )
    assert (x * x).grad_fn is None


# ---- backward and grad


def test_a_second_backward_says_what_to_do() -> None:
    w = leaf(1.0, 2.0)
    loss = (w * w).sum()
    loss.backward()
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        loss.backward()
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        torch.autograd.grad(loss, w)


def test_retain_graph() -> None:
    w = leaf(1.0, 2.0)
    loss = (w * w).sum()
    loss.backward(retain_graph=True)
    loss.backward()
    assert w.grad.tolist() == [4.0, 8.0]


def test_create_graph_to_the_fourth_derivative() -> None:
    x = leaf(0.7)
    y = x.sin()
    for expected in (np.cos(0.7), -np.sin(0.7), -np.cos(0.7), np.sin(0.7)):
        (y,) = torch.autograd.grad(y, x, create_graph=True)
        assert y.item() == pytest.approx(expected, rel=1e-12)
    assert x.grad is None


def test_backward_with_create_graph() -> None:
    x = leaf(3.0)
    (x**3).backward(create_graph=True)
    assert x.grad.requires_grad
    first = x.grad
    x.grad = None
    first.backward()
    assert x.grad.item() == 18.0


def test_gradients_that_need_no_gradient_have_no_graph() -> None:
    x = leaf(3.0)
    (g,) = torch.autograd.grad(x * x, x)
    assert not g.requires_grad and g.is_leaf


def test_unused_inputs() -> None:
    x, y = leaf(1.0), leaf(2.0)
    with pytest.raises(RuntimeError, match="appears to not have been used in the graph"):
        torch.autograd.grad(x * 2, [x, y])
    g = torch.autograd.grad(x * 2, [x, y], allow_unused=True)
    assert g[0].item() == 2.0 and g[1] is None
    g = torch.autograd.grad(x * 2, [x, y], materialize_grads=True)
    assert g[1].tolist() == [0.0]
    with pytest.raises(ValueError, match="allow_unused"):
        torch.autograd.grad(x * 2, x, allow_unused=False, materialize_grads=True)


def test_grad_of_inputs_that_are_no_leaves() -> None:
    x = leaf(1.0, 2.0)
    h = x * 3
    y = (h * h).sum()
    gh, gx = torch.autograd.grad(y, [h, x])
    assert gh.tolist() == [6.0, 12.0] and gx.tolist() == [18.0, 36.0]
    assert x.grad is None and h._grad is None
    (same,) = torch.autograd.grad(h, h, torch.ones(2, dtype=torch.float64))
    assert same.tolist() == [1.0, 1.0]


def test_several_outputs() -> None:
    x = leaf(1.0, 2.0)
    u = torch.tensor([1.0, 10.0], dtype=torch.float64)
    (g,) = torch.autograd.grad([x * 2, (x * x).sum()], x, [u, None])
    assert g.tolist() == [4.0, 24.0]
    torch.autograd.backward([x.sum(), x.sum()])
    assert x.grad.tolist() == [2.0, 2.0]


def test_backward_into_some_inputs_only() -> None:
    x, y = leaf(1.0), leaf(2.0)
    h = x * y
    (h * 3).backward(inputs=[x])
    assert x.grad.item() == 6.0 and y.grad is None
    h = x * y
    (h * h).backward(inputs=[h, y])
    assert h.grad.item() == 4.0 and y.grad.item() == 4.0 and x.grad.item() == 6.0
    with pytest.raises(RuntimeError, match="cannot be empty"):
        (x * 2).backward(inputs=[])


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda x: (x * 2).backward(), RuntimeError, "only for scalar outputs"),
        (lambda x: x.detach().sum().backward(), RuntimeError, "does not require grad"),
        (lambda x: (x * 2).backward(torch.ones(3)), RuntimeError, "Mismatch in shape"),
        (lambda x: (x * 2).backward(1.0), TypeError, "Tensor"),
        (lambda x: torch.autograd.grad(x.sum(), x.detach()), RuntimeError, "require grad"),
        (lambda x: torch.autograd.grad(x.sum(), 3), TypeError, "int"),
    ],
)
def test_what_cannot_be_differentiated(call: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call(leaf(1.0, 2.0))


def test_the_start_gradient_is_not_written_to() -> None:
    x = leaf(1.0, 2.0)
    u = torch.tensor([1.0, 2.0], dtype=torch.float64)
    (x + x).backward(u)
    x.grad.add_(100)
    assert u.tolist() == [1.0, 2.0]


def test_gradients_do_not_share_memory() -> None:
    """`a + b` hands one array to both; adding to one .grad must not change the other."""
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    (a + b).sum().backward()
    a.grad.mul_(5)
    assert b.grad.tolist() == [1.0, 1.0]
    (a + b).sum().backward()
    assert a.grad.tolist() == [6.0, 6.0] and b.grad.tolist() == [2.0, 2.0]


def test_grad_is_accumulated_in_place() -> None:
    x = leaf(1.0)
    (x * 2).backward()
    first = x.grad
    (x * 3).backward()
    assert x.grad is first and first.item() == 5.0


def test_grad_can_be_assigned() -> None:
    x = leaf(1.0, 2.0)
    x.grad = torch.ones(2, dtype=torch.float64)
    for bad in (torch.ones(3, dtype=torch.float64), torch.ones(2), x):
        with pytest.raises(RuntimeError):
            x.grad = bad
    with pytest.raises(TypeError):
        x.grad = 1.0
    x.grad = None


def test_mixed_dtypes_get_gradients_of_their_own() -> None:
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0, dtype=torch.float32)
    (a * b).sum().backward()
    assert a.grad.dtype == torch.float64 and b.grad.dtype == torch.float32


# ---- values written after they were kept


def test_writing_what_a_rule_needs_is_noticed() -> None:
    w = leaf(1.0, 2.0)
    h = w * 3
    y = h * h
    h.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_writing_through_a_view_or_a_detached_twin_is_noticed() -> None:
    for way in (lambda h: h[0], lambda h: h.detach(), lambda h: h.view(2, 1)):
        w = leaf(1.0, 2.0)
        h = w * 3
        y = h.exp().sum() + (h * h).sum()
        with torch.no_grad():
            way(h).add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.backward()


def test_writing_what_no_rule_needs_is_allowed() -> None:
    w = leaf(1.0, 2.0)
    h = w * 3
    y = h + 1  # keeps nothing
    h.mul_(2)
    (y.sum() + h.sum()).backward()
    assert w.grad.tolist() == [9.0, 9.0]


def test_version_counts_writes() -> None:
    x = torch.zeros(3)
    assert x._version == 0
    x.add_(1)
    x[0] = 5.0
    assert x._version == 2 and x[1:]._version == 2 and x.detach()._version == 2


def test_the_engine_knows_no_tensor_module() -> None:
    """The tape is below the tensor: it holds nodes and arrays."""
    assert "tensor" not in vars(engine)


def test_grad_takes_torchs_arguments_in_its_order() -> None:
    x = torch.ones(2, requires_grad=True)
    y = (x**3).sum()
    (g,) = torch.autograd.grad(y, x, None, True, True, True, None, False, False)
    assert g.requires_grad and g.tolist() == [3.0, 3.0]
    with pytest.warns(FutureWarning, match="only_inputs argument is deprecated"):
        torch.autograd.grad(y, x, only_inputs=False)
    with pytest.raises(ValueError, match="grad_outputs"):
        torch.autograd.grad(y, x, is_grads_batched=True)


@pytest.mark.parametrize("shape", [(), (2,)])
def test_gradients_add_up(shape: tuple[int, ...]) -> None:
    """Where a tensor is used several times, the gradients of all uses count."""
    x = torch.full(shape, 2.0, requires_grad=True)
    (x.exp() + x.log() + x * x).sum().backward()
    assert torch.allclose(x.grad, torch.full(shape, math.exp(2) + 0.5 + 4))
