"""Averaged models against torch's."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_edu as tg

torch = pytest.importorskip("torch")


def model(m):
    net = m.nn.Sequential(m.nn.Linear(4, 3), m.nn.BatchNorm1d(3), m.nn.Linear(3, 2))
    rng = np.random.default_rng(0)
    with m.no_grad():
        for p in net.parameters():
            p.copy_(m.tensor(rng.standard_normal(tuple(p.shape)).astype(np.float32)))
    return net


def averages(m):
    u = m.optim.swa_utils
    return [
        {},
        {"avg_fn": u.get_ema_avg_fn(0.9)},
        {"multi_avg_fn": u.get_ema_multi_avg_fn(0.8)},
        {"multi_avg_fn": u.get_swa_multi_avg_fn()},
        {"avg_fn": lambda a, b, n: 0.5 * a + 0.5 * b, "use_buffers": False},
    ]


@pytest.mark.parametrize("case", range(5))
def test_averages_as_torch(case):
    states = []
    for m in (tg, torch):
        net = model(m)
        average = m.optim.swa_utils.AveragedModel(net, **averages(m)[case])
        rng = np.random.default_rng(1)
        for _ in range(4):
            with m.no_grad():
                for p in net.parameters():
                    p.add_(m.tensor(rng.standard_normal(tuple(p.shape)).astype(np.float32)))
            net(m.tensor(rng.standard_normal((8, 4)).astype(np.float32)))
            average.update_parameters(net)
        x = [m.tensor(rng.standard_normal((8, 4)).astype(np.float32)) for _ in range(3)]
        m.optim.swa_utils.update_bn([(b, 0) for b in x], average)
        states.append({k: v.numpy() for k, v in average.state_dict().items()})
        assert average(x[0]).shape == (8, 2)
        assert average.module[1].momentum == 0.1
    assert list(states[0]) == list(states[1])
    for key, expected in states[1].items():
        assert states[0][key].dtype == expected.dtype
        np.testing.assert_allclose(states[0][key], expected, rtol=1e-5, atol=1e-6)


def test_arguments_out_of_range():
    with pytest.raises(ValueError, match="Invalid decay value"):
        tg.optim.swa_utils.get_ema_avg_fn(1.5)
    with pytest.raises(AssertionError, match="Only one of"):
        tg.optim.swa_utils.AveragedModel(
            tg.nn.Linear(1, 1), avg_fn=lambda a, b, n: a, multi_avg_fn=lambda a, b, n: None
        )
