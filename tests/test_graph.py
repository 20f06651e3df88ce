"""What a tensor knows of the graph: its node, hooks, detaching; and the grad modes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

import tinygrad_edu as torch


def leaf(*values: float) -> Any:
    return torch.tensor(list(values), dtype=torch.float64, requires_grad=True)


# ---- tensors in the graph


def test_grad_fn_has_names_and_neighbours() -> None:
    x, k = leaf(1.0, 2.0), torch.ones(2, dtype=torch.float64)
    y = (x * k).exp()
    assert y.grad_fn.name() == "ExpBackward0"
    ((product, index),) = y.grad_fn.next_functions
    assert product.name() == "MulBackward0" and index == 0
    (into_x, _), (into_k, _) = product.next_functions
    assert "AccumulateGrad" in into_x.name() and into_x.variable is x and into_k is None
    assert x.grad_fn is None and x.is_leaf and not y.is_leaf
    assert "MulBackward0" in repr(product)


def test_a_retained_gradient_is_what_later_hooks_make_of_it() -> None:
    x = torch.ones(3, requires_grad=True)
    h = x * 3
    h.retain_grad()
    h.register_hook(lambda g: g * 2)
    (h * h).sum().backward()
    assert h.grad.tolist() == [12.0] * 3
    assert x.grad.tolist() == [36.0] * 3


def test_retain_grad() -> None:
    x = leaf(1.0, 2.0)
    h = x * 3
    h.retain_grad()
    assert h.retains_grad
    h.sum().backward()
    assert h.grad.tolist() == [1.0, 1.0]
    with pytest.raises(RuntimeError, match="requires_grad=False"):
        torch.ones(2).retain_grad()


def test_hooks_see_and_replace_gradients() -> None:
    x = leaf(1.0, 2.0)
    h = x * 3
    seen: list[Any] = []
    h.register_hook(lambda g: seen.append(g.tolist()))
    replace = h.register_hook(lambda g: g * 10)
    on_leaf = x.register_hook(lambda g: g + 1)
    (h + h).sum().backward()
    assert seen == [[2.0, 2.0]] and x.grad.tolist() == [61.0, 61.0]
    replace.remove()
    on_leaf.remove()
    x.grad = None
    (x * 3).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]
    with pytest.raises(RuntimeError):
        torch.ones(2).register_hook(print)


def test_post_accumulate_hooks() -> None:
    x = leaf(1.0)
    seen: list[float] = []
    handle = x.register_post_accumulate_grad_hook(lambda t: seen.append(t.grad.item()))
    (x * 2).backward()
    (x * 2).backward()
    handle.remove()
    (x * 2).backward()
    assert seen == [2.0, 4.0]
    with pytest.raises(RuntimeError):
        (x * 2).register_post_accumulate_grad_hook(print)


def test_detach_shares_memory_and_nothing_else() -> None:
    x = leaf(1.0, 2.0)
    y = (x * 2).detach()
    assert not y.requires_grad and y.is_leaf
    z = x.detach()
    with torch.no_grad():
        z[0] = 9.0
    assert x[0].item() == 9.0


def test_requires_grad_() -> None:
    x = torch.ones(2)
    assert x.requires_grad_() is x and x.requires_grad
    x.requires_grad = False
    assert not x.requires_grad
    with pytest.raises(RuntimeError, match="floating point"):
        torch.ones(2, dtype=torch.int64).requires_grad_()
    y = leaf(1.0) * 2
    with pytest.raises(RuntimeError, match="leaf variables"):
        y.requires_grad_(False)


# ---- grad modes


def test_modes_as_blocks() -> None:
    x = leaf(1.0)
    with torch.no_grad():
        assert not torch.is_grad_enabled() and not (x * 2).requires_grad
        with torch.enable_grad():
            assert (x * 2).requires_grad
        with torch.set_grad_enabled(True):
            assert (x * 2).requires_grad
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled()
    with torch.set_grad_enabled(False):
        assert not (x * 2).requires_grad
    torch.set_grad_enabled(False)
    assert not torch.is_grad_enabled()
    torch.set_grad_enabled(True)


def test_modes_end_with_an_exception() -> None:
    with pytest.raises(KeyError), torch.no_grad():
        raise KeyError
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("decorate", [torch.no_grad, torch.no_grad(), torch.inference_mode()])
def test_modes_as_decorators(decorate: Any) -> None:
    x = leaf(1.0)

    @decorate
    def double(x: Any, depth: int = 2) -> Any:
        """Its docstring."""
        return double(x, depth - 1) if depth else x * 2

    assert not double(x).requires_grad and torch.is_grad_enabled()
    assert double.__doc__ == "Its docstring." and double.__name__ == "double"


def test_modes_on_generators() -> None:
    """The mode holds while the generator works, not while its user does."""
    x = leaf(1.0)

    @torch.no_grad()
    def numbers() -> Iterator[Any]:
        try:
            sent = yield x * 2
            yield x * sent
        finally:
            states.append(torch.is_grad_enabled())

    states: list[bool] = []
    generator = numbers()
    assert not next(generator).requires_grad and torch.is_grad_enabled()
    assert generator.send(5).item() == 5.0 and torch.is_grad_enabled()
    generator.close()
    assert states == [False] and torch.is_grad_enabled()


def test_set_grad_enabled_decorates() -> None:
    @torch.set_grad_enabled(False)
    def f(x: Any) -> Any:
        return x * 2

    assert torch.is_grad_enabled() and not f(leaf(1.0)).requires_grad


def test_inference_mode() -> None:
    x = leaf(1.0)
    with torch.inference_mode():
        y = x * 2
        assert torch.is_inference_mode_enabled() and not torch.is_grad_enabled()
        y.add_(1)
        with torch.inference_mode(False):
            assert not torch.is_inference_mode_enabled()
    assert y.is_inference() and not y.requires_grad and not (y.clone()).is_inference()
    with pytest.raises(RuntimeError, match="[Ii]nference"):
        y.add_(1)
    with pytest.raises(RuntimeError, match="[Ii]nference"):
        y.requires_grad_()
    with pytest.raises(RuntimeError, match="[Ii]nference"):
        (x * y).backward()


def test_the_mode_is_each_threads_own() -> None:
    inside: list[bool] = []
    with torch.no_grad():
        worker = threading.Thread(target=lambda: inside.append(torch.is_grad_enabled()))
        worker.start()
        worker.join()
        assert not torch.is_grad_enabled()
    assert inside == [True]


def test_threads_can_walk_graphs_of_their_own() -> None:
    results: list[float] = []

    def work(seed: float) -> None:
        x = leaf(seed)
        for _ in range(50):
            y = x
            for _ in range(20):
                y = (y * 1.0).sin().asin() + 0.0
            x.grad = None
            y.backward()
        results.append(x.grad.item())

    threads = [threading.Thread(target=work, args=(0.1 * i,)) for i in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == pytest.approx([1.0] * 4)
