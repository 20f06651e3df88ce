"""An operand that is no tensor: TypeError, as in torch, never an attribute that is missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import op_table
import pytest
from op_table import Call, Made, Op
from test_operations import Run, rows

import tinygrad_edu

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

SUBTRACTED_FIRST = ["nn.functional.hinge_embedding_loss"]  # `margin - input` is a number then
STAND_INS: list[Any] = [[1.0, 2.0], 3.0, None, "x"]


def with_stand_ins(op: Op) -> Iterator[Call]:
    """The row's first call with each of its tensors in turn exchanged for something else."""
    made = op_table.arrays(op, op.calls[0], "float32")
    for place, value in enumerate(made.args):
        if isinstance(value, Made):
            for other in STAND_INS:
                yield Call((*made.args[:place], other, *made.args[place + 1 :]), made.kwargs)


def refusal(library: Any, op: Op, given: Call) -> type[Exception] | None:
    try:
        Run(library, op, given)
    except Exception as error:
        return type(error)
    return None


@rows
def test_an_operand_that_is_no_tensor(op: Op) -> None:
    if op.run is not None or op.name.startswith("Tensor.") or op.name in SUBTRACTED_FIRST:
        return
    for given in with_stand_ins(op) if op.calls else ():
        if refusal(torch, op, given) is TypeError:
            assert refusal(tinygrad_edu, op, given) is not AttributeError, f"{op.name}{given}"


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
