"""Leaves and hooks in odd situations: each body gives the same on this library and on torch."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import tinygrad_edu as ours

torch = pytest.importorskip("torch")

Body = Callable[[Any], Any]


def leaf(lib: Any, n: int = 3) -> Any:
    return lib.ones(n, requires_grad=True)


# ---- freezing and thawing


def frozen_after_use(lib: Any) -> Any:
    x = leaf(lib)
    y = x * 2
    x.requires_grad_(False)
    y.sum().backward()
    return x.grad


def detached_after_use(lib: Any) -> Any:
    x = leaf(lib)
    y = x * 2
    x.detach_()
    y.sum().backward()
    return x.grad


def thawed(lib: Any) -> Any:
    x, seen = leaf(lib), []
    a = x * 2
    x.register_hook(lambda g: seen.append(g.tolist()))
    x.requires_grad_(False).requires_grad_()
    y = (a + x * 3).sum()
    (g,) = lib.autograd.grad(y, x, retain_graph=True)
    y.backward()
    return g, x.grad, seen


def view_that_is_a_leaf(lib: Any) -> Any:
    base = lib.ones(4)
    v = base[:2]
    v.requires_grad_()
    base.mul_(2)
    (v * 3).sum().backward()
    return v.grad, v


# ---- gradients with a graph of their own


def create_graph_shares_nothing(lib: Any) -> Any:
    x, y = leaf(lib, 2), leaf(lib, 2)
    (3 * (x + y)).sum().backward(create_graph=True)
    lib.nn.utils.clip_grad_norm_([x, y], 1.0)
    return x.grad, y.grad, x.grad is y.grad, x.grad.stride()


def create_graph_shares_no_retained_one(lib: Any) -> Any:
    x = leaf(lib)
    a, b = x * 2, x * 3
    a.retain_grad()
    b.retain_grad()
    ((a + b) ** 2).sum().backward(create_graph=True)
    with lib.no_grad():
        a.grad.mul_(5)
    return a.grad, b.grad, a.grad.requires_grad


def create_graph_at_once(lib: Any) -> Any:
    x, g = leaf(lib), lib.full((3,), 2.0)
    x.backward(g, create_graph=True)
    return x.grad, x.grad is g


def twice_where_nothing_is_kept(lib: Any) -> Any:
    x = leaf(lib, 2)
    for y in (x.sum(), x.view(2)[0]):
        y.backward()
        y.backward()
    return x.grad


def twice_through_an_index(lib: Any) -> Any:
    y = leaf(lib).gather(0, lib.tensor([1, 0])).sum()
    y.backward()
    y.backward()


# ---- hooks


def hooked(lib: Any, hook: Callable[[Any], Any]) -> Any:
    x = leaf(lib)
    x.register_hook(hook)
    (x * 2).sum().backward()
    return x.grad


def hook_returns_a_sum(lib: Any) -> Any:
    return hooked(lib, lambda g: g.sum())


def hook_returns_a_larger_one(lib: Any) -> Any:
    return hooked(lib, lambda g: g.expand(2, 3))


def hook_returns_doubles(lib: Any) -> Any:
    return hooked(lib, lambda g: g.double())


def hook_returns_a_number(lib: Any) -> Any:
    return hooked(lib, lambda g: 3.0)


def post_hook_returns_something(lib: Any) -> Any:
    x = leaf(lib)
    x.register_post_accumulate_grad_hook(lambda p: 3)
    x.sum().backward()


def hook_registered_twice_and_removed_twice(lib: Any) -> Any:
    x, seen = leaf(lib), []

    def hook(g: Any) -> None:
        seen.append(g.tolist())

    handle = x.register_hook(hook)
    x.register_hook(hook)
    handle.remove()
    handle.remove()
    x.sum().backward()
    return seen


def optimizer_hook_removed_twice(lib: Any) -> Any:
    x, seen = leaf(lib), []
    x.sum().backward()
    optimizer = lib.optim.SGD([x], lr=0.1)

    def hook(*args: Any) -> None:
        seen.append(len(args))

    handle = optimizer.register_step_post_hook(hook)
    optimizer.register_step_post_hook(hook)
    handle.remove()
    handle.remove()
    optimizer.step()
    return seen, x


def hook_that_removes_itself(lib: Any) -> Any:
    x, seen = leaf(lib), []

    def first(p: Any) -> None:
        seen.append("first")
        handle.remove()

    handle = x.register_post_accumulate_grad_hook(first)
    x.register_post_accumulate_grad_hook(lambda p: seen.append("second"))
    x.sum().backward()
    x.sum().backward()
    return seen


def hook_before_a_node(lib: Any) -> Any:
    x = leaf(lib)
    y = x * 2
    y.grad_fn.register_prehook(lambda gs: (gs[0] * 10,))
    y.sum().backward()
    return x.grad


# ---- retain_grad and writing in place


def retained_then_written(lib: Any) -> Any:
    x = leaf(lib)
    y = x * 1
    y.retain_grad()
    y.mul_(2)
    y.sum().backward()
    return y.grad, x.grad


def retained_then_written_through_a_view(lib: Any) -> Any:
    x = leaf(lib)
    y = x * 1
    y.retain_grad()
    y[0] *= 3
    y.sum().backward()
    return y.grad, x.grad


def written_while_inference(lib: Any) -> Any:
    with lib.inference_mode():
        t = lib.ones(2)
    with lib.no_grad():
        t.add_(1)


def gradient_that_is_expanded(lib: Any) -> Any:
    x = leaf(lib)
    x.grad = lib.ones(1).expand(3)
    (x * 2).sum().backward()


def data_of_another_kind(lib: Any) -> Any:
    x = leaf(lib)
    x.data = lib.ones(3).long()


# ---- copies


def pickled_with_attributes(lib: Any) -> Any:
    parameter, tensor = lib.nn.Parameter(lib.ones(1)), lib.ones(2)
    parameter.tag, tensor.tag = [1], "two"
    again = pickle.loads(pickle.dumps((parameter, tensor)))
    return again, again[0].tag, again[1].tag, again[0].requires_grad


BODIES: list[Body] = [
    frozen_after_use, detached_after_use, thawed, view_that_is_a_leaf,
    create_graph_shares_nothing, create_graph_shares_no_retained_one, create_graph_at_once,
    twice_where_nothing_is_kept, twice_through_an_index, hook_returns_a_sum,
    hook_returns_a_larger_one, hook_returns_doubles, hook_returns_a_number,
    post_hook_returns_something, hook_registered_twice_and_removed_twice,
    optimizer_hook_removed_twice, hook_that_removes_itself, hook_before_a_node,
    retained_then_written, retained_then_written_through_a_view, written_while_inference,
    gradient_that_is_expanded, data_of_another_kind, pickled_with_attributes,
]  # fmt: skip


def outcome(body: Body, lib: Any) -> Any:
    """What it returns, tensors as lists; or the exception's class and first words."""

    def plain(value: Any) -> Any:
        if isinstance(value, (tuple, list)):
            return [plain(part) for part in value]
        return value.tolist() if isinstance(value, lib.Tensor) else value

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return plain(body(lib))
    except Exception as error:
        return type(error), str(error)[:50]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_same_as_torch(body: Body) -> None:
    assert outcome(body, ours) == outcome(body, torch)
