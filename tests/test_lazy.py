"""Layers that learn their input's size: beside torch, from the same seed, before and after."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from beside_torch import close, numbers, ours, same_error, torch

from tinygrad_edu.nn.parameter import is_lazy

random = np.random.default_rng(0)


def lazy_net(T):
    return T.nn.Sequential(
        T.nn.LazyConv2d(4, 3, padding=1, groups=1), T.nn.LazyBatchNorm2d(), T.nn.ReLU(),
        T.nn.LazyConvTranspose2d(6, 2, stride=2, bias=False), T.nn.LazyInstanceNorm2d(),
        T.nn.Flatten(), T.nn.LazyLinear(5),
    )  # fmt: skip


def test_a_lazy_net_is_torch_net():
    x = random.standard_normal((2, 3, 6, 6))
    found = []
    for T in (ours, torch):
        T.manual_seed(0)
        net = lazy_net(T).double()
        before = repr(net), [repr(v) for v in net.state_dict().values()][:4]
        y = net(T.from_numpy(x))
        (y * y).sum().backward()
        after = repr(net), list(net.state_dict()), [type(m).__name__ for m in net]
        grads = [p.grad for p in net.parameters()]
        found.append((before, after, [y, *net.state_dict().values(), *grads]))
    mine, theirs = found
    assert mine[:2] == theirs[:2]
    for i, (a, b) in enumerate(zip(mine[2], theirs[2], strict=True)):
        close(a, b, "float64", str(i))
    assert all(type(p) is ours.nn.Parameter for p in lazy_after().parameters())


def lazy_after():
    net = lazy_net(ours)
    net(ours.ones(1, 1, 2, 2))
    return net


@pytest.mark.parametrize("kind, shape", [
    ("LazyConv1d", (2, 4, 5)), ("LazyConv3d", (4, 3, 3, 3)), ("LazyConvTranspose1d", (4, 5)),
    ("LazyConvTranspose3d", (1, 4, 2, 2, 2)),
])  # fmt: skip
def test_convolutions(kind, shape):
    x, found = random.standard_normal(shape), []
    for T in (ours, torch):
        T.manual_seed(0)
        layer = getattr(T.nn, kind)(6, 2, 1, groups=2).double()
        found.append([layer(T.from_numpy(x)), *layer.parameters()])
    for a, b in zip(*found, strict=True):
        close(a, b, "float64", kind)


@pytest.mark.parametrize("kind, shape", [
    ("LazyBatchNorm1d", (4, 3)), ("LazyBatchNorm3d", (2, 3, 1, 2, 2)),
    ("LazyInstanceNorm1d", (2, 3, 4)), ("LazyInstanceNorm3d", (2, 3, 1, 2, 2)),
])  # fmt: skip
@pytest.mark.parametrize("options", [{}, dict(affine=False), dict(track_running_stats=False)])
def test_norms(kind, shape, options):
    x, found = random.standard_normal(shape), []
    for T in (ours, torch):
        layer = getattr(T.nn, kind)(**options).double()
        found.append([layer(T.from_numpy(x)), *layer.state_dict().values()])
        assert type(layer) is getattr(T.nn, kind.removeprefix("Lazy"))
    for a, b in zip(*found, strict=True):
        assert numbers(a).dtype == numbers(b).dtype
        np.testing.assert_allclose(numbers(a), numbers(b), rtol=1e-9)


def test_states_with_and_without_shapes():
    """Values give shapes to a lazy layer; nothing is loaded from one."""
    full = ours.nn.Linear(3, 2)
    lazy = ours.nn.LazyLinear(2)
    lazy.load_state_dict(full.state_dict())
    assert lazy.weight.shape == (2, 3) and not lazy.has_uninitialized_params()
    x = ours.ones(1, 3)
    np.testing.assert_array_equal(numbers(lazy(x)), numbers(full(x)))
    assert type(lazy) is ours.nn.Linear and lazy.in_features == 3
    other = ours.nn.LazyLinear(2)
    other.load_state_dict(ours.nn.LazyLinear(2).state_dict())
    assert other.has_uninitialized_params()
    same_error(lambda T: T.nn.Linear(3, 2).load_state_dict(T.nn.LazyLinear(2).state_dict()))


def test_a_copy_is_lazy_too():
    layer = ours.nn.LazyLinear(2)
    twin = copy.deepcopy(layer)
    twin(ours.ones(1, 4))
    assert layer.has_uninitialized_params() and type(layer) is ours.nn.LazyLinear


@pytest.mark.parametrize(
    "run",
    [
        lambda T: T.nn.LazyLinear(2).weight + 1,
        lambda T: T.nn.init.normal_(T.nn.LazyLinear(2).weight),
        lambda T: T.nn.LazyLinear(2).weight.shape,
        lambda T: T.nn.LazyConv2d(2, 3)(T.ones(2, 3)),
        lambda T: T.nn.LazyConv2d(4, 1, groups=2)(T.ones(3, 2, 2)),
        lambda T: T.nn.LazyBatchNorm1d()(T.ones(2, 3, 4, 5)),
        lambda T: type("Own", (T.nn.modules.lazy.LazyModuleMixin, T.nn.Module), {})()(T.ones(1)),
    ],
)
def test_refusals(run):
    same_error(run, "")


def loaded(layer):
    return pickle.loads(pickle.dumps(layer))


LAZY = {
    "LazyLinear": ((4,), (3, 2)),
    "LazyConv1d": ((4, 2), (3, 2, 5)),
    "LazyConv2d": ((4, 2), (3, 2, 5, 5)),
    "LazyConv3d": ((4, 2), (3, 2, 5, 5, 5)),
    "LazyConvTranspose1d": ((4, 2), (3, 2, 5)),
    "LazyConvTranspose2d": ((4, 2), (3, 2, 5, 5)),
    "LazyConvTranspose3d": ((4, 2), (3, 2, 5, 5, 5)),
    "LazyBatchNorm1d": ((), (3, 2)),
    "LazyBatchNorm2d": ((), (3, 2, 5, 5)),
    "LazyBatchNorm3d": ((), (3, 2, 5, 5, 5)),
    "LazyInstanceNorm1d": ((1e-5, 0.1, True, True), (3, 2, 5)),
    "LazyInstanceNorm2d": ((1e-5, 0.1, True, True), (3, 2, 5, 5)),
    "LazyInstanceNorm3d": ((1e-5, 0.1, True, True), (3, 2, 5, 5, 5)),
}


def test_all_lazy_layers_are_listed():
    made = {name for name in dir(ours.nn) if name.startswith("Lazy")}
    assert made == set(LAZY)


@pytest.mark.parametrize("dtype", [ours.float32, ours.float64], ids=str)
@pytest.mark.parametrize("way", [loaded, copy.deepcopy])
@pytest.mark.parametrize("kind", LAZY)
def test_before_they_know_their_sizes_they_are_pickled_and_copied(kind, way, dtype):
    """torch's forget the dtype when pickled, and cannot copy a buffer."""
    args, shape = LAZY[kind]
    layer = getattr(ours.nn, kind)(*args, dtype=dtype)
    frozen = next(layer.parameters()).requires_grad_(False)
    twin = way(layer)
    assert repr(twin) == repr(layer) and type(twin) is type(layer)
    for one, other in ((layer, twin), (twin, layer)):  # one does not stir when the other does
        ours.manual_seed(0)
        one(ours.ones(*shape, dtype=dtype))
        assert one is twin or is_lazy(next(other.parameters()))
    assert type(twin) is type(layer)
    assert not twin._forward_pre_hooks and not twin._load_state_dict_pre_hooks
    state, expected = twin.state_dict(), layer.state_dict()
    assert list(state) == list(expected)
    for name, value in state.items():
        assert value.dtype == expected[name].dtype
        assert value.tolist() == expected[name].tolist()
    assert frozen is next(layer.parameters())
    assert [p.requires_grad for p in twin.parameters()] == [
        p.requires_grad for p in layer.parameters()
    ]


def test_whether_a_buffer_is_saved_is_pickled_with_it():
    for persistent in (True, False):
        buffer = ours.nn.parameter.UninitializedBuffer(persistent=persistent)
        assert loaded(buffer).persistent is copy.deepcopy(buffer).persistent is persistent
