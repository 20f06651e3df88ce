"""torch's samples with NumPy's floats in the place of Python's: the same dtypes and numbers."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest")

from replay import operations  # noqa: E402
from replay.both import leaves, quiet, translate  # noqa: E402
from torch.testing._internal.opinfo.core import UnaryUfuncInfo  # noqa: E402

import tinygrad_edu as ours  # noqa: E402

REFUSED = ("scatter",)
"""Says that a NumPy number has another dtype."""
ENTRIES = [
    op for op in operations.ENTRIES
    if operations.exported(op) and torch.float32 in op.dtypes and op.name not in REFUSED
    and not isinstance(op, UnaryUfuncInfo)  # they have no numbers
]  # fmt: skip


def with_numpy(value: Any) -> Any:
    if type(value) is float:
        return np.float64(value)
    if type(value) in (tuple, list):
        return type(value)(map(with_numpy, value))
    return {k: with_numpy(v) for k, v in value.items()} if type(value) is dict else value


def has_float(value: Any) -> bool:
    if isinstance(value, (tuple, list, dict)):
        return any(map(has_float, value.values() if isinstance(value, dict) else value))
    return type(value) is float


@pytest.mark.parametrize("op", ENTRIES, ids=operations.title)
def test_dtypes_do_not_change(op: Any) -> None:
    function = operations.counterpart(op.op, op.name)
    with quiet():
        samples = itertools.islice(op.sample_inputs("cpu", torch.float32), 20)
        for sample in [s for s in samples if has_float((s.args, s.kwargs))][:4]:
            found = []
            for change in (lambda value: value, with_numpy):
                ours.manual_seed(0)
                try:
                    given = [sample.input, sample.args, sample.kwargs]
                    first, args, kwargs = translate(given, ours)
                    found.append(leaves(function(first, *change(args), **change(kwargs))))
                except Exception as error:
                    found.append(type(error))
            if isinstance(found[0], type):
                assert found[0] is found[1]
                continue
            for plain, numpys in zip(*found, strict=True):
                assert numpys.dtype == plain.dtype
                if plain.is_floating_point() and "empty" not in op.name:
                    a, b = plain.detach().numpy(), numpys.detach().numpy()
                    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
