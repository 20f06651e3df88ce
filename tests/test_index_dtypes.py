"""Which dtypes an index, a class, a count or a mask may have: those that torch takes, no others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import tinygrad_edu as ours  # noqa: E402

DTYPES = "int64 int32 int16 uint8 bool float32".split()

Call = Callable[[Any, Any, Any], Any]
CALLS: dict[str, Call] = {
    "take": lambda lib, x, i: lib.take(x, i),
    "gather": lambda lib, x, i: lib.gather(x, 0, i),
    "index_select": lambda lib, x, i: lib.index_select(x, 0, i),
    "scatter": lambda lib, x, i: lib.scatter(x, 0, i, x[:2]),
    "scatter of a number": lambda lib, x, i: x.scatter(0, i, 2.0),
    "scatter_": lambda lib, x, i: x.clone().scatter_(0, i, 2.0),
    "scatter_add": lambda lib, x, i: lib.scatter_add(x, 0, i, x[:2]),
    "scatter_reduce": lambda lib, x, i: x.scatter_reduce(0, i, x[:2], "sum"),
    "index_add": lambda lib, x, i: x.index_add(0, i, x[:2]),
    "index_copy": lambda lib, x, i: x.index_copy(0, i, x[:2]),
    "index_fill": lambda lib, x, i: x.index_fill(0, i, 2.0),
    "index_fill_": lambda lib, x, i: x.clone().index_fill_(0, i, 2.0),
    "index_reduce": lambda lib, x, i: x.index_reduce(0, i, x[:2], "prod"),
    "put": lambda lib, x, i: lib.put(x, i, x[:2]),
    "put_": lambda lib, x, i: x.clone().put_(i, x[:2]),
    "take_along_dim": lambda lib, x, i: lib.take_along_dim(x, i, 0),
    "x[i]": lambda lib, x, i: x[i],
    "x[i] = 1": lambda lib, x, i: x.__setitem__(i, 1.0),
    "index_put": lambda lib, x, i: x.index_put((i,), lib.tensor(3.0)),
    "embedding": lambda lib, x, i: lib.nn.functional.embedding(i, x[:, None]),
    "one_hot": lambda lib, x, i: lib.nn.functional.one_hot(i),
    "cross_entropy": lambda lib, x, i: lib.nn.functional.cross_entropy(x.expand(2, 3), i),
    "nll_loss": lambda lib, x, i: lib.nn.functional.nll_loss(x.expand(2, 3), i),
    "multi_margin_loss": lambda lib, x, i: lib.nn.functional.multi_margin_loss(x.expand(2, 3), i),
    "bincount": lambda lib, x, i: lib.bincount(i),
    "repeat_interleave": lambda lib, x, i: lib.repeat_interleave(x[:2], i),
    "unravel_index": lambda lib, x, i: lib.unravel_index(i, (2, 2)),
    "bucketize": lambda lib, x, i: lib.bucketize(i, lib.tensor([0, 1])),
    "searchsorted": lambda lib, x, i: lib.searchsorted(lib.tensor([0, 1]), i, sorter=i),
    "masked_select": lambda lib, x, i: lib.masked_select(x[:2], i),
    "masked_fill": lambda lib, x, i: x[:2].masked_fill(i, 1.0),
    "masked_scatter": lambda lib, x, i: x[:2].masked_scatter(i, x[:2]),
    "max_unpool1d": lambda lib, x, i: lib.nn.functional.max_unpool1d(x[None, :2], i[None], 2),
    "shift": lambda lib, x, i: i << 1,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CALLS)
def test_an_index_has_a_dtype_that_torch_takes(name: str, dtype: str) -> None:
    found = []
    for library in (ours, torch):
        index = library.tensor([1, 0]).to(getattr(library, dtype))
        try:
            y = CALLS[name](library, library.tensor([1.0, 2.0, 3.0]), index)
            found.append(None if y is None or isinstance(y, tuple) else y.tolist())
        except Exception as error:
            found.append(type(error))
    if isinstance(found[1], type):
        assert found[0] is found[1]
    elif found[1] is not None:
        np.testing.assert_allclose(found[0], found[1], rtol=1e-6)
