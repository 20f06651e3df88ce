"""`as_strided` of views, of leaves, and of leaves that are views: random chains beside torch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_edu as ours

torch = pytest.importorskip("torch")

OURS_ALONE = ("without gaps", "reach beyond the tensor that requires grad")
"""What is refused here and not in torch."""


def view(x: Any, kind: int, n: int) -> Any:
    """One of several views of `x`, the same for both libraries."""
    if kind == 0 and x.ndim:
        return x[n % x.shape[0] :]
    if kind == 1 and x.ndim > 1:
        return x[n % x.shape[0]]
    if kind == 2 and x.ndim > 1:
        return x.transpose(0, x.ndim - 1)
    if kind == 3 and x.is_contiguous():
        return x.view(-1)
    if kind == 4:
        return x.unsqueeze(n % (x.ndim + 1))
    if kind == 5 and x.ndim > 1:
        return x[..., n % x.shape[-1] :]
    return x


def positions(shape: Any, stride: Any, offset: int) -> set[int]:
    """Where in memory the elements lie."""
    found = {offset}
    for count, step in zip(shape, stride, strict=True):
        found = {place + i * step for place in found for i in range(count)}
    return found


def run(library: Any, seed: int) -> Any:
    """The tensors of one random chain and the gradient, or the error's text."""
    random = np.random.default_rng(seed)
    x = library.arange(24.0).view(*[(4, 6), (2, 3, 4), (24,)][seed % 3])
    for _ in range(random.integers(3)):
        x = view(x, int(random.integers(6)), int(random.integers(4)))
    leaf = x.requires_grad_()
    if random.integers(3) == 0:
        x = x * 1.0
    for _ in range(random.integers(3)):
        x = view(x, int(random.integers(6)), int(random.integers(4)))
    size = tuple(int(n) for n in random.integers(1, 4, int(random.integers(1, 3))))
    stride = tuple(int(n) for n in random.integers(0, 4, len(size)))
    offset = None if random.integers(2) else x.storage_offset() + int(random.integers(-3, 4))
    if offset is not None and offset < 0:
        offset = None
    own = positions(x.shape, x.stride(), x.storage_offset())
    start = x.storage_offset() if offset is None else offset
    inside = positions(size, stride, start) <= own
    try:
        y = x.as_strided(size, stride, offset)
    except RuntimeError as error:
        return str(error)
    u = library.from_numpy(random.standard_normal(size).astype(np.float32))
    (y * u).sum().backward()
    return x.storage_offset(), y.tolist(), y.requires_grad, inside, leaf.grad


@pytest.mark.parametrize("start", range(0, 600, 100))
def test_random_chains(start: int) -> None:
    agreed = 0
    for seed in range(start, start + 100):
        mine, theirs = run(ours, seed), run(torch, seed)
        if isinstance(mine, str):
            assert isinstance(theirs, str) or any(text in mine for text in OURS_ALONE), (seed, mine)
            continue
        assert not isinstance(theirs, str), (seed, theirs)
        assert mine[:4] == theirs[:4], seed
        if mine[3]:  # torch drops the gradients of what lies outside of the view
            np.testing.assert_allclose(mine[4].numpy(), theirs[4].numpy(), rtol=1e-5, atol=1e-6)
            agreed += 1
    assert agreed >= 20
