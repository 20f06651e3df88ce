"""Training steps captured in a CUDA graph and replayed."""

from __future__ import annotations

import copy
import pathlib
import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as torch
from tinygrad_edu.backend import cupy_problem

nn, F = torch.nn, torch.nn.functional
STRICT = "strict"


def same(found: Any, expected: Any, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    assert found.dtype is expected.dtype
    np.testing.assert_allclose(
        found.detach().cpu().numpy(), expected.detach().cpu().numpy(), rtol=rtol, atol=atol
    )


def test_a_graph_needs_a_capture_on_a_stream_of_its_own(cuda: str) -> None:
    graph = torch.cuda.CUDAGraph()
    with pytest.raises(RuntimeError, match="without a preceding successful capture"):
        graph.replay()
    with pytest.raises(RuntimeError, match="non-default stream"):
        graph.capture_begin()
    with pytest.raises(RuntimeError, match="without capture_begin"):
        graph.capture_end()


@pytest.mark.gpu
@pytest.mark.skipif(cupy_problem() is not None, reason=f"no GPU: {cupy_problem()}")
def test_a_training_step_in_a_graph() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 3)).cuda()
    plain = copy.deepcopy(model)
    x, y = torch.randn(4, 8, device="cuda"), torch.randint(3, (4,), device="cuda")
    options = {"lr": 1e-2, "capturable": True}
    one = torch.optim.AdamW(model.parameters(), **options)
    two = torch.optim.AdamW(plain.parameters(), **options)

    def step(model: Any, optimizer: Any) -> Any:
        optimizer.zero_grad(set_to_none=False)
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step(model, one)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step(model, one)
    for _ in range(5):
        graph.replay()
    for _ in range(8):
        step(plain, two)
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        same(a, b, 1e-4, 1e-5)


CAPTURABLE = ["ASGD", "Adadelta", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop"]


@pytest.mark.parametrize("name", CAPTURABLE)
def test_optimizers_in_a_graph(name: str, cuda: str) -> None:
    """Eight steps, five of them replayed, are the eight of the CPU: steps are counted on the GPU.

    The stand-in does a step when it is captured, and repeats nothing.
    """

    def start(place: str, **options: Any) -> tuple[Any, Callable[[], None]]:
        w = torch.linspace(-1, 2, 6).to(place).requires_grad_()
        optimizer = getattr(torch.optim, name)([w], lr=0.02, **options)

        def step() -> None:
            optimizer.zero_grad(set_to_none=False)
            (w * w * w).sum().backward()
            optimizer.step()

        return w, step

    (here, step), (there, on_gpu) = start("cpu"), start(cuda, capturable=True)
    for _ in range(8):
        step()
    for _ in range(3):
        on_gpu()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        on_gpu()
    for _ in range(4 if STRICT in sys.modules["cupy"].__version__ else 5):
        graph.replay()
        if STRICT in sys.modules["cupy"].__version__:
            on_gpu()
    same(there, here, 1e-4)


def test_each_replay_draws_new_numbers(cuda: str) -> None:
    """Even where the captured code is the first to draw any."""
    graph, x = torch.cuda.CUDAGraph(), torch.ones(1000, device=cuda)
    with torch.cuda.graph(graph):
        y = F.dropout(x[torch.zeros(1000, dtype=torch.int64, device=cuda)], 0.5)
    found = []
    for _ in range(2):
        graph.replay()
        found.append(y.cpu())
    assert 300 < (found[0] == 0).sum() < 700
    assert torch.equal(*found) == (STRICT in sys.modules["cupy"].__version__)


def test_what_cannot_be_captured_says_so(cuda: str) -> None:
    x = torch.ones(3, device=cuda)
    for wrong in (
        lambda: x.sum().item(),
        lambda: torch.tensor([1.0], device=cuda),
        lambda: torch.ones(2).to(cuda),
        lambda: x[x > 0],
    ):
        with pytest.raises(RuntimeError, match="cannot be captured|capture failed"):
            with torch.cuda.graph(torch.cuda.CUDAGraph()):
                wrong()
    assert x.sum().item() == 3
    optimizer = torch.optim.Adam([x.requires_grad_()])
    x.sum().backward()
    with pytest.raises(RuntimeError, match="Adam but param_groups' capturable is False"):
        with torch.cuda.graph(torch.cuda.CUDAGraph()):
            optimizer.step()


def test_capturing(cuda: str) -> None:
    """A training step can be captured; the stand-in does it once, and repeats nothing."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.LayerNorm(4)).to(cuda)
    x, optimizer = (
        torch.ones(2, 3, device=cuda),
        torch.optim.AdamW(model.parameters(), capturable=True),
    )
    graph, before = torch.cuda.CUDAGraph(), [p.detach().cpu() for p in model.parameters()]
    with torch.cuda.graph(graph):
        model(x).square().sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
    graph.replay()
    assert not all(torch.equal(a, b.detach().cpu())
                   for a, b in zip(before, model.parameters(), strict=True))  # fmt: skip


@pytest.mark.gpu
@pytest.mark.skipif(cupy_problem() is not None, reason=f"no GPU: {cupy_problem()}")
def test_a_graphed_module() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 2)).cuda()
    plain = copy.deepcopy(model)
    graphed = torch.cuda.make_graphed_callables(model, (torch.randn(3, 4, device="cuda"),))
    x = torch.randn(3, 4, device="cuda")
    for net in (graphed, plain):
        net(x).square().sum().backward()
    for a, b in zip(model.parameters(), plain.parameters(), strict=True):
        same(a.grad, b.grad)


def test_the_examples_of_the_page_run(cuda: str) -> None:
    """On the stand-in they are only captured; with a GPU, test_docs.py trains with them."""
    page = pathlib.Path(__file__).parent.parent / "docs" / "how-to" / "gpu.md"
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.M | re.S)
    assert len(blocks) == 3
    exec("\n".join(blocks), {})
