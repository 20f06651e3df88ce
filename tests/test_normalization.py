"""Layer, RMS, batch, group and instance norm against torch; kernels against their definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from beside_torch import beside_torch, close, numbers, ours, same_error, torch
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_edu.kernels import layer_norm as kernel
from tinygrad_edu.ops import normalization as ops

random = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return random.normal(size=shape)


def positive(*shape: int) -> np.ndarray:
    return random.uniform(0.5, 2, size=shape)


# ---- layer and RMS norm


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("shape", "over"), [((4, 5), (5,)), ((2, 3, 4), (4,)), ((2, 3, 4), (3, 4)), ((6,), (6,)),
                        ((0, 3), (3,)), ((2, 1), (1,)), ((3, 2), (3, 2))],
)  # fmt: skip
def test_layer_norm(dtype: str, shape: tuple[int, ...], over: tuple[int, ...]) -> None:
    def layer(t: Any, x: Any, w: Any = None, b: Any = None) -> Any:
        return t.nn.functional.layer_norm(x, over, w, b)

    second = over != (1,)
    if not second and dtype == "float32":
        return  # of one element nothing is left but rounding
    beside_torch(layer, normal(*shape), dtype=dtype, second=second)
    beside_torch(layer, normal(*shape), normal(*over), normal(*over), dtype=dtype, second=second)
    beside_torch(layer, normal(*shape), normal(*over), dtype=dtype, second=second)
    beside_torch(
        lambda t, x, b: layer(t, x, None, b),
        normal(*shape),
        normal(*over),
        dtype=dtype,
        second=False,
    )  # fmt: skip  (torch's second derivative fails without a weight)
    beside_torch(lambda t, w, b, x: layer(t, x, w, b), normal(*over), normal(*over),
                 constants=[normal(*shape)], dtype=dtype, second=False)  # fmt: skip
    beside_torch(lambda t, x: t.nn.functional.layer_norm(x, over, eps=0.3), normal(*shape))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("shape", "over"), [((4, 5), (5,)), ((2, 3, 4), (3, 4)), ((6,), (6,)), ((0, 3), (3,))]
)
@pytest.mark.parametrize("eps", [None, 1e-3])
def test_rms_norm(
    dtype: str, shape: tuple[int, ...], over: tuple[int, ...], eps: float | None
) -> None:
    run = lambda t, x, w=None: t.nn.functional.rms_norm(x, over, w, eps)  # noqa: E731
    beside_torch(run, normal(*shape), dtype=dtype)
    beside_torch(run, normal(*shape), normal(*over), dtype=dtype)
    beside_torch(lambda t, w, x: run(t, x, w), normal(*over), constants=[normal(*shape)],
                 dtype=dtype, second=False)  # fmt: skip


def test_memory_orders() -> None:
    for name in ("layer_norm", "rms_norm"):
        run = lambda t, x, name=name: getattr(t.nn.functional, name)(x, (4,))  # noqa: E731
        beside_torch(lambda t, x, run=run: run(t, x.t()), normal(4, 3))
        beside_torch(lambda t, x, run=run: run(t, x[:, ::2]), normal(3, 8))
        beside_torch(lambda t, x, run=run: run(t, x.expand(5, 4)), normal(1, 4))
        beside_torch(lambda t, x, run=run: run(t, x).sum(), normal(3, 4))


def test_half_precision_and_far_from_zero() -> None:
    for name in ("layer_norm", "rms_norm"):
        run = lambda t, x, name=name: getattr(t.nn.functional, name)(x, (8,))  # noqa: E731
        beside_torch(run, normal(3, 8), dtype="float16", second=False)
        beside_torch(run, normal(3, 8) + 300, dtype="float64")
    x = normal(4, 512) + 1000
    y = numbers(ours.nn.functional.layer_norm(ours.tensor(x.astype("float32")), (512,)))
    expected = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    np.testing.assert_allclose(y, expected, atol=2e-3)


def test_groups_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cutting the rows into groups changes nothing."""
    monkeypatch.setattr(kernel, "GROUP", 64)
    test_layer_norm("float64", (7, 5), (5,))
    test_rms_norm("float64", (7, 5), (5,), None)


def test_layer_norm_errors() -> None:
    def check(words: str | None, *args: Any, name: str = "layer_norm") -> None:
        same_error(
            lambda t: getattr(t.nn.functional, name)(
                *[t.tensor(a) if isinstance(a, np.ndarray) else a for a in args]
            ),
            *filter(None, [words]),
        )

    x = np.zeros((4, 3), np.float32)
    check(None, x, (4,))
    check(None, x, ())
    check(None, x, (3,), np.ones(4, np.float32))
    check("not implemented", np.zeros((4, 3), int), (3,))
    check("mixed dtype", x, (3,), np.ones(3))
    check("Given normalized_shape=[4]", x, (4,), name="rms_norm")


# ---- batch norm


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5), (2, 3, 2, 2), (2, 3, 2, 1, 2), (1, 3, 4)])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm(dtype: str, shape: tuple[int, ...], training: bool) -> None:
    def run(t: Any, x: Any, w: Any = None, b: Any = None, m: Any = None, v: Any = None) -> Any:
        return t.nn.functional.batch_norm(x, m, v, w, b, training, 0.2, 1e-3)

    running = [normal(3), positive(3)]
    beside_torch(run, normal(*shape), normal(3), normal(3), constants=running, dtype=dtype)
    beside_torch(lambda t, x, m, v: run(t, x, None, None, m, v), normal(*shape),
                 constants=running, dtype=dtype)  # fmt: skip
    beside_torch(lambda t, w, b, x, m, v: run(t, x, w, b, m, v), normal(3), normal(3),
                 constants=[normal(*shape), *running], dtype=dtype, second=False)  # fmt: skip
    if training:
        beside_torch(run, normal(*shape), normal(3), dtype=dtype)
    for library in (ours, torch):  # the running statistics themselves
        m, v = (library.tensor(r.astype(dtype)) for r in running)
        run(library, library.tensor(np.arange(np.prod(shape), dtype=dtype).reshape(shape)), None,
            None, m, v)  # fmt: skip
        if library is ours:
            mine = m, v
    close(mine[0], m, dtype, "running mean")
    close(mine[1], v, dtype, "running variance")


def test_batch_norm_errors() -> None:
    F = lambda t: t.nn.functional.batch_norm  # noqa: E731
    same_error(lambda t: F(t)(t.zeros(1, 3), t.zeros(3), t.ones(3), training=True))
    same_error(lambda t: F(t)(t.zeros(2, 3), t.zeros(4), t.ones(3), training=True))
    same_error(lambda t: F(t)(t.zeros(2, 3), None, None, t.ones(4), training=True))
    same_error(lambda t: F(t)(t.zeros(2, 3), None, None))
    same_error(lambda t: F(t)(t.zeros(2, 3).long(), None, None, training=True), "not implemented")
    same_error(lambda t: t.nn.BatchNorm1d(3)(t.zeros(2, 3).double()), "mixed dtype")
    same_error(lambda t: t.nn.BatchNorm1d(3)(t.zeros(2, 3, 4, 4)))
    same_error(lambda t: t.nn.BatchNorm2d(3)(t.zeros(2, 3, 4)))
    same_error(lambda t: t.nn.BatchNorm3d(3)(t.zeros(2, 3, 4)))


BATCH = [
    ("BatchNorm1d", {}, (4, 3)),
    ("BatchNorm1d", {"momentum": None}, (4, 3, 2)),
    ("BatchNorm1d", {"track_running_stats": False}, (4, 3)),
    ("BatchNorm1d", {"affine": False, "momentum": 0.5}, (4, 3)),
    ("BatchNorm2d", {"bias": False, "eps": 0.1}, (2, 3, 2, 2)),
    ("BatchNorm3d", {}, (2, 3, 2, 1, 2)),
    ("InstanceNorm1d", {}, (2, 3, 4)),
    ("InstanceNorm1d", {"affine": True, "track_running_stats": True}, (3, 4)),
    ("InstanceNorm2d", {"track_running_stats": True}, (2, 3, 2, 2)),
    ("InstanceNorm3d", {"affine": True}, (2, 3, 2, 2, 2)),
]


@pytest.mark.parametrize(("name", "options", "shape"), BATCH)
def test_batch_norm_modules(name: str, options: Any, shape: tuple[int, ...]) -> None:
    mine, theirs = getattr(ours.nn, name)(3, **options), getattr(torch.nn, name)(3, **options)
    assert repr(mine) == repr(theirs)
    for _ in range(3):
        x = normal(*shape).astype("float32")
        close(mine(ours.tensor(x)), theirs(torch.tensor(x)), "float32", "while training")
    assert list(mine.state_dict()) == list(theirs.state_dict())
    for key, value in theirs.state_dict().items():
        close(mine.state_dict()[key], value, "float32", key)
    mine.eval(), theirs.eval()
    x = normal(*shape).astype("float32")
    close(mine(ours.tensor(x)), theirs(torch.tensor(x)), "float32", "in evaluation")
    copy = getattr(ours.nn, name)(3, **options)
    copy.load_state_dict(mine.state_dict())
    close(copy.eval()(ours.tensor(x)), mine(ours.tensor(x)), "float32", "loaded")
    mine.reset_parameters(), theirs.reset_parameters()
    for key, value in theirs.state_dict().items():
        close(mine.state_dict()[key], value, "float32", key)


def test_running_statistics_are_not_recorded() -> None:
    layer = ours.nn.BatchNorm1d(3)
    for _ in range(2):
        layer(ours.randn(4, 3, requires_grad=True)).sum().backward()
    assert layer.running_mean.grad_fn is None and not layer.running_var.requires_grad
    assert layer.num_batches_tracked.dtype == ours.int64
    with ours.no_grad():
        layer(ours.randn(4, 3))
    assert int(layer.num_batches_tracked) == 3


# ---- group and instance norm


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(2, 12), (3, 4, 5), (2, 4, 2, 3)])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_group_norm(dtype: str, shape: tuple[int, ...], groups: int) -> None:
    run = lambda t, x, w=None, b=None: t.nn.functional.group_norm(x, groups, w, b)  # noqa: E731
    beside_torch(run, normal(*shape), dtype=dtype)
    beside_torch(run, normal(*shape), normal(shape[1]), normal(shape[1]), dtype=dtype)


def test_group_norm_errors() -> None:
    same_error(lambda t: t.nn.functional.group_norm(t.zeros(4, 3), 2))
    same_error(lambda t: t.nn.functional.group_norm(t.zeros(1, 2), 2))
    same_error(lambda t: t.nn.functional.group_norm(t.zeros(4, 4), 2, t.ones(3)))
    same_error(lambda t: t.nn.GroupNorm(2, 3))


def test_instance_norm() -> None:
    run = lambda t, x, w=None, b=None: t.nn.functional.instance_norm(x, None, None, w, b)  # noqa: E731
    beside_torch(run, normal(2, 3, 4))
    beside_torch(run, normal(2, 3, 4), normal(3), normal(3))
    same_error(lambda t: t.nn.functional.instance_norm(t.zeros(4, 4, 1)))


@pytest.mark.parametrize(
    ("name", "args", "options", "shape"),
    [("LayerNorm", [3], {}, (2, 3)), ("LayerNorm", [(2, 3)], {"bias": False}, (4, 2, 3)),
     ("LayerNorm", [3], {"elementwise_affine": False, "eps": 0.1}, (2, 3)),
     ("RMSNorm", [3], {}, (2, 3)), ("RMSNorm", [[3]], {"eps": 0.1}, (2, 3)),
     ("RMSNorm", [3], {"elementwise_affine": False}, (2, 3)),
     ("GroupNorm", [2, 4], {}, (2, 4)), ("GroupNorm", [2, 4], {"affine": False}, (2, 4, 3)),
     ("GroupNorm", [2, 4], {"bias": False}, (2, 4, 3))],
)  # fmt: skip
def test_modules(name: str, args: Any, options: Any, shape: tuple[int, ...]) -> None:
    mine, theirs = (
        getattr(ours.nn, name)(*args, **options),
        getattr(torch.nn, name)(*args, **options),
    )
    assert repr(mine) == repr(theirs)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    for key, value in theirs.state_dict().items():
        close(mine.state_dict()[key], value, "float32", key)
    x = normal(*shape).astype("float32")
    close(mine(ours.tensor(x)), theirs(torch.tensor(x)), "float32", "output")


# ---- kernels and definitions


@given(st.data())
def test_kernels_equal_definitions(data: Any) -> None:
    rows, size = data.draw(st.integers(1, 6)), data.draw(st.integers(2, 6))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    shift, eps = data.draw(st.sampled_from([0.0, 10.0])), data.draw(st.sampled_from([1e-5, 0.1]))
    x, w, b = (ours.tensor(rng.normal(size=s), requires_grad=True)
               for s in ((rows, size), size, size))  # fmt: skip
    x = x + shift
    operation = data.draw(st.sampled_from([ops.layer_norm, ops.rms_norm, ops.batch_norm]))
    if operation is ops.layer_norm:
        tensors, rest = (x, w, b), (size, eps)
    elif operation is ops.rms_norm:
        tensors, rest = (x, w), (size, eps)
    else:
        if rows == 1:
            return
        tensors, rest = (x, w, b), (*ops.batch_statistics(x.array), eps)
    found = []
    for function in (operation, operation.primitive.definition):
        y = function(*tensors, *rest)
        start = ours.tensor(np.random.default_rng(1).normal(size=y.shape))
        found.append((y, *ours.autograd.grad(y, tensors, start)))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(numbers(a), numbers(b), rtol=1e-7, atol=1e-8)


def test_sync_batch_norm() -> None:
    """In one process it is batch norm; a conversion keeps parameters, statistics and names."""

    def run(T: Any) -> Any:
        T.manual_seed(0)
        nn = T.nn
        inner = nn.Sequential(nn.BatchNorm2d(2, affine=False), nn.BatchNorm3d(4, bias=False).eval())
        plain = nn.ModuleList([nn.Linear(3, 3), nn.BatchNorm1d(3, momentum=0.3), inner])
        weight = plain[1].weight
        made = nn.SyncBatchNorm.convert_sync_batchnorm(plain)
        assert made is plain and made[1].weight is weight and not made[2][1].training
        x = T.randn(4, 3, requires_grad=True)
        y = made[1](x)
        (y * T.arange(3.0)).pow(2).sum().backward()
        with pytest.raises(ValueError, match="at least 2D input"):
            made[1](T.ones(3))
        return [repr(made), list(made.state_dict()), y.detach(), x.grad, made[1].running_var]

    for mine, theirs in zip(run(ours), run(torch), strict=True):
        if isinstance(theirs, (str, list)):
            assert mine == theirs
        else:
            np.testing.assert_allclose(mine.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("weights", ["float64", "float32", "float16", "bfloat16", "int32", "bool"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.filterwarnings("ignore:Mismatch dtype")  # torch's
def test_rms_norm_with_weights_of_another_dtype(dtype, weights):
    found = []
    for lib in (ours, torch):
        values = [[0.5, -1.25, 2.0, 3.0], [1.0, 0.25, -0.5, 0.125]]
        x = lib.tensor(values, dtype=getattr(lib, dtype), requires_grad=True)
        w = lib.tensor([1.0, 2.0, 0.0, 3.0]).to(getattr(lib, weights))
        leaves = [x, w.requires_grad_()] if "float" in weights else [x]
        y = lib.nn.functional.rms_norm(x, (4,), w)
        tensors = [y.detach(), *lib.autograd.grad(y.float().sum(), leaves)]
        found.append([(str(t.dtype), t.double().tolist()) for t in tensors])
    exact = {dtype, weights} <= {"float64", "float32", "int32", "bool"}
    for mine, theirs in zip(*found, strict=True):
        assert mine[0] == theirs[0]
        np.testing.assert_allclose(mine[1], theirs[1], rtol=1e-5 if exact else 2e-2, atol=1e-2)
