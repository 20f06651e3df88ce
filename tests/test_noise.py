"""RReLU and the Gumbel softmax draw what torch draws; missing names say what is near."""

from __future__ import annotations

import numpy as np
import pytest
from beside_torch import beside_torch, same_error

import tinygrad_edu as ours

torch = pytest.importorskip("torch")
random = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("training", [False, True])
def test_rrelu(training, dtype):
    def run(T, x):
        T.manual_seed(2)
        return T.nn.functional.rrelu(x, 0.2, 0.7, training)

    beside_torch(run, random.standard_normal((5, 7)), dtype=dtype)
    for T in (ours, torch):
        T.manual_seed(2)
        x = T.tensor([-1.0, 2.0, -3.0])
        assert T.nn.RReLU(inplace=True)(x) is x
    assert repr(ours.nn.RReLU()) == repr(torch.nn.RReLU())
    same_error(lambda T: T.nn.functional.rrelu(T.ones(2), 2.0, 1.0), "")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hard", [False, True])
def test_gumbel_softmax(hard, dtype):
    def run(T, x):
        T.manual_seed(4)
        return T.nn.functional.gumbel_softmax(x, tau=0.7, hard=hard, dim=1)

    beside_torch(run, random.standard_normal((4, 6, 3)), dtype=dtype)


def test_missing_names():
    cases = [
        (ours, "relux", "relu"), (ours.nn, "Liner", "Linear"), (ours, "fft", "Fourier"),
        (ours.nn.functional, "cross_entrop", "cross_entropy"), (ours.optim, "Adan", "Adam"),
        (ours.optim, "SparseAdam", "sparse gradients"), (ours.linalg, "eig", "complex numbers"),
        (ours.linalg, "lu_factor", "use solve"), (ours.special, "bessel_j0", "scipy"),
        (ours.distributions, "Weibull", "not built"), (ours, "hann_window", "np.hanning"),
    ]  # fmt: skip
    for module, name, word in cases:
        with pytest.raises(AttributeError, match=word) as caught:
            getattr(module, name)
        assert repr(name) in str(caught.value)
        assert not hasattr(module, name)
