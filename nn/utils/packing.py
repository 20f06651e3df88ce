"""Packed sequences: sequences of different lengths as rows ordered by time, without padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_edu.backend import device_of, to_device
from tinygrad_edu.dtypes import Array
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.ops.creation import full, tensor
from tinygrad_edu.ops.gathering import index_select
from tinygrad_edu.ops.joining import cat
from tinygrad_edu.tensor import Tensor


class _Fields(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None = None
    unsorted_indices: Tensor | None = None


class PackedSequence(_Fields):
    """Sequences as rows: the first elements of all, then the second ones of all that have two, ...

    Attributes:
        data: the rows, (sum of the lengths, ...).
        batch_sizes: how many sequences there are at each time; int64.
        sorted_indices, unsorted_indices: the order that sorts the sequences, longest first, and the
            one that undoes it; None if they came sorted.
    """

    def __new__(
        cls,
        data: Tensor,
        batch_sizes: Tensor,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The same with the rows in another dtype or on another device."""
        data = self.data.to(*args, **kwargs)
        orders = [
            None if order is None else order.to(data.device)
            for order in (self.sorted_indices, self.unsorted_indices)
        ]
        return PackedSequence(data, self.batch_sizes, *orders)

    @property
    def is_cuda(self) -> bool:
        """Whether the rows are on a GPU."""
        return bool(self.data.is_cuda)


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The order that undoes another.

    >>> import tinygrad_edu as torch
    >>> torch.nn.utils.rnn.invert_permutation(torch.tensor([2, 0, 1]))
    tensor([1, 2, 0])
    """
    return None if permutation is None else wrap(permutation.array.argsort())


def _lengths(lengths: Any) -> Array:
    values = lengths.tolist() if isinstance(lengths, Tensor) else list(lengths)
    return np.array([int(n) for n in values], np.int64)


def pack_padded_sequence(
    input: Tensor,
    lengths: Tensor | Sequence[int],
    batch_first: bool = False,
    enforce_sorted: bool = True,
) -> PackedSequence:
    """Take the padding out of padded sequences.

    Args:
        input: (L, N, ...), or (N, L, ...) if `batch_first`.
        lengths: N positive integers.
        enforce_sorted: insist on sequences sorted by length, longest first; False sorts them.

    Raises:
        RuntimeError: the lengths are not positive, not sorted, or not N.

    >>> import tinygrad_edu as torch
    >>> from tinygrad_edu.nn.utils.rnn import pack_padded_sequence
    >>> pack_padded_sequence(torch.tensor([[1, 2, 3], [4, 0, 0]]), [3, 1], batch_first=True).data
    tensor([1, 4, 2, 3])
    """
    long = _lengths(lengths)
    order = None
    if not enforce_sorted:
        order = np.argsort(-long, kind="stable")
        long = long[order]
        place = to_device(order, device_of(input.array))
        input = index_select(input, 0 if batch_first else 1, wrap(place))
    if batch_first:
        input = input.transpose(0, 1)
    time, n = input.shape[:2]
    if len(long) != n:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(long)}"
            f" (batch_size={n})"
        )
    if (long <= 0).any():
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that"
            " is <= 0"
        )
    if (np.diff(long) > 0).any():
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You"
            " can pass `enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to"
            " sidestep this requirement"
        )
    if long[0] > time:
        raise RuntimeError(f"Expected lengths of at most {time}, but got {long[0]}")
    sizes = (long[:, None] > np.arange(long[0])).sum(0)
    rows = np.concatenate([t * n + np.arange(size) for t, size in enumerate(sizes)])
    flat = input.reshape(time * n, *input.shape[2:])
    data = index_select(flat, 0, wrap(to_device(rows, device_of(flat.array))))
    sorted_by = None if order is None else wrap(to_device(order, device_of(flat.array)))
    return PackedSequence(data, wrap(sizes), sorted_by)


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Padded sequences and their lengths; undoes `pack_padded_sequence`.

    Args:
        batch_first: (N, L, ...) instead of (L, N, ...).
        padding_value: what shorter sequences are filled up with.
        total_length: the length L of the result; that of the longest sequence if None.

    Raises:
        ValueError: `total_length` is smaller than the longest sequence.

    >>> import tinygrad_edu as torch
    >>> from tinygrad_edu.nn.utils import rnn
    >>> packed = rnn.pack_sequence([torch.ones(2), torch.ones(1)])
    >>> rnn.pad_packed_sequence(packed)
    (tensor([[1., 1.],
            [1., 0.]]), tensor([2, 1]))
    """
    sizes = sequence.batch_sizes.array
    time = len(sizes)
    if total_length is not None:
        if total_length < time:
            raise ValueError(
                "Expected total_length to be at least the length of the longest sequence in input,"
                f" but got total_length={total_length} and max sequence length being {time}"
            )
        time = total_length
    data, n = sequence.data, int(sizes[0])
    rows = np.full((time, n), len(data), np.int64)  # the row of padding, put behind all others
    start = 0
    for t, size in enumerate(sizes):
        rows[t, :size] = start + np.arange(size)
        start += size
    padding = full((1, *data.shape[1:]), padding_value, dtype=data.dtype, device=data.device)
    place = wrap(to_device(rows.reshape(-1), device_of(data.array)))
    padded = index_select(cat([data, padding]), 0, place).reshape(time, n, *data.shape[1:])
    lengths = tensor((rows < len(data)).sum(0))
    if sequence.unsorted_indices is not None:
        padded = index_select(padded, 1, sequence.unsorted_indices)
        lengths = index_select(lengths, 0, sequence.unsorted_indices.cpu())
    return (padded.transpose(0, 1) if batch_first else padded), lengths


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Sequences of shape (L, ...), L may differ, packed.

    >>> import tinygrad_edu as torch
    >>> from tinygrad_edu.nn.utils.rnn import pack_sequence
    >>> packed = pack_sequence([torch.tensor([1, 2]), torch.tensor([3])])
    >>> packed.data, packed.batch_sizes
    (tensor([1, 3, 2]), tensor([2, 1]))
    """
    from tinygrad_edu.nn.utils.rnn import pad_sequence

    lengths = [len(s) for s in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences of a packed one."""
    from tinygrad_edu.nn.utils.rnn import unpad_sequence

    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
