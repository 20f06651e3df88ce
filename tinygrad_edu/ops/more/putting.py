"""Writing where index tensors point: index_put."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tinygrad_edu.engine.composed import composed
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.levels import refuse_captured
from tinygrad_edu.engine.versions import watched
from tinygrad_edu.ops.indexing import (
    _check_put,
    _index_put,
    _index_put_,
    _is_identity,
    _refuse_own_indices,
    parse,
)

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor

Indices: TypeAlias = "Sequence[Tensor | None]"


@composed(autocast={"cuda": "widest"})
def index_put(input: Tensor, indices: Indices, values: Tensor, accumulate: bool = False) -> Tensor:
    """A copy of `input` with `values` written (or added) where the index tensors point."""
    index = _checked_index(input, indices, values, accumulate)
    return watched(_index_put(input, index, values, accumulate), "index", indices)


def index_put_(input: Tensor, indices: Indices, values: Tensor, accumulate: bool = False) -> Tensor:
    """In-place `index_put`."""
    refuse_captured(input, "index_put_", (indices, values))
    index = _checked_index(input, indices, values, accumulate)
    own = tuple([e if isinstance(e, slice) else e.copy() for e in index])
    _refuse_own_indices(input, indices)
    return _index_put_(input, own, values, accumulate)


def _checked_index(
    input: Tensor, indices: Indices, values: Tensor, accumulate: bool
) -> tuple[Any, ...]:
    index = _all_advanced(input, indices)
    if isinstance(values, TensorBase):
        # what is added up must match, even where a mask is filled with one value
        _check_put(input.array, values.array, (np.empty(0, np.int64),) if accumulate else index)
    return index


def _all_advanced(x: Tensor, indices: Indices) -> tuple[Any, ...]:
    basic, advanced = parse(x.array, tuple([slice(None) if i is None else i for i in indices]))
    if advanced is None or not _is_identity(basic):
        advanced = tuple([np.array(i, like=x.array) if isinstance(i, int) else i for i in basic])
    return advanced
