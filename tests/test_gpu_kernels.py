"""Every kernel for the GPU equals its definition in NumPy, and its source compiles.

On the stand-in the kernels run on the host (tests/strict_cupy/kernels.py), the threads of a block
in rising and in falling order.
"""

from __future__ import annotations

import math
import os
import pathlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import nvrtc
import pytest
import strict_cupy
from strict_cupy import kernels as host

import tinygrad_edu as torch
from tinygrad_edu.kernels import cross_entropy, gelu, layer_norm, philox
from tinygrad_edu.kernels.adam import adam_calls
from tinygrad_edu.kernels.cuda import (
    attention,
    checks,
    elementwise,
    embedding,
    launch,
    norm,
    products,
    softmax,
    tensors,
)
from tinygrad_edu.kernels.undivided import undivided

FOLDER = pathlib.Path(launch.__file__).parent
started: set[tuple[str, str]] = set()
"""The kernels that a test has started."""


@pytest.fixture(params=["forwards", "backwards"])
def xp(request: pytest.FixtureRequest, cuda: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The array module; the order of the threads matters on the stand-in only."""
    import cupy

    if not hasattr(cupy, "RawModule"):
        pytest.skip("no C++ compiler to run kernels with")
    monkeypatch.setattr(host, "BACKWARDS", request.param == "backwards")
    start, calls = launch.start, launch.calls

    def noted(file: str, name: str, *args: Any, **kwargs: Any) -> None:
        started.add((file, name))
        start(file, name, *args, **kwargs)

    def listed(file: str, name: str, *args: Any, **kwargs: Any) -> Any:
        started.add((file, name))
        return calls(file, name, *args, **kwargs)

    for module in (attention, checks, elementwise, embedding, norm, softmax, tensors):
        monkeypatch.setattr(module, "start", noted)
    monkeypatch.setattr(tensors, "calls", listed)
    return cupy


FLOATS = [np.float32, np.float64]
dtypes = pytest.mark.parametrize("dtype", FLOATS)


def random(*shape: int, dtype: Any, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(dtype)


def close(found: Any, expected: Any, dtype: Any, scale: float = 1.0) -> None:
    tolerance = (1e-5 if dtype == np.float32 else 1e-12) * scale
    assert found.dtype == expected.dtype and found.shape == expected.shape
    np.testing.assert_allclose(found.get(), expected, rtol=tolerance, atol=tolerance)


SHAPES = [(5, 7), (3, 1), (2, 3, 70), (1, 300), (0, 4)]


@dtypes
@pytest.mark.parametrize("shape", SHAPES)
def test_softmax(shape: tuple[int, ...], dtype: Any, xp: Any) -> None:
    x, g = random(*shape, dtype=dtype) * 5, random(*shape, dtype=dtype, seed=1)
    for name, gradient, run in [
        ("softmax", softmax.softmax_gradient, softmax.softmax),
        ("log_softmax", softmax.log_softmax_gradient, softmax.log_softmax),
    ]:
        t = torch.tensor(x, requires_grad=True)
        y = getattr(torch, name)(t, -1)
        y.backward(torch.tensor(g))
        found = run(xp.asarray(x))
        close(found, y.detach().numpy(), dtype)
        close(gradient(xp.asarray(g), found), t.grad.numpy(), dtype)


def test_softmax_of_a_row_of_infinities(xp: Any) -> None:
    x = np.array([[-np.inf, 0.0, 0.0], [-np.inf] * 3, [np.nan, 0, 1]])
    y = softmax.softmax(xp.asarray(x)).get()
    np.testing.assert_array_equal(y[0], [0, 0.5, 0.5])
    assert np.isnan(y[1:]).all()


@dtypes
@pytest.mark.parametrize("shape", [(4, 10), (7, 65), (1, 1)])
def test_cross_entropy(shape: tuple[int, int], dtype: Any, xp: Any) -> None:
    x, g = random(*shape, dtype=dtype) * 4, random(shape[0], dtype=dtype)
    target = np.random.default_rng(0).integers(shape[1], size=shape[0])
    expected = cross_entropy.forward(x, target)
    found = softmax.cross_entropy(xp.asarray(x), xp.asarray(target), None, -100, "none")
    for a, b in zip(found[:3], expected, strict=True):
        close(a, b, dtype)
    gx = softmax.cross_entropy_gradient(xp.asarray(g), xp.asarray(target), *found[1:], -100)
    close(gx, cross_entropy.backward(g, target, *expected[1:]), dtype)


@dtypes
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("weighted", [None, "some", "nothing"])
@pytest.mark.parametrize("ignored", ["none", "some", "all"])
def test_cross_entropy_counts_rows_as_on_a_cpu(
    ignored: str, weighted: str | None, reduction: str, dtype: Any, xp: Any
) -> None:
    x, target = random(9, 5, dtype=dtype) * 4, np.arange(9) % 5
    target[{"none": slice(0), "some": slice(None, None, 2), "all": slice(None)}[ignored]] = 3
    x[0, 1] = np.inf if ignored == "all" else x[0, 1]  # what is ignored may be infinite
    weight = {None: None, "some": torch.arange(5), "nothing": torch.zeros(5)}[weighted]
    found = []
    for place in ("cpu", "cuda"):
        scores = torch.tensor(x, device=place, requires_grad=True)
        loss = torch.nn.functional.cross_entropy(
            scores, torch.tensor(target, device=place), reduction=reduction,
            weight=None if weight is None else weight.to(place, scores.dtype),
            ignore_index=-100 if ignored == "none" else 3,
        )  # fmt: skip
        loss.backward(torch.ones_like(loss) * 2)
        found.append([t.detach().cpu().numpy() for t in (loss, scores.grad)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b, a, *([1e-5] * 2 if dtype == np.float32 else [1e-12] * 2))


def test_a_class_that_does_not_exist_gives_nan(xp: Any) -> None:
    x, target = xp.zeros((3, 2)), xp.asarray(np.array([1, 2, -1]))
    losses, *_ = softmax.cross_entropy(x, target, None, -100, "none")
    assert np.isnan(losses.get()).tolist() == [False, True, True]


@dtypes
@pytest.mark.parametrize("shape", [(3, 8), (70, 33), (200, 5)])
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("affine", ["both", "weight", "neither"])
def test_norm(shape: tuple[int, int], center: bool, affine: str, dtype: Any, xp: Any) -> None:
    x, g = random(*shape, dtype=dtype) + 1, random(*shape, dtype=dtype, seed=1)
    weight = None if affine == "neither" else random(shape[1], dtype=dtype, seed=2)
    bias = random(shape[1], dtype=dtype, seed=3) if affine == "both" else None
    expected = layer_norm.forward(x, weight, bias, 1e-5, center)
    given = [None if a is None else xp.asarray(a) for a in (x, weight, bias, g)]
    found = norm.forward(given[0], given[1], given[2], 1e-5, center)
    for a, b in zip(found, expected, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            close(a, b, dtype, 4)
    for live in [(True, True, True), (False, True, False), (True, False, False)]:
        gradients = norm.backward(given[3], given[0], given[1], found[1], found[2], live)
        references = layer_norm.backward(g, x, weight, expected[1], expected[2], live)
        for a, b in zip(gradients, references, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                close(a, b, dtype, 50)


F = torch.nn.functional
ONE_STEP: list[Callable[..., Any]] = [
    lambda x, z: x + z, lambda x, z: x - z, lambda x, z: x * z, lambda x, z: -x,
    lambda x, z: x * 0.3, lambda x, z: 2 + x, lambda x, z: 2 - x, lambda x, z: x * z[0],
    lambda x, z: z[0] - x, lambda x, z: torch.relu(x), lambda x, z: torch.add(x, z, alpha=0.7),
    lambda x, z: F.gelu(x), lambda x, z: F.gelu(x, approximate="tanh"),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("run", ONE_STEP)
def test_16_bits_are_rounded_once(run: Any, dtype: Any, xp: Any) -> None:
    """The results of the CPU, which computes in float32, to the last bit but for GELU."""
    if dtype is torch.bfloat16:
        pytest.importorskip("ml_dtypes")
    torch.manual_seed(0)
    given, found = [torch.randn(7, 9).to(dtype) for _ in range(3)], []
    for place in ("cpu", "cuda"):
        x, z = (t.to(place).clone().requires_grad_() for t in given[:2])
        y = run(x, z)
        y.backward(given[2].to(place))
        assert y.dtype is dtype
        found.append([t.detach().float().cpu().numpy() for t in (y, x.grad)])
        found[-1] += [] if z.grad is None else [z.grad.float().cpu().numpy()]
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b, a, *((1e-2, 1e-5) if run in ONE_STEP[-2:] else (0, 0)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("run", [
    lambda x: x.view(6, 2), lambda x: x.permute(2, 0, 1), lambda x: x.transpose(0, 2),
    lambda x: x.unsqueeze(1), lambda x: x.unsqueeze(0).squeeze(0), lambda x: x.mT,
])  # fmt: skip
def test_the_gradient_of_a_view_of_16_bits_is_only_moved(run: Any, dtype: Any, xp: Any) -> None:
    """It is not widened and rounded again on the way; its values are the CPU's."""
    if dtype is torch.bfloat16:
        pytest.importorskip("ml_dtypes")
    found = []
    for place in ("cpu", "cuda"):
        x = torch.arange(12.0).reshape(2, 3, 2).to(place).to(dtype).requires_grad_()
        y = run(x)
        g = (torch.arange(12.0).to(place).to(dtype) / 7).reshape(y.shape)
        strict_cupy.Counters.reset()
        y.backward(g)
        assert not strict_cupy.Counters.launches["astype"]
        assert x.grad.dtype is dtype
        found.append(x.grad.float().cpu().numpy())
    np.testing.assert_array_equal(*found)


@dtypes
@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu(approximate: str, dtype: Any, xp: Any) -> None:
    x, g = random(3, 50, dtype=dtype) * 3, random(3, 50, dtype=dtype, seed=1)
    y, p = gelu.gelu(x, approximate)
    close(elementwise.gelu(xp.asarray(x), approximate), y, dtype)
    gx = elementwise.gelu_gradient(xp.asarray(g), xp.asarray(x), approximate)
    close(gx, gelu.gelu_gradient(g, x, p, approximate), dtype)


@pytest.mark.parametrize("dtype", [*FLOATS, "float16", "bfloat16"])
def test_relu(dtype: Any, xp: Any) -> None:
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    x, g = random(5, 41, dtype=dtype), random(5, 41, dtype=dtype, seed=1)
    x[0, :4] = [np.nan, -0.0, np.inf, -np.inf]
    y = elementwise.relu(xp.asarray(x))
    wide = x.astype(np.float64)  # NumPy compares no nan of 16 bits
    np.testing.assert_array_equal(y.get().astype(np.float64), np.maximum(wide, 0))
    gx = elementwise.relu_gradient(xp.asarray(g), y).get()
    np.testing.assert_array_equal(gx, np.where(wide <= 0, np.zeros_like(g), g))
    assert y.dtype == gx.dtype == x.dtype and not np.signbit(y.get()[0, 1])


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (256, 5), (257, 9), (1000, 33), (0, 3), (4, 0)])
@pytest.mark.parametrize("dtype", [*FLOATS, "float16", "bfloat16"])
def test_sums_of_rows(shape: tuple[int, int], dtype: Any, xp: Any) -> None:
    """In 16 bits the exact sum, rounded once, but for its last place."""
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    x = random(*shape, dtype=dtype)
    expected, found = x.astype(np.float64).sum(0), elementwise.add_rows(xp.asarray(x))
    assert found.dtype == x.dtype and found.shape == shape[1:]
    narrow = {2: 1e-2, 4: 1e-5, 8: 1e-12}[x.itemsize]
    np.testing.assert_allclose(found.get().astype(np.float64), expected, narrow, narrow)
    if x.itemsize == 2:
        wide = elementwise.add_rows(xp.asarray(x.astype(np.float32)))
        np.testing.assert_array_equal(found.get(), wide.get().astype(x.dtype))


@pytest.mark.parametrize("n", [1, 4, 1001])
def test_random_words(n: int, xp: Any) -> None:
    state = np.array([(7 << 40) + 5, (3 << 33) + 1], np.uint64)
    np.testing.assert_array_equal(
        elementwise.random_words(xp.asarray(state), n).get(), philox.words(state, n)
    )


@pytest.mark.parametrize("dtype", [*FLOATS, "float16", "bfloat16"])
def test_dropout(dtype: Any, xp: Any) -> None:
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    dtype = np.dtype(dtype).type
    state, x = np.array([5, 0, 0], np.uint64), random(50, 41, dtype=dtype)
    u = (philox.words(state, x.size) >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
    keep = (u < np.float32(0.7)).reshape(x.shape)
    given = xp.asarray(state)
    y, kept = elementwise.dropout(given, xp.asarray(x), 0.3)
    np.testing.assert_array_equal(kept.get(), keep)
    noise = np.where(keep, 1 / 0.7, 0).astype(np.float64 if dtype == np.float64 else np.float32)
    close(y, (x * noise).astype(dtype), dtype)
    close(elementwise.dropout_again(y, kept, 0.3), (y.get() * noise).astype(dtype), dtype)
    assert given.get().tolist() == [5, 1, 0]  # one draw on, whatever the number of blocks


@dtypes
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("drops", [True, False])
@pytest.mark.parametrize("sizes", [(2, 5, 5, 0), (3, 4, 9, 5), (1, 3, 40, 2), (2, 4, 2, 0)])
def test_attention(sizes: tuple[int, ...], drops: bool, causal: bool, dtype: Any, xp: Any) -> None:
    heads, queries, keys, first = sizes
    s, gp = random(heads, queries, keys, dtype=dtype), random(heads, queries, keys, dtype=dtype)
    s[0, 0, :] = -np.inf if not causal else s[0, 0, :]  # a query that sees no key
    keep = np.random.default_rng(0).random(s.shape) < 0.8 if drops else None
    rows = first + np.arange(queries)[:, None]
    seen = np.broadcast_to(np.arange(keys) <= rows if causal else True, s.shape)
    scores = np.where(seen, s, -np.inf).astype(np.float64)
    most = np.maximum(scores.max(-1, keepdims=True), -1e300)
    e = np.exp(scores - most)
    total = e.sum(-1, keepdims=True)
    p = e / np.where(total == 0, 1, total)
    with np.errstate(divide="ignore"):
        lse = np.where(total == 0, np.inf, most + np.log(total))[..., 0]
    factor = 1.25 * keep if drops else np.ones(s.shape)
    given, dropped, sums = xp.asarray(s), xp.empty(s.shape, dtype), xp.empty(s.shape[:-1], dtype)
    mask = None if keep is None else xp.asarray(keep)
    attention.softmax(given, mask, dropped if drops else None, sums, first, causal, 1.25)
    close(given, p.astype(dtype), dtype)
    close(sums, lse.astype(dtype), dtype)
    if drops:
        close(dropped, (p * factor).astype(dtype), dtype)
    inner = random(heads, queries, dtype=dtype, seed=3)
    given, g = xp.asarray(s), xp.asarray(gp)
    attention.gradient(given, g, mask, sums, xp.asarray(inner), first, causal, 1.25)
    close(g, (p * (gp * factor - inner[..., None])).astype(dtype), dtype)
    close(given, (p * factor).astype(dtype), dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("causal, masked", [(True, False), (False, True), (False, False)])
def test_attention_of_16_bits(causal: bool, masked: bool, dtype: Any, xp: Any) -> None:
    """Scores and sums are of 32 bits; only the factors of the products have 16."""
    if dtype is torch.bfloat16:
        pytest.importorskip("ml_dtypes")
    torch.manual_seed(0)
    mask = torch.randn(600, 600) if masked else None
    given = [torch.randn(2, 1, 600, 8).to(dtype) for _ in range(4)]
    found = []
    for place in ("cpu", "cuda"):
        q, k, v = (x.to(place).clone().requires_grad_() for x in given[:3])
        y = torch.nn.functional.scaled_dot_product_attention(
            q, k, v, None if mask is None else mask.to(place, dtype), is_causal=causal
        )
        y.backward(given[3].to(place))
        assert y.dtype is q.grad.dtype is dtype
        found.append([x.detach().float().cpu().numpy() for x in (y, q.grad, k.grad, v.grad)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b, a, rtol=2e-2, atol=2e-2)


@dtypes
@pytest.mark.parametrize("deterministic", [True, False])
def test_embedding(deterministic: bool, dtype: Any, xp: Any) -> None:
    rows = np.array([3, 0, 3, 3, 5, 0, 1])
    g, table = random(7, 40, dtype=dtype), random(6, 40, dtype=dtype, seed=1)
    expected = np.zeros((6, 40), dtype)
    np.add.at(expected, rows, g)
    close(embedding.gradient(xp.asarray(g), xp.asarray(rows), 6, deterministic), expected, dtype)
    found = embedding.read(xp.asarray(table), xp.asarray(np.array([[4, 6], [-1, 0]]))).get()
    np.testing.assert_array_equal(found[[0, 1], [0, 1]], table[[4, 0]])
    assert np.isnan(found[[0, 1], [1, 0]]).all()


def test_indices_out_of_range_are_noted(xp: Any) -> None:
    """As in torch, the error comes when the host next waits for the GPU."""
    checks.require(xp.asarray(np.array([0, 2, -3])), -3, 3)
    checks.require(xp.asarray(np.array([[1], [0]], np.int32)), 0, 2)
    checks.download(xp.zeros(1))
    for wrong in ([0, 3], [-4], [1 << 40]):
        checks.require(xp.asarray(np.array(wrong)), -3, 3)
        with pytest.raises(RuntimeError, match="CUDA error: device-side assert triggered.*index"):
            checks.download(xp.zeros(1))
        checks.download(xp.zeros(1))
    x = torch.tensor([1.0], device="cuda")
    checks.require(xp.asarray(np.array([5])), 0, 1)
    with pytest.raises(RuntimeError, match="out of range"):
        x.item()
    assert x.item() == 1


PRODUCTS: list[tuple[Callable[[Any], Any], Callable[[Any], Any]]] = [
    (lambda x: x[:5, :4], lambda x: x[:4, :3]),
    (lambda x: x[:5, :4].T, lambda x: x[:3, :5].T),
    (lambda x: x[:5, ::2], lambda x: x[::2, 1:4]),  # neither rows nor columns are contiguous
    (lambda x: x[0], lambda x: x[0]),
    (lambda x: x[0], lambda x: x[:3].T),
    (lambda x: x[:3], lambda x: x[1]),
    (lambda x: x[:1, :4], lambda x: x[:4, :1]),
    (lambda x: x[:3, :0], lambda x: x[:0, :2]),
    (lambda x: x[:0, :3], lambda x: x[:3, :2]),
    (lambda x: x.reshape(2, 3, 6, 4), lambda x: x.reshape(2, 3, 6, 4).swapaxes(-1, -2)),
    (lambda x: x.reshape(2, 6, 3, 4).swapaxes(1, 2), lambda x: x.reshape(2, 3, 4, 6)),
    (lambda x: x.reshape(6, 6, 4), lambda x: x[:4, :5]),
    (lambda x: x[:4, :6], lambda x: x.reshape(2, 12, 6)[:, 6:]),
    (lambda x: x.reshape(2, 1, 12, 6), lambda x: x.reshape(3, 6, 8)),
    (lambda x: np.broadcast_to(x[:1, :4], (3, 4)), lambda x: x[:4, :3]),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [*FLOATS, "float16", "bfloat16"])
@pytest.mark.parametrize("first, second", PRODUCTS)
def test_products(first: Any, second: Any, dtype: Any, xp: Any) -> None:
    kind = np.dtype(pytest.importorskip("ml_dtypes").bfloat16 if dtype == "bfloat16" else dtype)
    whole = [random(12, 12, dtype=np.float64, seed=i).astype(kind) for i in range(2)]
    wide = np.float32 if kind.itemsize == 2 else kind
    a, b = (f(x.astype(wide)) for f, x in zip((first, second), whole, strict=True))
    expected = np.matmul(a, b).astype(kind)
    given = [f(xp.asarray(x)) for f, x in zip((first, second), whole, strict=True)]
    outs: list[Any] = [None]
    if expected.ndim > 1:
        *lead, n, m = expected.shape
        outs += [np.empty_like(given[0], shape=(*lead, n, m)),
                 np.empty_like(given[0], shape=(*lead, n, m, 2))[..., 0],
                 np.empty_like(given[0], shape=(*lead, n, m + 2))[..., 1:-1]]  # fmt: skip
    tolerance = {2: 1e-2, 4: 1e-5, 8: 1e-12}[kind.itemsize]
    for out in outs:
        found = products.matmul(*given, out=out)
        assert (
            found.dtype == kind and found.shape == expected.shape and (out is None or found is out)
        )
        np.testing.assert_allclose(
            found.get().astype(wide), expected.astype(wide), rtol=tolerance, atol=tolerance
        )


SIZES = [(3, 5), (), (700,), (0,), (2, 2, 2)] * 20
"""More tensors than one launch takes."""


def several(count: int, dtype: Any) -> list[list[np.ndarray]]:
    return [
        [np.asarray(random(*s, dtype=dtype, seed=10 * i + j) ** (2 if j > 2 else 1))
         for j in range(count)]
        for i, s in enumerate(SIZES)
    ]  # fmt: skip


@dtypes
@pytest.mark.parametrize("decay, decoupled", [(0.0, False), (0.1, False), (0.1, True)])
@pytest.mark.parametrize("amsgrad, counted", [(False, False), (True, False), (True, True)])
def test_adam(
    decay: float, decoupled: bool, amsgrad: bool, counted: bool, dtype: Any, xp: Any
) -> None:
    rows = several(5, dtype)
    given = [[xp.asarray(a) for a in row] for row in rows]
    t = [[xp.asarray(np.float32(3))] if counted else [] for _ in rows]
    at = [a + b for a, b in zip(given, t, strict=True)]
    rest = (0.1, 0.9, 0.99, 1e-3, decay, decoupled, amsgrad, True)
    undivided(tensors.adam_calls(at, None if counted else 3, *rest))
    for found, (x, g, m, v, v_max) in zip(given, rows, strict=True):
        most = v_max if amsgrad else None
        undivided(adam_calls(x, -g, m, v, most, 3, 0.1, 0.9, 0.99, 1e-3, decay, decoupled))
        for a, b in zip(found[:1] + found[2:], (x, m, v, v_max), strict=True):
            close(a, b, dtype, 2e5 if counted and dtype == np.float64 else 3)


@dtypes
@pytest.mark.parametrize("momentum, first, nesterov",
                         [(0.0, False, False), (0.9, True, True), (0.9, False, True),
                          (0.5, False, False)])  # fmt: skip
def test_sgd(momentum: float, first: bool, nesterov: bool, dtype: Any, xp: Any) -> None:
    rows = several(3 if momentum else 2, dtype)
    given = [[xp.asarray(a) for a in row] for row in rows]
    undivided(tensors.sgd_calls(given, 0.1, momentum, 0.25, 0.01, first, nesterov, False))
    for found, (x, g, *rest) in zip(given, rows, strict=True):
        d = g + 0.01 * x
        if momentum:
            b = d if first else momentum * rest[0] + 0.75 * d
            close(found[2], b.astype(dtype), dtype)
            d = d + momentum * b if nesterov else b
        close(found[0], (x - 0.1 * d).astype(dtype), dtype)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_norm_takes_a_gradient_of_16_bits(kind: str, xp: Any) -> None:
    """As it is, and to what the widened one gives."""
    narrow = np.dtype(pytest.importorskip("ml_dtypes").bfloat16 if kind == "bfloat16" else kind)
    x, weight = random(9, 70, dtype=np.float32), random(70, dtype=np.float32)
    g = random(9, 70, dtype=narrow, seed=1)
    _, mean, rstd = norm.forward(xp.asarray(x), xp.asarray(weight), None, 1e-5, True)
    found, expected = (
        norm.backward(xp.asarray(g.astype(to)), xp.asarray(x), xp.asarray(weight), mean, rstd,
                      (True,) * 3)
        for to in (narrow, np.float32)
    )  # fmt: skip
    for ours, wide in zip(found, expected, strict=True):
        assert ours is not None and wide is not None and ours.dtype == np.float32
        np.testing.assert_array_equal(ours.get(), wide.get())


@dtypes
def test_norm_of_all_and_clipping_all(dtype: Any, xp: Any) -> None:
    arrays = [row[0] for row in several(1, dtype)]
    given = [xp.asarray(a) for a in arrays]
    total = math.sqrt(sum(float((a.astype(np.float64) ** 2).sum()) for a in arrays))
    close(tensors.norm(given), np.asarray(total, dtype), dtype)
    tensors.clip(given, xp.asarray(np.asarray(5, dtype)), 2.0)
    factor = dtype(2 / (5 + 1e-6))
    tensors.clip(given, xp.asarray(np.asarray(0.5, dtype)), 2.0)  # no more than 1
    undivided(tensors.add_calls(given, 2.0))
    for a, b in zip(given, arrays, strict=True):
        close(a, b * factor + dtype(2), dtype, 4)
    tensors.clip(given, xp.asarray(np.asarray(np.nan, dtype)), 2.0)
    assert all([np.isnan(a.get()).all() for a in given])


# The sources --------------------------------------------------------------------------------------


def test_every_kernel_has_been_run() -> None:
    """Runs last: each kernel of the sources was started above."""
    if not started or "PYTEST_XDIST_WORKER" in os.environ:
        pytest.skip("the tests above did not run, or not all in this process")
    every = {
        (path.stem, name)
        for path in FOLDER.glob("*.cu")
        for name in re.findall(r"KERNEL (\w+)\(", path.read_text())
    }
    assert every and {file for file, _ in every} == set(launch.FILES)
    assert {pair for pair in every if pair[0] != "flash"} <= started  # of test_gpu_attention.py


@pytest.mark.skipif(nvrtc.compiler() is None, reason="pip install nvidia-cuda-nvrtc-cu12 (90 MB)")
@pytest.mark.parametrize("gpu", nvrtc.GPUS)
@pytest.mark.parametrize(("file", "dtype"), [s[:2] for s in nvrtc.sources() if not s[2]])
def test_sources_compile_into_registers(file: str, dtype: str, gpu: str) -> None:
    """All that a thread computes with fits its registers: four blocks share a multiprocessor."""
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    found = nvrtc.compiled(file, dtype, "", gpu)
    assert set(found) == set(re.findall(r"KERNEL (\w+)\(", (FOLDER / f"{file}.cu").read_text()))
    for name, used in found.items():
        assert used.spilled == 0 and used.shared <= 4096, (name, used)
        assert used.registers <= 64, (name, used)


@pytest.mark.skipif(nvrtc.compiler() is None, reason="pip install nvidia-cuda-nvrtc-cu12 (90 MB)")
def test_what_does_not_fit_the_registers_is_seen() -> None:
    code = launch.source("elementwise", np.float32, 256) + (
        'extern "C" __global__ void __launch_bounds__(1024, 2) greedy(float* x) { float y[200];'
        " for (int r = 0; r < 9; r++) {\n#pragma unroll\n for (int i = 0; i < 200; i++)"
        " y[i] = x[i * 7 + threadIdx.x] + (r ? y[(i + 1) % 200] : 0);\n#pragma unroll\n"
        " for (int i = 0; i < 200; i++) x[i * 7 + threadIdx.x] = y[i]; } }"
    )
    assert nvrtc.usage(code, "sm_80")["greedy"].spilled > 0
    with pytest.raises(RuntimeError, match="error"):
        nvrtc.usage("not CUDA", "sm_80")


# The stand-in finds what a GPU would not say ------------------------------------------------------


def test_the_stand_in_finds_mistakes() -> None:
    if host.COMPILER is None:
        pytest.skip("no C++ compiler to run kernels with")
    code = launch.source("softmax", np.float32, 8) + (
        "KERNEL stuck(T* x) { if (threadIdx.x < 2) return; __syncthreads(); x[0] = 1; }"
    )
    with strict_cupy.installed() as cupy:
        module = cupy.RawModule(code=code)
        x = cupy.zeros((4, 8), np.float32)
        with pytest.raises(strict_cupy.StrictError, match="barrier"):
            module.get_function("stuck")((1,), (8,), (x,))
        forward = module.get_function("softmax_forward")
        for wrong in [(x, x), (x, x, np.int32(8)), (x, x.T, np.int64(8)), (x, 0, np.int64(8))]:
            with pytest.raises(strict_cupy.StrictError):
                forward((4,), (8,), wrong)


def test_the_stand_in_refuses_what_cupy_refuses() -> None:
    """Seen with CuPy 14.2 itself: of NumPy none of these would raise."""
    with strict_cupy.installed() as cupy:
        x, index = cupy.zeros((2, 3), np.float32), cupy.zeros(4, np.int64)
        with pytest.raises(TypeError, match="NotImplemented"):
            np.add.at(x, (slice(None), index), 1.0)
        for shape in ((), 0):  # taken for none, so that the result would be (2, 3)
            with pytest.raises(strict_cupy.StrictError, match="for none given"):
                np.zeros_like(x, shape=shape)
        with cupy.cuda.Stream() as stream:
            stream.begin_capture()
            with pytest.raises(NotImplementedError, match="during stream capture"):
                x @ x.T
            stream.end_capture()
        if host.COMPILER is not None:
            function = cupy.RawModule(code=launch.source("softmax", np.float32, 8))
            with pytest.raises(TypeError, match="of size one"):
                function.get_function("softmax_forward")((1,), (8,), (x, x, np.zeros(2, np.int64)))
