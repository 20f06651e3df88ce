"""Activation layers and functions: kinks, extreme inputs, in-place twins, printing, GELU's kernel.

Ordinary inputs, finite differences and second derivatives are in the table of operations.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as ours
from tinygrad_edu.engine.switches import no_grad
from tinygrad_edu.ops.activation import gelu

torch = pytest.importorskip("torch")

KINKS = [-6.0, -3.0, -2.0, -1.0, -0.5, -0.25, -0.0, 0.0, 0.25, 0.5, 1.0, 2.0, 3.0, 6.0, 20.0]
EXTREME = [math.nan, math.inf, -math.inf, 1e30, -1e30, 100.0, -100.0, 1e-30, 15.0, 88.0]

LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("ReLU", (), {}), ("ReLU6", (), {}), ("LeakyReLU", (), {}), ("LeakyReLU", (0.3,), {}),
    ("LeakyReLU", (-0.3,), {}), ("ELU", (), {}), ("ELU", (1.5,), {}), ("CELU", (2.0,), {}),
    ("SELU", (), {}), ("GELU", (), {}), ("GELU", (), {"approximate": "tanh"}), ("SiLU", (), {}),
    ("Mish", (), {}), ("Softplus", (), {}), ("Softplus", (2.0, 4.0), {}), ("Softsign", (), {}),
    ("Tanhshrink", (), {}), ("Hardtanh", (), {}), ("Hardtanh", (-2.0, 0.5), {}),
    ("Hardsigmoid", (), {}), ("Hardswish", (), {}), ("Hardshrink", (), {}),
    ("Hardshrink", (1.0,), {}), ("Softshrink", (), {}), ("Softshrink", (1.0,), {}),
    ("Threshold", (0.5, -7.0), {}), ("PReLU", (), {}), ("LogSigmoid", (), {}), ("Sigmoid", (), {}),
    ("Tanh", (), {}), ("GLU", (), {}), ("Softmax", (0,), {}), ("LogSoftmax", (0,), {}),
    ("Softmin", (0,), {}),
]  # fmt: skip
layers = pytest.mark.parametrize(("name", "args", "kwargs"), LAYERS, ids=lambda v: str(v))


def run(lib: Any, name: str, args: Any, kwargs: Any, values: Any, dtype: str) -> tuple[Any, Any]:
    """The layer's output, and the gradient of its input from a fixed random cotangent."""
    x = lib.tensor(values, dtype=getattr(lib, dtype), requires_grad=True)
    layer = getattr(lib.nn, name)(*args, **kwargs)
    if name == "PReLU":
        layer.to(getattr(lib, dtype))
    y = layer(x)
    cotangent = np.random.default_rng(0).normal(size=tuple(y.shape))
    y.backward(lib.tensor(cotangent.tolist(), dtype=getattr(lib, dtype)))
    return y.detach().numpy(), x.grad.numpy()


@layers
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layers_at_kinks(name: str, args: Any, kwargs: Any, dtype: str) -> None:
    values = KINKS[1:] if name == "GLU" else KINKS
    found = run(ours, name, args, kwargs, values, dtype)
    expected = run(torch, name, args, kwargs, values, dtype)
    # torch divides by 6 in float32, and so do its float64 gradients of hardsigmoid
    rtol = 1e-12 if dtype == "float64" and name != "Hardsigmoid" else 2e-6
    for ours_, theirs in zip(found, expected, strict=True):
        assert ours_.dtype == theirs.dtype
        np.testing.assert_allclose(ours_, theirs, rtol=rtol, atol=rtol)


@layers
def test_layers_at_extremes(name: str, args: Any, kwargs: Any) -> None:
    if name in ("Softmax", "LogSoftmax", "Softmin"):
        pytest.skip("one nan makes all nan")
    found, slope = run(ours, name, args, kwargs, EXTREME, "float64")
    expected, their_slope = run(torch, name, args, kwargs, EXTREME, "float64")
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    finite = np.isfinite(their_slope)  # torch's own formulas give inf * 0 at some infinities
    finite[0] &= "shrink" not in name and name not in (
        "ReLU6",
        "Hardtanh",
    )  # at nan it depends on the CPU
    rtol = 2e-6 if name == "Hardsigmoid" else 1e-12
    np.testing.assert_allclose(slope[finite], their_slope[finite], rtol=rtol, atol=1e-25)


@layers
def test_repr(name: str, args: Any, kwargs: Any) -> None:
    assert repr(getattr(ours.nn, name)(*args, **kwargs)) == repr(
        getattr(torch.nn, name)(*args, **kwargs)
    )


IN_PLACE = [
    (name, args) for name, args, kwargs in LAYERS
    if name in ("ReLU", "ReLU6", "LeakyReLU", "ELU", "CELU", "SELU", "SiLU", "Mish", "Hardtanh",
                "Hardsigmoid", "Hardswish", "Threshold")
]  # fmt: skip


@pytest.mark.parametrize(("name", "args"), IN_PLACE, ids=lambda v: str(v))
def test_in_place_layers(name: str, args: Any) -> None:
    """The input itself becomes the result, and the gradient is that of the ordinary layer."""
    values = [-1.5, -0.4, 0.7, 2.0]

    def gradient(inplace: bool) -> Any:
        x = ours.tensor(values, dtype=ours.float64, requires_grad=True)
        h = x * 1
        y = getattr(ours.nn, name)(*args, inplace=inplace)(h)
        assert (y is h) == inplace
        (y * y).sum().backward()
        return x.grad

    assert ours.equal(gradient(True), gradient(False))
    assert repr(getattr(ours.nn, name)(*args, inplace=True)) == repr(
        getattr(torch.nn, name)(*args, inplace=True)
    )


def test_in_place_on_a_leaf_is_refused() -> None:
    x = ours.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf Variable"):
        ours.nn.functional.relu(x, inplace=True)
    with no_grad():
        assert ours.nn.functional.relu(x, inplace=True) is x


def test_in_place_overwrites_what_an_earlier_rule_keeps() -> None:
    x = ours.ones(2, requires_grad=True)
    h = ours.exp(x)  # keeps its output
    ours.relu_(h)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        h.sum().backward()


@pytest.mark.parametrize("size", [1, 1000, 100_003])
@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gelu_kernel_equals_its_definition(size: int, approximate: str, dtype: str) -> None:
    """Value and gradient; also by blocks, and for an input that is not contiguous."""
    data = np.random.default_rng(size).normal(size=(size, 2)).astype(dtype) * 3
    definition = gelu.primitive.definition
    assert definition is not None
    for take in (lambda t: t, lambda t: t.T, lambda t: t[:, 0]):
        results = []
        for function in (gelu, definition):
            x = ours.tensor(data, requires_grad=True)
            y = function(take(x), approximate)
            y.backward(ours.tensor(np.cos(take(data) * 5)))
            results.append((y.detach().numpy(), x.grad.numpy()))  # type: ignore[union-attr]
        rtol = 1e-12 if dtype == "float64" else 2e-6
        for kernel, composed in zip(*results, strict=True):
            np.testing.assert_allclose(kernel, composed, rtol=rtol, atol=rtol)


def test_second_derivative_of_gelu() -> None:
    for approximate in ("none", "tanh"):
        seconds = []
        for lib in (ours, torch):
            x = lib.linspace(-3, 3, 13, dtype=lib.float64).requires_grad_()
            y = lib.nn.functional.gelu(x, approximate=approximate)
            (g,) = lib.autograd.grad(y.sum(), x, create_graph=True)
            (h,) = lib.autograd.grad((g * g).sum(), x)
            seconds.append(h.numpy())
        np.testing.assert_allclose(*seconds, rtol=1e-10, atol=1e-12)


def test_prelu_learns_one_weight_per_channel() -> None:
    data = np.random.default_rng(0).normal(size=(4, 3, 5)).tolist()
    weights = []
    for lib in (ours, torch):
        layer = lib.nn.PReLU(3)
        assert [(k, tuple(v.shape)) for k, v in layer.state_dict().items()] == [("weight", (3,))]
        (layer(lib.tensor(data)) ** 2).sum().backward()
        weights.append(layer.weight.grad.numpy())
    np.testing.assert_allclose(*weights, rtol=1e-5)


def test_softmax2d_wants_images() -> None:
    x = ours.ones(1, 2, 3, 3)
    assert ours.nn.Softmax2d()(x)[0, 0, 0, 0].item() == 0.5
    with pytest.raises(ValueError, match="3D or 4D"):
        ours.nn.Softmax2d()(ours.ones(2, 2))


def test_masked_infinities_do_not_become_nan() -> None:
    """The gradient where relu is off is 0, even if an infinite one arrives."""
    x = ours.tensor([-1.0, 1.0], requires_grad=True)
    ours.relu(x).backward(ours.tensor([math.inf, math.inf]))
    assert x.grad is not None and x.grad.tolist() == [0.0, math.inf]


@pytest.mark.parametrize(
    "bad",
    [
        lambda lib: lib.relu(lib.tensor([True])),
        lambda lib: lib.nn.functional.gelu(lib.tensor([1])),
        lambda lib: lib.nn.functional.gelu(lib.ones(1), approximate="maybe"),
        lambda lib: lib.nn.functional.glu(lib.ones(3)),
        lambda lib: lib.nn.functional.glu(lib.ones(4), 1),
        lambda lib: lib.nn.functional.hardtanh(lib.ones(1), 2.0, 1.0),
        lambda lib: lib.nn.functional.prelu(lib.ones(2, 3), lib.ones(2)),
        lambda lib: lib.nn.functional.prelu(lib.ones(2, 3), lib.ones(1, 3)),
        lambda lib: lib.nn.functional.softshrink(lib.ones(1), -1.0),
        lambda lib: lib.nn.functional.celu(lib.ones(1), 0.0),
        lambda lib: lib.nn.Hardtanh(1.0, 1.0),
        lambda lib: lib.nn.ReLU(1, 2, 3),
    ],
)
def test_bad_input(bad: Any) -> None:
    with pytest.raises(Exception) as theirs:  # noqa: B017
        bad(torch)
    with pytest.raises(theirs.type):
        bad(ours)
