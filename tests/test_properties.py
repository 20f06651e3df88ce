"""Properties that hold for every program, tried on generated ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from devices import everywhere, placed

import tinygrad_edu
from tinygrad_edu.autograd.gradcheck import gradcheck, gradgradcheck

pytest.importorskip("hypothesis")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from tinygrad_edu.testing import (  # noqa: E402
    Composition,
    assert_close,
    away_from,
    broadcasting,
    compositions,
    distinct,
    floats,
    indices,
    like,
    masks,
    positive,
    shapes,
    tensors,
)

double = tinygrad_edu.float64
grad = tinygrad_edu.autograd.grad


def leaves(data: Any, program: Composition, device: str) -> list[Any]:
    made = [data.draw(tensors(s, dtype=double, requires_grad=True)) for s in program.inputs]
    return made if device == "cpu" else [x.detach().to(device).requires_grad_() for x in made]


def vjp(function: Any, inputs: list[Any], u: Any) -> list[Any]:
    """The gradients of the inputs for a gradient `u` of the output; zeros for unused inputs."""
    y = function(*inputs)
    if not y.requires_grad:
        return [tinygrad_edu.zeros_like(x) for x in inputs]
    return list(grad(y, inputs, u, materialize_grads=True))


@everywhere
@given(st.data())
def test_the_backward_pass_is_linear(where: str, data: Any) -> None:
    """vjp(a u + b v) = a vjp(u) + b vjp(v)."""
    with placed(where) as device:
        program = data.draw(compositions())
        inputs = leaves(data, program, device)
        y = program(*inputs)
        u, v = data.draw(like(y)), data.draw(like(y))
        a, b = data.draw(floats()), data.draw(floats())
        mixed = vjp(program, inputs, a * u + b * v)
        for found, one, two in zip(
            mixed, vjp(program, inputs, u), vjp(program, inputs, v), strict=True
        ):
            assert_close(found, a * one + b * two)


@everywhere
@given(st.data())
def test_the_chain_rule(where: str, data: Any) -> None:
    """The gradient through a composition is the outer one's gradient sent through the inner one."""
    with placed(where) as device:
        inner = data.draw(compositions())
        outer = data.draw(compositions(inputs=[inner.shape]))
        inputs = leaves(data, inner, device)
        middle = inner(*inputs).detach().requires_grad_()
        u = data.draw(like(outer(middle)))
        (g_middle,) = vjp(outer, [middle], u)
        whole = vjp(lambda *x: outer(inner(*x)), inputs, u)
        assert_close(whole, vjp(inner, inputs, g_middle))


@everywhere
@settings(max_examples=settings.default.max_examples // 2)
@given(st.data())
def test_compositions_pass_gradcheck(where: str, data: Any) -> None:
    with placed(where) as device:
        program = data.draw(compositions(max_steps=4))
        inputs = tuple(leaves(data, program, device))
        assert gradcheck(program, inputs)
        assert gradgradcheck(program, inputs, fast_mode=True, atol=1e-4)


@everywhere
@given(st.data())
def test_compositions_equal_torch(where: str, data: Any) -> None:
    with placed(where) as device:
        torch = pytest.importorskip("torch")
        program = data.draw(compositions(max_steps=8))
        inputs = leaves(data, program, device)
        theirs = [
            torch.from_numpy(x.detach().cpu().numpy().copy()).requires_grad_() for x in inputs
        ]
        y, z = program(*inputs), program(*theirs)
        assert_close(y.detach().cpu(), z.detach().numpy())
        if y.requires_grad:
            u = data.draw(like(y))
            y.backward(u)
            z.backward(torch.from_numpy(u.cpu().numpy().copy()))
        for x, t in zip(inputs, theirs, strict=True):
            assert (x.grad is None) == (t.grad is None)
            if x.grad is not None:
                assert_close(x.grad.cpu(), t.grad.numpy())


@given(st.data(), st.sampled_from(["add", "sub", "mul", "div", "maximum", "atan2", "pow", "where"]))
def test_broadcasting_equals_explicit_expansion(data: Any, name: str) -> None:
    """Operands may be expanded first, and gradients summed after: it comes to the same."""
    one, two = data.draw(broadcasting(2))
    shape = np.broadcast_shapes(one, two)
    a = data.draw(tensors(one, double, positive(), requires_grad=True))
    b = data.draw(tensors(two, double, positive(), requires_grad=True))
    if name == "where":
        mask = data.draw(masks(data.draw(st.sampled_from([one, two]))))

        def function(a: Any, b: Any) -> Any:
            return tinygrad_edu.where(mask, a, b)
    else:
        function = getattr(tinygrad_edu, name)
    y = function(a, b)
    u = data.draw(like(y))
    wide = [x.detach().expand(shape).clone().requires_grad_() for x in (a, b)]
    assert_close(y.detach(), function(*wide).detach())
    for found, full, x in zip(grad(y, [a, b], u), vjp(function, wide, u), (a, b), strict=True):
        assert_close(found, _sum_to(full, x.shape))


def _sum_to(g: Any, shape: tuple[int, ...]) -> Any:
    while g.ndim > len(shape):
        g = g.sum(0)
    for dim, size in enumerate(shape):
        if size == 1:
            g = g.sum(dim, keepdim=True)
    return g


@everywhere
@given(st.data(), st.integers(2, 3))
def test_gradients_accumulate(where: str, data: Any, times: int) -> None:
    """Two backward calls give twice the gradient of one, retained or recorded again."""
    with placed(where) as device:
        program = data.draw(compositions())
        inputs = leaves(data, program, device)
        once, again, retained = (
            [x.detach().clone().requires_grad_() for x in inputs] for _ in range(3)
        )
        y = program(*once)
        if not y.requires_grad:
            return
        u = data.draw(like(y))
        y.backward(u)
        for _ in range(times):
            program(*again).backward(u)
        kept = program(*retained)
        for _ in range(times):
            kept.backward(u, retain_graph=True)
        for x, more, same in zip(once, again, retained, strict=True):
            if x.grad is None:
                assert more.grad is None and same.grad is None
            else:
                assert_close(more.grad, times * x.grad)
                assert_close(same.grad, times * x.grad)


@given(st.data(), st.permutations(range(4)))
def test_any_order_of_use_of_a_shared_node(data: Any, order: list[int]) -> None:
    """A value used four times gets the sum of four gradients, in whatever order it was used."""
    x = data.draw(tensors(shapes(0, 2), double, requires_grad=True))
    uses = [lambda s: s.sin(), lambda s: s * s, lambda s: s.exp(), lambda s: -s]

    def run(order: list[int]) -> Any:
        shared = x * 0.5
        results: list[Any] = [None] * 4
        for i in order:
            results[i] = uses[i](shared)
        total = results[0] + results[1] + results[2] + results[3]
        return grad(total.sum(), x)[0]

    h = x.detach() * 0.5
    assert_close(run(order), 0.5 * (h.cos() + 2 * h + h.exp() - 1))
    assert_close(run(order), run(list(range(4))), rtol=1e-12, atol=1e-12)


@everywhere
@given(st.data())
def test_layout_makes_no_difference(where: str, data: Any) -> None:
    with placed(where) as device:
        program = data.draw(compositions(inputs=[(2, 3), (3,)]))
        inputs = leaves(data, program, device)
        plain = [x.detach().clone().contiguous().requires_grad_() for x in inputs]
        y = program(*inputs)
        u = data.draw(like(y))
        assert_close(y.detach(), program(*plain).detach())
        assert_close(vjp(program, inputs, u), vjp(program, plain, u))


@given(st.data())
def test_a_permutation_of_reductions(data: Any) -> None:
    """Summing all at once, or one dimension after the other in any order, is the same."""
    x = data.draw(tensors(shapes(1, 3, 1, 3), double, requires_grad=True))
    y = x.sin()
    for dim in data.draw(st.permutations(range(x.ndim))):
        y = y.sum(dim, keepdim=True)
    assert_close(y.detach().reshape(()), x.detach().sin().sum())
    assert_close(grad(y.sum(), x)[0], x.detach().cos())


@given(distinct(shapes(1, 2), double, requires_grad=True), st.booleans())
def test_sorting_is_a_permutation(x: Any, descending: bool) -> None:
    """Gradients come back to where the values were."""
    y, order = x.sort(descending=descending)
    weights = tinygrad_edu.arange(1.0, y.numel() + 1, dtype=double).reshape(y.shape)
    (g,) = grad((y * weights).sum(), x)
    assert_close(g.gather(-1, order), weights)


@given(st.data(), shapes(1, 2, 1, 4))
def test_reading_and_adding_by_index_are_transposes(data: Any, shape: tuple[int, ...]) -> None:
    """<gather(x), u> = <x, scatter_add(u)>: so each is the other's gradient."""
    x = data.draw(tensors((4, *shape[1:]), double, requires_grad=True))
    index = data.draw(indices(4, shape))
    y = x.gather(0, index)
    u = data.draw(like(y, requires_grad=True))
    spread = tinygrad_edu.zeros_like(x).scatter_add(0, index, u)
    assert_close((y * u).sum().detach(), (x * spread).sum().detach())
    assert_close(grad((y * u.detach()).sum(), x)[0], spread.detach())


@given(tensors(elements=away_from(0.0), dtype=double, requires_grad=True))
def test_identities(x: Any) -> None:
    """Two ways to write a function have one gradient."""
    for one, two in [
        (lambda x: x.abs(), lambda x: (x * x).sqrt()),
        (lambda x: x.tanh(), lambda x: 2 * (2 * x).sigmoid() - 1),
        (lambda x: x.clamp(min=0), lambda x: (x + x.abs()) / 2),
        (lambda x: x.exp().log(), lambda x: x * 1),
        (lambda x: x.sin() ** 2 + x.cos() ** 2, lambda x: x * 0 + 1),
        (lambda x: x**-1, lambda x: x.reciprocal()),
    ]:
        assert_close(one(x).detach(), two(x).detach())
        assert_close(grad(one(x).sum(), x)[0], grad(two(x).sum(), x)[0])
