"""Adafactor and Muon, the optimizers that treat a matrix as one, beside torch's."""

from __future__ import annotations

import numpy as np
import pytest
from beside_torch import close, ours, same_error, torch

from tinygrad_edu.optim.more.muon import orthogonal

random = np.random.default_rng(0)


def steps(T, name, values, gradients, **options):
    """The parameters after a step for each set of gradients, and the last state."""
    params = [T.from_numpy(v.copy()).requires_grad_() for v in values]
    optimizer = getattr(T.optim, name)(params, **options)
    for arrays in gradients:
        for p, g in zip(params, arrays, strict=True):
            p.grad = T.from_numpy(g)
        optimizer.step()
    return [*params, *[s for p in params for s in optimizer.state[p].values()]]


def numbers(shapes, dtype):
    return [np.asarray(random.standard_normal(shape), dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "options",
    [{}, dict(lr=0.3, weight_decay=0.1), dict(beta2_decay=-0.3, d=1.5, maximize=True),
     dict(eps=(1e-3, 0.5), foreach=False)],
)  # fmt: skip
def test_adafactor(options, dtype):
    """Matrices, vectors, a number, and a stack of matrices."""
    shapes = [(5, 7), (7,), (), (2, 3, 4), (1, 1)]
    values, gradients = numbers(shapes, dtype), [numbers(shapes, dtype) for _ in range(4)]
    gradients[2][1][:] = 0.0
    found = [steps(T, "Adafactor", values, gradients, **options) for T in (ours, torch)]
    for i, (a, b) in enumerate(zip(*found, strict=True)):
        close(a, b, dtype, str(i))


@pytest.mark.parametrize("shape", [(17, 33), (40, 8), (6, 6), (1, 5)])
@pytest.mark.parametrize(
    "options",
    [{}, dict(lr=0.1, nesterov=False, weight_decay=0.0), dict(adjust_lr_fn="match_rms_adamw")],
)
def test_muon(shape, options):
    """To the precision of the bfloat16 numbers that both round to, in another order of sums."""
    values, gradients = numbers([shape], "float32"), [numbers([shape], "float32") for _ in range(3)]
    mine, theirs = (steps(T, "Muon", values, gradients, **options) for T in (ours, torch))
    moved = theirs[0].detach().numpy() - values[0]
    off = mine[0].detach().numpy() - theirs[0].detach().numpy()
    assert np.linalg.norm(off) < 0.01 * np.linalg.norm(moved)
    close(mine[1], theirs[1], "float32", "momentum")


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (9, 9)])
def test_a_step_of_muon_is_nearly_orthogonal(shape):
    g = random.standard_normal(shape)
    u = orthogonal(g, (3.4445, -4.7750, 2.0315), 10, 1e-7)
    values = np.linalg.svd(u, compute_uv=False)
    assert 0.5 < values.min() and values.max() < 1.4
    left, _, right = np.linalg.svd(g, full_matrices=False)
    inside = left.T @ u @ right.T  # diagonal: the singular vectors are g's
    assert abs(inside - np.diag(np.diag(inside))).max() < 0.1


@pytest.mark.parametrize(
    "run",
    [
        lambda T, w: T.optim.Muon([w], lr=-1.0),
        lambda T, w: T.optim.Muon([w], momentum=-1.0),
        lambda T, w: T.optim.Muon([w], weight_decay=-1.0),
        lambda T, w: T.optim.Muon([w[0]]),
        lambda T, w: T.optim.Muon([w], ns_steps=100).step(),
        lambda T, w: T.optim.Muon([w], ns_coefficients=(1.0, 2.0)).step(),
        lambda T, w: T.optim.Adafactor([w], lr=-1.0),
        lambda T, w: T.optim.Adafactor([w], eps=(None, -1.0)),
        lambda T, w: T.optim.Adafactor([w], weight_decay=-1.0),
    ],
)
def test_refusals(run):
    def with_gradient(T):
        w = T.ones(2, 2)
        w.grad = T.ones(2, 2)
        return run(T, w)

    same_error(with_gradient)
