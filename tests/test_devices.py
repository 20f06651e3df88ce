"""Devices: moving tensors, modules and optimizers, operands of two devices, `torch.cuda`."""

from __future__ import annotations

import copy
import io
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as torch
from tinygrad_edu import backend
from tinygrad_edu.backend import cupy_problem

nn, F = torch.nn, torch.nn.functional
STRICT = "strict"


def same(found: Any, expected: Any, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    assert found.dtype is expected.dtype
    np.testing.assert_allclose(
        found.detach().cpu().numpy(), expected.detach().cpu().numpy(), rtol=rtol, atol=atol
    )


# Names and moves ----------------------------------------------------------------------------------


def test_a_device_by_name() -> None:
    assert torch.device("cuda:1") == torch.device("cuda", 1) == torch.device(1)
    assert torch.device("cuda") != torch.device("cuda", 0) and torch.device("cpu").index is None
    assert len({torch.device("cuda:0"), torch.device("cuda", 0)}) == 1
    assert repr(torch.device("cuda:1")) == "device(type='cuda', index=1)"


@pytest.mark.skipif(cupy_problem() is None, reason="there is a GPU")
def test_without_a_gpu_one_line_says_what_is_missing() -> None:
    assert not torch.cuda.is_available() and torch.cuda.device_count() == 0
    for run in [
        lambda: torch.ones(2, device="cuda"), lambda: torch.ones(2).cuda(), torch.cuda.Stream,
        lambda: nn.Linear(1, 1).to("cuda"), torch.cuda.current_device, torch.cuda.Event,
        lambda: torch.Generator(device="cuda"), torch.cuda.CUDAGraph, torch.cuda.synchronize,
    ]:  # fmt: skip
        with pytest.raises(RuntimeError, match="pip install 'tinygrad-edu|no GPU|CUDA device"):
            run()
    torch.cuda.manual_seed_all(0)  # as in torch, this may be asked without a GPU
    torch.cuda.empty_cache()
    assert torch.cuda.memory_allocated() == torch.cuda.max_memory_allocated() == 0


def test_moving_a_tensor(cuda: str) -> None:
    x = torch.arange(6.0).reshape(2, 3)
    for there in (x.to(cuda), x.cuda(), x.cuda(0), x.to("cuda:0", non_blocking=True),
                  x.to(torch.device(cuda)), torch.tensor(x.tolist(), device=cuda)):  # fmt: skip
        assert there.is_cuda and there.device == torch.device("cuda", 0) and there.get_device() == 0
        assert there.cpu().device == torch.device("cpu") and torch.equal(there.cpu(), x)
    assert there.to(cuda) is there and there.cuda() is there and x.cpu() is x
    assert there.to("cpu", torch.float64).dtype is torch.float64
    assert there.type() == "torch.cuda.FloatTensor"
    with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
        there.numpy()
    assert x.get_device() == -1 and not there.is_pinned()
    assert there.numpy(force=True).tolist() == there.tolist() == x.tolist()
    assert "device='cuda:0'" in repr(there)
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        torch.ones(1, device="cuda:77")


def test_pinned_memory(cuda: str) -> None:
    """The host goes on while it is copied only if asked to; other memory needs no asking."""
    x = torch.arange(4.0)
    pinned = x.pin_memory()
    assert pinned.is_pinned() and pinned[1:].is_pinned() and not x.is_pinned()
    assert pinned.pin_memory() is pinned and torch.equal(pinned, x)
    for moved in (
        pinned.to(cuda),
        pinned.to(cuda, non_blocking=True),
        pinned.to(cuda, True),
        pinned.cuda(non_blocking=True),
        pinned[1:].to(cuda, non_blocking=True),
    ):
        torch.cuda.synchronize()
        assert torch.equal(moved.cpu(), x[-len(moved) :])
    with pytest.raises(RuntimeError, match="cannot pin 'torch.cuda.FloatTensor'"):
        x.to(cuda).pin_memory()


def test_a_loader_pins_its_batches(cuda: str) -> None:
    data = [(torch.ones(2) * i, {"label": i, "name": "a"}) for i in range(4)]
    for x, more in torch.utils.data.DataLoader(data, batch_size=2, pin_memory=True):
        assert x.is_pinned() and more["label"].is_pinned() and more["name"] == ["a", "a"]


def test_factories(cuda: str) -> None:
    like = torch.zeros(2, device=cuda)
    for made in (
        torch.zeros(2, device=cuda), torch.full((2,), 3.0, device=cuda),
        torch.arange(2, device=cuda),
        torch.linspace(0, 1, 2, device=cuda), torch.eye(2, device=cuda), torch.rand(2, device=cuda),
        torch.tensor([1, 2], device=cuda), torch.ones_like(like), like.new_zeros(3),
        torch.from_numpy(np.ones(2)).to(like), torch.empty(2, device=torch.device(cuda)),
    ):  # fmt: skip
        assert made.is_cuda
    assert torch.ones_like(like, device="cpu").device == torch.device("cpu")


def test_gradients_come_back_to_where_the_leaf_is(cuda: str) -> None:
    x = torch.ones(3, requires_grad=True)
    (x.to(cuda) * 2).sum().backward()
    assert x.grad.device == x.device and x.grad.tolist() == [2, 2, 2]
    with pytest.raises(RuntimeError, match="device"):
        x.grad = torch.ones(3, device=cuda)


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_a_step_that_fails_leaves_no_state_behind(
    name: str, cuda: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cupy

    from tinygrad_edu.kernels.cuda import tensors

    if not hasattr(cupy, "RawModule"):
        pytest.skip("no C++ compiler to run kernels with")
    w = torch.ones(3, device=cuda, requires_grad=True)
    w.grad = torch.ones(3, device=cuda)
    options = {"momentum": 0.9} if name == "SGD" else {}
    optimizer = getattr(torch.optim, name)([w], lr=0.5, **options)

    def fail(*args: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(tensors, f"{name.lower()}_calls", lambda *args: [(fail,)])
        with pytest.raises(MemoryError):
            optimizer.step()
    state = optimizer.state[w]
    assert state["momentum_buffer"] is None if name == "SGD" else state["step"] == 0
    optimizer.step()
    np.testing.assert_allclose(w.detach().cpu().numpy(), 0.5, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate")
@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_a_parameter_listed_twice_moves_twice(name: str, cuda: str) -> None:
    options = {"momentum": 0.9} if name == "SGD" else {}
    ends = []
    for device in ("cpu", cuda):
        w = torch.ones(3, device=device, requires_grad=True)
        optimizer = getattr(torch.optim, name)([w, w], lr=0.1, **options)
        w.grad = torch.tensor([1.0, -2.0, 3.0], device=device)
        optimizer.step()
        ends.append(w.detach().cpu().numpy())
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-6)


# Modules, optimizers, files -----------------------------------------------------------------------


def test_moving_a_module(cuda: str) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    parameters = list(model.parameters())
    assert model.to(cuda) is model and list(model.parameters())[0] is parameters[0]
    assert all(t.is_cuda for t in [*parameters, *model.buffers()])
    assert not any(t.is_cuda for t in model.cpu().state_dict().values())
    assert all(t.is_cuda for t in model.cuda().parameters())


@pytest.mark.parametrize("name", ["Adam", "SGD"])
def test_the_state_of_an_optimizer_follows_its_parameters(name: str, cuda: str) -> None:
    def run(place: str) -> Any:
        torch.manual_seed(0)
        model = nn.Linear(3, 2).to(place)
        options = {"momentum": 0.9} if name == "SGD" else {"amsgrad": True}
        optimizer = getattr(torch.optim, name)(model.parameters(), lr=0.1, **options)
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.ones(4, 3, device=place)).square().sum().backward()
            optimizer.step()
        return model, optimizer

    (here, at_home), (there, abroad) = run("cpu"), run(cuda)
    for a, b in zip(there.parameters(), here.parameters(), strict=True):
        same(a, b)
    for a, b in zip(abroad.state.values(), at_home.state.values(), strict=True):
        assert a.keys() == b.keys()
        for key in a:
            assert a[key].is_cuda == (key != "step")
            same(a[key], b[key])
    abroad.load_state_dict(copy.deepcopy(at_home.state_dict()))
    assert all(s[k].is_cuda for s in abroad.state.values() for k in s if k != "step")


def test_map_location(cuda: str) -> None:
    file = io.BytesIO()
    torch.save({"w": torch.arange(3.0, device=cuda), "b": torch.ones(1)}, file)
    for where, places in [(None, (True, False)), ("cpu", (False, False)), (cuda, (True, True))]:
        file.seek(0)
        found = torch.load(file, map_location=where)
        assert (found["w"].is_cuda, found["b"].is_cuda) == places
        assert found["w"].tolist() == [0, 1, 2]


LAYERS: list[tuple[Callable[[], Any], tuple[int, ...]]] = [
    (lambda: nn.Linear(6, 4), (3, 6)),
    (lambda: nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2), nn.Softmax(-1)), (3, 6)),
    (lambda: nn.LayerNorm(6), (2, 3, 6)),
    (lambda: nn.RMSNorm(6), (2, 3, 6)),
    (lambda: nn.BatchNorm2d(3), (4, 3, 5, 5)),
    (lambda: nn.GroupNorm(2, 4), (2, 4, 5)),
    (lambda: nn.InstanceNorm1d(4, affine=True), (2, 4, 5)),
    (lambda: nn.Conv1d(3, 4, 3, padding=1), (2, 3, 8)),
    (lambda: nn.Conv2d(4, 6, 3, stride=2, groups=2), (2, 4, 9, 9)),
    (lambda: nn.ConvTranspose2d(3, 2, 3, stride=2), (2, 3, 4, 4)),
    (lambda: nn.MaxPool2d(2), (2, 3, 6, 6)),
    (lambda: nn.AvgPool1d(3, padding=1), (2, 3, 9)),
    (lambda: nn.AdaptiveAvgPool2d(2), (2, 3, 5, 7)),
    (lambda: nn.GELU(), (3, 5)),
    (lambda: nn.GELU("tanh"), (3, 5)),
    (lambda: nn.PReLU(3), (2, 3, 4)),
    (lambda: nn.GLU(), (3, 6)),
    (lambda: nn.Bilinear(3, 3, 2), (4, 3)),
    (lambda: nn.GRU(5, 4, 2, batch_first=True), (2, 3, 5)),
    (lambda: nn.LSTM(5, 4, bidirectional=True), (3, 2, 5)),
    (lambda: nn.RNN(5, 4), (3, 2, 5)),
    (lambda: nn.MultiheadAttention(8, 2, batch_first=True), (2, 5, 8)),
    (lambda: nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True), (2, 5, 8)),
    (lambda: nn.ReflectionPad2d(2), (1, 2, 5, 5)),
    (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), (1, 2, 4, 4)),
]


@pytest.mark.parametrize(("make", "shape"), LAYERS)
def test_layers(make: Callable[[], Any], shape: tuple[int, ...], cuda: str) -> None:
    """A layer gives on the GPU what it gives on the CPU, gradients included."""
    torch.manual_seed(0)
    here = make()
    there = copy.deepcopy(here).to(cuda)
    x = torch.randn(*shape)
    found: list[list[Any]] = []
    for layer, place in ((here, "cpu"), (there, cuda)):
        given = x.clone().to(place).requires_grad_()
        several = 3 if isinstance(layer, nn.MultiheadAttention) else 1
        several = 2 if isinstance(layer, nn.Bilinear) else several
        y = layer(*[given] * several)
        y = y[0] if isinstance(y, tuple) else y
        (y * torch.linspace(-1, 1, y.numel()).reshape(y.shape).to(place)).sum().backward()
        found.append([y, given.grad, *[p.grad for p in layer.parameters()], *layer.buffers()])
    for a, b in zip(found[1], found[0], strict=True):
        assert a.is_cuda
        same(a, b, 1e-4, 1e-5)


# Operands of two devices --------------------------------------------------------------------------


def test_numbers_of_the_cpu_may_meet_tensors_of_a_gpu(cuda: str) -> None:
    x, two = torch.arange(3.0, device=cuda), torch.tensor(2.0, requires_grad=True)
    for y in (x * two, two * x, torch.add(x, two), x / two, torch.where(x > 1, two, x)):
        assert y.is_cuda
    (x * two).sum().backward()
    assert two.grad.device == two.device and two.grad.item() == 3
    assert (x + torch.tensor(1)).dtype is torch.float32
    y = x.clone()
    y += torch.tensor(1.0)
    y[0] = torch.tensor(9.0)
    assert y.tolist() == [9, 2, 3]
    with pytest.raises(RuntimeError, match="cuda:0 and cpu"):
        x * torch.ones(1)


def test_indices_of_another_device(cuda: str) -> None:
    x, index = torch.arange(4.0), torch.tensor([2, 0])
    assert x.to(cuda)[index].tolist() == [2, 0]
    with pytest.raises(RuntimeError, match="indices should be either on cpu or on the same device"):
        x[index.to(cuda)]
    for run in [
        lambda: torch.gather(x.to(cuda), 0, index), lambda: x.to(cuda).index_select(0, index),
        lambda: F.embedding(index, torch.ones(3, 2, device=cuda)),
        lambda: F.cross_entropy(torch.ones(2, 3, device=cuda), index),
        lambda: torch.zeros(4, device=cuda).scatter_add(0, index, torch.ones(2, device=cuda)),
        lambda: nn.Linear(2, 2).to(cuda)(torch.ones(1, 2)),
    ]:  # fmt: skip
        with pytest.raises(RuntimeError, match="on the same device"):
            run()


def test_sums_by_index_in_a_fixed_order(cuda: str) -> None:
    torch.use_deterministic_algorithms(True)
    try:
        index = torch.tensor([1, 0, 1, 1], device=cuda)
        x = torch.zeros(3, 2, device=cuda).index_put((index,), torch.ones(4, 2, device=cuda), True)
        assert x.tolist() == [[1, 1], [3, 3], [0, 0]]
        w = torch.ones(3, 2, device=cuda, requires_grad=True)
        F.embedding(index, w).sum().backward()
        assert w.grad.tolist() == x.tolist()
    finally:
        torch.use_deterministic_algorithms(False)


# torch.cuda ---------------------------------------------------------------------------------------


def test_what_is_asked_of_the_gpu(cuda: str) -> None:
    assert torch.cuda.is_available() and torch.cuda.device_count() >= 1
    assert torch.cuda.current_device() == 0 and torch.cuda.get_device_name()
    assert torch.cuda.get_device_properties(0).total_memory > 1 << 20
    assert torch.cuda.get_device_capability() >= (5, 0)
    free, total = torch.cuda.mem_get_info()
    assert 0 < free <= total
    torch.cuda.reset_peak_memory_stats()
    x = torch.ones(1000, device=cuda)
    assert torch.cuda.max_memory_allocated() >= torch.cuda.memory_allocated() >= 0
    assert torch.cuda.memory_reserved() >= torch.cuda.memory_allocated() and x.is_cuda
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    with torch.cuda.device(0):
        assert torch.cuda.current_device() == 0
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        torch.cuda.set_device(99)


def test_streams_and_events(cuda: str) -> None:
    stream = torch.cuda.Stream()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    with pytest.raises(ValueError, match="must be recorded"):
        start.elapsed_time(end)
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        start.record()
        x = torch.ones(100, device=cuda).sum()
        end.record()
    end.synchronize()
    torch.cuda.current_stream().wait_stream(stream)
    assert x.item() == 100 and start.elapsed_time(end) >= 0 and end.query()
    with pytest.raises(ValueError, match="enable_timing=True"):
        torch.cuda.Event().elapsed_time(end)


def test_out_of_memory(cuda: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's error with what was asked and what was free; afterwards all goes on."""
    assert torch.OutOfMemoryError is torch.cuda.OutOfMemoryError
    assert issubclass(torch.OutOfMemoryError, RuntimeError)
    cupy: Any = backend.module_for(torch.device("cuda"))
    words = r"CUDA out of memory. Tried to allocate [\d.]+ MiB. GPU 0 has .* is free"
    with pytest.raises(torch.OutOfMemoryError, match=words):
        if hasattr(cupy, "_core") and hasattr(cupy._core, "ndarray"):
            torch.empty(1 << 45, device=cuda)
        else:
            backend._allocator(cupy, cupy.get_default_memory_pool())(1 << 45)
    assert torch.ones(3, device=cuda).sum().item() == 3


def test_tf32(cuda: str) -> None:
    assert not torch.backends.cuda.matmul.allow_tf32
    a = torch.full((2, 16, 16), 1 + 2.0**-13)
    for x in (a, a[0]):
        same(x.to(cuda) @ x.to(cuda), x @ x, 1e-6)
    try:
        torch.backends.cuda.matmul.allow_tf32 = True
        assert torch.get_float32_matmul_precision() == "high"
        for x in (a, a[0]):
            found = x.to(cuda) @ x.to(cuda)
            same(found, x @ x, 2e-3)
            if STRICT in sys.modules["cupy"].__version__:
                assert (found == 16).all()  # 2 ** -13 has been rounded away
    finally:
        torch.set_float32_matmul_precision("highest")
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_products_of_16_bits(dtype: Any, cuda: str) -> None:
    if dtype is torch.bfloat16:
        pytest.importorskip("ml_dtypes")
    x, weight, bias = torch.randn(3, 4, 8), torch.randn(5, 8), torch.randn(5)
    results = []
    for place in ("cpu", cuda):
        given = [t.clone().to(place, dtype).requires_grad_() for t in (x, weight, bias)]
        y = F.linear(*given)
        z = torch.matmul(y, y.transpose(1, 2))
        assert y.dtype is z.dtype is dtype
        z.sum().backward()
        results.append([t.float() for t in (y, z, *[t.grad for t in given])])
    for a, b in zip(results[1], results[0], strict=True):
        same(a, b, 0.05, 0.5)
