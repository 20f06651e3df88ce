"""autocast and GradScaler beside torch's: what runs in which precision, and the loop around it."""

from __future__ import annotations

import inspect
import io
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import op_table
import pytest
from devices import EVERYWHERE, placed
from op_table import Call, Op, all_rows
from test_half import Half, numbers, off
from test_operations import is_tensor

import tinygrad_edu as ours
from tinygrad_edu.engine.composed import Composed
from tinygrad_edu.engine.mode import state
from tinygrad_edu.engine.primitive import Primitive
from tinygrad_edu.nn import functional as F

torch = pytest.importorskip("torch")
pytest.importorskip("ml_dtypes")

both = pytest.mark.parametrize("lib", [ours, torch], ids=["ours", "torch"])
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

OTHERWISE = {
    "linalg.pinv", "positive definite",  # composed of products in torch, one operation here
    "linalg.matrix_rank", "linalg.eigvalsh", "linalg.svdvals", "linalg.lstsq", "max_unpool",
    "nn.functional.lp_pool3d", "corrcoef", "cov", "linalg.det", "matrix_exp",
    "nn.functional.local_response_norm", "nn.functional.max_pool3d_with_indices",
}  # fmt: skip
"""Rare operations whose parts are listed in torch, or refused in 16 bits, other than here."""


# ---- what runs in which precision


def under_autocast(kind: str, library: Any, op: Op, given: Call) -> list[Any]:
    with library.autocast("cpu", dtype=library.bfloat16):
        run = Half(kind, library, op, given, grad=True)
    return run.outputs


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
@pytest.mark.parametrize("op", all_rows(), ids=repr)
def test_every_operation(op: Op, kind: str, no_kernel: Callable[[Exception], bool]) -> None:
    """Dtypes are torch's, values too but for the rounding of the steps between."""
    if op.name in OTHERWISE:
        pytest.skip("see OTHERWISE")
    for i, given in enumerate(op.calls):
        made = op_table.arrays(op, given, "float32")
        try:
            expected = under_autocast(kind, torch, op, made)
            dtypes = [repr(theirs.dtype) for theirs in expected if is_tensor(theirs)]
        except Exception as error:
            if not no_kernel(error):
                continue
            expected = Half(kind, torch, op, made, grad=True, exact=True).outputs
            dtypes = ["torch.bfloat16"] * len(expected)
        found = under_autocast(kind, ours, op, made)
        assert [repr(mine.dtype) for mine in found if is_tensor(mine)] == dtypes, (
            f"call {i}: {op.name}{given!r}"
        )
        for mine, theirs in zip(found, expected, strict=True):
            if is_tensor(theirs):
                if theirs.is_floating_point():
                    a, b = numbers(mine), numbers(theirs)
                    assert off(a, b, "bfloat16", of_largest=True) <= 4, f"call {i}"


def _dtypes(lib: Any, x: Any, y: Any) -> list[str]:
    return [
        repr(t.dtype) for t in (x @ y, x + y, lib.nn.functional.mse_loss(x, y), lib.cat([x, y]))
    ]


@both
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_regions_nest_and_switch_off(lib: Any, dtype: str) -> None:
    """Each block sets its own state, and puts back what was before, errors included."""
    x = lib.ones(2, 2)
    kind = getattr(lib, dtype)
    seen = [_dtypes(lib, x, x)]
    with lib.autocast(device_type="cpu", dtype=kind):
        seen += [_dtypes(lib, x, x.to(kind)), repr(lib.get_autocast_dtype("cpu"))]
        with lib.autocast("cpu", enabled=False):
            seen += [lib.is_autocast_enabled("cpu"), repr((x @ x).dtype)]
            with lib.amp.autocast("cpu", cache_enabled=False):
                seen += [repr((x @ x).dtype), lib.is_autocast_cache_enabled()]
        with pytest.raises(ZeroDivisionError), lib.autocast("cpu", dtype=lib.bfloat16):
            seen.append(repr((x @ x).dtype))
            raise ZeroDivisionError
        seen += [
            repr((x @ x).dtype),
            lib.is_autocast_enabled("cpu"),
            lib.is_autocast_enabled("cuda"),
        ]
    seen += [
        repr((x @ x).dtype),
        repr(lib.get_autocast_dtype("cpu")),
        lib.is_autocast_enabled("cpu"),
    ]
    k, f = f"torch.{dtype}", "torch.float32"
    assert seen == [
        [f, f, f, f], [k, f, f, f], k, False, f, k, False, "torch.bfloat16", k, True, False,
        f, "torch.bfloat16", False,
    ]  # fmt: skip


@both
def test_decorator_and_float64(lib: Any) -> None:
    @lib.autocast("cpu", dtype=lib.float16)
    def product(a: Any, b: Any) -> Any:
        return a @ b

    x = lib.ones(2, 2)
    assert product(x, x).dtype is lib.float16
    assert product(x.double(), x.double()).dtype is lib.float64  # never cast
    with pytest.raises(RuntimeError, match="same dtype"):
        product(x.double(), x)
    assert (x @ x).dtype is lib.float32
    assert product.__name__ == "product"


@both
def test_bad_arguments(lib: Any) -> None:
    with pytest.raises(ValueError, match="device_type"):
        lib.autocast(torch.device("cpu"))
    with pytest.raises(RuntimeError, match="unsupported"):
        lib.autocast("vulkan")
    with pytest.warns(UserWarning, match="target dtype is not supported"):
        off = lib.autocast("cpu", dtype=lib.float64)
    with off:
        assert (lib.ones(1, 1) @ lib.ones(1, 1)).dtype is lib.float32
    with pytest.raises(TypeError, match="callable"):
        lib.autocast("cpu")(3)
    if not torch.cuda.is_available():
        with pytest.warns(UserWarning, match="CUDA is not available"):
            lib.autocast("cuda")
    with pytest.warns(FutureWarning, match="deprecated"), lib.cpu.amp.autocast():
        assert lib.is_autocast_enabled("cpu")
    with pytest.warns(FutureWarning), lib.cuda.amp.autocast(enabled=False):
        assert not lib.is_autocast_enabled()
    assert lib.get_autocast_gpu_dtype() is lib.float16 and not lib.is_autocast_cpu_enabled()
    assert lib.get_autocast_cpu_dtype() is lib.bfloat16
    assert lib.amp.is_autocast_available("cpu")


def test_switched_on_by_hand_before_any_16_bit_tensor() -> None:
    """16-bit floats are computed with after autocast is switched off, too."""
    script = """
import tinygrad_edu as torch
torch.set_autocast_enabled("cpu", True)
assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.bfloat16
torch.set_autocast_enabled("cpu", False)
assert torch.ones(10000).bfloat16().sum().item() == 9984
assert (torch.full((3,), 0.1).bfloat16().exp() - 1).dtype is torch.bfloat16
from tinygrad_edu.engine import mode
assert len(mode.listeners) == 1 and not mode.state.mode.listeners
"""
    subprocess.run([sys.executable, "-c", script], check=True)


@both
def test_the_state_is_the_threads_own(lib: Any) -> None:
    x, found = lib.ones(2, 2), []
    with lib.autocast("cpu"):
        thread = threading.Thread(target=lambda: found.append((x @ x).dtype))
        thread.start()
        thread.join()
        found.append((x @ x).dtype)
    assert found == [lib.float32, lib.bfloat16]


def _listed() -> list[Any]:
    """What says under which precision autocast is to run it."""
    ops: list[Any] = [op for op in Primitive.everyone if op.autocast is not None]
    modules = [F, ours, ours.nn.functional]
    found = [
        getattr(m, name)
        for m in modules
        for name in vars(m)
        if inspect.isfunction(getattr(m, name))
    ]
    return [*ops, *{f.composed for f in found if isinstance(vars(f).get("composed"), Composed)}]


def test_functions_stay_what_they_are_inside() -> None:
    """Nothing is exchanged while autocast is on; only this thread's mode is another one."""
    functions = [f for f in vars(F).values() if inspect.isfunction(f)]

    def look() -> list[Any]:
        return [(f.__code__, f.__kwdefaults__, str(inspect.signature(f))) for f in functions]

    plain, before = state.mode, look()
    with ours.autocast("cpu"), ours.autocast("cpu", dtype=ours.float16):
        assert look() == before
        assert len(state.mode.listeners) == 1
    assert state.mode is plain


def test_every_policy_is_known() -> None:
    listed = _listed()
    assert len(listed) > 60
    policies = {policy for op in listed for policy in op.autocast.values()}
    assert policies == {
        "lower", "float32", "widest", "as_state", "as_given", "in_two_steps", "refused",
    }  # fmt: skip
    assert {device for op in listed for device in op.autocast} == {"cpu", "cuda"}


def test_an_error_shows_the_users_line_and_two_of_the_engine() -> None:
    with ours.autocast("cpu"):
        for failing in (
            lambda: ours.ones(2, 3) @ ours.ones(2, 3),
            lambda: F.mse_loss(ours.ones(2), ours.ones(3)),
        ):
            with pytest.raises(RuntimeError) as caught:
                failing()
            engine = [entry for entry in caught.traceback if "engine" in str(entry.path)]
            assert len(engine) <= 2, caught.traceback


def test_a_parameter_is_cast_once_per_region_and_again_when_written() -> None:
    w = ours.ones(2, 2, requires_grad=True)
    with ours.autocast("cpu"):
        first, second = w @ w, w @ w
        casts = {first.grad_fn.edges[0], first.grad_fn.edges[1], second.grad_fn.edges[0]}
        assert len(casts) == 1
        with ours.no_grad():
            w.mul_(3.0)
            assert (w @ w)[0, 0] == 18
        third = w @ w
        assert third[0, 0] == 18 and third.grad_fn.edges[0] not in casts
        third.sum().backward()
    assert w.grad.dtype is ours.float32
    assert w.grad[0, 0] == 12


@both
def test_errors_are_those_of_the_operation(lib: Any) -> None:
    with lib.autocast("cpu"), pytest.raises(RuntimeError, match="cannot be multiplied"):
        lib.addmm(lib.ones(2), lib.ones(2, 3), lib.ones(2, 3))
    with lib.autocast("cpu"), pytest.raises(RuntimeError, match="cannot be multiplied"):
        lib.ones(2, 3) @ lib.ones(2, 3)


@both
def test_custom_functions(lib: Any) -> None:
    """custom_fwd casts and switches off, or leaves on; custom_bwd runs as forward did."""
    seen: list[Any] = []

    def make(**options: Any) -> Any:
        class Product(lib.autograd.Function):
            @staticmethod
            @lib.amp.custom_fwd(device_type="cpu", **options)
            def forward(ctx: Any, a: Any, b: Any) -> Any:
                ctx.save_for_backward(a, b)
                seen.append((repr(a.dtype), lib.is_autocast_enabled("cpu")))
                return a @ b

            @staticmethod
            @lib.amp.custom_bwd(device_type="cpu")
            def backward(ctx: Any, g: Any) -> Any:
                a, b = ctx.saved_tensors
                seen.append((repr(g.dtype), lib.is_autocast_enabled("cpu")))
                return g @ b.T, a.T @ g

        return Product

    for options in ({}, {"cast_inputs": lib.float32}):
        for enabled in (True, False):
            a = lib.ones(2, 2, requires_grad=True)
            b = lib.ones(2, 2).to(lib.bfloat16 if enabled and options else lib.float32)
            with lib.autocast("cpu", enabled=enabled):
                y = make(**options).apply(a, b)
            y.sum().backward()
            seen.append((repr(y.dtype), repr(a.grad.dtype)))
    k, f = "torch.bfloat16", "torch.float32"
    assert seen == [
        (f, True), (k, True), (k, f), (f, False), (f, False), (f, f),
        (f, False), (f, False), (f, f), (f, False), (f, False), (f, f),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell"])
@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
@pytest.mark.parametrize("given", ["float32", "bfloat16"])
def test_recurrent_layers(
    name: str, kind: str, given: str, no_kernel: Callable[[Exception], bool]
) -> None:
    """Layers run in 16 bits, but for GRU's; that and the cells end in the type of the state."""

    def run(lib: Any, exact: bool = False) -> tuple[list[str], np.ndarray, np.ndarray]:
        lib.manual_seed(0)
        layer = getattr(lib.nn, name)(4, 3).to(getattr(lib, kind))
        x = lib.randn(2, 4) if name.endswith("Cell") else lib.randn(5, 2, 4)
        x = x.to(getattr(lib, given))
        if exact:
            layer, x = layer.float(), x.float()
        with nullcontext() if exact else lib.autocast("cpu"):
            found = layer(x)
        first = found[0] if isinstance(found, tuple) else found
        first.float().sum().backward()
        flat = [t for part in (found if isinstance(found, tuple) else (found,))
                for t in (part if isinstance(part, tuple) else (part,))]  # fmt: skip
        gradient = layer.get_parameter("weight_ih_l0" if x.ndim == 3 else "weight_ih").grad
        return [repr(t.dtype) for t in flat], numbers(first), numbers(gradient)

    mine = run(ours)
    try:
        theirs = run(torch)
    except RuntimeError as error:
        if not no_kernel(error):
            raise
        theirs = run(torch, exact=True)
        assert mine[0] == ["torch.bfloat16"] * 3
    else:
        assert mine[0] == theirs[0]
    np.testing.assert_allclose(mine[1], theirs[1], atol=0.02)
    np.testing.assert_allclose(mine[2], theirs[2], atol=0.05)


@both
@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpointed_part_is_repeated_under_the_same_autocast(lib: Any, reentrant: bool) -> None:
    lib.manual_seed(0)
    model = lib.nn.Sequential(lib.nn.Linear(3, 4), lib.nn.GELU(), lib.nn.Linear(4, 2))
    x = lib.ones(2, 3, requires_grad=True)
    with lib.autocast("cpu"):
        plain = lib.autograd.grad(model(x).sum(), [x, *model.parameters()])
        y = lib.utils.checkpoint.checkpoint(model, x, use_reentrant=reentrant)
    assert y.dtype is lib.bfloat16
    y.sum().backward()
    for a, b in zip(plain, [x.grad, *[p.grad for p in model.parameters()]], strict=True):
        assert a.dtype is b.dtype is lib.float32
        assert lib.equal(a, b)
    assert not lib.is_autocast_enabled("cpu")


# ---- the loop


def _net(lib: Any) -> Any:
    nn = lib.nn
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64, 32), nn.LayerNorm(32), nn.GELU(), nn.Linear(32, 5),
    )  # fmt: skip


def _train(lib: Any, steps: int, dtype: str, resume_at: int | None = None, **scaling: Any) -> Any:
    """torch's recipe: autocast, scale, unscale, clip, step, update; losses, scales and weights."""
    lib.manual_seed(0)
    model, data = _net(lib), np.random.default_rng(0)
    x, t = data.standard_normal((16, 1, 8, 8)), data.integers(0, 5, 16)
    x, t = lib.tensor(x, dtype=lib.float32), lib.tensor(t)
    optimizer = lib.optim.AdamW(model.parameters(), lr=3e-3)
    scaler = lib.amp.GradScaler("cpu", **scaling)
    losses, scales = [], []
    for step in range(steps):
        if step == resume_at:
            file = io.BytesIO()
            lib.save([model.state_dict(), optimizer.state_dict(), scaler.state_dict()], file)
            file.seek(0)
            states = lib.load(file)
            model = _net(lib)
            optimizer = lib.optim.AdamW(model.parameters(), lr=0.5)
            scaler = lib.amp.GradScaler("cpu")
            for part, state in zip((model, optimizer, scaler), states, strict=True):
                part.load_state_dict(state)
        optimizer.zero_grad()
        with lib.autocast("cpu", dtype=getattr(lib, dtype)):
            y = model(x)
            loss = lib.nn.functional.cross_entropy(y, t)
        assert repr(y.dtype) == f"torch.{dtype}" and repr(loss.dtype) == "torch.float32"
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        lib.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
        scales.append((scaler.get_scale(), scaler._get_growth_tracker()))
    return losses, scales, [p.detach().numpy() for p in model.parameters()]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_recipe_gives_torchs_losses(dtype: str) -> None:
    """Losses to the accuracy of 16 bits, the very same scales, growing and shrinking."""
    options = dict(init_scale=2.0**20 if dtype == "float16" else 16.0, growth_interval=4)
    mine = _train(ours, 20, dtype, **options)
    theirs = _train(torch, 20, dtype, **options)
    np.testing.assert_allclose(mine[0], theirs[0], rtol=2e-2, atol=2e-2)
    assert mine[0][-1] < mine[0][0] / 2
    assert mine[1] == theirs[1]
    assert len(set(mine[1])) > 4


def test_a_resumed_run_equals_one_never_interrupted() -> None:
    options = dict(init_scale=1024.0, growth_interval=3)
    whole, resumed = (_train(ours, 12, "bfloat16", at, **options) for at in (None, 5))
    assert whole[:2] == resumed[:2]
    for a, b in zip(whole[2], resumed[2], strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_script_of_the_recipe_runs_unchanged() -> None:
    """The older spellings too, imported as scripts import them."""
    script = """
import warnings
warnings.simplefilter("ignore")
import tinygrad_edu.standin
tinygrad_edu.standin.install()
import torch
import torch.cuda.amp as amp
from torch.cuda.amp import GradScaler, autocast, custom_fwd, custom_bwd
from torch.amp import autocast as newer, GradScaler as NewScaler
from torch.amp.autocast_mode import autocast as same
from torch.amp.grad_scaler import OptState
from torch.cpu.amp import autocast as on_cpu
assert newer is same is torch.autocast
device = "cuda" if torch.cuda.is_available() else "cpu"
model = torch.nn.Linear(2, 1).to(device)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scaler = GradScaler(enabled=device == "cuda")
for _ in range(3):
    optimizer.zero_grad(set_to_none=True)
    with autocast(enabled=device == "cuda"):
        loss = model(torch.ones(4, 2, device=device)).square().mean()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
with on_cpu():
    assert (torch.ones(1, 1) @ torch.ones(1, 1)).dtype == torch.bfloat16
print(loss.item() < 100)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr


@pytest.mark.parametrize("where", EVERYWHERE[1:])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_recipe_on_a_gpu(where: str, dtype: str) -> None:
    """The GPU's lists: products in 16 bits, exponentials and sums in float32; the loss falls."""
    nn = ours.nn
    with placed(where) as cuda:
        ours.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3)).to(cuda)
        x, t = ours.randn(16, 4).to(cuda), ours.randint(0, 3, (16,)).to(cuda)
        optimizer = ours.optim.AdamW(model.parameters(), lr=1e-2)
        scaler = ours.amp.GradScaler("cuda", init_scale=2.0**8)
        losses = []
        for _ in range(20):
            optimizer.zero_grad()
            with ours.autocast("cuda", dtype=getattr(ours, dtype)):
                y = model(x)
                loss = nn.functional.cross_entropy(y, t)
            assert repr(y.dtype) == f"torch.{dtype}" and loss.dtype is ours.float32
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            losses.append(loss.item())
        assert losses[-1] < losses[0] * 0.8 and scaler.get_scale() == 2.0**8
        h = ours.ones(3).half().to(cuda)
        with ours.autocast("cuda"):
            wide = [h.exp(), h.sum(), h**2, h.softmax(0), h.cumsum(0), h.log(), h.norm(),
                    ours.atan2(h, h.float()), nn.functional.layer_norm(h, (3,))]  # fmt: skip
            assert all(y.dtype is ours.float32 for y in wide)
            assert (h * 2).dtype is h.relu().dtype is (h.float() @ h.float()).dtype is ours.float16
            with pytest.raises(RuntimeError, match="unsafe to autocast"):
                nn.functional.binary_cross_entropy(h, h)
            assert (ours.ones(2, 2) @ ours.ones(2, 2)).dtype is ours.float32  # on the CPU
