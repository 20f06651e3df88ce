"""The operations of the table on the strict stand-in for CuPy, and on a GPU if there is one.

The same rows as in test_operations.py, compared with torch on the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import op_table
import op_table.sampling
import pytest
from op_table import Call, Op
from test_operations import (
    Run,
    check_each,
    compare,
    gradients_of_torch,
    is_tensor,
    rows,
    their_type,
    tolerance,
)

import tinygrad_edu
from tinygrad_edu.engine.mode import around

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

DRAWN = [*[op.name for op in op_table.sampling.ROWS], "nn.functional.gumbel_softmax"]
"""What draws random numbers, other ones on a GPU; tests/test_gpu_random.py has these."""
OF_THE_HOST = ["Tensor.type", "Tensor.to", "Tensor.cpu", "from_numpy"]
"""What gives another result, or none, on a GPU; tests/test_devices.py has these."""


def _whole(step: Any, node: Any, kept: Any, g: Any) -> Any:
    """A backward step; of what it gives out as a new array, all elements are its own.

    To such a one the walk may add in place.  CuPy's `as_strided` makes views without a base.
    """
    found = list(step(node, kept, g))
    for _, gx in found:
        if hasattr(gx, "data") and not is_tensor(gx) and gx.size and gx.base is None:
            steps = zip(gx.shape, gx.strides, strict=True)
            assert gx is g or all([step or n < 2 for n, step in steps]), (
                f"{node} gives an expanded array"
            )
    return found


@pytest.fixture
def gradients_are_whole() -> Iterator[None]:
    around.append(_whole)
    yield
    around.remove(_whole)


@rows
@pytest.mark.usefixtures("gradients_are_whole")
@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_values_and_gradients_on_a_gpu(op: Op, dtype: str, cuda: str) -> None:
    """As `test_values` and `test_gradients`, on CuPy's stand-in and on a GPU if there is one."""
    if dtype in op.skip or op.name in OF_THE_HOST + DRAWN:
        pytest.skip("the row asks not to")

    def check(given: Call) -> None:
        try:
            expected = Run(torch, op, given, grad="float" in dtype)
        except Exception as error:
            with pytest.raises(their_type(error)):
                Run(tinygrad_edu, op, given, device=cuda)
            return
        found = Run(tinygrad_edu, op, given, grad="float" in dtype, device=cuda)
        places = {y.device.type for y in found.outputs if is_tensor(y)}
        assert places <= {"cuda"} or not found.tensors
        compare(found.outputs, expected.outputs, "output", **tolerance(op, dtype))
        compare(found.tensors, expected.tensors, "input afterwards")
        if "float" in dtype:
            reference = gradients_of_torch(expected.gradients)
            if reference is not None:
                compare(found.gradients(), reference, "gradient", **tolerance(op, dtype))

    check_each(op, dtype, check)


def test_a_sum_among_others_keeps_its_gradient(cuda: str) -> None:
    """The gradient of a sum is expanded: what comes after it is not added to it in place."""
    x = tinygrad_edu.tensor([1.0, 2.0, 3.0], device=cuda, requires_grad=True)
    z = x * 1
    ((z * z).sum() + z.sum()).backward()
    assert x.grad is not None and x.grad.tolist() == [3, 5, 7]


MOVES = {
    "Tensor.copy_", "Tensor.expand_as", "Tensor.reshape_as", "Tensor.to", "Tensor.type_as",
    "Tensor.view_as", "broadcast_tensors", "bucketize", "ctc_loss", "mask of a loss", "meshgrid",
    "meshgrid xy", "result_type", "select_scatter", "slice_scatter", "x[..., ::2] = v",
    "x[1] = v", "x[all] = v", "x[indices]", "x[leading ones] = v", "x[mask]", "x[slice] = v",
}  # fmt: skip
"""What takes operands of two devices: it copies between them, or reads only shapes."""


@rows
def test_operands_of_two_devices(op: Op, cuda: str) -> None:
    """torch's error, naming both; nothing is copied between them silently."""
    for given in op.calls:
        made = op_table.arrays(op, given, "float32")
        mixed = Mixed(tinygrad_edu, op, made)
        empty = any(not t.numel() for t in mixed.tensors)
        number = [t for t in mixed.tensors[-1:] if t.numel() == 1]
        number = number or (op.name.endswith("= v") and len(mixed.tensors) < 3)
        if op.name in MOVES or number or empty or len({t.device for t in mixed.tensors}) < 2:
            continue
        try:
            with pytest.raises(RuntimeError, match="on the same device.*(cuda:0.*cpu|cpu.*cuda:0)"):
                op(tinygrad_edu, *mixed.args, **mixed.kwargs)
        except BaseException as error:
            error.add_note(f"in call of {op.name}{given!r}")
            raise


class Mixed(Run):
    """The arguments of a call, of which only the first tensor is on a GPU."""

    def __init__(self, library: Any, op: Op, given: Call) -> None:
        self.library, self.device, self.layout = library, "cuda", None
        self.tensors = []
        self.args, self.kwargs = self.make(given.args, False), self.make(given.kwargs, False)

    def tensor(self, array: np.ndarray) -> Any:
        t = super().tensor(array)
        return t.cpu() if self.tensors and t.ndim and t.numel() else t
