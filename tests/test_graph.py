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


NAMED = """
x * x; x - 1; 2 / x; x ** 2; x ** x; 2 ** x; x % x; x.exp(); x.log1p(); x.deg2rad(); x.square()
x.sum(); x.sum(0); x.mean(); x.mean(1, keepdim=True); x.prod(0); x.max(); x.max(0)[0]; x.min(1)[0]
x.sort()[0]; x.topk(1)[0]; x.median(0)[0]; x.cumsum(0); x.norm(); x.std(); x.clamp(0, 1); x.abs()
x[0]; x[0, 1]; x[:1]; x[None]; x[i]; x.t(); x.T; x.mT; x.view(-1); x.unsqueeze(0); x.expand(2, 2, 3)
x[:1].squeeze(0); x[:1].squeeze(); x.clone(); x.float(); x.gather(0, i[None]); x.repeat(2, 1)
x @ x.t(); x[0] @ x[0]; x @ x[0]; x[0] @ x.t(); F.linear(x, x); F.linear(x, x, x[:, 0])
T.nn.Linear(3, 4).double()(x[None]); T.addmm(x[:, :2], x, x.t()); T.cat([x, x]); T.stack([x, x])
T.where(x > 0, x, 0.0); T.einsum("ij,kj->ik", x, x); T.linalg.det(x @ x.t()); T.special.i0e(x)
F.relu(x); F.gelu(x); F.softmax(x, 1); F.log_softmax(x, 1); F.logsigmoid(x); F.softplus(x)
F.layer_norm(x, (3,)); F.dropout(x, 0.5); F.embedding(i, x); F.pad(x, (1, 1))
F.batch_norm(x, None, None, training=True); F.max_pool2d(x[None, None], 2); F.cross_entropy(x, i)
F.nll_loss(x, i); F.mse_loss(x, x * 2); F.mse_loss(x, x * 2, reduction="none"); F.l1_loss(x, x * 2)
F.binary_cross_entropy_with_logits(x, x.detach() * 0); F.smooth_l1_loss(x, x * 2)
F.huber_loss(x, x); F.conv1d(x[None], x[None]); 1 - x; 1.5 - x; x[1, :1]; x[:1, :2]; x[:, 1]
x[:, None]; x[..., 0]; x.trace(); T.bmm(x[None], x.t()[None]); F.group_norm(x, 3); F.glu(x[:, :2])
F.conv_transpose2d(x[None, None], x[None, None], i[:1].double()); F.avg_pool2d(x[None, None], 2)
F.adaptive_avg_pool2d(x[None, None], 1); F.adaptive_avg_pool2d(x[None, None], (1, 2))
F.interpolate(x[None, None], scale_factor=2); F.interpolate(x[None], scale_factor=2, mode="linear")
F.interpolate(x[None, None], size=4, mode="bilinear"); F.pixel_shuffle(T.stack([x] * 4), 2)
F.cross_entropy(x.view(1, 2, 3), T.tensor([[0, 1, 0]]))
"""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "call", [c.strip() for c in NAMED.replace("\n", ";").split(";") if c.strip()]
)
def test_nodes_have_torchs_names(call: str) -> None:
    """While the graph is there, and when its backward pass has freed it."""
    from beside_torch import torch as reference

    names = []
    for T in (torch, reference):
        x = T.tensor([[0.5, 0.2, 2.0], [0.3, 1.0, 0.7]], dtype=T.float64, requires_grad=True)
        y = eval(call, {"T": T, "F": T.nn.functional, "x": x * 1, "i": T.tensor([1, 0])})
        before = y.grad_fn.name()
        y.sum().backward()
        names.append((before, y.grad_fn.name(), repr(y).split("grad_fn=")[1]))
    assert names[0] == names[1]


@pytest.mark.parametrize("switch", ["no_grad", "enable_grad", "inference_mode", "set_grad_enabled"])
def test_a_mode_on_a_class_warns(switch: str) -> None:
    mode = getattr(torch, switch)
    with pytest.warns(FutureWarning, match="Decorating classes is deprecated") as seen:
        made = (mode(False) if switch == "set_grad_enabled" else mode())(type("Made", (), {}))
    assert seen[0].filename == __file__ and type(made()).__name__ == "Made"
    torch.set_grad_enabled(True)
