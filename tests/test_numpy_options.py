"""Options that are NumPy's scalars do what Python's numbers do, on every device.

They come from `np.linspace` and `np.logspace`.  To a kernel a scalar goes as the bytes that it has,
and in a NumPy expression it may widen the result.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as torch

F, nn = torch.nn.functional, torch.nn
OPTIMIZERS = {
    name: cls
    for name, cls in vars(torch.optim).items()
    if isinstance(cls, type) and issubclass(cls, torch.optim.Optimizer)
    and cls is not torch.optim.Optimizer
}  # fmt: skip
FLOATS = {
    "lr": 0.0625,
    "weight_decay": 0.125,
    "eps": 0.03125,
    "momentum": 0.875,
    "rho": 0.75,
    "dampening": 0.25,
    "alpha": 0.75,
    "lambd": 0.125,
    "t0": 2.0,
    "momentum_decay": 0.25,
    "lr_decay": 0.25,
    "initial_accumulator_value": 0.5,
    "beta2_decay": -0.75,
    "d": 1.5,
}
"""A value for every option that is a number; all are exact in float32."""
TUPLES = {
    "betas": (0.5, 0.75),
    "etas": (0.5, 1.25),
    "step_sizes": (0.0625, 16.0),
    "eps": (0.125, 0.25),
    "ns_coefficients": (3.5, -4.75, 2.0),
}
NUMBERS = [np.float64, np.float32]


def options_of(cls: type) -> dict[str, Any]:
    parameters = inspect.signature(cls).parameters  # type: ignore[arg-type]
    skipped = ("foreach", "capturable", "differentiable", "fused", "params")
    return {n: p.default for n, p in parameters.items() if n not in skipped}


def test_all_numbers_are_tried() -> None:
    for name, cls in OPTIMIZERS.items():
        for option, default in options_of(cls).items():
            if isinstance(default, float):
                assert option in FLOATS, f"{name}({option}=)"


def steps(cls: Any, device: str, **options: Any) -> list[Any]:
    torch.manual_seed(0)
    p = torch.nn.Parameter(torch.randn(2, 3).to(device))
    optimizer = cls([p], **({"lr": 0.125} | options))
    for factor in (1.0, -0.5, 2.0):
        optimizer.zero_grad()
        (p * p * factor).sum().backward()
        optimizer.step()
    state = [v for v in optimizer.state[p].values() if isinstance(v, torch.Tensor)]
    return [(v.dtype, v.cpu().tolist()) for v in (p, *state)]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_of_optimizers(name: str, device: str) -> None:
    cls = OPTIMIZERS[name]
    for option, default in options_of(cls).items():
        values: list[tuple[Any, list[Any]]] = []
        if isinstance(default, bool):
            values = [(not default, [np.bool_(not default)])]
        elif isinstance(default, float) or option == "lr":
            number = FLOATS[option]
            values = [(number, [kind(number) for kind in NUMBERS])]
        elif isinstance(default, int):
            values = [(2, [np.int64(2)])]
        elif isinstance(default, tuple) and all(isinstance(d, float) for d in default):
            values = [(TUPLES[option], [tuple(np.float64(p) for p in TUPLES[option])])]
        extra = {"momentum": 0.5, "nesterov": True} if option == "nesterov" else {}
        for plain, given in values:
            expected = steps(cls, device, **(extra | {option: plain}))
            for value in given:
                found = steps(cls, device, **(extra | {option: value}))
                assert found == expected, f"{option}={value!r}"


FUNCTIONS: dict[str, Callable[[Any, Callable[[float], Any]], Any]] = {
    "layer_norm": lambda x, n: F.layer_norm(x, (4,), eps=n(0.25)),
    "LayerNorm": lambda x, n: nn.LayerNorm(4, eps=n(0.25)).to(x)(x),
    "rms_norm": lambda x, n: F.rms_norm(x, (4,), eps=n(0.25)),
    "group_norm": lambda x, n: F.group_norm(x, 2, eps=n(0.25)),
    "batch_norm": lambda x, n: F.batch_norm(x, None, None, training=True, eps=n(0.25)),
    "BatchNorm1d": lambda x, n: nn.BatchNorm1d(4, eps=n(0.25), momentum=n(0.5)).to(x)(x),
    "instance_norm": lambda x, n: F.instance_norm(x[None], eps=n(0.25)),
    "dropout": lambda x, n: F.dropout(x, n(0.5)),
    "Dropout": lambda x, n: nn.Dropout(n(0.5))(x),
    "alpha_dropout": lambda x, n: F.alpha_dropout(x, n(0.5)),
    "attention": lambda x, n: F.scaled_dot_product_attention(x, x, x, scale=n(0.25)),
    "attention's dropout": lambda x, n: F.scaled_dot_product_attention(x, x, x, dropout_p=n(0.5)),
    "cross_entropy": lambda x, n: F.cross_entropy(x, x.argmax(1), label_smoothing=n(0.25)),
    "leaky_relu": lambda x, n: F.leaky_relu(x, n(0.25)),
    "elu": lambda x, n: F.elu(x, n(0.25)),
    "celu": lambda x, n: F.celu(x, n(0.25)),
    "softplus": lambda x, n: F.softplus(x, n(0.5), n(2.0)),
    "hardshrink": lambda x, n: F.hardshrink(x, n(0.25)),
    "softshrink": lambda x, n: F.softshrink(x, n(0.25)),
    "threshold": lambda x, n: F.threshold(x, n(0.25), n(0.5)),
    "hardtanh": lambda x, n: F.hardtanh(x, n(-0.25), n(0.5)),
    "huber_loss": lambda x, n: F.huber_loss(x, x * 2, delta=n(0.5)),
    "smooth_l1_loss": lambda x, n: F.smooth_l1_loss(x, x * 2, beta=n(0.5)),
    "normalize": lambda x, n: F.normalize(x, p=n(2.0), eps=n(0.25)),
    "cosine_similarity": lambda x, n: F.cosine_similarity(x, x * 2, eps=n(0.25)),
    "pairwise_distance": lambda x, n: F.pairwise_distance(x, x * 2, p=n(2.0), eps=n(0.25)),
    "triplet": lambda x, n: F.triplet_margin_loss(x, x * 2, -x, margin=n(0.5)),
    "gumbel_softmax": lambda x, n: F.gumbel_softmax(x, tau=n(0.5)),
    "clamp": lambda x, n: x.clamp(n(-0.25), n(0.5)),
    "lerp": lambda x, n: x.lerp(x * 2, n(0.25)),
    "addcmul": lambda x, n: x.addcmul(x, x, value=n(0.25)),
    "add": lambda x, n: x.add(x, alpha=n(0.25)),
    "baddbmm": lambda x, n: torch.addmm(x, x, x, beta=n(0.25), alpha=n(0.5)),
    "masked_fill": lambda x, n: x.masked_fill(x > 0, n(0.25)),
    "full_like": lambda x, n: torch.full_like(x, n(0.25)),
    "uniform_": lambda x, n: x.clone().uniform_(n(-0.25), n(0.5)),
    "normal_": lambda x, n: x.clone().normal_(n(0.25), n(0.5)),
    "bernoulli_": lambda x, n: x.clone().bernoulli_(n(0.5)),
    "exponential_": lambda x, n: x.clone().exponential_(n(0.5)),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_of_functions(name: str, device: str) -> None:
    x = torch.randn(4, 4).to(device)
    for kind in NUMBERS:
        results = []
        for number in (float, kind):
            torch.manual_seed(3)
            y = FUNCTIONS[name](x, number)
            results.append(y)
        assert results[0].dtype == results[1].dtype == x.dtype
        # Where an expression becomes one of float64 in between, the last bit is another one.
        found, expected = (y.detach().cpu() for y in results)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_clipping(device: str) -> None:
    for kind in NUMBERS:
        results = []
        for number in (float, kind):
            p = torch.ones(3, device=device, requires_grad=True)
            p.sum().backward()
            norm = nn.utils.clip_grad_norm_([p], number(0.5), number(2.0))
            nn.utils.clip_grad_value_([p], number(0.25))
            results.append((norm.dtype, norm.item(), p.grad.dtype, p.grad.tolist()))
        assert results[0] == results[1]
