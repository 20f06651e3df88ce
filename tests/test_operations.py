"""Every operation of the table: values, dtypes, gradients, second derivatives, bad input.

Gradients start from a random cotangent: one of all ones cannot see that softmax's rule lacks its
sum or that flip's does not flip.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import op_table
import pytest
from op_table import Call, Dtype, Made, Op, all_rows

import tinygrad_edu
from tinygrad_edu.autograd.gradcheck import gradcheck, gradgradcheck
from tinygrad_edu.testing import assert_close

torch = pytest.importorskip("torch")

ROWS = all_rows()
rows = pytest.mark.parametrize("op", ROWS, ids=repr)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")


# ---- one call, run by either library


class Run:
    """A call of one operation by one library: its tensors, and what came out."""

    def __init__(
        self,
        library: Any,
        op: Op,
        given: Call,
        *,
        grad: bool = False,
        layout: Callable[[np.ndarray], np.ndarray] | None = None,
        device: str = "cpu",
    ) -> None:
        self.library, self.device, self.layout = library, device, layout
        self.tensors: list[Any] = []
        args, kwargs = self.make(given.args, grad), self.make(given.kwargs, grad)
        self.args, self.kwargs = args, kwargs
        with warnings.catch_warnings():
            if library is torch:
                warnings.simplefilter("ignore")
            self.outputs = flat(op(library, *args, **kwargs))
        self.inputs = [t for t in self.tensors if t.requires_grad]
        self.starts: list[Any] = []

    def make(self, value: Any, grad: bool) -> Any:
        if isinstance(value, Dtype):
            return getattr(self.library, value)
        if isinstance(value, Made):
            t = self.tensor(value.array)
            if grad and value.grad and t.is_floating_point():
                t.requires_grad_()
            self.tensors.append(t)
            return t
        if isinstance(value, dict):
            return {k: self.make(v, grad) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self.make(v, grad) for v in value)
        return value

    def tensor(self, array: np.ndarray) -> Any:
        array = np.array(array) if self.layout is None else self.layout(array)
        return self.library.from_numpy(array).to(self.device)

    def gradients(self, create_graph: bool = False) -> list[Any]:
        """The gradients of the inputs, from a random cotangent."""
        random = np.random.default_rng(7)
        ys, us = [], []
        for y in self.outputs:
            u = random.standard_normal(tuple(y.shape)) if is_tensor(y) else None
            if u is not None and y.requires_grad:
                t = self.start(u, y)
                ys.append(y)
                us.append(t.requires_grad_() if create_graph else t)
        if not ys or not self.inputs:
            return []
        self.starts = us
        return list(
            self.library.autograd.grad(
                ys, self.inputs, us, create_graph=create_graph, allow_unused=True
            )
        )

    def start(self, cotangent: np.ndarray, y: Any) -> Any:
        return self.library.from_numpy(np.asarray(cotangent)).to(y.dtype).to(self.device)

    def second(self) -> list[Any]:
        """The gradients of the gradients, from another random cotangent."""
        random = np.random.default_rng(8)
        firsts, us = [], []
        for x, g in zip(self.inputs, self.gradients(create_graph=True), strict=False):
            u = self.library.from_numpy(np.asarray(random.standard_normal(tuple(x.shape))))
            u = u.to(self.device)
            if g is not None and g.requires_grad:
                firsts.append(g)
                us.append(u)
        wanted = [*self.inputs, *self.starts]
        if not firsts:
            return [None] * len(wanted)
        return list(self.library.autograd.grad(firsts, wanted, us, allow_unused=True))


def is_tensor(value: Any) -> bool:
    return isinstance(value, (torch.Tensor, tinygrad_edu.Tensor))


def flat(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)) and not isinstance(value, (torch.Size, tinygrad_edu.Size)):
        return [leaf for v in value for leaf in flat(v)]
    return [value]


def compare(ours: list[Any], theirs: list[Any], what: str, **tolerance: Any) -> None:
    assert len(ours) == len(theirs), f"{what}: {len(ours)} results, torch has {len(theirs)}"
    for i, (mine, reference) in enumerate(zip(ours, theirs, strict=True)):
        label = f"{what} {i}"
        if mine is None or reference is None:
            # torch may say None where we say zeros, and the other way round
            rest = mine if reference is None else reference
            assert rest is None or not rest.detach().any(), f"{label}: {mine} against {reference}"
        elif is_tensor(reference):
            assert is_tensor(mine), f"{label}: {type(mine)} is no tensor"
            assert repr(mine.dtype) == repr(reference.dtype), label
            assert_close(
                mine.detach().cpu(),
                reference.numpy(force=True),
                equal_nan=True,
                check_dtype=False,
                msg=lambda text, label=label: f"{label}: {text}",
                **tolerance,
            )
        else:
            assert tuple(flat(mine)) == tuple(flat(reference)), label


def tolerance(op: Op, dtype: str) -> dict[str, float]:
    rtol, atol = op.tolerance if dtype == "float32" else (1e-7, 1e-8)
    return {"rtol": rtol, "atol": atol}


def check_each(op: Op, dtype: str, check: Callable[[Call], None]) -> None:
    """Run a check on all calls; say in the error which call it was."""
    for i, given in enumerate(op.calls):
        try:
            check(op_table.arrays(op, given, dtype))
        except BaseException as error:  # pytest's failures are no Exceptions
            error.add_note(f"in call {i} of the row: {op.name}{given!r} with {dtype}")
            raise


# ---- values


@rows
@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int32", "uint8", "bool"])
def test_values(op: Op, dtype: str) -> None:
    """Values, dtypes and shapes are torch's; where torch raises, so do we, with the same type."""
    if dtype in op.skip or (dtype in ("int32", "uint8") and "int64" in op.skip):
        pytest.skip("the row asks not to")

    def check(given: Call) -> None:
        try:
            expected = Run(torch, op, given)
        except Exception as error:
            if "float" in dtype:
                raise
            with pytest.raises(their_type(error)):
                Run(tinygrad_edu, op, given)
            return
        found = Run(tinygrad_edu, op, given)
        compare(found.outputs, expected.outputs, "output", **tolerance(op, dtype))
        compare(found.tensors, expected.tensors, "input afterwards")

    check_each(op, dtype, check)


def their_type(error: Exception) -> type[Exception]:
    """The type to raise where torch raises `error`; its NotImplementedError is a RuntimeError."""
    return RuntimeError if isinstance(error, RuntimeError) else type(error)


@rows
def test_bad_input(op: Op) -> None:
    """The same type of exception as torch's."""
    for given in op.bad:
        made = op_table.arrays(op, given, "float32")
        with pytest.raises(Exception) as theirs:  # noqa: B017
            Run(torch, op, made)
        try:
            Run(tinygrad_edu, op, made)
        except Exception as error:
            expected = their_type(theirs.value)
            assert isinstance(error, expected), (
                f"{op.name}{given!r}: {type(error).__name__}({error}), torch has {theirs.value!r}"
            )
            assert str(error), f"{op.name}{given!r}: an error without a message"
        else:
            pytest.fail(f"{op.name}{given!r} raised nothing; torch: {theirs.value!r}")


# ---- gradients


@rows
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_gradients(op: Op, dtype: str) -> None:
    """Gradients from a random cotangent equal torch's; so does what requires grad at all."""
    if dtype in op.skip or (dtype in ("int32", "uint8") and "int64" in op.skip):
        pytest.skip("the row asks not to")

    def check(given: Call) -> None:
        expected = Run(torch, op, given, grad=True)
        reference = gradients_of_torch(expected.gradients)
        if reference is None:
            return
        found = Run(tinygrad_edu, op, given, grad=True)
        needs = [y.requires_grad for y in found.outputs if is_tensor(y)]
        assert needs == [y.requires_grad for y in expected.outputs if is_tensor(y)]
        compare(found.gradients(), reference, "gradient", **tolerance(op, dtype))

    check_each(op, dtype, check)


def gradients_of_torch(function: Callable[[], list[Any]]) -> list[Any] | None:
    """None where torch has no derivative, or cannot compute it."""
    try:
        return function()
    except RuntimeError as error:
        if any(
            t in str(error)
            for t in ("not implemented", "undefined Tensor", "inplace operation", "is unsupported")
        ):
            return None
        if "invalid gradient" in str(error) or "must match the size" in str(error):
            return None
        raise


@rows
def test_finite_differences(op: Op) -> None:
    """Gradients equal finite differences in float64."""

    def check(given: Call) -> None:
        run = Run(tinygrad_edu, op, given, grad=True)
        if not given.smooth or not run.inputs:
            return
        if not any(is_tensor(y) and y.requires_grad for y in run.outputs):
            return
        assert gradcheck(_function_of(op, run), tuple(run.inputs))

    check_each(op, "float64", check)


def _function_of(op: Op, run: Run) -> Callable[..., Any]:
    """The call as a function of those of its tensors that require grad."""
    originals = {id(t): i for i, t in enumerate(run.inputs)}

    def put(value: Any, given: tuple[Any, ...]) -> Any:
        if isinstance(value, dict):
            return {k: put(v, given) for k, v in value.items()}
        if isinstance(value, (list, tuple)) and not isinstance(value, tinygrad_edu.Size):
            return type(value)(put(v, given) for v in value)
        return given[originals[id(value)]] if id(value) in originals else value

    def function(*given: Any) -> Any:
        outputs = flat(op(tinygrad_edu, *put(run.args, given), **put(run.kwargs, given)))
        return tuple(y for y in outputs if is_tensor(y))

    return function


@rows
def test_gradients_that_are_recorded(op: Op) -> None:
    """With `create_graph` rules are given tensors in place of arrays: the same gradients."""
    if not op.second:
        pytest.skip("the row asks not to")

    def check(given: Call) -> None:
        if gradients_of_torch(Run(torch, op, given, grad=True).gradients) is None:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # that of second derivatives alone
            found = Run(tinygrad_edu, op, given, grad=True).gradients(create_graph=True)
        expected = Run(tinygrad_edu, op, given, grad=True).gradients()
        compare(found, expected, "gradient", **tolerance(op, "float64"))

    check_each(op, "float64", check)


@rows
def test_second_order(op: Op) -> None:
    """Gradients of gradients equal torch's, and finite differences of the gradients."""
    if not op.second:
        pytest.skip("the row asks not to")

    def check(given: Call) -> None:
        if not given.smooth:
            return
        run = Run(tinygrad_edu, op, given, grad=True)
        expected = gradients_of_torch(Run(torch, op, given, grad=True).second)
        if expected is not None:
            compare(run.second(), expected, "second derivative", **tolerance(op, "float64"))
        if run.inputs and any(is_tensor(y) and y.requires_grad for y in run.outputs):
            run = Run(tinygrad_edu, op, given, grad=True)
            assert gradgradcheck(_function_of(op, run), tuple(run.inputs), fast_mode=True)

    check_each(op, "float64", check)


def alone(given: Call, wanted: int) -> Call:
    """The call with arrays, of which one alone requires grad."""
    seen = itertools.count()

    def one(value: Any) -> Any:
        if isinstance(value, Made):
            return Made(value.array, value.grad and next(seen) == wanted)
        if isinstance(value, dict):
            return {k: one(v) for k, v in value.items()}
        return type(value)(one(v) for v in value) if type(value) in (list, tuple) else value

    return Call(one(given.args), one(given.kwargs), given.smooth)


@rows
def test_second_order_of_one_input(op: Op) -> None:
    """The other inputs are constants: the walk hands them to the rules as they are kept."""
    if not op.second:
        pytest.skip("the row asks not to")

    def check(given: Call) -> None:
        count = len(Run(tinygrad_edu, op, given, grad=True).inputs)
        for i in range(count if count > 1 and given.smooth else 0):
            single = alone(given, i)
            expected = gradients_of_torch(Run(torch, op, single, grad=True).second)
            found = Run(tinygrad_edu, op, single, grad=True).second()
            if expected is not None:  # torch forgets that of layer_norm by the cotangent
                compare(found[:1], expected[:1], f"input {i}", **tolerance(op, "float64"))

    check_each(op, "float64", check)


# ---- memory


def _stepped(array: np.ndarray) -> np.ndarray:
    return np.repeat(array, 2, -1)[..., ::2] if array.ndim else array.copy()


def _transposed(array: np.ndarray) -> np.ndarray:
    return array.T.copy().T


@rows
@pytest.mark.parametrize("layout", [_stepped, _transposed], ids=["stepped", "transposed"])
def test_non_contiguous(op: Op, layout: Callable[[np.ndarray], np.ndarray]) -> None:
    """Where the elements lie in memory makes no difference to values and gradients."""

    def check(given: Call) -> None:
        try:
            expected = Run(torch, op, given, grad=True, layout=layout)
        except RuntimeError as error:
            assert "view size is not compatible" in str(error)
            if op.name == "Tensor.view":
                with pytest.raises(RuntimeError, match="view"):
                    Run(tinygrad_edu, op, given, grad=True, layout=layout)
            return
        found = Run(tinygrad_edu, op, given, grad=True, layout=layout)
        compare(found.outputs, expected.outputs, "output", **tolerance(op, "float64"))
        reference = gradients_of_torch(expected.gradients)
        if reference is not None:
            compare(found.gradients(), reference, "gradient", **tolerance(op, "float64"))

    check_each(op, "float64", check)


@rows
def test_method_and_in_place_twin(op: Op) -> None:
    """`x.op(...)` is `torch.op(x, ...)`; `x.op_(...)` writes that into x, history included."""
    if op.run is not None or "." in op.name or op.name == "where":
        pytest.skip("not a plain function, or its method has another order of arguments")
    for suffix in ("", "_"):
        method = op.name + suffix
        if hasattr(torch.Tensor, method) and hasattr(tinygrad_edu.Tensor, method):
            twin = Op(op.name, run=lambda torch, x, *a, m=method, **k: getattr(x, m)(*a, **k))
            if suffix:
                twin.run = _of_a_copy(method)
            check_each(op, "float64", lambda given, twin=twin: _check_twin(twin, given))


def _of_a_copy(method: str) -> Callable[..., Any]:
    def run(torch: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        copy = x * 1
        result = getattr(copy, method)(*args, **kwargs)
        assert result is copy
        return copy * 2

    return run


def _check_twin(twin: Op, given: Call) -> None:
    if not given.args or not isinstance(given.args[0], Made):
        return
    try:
        expected = Run(torch, twin, given, grad=True)
    except Exception as error:
        with pytest.raises(their_type(error)):
            Run(tinygrad_edu, twin, given, grad=True)
        return
    found = Run(tinygrad_edu, twin, given, grad=True)
    compare(found.outputs, expected.outputs, "output", **tolerance(twin, "float64"))
    reference = gradients_of_torch(expected.gradients)
    if reference is None:
        return
    if any(y.requires_grad for y in found.outputs if is_tensor(y)):
        compare(found.gradients(), reference, "gradient", **tolerance(twin, "float64"))
