"""Products with a bias, or its gradient, on the way: as a product and a second launch give it."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import strict_cupy

import tinygrad_edu as torch
from tinygrad_edu.backend import switches
from tinygrad_edu.kernels.cuda import epilogues, products


@pytest.fixture
def xp(cuda: str) -> Any:
    import cupy

    if not hasattr(cupy, "RawModule") or epilogues._library(cupy) is None:
        pytest.skip("cuBLASLt cannot be had")
    return cupy


KINDS = {"float32": 1e-5, "tf32": 1e-2, "float16": 2e-3, "bfloat16": 1e-2}
N, I, O = 37, 20, 12  # noqa: E741


def given(name: str, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    kind = pytest.importorskip("ml_dtypes").bfloat16 if name == "bfloat16" else name
    kind = "float32" if name == "tf32" else kind
    draw = np.random.default_rng(0)
    return [draw.standard_normal(shape).astype(kind) for shape in shapes]


def as_laid(xp: Any, x: np.ndarray, how: str) -> Any:
    """On the GPU: in rows, in columns, or as part of a wider array that begins anywhere."""
    if how == "columns":
        return xp.asarray(np.ascontiguousarray(x.T)).T
    if how == "part":
        wide = np.zeros((x.shape[0] + 1, x.shape[1] + 3), x.dtype)
        wide[1:, 2:-1] = x
        return xp.asarray(wide)[1:, 2:-1]
    return xp.asarray(x)


@pytest.mark.parametrize("how", ["rows", "columns", "part"])
@pytest.mark.parametrize("name", KINDS)
def test_linear(name: str, how: str, xp: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switches, "tf32", name == "tf32")
    x, weight, bias = given(name, (N, I), (O, I), (O,))
    expected = x.astype(float) @ weight.T.astype(float) + bias.astype(float)
    for _ in range(2):  # asked for an algorithm, and with what was found
        found = epilogues.linear(as_laid(xp, x, how), as_laid(xp, weight, how), xp.asarray(bias))
        assert found is not None and found.dtype == x.dtype
        np.testing.assert_allclose(found.get().astype(float), expected, KINDS[name], KINDS[name])


@pytest.mark.parametrize("how", ["rows", "columns", "part"])
@pytest.mark.parametrize("name", KINDS)
def test_weight_gradient(name: str, how: str, xp: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switches, "tf32", name == "tf32")
    g, x = given(name, (N, O), (N, I))
    on_gpu = as_laid(xp, g, how)
    found = epilogues.weight_gradient(on_gpu, as_laid(xp, x, how))
    sums = epilogues.sums(on_gpu)
    assert found is not None and sums is not None and found.dtype == sums.dtype == x.dtype
    scale = KINDS[name] * 10
    np.testing.assert_allclose(
        found.get().astype(float), g.T.astype(float) @ x.astype(float), scale, scale)  # fmt: skip
    np.testing.assert_allclose(sums.get().astype(float), g.astype(float).sum(0), scale, scale)
    assert epilogues.sums(on_gpu) is None  # they are handed out once


def test_sums_are_those_of_what_was_given(xp: Any) -> None:
    g, other, x = (xp.asarray(a) for a in given("float32", (N, O), (N, O), (N, I)))
    epilogues.weight_gradient(g, x)
    assert epilogues.sums(other) is None
    epilogues.weight_gradient(g, x)
    assert epilogues.sums(g[:-1]) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("lead", [(5,), (2, 3), ()])
@pytest.mark.parametrize("live", ["xwb", "wb", "b", "w", "x"])
def test_a_layer_learns_as_on_a_cpu(live: str, lead: Any, dtype: Any, xp: Any) -> None:
    torch.manual_seed(0)
    arrays = [torch.randn(*lead, 6), torch.randn(4, 6), torch.randn(4), torch.randn(*lead, 4)]
    found = []
    for place in ("cpu", "cuda"):
        *inputs, g = (t.to(place, dtype).detach().clone() for t in arrays)
        for name, t in zip("xwb", inputs, strict=True):
            t.requires_grad_(name in live)
        torch.nn.functional.linear(*inputs).backward(g)
        found.append([t.grad.float().cpu().numpy() for t in inputs if t.grad is not None])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b, a, *([5e-3] * 2 if dtype is torch.float16 else [1e-5] * 2))


def test_two_layers_that_share_a_gradient(xp: Any) -> None:
    """The sum hands the same array to both, and one of them has a weight that does not learn."""
    torch.manual_seed(0)
    layers = [torch.nn.Linear(3, 4), torch.nn.Linear(3, 4)]
    x, g = torch.randn(5, 3), torch.randn(5, 4)
    for first in (0, 1):
        for layer in layers:
            layer.zero_grad()
            layer.weight.requires_grad_(True)
        layers[first].weight.requires_grad_(False)
        on_gpu = [layer.to("cuda") for layer in layers]
        (on_gpu[0](x.cuda()) + on_gpu[1](x.cuda())).backward(g.cuda())
        for layer in on_gpu:
            np.testing.assert_allclose(layer.bias.grad.cpu(), g.numpy().sum(0), 1e-5, 1e-5)


def test_one_launch_a_layer_and_three_back(xp: Any) -> None:
    if not strict_cupy.stands_in():
        pytest.skip("of the stand-in, which counts")
    layer = torch.nn.Linear(6, 4).to("cuda")
    x = torch.randn(5, 6).cuda().requires_grad_()
    strict_cupy.Counters.reset()
    y = layer(x)
    counted = strict_cupy.Counters.launches
    assert dict(counted) == {"cublasLtMatmul": 1}
    g = torch.ones_like(y)
    strict_cupy.Counters.reset()
    y.backward(g)
    counted = strict_cupy.Counters.launches
    assert counted["cublasLtMatmul"] == counted["cublasGemmEx"] == 1 and not counted["add_rows"]


@pytest.fixture(params=["no library", "no function", "no algorithm", "not supported"])
def lacking(request: pytest.FixtureRequest, xp: Any, monkeypatch: Any) -> Iterator[None]:
    """A machine on which cuBLASLt, or what is asked of it, is missing."""
    if not strict_cupy.stands_in():
        pytest.skip("of the stand-in")
    epilogues.forget()
    library = epilogues.open_library(12)
    refuses = ctypes.c_int.in_dll(library.library, "lt_refuses")

    def missing(major: int) -> Any:
        if request.param == "no library":
            raise OSError("libcublasLt.so: cannot open shared object file")
        return ctypes.CDLL(None)

    if request.param in ("no library", "no function"):
        monkeypatch.setattr(epilogues, "open_library", missing)
    refuses.value = {"no algorithm": 1, "not supported": 2}.get(request.param, 0)
    yield
    refuses.value = 0
    epilogues.forget()


def test_without_it_products_and_sums_are_launched(lacking: None, xp: Any) -> None:
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(6, 4), torch.randn(5, 6)
    y = layer(x)
    y.sum().backward()
    expected = [y.detach(), layer.weight.grad.clone(), layer.bias.grad.clone()]
    layer.zero_grad()
    layer.to("cuda")
    for _ in range(2):
        layer.zero_grad()
        y = layer(x.cuda())
        y.sum().backward()
        found = [y.detach(), layer.weight.grad, layer.bias.grad]
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a.cpu().numpy(), b.numpy(), 1e-5, 1e-5)


def test_dtypes_and_sizes_for_products_alone(xp: Any) -> None:
    x, weight = xp.zeros((3, 2), np.float64), xp.zeros((4, 2), np.float64)
    assert epilogues.linear(x, weight, xp.zeros(4, np.float64)) is None
    empty = xp.zeros((0, 2), np.float32)
    assert epilogues.linear(empty, weight.astype(np.float32), xp.zeros(4, np.float32)) is None
    assert products.matmul(empty, weight.astype(np.float32).T).shape == (0, 4)
