"""The random stream beside torch, call by call; its golden values are in test_generator.py."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_generator import filled, ulps

from tinygrad_edu import random
from tinygrad_edu.kernels.distributions import bernoulli
from tinygrad_edu.kernels.mersenne_twister import MersenneTwister
from tinygrad_edu.kernels.rounding import fma32, fma64
from tinygrad_edu.kernels.shuffle import fisher_yates, fisher_yates_loop
from tinygrad_edu.random import Generator

Array = np.ndarray[Any, Any]


# What needs no torch to be checked ----------------------------------------------------------------


@given(st.integers(0, 600), st.integers(1, 700), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_shuffle_without_a_loop_equals_the_loop(n: int, block: int, seed: int) -> None:
    expected = fisher_yates_loop(MersenneTwister(seed), n)
    np.testing.assert_array_equal(
        fisher_yates(MersenneTwister(seed), n, block, loop_to=0), expected
    )


def test_fma64_equals_exact_arithmetic() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        x, y, z = (rng.standard_normal(3) * 2.0 ** rng.integers(-20, 20, 3)).tolist()
        # generic; cancelling; close to the middle of two floats
        for a, b, c in ((x, y, z), (x, y, -x * y), (1 + 2.0**-27, 1 + 2.0**-26, z * 2.0**-90)):
            exact = float(Fraction(a) * Fraction(b) + Fraction(c))
            assert fma64(np.array([a]), b, c)[0] == exact


def test_fma32_equals_exact_arithmetic() -> None:
    a = (np.random.default_rng(0).integers(0, 2**24, 2000) * 2.0**-24).astype(np.float32)
    for factor, summand in ((0.75, 1e-20), (0.75, -1e-20), (1.5, 2.0**-40), (0.3, 0.7), (2, -1)):
        b, c = float(np.float32(factor)), float(np.float32(summand))
        for x, y in zip(a.tolist(), fma32(a, b, c), strict=True):
            exact = Fraction(x) * Fraction(b) + Fraction(c)
            below, above = (float(np.nextafter(y, np.float32(end))) for end in (-9, 9))
            distance = abs(Fraction(float(y)) - exact)
            assert distance <= abs(Fraction(below) - exact)
            assert distance <= abs(Fraction(above) - exact)


@given(st.integers(0, 700), st.sampled_from([0, 1, 2047, 2048, 2049, 5000]), st.booleans())
@settings(deadline=None, max_examples=30)
def test_pairs_of_words_are_joined_in_order(drawn: int, n: int, swapped: bool) -> None:
    """Many are joined by NumPy, few are not, nor any where its compiler took them the other way."""
    one, other = MersenneTwister(drawn), MersenneTwister(drawn)
    pairs = (one.raw(drawn), one.raw(2 * n).reshape(n, 2))[1].tolist()
    with pytest.MonkeyPatch.context() as patch:
        if swapped:
            patch.setattr("tinygrad_edu.kernels.mersenne_twister._joins_in_order", lambda: False)
        other.raw(drawn)
        assert other.words64(n).tolist() == [(high << 32) + low for high, low in pairs]
    assert other.words(3).tolist() == one.words(3).tolist()


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
@settings(deadline=None, max_examples=30)
def test_a_decision_compares_53_bits(seed: int, p: float) -> None:
    words = [int(w) % 2**53 for w in MersenneTwister(seed).words64(3000)]
    ties = [p, words[0] / 2**53, (words[1] + 1) / 2**53]  # the next one up decides otherwise
    for threshold in ties:
        keep = bernoulli(MersenneTwister(seed), len(words), threshold)
        assert keep.tolist() == [Fraction(w, 2**53) < Fraction(threshold) for w in words]


def test_masks_lie_in_memory_as_their_model_does() -> None:
    x = np.zeros((3, 4, 5)).transpose(2, 0, 1)
    assert random.keep_mask(Generator(), x, 0.5).strides == (1, 20, 5)
    assert random.dropout_noise(Generator(), x, 0.5).strides == x.strides


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_certain_masks_draw_nothing(p: float) -> None:
    gen = Generator()
    before = gen.get_state_bytes()
    assert (random.keep_mask(gen, np.zeros(5), p) == (p == 0)).all()
    assert (random.dropout_noise(gen, np.zeros(5), p) == (p == 0)).all()
    np.testing.assert_array_equal(gen.get_state_bytes(), before)


def test_ties_in_the_high_half_of_a_bernoulli_draw_are_decided_by_the_low_half() -> None:
    u = filled(random.fill_uniform, 200, "float64")
    for value in u[:50]:  # p equal to a number that will be drawn, and its neighbours
        for p in (value, np.nextafter(value, 1), np.nextafter(value, 0)):
            np.testing.assert_array_equal(
                filled(random.fill_bernoulli, 200, "bool", float(p)), u < p
            )


REFUSED: list[tuple[type[Exception], str, str, str, tuple[Any, ...]]] = [
    (RuntimeError, "from=2 > to=1", "fill_uniform", "float32", (2, 1)),
    (RuntimeError, "to is out of bounds for float", "fill_uniform", "float32", (0, 1e39)),
    (RuntimeError, "from is out of bounds", "fill_uniform", "float32", (float("nan"), 1)),
    (RuntimeError, "to is out of bounds for c10::Half", "fill_uniform", "float16", (0, 1e5)),
    (RuntimeError, "to-from", "fill_uniform", "float32", (-3e38, 3e38)),
    (NotImplementedError, "Long", "fill_uniform", "int64", ()),
    (RuntimeError, "std >= 0.0, but found std -1", "fill_normal", "float32", (0, -1)),
    (RuntimeError, "nan", "fill_normal", "float32", (0, float("nan"))),
    (NotImplementedError, "Long", "fill_normal", "int64", ()),
    (RuntimeError, "p=1.5", "fill_bernoulli", "float32", (1.5,)),
    (RuntimeError, "p=nan", "fill_bernoulli", "float32", (float("nan"),)),
    (RuntimeError, "p_in", "fill_bernoulli", "float32", (np.array(1.5),)),
    (NotImplementedError, "Long", "fill_bernoulli", "float32", (np.array(1),)),
    (RuntimeError, "lambda=-1", "fill_exponential", "float32", (-1,)),
    (RuntimeError, "continuous", "fill_exponential", "int64", ()),
    (RuntimeError, "sigma=0", "fill_cauchy", "float32", (0, 0)),
    (RuntimeError, "continuous", "fill_cauchy", "int64", ()),
    (RuntimeError, "p=1", "fill_geometric", "float32", (1,)),
    (NotImplementedError, "Bool", "fill_geometric", "bool", (0.5,)),
    (RuntimeError, "std=0", "fill_log_normal", "float32", (0, 0)),
    (NotImplementedError, "Long", "fill_log_normal", "int64", ()),
    (RuntimeError, "from=3 >= to=3", "fill_random", "float32", (3, 3)),
    (RuntimeError, "to - 1 is out of bounds for unsigned char", "fill_random", "uint8", (0, 300)),
    (RuntimeError, "from is out of bounds for bool", "fill_random", "bool", (-1, 1)),
    (NotImplementedError, "UInt16|uint16", "fill_random", "uint16", ()),
]


@pytest.mark.parametrize(("error", "message", "fill", "dtype", "args"), REFUSED)
@pytest.mark.parametrize("size", [0, 3])
def test_bad_arguments_are_refused_before_anything_is_drawn(
    error: type[Exception], message: str, fill: str, dtype: str, args: Any, size: int
) -> None:
    gen = Generator()
    before = gen.get_state_bytes()
    with pytest.raises(error, match=message):
        getattr(random, fill)(gen, np.empty(size, dtype), *args)
    np.testing.assert_array_equal(gen.get_state_bytes(), before)


def test_bad_arguments_of_functions_that_return_arrays() -> None:
    gen, ones = Generator(), np.ones(3, np.float32)
    with pytest.raises(ValueError, match="between 0 and 1, but got -0.5"):
        random.keep_mask(gen, ones, -0.5)
    with pytest.raises(RuntimeError, match="negative dimension -1"):
        random.randperm(gen, -1)
    with pytest.raises(RuntimeError, match="n cannot be greater than 2049"):
        random.randperm(gen, 5000, np.float16)
    with pytest.raises(NotImplementedError, match="214748364"):
        random.randperm(gen, 214748364)
    bad: list[tuple[str, Array, int]] = [
        ("floating-point", np.ones(3, np.int64), 1), ("1 or 2 dim", np.ones((1, 1, 1)), 1),
        ("n_sample <= 0", ones, 0), ("without replacement", ones, 4),
        ("element < 0", np.array([-1.0, 2]), 1), ("element < 0", np.array([np.nan, 2]), 1),
        ("sum of probabilities <= 0", np.zeros(3), 1),
        ("sum of probabilities <= 0", np.array([[0.0, 1], [0, 0]]), 1),
    ]  # fmt: skip
    for message, p, n in bad:
        with pytest.raises(RuntimeError, match=message):
            random.multinomial(gen, p, n)


# Beside torch -------------------------------------------------------------------------------------

FLOATS = ("float16", "float32", "float64")
INTEGERS = ("uint8", "int8", "int16", "int32", "int64")
SEEDS = st.integers(-(2**63), 2**64 - 1)
finite = st.floats(-100, 100).filter(lambda x: x == 0 or abs(x) > 1e-30)
positive = st.floats(2.0**-10, 100)


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch")


@st.composite
def layouts(draw: st.DrawFn) -> Callable[[str], Array]:
    """A maker of arrays that are contiguous, or transposed, or sliced, or all of it."""
    shape = draw(st.lists(st.integers(0, 7), max_size=3) | st.integers(16, 40).map(lambda n: [n]))
    axes = draw(st.permutations(range(len(shape))) | st.just(list(range(len(shape)))))
    steps = draw(st.lists(st.integers(1, 3), min_size=len(shape), max_size=len(shape)))
    if draw(st.booleans()):
        steps = [1] * len(shape)

    def make(dtype: str) -> Array:
        base: Array = np.zeros([n * step for n, step in zip(shape, steps, strict=True)], dtype)
        index: tuple[Any, ...] = (*(slice(None, None, step) for step in steps), ...)
        return np.asarray(base[index]).transpose(axes)

    return make


def _low_high(draw: st.DrawFn, dtype: str) -> tuple[Any, ...]:
    bits = {"float16": 11, "float32": 24, "float64": 53}.get(dtype, 0)
    least, most = (-(2**bits), 2**bits) if bits else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    size = draw(st.sampled_from([1, 2, 7, 10, 2**28 - 1, 2**28, 2**32, 2**63 - 2]))
    low = max(draw(st.sampled_from([0, -3, 5, int(least)])), int(least))
    return low, min(low + size, int(most))


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, tuple[Any, ...], str, Callable[[str], Array]]:
    """The name of an in-place function, its arguments, a type and a layout."""
    name = draw(st.sampled_from([
        "uniform", "normal", "bernoulli", "exponential", "log_normal", "cauchy", "geometric",
        "random", "random_from_to",
    ]))  # fmt: skip
    anything = name in ("bernoulli", "random", "random_from_to", "geometric")
    dtype = draw(st.sampled_from(FLOATS + INTEGERS if anything else FLOATS))
    args: tuple[Any, ...] = ()
    if name == "uniform":
        a, b = sorted((draw(finite), draw(finite)))
        args = draw(st.sampled_from([(), (a, b), (-abs(b), abs(b)), (0.0, abs(b))]))
    elif name == "normal":
        args = draw(st.sampled_from([(), (draw(finite), draw(positive)), (0.0, 0.02), (1.0, 0.0)]))
    elif name == "bernoulli":
        args = (draw(st.floats(0, 1)),)
    elif name == "exponential":
        args = (draw(positive),)
    elif name == "log_normal":
        args = (draw(st.floats(-1, 1)), draw(st.floats(0.1, 1)))
    elif name == "cauchy":
        args = (draw(finite), draw(positive))
    elif name == "geometric":
        args = (draw(st.floats(0.3, 0.99)),)
    elif name == "random_from_to":
        args = _low_high(draw, dtype)
    return name, args, dtype, draw(layouts())


def check_call(torch: Any, gen: Generator, theirs: Any, call: Any) -> None:
    name, args, dtype, make = call
    ours, other = make(dtype), make(dtype)
    name = name.removesuffix("_from_to")
    getattr(random, f"fill_{name}")(gen, ours, *args)
    getattr(torch.from_numpy(other), f"{name}_")(*args, generator=theirs)
    if dtype == "float64" and name not in ("uniform", "bernoulli", "random", "geometric"):
        # log, cos, exp may differ in the last bits; adding the mean may cancel leading ones
        assert ulps(ours, other, abs(args[0]) if name in ("normal", "cauchy") and args else 0) <= 4
    else:
        np.testing.assert_array_equal(ours, other)


@given(SEEDS, st.lists(calls(), min_size=1, max_size=8), st.integers(0, 8))
@settings(deadline=None, max_examples=300)
def test_sequences_of_calls_equal_torchs(
    torch: Any, seed: int, sequence: list[Any], restore_at: int
) -> None:
    gen, theirs = Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
    assert gen.initial_seed() == theirs.initial_seed()
    for i, call in enumerate(sequence):
        if i == restore_at:  # exchange the two states
            ours_bytes, their_bytes = gen.get_state_bytes(), theirs.get_state().numpy()
            gen, theirs = Generator(), torch.Generator()
            gen.set_state_bytes(their_bytes)
            theirs.set_state(torch.from_numpy(ours_bytes))
        check_call(torch, gen, theirs, call)
        np.testing.assert_array_equal(gen.get_state_bytes(), theirs.get_state().numpy())


@pytest.mark.parametrize("dtype", [*FLOATS, "complex64", "complex128"])
@pytest.mark.parametrize("n", [*range(41), 8191, 8192, 8193, 8207, 16384 + 17])
def test_every_ragged_length_of_randn(torch: Any, n: int, dtype: str) -> None:
    gen, theirs = Generator().manual_seed(n), torch.Generator().manual_seed(n)
    for mean, std in ((0.0, 1.0), (0.5, 2.0)):
        ours, other = np.empty(n, dtype), np.empty(n, dtype)
        random.fill_normal(gen, ours, mean, std)
        torch.from_numpy(other).normal_(mean, std, generator=theirs)
        if dtype in ("float64", "complex128"):
            # Multiplying by a number that is no power of two can double the distance in ulps.
            exact_scale = mean == 0 and dtype == "float64"
            assert ulps(ours.view("f8"), other.view("f8"), mean) <= (2 if exact_scale else 4)
        else:
            np.testing.assert_array_equal(ours, other)
        np.testing.assert_array_equal(gen.get_state_bytes(), theirs.get_state().numpy())


def test_complex_uniform(torch: Any) -> None:
    ours = np.empty((4, 5), np.complex64).T
    random.fill_uniform(Generator().manual_seed(0), ours)
    other = torch.empty(4, 5, dtype=torch.complex64).t()
    other.uniform_(generator=torch.Generator().manual_seed(0))
    np.testing.assert_array_equal(ours, other.numpy())


def test_bfloat16(torch: Any) -> None:
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    for name, args in (
        ("uniform", (0.1, 0.9)), ("normal", (0.5, 2.0)), ("bernoulli", (0.3,)), ("random", ()),
        ("exponential", ()),
    ):  # fmt: skip
        for n in (9, 50, 1000):
            gen, theirs = Generator().manual_seed(n), torch.Generator().manual_seed(n)
            ours, other = np.empty(n, bfloat16), torch.empty(n, dtype=torch.bfloat16)
            getattr(random, f"fill_{name}")(gen, ours, *args)
            getattr(other, f"{name}_")(*args, generator=theirs)
            np.testing.assert_array_equal(ours.astype(np.float32), other.float().numpy())
            np.testing.assert_array_equal(gen.get_state_bytes(), theirs.get_state().numpy())


def test_a_million_normal_numbers(torch: Any) -> None:
    for seed in range(3):
        expected = torch.randn(10**6, generator=torch.Generator().manual_seed(seed)).numpy()
        np.testing.assert_array_equal(
            filled(random.fill_normal, 10**6, "float32", seed=seed), expected
        )


@given(st.integers(0, 600), SEEDS, st.sampled_from(["int64", "int32", "float32"]))
@settings(deadline=None)
def test_randperm_equals_torchs(torch: Any, n: int, seed: int, dtype: str) -> None:
    gen, theirs = Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
    expected = torch.randperm(n, generator=theirs, dtype=getattr(torch, dtype)).numpy()
    ours = random.randperm(gen, n, dtype)
    assert ours.dtype == expected.dtype
    np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(gen.get_state_bytes(), theirs.get_state().numpy())


def test_long_randperm_equals_torchs(torch: Any) -> None:
    expected = torch.randperm(300_000, generator=torch.Generator().manual_seed(1)).numpy()
    np.testing.assert_array_equal(random.randperm(Generator().manual_seed(1), 300_000), expected)


@given(st.data(), SEEDS, st.sampled_from(FLOATS + INTEGERS), st.sampled_from(FLOATS))
@settings(deadline=None)
def test_bernoulli_with_an_array_of_probabilities(
    torch: Any, data: st.DataObject, seed: int, dtype: str, p_dtype: str
) -> None:
    make = data.draw(layouts())
    ours, other, p = make(dtype), make(dtype), make(p_dtype)
    p[...] = np.random.default_rng(0).random(p.shape)
    if p.ndim and data.draw(st.booleans()):
        p = p[:1]  # to be broadcast
    gen, theirs = Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
    random.fill_bernoulli(gen, ours, p)
    torch.from_numpy(other).bernoulli_(torch.from_numpy(p), generator=theirs)
    np.testing.assert_array_equal(ours, other)
    np.testing.assert_array_equal(
        random.bernoulli(gen, p), torch.bernoulli(torch.from_numpy(p), generator=theirs)
    )
    np.testing.assert_array_equal(gen.get_state_bytes(), theirs.get_state().numpy())


@given(layouts(), st.integers(0, 2**31), st.floats(0, 1), st.sampled_from(FLOATS))
@settings(deadline=None)
def test_dropout_equals_torchs(
    torch: Any, make: Callable[[str], Array], seed: int, p: float, dtype: str
) -> None:
    x = make(dtype)
    x[...] = np.random.default_rng(0).standard_normal(x.shape)
    gen = Generator().manual_seed(seed)
    noise = random.dropout_noise(gen, x, p)
    mask = random.keep_mask(Generator().manual_seed(seed), x, p)
    state = torch.get_rng_state()
    try:
        torch.manual_seed(seed)
        expected = torch.nn.functional.dropout(torch.from_numpy(x), p)
        np.testing.assert_array_equal(gen.get_state_bytes(), torch.get_rng_state().numpy())
    finally:
        torch.set_rng_state(state)
    np.testing.assert_array_equal(x * noise, expected.numpy())
    np.testing.assert_array_equal(noise != 0, mask)


@pytest.mark.parametrize("make", [
    lambda: np.zeros(4).reshape(1, 4).repeat(3, 0)[:, ::2], lambda: np.zeros((6, 8)).T[::2, ::3],
    lambda: np.broadcast_to(np.zeros(4), (3, 4)), lambda: np.broadcast_to(np.zeros(()), (2, 3)),
    lambda: np.broadcast_to(np.zeros((2, 1, 4)), (2, 3, 4)).transpose(2, 1, 0),
    lambda: np.broadcast_to(np.zeros((2, 1, 4)), (2, 3, 4)).transpose(1, 2, 0),
    lambda: np.broadcast_to(np.zeros((1, 4, 1)), (3, 4, 5)).transpose(2, 1, 0),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_empty_like_has_torchs_strides(torch: Any, make: Callable[[], Array]) -> None:
    x = make()
    expected = torch.empty_like(torch.from_numpy(x)).stride()
    assert tuple(s // 8 for s in random.empty_like(x).strides) == expected


@given(st.data(), SEEDS, st.booleans(), st.sampled_from(FLOATS))
@settings(deadline=None)
def test_multinomial_equals_torchs(
    torch: Any, data: st.DataObject, seed: int, replacement: bool, dtype: str
) -> None:
    shape = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=2))
    p = np.random.default_rng(data.draw(st.integers(0, 100))).random(shape).astype(dtype) + 0.01
    p = p.astype(dtype)
    if p.ndim == 2 and data.draw(st.booleans()):
        p = p.T
    n = data.draw(st.integers(1, 50 if replacement else p.shape[-1]))
    gen, theirs = Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
    ours: Array = random.multinomial(gen, p, n, replacement)
    expected = torch.multinomial(torch.from_numpy(p), n, replacement, generator=theirs).numpy()
    if dtype == "float16" and not replacement:  # categories that arrive together: in any order
        times = random.empty_like(p)
        random.fill_exponential(Generator().manual_seed(seed), times)
        with np.errstate(over="ignore", divide="ignore"):
            ours, expected = (np.take_along_axis(p / times, x, -1) for x in (ours, expected))
    np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(gen.get_state_bytes(), theirs.get_state().numpy())


def test_huge_values_become_inf_without_a_warning() -> None:
    with np.errstate(all="raise"):
        assert np.isinf(filled(random.fill_cauchy, 20, "float16", 0.0, 1e8)).any()
        assert np.isinf(filled(random.fill_log_normal, 20, "float32", 1e4, 1.0)).all()


# Every possible argument of log, cos and sin ------------------------------------------------------


def _untempered(words: Array) -> Array:
    """The state words from which the Mersenne Twister makes these output words."""
    y = words ^ (words >> 18)
    y ^= (y << 15) & 0xEFC60000
    x = y
    for _ in range(4):
        x = y ^ ((x << 7) & 0x9D2C5680)
    y = x & 0xFFFFFFFF
    x = y
    for _ in range(2):
        x = y ^ (x >> 11)
    return np.asarray(x)


@pytest.mark.parametrize("half", ["radius", "angle"])
def test_box_muller_on_chosen_uniforms(torch: Any, half: str) -> None:
    """A state can be built that yields any words one likes: here every 16th of the 2**24 uniforms.

    (Every one of them was tried once, in the same way.)
    """
    values = np.arange(0, 2**24, 16, dtype=np.uint64)
    gen, theirs = Generator(), torch.Generator()
    gen.words(1)  # the next word is then the second of the 624
    state = gen.get_state_bytes()
    ours, other = np.empty(608, np.float32), torch.empty(608)
    for start in range(0, len(values) - 304, 304):
        words = np.full((38, 16), 2**21 + 12345, np.uint64)
        words[:, :8] = 2**24 - 777
        part = slice(0, 8) if half == "radius" else slice(8, 16)
        words[:, part] = values[start : start + 304].reshape(38, 8)
        state[24 + 8 : 24 + 8 * 609] = _untempered(words.reshape(-1)).view(np.uint8)
        gen.set_state_bytes(state)
        theirs.set_state(torch.from_numpy(state))
        random.fill_normal(gen, ours)
        other.normal_(generator=theirs)
        np.testing.assert_array_equal(ours, other.numpy())
