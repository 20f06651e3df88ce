"""An operand that is no tensor: TypeError, as in torch, never an attribute that is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import op_table
import pytest
from op_table import Call, Made, Op
from test_operations import Run, rows

import tinygrad_edu

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

SUBTRACTED_FIRST = ["nn.functional.hinge_embedding_loss"]  # `margin - input` is a number then
STAND_INS: list[Any] = [[1.0, 2.0], 3.0, None, "x"]
SAID = re.compile(r"\w+\(\): argument '\w+' \(position \d\) must be Tensor, not [\w.]+$")
OTHER_WORDS = """
    addbmm addmm addmv addr allclose argwhere baddbmm cdist corrcoef cumulative_trapezoid
    full_like heaviside linalg.cross linalg.det linalg.diagonal linalg.householder_product
    linalg.qr linalg.svdvals linalg.vander matrix_exp msort nn.functional.batch_norm
    nn.functional.celu nn.functional.embedding nn.functional.fold nn.functional.grid_sample
    nn.functional.logsigmoid nn.functional.max_pool1d_with_indices
    nn.functional.max_pool2d_with_indices nn.functional.multilabel_soft_margin_loss
    nn.functional.relu6 nn.functional.selu nn.functional.unfold pinverse polygamma
    select_scatter sgn special.entr special.erfcx special.expit special.i0e special.i1
    special.i1e special.log_ndtr special.multigammaln special.ndtri split_with_sizes
    trapezoid unique unsafe_split vdot
""".split()
"""Functions made of others, or known by another name: the error is of the part that has met it."""


def with_stand_ins(op: Op) -> Iterator[Call]:
    """The row's first call with each of its tensors in turn exchanged for something else."""
    made = op_table.arrays(op, op.calls[0], "float32")
    for place, value in enumerate(made.args):
        if isinstance(value, Made):
            for other in [*STAND_INS, value.array]:
                yield Call((*made.args[:place], other, *made.args[place + 1 :]), made.kwargs)


def refusal(library: Any, op: Op, given: Call) -> Exception | None:
    try:
        Run(library, op, given)
    except Exception as error:
        return error
    return None


@rows
def test_an_operand_that_is_no_tensor(op: Op) -> None:
    if op.run is not None or op.name.startswith("Tensor.") or op.name in SUBTRACTED_FIRST:
        return
    differ = []
    for given in with_stand_ins(op) if op.calls else ():
        theirs = refusal(torch, op, given)
        if isinstance(theirs, TypeError) and SAID.match(str(theirs)):
            ours = refusal(tinygrad_edu, op, given)
            assert isinstance(ours, TypeError), f"{op.name}{given}: {ours!r}, torch's: {theirs}"
            if str(ours) != str(theirs):
                differ.append(f"{ours}, torch's: {theirs}")
    assert bool(differ) == (op.name in OTHER_WORDS), differ


def test_an_array_is_refused_where_users_call_and_nowhere_else() -> None:
    t, a = tinygrad_edu.ones(2, requires_grad=True), np.ones(2, np.float32)
    for call in (
        lambda: tinygrad_edu.exp(np.float64(2)),
        lambda: tinygrad_edu.add(t, a),
        lambda: t.mul(a),
        lambda: tinygrad_edu.eq(np.float32(2), t),
        lambda: tinygrad_edu.nn.functional.linear(t, a),
    ):
        with pytest.raises(TypeError, match="must be Tensor, not numpy"):
            call()
    for y in (t + a, t * a, t / a, np.exp(t), np.add(t, a), np.multiply(a, t)):
        assert isinstance(y, tinygrad_edu.Tensor)
    assert tinygrad_edu.add(t, np.float32(2)).tolist() == [3.0, 3.0]

    @tinygrad_edu.autograd.primitive  # in functions of arrays and in rules they are what there is
    def double_exp(x: Any) -> Any:
        return tinygrad_edu.exp(x) * tinygrad_edu.add(x, x)

    double_exp.vjp(
        x=lambda g, x: g * tinygrad_edu.exp(x) * tinygrad_edu.add(2, tinygrad_edu.mul(x, 2))
    )
    assert tinygrad_edu.autograd.gradcheck(double_exp, (t.double().detach().requires_grad_(),))


@pytest.mark.parametrize("listening", ["autocast", "half"])
def test_an_array_is_refused_while_somebody_listens(listening: str) -> None:
    tinygrad_edu.ones(1, dtype=tinygrad_edu.float16)
    with tinygrad_edu.autocast("cpu", enabled=listening == "autocast"):
        for function in (tinygrad_edu.exp, tinygrad_edu.softmax, tinygrad_edu.sum):
            with pytest.raises(TypeError, match="must be Tensor, not numpy.ndarray"):
                function(np.ones(2, np.float32), *[0] * (function is not tinygrad_edu.exp))


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda t: t.nn.functional.mse_loss([1.0], [2.0]), r"mse_loss\(\): .*'input' .* not list"),
        (lambda t: t.nn.functional.layer_norm(t.ones(2), (2,), [1.0]), r"'weight' .* not list"),
        (lambda t: t.reshape([1, 2], (2, 1)), r"reshape\(\): argument 'input' \(position 1\)"),
        (lambda t: t.block_diag(t.ones(1), 3.0), "element 1 in argument 0, but got float"),
        (lambda t: t.nn.functional.max_pool2d(None, 2), r"max_pool2d\(\): .* not NoneType"),
    ],
)
def test_the_argument_and_its_type_are_named(call: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        call(tinygrad_edu)


def test_another_attribute_error_stays_what_it_is() -> None:
    class Distance:
        def __call__(self, a: Any, b: Any) -> Any:
            return self.scale * (a - b).norm()  # type: ignore[attr-defined]

    x = tinygrad_edu.ones(2, 2)
    with pytest.raises(AttributeError, match="scale"):
        tinygrad_edu.nn.functional.triplet_margin_with_distance_loss(
            x, x, x, distance_function=Distance()
        )
