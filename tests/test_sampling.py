"""Random tensors: golden values that need no torch, then the same calls beside torch."""

from __future__ import annotations

import copy
import pickle
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_edu as ours

Library = Any
Call = Callable[[Library], Any]


def crc(t: Any) -> int:
    return zlib.crc32(np.ascontiguousarray(t.detach().numpy()).tobytes())


# Golden values, computed by torch 2.13.0 ----------------------------------------------------------

# After manual_seed(0): the call, the first numbers, CRC-32 of all bytes.
GOLDEN: dict[str, tuple[list[float], int]] = {
    "T.rand(1000)": ([0.49625658988952637, 0.7682217955589294, 0.08847743272781372], 2206920785),
    "T.rand(3, 5)": ([0.49625658988952637, 0.7682217955589294, 0.08847743272781372], 2246288668),
    "T.rand(20, dtype=T.float16)": ([0.496337890625, 0.76806640625, 0.0885009765625], 1276231310),
    "T.rand(20, dtype=T.float64)": (
        [0.9700530018065531, 0.707819864399788, 0.45938294312745087],
        1111176032,
    ),
    "T.randn(1000)": ([-1.1258398294448853, -1.152360200881958, -0.2505785822868347], 3372653670),
    "T.randn(5, 7)": ([-1.1258398294448853, -1.152360200881958, -0.2505785822868347], 3624945608),
    "T.randn(3)": ([1.5409960746765137, -0.293428897857666, -2.1787893772125244], 62576062),
    "T.randn(4, 6).t().normal_()": (
        [0.3703935444355011, -1.2904350757598877, 0.1919950693845749],
        1877804191,
    ),
    "T.randint(10, (50,))": ([4, 9, 3], 418781735),
    "T.randint(-3, 2**40, (50,))": ([741253000462, 506101270731, 291417319135], 2737324495),
    "T.randint(5, (9,), dtype=T.float32)": ([4.0, 4.0, 3.0], 1403792950),
    "T.randperm(1000)": ([44, 37, 675], 1167042831),
    "T.normal(2.0, 0.5, (33,))": (
        [1.4370801448822021, 1.423819899559021, 1.8747106790542603],
        1853827185,
    ),
    "T.normal(T.arange(20.0), T.linspace(0, 1, 20))": (
        [0.0, 0.9393494725227356, 1.973623275756836],
        3645345434,
    ),
    "T.bernoulli(T.linspace(0, 1, 30))": ([0.0, 0.0, 0.0], 3957697025),
    "T.ones(30).bernoulli(0.4)": ([0.0, 0.0, 0.0], 2824636850),
    "T.rand_like(T.ones(4, 3).t())": (
        [0.49625658988952637, 0.13203048706054688, 0.4900934100151062],
        4034126782,
    ),
    "T.randn_like(T.ones(6, 5).t())": (
        [1.5409960746765137, -1.3985954523086548, -0.5966353416442871],
        2728728839,
    ),
    "T.multinomial(T.arange(20.0), 5)": ([17, 11, 16], 3809579893),
    "T.multinomial(T.ones(3, 4), 6, replacement=True)": ([3, 2, 1], 1620416874),
    "T.zeros(4, 6)[:, ::2].uniform_(-3, 1)": (
        [-1.0149736404418945, 0.07288718223571777, -2.646090269088745],
        3035174261,
    ),
    "T.zeros(20).exponential_(2.0)": (
        [1.754163146018982, 0.6151923537254333, 0.3075220584869385],
        65827203,
    ),
    "T.zeros(20).cauchy_(1.0, 3.0)": (
        [32.79318618774414, 3.294301748275757, 0.6151019930839539],
        1090401509,
    ),
    "T.zeros(20).log_normal_(0.0, 0.5)": (
        [2.160842180252075, 0.863540530204773, 0.33642005920410156],
        2110641509,
    ),
    "T.zeros(20, dtype=T.int64).geometric_(0.2)": ([1, 2, 4], 1002452412),
    "T.zeros(20, dtype=T.int32).random_()": ([209652396, 398764591, 924231285], 2845525255),
    "T.nn.functional.dropout(T.ones(5, 7).t(), 0.3)": (
        [0.0, 1.4285714626312256, 1.4285714626312256],
        31564035,
    ),
    "T.nn.functional.alpha_dropout(T.ones(40), 0.3, True)": (
        [-1.059548258781433, -1.059548258781433, 1.315044641494751],
        1824959698,
    ),
    "T.nn.Linear(7, 3).weight": (
        [-0.002829751931130886, 0.2027566134929657, -0.31108182668685913],
        3253594311,
    ),
    "T.nn.Embedding(5, 4).weight": (
        [-1.1258398294448853, -1.152360200881958, -0.2505785822868347],
        2383145077,
    ),
}  # fmt: skip


@pytest.mark.parametrize("call", GOLDEN)
def test_golden_values(call: str) -> None:
    head, checksum = GOLDEN[call]
    drawn = eval(call, {"T": ours})  # noqa: S307
    assert drawn.flatten()[: len(head)].tolist() == head
    assert crc(drawn) == checksum


def test_golden_sequence() -> None:
    """A script that draws a little of everything, the state saved and restored in the middle."""
    T = ours
    T.manual_seed(2024)
    first = [T.rand(3), T.randn(5), T.randperm(9), T.bernoulli(T.full((4,), 0.5))]
    state = T.get_rng_state()
    second = [T.randn(2, 40), T.randint(100, (7,)), T.nn.functional.dropout(T.ones(33), 0.25)]
    with T.random.fork_rng():
        T.manual_seed(5)
        T.randn(3)
    third = [T.randn(3), T.multinomial(T.ones(10), 4)]
    T.set_rng_state(state)
    again = [T.randn(2, 40), T.randint(100, (7,)), T.nn.functional.dropout(T.ones(33), 0.25)]
    assert [crc(t) for t in [*first, *second, *third]] == [
        2186335842,
        2944257291,
        932684473,
        1993603105,
        516397890,
        1191095998,
        2610792585,
        2984757978,
        614478693,
    ]
    assert [crc(t) for t in again] == [crc(t) for t in second]
    assert crc(T.get_rng_state()) == 2510669379


# The generator ------------------------------------------------------------------------------------


def test_state_of_a_generator() -> None:
    gen = ours.Generator().manual_seed(3)
    ours.randn(5, generator=gen)  # leaves a second normal number waiting
    state = gen.get_state()
    assert (state.dtype, state.shape) == (ours.uint8, (5056,))
    expected = ours.randn(7, generator=gen).tolist()
    other = ours.Generator()
    assert other.set_state(state) is other
    assert ours.randn(7, generator=other).tolist() == expected
    gen.set_state(state)
    state.zero_()  # the state was copied
    for twin in (gen.clone_state(), copy.deepcopy(gen), pickle.loads(pickle.dumps(gen))):
        assert ours.randn(7, generator=twin).tolist() == expected
    assert gen.device == ours.device("cpu")


def test_the_default_generator() -> None:
    assert ours.random.default_generator is ours.default_generator
    assert ours.manual_seed(7) is ours.default_generator
    assert ours.initial_seed() == ours.random.initial_seed() == 7
    x = ours.rand(2)
    assert ours.rand(2, generator=ours.Generator().manual_seed(7)).tolist() == x.tolist()
    assert ours.seed() == ours.initial_seed() != ours.seed()
    state = ours.get_rng_state()
    x = ours.rand(2)
    ours.random.set_rng_state(state)
    assert ours.rand(2).tolist() == x.tolist()


def test_fork_rng() -> None:
    ours.manual_seed(0)
    expected = ours.rand(6).tolist()
    ours.manual_seed(0)
    with ours.random.fork_rng():
        ours.manual_seed(9)
        ours.rand(100)
    with pytest.raises(KeyError), ours.random.fork_rng(devices=[]):
        ours.rand(3)
        raise KeyError
    first = ours.rand(2).tolist()
    with ours.random.fork_rng(enabled=False):
        second = ours.rand(2).tolist()
    assert first + second + ours.rand(2).tolist() == expected

    @ours.random.fork_rng()
    def draw() -> None:
        ours.rand(3)

    before = ours.get_rng_state().tolist()
    draw()
    draw()
    assert ours.get_rng_state().tolist() == before


def test_other_devices_are_refused() -> None:
    for place in ("cuda", "cuda:0", 0, ours.device("cuda")):
        with pytest.raises(RuntimeError, match="'cuda' cannot be used"):
            ours.Generator(device=place)
    with pytest.raises(RuntimeError, match="device string: vax"):
        ours.Generator("vax")


# In the graph -------------------------------------------------------------------------------------

FILLS: dict[str, Callable[[Library, Any], Any]] = {
    "uniform_": lambda T, x: x.uniform_(-1, 2),
    "normal_": lambda T, x: x.normal_(1, 2),
    "random_": lambda T, x: x.random_(9),
    "bernoulli_": lambda T, x: x.bernoulli_(0.3),
    "bernoulli_, tensor": lambda T, x: x.bernoulli_(T.full(tuple(x.shape[1:]), 0.3)),
    "exponential_": lambda T, x: x.exponential_(2),
    "log_normal_": lambda T, x: x.log_normal_(0, 0.5),
    "cauchy_": lambda T, x: x.cauchy_(),
    "geometric_": lambda T, x: x.geometric_(0.3),
}


@pytest.mark.parametrize("fill", FILLS)
def test_no_gradient_flows_through_a_fill(fill: str) -> None:
    x = ours.tensor([[1.0, 2], [3, 4]], requires_grad=True)
    y = x * 3
    before = y._version
    assert FILLS[fill](ours, y) is y
    assert y.requires_grad and not y.is_leaf and y._version > before
    (y * x).sum().backward()
    assert x.grad is not None and x.grad.tolist() == y.tolist()  # only by the second factor


def test_a_fill_of_a_part() -> None:
    x = ours.ones(3, 4, requires_grad=True)
    y = x * 2
    y[1].normal_()
    y.t()[0].uniform_()
    (y * 5).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0, 10, 10, 10], [0, 0, 0, 0], [0, 10, 10, 10]]


def test_parameters_of_a_draw_get_no_gradient() -> None:
    p = ours.full((2, 3), 0.5, requires_grad=True)
    draws = [
        ours.bernoulli(p), ours.normal(p), ours.normal(p, p), ours.normal(0.0, p),
        ours.zeros(2, 3).bernoulli_(p), p.bernoulli(), p.bernoulli(0.5),
    ]  # fmt: skip
    for drawn in draws:
        assert drawn.requires_grad
        p.grad = None
        (drawn * float("inf")).sum().backward()
        assert p.grad is not None and (p.grad == 0).all()
    with ours.no_grad():
        assert not ours.bernoulli(p).requires_grad
    assert not ours.multinomial(p, 1).requires_grad
    assert not ours.rand_like(p).requires_grad


def test_a_kept_value_may_not_be_overwritten() -> None:
    x = ours.ones(3, requires_grad=True)
    y = x * 2
    z = y * y
    y.normal_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


def test_leaves_are_protected() -> None:
    x = ours.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        x.normal_()
    with pytest.raises(RuntimeError, match="view of a leaf"):
        x[0].normal_()
    with ours.no_grad():
        x.normal_()
    with pytest.raises(RuntimeError, match="single memory location"):
        ours.ones(1).expand(3).normal_()


# On a GPU -----------------------------------------------------------------------------------------

ON_A_DEVICE: list[Callable[[str], Any]] = [
    lambda d: ours.rand(3, 4, device=d),
    lambda d: ours.randn(40, device=d, requires_grad=True),
    lambda d: ours.randint(9, (5,), device=d),
    lambda d: ours.randperm(7, device=d),
    lambda d: ours.normal(0.0, 2.0, (5,), device=d),
    lambda d: ours.normal(ours.ones(4, device=d), ours.ones(4, device=d, requires_grad=True)),
    lambda d: ours.bernoulli(ours.full((4, 5), 0.3, device=d).t()),
    lambda d: ours.multinomial(ours.ones(4, device=d), 3),
    lambda d: ours.rand_like(ours.ones(4, 5, device=d).t()),
    lambda d: ours.rand_like(ours.ones(4), device=d),
    lambda d: ours.ones(20, 3, device=d).t().normal_(),
    lambda d: ours.ones(6, device=d).bernoulli_(ours.full((6,), 0.3, device=d)),
    lambda d: (ours.ones(6, device=d, requires_grad=True) * 2).uniform_(),
    lambda d: ours.nn.functional.dropout(ours.ones(6, 5, device=d).t(), 0.3),
    lambda d: ours.nn.functional.dropout2d(ours.ones(6, 5, 2, 2, device=d), 0.3),
    lambda d: ours.nn.functional.alpha_dropout(ours.ones(6, 5, device=d), 0.3, True),
    lambda d: ours.nn.Linear(5, 4, device=d).weight,
    lambda d: ours.nn.init.trunc_normal_(ours.empty(5, 4, device=d)),
    lambda d: ours.nn.init.orthogonal_(ours.empty(5, 5, device=d)) * 0,
]


@pytest.mark.parametrize("call", range(len(ON_A_DEVICE)))
def test_a_gpu_has_a_stream_of_its_own(call: int, cuda: str) -> None:
    """The same numbers after the same seed, and none taken from the CPU's stream."""
    found = []
    for _ in range(2):
        ours.manual_seed(0)
        state = ours.get_rng_state().tolist()
        found.append(ON_A_DEVICE[call](cuda))
        assert ours.get_rng_state().tolist() == state
    assert found[0].device.type == "cuda"
    assert found[0].tolist() == found[1].tolist()
    assert found[0].requires_grad == ON_A_DEVICE[call]("cpu").requires_grad


# Beside torch -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch")


def same(torch: Any, mine: Any, theirs: Any) -> None:
    assert str(mine.dtype) == str(theirs.dtype)
    assert tuple(mine.shape) == tuple(theirs.shape)
    long = [i for i, n in enumerate(mine.shape) if n > 1 and mine.numel()]
    assert [mine.stride(i) for i in long] == [theirs.stride(i) for i in long]
    assert mine.requires_grad == theirs.requires_grad
    a, b = mine.detach().numpy(), theirs.detach().numpy()
    if a.dtype == np.float64:  # NumPy's log, cos and exp may differ in the last bits
        np.testing.assert_allclose(a, b, rtol=1e-15 * 8, atol=1e-15)
    else:
        np.testing.assert_array_equal(a, b)


def same_state(torch: Any) -> None:
    assert ours.get_rng_state().tolist() == torch.get_rng_state().tolist()


FLOATS = ("float16", "float32", "float64")
INTEGERS = ("uint8", "int8", "int16", "int32", "int64")
SEEDS = st.integers(-(2**63), 2**64 - 1)
SHAPES = st.lists(st.integers(0, 7), max_size=3).map(tuple)
VIEWS: dict[str, Callable[[Any], Any]] = {
    "as it is": lambda x: x,
    "t": lambda x: x.transpose(0, -1) if x.ndim else x,
    "part": lambda x: x[..., 1:] if x.ndim else x,
    "steps": lambda x: x[::2] if x.ndim else x,
    "permuted": lambda x: x.permute(1, 2, 0) if x.ndim == 3 else x,
    "new dim": lambda x: x.unsqueeze(1) if x.ndim else x,
}


@st.composite
def new_tensors(draw: st.DrawFn) -> Call:
    """A call that returns a new tensor."""
    shape, kind = draw(SHAPES), draw(st.sampled_from(FLOATS))
    name = draw(st.sampled_from(["rand", "randn", "randint", "randperm", "normal", "sizes"]))
    if name == "randint":
        kind = draw(st.sampled_from(FLOATS + INTEGERS))
        low, high = sorted([draw(st.integers(0, 100)), draw(st.integers(0, 100))])
        form = draw(st.integers(0, 3))
        return lambda T: [
            lambda: T.randint(high + 1, shape, dtype=getattr(T, kind)),
            lambda: T.randint(low, high + 1, shape, dtype=getattr(T, kind)),
            lambda: T.randint(low, high=high + 1, size=shape),
            lambda: T.randint(low=-low - 1, high=2**50 + high, size=shape),
        ][form]()
    if name == "randperm":
        n = draw(st.integers(0, 60))
        return lambda T: T.randperm(n, dtype=getattr(T, kind))
    if name == "normal":
        mean, std = draw(st.floats(-5, 5, width=32)), draw(st.floats(0, 5, width=32))
        return lambda T: T.normal(mean, std, shape, dtype=getattr(T, kind))
    if name == "sizes":
        return lambda T: T.rand(*shape) if shape else T.rand(())
    grad = draw(st.booleans())
    return lambda T: getattr(T, name)(size=shape, dtype=getattr(T, kind), requires_grad=grad)


@st.composite
def tensors_of_tensors(draw: st.DrawFn) -> Call:
    """A call that returns a tensor drawn according to another one."""
    shape = draw(SHAPES)
    view = VIEWS[draw(st.sampled_from(sorted(VIEWS)))]
    kind = draw(st.sampled_from(FLOATS))
    values = np.random.default_rng(draw(st.integers(0, 99))).random(shape).astype(kind)
    name = draw(st.sampled_from([
        "rand_like", "randn_like", "randint_like", "bernoulli", "bernoulli p", "normal 1",
        "normal 2", "normal 3", "normal 4", "dropout", "multinomial",
    ]))  # fmt: skip
    count = draw(st.integers(1, 5))

    def call(T: Any) -> Any:
        x = view(T.tensor(values))
        if name == "multinomial":
            if not x.numel():
                return x
            weights = x.reshape(-1, x.shape[-1] if x.ndim else 1)
            return T.multinomial(weights.double(), count, replacement=True)
        return {
            "rand_like": lambda: T.rand_like(x),
            "randn_like": lambda: T.randn_like(x, dtype=T.float32),
            "randint_like": lambda: T.randint_like(x, 3, 50),
            "bernoulli": lambda: T.bernoulli(x),
            "bernoulli p": lambda: x.bernoulli(0.25),
            "normal 1": lambda: T.normal(x, 1.5),
            "normal 2": lambda: T.normal(x),
            "normal 3": lambda: T.normal(0.3, x),
            "normal 4": lambda: T.normal(x, T.full((1,), 0.3, dtype=T.float64)),
            "dropout": lambda: T.nn.functional.dropout(x, 0.3),
        }[name]()

    return call


@st.composite
def fills(draw: st.DrawFn) -> Call:
    """A call that fills a tensor, or a view of one, in place; returns the whole."""
    shape = draw(SHAPES)
    view = VIEWS[draw(st.sampled_from(sorted(VIEWS)))]
    kind = draw(st.sampled_from(FLOATS))
    fill = FILLS[draw(st.sampled_from(sorted(set(FILLS) - {"bernoulli_, tensor"})))]
    grad = draw(st.booleans())

    def call(T: Any) -> Any:
        whole = T.zeros(shape, dtype=getattr(T, kind), requires_grad=grad)
        whole = whole * 1 if grad else whole
        fill(T, view(whole))
        return whole

    return call


@given(SEEDS, st.lists(st.one_of(new_tensors(), tensors_of_tensors(), fills()), max_size=8),
       st.integers(0, 8))  # fmt: skip
def test_scripts_draw_torchs_numbers(torch: Any, seed: int, calls: list[Call], back: int) -> None:
    for T in (ours, torch):
        T.manual_seed(seed)
    for i, call in enumerate(calls):
        if i == back:
            states = ours.get_rng_state(), torch.get_rng_state()
        same(torch, call(ours), call(torch))
        same_state(torch)
    if back < len(calls):  # go on from torch's state here, and from ours in torch
        ours.set_rng_state(ours.tensor(states[1].numpy()))
        torch.set_rng_state(torch.tensor(states[0].numpy()))
        for call in calls[back:]:
            same(torch, call(ours), call(torch))
    assert ours.initial_seed() == torch.initial_seed()
    same_state(torch)


WITH_GENERATOR: list[Callable[[Library, Any, int], Any]] = [
    lambda T, g, n: T.rand(n, generator=g),
    lambda T, g, n: T.randn(n, generator=g),
    lambda T, g, n: T.randint(9, (n,), generator=g),
    lambda T, g, n: T.randperm(n, generator=g),
    lambda T, g, n: T.normal(0.0, 2.0, (n,), generator=g),
    lambda T, g, n: T.bernoulli(T.full((n,), 0.3), generator=g),
    lambda T, g, n: T.zeros(n).normal_(generator=g),
    lambda T, g, n: T.zeros(n).exponential_(generator=g),
    lambda T, g, n: T.rand_like(T.zeros(n), generator=g),
    lambda T, g, n: T.multinomial(T.ones(n + 1), n + 1, generator=g),
]


@given(st.data(), SEEDS)
def test_generators_are_independent(torch: Any, data: st.DataObject, seed: int) -> None:
    mine, theirs = ours.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
    default = ours.get_rng_state().tolist()
    for _ in range(3):
        n = data.draw(st.integers(0, 40))
        draw = data.draw(st.sampled_from(WITH_GENERATOR))
        same(torch, draw(ours, mine, n), draw(torch, theirs, n))
        assert mine.get_state().tolist() == theirs.get_state().tolist()
    assert ours.get_rng_state().tolist() == default


@pytest.mark.parametrize("fill", FILLS)
def test_gradients_of_fills_equal_torchs(torch: Any, fill: str) -> None:
    found = []
    for T in (ours, torch):
        T.manual_seed(1)
        x = T.ones(4, 6, requires_grad=True)
        y = x * 2
        FILLS[fill](T, y[:, ::2].t())
        FILLS[fill](T, y[1])
        (y * x).sum().backward()
        found.append((y.tolist(), x.grad.tolist(), y.is_leaf))
    assert found[0] == found[1]
    same_state(torch)
