"""Arithmetic, elementary functions and comparisons: the corners that tests/op_table leaves out.

The table of operations compares ordinary inputs; here are special values, kinks, integers, numbers
as operands, in-place twins, and the accuracy of the functions that NumPy does not have.
"""

from __future__ import annotations

import itertools
import math
import operator
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as ours

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated:UserWarning")

SPECIAL = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.5, -2.5, 3.0, 1e30]


def same(found: Any, expected: Any, rtol: float = 1e-6, atol: float = 1e-7) -> None:
    """Values, dtype and shape equal torch's."""
    assert str(found.dtype) == str(expected.dtype)
    assert tuple(found.shape) == tuple(expected.shape)
    np.testing.assert_allclose(
        found.detach().numpy(), expected.detach().numpy(), rtol=rtol, atol=atol
    )


def outcome(function: Any) -> Any:
    """What it returns, or the type of what it raises."""
    try:
        return function()
    except Exception as error:
        return type(error)


def agree(function: Any, *args: Any, rtol: float = 1e-6) -> None:
    """`function(library, *tensors)` ends alike in both libraries."""
    expected = outcome(lambda: function(torch, *[_make(torch, a) for a in args]))
    found = outcome(lambda: function(ours, *[_make(ours, a) for a in args]))
    if isinstance(expected, type):
        assert isinstance(found, type) and issubclass(found, expected), (found, expected)
    else:
        same(found, expected, rtol)


def _make(library: Any, a: Any) -> Any:
    return (
        library.tensor(a.tolist(), dtype=getattr(library, str(a.dtype)))
        if isinstance(a, np.ndarray)
        else a
    )


UNARY = (
    "exp exp2 expm1 log log2 log10 log1p sqrt rsqrt sin cos tan asin acos atan sinh cosh tanh"
    " asinh acosh atanh erf erfc erfinv abs sign ceil floor round trunc frac sigmoid logit"
    " deg2rad rad2deg sinc nan_to_num isnan isinf isfinite isposinf isneginf signbit"
    " reciprocal square neg logical_not sgn relu lgamma digamma"
).split()


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "bool"])
def test_special_values(name: str, dtype: str) -> None:
    values = SPECIAL if "float" in dtype else [0, 1, 2, 7]
    if name in ("sin", "cos", "tan", "sinc"):
        values = [v for v in values if abs(v) < 1e20]  # torch reduces huge angles otherwise
    x = np.array(values, dtype)
    rtol = 2e-6 if dtype != "float64" or name in ("lgamma", "digamma", "erfinv") else 1e-12
    agree(lambda lib, x: getattr(lib, name)(x), x, rtol=rtol)


KINKED = {
    "abs": [0.0, -0.0, 1.0], "sign": [0.0, 2.0], "round": [0.5, 1.2], "floor": [1.0],
    "ceil": [1.0], "trunc": [-1.0], "frac": [1.0, 1.5], "relu": [0.0, -0.0, 1.0, math.nan],
    "sinc": [0.0, 0.3], "nan_to_num": [math.nan, math.inf, 1.0], "sqrt": [0.0, 4.0],
}  # fmt: skip


@pytest.mark.parametrize("name", KINKED)
def test_gradient_at_kinks(name: str) -> None:
    def slope(lib: Any) -> Any:
        x = lib.tensor(KINKED[name], dtype=lib.float64, requires_grad=True)
        getattr(lib, name)(x).sum().backward()
        return x.grad

    same(slope(ours), slope(torch))


@pytest.mark.parametrize("name", ["maximum", "minimum", "fmax", "fmin", "pow", "xlogy", "clamp"])
def test_gradient_of_ties_and_zeros(name: str) -> None:
    values = [0.0, 1.0, 2.0, math.nan] if name != "pow" else [0.0, 1.0, 2.0]
    pairs = np.array(list(itertools.product(values, values)))
    weights = np.random.default_rng(0).normal(size=len(pairs))

    def slopes(lib: Any) -> Any:
        a = lib.tensor(pairs[:, 0].tolist(), dtype=lib.float64, requires_grad=True)
        b = lib.tensor(pairs[:, 1].tolist(), dtype=lib.float64, requires_grad=True)
        y = getattr(lib, name)(a, b)
        y.backward(lib.tensor(weights.tolist(), dtype=lib.float64))
        return lib.stack([a.grad, b.grad])

    same(slopes(ours), slopes(torch))


def test_clamp_between_tensors() -> None:
    triples = np.array(list(itertools.product([0.0, 1.0, 2.0, 3.0], [1.0, 2.0], [1.0, 2.0])))

    def slopes(lib: Any) -> Any:
        x, low, high = [
            lib.tensor(c.tolist(), dtype=lib.float64, requires_grad=True) for c in triples.T
        ]
        (lib.clamp(x, low, high) * lib.arange(1.0, len(triples) + 1)).sum().backward()
        return lib.stack([x.grad, low.grad, high.grad])

    same(slopes(ours), slopes(torch))


OPERATORS = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod,
    operator.pow, operator.and_, operator.or_, operator.xor, operator.eq, operator.lt, operator.ge,
]  # fmt: skip
OPERANDS = [
    np.array([1.0, -2.5, 3.0], "float32"), np.array([1.0, -2.5, 3.0]), np.array([4, -5, 6]),
    np.array([1, 2, 3], "int32"), np.array([7, 8, 9], "uint8"), np.array([True, False, True]),
    np.array(2.0), np.array(3), 2, 3.5, True, -1,
]  # fmt: skip


@pytest.mark.parametrize("op", OPERATORS, ids=lambda op: op.__name__)
def test_operators_on_all_types(op: Any) -> None:
    """Promotion, integer rules and error types, tensor by tensor and number."""
    for a, b in itertools.product(OPERANDS, OPERANDS):
        if not (isinstance(a, np.ndarray) or isinstance(b, np.ndarray)):
            continue
        if b is OPERANDS[-1] and getattr(a, "dtype", None) == np.uint8:
            continue  # torch wraps -1 to 255; NumPy refuses
        if a is OPERANDS[-1] and getattr(b, "dtype", None) == np.uint8:
            continue
        agree(lambda lib, a, b: op(a, b), a, b)


@pytest.mark.parametrize("op", OPERATORS[:10], ids=lambda op: op.__name__)
def test_operators_in_place(op: Any) -> None:
    inplace = getattr(operator, "i" + op.__name__.strip("_"))
    for a, b in itertools.product(OPERANDS[:6], OPERANDS[:-1]):
        agree(lambda lib, a, b: inplace(a, b), a, b)


@pytest.mark.parametrize(
    "call",
    [
        lambda lib, x: lib.add(x, x, alpha=2),
        lambda lib, x: lib.add(x, x, alpha=0.5),
        lambda lib, x: lib.add(x, 1.5, alpha=2),
        lambda lib, x: lib.add(x, x, alpha=True),
        lambda lib, x: lib.sub(x, x, alpha=3),
        lambda lib, x: lib.rsub(x, 2, alpha=3),
        lambda lib, x: lib.div(x, 2, rounding_mode="floor"),
        lambda lib, x: lib.div(x, -2, rounding_mode="trunc"),
        lambda lib, x: lib.div(x, 2, rounding_mode="up"),
        lambda lib, x: lib.div(x, 0, rounding_mode="trunc"),
        lambda lib, x: lib.clamp(x),
        lambda lib, x: lib.clamp(x, 0.5),
        lambda lib, x: lib.clamp(x, max=1),
        lambda lib, x: lib.addcmul(x, x, x, value=2),
        lambda lib, x: lib.addcdiv(x, x, x, value=2),
        lambda lib, x: lib.lerp(x, x * 2, 0.7),
        lambda lib, x: lib.float_power(x, 2),
        lambda lib, x: x.clone().add_(x, alpha=2),
        lambda lib, x: x.clone().sub_(1, alpha=2),
        lambda lib, x: x.clone().div_(2),
        lambda lib, x: x.clone().div_(2, rounding_mode="floor"),
        lambda lib, x: x.clone().clamp_(0, 1),
        lambda lib, x: x.clone().exp_(),
        lambda lib, x: x.clone().eq_(1),
        lambda lib, x: lib.round(x, decimals=1),
        lambda lib, x: 1 / x,
        lambda lib, x: ~x,
        lambda lib, x: +x,
        lambda lib, x: x << 1,
        lambda lib, x: x < None,
        lambda lib, x: x + "a",
        lambda lib, x: lib.add(x, [1.0]),
        lambda lib, x: lib.isclose(x, x + 1, rtol=-1.0),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_calls_by_dtype(call: Any, dtype: str) -> None:
    agree(call, np.array([1, -2, 3]).astype(dtype))


def test_comparison_with_none_and_text() -> None:
    x = ours.tensor([1.0])
    assert (x == None) is False and (x != None) is True  # noqa: E711
    assert (x == "a") is False


def test_numbers_made_by_numpy_do_not_widen() -> None:
    x = ours.ones(2)
    assert (x * np.float64(2)).dtype == ours.float32
    assert (np.float64(2) * x).dtype == ours.float32


def test_a_scalar_gradient_keeps_float64() -> None:
    """A 0-d array times a 0-d array is a NumPy scalar: it must not count as a Python number."""
    x = ours.tensor(1 / 3, dtype=ours.float64, requires_grad=True)
    y = ours.nn.functional.leaky_relu(x * x) * (2 / 3)
    y.backward()
    assert x.grad is not None
    assert x.grad.item() == pytest.approx(4 / 9, rel=1e-15)


def test_equal_and_allclose() -> None:
    x, nan = ours.ones(2), ours.tensor([math.nan])
    assert ours.equal(x, ours.ones(2)) and not ours.equal(x, ours.ones(3))
    assert ours.allclose(x, x + 1e-9) and not ours.allclose(x, x + 1e-3)
    assert ours.allclose(nan, nan, equal_nan=True) and not ours.allclose(nan, nan)
    with pytest.raises(RuntimeError, match="Float did not match Long"):
        ours.allclose(x, ours.tensor([1, 1]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_accuracy_of_erf(dtype: Any) -> None:
    """Against the C library's, for sizes from 1e-30 to 28, in units of the result."""
    x = np.concatenate(
        [np.linspace(-28, 28, 4001), np.linspace(-4, 4, 4001), np.geomspace(1e-30, 1)]
    )
    x = x[x != 0].astype(dtype)
    bound = 2.2e-7 if dtype is np.float32 else 5e-16
    t = ours.from_numpy(x)
    erf = np.array([math.erf(v) for v in x])
    assert np.abs(ours.erf(t).numpy() / erf - 1).max() < bound
    with_values = x < (9 if dtype is np.float32 else 26)
    erfc = np.array([math.erfc(v) for v in x])[with_values]
    bound = 6.1e-8 if dtype is np.float32 else 2e-15
    assert np.abs(ours.erfc(t).numpy()[with_values] / erfc - 1).max() < bound


def test_accuracy_of_erfinv() -> None:
    x = np.concatenate([np.linspace(-5.5, 5.5, 2001), np.geomspace(1e-30, 1)])
    p = ours.erf(ours.from_numpy(x))
    back = ours.erfinv(p).numpy()
    # Near 1 the rounding of erf(x) itself moves x by eps / erf'(x).
    slack = 1e-15 * np.abs(x) + 3e-16 * np.exp(x * x)
    assert (np.abs(back - x) <= slack).all()


def test_accuracy_of_the_gamma_family() -> None:
    x = np.concatenate([np.linspace(-7.77, 40, 2001), [1e-5, 170.0, 1e5]])
    t = ours.from_numpy(x)
    lgamma = np.array([math.lgamma(v) for v in x])
    np.testing.assert_allclose(ours.lgamma(t).numpy(), lgamma, rtol=1e-13, atol=2e-14)
    expected = torch.digamma(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(ours.digamma(t).numpy(), expected, rtol=1e-11, atol=1e-12)
    for n in (1, 2, 4):
        z = x[x > 0]
        expected = torch.polygamma(n, torch.from_numpy(z)).numpy()
        np.testing.assert_allclose(
            ours.polygamma(n, ours.from_numpy(z)).numpy(), expected, rtol=1e-9
        )  # torch's own trigamma is that far from the truth


def test_no_warning_from_erf_at_any_size() -> None:
    x = np.array([0.0, 1e-300, 1.0, 30.0, 1e154, 1e308, -1e308, np.inf, -np.inf])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        ours.erf(ours.from_numpy(x))
        ours.erfc(ours.from_numpy(x))
        ours.erf(ours.from_numpy(x.clip(-1e38, 1e38).astype(np.float32)))


def test_large_arrays_agree_with_small_ones() -> None:
    """erf works by blocks, and on arrays that are not contiguous."""
    x = np.random.default_rng(0).normal(size=(3, 9000)).astype(np.float32)
    whole = ours.erf(ours.from_numpy(x).t())
    assert whole.shape == (9000, 3)
    np.testing.assert_array_equal(
        whole[:5].numpy(), ours.erf(ours.from_numpy(x[:, :5]).t()).numpy()
    )
