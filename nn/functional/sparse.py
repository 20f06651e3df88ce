"""Embedding and one-hot vectors."""

from __future__ import annotations

from tinygrad_edu.engine.composed import of_tensors
from tinygrad_edu.ops import embedding as ops
from tinygrad_edu.tensor import Tensor

one_hot = ops.one_hot


def read_padding_idx(padding_idx: int | None, num_embeddings: int) -> int | None:
    """The index counted from the front; AssertionError if it is out of range."""
    if padding_idx is None:
        return None
    if not -num_embeddings <= padding_idx < num_embeddings:
        raise AssertionError("Padding_idx must be within num_embeddings")
    return padding_idx % num_embeddings


def refuse_sparse(sparse: bool) -> None:
    """Gradients of embeddings are always dense here."""
    if sparse:
        raise NotImplementedError(
            "sparse=True is not supported: there are no sparse tensors here; leave it out, and the"
            " gradient of the embedding is an ordinary tensor"
        )


@of_tensors
def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """The rows of a table that `input` names: `weight[input]`.

    Args:
        input: row numbers, int64 or int32, any shape (*).
        weight: the table, shape (V, D); the result has shape (*, D).
        padding_idx: a row that gets no gradient.
        max_norm: shrink the rows used, in place, to at most this length.
        norm_type: the p of that length.
        scale_grad_by_freq: divide each row's gradient by how often it was used.

    Raises:
        IndexError: a number outside [0, V).
        RuntimeError: another dtype of `input`, or a table of other than 2 dimensions.

    Unlike torch, `sparse=True` is refused.

    >>> import tinygrad_edu as torch
    >>> table = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> torch.nn.functional.embedding(torch.tensor([1, 0, 1]), table)
    tensor([[3., 4.],
            [1., 2.],
            [3., 4.]])
    """
    refuse_sparse(sparse)
    if weight.ndim != 2:
        raise RuntimeError("'weight' must be 2-D")
    padding_idx = read_padding_idx(padding_idx, len(weight.array))
    if max_norm is not None:
        ops.renormalize_rows(weight, input, max_norm, norm_type)
    return ops.embedding(input, weight, padding_idx, scale_grad_by_freq)
