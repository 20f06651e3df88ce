"""A rule that chooses selects: what is not finite reaches those that were chosen, and nobody else.

A mask, a maximum, a part that is overwritten: multiplied by 0, an inf or nan that arrives for what
was not chosen becomes nan and spreads; selected, it becomes 0.  Every row of the table is run with
inf and nan among its cotangents, then among its inputs, and compared with torch number by number.
Where torch itself multiplies by 0 (dropout, amax, l1_loss), so do we, and both give nan.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import op_table
import pytest
from op_table import Call, Made, Op
from test_operations import ROWS, Run, is_tensor

import tinygrad_edu

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
rows = pytest.mark.parametrize("op", ROWS, ids=repr)
SEEDS = range(3)

_SUMS = "inf and -inf meet in a sum, in another order or in a BLAS that skips zeros"
_COMPOSED = "torch forms a difference whose two sides are infinite"
_LAPACK = "LAPACK is given what is not finite"

# Where torch is not finite, neither are we; but which of inf, -inf and nan it is, is left open.
ORDER = {
    **dict.fromkeys([
        "scaled_dot_product_attention, more of it", "nn.functional.scaled_dot_product_attention",
        "nn.functional.grid_sample", "det, twice", "linalg.det", "linalg.slogdet", "logdet",
        "linalg.matrix_norm", "linalg.qr", "linalg.eigvalsh", "linalg.eigh, signs undone",
        "linalg.svdvals", "linalg.pinv",
        "linalg.matrix_power", "linalg.cond", "linalg.tensorsolve", "svd", "linalg.solve_ex",
        "einsum", "nn.functional.layer_norm", "nn.functional.batch_norm", "linalg.vander",
        "nn.functional.group_norm", "trapezoid", "igamma", "igammac", "cholesky_solve", "gru_cell",
    ], _SUMS),
    **dict.fromkeys(["nn.functional.softsign", "nn.functional.tanhshrink"], _COMPOSED),
    "nn.functional.soft_margin_loss": "exp overflows in torch's rule",
    "special.log_ndtr": "erfcx overflows in torch's rule",
}  # fmt: skip

# Where torch is nan, we may be finite.
BETTER = {
    "nn.functional.multilabel_margin_loss": "torch multiplies zeros by the cotangent at the end",
    "nn.functional.multi_margin_loss": "torch multiplies zeros by the cotangent at the end",
    "cumprod": "torch divides by the inf it has multiplied with",
    "nn.functional.pdist": "torch divides inf by inf",
    "cdist": "torch divides inf by inf",
    "nn.functional.softsign": _COMPOSED,
    "special.erfcx": "erfcx overflows in torch's rule",
    "polygamma": "torch's zeta is nan at infinity",
    "linalg.solve": _LAPACK,
    "linalg.matrix_norm": _LAPACK,
    "linalg.svdvals": _LAPACK,
    "nn.functional.grid_sample": "torch multiplies what was clipped by 0",
    "scaled_dot_product_attention, more of it": "torch multiplies by the 0 of hidden keys",
    "nn.functional.soft_margin_loss": "exp overflows in torch's rule",
    "var_mean": "torch's running mean is nan where the mean is inf",
    "std_mean": "torch's running mean is nan where the mean is inf",
}

_TAIL = "torch's vector kernel and its rest disagree about nan"
_TWICE = "without include_self, torch counts an input that equals the extreme all the same"
_PADDED = "zeros of the padding meet an infinite weight"

# Rows left out, for what is at fault is torch, or not the rule.
LEFT_OUT_OF_COTANGENTS = {"logcumsumexp": "torch drops nan"}
LEFT_OUT_OF_INPUTS = {
    **dict.fromkeys([
        "nn.functional.relu6", "nn.functional.hardtanh", "nn.functional.hardswish",
        "nn.functional.hardshrink", "nn.functional.softshrink", "nn.functional.elu",
        "nn.functional.celu", "nn.functional.selu",
    ], _TAIL),
    **dict.fromkeys(["scatter_reduce amin", "scatter_reduce amax", "index_reduce"], _TWICE),
    **dict.fromkeys(["conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
                     "conv_transpose3d"], _PADDED),
    **dict.fromkeys([
        "linalg.det", "det, twice", "linalg.slogdet", "linalg.slogdet, sign", "linalg.inv",
        "linalg.qr", "linalg.matrix_power", "linalg.tensorinv", "linalg.householder_product",
        "qr", "linalg.cholesky_ex", "linalg.cholesky_ex that fails", "linalg.inv_ex",
        "linalg.inv_ex that fails", "linalg.solve_ex", "cholesky_inverse",
    ], _LAPACK),
    "scaled_dot_product_attention, more of it": "torch's fused kernel gives 0 for rows of nan",
    "nn.functional.grid_sample": "torch reads beside its memory at such positions",
    "logcumsumexp": "torch's sums of exponentials are nan beside -inf",
    "embedding_bag": "torch's largest of nan and more depends on their order",
    "special.i1": "torch's derivative at nan is 1/2",
    "special.i1e": "torch's derivative at nan is 1/2",
    "topk": "of two nan, either may be first",
    "histogram": "a range that is not finite",
}  # fmt: skip


def sprinkled(array: np.ndarray, seed: int) -> np.ndarray:
    """The array with about a third of its elements replaced by inf, -inf and nan."""
    chance = np.random.default_rng(seed).random(array.shape)
    y = np.array(array)
    for below, value in ((0.35, -math.inf), (0.25, math.nan), (0.15, math.inf)):
        y = np.where(chance < below, value, y)
    return y.astype(array.dtype)


class Sprinkled(Run):
    """A run whose cotangents hold inf and nan."""

    seed: int | None = 0

    def start(self, cotangent: np.ndarray, y: Any) -> Any:
        if self.seed is not None:
            cotangent = sprinkled(np.asarray(cotangent), self.seed)
        return super().start(cotangent, y)


def with_sprinkled_inputs(given: Call, seed: int) -> Call:
    numbers = iter(range(100 * seed, 100 * seed + 100))

    def each(value: Any) -> Any:
        if isinstance(value, Made):
            floats = value.array.dtype.kind == "f"
            number = next(numbers)
            return Made(sprinkled(value.array, number) if floats else value.array, value.grad)
        if isinstance(value, (list, tuple)):
            return type(value)(each(v) for v in value)
        return {k: each(v) for k, v in value.items()} if isinstance(value, dict) else value

    return Call(each(given.args), each(given.kwargs), given.smooth)


def both(op: Op, given: Call, seed: int | None) -> Iterator[tuple[str, Any, Any]]:
    """What the call and its backward pass give: a name, our number and torch's.

    Nothing where torch refuses such input, or has no derivative.
    """
    runs = []
    for library in (torch, tinygrad_edu):
        library.manual_seed(0)
        try:
            with np.errstate(all="ignore"):
                run = Sprinkled(library, op, given, grad=True)
                run.seed = seed
                runs.append((run.outputs, run.gradients()))
        except Exception:
            if library is torch:
                return
            raise
    (outputs, gradients), (ours, mine) = runs
    for i, (a, b) in enumerate(zip(ours, outputs, strict=True)):
        if is_tensor(b):
            yield f"output {i}", a, b
    for i, (a, b) in enumerate(zip(mine, gradients, strict=True)):
        if a is not None or b is not None:
            none = (b if a is None else a) * 0
            none = none.new_zeros(tuple(none.shape))
            yield f"gradient {i}", none if a is None else a, none if b is None else b


def compare(op: Op, what: str, ours: Any, theirs: Any) -> None:
    a = np.asarray(ours.detach().numpy(force=True), float)
    b = np.asarray(theirs.detach().numpy(force=True), float)
    same = np.isclose(a, b, rtol=1e-6, atol=1e-7, equal_nan=True)
    if op.name in ORDER:
        same |= ~np.isfinite(a) & ~np.isfinite(b)
    if op.name in BETTER:
        same |= np.isnan(b)
    assert same.all(), f"{what}: ours {a[~same][:4]}, torch's {b[~same][:4]} of {a.shape}"


def check_each(op: Op, check: Callable[[Call, int], None]) -> None:
    for i, given in enumerate(op.calls):
        for seed in SEEDS:
            try:
                check(op_table.arrays(op, given, "float64"), seed)
            except BaseException as error:
                error.add_note(f"in call {i} of the row: {op.name}{given!r}, seed {seed}")
                raise


@rows
def test_cotangents_that_are_not_finite(op: Op) -> None:
    """Where torch's gradient is 0 although inf or nan arrives, so is ours; nan where it is nan."""
    if op.name in LEFT_OUT_OF_COTANGENTS:
        pytest.skip(LEFT_OUT_OF_COTANGENTS[op.name])

    def check(given: Call, seed: int) -> None:
        for what, ours, theirs in both(op, given, seed):
            if what.startswith("gradient"):
                compare(op, what, ours, theirs)

    check_each(op, check)


@rows
def test_inputs_that_are_not_finite(op: Op) -> None:
    """Values and gradients at inf, -inf and nan are torch's."""
    if op.name in LEFT_OUT_OF_INPUTS:
        pytest.skip(LEFT_OUT_OF_INPUTS[op.name])

    def check(given: Call, seed: int) -> None:
        for what, ours, theirs in both(op, with_sprinkled_inputs(given, seed), None):
            compare(op, what, ours, theirs)

    check_each(op, check)


def test_no_exception_is_out_of_date() -> None:
    names = {op.name for op in ROWS}
    lists = (ORDER, BETTER, LEFT_OUT_OF_COTANGENTS, LEFT_OUT_OF_INPUTS)
    assert not {name for exceptions in lists for name in exceptions} - names


# Parts that are overwritten ---------------------------------------------------------------------

WRITES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "x[1] = 0": lambda t, x, v: x.__setitem__(1, 0.0),
    "x[1] = v": lambda t, x, v: x.__setitem__(1, v[1]),
    "x[1, 2] = 0": lambda t, x, v: x.__setitem__((1, 2), 0.0),
    "x[1:] = 0": lambda t, x, v: x.__setitem__(slice(1, None), 0.0),
    "x[..., ::2] = 0": lambda t, x, v: x.__setitem__((..., slice(None, None, 2)), 0.0),
    "x[:] = v": lambda t, x, v: x.__setitem__(slice(None), v),
    "x[...] = 0": lambda t, x, v: x.__setitem__(..., 0.0),
    "x[list] = 0": lambda t, x, v: x.__setitem__([0, 2], 0.0),
    "x[mask] = 0": lambda t, x, v: x.__setitem__(x.detach() > 0.5, 0.0),
    "x[i, i] = 0": lambda t, x, v: x.__setitem__((t.arange(3), t.arange(3)), 0.0),
    "copy_": lambda t, x, v: x.copy_(v),
    "fill_": lambda t, x, v: x.fill_(0.0),
    "zero_": lambda t, x, v: x.zero_(),
    "row copy_": lambda t, x, v: x[1].copy_(v[0]),
    "row fill_": lambda t, x, v: x[1].fill_(0.0),
    "row zero_": lambda t, x, v: x[1].zero_(),
    "column of rows zero_": lambda t, x, v: x[1:][:, 0].zero_(),
    "diagonal fill_": lambda t, x, v: x.diagonal().fill_(0.0),
    "narrow zero_": lambda t, x, v: x.narrow(1, 1, 2).zero_(),
    "view zero_": lambda t, x, v: x.view(-1)[3:5].zero_(),
    "transposed zero_": lambda t, x, v: x.t()[0].zero_(),
    "split zero_": lambda t, x, v: x[:2].t().select(0, 1).zero_(),
    "fill_diagonal_": lambda t, x, v: x.fill_diagonal_(0.0),
    "masked_fill_": lambda t, x, v: x.masked_fill_(x.detach() > 0.5, 0.0),
    "index_fill_": lambda t, x, v: x.index_fill_(0, t.tensor([1]), 0.0),
    "index_copy_": lambda t, x, v: x.index_copy_(0, t.tensor([1, 0]), v[:2]),
    "index_put_": lambda t, x, v: x.index_put_((t.tensor([1]),), v[:1]),
    "scatter_": lambda t, x, v: x.scatter_(0, t.tensor([[1, 1, 2]]), v[:1]),
    "put_": lambda t, x, v: x.put_(t.tensor([0, 4]), v[0, :2]),
    "masked_scatter_": lambda t, x, v: x.masked_scatter_(x.detach() > 0.5, v.reshape(-1)),
    "row mul_ 0": lambda t, x, v: x[1].mul_(0.0),
    "row sub_ itself": lambda t, x, v: x[1].sub_(v[1]),
    "select_scatter": lambda t, x, v: t.select_scatter(x, v[0], 0, 1),
    "slice_scatter": lambda t, x, v: t.slice_scatter(x, v[:2], 0, 1, 3),
    "diagonal_scatter": lambda t, x, v: t.diagonal_scatter(x, v[0]),
    "where": lambda t, x, v: t.where(x.detach() > 0.5, v, x),
}


@pytest.mark.parametrize("how", list(WRITES))
@pytest.mark.parametrize("seed", range(4))
def test_overwritten_parts(how: str, seed: int) -> None:
    """Through a part that is overwritten nothing flows back, whatever arrives there."""
    results = []
    for library in (tinygrad_edu, torch):
        random = np.random.default_rng(seed)
        x, v = (library.tensor(random.random((3, 3)), requires_grad=True) for _ in range(2))
        y = x * 2
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            written = WRITES[how](library, y, v)
        y = written if "scatter" in how or how == "where" else y
        u = library.tensor(sprinkled(random.random((3, 3)), seed + 9))
        found = library.autograd.grad(y, [x, v], u, allow_unused=True)
        results.append([None if g is None else g.numpy() for g in found])
    for ours, theirs in zip(*results, strict=True):
        expected = np.zeros((3, 3)) if theirs is None else theirs
        np.testing.assert_array_equal(np.zeros((3, 3)) if ours is None else ours, expected, how)


def test_distances_to_oneself() -> None:
    """The square root of a zero that was written: its derivative is infinite and reaches nobody."""
    x = tinygrad_edu.tensor([[0.0, 0.0], [3.0, 4.0], [1.0, 1.0]], requires_grad=True)
    d = ((x[:, None] - x[None]) ** 2).sum(-1)
    d.diagonal().fill_(0)
    d.sqrt().sum().backward()
    assert x.grad is not None and bool(x.grad.isfinite().all())


def test_ignored_rows_receive_nothing() -> None:
    """cross_entropy's ignored rows, and the row of an embedding's padding."""
    for library in (torch, tinygrad_edu):
        F = library.nn.functional
        x = library.zeros(3, 4, requires_grad=True)
        target = library.tensor([1, -100, 2])
        loss = F.cross_entropy(x, target, reduction="none")
        u = library.tensor([1.0, math.inf, 2.0])
        (g,) = library.autograd.grad(loss, x, u)
        assert g[1].tolist() == [0.0] * 4 and bool(g.isfinite().all())
        table = library.zeros(4, 2, requires_grad=True)
        y = F.embedding(library.tensor([3, 1]), table, padding_idx=1)
        (g,) = library.autograd.grad(y, table, library.tensor([[1.0, 1.0], [math.nan, math.inf]]))
        assert g.tolist() == [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1.0, 1.0]]
