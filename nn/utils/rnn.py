"""Sequences of different lengths in one tensor."""

from __future__ import annotations

from collections.abc import Iterable

from tinygrad_edu.nn.utils.packing import (
    PackedSequence,
    invert_permutation,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
    unpack_sequence,
)
from tinygrad_edu.ops.creation import full
from tinygrad_edu.ops.joining import cat, stack
from tinygrad_edu.tensor import Tensor

__all__ = [
    "PackedSequence", "invert_permutation", "pack_padded_sequence", "pack_sequence",
    "pad_packed_sequence", "pad_sequence", "unpack_sequence", "unpad_sequence",
]  # fmt: skip


def pad_sequence(
    sequences: Iterable[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Stack sequences after padding them to the length of the longest.

    Args:
        sequences: N tensors of shape (L, ...); L may differ.
        batch_first: the result has shape (N, L, ...) instead of (L, N, ...).
        padding_value: what shorter sequences are filled up with.
        padding_side: "right" or "left".

    Raises:
        RuntimeError: `sequences` is empty or not iterable, or `padding_side` is unknown.

    >>> import tinygrad_edu as torch
    >>> from tinygrad_edu.nn.utils.rnn import pad_sequence
    >>> pad_sequence([torch.ones(1), torch.ones(3)], batch_first=True)
    tensor([[1., 0., 0.],
            [1., 1., 1.]])
    """
    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            "pad_sequence: Expected iterable for input sequences, but got arg of type:"
            f" {type(sequences)}"
        )
    parts = list(sequences)
    if not parts:
        raise RuntimeError("received an empty list of sequences")
    if padding_side not in ("left", "right"):
        raise RuntimeError(
            f"Expected padding_side to be one of left or right, but got {padding_side}"
        )
    longest = max([len(part) for part in parts])
    padded = []
    for part in parts:
        if part.shape[1:] != parts[0].shape[1:]:
            raise RuntimeError(
                "pad_sequence: all sequences must have the same trailing dimensions, got"
                f" {list(parts[0].shape)} and {list(part.shape)}"
            )
        missing = longest - len(part)
        if missing:
            shape = (missing, *part.shape[1:])
            padding = full(shape, padding_value, dtype=part.dtype, device=part.device)
            part = cat([part, padding] if padding_side == "right" else [padding, part])
        padded.append(part)
    return stack(padded, 0 if batch_first else 1)


def unpad_sequence(
    padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False
) -> list[Tensor]:
    """Cut padded sequences to their lengths; undoes `pad_sequence`.

    Args:
        padded_sequences: shape (L, N, ...), or (N, L, ...) if `batch_first`.
        lengths: N integers.

    >>> import tinygrad_edu as torch
    >>> from tinygrad_edu.nn.utils.rnn import unpad_sequence
    >>> unpad_sequence(torch.ones(3, 2), torch.tensor([1, 3]))
    [tensor([1.]), tensor([1., 1., 1.])]
    """
    if not batch_first:
        padded_sequences = padded_sequences.transpose(0, 1)
    return [row[: int(length)] for row, length in zip(padded_sequences, lengths, strict=True)]
