"""Values, first and second derivatives of every elementwise operation, far out, at 0 and at kinks.

`where(x > 0, x, exp(x))` has the right value and the right derivative everywhere; differentiated
once more, the branch that is not taken gives `0 * inf` as soon as exp overflows.  And a function
with a kink has two derivatives there, of which one is taken: torch's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import op_table
import pytest
from op_table import Call, Dtype, Made, Op
from test_operations import ROWS

import tinygrad_edu as ours

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

INF = math.inf
POINTS = [0.0, 1e-30, 1e-10, 0.1, 0.3, 0.5, 1.0, 2.0, 3.0, 6.0, 20.0, 100.0, 1e3, 1e10, 1e30, INF]
LINE = np.array([s * p for p in POINTS for s in (1.0, -1.0)])
PLANE = np.array([s * p for p in (0.0, 1e-30, 0.5, 1.0, 2.0, 100.0, 1e3, 1e30, INF)
                  for s in (1.0, -1.0)])  # fmt: skip
BOTH = [side.reshape(-1) for side in np.meshgrid(PLANE, PLANE)]
TOLERANCES = {"float64": (1e-6, 1e-9), "float32": (2e-3, 1e-5)}

LEFT_OUT = {
    "operators": "a formula whose terms cancel",
    "poisson (seeded)": "random, and refuses negative numbers",
    "floor_divide": "torch has no derivative", "rfloordiv": "torch has no derivative",
    "rmod": "torch has no derivative",
}  # fmt: skip

# Where torch is nan, we are not; or it is nan where a value of 0, times inf, is not asked for.
BETTER = {
    "remainder": "float32 quotients that overflow",
    "fmod": "float32 quotients that overflow",
    "copysign": "torch differentiates inf / inf once more",
    "digamma": "torch's zeta is nan at infinity",
    "polygamma": "torch's zeta is nan at infinity",
    "special.multigammaln": "torch's zeta is nan at infinity",
    "sinc": "x * x underflows in torch's rule",
    "special.log_ndtr": "erfcx overflows in torch's rule",
    "special.erfcx": "torch subtracts inf from inf",
    "atan2": "torch divides 0 by 0 where it differentiates once more",
    "logaddexp": "exp overflows in torch's second derivative",
    "logaddexp2": "exp2 overflows in torch's second derivative",
    "nn.functional.gelu": "x * x overflows in torch's second derivative",
    "nn.functional.mish": "exp overflows in torch's second derivative",
    "nn.functional.softsign": "torch forms inf / inf",
}

# Where torch's numbers are wrong, at these points; the right ones are tested below.
POLES = LINE[(LINE < 0) & (LINE == np.floor(LINE))].tolist()
WRONG_IN_TORCH = {
    "polygamma": ("sin(pi x) is not exactly 0 at torch's poles", POLES),
    "lgamma": ("sin(pi x) is not exactly 0 at torch's poles", POLES),
    "digamma": ("sin(pi x) is not exactly 0 at torch's poles", POLES),
    "special.multigammaln": ("sin(pi x) is not exactly 0 at torch's poles",
                             [*POLES, -0.5, 0.5, 1.0, -0.0, 0.0, 1e-30, -1e-30, 1e-10, -1e-10]),
    "sinc": ("a difference that cancels", LINE[np.abs(LINE) < 0.2].tolist()),
    "special.i1": ("a difference that cancels", [1e-10, -1e-10]),
    "special.i1e": ("a difference that cancels", [1e-10, -1e-10]),
    "special.log_ndtr": ("a difference that cancels", LINE[LINE < -50].tolist()),
    "special.erfcx": ("a difference that cancels", LINE[LINE > 5].tolist()),
}  # fmt: skip


def elementwise() -> Iterator[Any]:
    """Rows with one or two float arguments whose result has, per element, nothing but them."""
    seen = set()
    for op in ROWS:
        for given in op.calls if op.name not in LEFT_OUT else ():
            made = op_table.arrays(op, given, "float64")
            values = [*made.args, *made.kwargs.values()]
            tensors = [v for v in values if isinstance(v, Made)]
            options = [v for v in values if not isinstance(v, Made)]
            floats = all(t.array.dtype.kind == "f" and t.grad for t in tensors)
            nested = any(isinstance(v, (list, tuple)) for v in values)
            if nested or not floats or len(tensors) not in (1, 2):
                continue
            key = (op.name, len(tensors), repr(options), repr(list(made.kwargs)))
            if key not in seen and _is_elementwise(op, made, len(tensors)):
                seen.add(key)
                yield pytest.param(op, made, len(tensors), id=f"{op.name}{options or ''}")


def _is_elementwise(op: Op, made: Call, count: int) -> bool:
    random = np.random.default_rng(0)
    values = [random.uniform(0.2, 0.8, 5) for _ in range(count)]
    try:
        whole = _call(torch, op, made, [torch.tensor(v) for v in values])
        parts = [_call(torch, op, made, [torch.tensor(v[i : i + 1]) for v in values])
                 for i in range(5)]  # fmt: skip
    except Exception:
        return False
    if not torch.is_tensor(whole) or whole.shape != (5,) or not whole.is_floating_point():
        return False
    if any(not torch.is_tensor(p) or p.shape != (1,) for p in parts):
        return False
    return torch.equal(whole, torch.cat(parts))


def _call(library: Any, op: Op, made: Call, tensors: list[Any]) -> Any:
    given = iter(tensors)

    def each(value: Any) -> Any:
        if isinstance(value, Made):
            return next(given)
        return getattr(library, value) if isinstance(value, Dtype) else value

    args = [each(v) for v in made.args]
    return op(library, *args, **{k: each(v) for k, v in made.kwargs.items()})


CASES = list(elementwise())


def derivatives(library: Any, op: Op, made: Call, points: list[np.ndarray]) -> dict[str, Any]:
    """The value, the gradients, and the gradients of each gradient; zeros where there is none."""
    with np.errstate(all="ignore"):
        leaves = [library.from_numpy(p.copy()).requires_grad_() for p in points]
        y = _call(library, op, made, [x * 1 for x in leaves])  # in-place ones get a copy
        found = {"value": y.numpy(force=True)}
        zeros = np.zeros(y.shape)
        if not y.requires_grad:
            return found
        firsts = library.autograd.grad(y.sum(), leaves, create_graph=True, allow_unused=True)
        for i, g in enumerate(firsts):
            found[f"derivative {i}"] = zeros if g is None else g.numpy(force=True)
            seconds = [None] * len(leaves)
            if g is not None and g.requires_grad and op.name != "nn.functional.hardsigmoid":
                seconds = library.autograd.grad(  # torch has no second one of hardsigmoid
                    g.sum(), leaves, retain_graph=True, allow_unused=True
                )
            for k, h in enumerate(seconds):
                found[f"derivative {i}, {k}"] = zeros if h is None else h.numpy(force=True)
    return found


def test_many_operations_are_tried() -> None:
    names = {case.values[0].name for case in CASES}
    assert len(names) > 110
    assert names >= {"nn.functional.elu", "atan2", "logaddexp", "pow", "sinc", "hypot", "xlogy"}
    assert not (set(BETTER) | set(WRONG_IN_TORCH)) - names


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("op, made, count", CASES)
def test_derivatives_far_out_and_at_kinks(op: Op, made: Call, count: int, dtype: str) -> None:
    points = [p.astype(dtype) for p in ([LINE] if count == 1 else BOTH)]
    wrong = np.isin(points[0], np.array(WRONG_IN_TORCH.get(op.name, ("", []))[1], dtype))
    theirs = derivatives(torch, op, made, points)
    mine = derivatives(ours, op, made, points)
    rtol, atol = TOLERANCES[dtype]
    for what, b in theirs.items():
        a = mine.get(what, np.zeros(b.shape))
        with np.errstate(all="ignore"):
            right = np.isclose(a, b, rtol, atol, equal_nan=True) | wrong
        if op.name in BETTER:
            right |= np.isnan(b)
        places = [p[~right][:4].tolist() for p in points]
        assert right.all(), f"{what} at {places}: ours {a[~right][:4]}, torch's {b[~right][:4]}"


TAKES_NAN_FOR_0 = ["i0", "special.i1", "special.i1e"]
NANS = [[math.nan, 1.0, math.nan], [1.0, math.nan, math.nan]]


@pytest.mark.parametrize("op, made, count", CASES)
def test_derivatives_at_nan(op: Op, made: Call, count: int) -> None:
    """Element by element: of many at once, some of torch's kernels give something else."""
    for values in [[[math.nan]], *zip(*NANS, strict=True)]:
        if len(values) != count or op.name in TAKES_NAN_FOR_0:
            continue
        points = [np.array(v).reshape(1) for v in values]
        mine = derivatives(ours, op, made, points)
        for what, b in derivatives(torch, op, made, points).items():
            a = mine.get(what, np.zeros(b.shape))
            np.testing.assert_allclose(a, b, 1e-6, err_msg=f"{what} at {values}")


# Where torch is wrong ---------------------------------------------------------------------------


def second(f: Any, *values: float, dtype: str = "float64") -> list[Any]:
    """f, f' and f'' at the values."""
    x = ours.tensor(values, dtype=getattr(ours, dtype), requires_grad=True)
    y = f(x)
    (g,) = ours.autograd.grad(y.sum(), x, create_graph=True)
    (h,) = ours.autograd.grad(g.sum(), x)
    return [t.tolist() for t in (y, g, h)]


@pytest.mark.parametrize("dtype, rtol", [("float64", 1e-9), ("float32", 2e-5)])
def test_sinc_near_0(dtype: str, rtol: float) -> None:
    """Its power series: sinc(x) = 1 - a^2/6 + a^4/120 - ..., a = pi x."""
    places = [0.0, 1e-30, 1e-10, 1e-3, 0.03, 0.07, 0.09]
    _, slope, bend = second(ours.sinc, *places, dtype=dtype)
    terms = [((-1) ** k, 2 * k, math.factorial(2 * k + 1)) for k in range(1, 9)]
    for x, g, h in zip(places, slope, bend, strict=True):
        a = math.pi * x
        first = math.pi * sum(s * n * a ** (n - 1) / f for s, n, f in terms)
        then = math.pi**2 * sum(s * n * (n - 1) * a ** (n - 2) / f for s, n, f in terms)
        assert g == pytest.approx(first, rel=20 * rtol, abs=1e-37)
        assert h == pytest.approx(then, rel=20 * rtol)


@pytest.mark.parametrize("dtype, rtol", [("float64", 1e-6), ("float32", 1e-3)])
def test_log_ndtr_far_out(dtype: str, rtol: float) -> None:
    """With the density over the function, h: h = |x| + 1/|x| - 2/|x|^3; h' = -h (x + h)."""
    for x in (-60.0, -1e3, -1e10, -1e30):
        _, g, h = second(ours.special.log_ndtr, x, dtype=dtype)
        assert g[0] == pytest.approx(-x - 1 / x + 2 / x**3, rel=rtol)
        assert h[0] == pytest.approx(-1 + 1 / x**2, rel=rtol)
    assert second(ours.special.log_ndtr, 1e3, dtype=dtype)[2] == [0.0]


@pytest.mark.parametrize("dtype, rtol", [("float64", 1e-6), ("float32", 4e-2)])
def test_erfcx_far_out(dtype: str, rtol: float) -> None:
    """erfcx(x) = (1/x - 1/(2 x^3) + 3/(4 x^5)) / sqrt(pi)."""
    for x in (9.0, 20.0, 200.0, 1e4, 1e10):
        _, g, h = second(ours.special.erfcx, x, dtype=dtype)
        first = -1 / x**2 + 1.5 / x**4 - 3.75 / x**6
        then = 2 / x**3 - 6 / x**5 + 22.5 / x**7
        wide = rtol if dtype == "float32" else max(rtol, 100 / x**7)
        assert g[0] == pytest.approx(first / math.sqrt(math.pi), rel=max(wide, 1e-4))
        assert h[0] == pytest.approx(then / math.sqrt(math.pi), rel=max(wide, 1e-4), abs=1e-37)


def test_elu_and_its_kin_beyond_88() -> None:
    F = ours.nn.functional
    for f in (F.elu, F.celu, F.selu, F.softplus, F.silu, F.mish, F.gelu, F.logsigmoid):
        for dtype in ("float32", "float64"):
            assert np.isfinite(second(f, 100.0, 1e3, -100.0, -1e3, 0.0, dtype=dtype)).all()


def test_atan2_at_the_origin() -> None:
    y, x = (ours.zeros(2, requires_grad=True) for _ in range(2))
    ours.atan2(y, x).sum().backward()
    assert y.grad.tolist() == x.grad.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("large", [1e5, 1e7, 1e8, 1e30, -1e8])
def test_logaddexp_of_large_equals(large: float) -> None:
    for f in (ours.logaddexp, ours.logaddexp2):
        a, b = (ours.tensor([large], requires_grad=True) for _ in range(2))
        f(a, b).backward()
        assert a.grad.tolist() == b.grad.tolist() == [0.5]


# Determinants -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_second_derivative_of_det(size: int) -> None:
    """At matrices that can be inverted beside torch; third order, too."""
    random = np.random.default_rng(size)
    A, *weights = random.standard_normal((4, 2, size, size))
    results = []
    for library in (ours, torch):
        x = library.tensor(A, requires_grad=True)
        y, found = library.linalg.det(x).sum(), []
        for w in weights:
            if not y.requires_grad:
                break
            (g,) = library.autograd.grad(y, x, create_graph=True)
            found.append(g.detach().numpy())
            y = (g * library.tensor(w)).sum()
        results.append(found)
    for a, b in zip(*results, strict=False):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_second_derivative_of_det_of_a_singular_matrix(rank: int) -> None:
    """The derivative of the cofactors, which are polynomials, by finite differences."""
    random = np.random.default_rng(rank)
    A = random.standard_normal((4, rank)) @ random.standard_normal((rank, 4))
    w = random.standard_normal((4, 4))

    def cofactors(values: np.ndarray) -> Any:
        x = ours.tensor(values, requires_grad=True)
        (g,) = ours.autograd.grad(ours.linalg.det(x), x, create_graph=True)
        return x, (g * ours.tensor(w)).sum()

    x, total = cofactors(A)
    (h,) = ours.autograd.grad(total, x)
    step = 1e-5
    units = np.eye(16).reshape(16, 4, 4) * step
    expected = [cofactors(A + e)[1].item() - cofactors(A - e)[1].item() for e in units]
    np.testing.assert_allclose(h.numpy(), np.reshape(expected, (4, 4)) / (2 * step), atol=1e-8)


def test_det_of_what_is_not_finite() -> None:
    x = ours.tensor([[[1.0, math.nan], [0.0, 1.0]], [[2.0, 0.0], [0.0, 3.0]]], requires_grad=True)
    with np.errstate(invalid="ignore"):
        (g,) = ours.autograd.grad(ours.linalg.det(x).sum(), x)
    assert bool(g[0].isnan().all()) and g[1].tolist() == [[3.0, 0.0], [0.0, 2.0]]


def test_triangular_systems_keep_to_their_triangle() -> None:
    """A singular one gives inf or nan as in torch, no error; what is not read may be anything."""
    for library in (ours, torch):
        A = library.tensor([[2.0, math.nan], [1.0, 4.0]], dtype=library.float64)
        B = library.tensor([[2.0], [math.inf]], dtype=library.float64)
        solve = library.linalg.solve_triangular
        assert solve(A, B, upper=False).tolist() == [[1.0], [math.inf]]
        zero = library.zeros(2, 2, dtype=library.float64)
        y = solve(zero, library.ones(2, 1, dtype=library.float64), upper=False)
        assert y[0].item() == math.inf and math.isnan(y[1].item())
    random = np.random.default_rng(0)
    A, B = random.standard_normal((3, 40, 40)) + 9 * np.eye(40), random.standard_normal((40, 5))
    for upper in (False, True):
        mine = ours.linalg.solve_triangular(ours.tensor(A), ours.tensor(B), upper=upper)
        theirs = torch.linalg.solve_triangular(torch.tensor(A), torch.tensor(B), upper=upper)
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), rtol=1e-10)


def test_second_order_of_a_write_into_a_0d_tensor() -> None:
    """A gradient of a 0-d tensor is a NumPy scalar on its way back."""
    for library in (ours, torch):
        x = library.tensor(1.5, requires_grad=True)
        y = (x * 1).masked_scatter(x > 0, (x * x).reshape(-1))
        (g,) = library.autograd.grad(y * y, x, create_graph=True)
        (h,) = library.autograd.grad(g, x)
        assert g.item() == pytest.approx(13.5) and h.item() == pytest.approx(27.0)


@pytest.mark.parametrize(
    "name", ["relu", "relu6", "leaky_relu", "hardtanh", "hardshrink", "softshrink"]
)
def test_the_gradient_of_a_function_with_kinks_has_a_history(name: str) -> None:
    found = []
    for library in (ours, torch):
        x = library.tensor([-4.0, -0.3, 0.0, 0.7, 9.0], requires_grad=True)
        y = getattr(library.nn.functional, name)(x)
        (g,) = library.autograd.grad(y.sum(), x, create_graph=True)
        (again,) = library.autograd.grad(g.sum(), x)
        found.append((g.requires_grad, g.tolist(), again.tolist()))
    assert found[0] == found[1]
