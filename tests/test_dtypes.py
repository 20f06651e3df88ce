"""dtypes as objects, the default ones, 16-bit tensors in every corner; complex is refused."""

from __future__ import annotations

import copy
import io
import pickle
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
from devices import placed

import tinygrad_edu as ours

torch = pytest.importorskip("torch")
ml_dtypes = pytest.importorskip("ml_dtypes")

both = pytest.mark.parametrize("lib", [ours, torch], ids=["ours", "torch"])
halves = pytest.mark.parametrize("half", ["bfloat16", "float16"])
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")


# ---- dtypes as objects


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_finfo(name: str) -> None:
    mine, theirs = ours.finfo(getattr(ours, name)), torch.finfo(getattr(torch, name))
    for field in ("bits", "eps", "max", "min", "tiny", "smallest_normal", "resolution", "dtype"):
        assert getattr(mine, field) == getattr(theirs, field), field
    assert repr(mine) == repr(theirs)
    assert (
        mine
        == ours.finfo(getattr(ours, name))
        != ours.finfo(ours.float64 if name == "float32" else ours.float32)
    )


@pytest.mark.parametrize(
    "name", ["uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64"]
)
def test_iinfo(name: str) -> None:
    mine, theirs = ours.iinfo(getattr(ours, name)), torch.iinfo(getattr(torch, name))
    for field in ("bits", "max", "min", "dtype"):
        assert getattr(mine, field) == getattr(theirs, field), field
    assert repr(mine) == repr(theirs)
    assert mine == ours.iinfo(getattr(ours, name)) != ours.finfo(ours.float32)


@both
def test_finfo_and_iinfo_refuse(lib: Any) -> None:
    for call in (
        lambda: lib.finfo(lib.int32),
        lambda: lib.iinfo(lib.float32),
        lambda: lib.iinfo(lib.bool),
        lambda: lib.iinfo(),
        lambda: lib.finfo(3),
    ):
        with pytest.raises(TypeError):
            call()


@both
def test_default_dtype(lib: Any) -> None:
    try:
        lib.set_default_dtype(lib.float64)
        found = [
            lib.tensor([1.5]),
            lib.ones(1),
            lib.tensor([1]) / 2,
            lib.linspace(0, 1, 2),
            lib.nn.Linear(1, 1).weight,
        ]
        assert [t.dtype for t in found] == [lib.float64] * 5
        assert lib.finfo().dtype == "float64"
        lib.set_default_dtype(lib.bfloat16)
        assert (
            lib.tensor([1.5]).dtype is lib.bfloat16
            and (lib.tensor([1]) * 0.5).dtype is lib.bfloat16
        )
        lib.set_default_tensor_type(lib.DoubleTensor)
        assert lib.get_default_dtype() is lib.float64
        lib.set_default_tensor_type("torch.FloatTensor")
        assert lib.get_default_dtype() is lib.float32
        for bad in (lib.int64, "float32", int):
            with pytest.raises(TypeError):
                lib.set_default_dtype(bad)
        with pytest.raises(TypeError):
            lib.set_default_tensor_type(3)
    finally:
        lib.set_default_dtype(lib.float32)


def test_complex_is_refused_by_name() -> None:
    x = ours.ones(2)
    for call in (
        lambda: ours.tensor([1j]),
        lambda: ours.from_numpy(np.ones(2, complex)),
        lambda: x * 1j,
        lambda: 1j + x,
        lambda: ours.zeros(2, dtype=complex),
        lambda: ours.zeros(2, dtype=ours.complex64),
        lambda: ours.view_as_complex,
        lambda: x.to(complex),
        lambda: ours.full((2,), 1j),
        lambda: x.add(1j),
        lambda: x.fill_(1j),
        lambda: ours.tensor(np.ones(2, np.complex64)),
        lambda: ours.complex(x, x),
        lambda: ours.as_tensor(1j),
        lambda: ours.where(x > 0, 1j, x),
    ):
        with pytest.raises((TypeError, AttributeError), match="complex"):
            call()


def test_without_ml_dtypes_bfloat16_names_what_to_install() -> None:
    script = """
import sys
sys.modules["ml_dtypes"] = None
import tinygrad_edu as torch
assert (torch.ones(2).half() + 1).sum().item() == 4
for call in (lambda: torch.ones(2).bfloat16(), lambda: torch.zeros(1, dtype=torch.bfloat16),
             lambda: torch.autocast("cpu"), lambda: torch.nn.Linear(1, 1).bfloat16(),
             lambda: torch.finfo(torch.bfloat16)):
    try:
        call()
    except ImportError as error:
        assert "pip install 'tinygrad-edu[bf16]'" in str(error), error
    else:
        raise SystemExit("nothing was raised")
"""
    subprocess.run([sys.executable, "-c", script], check=True)


# ---- the default device


def test_default_device() -> None:
    """Factory functions follow it; what has a device of its own does not."""
    with placed("strict") as cuda:
        here = ours.ones(2)
        makers = {
            "zeros": lambda: ours.zeros(2),
            "ones": lambda: ours.ones(2),
            "empty": lambda: ours.empty(2),
            "full": lambda: ours.full((2,), 3.0),
            "arange": lambda: ours.arange(3),
            "eye": lambda: ours.eye(2),
            "linspace": lambda: ours.linspace(0, 1, 3),
            "tensor": lambda: ours.tensor([1.0]),
            "as_tensor": lambda: ours.as_tensor([1.0]),
            "as_tensor of an array": lambda: ours.as_tensor(np.ones(2)),
            "as_tensor of a tensor": lambda: ours.as_tensor(here),
            "rand": lambda: ours.rand(2),
            "randn": lambda: ours.randn(2),
            "randint": lambda: ours.randint(3, (2,)),
            "randperm": lambda: ours.randperm(3),
            "weights": lambda: ours.nn.Linear(2, 2).weight,
        }
        stay = {
            "zeros_like": lambda: ours.zeros_like(here),
            "new_zeros": lambda: here.new_zeros(2),
            "told": lambda: ours.zeros(2, device="cpu"),
            "from_numpy": lambda: ours.from_numpy(np.ones(2)),
            "rand_like": lambda: ours.rand_like(here),
            "sum": lambda: here + 1,
        }
        with ours.device(cuda) as entered:
            assert entered == ours.device("cuda") and ours.get_default_device() == ours.device(
                "cuda:0"
            )
            for name, make in makers.items():
                assert make().device.type == "cuda", name
            for name, make in stay.items():
                assert make().device.type == "cpu", name
            with ours.device("cpu"):
                assert ours.ones(1).device.type == "cpu"
            found: list[Any] = []
            thread = threading.Thread(target=lambda: found.append(ours.ones(1).device.type))
            thread.start()
            thread.join()
            assert found == ["cpu"]
        assert ours.ones(1).device.type == "cpu"
        try:
            ours.set_default_device(cuda)
            assert all(make().device.type == "cuda" for make in makers.values())
            with ours.device("cpu"):
                assert ours.ones(1).device.type == "cpu"
        finally:
            ours.set_default_device(None)

        @ours.device(cuda)
        def made() -> Any:
            return ours.ones(1)

        assert made().device.type == "cuda" and ours.get_default_device() == ours.device("cpu")


@both
def test_default_device_on_the_cpu(lib: Any) -> None:
    lib.set_default_device("cpu")
    assert lib.get_default_device() == lib.device("cpu")
    lib.set_default_device(None)
    with pytest.raises(RuntimeError):
        lib.set_default_device("gpu")
    with pytest.raises(ZeroDivisionError), lib.device("cpu"):
        raise ZeroDivisionError
    assert lib.get_default_device() == lib.device("cpu")


# ---- 16-bit tensors in every corner


def numbers(t: Any) -> np.ndarray:
    return np.asarray(t.detach().double().numpy())


@halves
def test_creation_and_sampling_are_torchs(half: str) -> None:
    """The same numbers from the same seed, rounded in the same places."""
    calls = [
        lambda t, d: t.rand(50, dtype=d),
        lambda t, d: t.randn(5, dtype=d),
        lambda t, d: t.randn(100, dtype=d),
        lambda t, d: t.randint(0, 9, (7,), dtype=d),
        lambda t, d: t.randperm(9, dtype=d),
        lambda t, d: t.empty(9, dtype=d).uniform_(-3, 2),
        lambda t, d: t.empty(20, dtype=d).normal_(1, 2),
        lambda t, d: t.ones(5, dtype=d).exponential_(),
        lambda t, d: t.bernoulli(t.full((9,), 0.5, dtype=d)),
        lambda t, d: t.normal(t.ones(4, dtype=d)),
        lambda t, d: t.nn.init.kaiming_uniform_(t.empty(4, 5, dtype=d)),
        lambda t, d: t.nn.init.trunc_normal_(t.empty(4, 5, dtype=d)),
        lambda t, d: t.nn.functional.dropout(t.ones(30, dtype=d), 0.3),
        lambda t, d: t.arange(0, 2, 0.3, dtype=d),
        lambda t, d: t.linspace(-3, 7, 23, dtype=d),
        lambda t, d: t.logspace(0, 1, 9, dtype=d),
        lambda t, d: t.eye(3, dtype=d),
        lambda t, d: t.full((2,), 0.1, dtype=d),
        lambda t, d: t.tensor([0.1, 1e9, -7.3], dtype=d),
        lambda t, d: t.rand_like(t.ones(4, dtype=d)),
        lambda t, d: t.ones(2, dtype=d).new_tensor([0.1]),
    ]
    for i, call in enumerate(calls):
        torch.manual_seed(0)
        ours.manual_seed(0)
        mine, theirs = call(ours, getattr(ours, half)), call(torch, getattr(torch, half))
        assert repr(mine.dtype) == repr(theirs.dtype) == f"torch.{half}", i
        np.testing.assert_array_equal(numbers(mine), numbers(theirs), str(i))


@halves
def test_printing_and_reading(half: str) -> None:
    def seen(lib: Any) -> list[str]:
        x = lib.tensor([[1.1, -2.5, 1e-4], [float("inf"), float("nan"), 3e4]]).to(
            getattr(lib, half)
        )
        y = x[0]
        return [
            str(v)
            for v in (
                x,
                y.tolist(),
                y[0].item(),
                f"{y[1]:.3f}",
                x.type(),
                x.element_size(),
                y > 1,
                y.max(),
                y.argmax(),
                y[y > 0],
                y[lib.tensor([2, 0])],
                y.sort(),
                x.isnan(),
                y == y,
                bool(y[0]),
                float(y[0]),
                int(y[1]),
                y.to(lib.int64),
                lib.tensor([300, 7]).to(getattr(lib, half)),
                lib.allclose(y, y),
                lib.equal(y, y.clone()),
                y.float(),
                y.double(),
                x.nan_to_num(),
                lib.unique(y),
                lib.topk(y, 2),
                y.cumsum(0),
                lib.isclose(y, y),
                lib.zeros_like(y),
            )
        ]

    for mine, theirs in zip(seen(ours), seen(torch), strict=True):
        assert mine == theirs


@halves
def test_files(half: str) -> None:
    """save, load, pickle and deepcopy keep every bit; torch reads what is written here."""
    x = ours.randn(5, 3).to(getattr(ours, half))
    file = io.BytesIO()
    ours.save({"x": x}, file)
    for lib in (ours, torch):
        file.seek(0)
        back = lib.load(file)["x"]
        assert repr(back.dtype) == f"torch.{half}"
        np.testing.assert_array_equal(numbers(back), numbers(x))
    for again in (pickle.loads(pickle.dumps(x)), copy.deepcopy(x)):
        assert again.dtype is x.dtype
        np.testing.assert_array_equal(numbers(again), numbers(x))


def _layers(lib: Any) -> list[tuple[Any, Any]]:
    nn = lib.nn
    x, image, text = lib.randn(4, 6), lib.randn(2, 3, 6, 6), lib.tensor([[1, 2, 0], [3, 1, 1]])
    return [
        (nn.Linear(6, 5), x),
        (nn.Conv2d(3, 4, 3, padding=1), image),
        (nn.LayerNorm(6), x),
        (nn.ConvTranspose2d(3, 2, 2), image),
        (nn.BatchNorm2d(3), image),
        (nn.GroupNorm(3, 3), image),
        (nn.RMSNorm(6), x),
        (nn.Embedding(5, 4), text),
        (nn.Sequential(nn.Linear(6, 6), nn.GELU()), x),
        (nn.MultiheadAttention(6, 2, batch_first=True), x[None]),
        (nn.LSTM(6, 3), x[:, None]),
        (nn.GRU(6, 3), x[:, None]),
        (nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0), x[:, None]),
        (nn.MaxPool2d(2), image),
        (nn.AvgPool2d(2), image),
        (nn.Softmax(1), x),
        (nn.PReLU(), x),
        (nn.Upsample(scale_factor=2), image),
        (nn.LogSoftmax(1), x),
    ]


def _outputs(lib: Any, half: str, weights: dict[int, Any] | None) -> Any:
    lib.manual_seed(0)
    found, saved = [], {}
    for i, (layer, x) in enumerate(_layers(lib)):
        layer = layer.bfloat16() if half == "bfloat16" else layer.half()
        saved[i] = {k: numbers(v) for k, v in layer.state_dict().items()}
        assert all(p.dtype is getattr(lib, half) for p in layer.parameters())
        if x.is_floating_point():
            x = x.to(getattr(lib, half)).requires_grad_()
        y = layer(x, x, x)[0] if isinstance(layer, lib.nn.MultiheadAttention) else layer(x)
        y = y[0] if isinstance(y, tuple) else y
        y.sum().backward() if i not in (8,) else (y * y).sum().backward()
        grads = [x.grad] if x.is_floating_point() else []
        found.append((type(layer).__name__, y, [*grads, *[p.grad for p in layer.parameters()]]))
    return found, saved


@halves
def test_layers(half: str) -> None:
    """`model.bfloat16()`, `model.half()`: outputs and gradients are torch's to a few roundings."""
    mine, weights = _outputs(ours, half, None)
    theirs, reference = _outputs(torch, half, weights)
    eps = 2.0**-7 if half == "bfloat16" else 2.0**-10
    for i, ((name, y, grads), (_, expected, wanted)) in enumerate(zip(mine, theirs, strict=True)):
        for key, value in reference[i].items():
            np.testing.assert_array_equal(weights[i][key], value, f"{name}.{key}")
        for a, b in zip([y, *grads], [expected, *wanted], strict=True):
            assert repr(a.dtype) == repr(b.dtype), name
            scale = max(1.0, float(np.abs(numbers(b)).max()))
            np.testing.assert_allclose(
                numbers(a), numbers(b), rtol=0, atol=8 * eps * scale, err_msg=name
            )


OPTIMIZERS: dict[str, dict[str, Any]] = {
    "SGD": dict(lr=0.05, momentum=0.9, nesterov=True),
    "Adam": dict(lr=0.02),
    "AdamW": dict(lr=0.02, weight_decay=0.1),
    "RMSprop": dict(lr=0.01),
    "Adagrad": dict(lr=0.1),
    "Adadelta": dict(lr=1.0),
    "Adamax": dict(lr=0.02),
    "NAdam": dict(lr=0.02),
    "RAdam": dict(lr=0.02),
    "ASGD": dict(lr=0.05),
    "Rprop": dict(lr=0.02),
}


@halves
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name: str, half: str) -> None:
    """State has the parameter's dtype, as in torch; the steps agree to 16 bits' accuracy.

    Unlike torch, a step is computed in float32 and rounded once: ours is compared with torch's
    steps in float32 on the same gradients, too, and must lie closer to them or within a rounding.
    """
    start, target = np.linspace(-1, 1, 12).reshape(3, 4), np.full((3, 4), 0.25)

    def run(lib: Any, dtype: str) -> tuple[Any, Any]:
        w = lib.tensor(start, dtype=getattr(lib, dtype)).requires_grad_()
        optimizer = getattr(lib.optim, name)([w], **OPTIMIZERS[name])
        t = lib.tensor(target, dtype=w.dtype)
        for _ in range(10):
            optimizer.zero_grad()
            ((w - t) * (w - t)).sum().backward()
            optimizer.step()
        kinds = {
            k: repr(v.dtype) for k, v in optimizer.state[w].items() if isinstance(v, lib.Tensor)
        }
        return numbers(w), kinds

    (mine, kinds), (theirs, expected), (wide, _) = (
        run(ours, half),
        run(torch, half),
        run(torch, "float32"),
    )
    assert kinds == expected
    eps = 2.0**-7 if half == "bfloat16" else 2.0**-10
    off, torchs = np.abs(mine - wide).max(), np.abs(theirs - wide).max()
    assert off <= max(torchs * 1.5, 10 * eps), (off, torchs)
    assert np.abs(mine - target).mean() < np.abs(start - target).mean()
    assert np.abs(mine - theirs).max() <= max(2 * torchs, 10 * eps)


@both
def test_mixing(lib: Any) -> None:
    """16 bits beside others: what promotes, what is refused."""
    h, b, f = lib.ones(2).half(), lib.ones(2).bfloat16(), lib.ones(2)
    assert (h + b).dtype is lib.float32 and (h * f).dtype is lib.float32
    assert (b * lib.tensor(2.0)).dtype is lib.bfloat16 and (b + 1).dtype is lib.bfloat16
    assert (b + lib.tensor([1, 2])).dtype is lib.bfloat16 and lib.cat([h, b]).dtype is lib.float32
    for call in (lambda: h[None] @ f[:, None], lambda: lib.nn.functional.linear(b, f[None])):
        with pytest.raises(RuntimeError, match="dtype"):
            call()
    for y in (
        b.sum(dtype=lib.float32),
        b.softmax(0, dtype=lib.float32),
        b.cumsum(0, dtype=lib.float32),
    ):
        assert y.dtype is lib.float32
    x = lib.ones(3, requires_grad=True)
    y = (x.bfloat16() * lib.tensor([1.0, 2.0, 3.0])).sum()
    y.backward()
    assert y.dtype is lib.float32 and x.grad.tolist() == [1.0, 2.0, 3.0]
    # a long sum: added up in float32, where 16 bits would stand still at 256
    assert lib.ones(10000).bfloat16().sum().item() == 9984
    w = lib.ones(1).bfloat16().requires_grad_()
    (w * lib.ones(10000).bfloat16()).sum().backward()
    assert w.grad.item() == 9984


def test_anomaly_detection_and_16_bits_do_not_undo_each_other() -> None:
    """Both exchange the same function of the walk, in either order."""
    script = """
import tinygrad_edu as torch

def gradient():
    w = torch.ones(1).bfloat16().requires_grad_()
    (w * torch.ones(10000).bfloat16()).sum().backward()
    return w.grad.item()

with torch.autograd.detect_anomaly():  # on before the first 16-bit tensor there is
    assert gradient() == 9984
assert gradient() == 9984
with torch.autograd.detect_anomaly():
    assert gradient() == 9984
    try:
        x = torch.zeros(1).half().requires_grad_()
        (x.sqrt() * 0).backward()
    except RuntimeError as error:
        assert "nan" in str(error)
    else:
        raise SystemExit("no anomaly found")
assert gradient() == 9984
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True)
