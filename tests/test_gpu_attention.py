"""Attention on a GPU in three launches equals its definition, and the kernel of the CPU.

On the stand-in the warps' products run on the host lane by lane, as the PTX ISA says which lane
holds what (tests/strict_cupy/cuda_on_host.h).
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import nvrtc
import pytest
import strict_cupy
from strict_cupy import kernels as host

import tinygrad_edu as torch
from tinygrad_edu.backend import switches
from tinygrad_edu.kernels import attention
from tinygrad_edu.kernels.cuda import flash

sdpa = torch.nn.functional.scaled_dot_product_attention


@pytest.fixture(params=["forwards", "backwards"])
def xp(request: pytest.FixtureRequest, cuda: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The array module; the order of the threads matters on the stand-in only."""
    import cupy

    if not hasattr(cupy, "RawModule"):
        pytest.skip("no C++ compiler to run kernels with")
    monkeypatch.setattr(host, "BACKWARDS", request.param == "backwards")
    return cupy


def numpy_dtype(name: str) -> Any:
    kind = pytest.importorskip("ml_dtypes").bfloat16 if name == "bfloat16" else name
    return np.dtype(kind)


TOLERANCE = {"float64": 1e-13, "float32": 1e-5, "tf32": 4e-3, "float16": 4e-3, "bfloat16": 3e-2}
"""Beside values and gradients of about 1."""
CASES = [
    ("float64", 16, 16, {}), ("float64", 9, 5, {"causal": True, "drops": True}),
    ("float64", 12, 30, {"mask": "bools", "apart": True}),
    ("float32", 16, 16, {"causal": True, "apart": True}), ("float32", 20, 64, {"mask": "numbers"}),
    ("float32", 64, 64, {"causal": True, "mask": "bools", "drops": True}),
    ("float32", 128, 30, {"apart": True}),
    ("tf32", 16, 16, {"causal": True}), ("tf32", 64, 33, {"mask": "numbers", "apart": True}),
    ("float16", 16, 9, {"mask": "numbers"}), ("float16", 64, 64, {"causal": True, "apart": True}),
    ("bfloat16", 64, 64, {"mask": "bools", "drops": True}),
    ("bfloat16", 72, 128, {"causal": True, "apart": True}),
]  # fmt: skip
B, H, L, S = 2, 2, 70, 90


def given(kind: Any, width: int, values: int, apart: bool) -> list[np.ndarray]:
    """q, k, v and a gradient; `apart`: positions before heads in memory, as a layer has them."""
    draw, made = np.random.default_rng(0), []
    for rows, columns in ((L, width), (S, width), (S, values), (L, values)):
        shape = (B, rows, H, columns) if apart else (B, H, rows, columns)
        x = draw.standard_normal(shape).astype(kind)
        made.append(x.swapaxes(1, 2) if apart else x)
    return made


def uploaded(xp: Any, x: np.ndarray, apart: bool) -> Any:
    x = np.ascontiguousarray(x.swapaxes(1, 2) if apart else x)
    return xp.asarray(x).swapaxes(1, 2) if apart else xp.asarray(x)


@pytest.mark.parametrize("name, width, values, options", CASES)
def test_flash(
    name: str, width: int, values: int, options: dict[str, Any], xp: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    kind = numpy_dtype("float32" if name == "tf32" else name)
    causal, apart = options.get("causal", False), options.get("apart", False)
    arrays, draw = given(kind, width, values, apart), np.random.default_rng(1)
    mask: Any = {None: None, "bools": draw.random((B, 1, L, S)) < 0.7,
                 "numbers": draw.standard_normal((1, H, 1, S)).astype(np.float32)}[
        options.get("mask")]  # fmt: skip
    if mask is not None and mask.dtype == bool:
        mask[0, 0, 3] = False  # a query that sees no key
    keep = draw.random((B, H, L, S)) < 0.8 if options.get("drops") else None
    rest: Any = (0.2 if options.get("drops") else 0.0, causal, width**-0.5)
    q, k, v, g = (x.astype(np.float64) for x in arrays)
    y, lse = attention.forward(q, k, v, mask, keep, *rest)
    gradients = attention.backward(g, q, k, v, mask, keep, *rest, y, lse, (True,) * 3 + (False,))
    q, k, v, g = (uploaded(xp, x, apart) for x in arrays)
    extra = [None if x is None else xp.asarray(x) for x in (mask, keep)]
    monkeypatch.setattr(switches, "tf32", name == "tf32")
    assert flash.fits(q, k, v)
    strict_cupy.Counters.reset()
    found = flash.forward(q, k, v, *extra, *rest)
    back = flash.backward(g, q, k, v, *extra, *rest, *found)
    counted = strict_cupy.Counters.launches
    flashes = sum([n for kernel, n in counted.items() if kernel.startswith("flash")])
    if strict_cupy.stands_in():
        assert flashes == 3 and counted.total() - counted["astype"] == 3, counted
    scale = TOLERANCE[name]
    seen = np.isfinite(lse)
    assert np.array_equal(seen, np.isfinite(found[1].get()))
    np.testing.assert_allclose(found[1].get()[seen], lse[seen], scale, scale)
    for a, b in zip((found[0], *back), (y, *gradients[:3]), strict=True):
        assert a.dtype == kind and a.shape == b.shape
        np.testing.assert_allclose(a.get().astype(np.float64), b, scale, scale)
    for a, b in zip((found[0], *back), (q, q, k, v), strict=True):
        assert (a.strides[1] < a.strides[2]) == (b.strides[1] < b.strides[2])


SHAPES: list[Any] = [
    ((5, 8), (7, 8), (7, 6)), ((3, 5, 8), (3, 7, 8), (3, 7, 8)),
    ((2, 1, 5, 8), (1, 3, 7, 8), (7, 8)), ((2, 1, 2, 5, 8), (2, 2, 1, 7, 8), (1, 2, 7, 8)),
    ((2, 2, 0, 8), (2, 2, 7, 8), (2, 2, 7, 8)), ((2, 2, 5, 8), (2, 2, 0, 8), (2, 2, 0, 8)),
]  # fmt: skip


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("masked", [None, "bools", "numbers"])
def test_leading_dimensions_broadcast(shapes: Any, masked: str | None, xp: Any) -> None:
    torch.manual_seed(0)
    arrays = [torch.randn(*shape, dtype=torch.float64) for shape in shapes]
    length, keys = shapes[0][-2], shapes[1][-2]
    mask = torch.randn(length, keys, dtype=torch.float64)
    mask = {None: None, "bools": mask > 0, "numbers": mask}[masked]
    found = []
    for place in ("cpu", "cuda"):
        q, k, v = (x.to(place).clone().requires_grad_() for x in arrays)
        y = sdpa(q, k, v, None if mask is None else mask.to(place))
        y.backward(torch.arange(float(y.numel()), dtype=y.dtype, device=place).view(y.shape))
        found.append([x.detach().cpu().numpy() for x in (y, q.grad, k.grad, v.grad)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("causal", [True, False])
def test_derivatives_of_derivatives_are_the_definition_s(causal: bool, xp: Any) -> None:
    torch.manual_seed(0)
    arrays = [torch.randn(1, 2, 6, 8, dtype=torch.float64) for _ in range(4)]
    found = []
    for place in ("cpu", "cuda"):
        q, k, v, g = (x.to(place).clone().requires_grad_() for x in arrays)
        y = sdpa(q, k, v, is_causal=causal)
        first = torch.autograd.grad(y, (q, k, v), g, create_graph=True)
        second = torch.autograd.grad(sum((x * x).sum() for x in first), (q, k, v, g))
        found.append([x.detach().cpu().numpy() for x in (*first, *second)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-10)


def test_a_mask_that_needs_a_gradient_gets_it(xp: Any) -> None:
    torch.manual_seed(0)
    arrays = [torch.randn(1, 2, 6, 8, dtype=torch.float64) for _ in range(3)]
    mask, found = torch.randn(6, 6, dtype=torch.float64), []
    for place in ("cpu", "cuda"):
        inputs = [x.to(place).clone().requires_grad_() for x in (*arrays, mask)]
        (sdpa(*inputs) ** 2).sum().backward()
        found.append([x.grad.cpu().numpy() for x in inputs])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-10, atol=1e-10)


def test_infinite_scores_and_nan(xp: Any) -> None:
    """As the definition: a row with a score of nan or +inf is nan, others are not touched."""
    q = np.zeros((1, 1, 3, 16), np.float32)
    q[0, 0, 1, 0], q[0, 0, 2, 0] = np.nan, np.inf
    k = np.ones_like(q)
    y, _ = flash.forward(*[xp.asarray(x) for x in (q, k, k)], None, None, 0.0, False, 1.0)
    assert np.isnan(y.get()[0, 0]).all(-1).tolist() == [False, True, True]
    np.testing.assert_allclose(y.get()[0, 0, 0], 1)


def test_other_dtypes_widths_and_places_are_left_to_the_blocks() -> None:
    x = np.zeros((1, 1, 2, 16), np.float32)
    assert not flash.fits(x, x, x)
    with strict_cupy.installed() as cupy:
        for width, kind, fits in [(128, "f", True), (129, "f", False), (33, "d", False)]:
            x = cupy.zeros((1, 1, 2, width), kind)
            assert flash.fits(x, x, x) == (fits and host.COMPILER is not None)


def test_older_gpus_are_not_asked_for_what_they_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    """The instructions for 16 bits and TF32 came with compute capability 8.0."""
    monkeypatch.setattr(switches, "tf32", True)
    for capability, modern in (("75", False), ("80", True), ("120", True)):
        with strict_cupy.installed() as cupy:
            if host.COMPILER is None:
                pytest.skip("no C++ compiler to run kernels with")
            monkeypatch.setattr(cupy.cuda.Device, "compute_capability", capability)
            half, single = (cupy.zeros((1, 1, 2, 16), kind) for kind in ("e", "f"))
            assert flash.fits(half, half, half) is modern and flash.fits(single, single, single)
            sizes = dict(flash._Call(single, single, single, None, None, 0.0, False, 1.0).sizes)
            assert sizes["TENSOR"] == (2 if modern else 0)


FLASH = [s for s in nvrtc.sources() if s[0] == "flash"]


@pytest.mark.skipif(nvrtc.compiler() is None, reason="pip install nvidia-cuda-nvrtc-cu12 (90 MB)")
@pytest.mark.parametrize("gpu", nvrtc.GPUS)
@pytest.mark.parametrize("source", FLASH, ids=lambda s: f"{s[1]}-{s[2]}")
def test_tiles_and_sums_fit_a_multiprocessor(source: tuple[str, str, str], gpu: str) -> None:
    """A block's tiles the 48 KB that every GPU has, a thread's sums its registers."""
    if source[1] == "bfloat16":
        pytest.importorskip("ml_dtypes")
    found = nvrtc.compiled(*source, gpu)
    assert set(found) == {"flash_forward", "flash_backward_queries", "flash_backward_keys"}
    for name, used in found.items():
        assert used.spilled == 0 and used.shared <= 48 << 10, (name, used)


@pytest.mark.skipif(nvrtc.compiler() is None, reason="pip install nvidia-cuda-nvrtc-cu12 (90 MB)")
@pytest.mark.parametrize("dtype, variant, kind", [
    ("float16", "64", "f16"), ("bfloat16", "64", "bf16"), ("float32", "64 tf32", "tf32"),
    ("float32", "64", None),
])  # fmt: skip
def test_tensor_cores_are_asked(dtype: str, variant: str, kind: str | None) -> None:
    text = nvrtc.text("flash", dtype, variant)
    used = set(re.findall(r"row\.col\.f32\.(\w+)", nvrtc.ptx(text, "sm_80")))
    assert used == ({kind} if kind else set())


PACKED = {
    "thirds of a row": lambda x: [t.view(B, L, H, 16).transpose(1, 2) for t in x.chunk(3, dim=2)],
    "thirds of a head": lambda x: x.view(B, L, H, 48).transpose(1, 2).split(16, dim=3),
    "unequal parts": lambda x: [
        t.view(B, L, H, 16).transpose(1, 2)
        for t in (x[..., :32], x[..., 32:64], x.split([64, 32], dim=2)[1])
    ],
    "each twice": lambda x: [
        t.view(B, L, H, 16).transpose(1, 2) * 1 + t.view(B, L, H, 16).transpose(1, 2)
        for t in x.chunk(3, dim=2)
    ],
}  # fmt: skip
"""How q, k and v may lie in one layer's result."""


@pytest.mark.parametrize("name", PACKED)
def test_gradients_of_parts_of_one_result(name: str, cuda: str) -> None:
    """They are made side by side; nothing is copied to join them, and nobody's is written over."""
    packed = np.random.default_rng(0).standard_normal((B, L, 96)).astype(np.float32)
    found = []
    for place in ("cpu", cuda):
        leaf = torch.tensor(packed, device=place).requires_grad_()
        x = leaf * 1
        parts = PACKED[name](x)
        for t in (x, *parts):
            t.retain_grad()
        if place != "cpu":
            strict_cupy.Counters.reset()
        y = sdpa(*parts, is_causal=True)
        wanted = torch.autograd.grad(y.square().sum(), [*parts, x], retain_graph=True)
        (y.square().sum() + x.sum()).backward()
        seen = [leaf.grad, x.grad, *[t.grad for t in parts], *wanted]
        found.append([t.cpu().numpy() for t in seen if t is not None])
        assert len(found[-1]) == 9
    for ours, cpus in zip(found[1], found[0], strict=True):
        np.testing.assert_allclose(ours, cpus, 1e-4, 1e-4)
    if name.startswith("thirds"):
        assert "concatenate" not in strict_cupy.Counters.launches
