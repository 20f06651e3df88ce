"""Every operation, with a history in every input that can carry one: which results have one, too.

A result without the history that torch's has loses a gradient in silence.  Where torch has no
derivative it says so when one is asked for, and so do we.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import op_table
import pytest
from op_table import Call, Made, Op
from test_operations import Run, is_tensor, rows

import tinygrad_edu

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

DERIVATIVES_OF_OUR_OWN = {
    "remainder": "torch has none of a number divided by a tensor",
    "rmod": "as remainder",
    "floor_divide": "zeros, as of the division that rounds down",
    "rfloordiv": "as floor_divide",
    "binary_cross_entropy": "of the weight, too",
    "binary_cross_entropy_with_logits": "of the weight, too",
    "soft_margin_loss": "of the target, too",
    "batch_norm": "of the running statistics, too",
    "fractional_max_pool2d": "zeros for the places of the windows",
    "fractional_max_pool3d": "zeros for the places of the windows",
}


def floats(value: Any, integers: bool) -> Any:
    """The same arguments, every array a float one that needs a gradient."""
    if isinstance(value, Made):
        takes = value.array.dtype.kind == "f" or integers
        return Made(value.array.astype("float32"), True) if takes else value
    if isinstance(value, (list, tuple)):
        return type(value)(floats(v, integers) for v in value)
    return value


def calls(op: Op) -> Iterator[Call]:
    for given in op.calls:
        made = op_table.arrays(op, given, "float32")
        for integers in (False, True):
            kwargs = {name: floats(v, False) for name, v in made.kwargs.items()}
            yield Call(floats(made.args, integers), kwargs)


def histories(library: Any, op: Op, given: Call) -> tuple[list[bool | None], str]:
    """Which results need a gradient, and what is said when it is asked for; [] if refused."""
    try:
        run = Run(library, op, given, grad=True)
    except Exception:
        return [], ""
    outputs = [y for y in run.outputs if is_tensor(y)]
    said = ""
    for y in outputs:
        if y.requires_grad:
            try:
                library.autograd.grad(y.sum(), run.inputs, allow_unused=True, retain_graph=True)
            except RuntimeError as error:
                said = str(error)
    return [y.requires_grad for y in outputs], said


@rows
def test_results_have_the_history_that_torchs_have(op: Op) -> None:
    """So has every result of every call, and no derivative means an error, not silence."""
    for given in calls(op):
        reference, said = histories(torch, op, given)
        if not reference:
            continue  # torch refuses such arguments
        found, ours = histories(tinygrad_edu, op, given)
        assert found == reference, f"{op.name}{given}"
        if "derivative" in said and op.name not in DERIVATIVES_OF_OUR_OWN:
            assert "derivative" in ours, f"{op.name}{given}: torch says {said!r}, we {ours!r}"
