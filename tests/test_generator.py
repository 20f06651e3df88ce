"""The random generator without torch: golden values, seeding, states and copies.

The golden values were computed by torch 2.13.0 on an x86-64 processor with AVX2.
"""

from __future__ import annotations

import copy
import pickle
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinygrad_edu import random
from tinygrad_edu.kernels.mersenne_twister import MersenneTwister
from tinygrad_edu.random import Generator

Array = np.ndarray[Any, Any]


def filled(fill: Callable[..., None], shape: Any, dtype: str, *args: Any, seed: int = 0) -> Array:
    out = np.empty(shape, dtype)
    fill(Generator().manual_seed(seed), out, *args)
    return out


def crc(x: Array) -> int:
    return zlib.crc32(np.ascontiguousarray(x).tobytes())


def ulps(x: Array, y: Array, floor: float = 0.0) -> float:
    """The largest difference, in units of the last place of the larger of |y| and `floor`."""
    if not x.size:
        return 0.0
    with np.errstate(invalid="ignore"):
        difference = np.abs(x - y) / np.spacing(np.maximum(np.abs(y), floor))
    return float(np.where(x == y, 0, difference).max())


# Golden values ------------------------------------------------------------------------------------

# name: (function, shape, type, arguments, the first four values, CRC-32 of all bytes)
GOLDEN: dict[str, tuple[str, Any, str, tuple[Any, ...], list[float], int]] = {
    "rand": (
        "fill_uniform", 10000, "float32", (),
        [0.49625658988952637, 0.7682217955589294, 0.08847743272781372, 0.13203048706054688],
        767719927,
    ),
    "rand, float64": (
        "fill_uniform", 10000, "float64", (),
        [0.9700530018065531, 0.707819864399788, 0.45938294312745087, 0.9207476841219603],
        3949863033,
    ),
    "rand, float16": (
        "fill_uniform", 10000, "float16", (),
        [0.496337890625, 0.76806640625, 0.0885009765625, 0.132080078125],
        1436313121,
    ),
    "uniform_ around 0": (
        "fill_uniform", 10000, "float32", (-0.1, 0.1),
        [-0.0007486820104531944, 0.05364435911178589, -0.08230451494455338, -0.07359390705823898],
        1889508698,
    ),
    "uniform_": (
        "fill_uniform", 10000, "float32", (0.3, 7.7),
        [3.9722986221313477, 5.9848408699035645, 0.9547329545021057, 1.277025580406189],
        3198823405,
    ),
    "uniform_, float64": (
        "fill_uniform", 10000, "float64", (0.3, 7.7),
        [7.478392213368493, 5.537866996558431, 3.6994337791431366, 7.113532862502506],
        2043970656,
    ),
    "randn": (
        "fill_normal", 10000, "float32", (),
        [-1.1258398294448853, -1.152360200881958, -0.2505785822868347, -0.4338788092136383],
        18695251,
    ),
    "randn, ragged": (
        "fill_normal", 10007, "float32", (),
        [-1.1258398294448853, -1.152360200881958, -0.2505785822868347, -0.4338788092136383],
        448381501,
    ),
    "randn, short": (
        "fill_normal", 15, "float32", (),
        [1.5409960746765137, -0.293428897857666, -2.1787893772125244, 0.5684312582015991],
        3874830326,
    ),
    "randn, float16": (
        "fill_normal", 50, "float16", (),
        [-1.1259765625, -1.15234375, -0.25048828125, -0.433837890625],
        3850910961,
    ),
    "normal_": (
        "fill_normal", (40, 50), "float32", (1.5, 0.02),
        [1.4774831533432007, 1.4769527912139893, 1.4949884414672852, 1.49132239818573],
        1819445029,
    ),
    "bernoulli_": (
        "fill_bernoulli", 10000, "float32", (0.9,),
        [0.0, 1.0, 1.0, 0.0],
        922005668,
    ),
    "bernoulli_, bool": (
        "fill_bernoulli", 10000, "bool", (0.1,),
        [0.0, 0.0, 0.0, 0.0],
        638283634,
    ),
    "exponential_": (
        "fill_exponential", 10000, "float32", (1.5,),
        [2.338884115219116, 0.8202565312385559, 0.4100293815135956, 1.6900790929794312],
        466300453,
    ),
    "log_normal_": (
        "fill_log_normal", 1000, "float32", (0.0, 0.5),
        [2.160842180252075, 0.863540530204773, 0.33642005920410156, 1.3287193775177002],
        1790770206,
    ),
    "cauchy_": (
        "fill_cauchy", 10000, "float32", (1.0, 2.0),
        [22.195459365844727, 2.5295345783233643, 0.743401288986206, 8.8661470413208],
        4190379113,
    ),
    "geometric_": (
        "fill_geometric", 10000, "int64", (0.2,),
        [1.0, 2.0, 4.0, 1.0],
        931691452,
    ),
    "randint": (
        "fill_random", 10000, "int64", (0, 10),
        [4.0, 9.0, 3.0, 0.0],
        1507161557,
    ),
    "randint, large": (
        "fill_random", 10000, "int64", (-5, 1099511627776),
        [741234585336.0, 506077272957.0, 291397093751.0, 841111833108.0],
        3816111064,
    ),
    "random_, int64": (
        "fill_random", 10000, "int64", (),
        [9.004501868942894e17, 3.969543146641149e18, 1.8956495971985866e18, 8.279484900356581e17],
        312300070,
    ),
    "random_, uint8": (
        "fill_random", 10000, "uint8", (),
        [172.0, 47.0, 117.0, 192.0],
        1097816577,
    ),
    "random_, float32": (
        "fill_random", 10000, "float32", (),
        [8325664.0, 12888472.0, 1484222.0, 2214888.0],
        2661639095,
    ),
}  # fmt: skip
GOLDEN_FLOAT64: dict[str, tuple[str, int, tuple[Any, ...], list[float]]] = {
    "randn": (
        "fill_normal", 100, (),
        [-2.310411800234176, -0.3732508612577643, -1.0608166785462863, 0.9995093547811761],
    ),
    "randn, short": (
        "fill_normal", 15, (),
        [1.5409961082440433, -0.2934289057609464, -2.1787893820745574, 0.5684312772806678],
    ),
    "exponential_": (
        "fill_exponential", 100, (1.5,),
        [2.338884124471761, 0.8202565094531178, 0.41002939592934096, 1.6900790961439212],
    ),
    "log_normal_": (
        "fill_log_normal", 100, (0.0, 0.5),
        [2.160842202188243, 0.8635405237234942, 0.3364200701709021, 1.3287194231120583],
    ),
    "cauchy_": (
        "fill_cauchy", 100, (1.0, 2.0),
        [22.195458653364593, 2.5295345192117997, 0.7434013158336519, 8.8661466219893],
    ),
}  # fmt: skip
GOLDEN_PERMUTATIONS = [
    (0, [], 0),
    (1, [0], 1696784233),
    (2, [0, 1], 538004427),
    (10, [4, 1, 7, 5], 1883426623),
    (1000, [44, 37, 675, 775], 1167042831),
    (20000, [16044, 15558, 2137, 17756], 2580533540),
]
GOLDEN_STATE = 1981115167


@pytest.mark.parametrize("call", GOLDEN)
def test_golden_values(call: str) -> None:
    fill, shape, dtype, args, head, checksum = GOLDEN[call]
    x = filled(getattr(random, fill), shape, dtype, *args)
    np.testing.assert_array_equal(x.reshape(-1)[:4].astype(np.float64), head)
    assert crc(x) == checksum


@pytest.mark.parametrize("call", GOLDEN_FLOAT64)
def test_golden_values_of_float64_within_2_ulp(call: str) -> None:
    fill, size, args, head = GOLDEN_FLOAT64[call]
    x = filled(getattr(random, fill), size, "float64", *args)
    assert ulps(x[:4], np.array(head)) <= 2


@pytest.mark.parametrize(("n", "head", "checksum"), GOLDEN_PERMUTATIONS)
def test_golden_permutations(n: int, head: list[int], checksum: int) -> None:
    x = random.randperm(Generator().manual_seed(0), n)
    assert x[:4].tolist() == head
    assert crc(x) == checksum


def test_golden_state_after_a_mixture_of_calls() -> None:
    gen = Generator().manual_seed(2**40 + 12345)
    random.fill_uniform(gen, np.empty(1000, np.float32))
    random.fill_normal(gen, np.empty(7))
    random.fill_normal(gen, np.empty(37, np.float32))
    random.randperm(gen, 100)
    random.keep_mask(gen, np.empty((3, 5)), 0.3)
    assert crc(gen.get_state_bytes()) == GOLDEN_STATE
    assert gen.initial_seed() == 2**40 + 12345


# The generator ------------------------------------------------------------------------------------


def test_seeding_equals_numpys_legacy_seeding() -> None:
    for seed in (0, 1, 5489, 2**32 - 1):
        expected = np.random.RandomState(seed).randint(0, 2**32, 700, dtype=np.uint32)
        np.testing.assert_array_equal(MersenneTwister(seed).words(700), expected)


def test_manual_seed_accepts_what_torch_accepts() -> None:
    gen = Generator()
    assert gen.initial_seed() == 67280421310721
    assert gen.manual_seed(-1).initial_seed() == 2**64 - 1
    assert gen.manual_seed(-(2**63)).initial_seed() == 2**63
    assert gen.manual_seed(2**64 - 1).initial_seed() == 2**64 - 1
    for bad in (2**64, -(2**63) - 1):
        with pytest.raises(ValueError, match="Overflow when unpacking long long"):
            gen.manual_seed(bad)
    for wrong, name in ((1.5, "float"), ("a", "str"), (True, "bool")):
        with pytest.raises(RuntimeError, match=f"expected a long, but got {name}"):
            gen.manual_seed(wrong)  # type: ignore[arg-type]


def test_only_the_low_32_bits_of_a_seed_determine_the_stream() -> None:
    first, second = Generator().manual_seed(5), Generator().manual_seed(5 + 2**32)
    np.testing.assert_array_equal(first.words(10), second.words(10))
    assert first.initial_seed() != second.initial_seed()


def test_seed_is_different_every_time() -> None:
    gen = Generator()
    assert len({gen.seed() for _ in range(5)}) == 5
    assert random.seed() == random.initial_seed() == random.default_generator.initial_seed()
    assert random.manual_seed(11) is random.default_generator
    assert random.initial_seed() == 11


def test_bad_states_are_refused() -> None:
    gen = Generator()
    good = gen.get_state_bytes()
    with pytest.raises(TypeError, match="ByteTensor"):
        gen.set_state_bytes(good.astype(np.int64))
    with pytest.raises(RuntimeError, match="size 5056 but found .* 10"):
        gen.set_state_bytes(good[:10])
    with pytest.raises(RuntimeError, match="Invalid mt19937 state"):
        gen.set_state_bytes(np.zeros(5056, np.uint8))
    np.testing.assert_array_equal(gen.get_state_bytes(), good)


def test_other_devices_are_refused() -> None:
    assert str(Generator("cpu:0").device) == "cpu"
    with pytest.raises(RuntimeError, match="cuda"):
        Generator("cuda")


@pytest.mark.parametrize("duplicate", [
    copy.copy, copy.deepcopy, Generator.clone_state, lambda gen: pickle.loads(pickle.dumps(gen)),
])  # fmt: skip
def test_a_copy_continues_alike_and_on_its_own(duplicate: Callable[[Generator], Generator]) -> None:
    gen = Generator().manual_seed(3)
    random.fill_normal(gen, np.empty(3))  # leaves a second normal number waiting
    twin = duplicate(gen)
    for g in (gen, twin):
        g_out = np.empty(2)
        random.fill_normal(g, g_out)
        if g is gen:
            expected = g_out
    np.testing.assert_array_equal(g_out, expected)
    np.testing.assert_array_equal(twin.get_state_bytes(), gen.get_state_bytes())
