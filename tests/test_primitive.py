"""Declaring operations: names, definitions, rules that are wrong or not needed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_engine import leaf

import tinygrad_edu as torch
from tinygrad_edu.engine.primitive import primitive


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
    """Called with arrays by a rule, an operation is a plain function of arrays; not by a user."""
    with pytest.raises(TypeError, match="must be Tensor, not numpy.ndarray"):
        torch.mul(np.ones(2), np.ones(2))
    products = []

    @primitive
    def double(x):
        return x + x

    @double.vjp_joint("x")
    def _double_rule(g):
        products.append(torch.mul(g, np.full(2, 2.0)))
        return (products[0],)

    x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    double(x).sum().backward()
    assert isinstance(products[0], np.ndarray) and x.grad.tolist() == [2.0, 2.0]
