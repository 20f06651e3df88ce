"""What the engine promises: the walk, the life of the graph, backward and grad, declaring rules."""

from __future__ import annotations

import gc
import math
import time
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as torch
from tinygrad_edu.autograd import walk as engine
from tinygrad_edu.autograd.primitive import primitive


def leaf(*values: float, dtype: Any = torch.float64) -> Any:
    return torch.tensor(list(values), dtype=dtype, requires_grad=True)


# ---- the walk


def test_a_million_operations_in_a_row() -> None:
    """No recursion: neither in the walk nor in letting the graph go."""
    x = leaf(1.0)
    y = x
    for _ in range(1_000_000):
        y = y + 0.0
    y.sum().backward()
    assert x.grad.item() == 1.0
    del y


def test_the_walk_takes_linear_time() -> None:
    """Eight times the length costs about eight times the time, not 64 times."""

    def seconds(n: int) -> float:
        best = float("inf")
        for _ in range(3):
            y = x = leaf(1.0)
            for _ in range(n):
                y = y * 1.0
            start = time.perf_counter()
            y.sum().backward()
            best = min(best, time.perf_counter() - start)
            assert x.grad is not None
        return best

    assert seconds(40_000) < 24 * seconds(5_000)


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
    assert x.grad is None and h.grad is None
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


# ---- declaring operations


def test_misspelt_names_fail_where_they_are_written() -> None:
    def forward(x: Any, k: Any) -> Any:
        return x * k

    for rules, message in [
        ({"xs": lambda g: g}, "no argument 'xs'"),
        ({"x": lambda g, kk: g * kk}, "names 'kk'; it can name: g, x, k, y"),
        ({"x": lambda grad: grad}, "must take g first"),
        ({"x": lambda g, k_size: g}, "names 'k_size'"),
    ]:
        with pytest.raises(TypeError, match=message):
            primitive(forward).vjp(**rules)
    with pytest.raises(TypeError, match="names 'mean'"):
        primitive(saves=("std",))(forward).vjp(x=lambda g, mean: g)
    with pytest.raises(TypeError, match="the definition of forward must take"):
        primitive(forward).defined_as(lambda x: x)


def test_arguments_by_name_and_too_many() -> None:
    x = leaf(1.0)
    assert torch.mul(input=x, other=3).item() == 3.0
    assert torch.mul(x, other=3).item() == 3.0
    for args, kwargs in [((x,), {}), ((x, 1, 2), {}), ((x, 1), {"b": 2}), ((x, 1), {"nope": 2})]:
        with pytest.raises(TypeError):
            torch.mul(*args, **kwargs)


def _kernel(wrong: float = 1.0) -> Any:
    """y = a b exp(a), with a rule that only an array can go through, and a definition."""

    @primitive
    def fused(a: Any, b: Any) -> Any:
        return a * b * np.exp(a)

    @fused.vjp_joint("a", "b")
    def _(g: Any, live: tuple[bool, ...], a: Any, b: Any) -> Any:
        assert isinstance(g, np.ndarray), "the kernel's rule must not see tensors"
        e = np.exp(a)
        return (g * b * e * (1 + a) * wrong if live[0] else None), (g * a * e if live[1] else None)

    @fused.defined_as
    def definition(a: Any, b: Any) -> Any:
        return a * b * a.exp() if isinstance(a, torch.Tensor) else torch.mul(a, b) * np.exp(a)

    return fused


def test_kernel_and_definition_agree() -> None:
    fused = _kernel()
    a, b = leaf(0.5, 1.5), leaf(2.0, 3.0)
    assert torch.autograd.gradcheck(fused, (a, b))
    assert torch.autograd.gradgradcheck(fused, (a, b))
    assert torch.autograd.gradgradcheck(fused, (a, b.detach()))


def test_create_graph_differentiates_the_definition() -> None:
    """The rule is wrong here, so whoever gives the right answer has not used it."""
    fused = _kernel(wrong=2.0)
    a, b = leaf(0.5), leaf(2.0)
    e = np.exp(0.5)
    (plain,) = torch.autograd.grad(fused(a, b), a)
    (recorded,) = torch.autograd.grad(fused(a, b), a, create_graph=True)
    assert plain.item() == pytest.approx(2 * 2 * e * 1.5)
    assert recorded.item() == pytest.approx(2 * e * 1.5)


def test_a_definition_with_inputs_that_depend_on_each_other() -> None:
    """b was computed from a: that path is the walk's to take, not the definition's."""
    fused = _kernel()
    x = leaf(0.5, 1.5)

    def function(x: Any) -> Any:
        b = x * x
        return fused(x, b) + fused(b, x) + fused(x, x)

    def plain(x: Any) -> Any:
        b = x * x
        return x * b * x.exp() + b * x * b.exp() + x * x * x.exp()

    assert torch.autograd.gradcheck(function, x)
    assert torch.autograd.gradgradcheck(function, x)
    for f in (function, plain):
        (g,) = torch.autograd.grad(f(x).sum(), x, create_graph=True)
        (gg,) = torch.autograd.grad(g.sum(), x)
        x_grad, x_grad2 = g.tolist(), gg.tolist()
        if f is function:
            expected = x_grad, x_grad2
    assert x_grad == pytest.approx(expected[0]) and x_grad2 == pytest.approx(expected[1])


def test_a_rule_that_returns_another_shape_is_refused() -> None:
    """A transposed gradient has as many elements; reshaping it would give wrong numbers."""

    @primitive
    def times(a: Any, b: Any) -> Any:
        return a @ b

    times.vjp(a=lambda g, b: (g @ b.T).T, b=lambda g, a: (a.T @ g)[0])
    ones = torch.ones(2, 3, requires_grad=True), torch.ones(3, 3, requires_grad=True)
    for a, b in ((ones[0], ones[1].detach()), (ones[0].detach(), ones[1])):
        with pytest.raises(RuntimeError, match="invalid gradient"):
            times(a, b).sum().backward()


def test_rules_of_inputs_that_need_nothing_are_not_run() -> None:
    ran: list[str] = []

    @primitive
    def product(a: Any, b: Any) -> Any:
        return a * b

    product.vjp(
        a=lambda g, b: (ran.append("a"), g * b)[1], b=lambda g, a: (ran.append("b"), g * a)[1]
    )
    product(leaf(1.0), torch.ones(1, dtype=torch.float64)).backward()
    assert ran == ["a"]


def test_the_walk_skips_what_does_not_lead_to_an_input() -> None:
    ran: list[str] = []

    @primitive
    def watched(x: Any) -> Any:
        return x * 2.0

    watched.vjp(x=lambda g: (ran.append("ran"), g * 2)[1])
    x, y = leaf(1.0), leaf(2.0)
    torch.autograd.grad(watched(x) + y, y)
    assert ran == []


def test_arrays_just_compute() -> None:
    """Called with arrays, an operation is a plain function of arrays."""
    assert isinstance(torch.mul(np.ones(2), np.ones(2)), np.ndarray)


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
    with pytest.raises(NotImplementedError, match="vmap"):
        torch.autograd.grad(y, x, is_grads_batched=True)


@pytest.mark.parametrize("shape", [(), (2,)])
def test_gradients_add_up(shape: tuple[int, ...]) -> None:
    """Where a tensor is used several times, the gradients of all uses count."""
    x = torch.full(shape, 2.0, requires_grad=True)
    (x.exp() + x.log() + x * x).sum().backward()
    assert torch.allclose(x.grad, torch.full(shape, math.exp(2) + 0.5 + 4))
