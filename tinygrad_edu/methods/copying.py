"""Deep copies of tensors that share memory: the copies share theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.kernels.memory_order import owner

if TYPE_CHECKING:
    from tinygrad_edu.engine.graph import Storage
    from tinygrad_edu.tensor import Tensor


def with_its_memory(t: Tensor, memo: dict[int, Any]) -> tuple[Array, Storage]:
    """The array of a deep copy of `t`, and its storage.

    The memory is copied as a whole, once for all tensors of one `copy.deepcopy`, as in torch.  What
    lies in foreign memory, or on a GPU, gets memory of its own.

    >>> import copy
    >>> import tinygrad_edu as torch
    >>> x = torch.zeros(3)
    >>> a, b = copy.deepcopy([x, x[1:]])
    >>> a[2] = 5.0
    >>> b
    tensor([0., 5.])
    """
    x, whole = t.array, owner(t.array if t.view_of is None else t.view_of.base.array)
    plain = isinstance(whole, np.ndarray) and whole.flags.owndata and whole.flags.forc
    if not plain or not x.size or not np.may_share_memory(x, whole):
        return x.copy(order="K"), wrap(x)._storage
    if id(whole) not in memo:
        memo[id(whole)] = whole.copy(order="K")
    offset = x.ctypes.data - whole.ctypes.data
    buffer = memo[id(whole)].reshape(-1, order="A").view(np.uint8)
    copied: Array = np.ndarray(x.shape, x.dtype, buffer, offset, x.strides)
    return copied, memo.setdefault(id(t._storage), wrap(x)._storage)
