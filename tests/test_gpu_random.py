"""Random numbers on a GPU: a stream of its own, reproducible, of the right laws."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as torch
from tinygrad_edu.kernels import philox


def test_philox_gives_the_published_words() -> None:
    """The known answers that come with Salmon's Random123."""
    ones, pi = [0xFFFFFFFF] * 4, [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344]
    for counter, key, expected in [
        (ones, [0xFFFFFFFF] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (pi, [0xA4093822, 0x299F31D0], "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ]:
        c, k = ([np.array([word], np.uint64) for word in words] for words in (counter, key))
        assert " ".join(f"{int(word[0]):08x}" for word in philox.philox(c, k)) == expected


LAWS: dict[str, tuple[Callable[[Any], Any], float, float]] = {
    "uniform": (lambda x: x.uniform_(), 0.5, 1 / 12),
    "uniform, bounds": (lambda x: x.uniform_(-1, 3), 1.0, 16 / 12),
    "normal": (lambda x: x.normal_(2.0, 3.0), 2.0, 9.0),
    "exponential": (lambda x: x.exponential_(2.0), 0.5, 0.25),
    "bernoulli": (lambda x: x.bernoulli_(0.3), 0.3, 0.21),
    "bernoulli, tensor": (lambda x: x.bernoulli_(torch.full_like(x, 0.3)), 0.3, 0.21),
    "geometric": (lambda x: x.geometric_(0.5), 2.0, 2.0),
    "integers": (lambda x: x.random_(0, 10), 4.5, 8.25),
    "log-normal": (lambda x: x.log_normal_(0.0, 0.5), np.exp(0.125), 0.3647),
}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_laws(law: str, dtype: Any, cuda: str) -> None:
    """Mean and variance, of 40,000 numbers; the same numbers after the same seed."""
    draw, mean, variance = LAWS[law]
    torch.manual_seed(1)
    x = draw(torch.empty(200, 200, device=cuda, dtype=dtype))
    assert x.is_cuda and x.dtype is dtype
    assert abs(x.mean().item() - mean) < 5 * (variance / x.numel()) ** 0.5
    assert abs(x.var().item() / variance - 1) < 0.1
    again = draw(torch.empty(200, 200, device=cuda, dtype=dtype))
    assert not torch.equal(x, again)
    torch.cuda.manual_seed_all(1)
    assert torch.equal(x, draw(torch.empty(200, 200, device=cuda, dtype=dtype)))


@pytest.mark.filterwarnings("ignore:cupyx.allow_synchronize")
def test_nothing_is_copied_from_or_to_the_host(cuda: str) -> None:
    pytest.importorskip("strict_cupy")
    import cupyx

    x = torch.rand(64, device=cuda)
    with cupyx.allow_synchronize(False):
        torch.randn(8, device=cuda)
        torch.randperm(8, device=cuda)
        torch.nn.functional.dropout(x, 0.5)
        torch.multinomial(x, 3)


def test_factories(cuda: str) -> None:
    assert torch.rand(3, device=cuda).device == torch.device("cuda", 0)
    assert torch.randint(3, 9, (50,), device=cuda).unique().tolist() == [3, 4, 5, 6, 7, 8]
    order = torch.randperm(20, device=cuda)
    assert order.sort()[0].tolist() == list(range(20)) and order.tolist() != list(range(20))
    assert torch.rand_like(order.float()).is_cuda
    spread = torch.normal(torch.zeros(3, device=cuda), torch.ones(2, 3, device=cuda))
    assert spread.shape == (2, 3) and spread.is_cuda


@pytest.mark.parametrize("replacement", [True, False])
def test_multinomial(replacement: bool, cuda: str) -> None:
    weights = torch.tensor([[0.0, 1.0, 3.0], [2.0, 0.0, 2.0]], device=cuda)
    drawn = torch.stack([torch.multinomial(weights, 1, replacement)[:, 0] for _ in range(400)])
    first, second = (np.bincount(drawn[:, i].cpu().numpy(), minlength=3) / 400 for i in (0, 1))
    assert first[0] == 0 and abs(first[2] - 0.75) < 0.1
    assert second[1] == 0 and abs(second[2] - 0.5) < 0.12
    both = torch.multinomial(weights, 2, replacement)
    assert both.shape == (2, 2) and (replacement or both.sort(1)[0].tolist() == [[1, 2], [0, 2]])


def test_dropout(cuda: str) -> None:
    x = torch.ones(100, 100, device=cuda, requires_grad=True)
    y = torch.nn.functional.dropout(x, 0.25)
    kept = (y != 0).float().mean().item()
    assert abs(kept - 0.75) < 0.03 and abs(y.max().item() - 4 / 3) < 1e-6
    y.sum().backward()
    assert x.grad is not None and torch.equal(x.grad, y.detach())


@pytest.mark.parametrize("p", [0.25, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_dropout_draws_alike_in_each_form(dtype: torch.dtype, p: float, cuda: str) -> None:
    """In one launch, in place, of strided input, in a second derivative: the same decisions."""
    if dtype == torch.bfloat16:
        pytest.importorskip("ml_dtypes")
    values = torch.randn(33, 20, device=cuda).to(dtype)
    found = []
    for form in (lambda x: x, lambda x: x.clone(), lambda x: x.T.clone().T):
        torch.manual_seed(3)
        for _ in range(2):  # the second draw differs, and is each form's second
            x = form(values).requires_grad_()
            inplace = form(values).data_ptr() != values.data_ptr() and x.is_contiguous()
            y = torch.nn.functional.dropout(x * 1 if inplace else x, p, inplace=inplace)
            g = torch.ones_like(y).requires_grad_()
            (gx,) = torch.autograd.grad(y, x, g, create_graph=True)
            (gg,) = torch.autograd.grad(gx, g, torch.ones_like(gx))
            found.append(torch.stack([t.detach().float() for t in (y, gx, gg)]))
    firsts, seconds = found[::2], found[1::2]
    for few in (firsts, seconds):
        for one in few[1:]:
            assert torch.allclose(one, few[0], rtol=1e-2 if dtype.itemsize == 2 else 1e-6)
    assert p == 1 or not torch.equal(firsts[0], seconds[0])


def test_dropout_takes_one_launch_each_way(cuda: str) -> None:
    strict_cupy = pytest.importorskip("strict_cupy")
    x = torch.ones(100, 100, device=cuda, requires_grad=True)
    torch.nn.functional.dropout(x, 0.5)
    strict_cupy.Counters.reset()
    y = torch.nn.functional.dropout(x, 0.5)
    assert dict(strict_cupy.Counters.launches) == {"dropout_forward": 1}
    torch.autograd.grad(y, x, torch.ones_like(y))
    assert strict_cupy.Counters.launches["dropout_again"] == 1
    assert set(strict_cupy.Counters.launches) == {"dropout_forward", "dropout_again", "ones_like"}


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("drawn_before", [False, True])
def test_a_checkpoint_draws_again_what_it_drew(
    drawn_before: bool, reentrant: bool, cuda: str
) -> None:
    """So does whatever forks the generators; afterwards the stream goes on where it was."""
    x = torch.ones(50, 40, device=cuda, requires_grad=True)
    if drawn_before:
        torch.rand(3, device=cuda)
    run = torch.utils.checkpoint.checkpoint
    y = run(lambda t: torch.nn.functional.dropout(t, 0.5), x, use_reentrant=reentrant)
    with torch.random.fork_rng():
        ahead = torch.rand(4, device=cuda)
    y.sum().backward()
    assert x.grad is not None and torch.equal(x.grad, y.detach())
    assert torch.equal(torch.rand(4, device=cuda), ahead)


def test_generators(cuda: str) -> None:
    generator = torch.Generator(device=cuda).manual_seed(5)
    assert isinstance(generator, torch.Generator) and generator.initial_seed() == 5
    assert generator.device == torch.device("cuda", 0)
    first = torch.rand(4, device=cuda, generator=generator)
    state = generator.get_state()
    second = torch.rand(4, device=cuda, generator=generator)
    for twin in (
        torch.Generator(device=cuda).set_state(state),
        copy.deepcopy(torch.Generator(device=cuda).set_state(state)),
        pickle.loads(pickle.dumps(torch.Generator(device=cuda).set_state(state))),
    ):
        assert torch.equal(torch.rand(4, device=cuda, generator=twin), second)
    assert torch.equal(first, torch.rand(4, device=cuda, generator=generator.manual_seed(5)))
    with pytest.raises(RuntimeError, match="Expected a 'cuda' device type.*'cpu'"):
        torch.rand(4, device=cuda, generator=torch.Generator())
    with pytest.raises(RuntimeError, match="Expected a 'cpu' device type.*'cuda'"):
        torch.rand(4, generator=generator)


def test_the_host_stream_is_left_alone(cuda: str) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    torch.rand(100, device=cuda)
    assert torch.equal(torch.rand(3), expected)
