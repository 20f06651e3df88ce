"""The kernels of optimizers: equal to their definitions, in blocks, whatever the memory order."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu.kernels.adam import adam_calls
from tinygrad_edu.kernels.blocks import BLOCK, blocks
from tinygrad_edu.kernels.sgd import sgd_calls
from tinygrad_edu.kernels.undivided import undivided
from tinygrad_edu.optim.adam import adam
from tinygrad_edu.optim.sgd import sgd

torch = pytest.importorskip("torch")


def arrays(seed, dtype=np.float32, shapes=()):
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.standard_normal(shape)).astype(dtype) for shape in shapes]


def same(ours, theirs, rtol, atol):
    for p, q in zip(ours, theirs, strict=True):
        expected = q.detach().numpy()
        assert p.array.dtype == expected.dtype
        assert tuple(p.shape) == expected.shape
        np.testing.assert_allclose(p.detach().cpu().numpy(), expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize("order", ["C", "F", "mixed"])
@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1}, {"amsgrad": True}])
def test_blocks_and_memory_orders(order, options):
    """Larger than a block; parameter and gradient in the same and in different memory orders."""
    values, gradient = arrays(11, shapes=[(700, 400), (700, 400)])
    assert values.nbytes > BLOCK
    p = tg.tensor(values.T.copy()).t() if order != "C" else tg.tensor(values.copy())
    p = p.detach().requires_grad_()
    q = torch.tensor(values, requires_grad=True)
    q.grad = torch.tensor(gradient)
    p.grad = tg.tensor(gradient.T.copy()).t() if order == "F" else tg.tensor(gradient)
    made = [m.optim.Adam([x], lr=0.1, **options) for m, x in ((tg, p), (torch, q))]
    for _ in range(3):
        for optimizer in made:
            optimizer.step()
    same([p], [q], 2e-6, 2e-6)
    np.testing.assert_array_equal(p.grad.numpy(), gradient)  # the gradient is only read


def test_blocks_cover_everything_once():
    x = np.zeros(BLOCK // 8 * 3 + 5)
    for part, scratch in blocks(x):
        assert scratch.shape == part.shape
        part += 1
    assert (x == 1).all()


@pytest.mark.parametrize("options", [(0.0, False), (0.1, False), (0.1, True)])
@pytest.mark.parametrize("amsgrad", [False, True])
def test_adam_kernel_equals_its_definition(options, amsgrad):
    x, g, m, v, w = (a.astype(np.float64) for a in arrays(12, shapes=[(90, 300)] * 5))
    v, w = v * v, w * w if amsgrad else None
    rest = (3, 0.1, 0.9, 0.99, 1e-3, *options)
    expected = adam(x, g, m, v, w, *rest)
    undivided(adam_calls(x, g, m, v, w, *rest))
    for found, value in zip((x, m, v, w), expected, strict=True):
        if value is not None:
            np.testing.assert_allclose(found, value, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize(
    "momentum, dampening, nesterov",
    [(0.0, 0.0, False), (0.9, 0.0, False), (0.9, 0.3, False), (0.9, 0.0, True)],
)
def test_sgd_kernel_equals_its_definition(momentum, dampening, nesterov, weight_decay, first):
    x, g, b = (a.astype(np.float64) for a in arrays(13, shapes=[(90, 500)] * 3))
    assert x.nbytes > BLOCK
    rest = (0.1, momentum, dampening, weight_decay, nesterov)
    expected, buffer = sgd(x, g, None if first else b, *rest)
    undivided(sgd_calls(x, g, b if momentum else None, first, *rest))
    np.testing.assert_allclose(x, expected, rtol=1e-13, atol=1e-15)
    if momentum:
        np.testing.assert_allclose(b, buffer, rtol=1e-13, atol=1e-15)
