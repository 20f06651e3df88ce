"""float16 and bfloat16: stored in two bytes, computed in float32, rounded once, as in torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import op_table
import pytest
from devices import everywhere, placed
from op_table import Call, Op, all_rows
from test_operations import Run, gradients_of_torch, is_tensor

import tinygrad_edu as ours

torch = pytest.importorskip("torch")
pytest.importorskip("ml_dtypes")

EPS = {"bfloat16": 2.0**-7, "float16": 2.0**-10, "float32": 2.0**-19, "float64": 2.0**-46}
TINY = {"float16": 2.0**-14}
HALVES = pytest.mark.parametrize("half", ["bfloat16", "float16"])

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

ROUNDS_MORE = {
    "corrcoef": 128, "nn.functional.grid_sample": 64, "gradient of softmax": 6,
    "nn.functional.cosine_similarity": 8, "nn.functional.multi_head_attention_forward": 12,
    "nn.functional.scaled_dot_product_attention": 6, "scaled_dot_product_attention, more of it": 6,
}  # fmt: skip
"""By how many units in the last place of the largest number we are off where torch keeps more
digits between the steps of a composition, or between forward and backward."""


class Half(Run):
    """A call of the operations table with 16-bit floats; `exact`: those numbers, in float64."""

    def __init__(self, half: str, *args: Any, exact: bool = False, **options: Any) -> None:
        self.half, self.exact = half, exact
        args[0].manual_seed(0)
        super().__init__(*args, **options)

    def tensor(self, array: np.ndarray) -> Any:
        t = self.library.from_numpy(np.array(array))
        if not t.is_floating_point():
            return t
        t = t.to(getattr(self.library, self.half))
        return t.double() if self.exact else t

    def start(self, cotangent: np.ndarray, y: Any) -> Any:
        start = self.library.from_numpy(np.asarray(cotangent))
        return start.to(getattr(self.library, self.half)).to(y.dtype)


def numbers(t: Any) -> np.ndarray:
    return np.asarray(t.detach().double().numpy())


def off(a: np.ndarray, b: np.ndarray, kind: str, of_largest: bool = False) -> float:
    """How far apart, in units in the last place of `b`, or of its largest element."""
    size = np.abs(b)
    if of_largest:
        size = np.max(size, initial=0, where=np.isfinite(size))
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    tiny = TINY.get(kind, 1e-38)
    unit = 2.0 ** np.floor(np.log2(np.maximum(size, tiny))) * EPS[kind]
    with np.errstate(invalid="ignore", over="ignore"):
        distance = np.where(same, 0.0, np.abs(a - b) / unit)
    return float(np.max(np.where(np.isnan(distance), np.inf, distance), initial=0))


def agree(op: Op, mine: Any, theirs: Any, exact: Any, what: str) -> None:
    """Within 2 units of torch's result, or of its largest number, or as close to the exact one."""
    if mine is None or theirs is None:
        rest = mine if theirs is None else theirs
        assert rest is None or not rest.any(), what
        return
    if not is_tensor(theirs):
        return
    assert repr(mine.dtype) == repr(theirs.dtype), what
    assert tuple(mine.shape) == tuple(theirs.shape), what
    a, b, kind = numbers(mine), numbers(theirs), repr(theirs.dtype).removeprefix("torch.")
    if kind not in EPS:
        np.testing.assert_array_equal(a, b, what)
        return
    if off(a, b, kind) <= 2 or off(a, b, kind, of_largest=True) <= ROUNDS_MORE.get(op.name, 2):
        return
    assert exact is not None, f"{what}: {a} against {b}"
    truth = numbers(exact)
    assert off(a, truth, kind) <= max(1, off(b, truth, kind)), f"{what}: {a}, {b}, exact {truth}"


def exact_run(half: str, op: Op, given: Call, grad: bool) -> list[Any] | None:
    try:
        run = Half(half, torch, op, given, grad=grad, exact=True)
        return run.gradients() if grad else run.outputs
    except RuntimeError:
        return None


def check_refusal(half: str, op: Op, given: Call, error: Exception) -> None:
    """We refuse too; or, where torch only lacks the code, are close to the exact result."""
    if op.name in ("from_numpy", "linalg.vander"):  # ml_dtypes' arrays; torch lacks its product
        return
    wanted = RuntimeError if isinstance(error, RuntimeError) else type(error)
    if not isinstance(error, NotImplementedError):
        with pytest.raises(wanted):
            Half(half, ours, op, given)
        return
    try:
        found = Half(half, ours, op, given)
    except wanted:
        return
    for mine, exact in zip(found.outputs, exact_run(half, op, given, False) or [], strict=True):
        if is_tensor(exact) and exact.is_floating_point() and op.name != "nn.functional.rrelu":
            assert off(numbers(mine), numbers(exact), half, of_largest=True) <= 4


def check(half: str, op: Op, given: Call) -> None:
    try:
        expected = Half(half, torch, op, given)
    except Exception as error:
        check_refusal(half, op, given, error)
        return
    found = Half(half, ours, op, given)
    truth = exact_run(half, op, given, grad=False) or [None] * len(expected.outputs)
    for mine, theirs, exact in zip(found.outputs, expected.outputs, truth, strict=True):
        agree(op, mine, theirs, exact, "output")
    reference = gradients_of_torch(Half(half, torch, op, given, grad=True).gradients)
    if reference is None:
        return
    gradients = Half(half, ours, op, given, grad=True).gradients()
    truth = exact_run(half, op, given, grad=True) or [None] * len(reference)
    for mine, theirs, exact in zip(gradients, reference, truth, strict=True):
        agree(op, mine, theirs, exact, "gradient")


@HALVES
@pytest.mark.parametrize("op", all_rows(), ids=repr)
def test_every_operation(op: Op, half: str) -> None:
    """Values, dtypes and gradients of every row of the table, and what torch refuses."""
    # The last call: torch's vectorized cast to bfloat16 sets the sign of nan; and torch has the
    # determinant of an empty matrix, the only one, in 16 bits.
    if op.name in ("signbit", "linalg.det"):
        op = Op(op.name, *op.calls[:-1])
    if op.name == "matrix_exp":
        pytest.skip("refused in 16 bits: its series is solved for with a division of matrices")
    for i, given in enumerate(op.calls):
        try:
            check(half, op, op_table.arrays(op, given, "float32"))
        except BaseException as error:
            error.add_note(f"in call {i} of the row: {op.name}{given!r}")
            raise


def test_nobody_listens_before_the_first_16_bit_tensor() -> None:
    """A program of float32 alone pays nothing for the others."""
    code = """
import tinygrad_edu as torch
from tinygrad_edu.engine import mode
model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.GELU(), torch.nn.LayerNorm(3))
optimizer = torch.optim.AdamW(model.parameters())
model(torch.randn(4, 2)).sum().backward()
optimizer.step()
print(model, model.state_dict(), torch.finfo(torch.float32))
assert not mode.listeners and not mode.around
{meet}
assert len(mode.listeners) == len(mode.around) == 1
"""
    ways = [
        "torch.zeros(1).half()", "torch.zeros(1, dtype=torch.bfloat16)",
        "import numpy; torch.from_numpy(numpy.zeros(1, numpy.float16))",
        "import numpy; torch.tensor(numpy.float16(1))",
        "import numpy; torch.from_dlpack(numpy.zeros(1, numpy.float16))",
        "import numpy, ml_dtypes; torch.from_numpy(numpy.zeros(1, ml_dtypes.bfloat16))",
        "model.half()", "torch.set_default_dtype(torch.float16)",
    ]  # fmt: skip
    script = "import sys\ncode = sys.argv[1]\nexec(code)"
    for meet in ways:
        subprocess.run([sys.executable, "-c", script, code.replace("{meet}", meet)], check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip


def test_gradients_of_wider_floats_are_handed_on_as_they_are() -> None:
    """Once 16 bits are listened for, a gradient of float64 is neither copied nor laid out anew."""
    strides = []
    for lib in (ours, torch):
        lib.ones(2, dtype=lib.float16) + 1
        x = lib.ones(6, 2, dtype=lib.float64).t().requires_grad_()
        (x + x).backward(lib.ones(6, 2, dtype=lib.float64).t())
        assert x.grad is not None
        strides.append(tuple(x.grad.stride()))
    assert strides[0] == strides[1] == (1, 2)


NUMBERS: dict[str, Any] = {
    "==": lambda x, n: x == n, "!=": lambda x, n: x != n, "<": lambda x, n: x < n,
    "<=": lambda x, n: x <= n, ">": lambda x, n: n < x, ">=": lambda x, n: n <= x,
    "+": lambda x, n: x + n, "-": lambda x, n: x - n, "number -": lambda x, n: n - x,
    "add_": lambda x, n: x.clone().add_(n), "sub_": lambda x, n: x.clone().sub_(n),
    "*": lambda x, n: x * n, "/": lambda x, n: x / n, "number /": lambda x, n: n / x,
    "%": lambda x, n: x % n, "fmod": lambda x, n: x.fmod(n), "//": lambda x, n: x // n,
    "clamp": lambda x, n: x.clamp(-n, n), "hardshrink": lambda x, n: x.hardshrink(n),
    "masked_fill": lambda x, n: x.masked_fill(x > 0, n),
}  # fmt: skip
"""Operations of a tensor and a number; torch rounds some of the numbers first, and some not."""


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_is_rounded_where_torch_rounds_it(name: str, dtype: str) -> None:
    x = np.random.default_rng(0).standard_normal(200).astype(np.float32) * 20
    for number in (0.1, 1 / 3, 1000.3, 257):
        both = []
        for library in (ours, torch):
            t = library.tensor([*x, number, 0.0], dtype=getattr(library, dtype))
            both.append(NUMBERS[name](t, number).double().numpy())
        np.testing.assert_array_equal(*both, err_msg=str(number))


@pytest.mark.parametrize("call", [
    lambda t, x: x.clamp(min=7e4), lambda t, x: x ** 7e4, lambda t, x: x.clamp_(0, 7e4),
    lambda t, x: t.nn.functional.threshold(x, 0, 7e4), lambda t, x: x.hardshrink(7e4),
])  # fmt: skip
def test_a_number_that_does_not_fit_is_refused(call: Any) -> None:
    for library in (ours, torch):
        with pytest.raises(RuntimeError, match="value cannot be converted to type"):
            call(library, library.ones(2, dtype=library.float16))


DEFINED = {
    "layer_norm": lambda lib, x: lib.nn.functional.layer_norm(x, (4,)),
    "rms_norm": lambda lib, x: lib.nn.functional.rms_norm(x, (4,)),
    "group_norm": lambda lib, x: lib.nn.functional.group_norm(x, 1),
    "batch_norm": lambda lib, x: lib.nn.functional.batch_norm(x, None, None, training=True),
    "gelu": lambda lib, x: lib.nn.functional.gelu(x),
    "cross_entropy": lambda lib, x: lib.nn.functional.cross_entropy(x, lib.tensor([0, 3])),
    "attention": lambda lib, x: lib.nn.functional.scaled_dot_product_attention(x, x, x),
}
"""What a kernel computes, and a definition where gradients of the gradients may be asked for."""


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", DEFINED)
@pytest.mark.parametrize("spread", [0.0, 1e-3, 1.0, 60.0])
def test_recording_changes_no_gradient_of_16_bits(name: str, dtype: str, spread: float) -> None:
    """What a definition computes in between does not overflow where the kernel's does not."""
    x = (ours.arange(8.0).reshape(2, 4) * spread - 0.3).to(getattr(ours, dtype)).requires_grad_()
    w = ours.tensor([[-2.5, -1.5, -0.5, 0.5], [1.5, 2.5, 3.5, -2.5]]).to(x.dtype)
    found = []
    for recorded in (False, True):
        total = (w * DEFINED[name](ours, x)).sum()
        (g,) = ours.autograd.grad(total, x, create_graph=recorded)
        found.append(g.detach().double().numpy())
    scale = np.abs(found[0]).max(initial=1.0)
    np.testing.assert_allclose(found[1], found[0], rtol=0.05, atol=0.03 * scale)


USES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "one": lambda lib, y, w: y.to(lib.bfloat16) @ w,
    "two": lambda lib, y, w: y.to(lib.bfloat16) @ w + y.to(lib.bfloat16) @ (w * 2),
    "wide first": lambda lib, y, w: ((y * y).to(lib.bfloat16) @ w) + y.to(lib.bfloat16) @ w,
    "wide last": lambda lib, y, w: (lambda h: h + (y * 3).sum(-1, keepdim=True))(
        y.to(lib.bfloat16) @ w
    ),
    "copied": lambda lib, y, w: y.clone().to(lib.bfloat16).clone() @ w,
}


@pytest.mark.parametrize("seen", ["nobody", "hook", "retain_grad", "grad", "twice"])
@pytest.mark.parametrize("norm", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize("use", USES)
@everywhere
def test_a_norm_takes_the_gradient_of_a_cast(where: str, use: str, norm: str, seen: str) -> None:
    """Unwidened, but whoever looks at it sees float32; the gradients are torch's to 16 bits."""
    with placed(where) as place:
        _check_norm_before_a_cast(place, use, norm, seen)


def _check_norm_before_a_cast(place: str, use: str, norm: str, seen: str) -> None:
    values = np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32)
    weights = np.random.default_rng(1).standard_normal((8, 4)).astype(np.float32)
    found = []
    for lib in (ours, torch):
        at = {"device": place} if lib is ours else {}
        x = lib.tensor(values, requires_grad=True, **at)
        scale = lib.ones(8, requires_grad=True, **at)
        y = getattr(lib.nn.functional, norm)(x * 1, (8,), scale)
        dtypes: list[Any] = []
        if seen == "hook":
            y.register_hook(lambda g, to=dtypes: to.append(g.dtype))
        elif seen == "retain_grad":
            y.retain_grad()
        z = USES[use](lib, y, lib.tensor(weights, **at).to(lib.bfloat16)).float().square().sum()
        if seen == "grad":
            grads = list(lib.autograd.grad(z, [x, scale, y]))
        else:
            if seen == "twice":
                z.backward(retain_graph=True)
            z.backward()
            grads = [x.grad, scale.grad, *([y.grad] if seen == "retain_grad" else [])]
        assert all([g.dtype is lib.float32 for g in grads])
        assert seen != "hook" or dtypes == [lib.float32]
        found.append([g.detach().cpu().numpy() for g in grads])
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(mine, theirs, 0.05, 0.02 * np.abs(theirs).max())
