"""Functions that torch has beneath `nn.functional`: some libraries call them by `torch.name`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_edu.autograd.grad_mode import no_grad
from tinygrad_edu.engine.boundary import need_tensors
from tinygrad_edu.engine.composed import of_tensors
from tinygrad_edu.nn.functional.linear import linear
from tinygrad_edu.nn.functional.more.bags import embedding_bag as bags_of
from tinygrad_edu.ops import recurrent
from tinygrad_edu.ops.arguments import numpy_names
from tinygrad_edu.ops.creation import from_numpy
from tinygrad_edu.ops.padding import pad
from tinygrad_edu.out import takes_out
from tinygrad_edu.tensor import Tensor


def is_inference(input: Tensor) -> bool:
    """Whether it was made under `inference_mode`."""
    return input.is_inference()


def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether the shapes are equal."""
    return input.is_same_size(other)


def index_put_(
    input: Tensor, indices: Sequence[Tensor | None], values: Tensor, accumulate: bool = False
) -> Tensor:
    """`input.index_put_`: write `values` where `indices` say, or add them if `accumulate`."""
    written: Tensor = input.index_put_(indices, values, accumulate)
    return written


@takes_out
@numpy_names
def narrow_copy(input: Tensor, dim: int, start: Any, length: int) -> Tensor:
    """`input.narrow` in memory of its own."""
    return input.narrow_copy(dim, start, length)


@of_tensors
def constant_pad_nd(input: Tensor, pad: Sequence[int], value: float = 0) -> Tensor:
    """`value` around `input`: two numbers per dimension, counted from the last.

    Raises:
        RuntimeError: an odd number of them, or too many.

    >>> import tinygrad_edu as torch
    >>> torch.constant_pad_nd(torch.ones(2), (1, 0), 5.0)
    tensor([5., 1., 1.])
    """
    need_tensors("constant_pad_nd", input=input)
    if len(pad) % 2:
        raise RuntimeError(f"Length of pad must be even but instead it equals {len(pad)}")
    if len(pad) > 2 * input.ndim:
        raise RuntimeError(
            "Length of pad should be no more than twice the number of dimensions of the input. Pad"
            f" length is {len(pad)}while the input has {input.ndim}dimensions."
        )
    return _pad(input, pad, "constant", value)


_pad = pad  # where an argument has that name

# One step of a recurrent layer --------------------------------------------------------------------


@of_tensors
def lstm_cell(
    input: Tensor, hx: Sequence[Tensor], w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """One step of an LSTM: what `nn.LSTMCell` computes.

    Args:
        input: (N, input_size).
        hx: hidden state and cell, (N, hidden_size) each.
        w_ih, w_hh: (4 hidden_size, input_size) and (4 hidden_size, hidden_size).
        b_ih, b_hh: (4 hidden_size,) or None.

    Raises:
        RuntimeError: sizes do not fit, or there are not two states.

    >>> import tinygrad_edu as torch
    >>> state, w, v = (torch.zeros(3, 5),) * 2, torch.ones(20, 2), torch.ones(20, 5)
    >>> torch.lstm_cell(torch.ones(3, 2), state, w, v)[0].shape
    torch.Size([3, 5])
    """
    if len(hx) != 2:
        raise RuntimeError("lstm_cell expects two hidden states")
    _need("lstm_cell", input, hx[0], w_ih, w_hh, b_ih, b_hh)
    gx = _checked(input, hx, w_ih, w_hh, b_ih)
    made: Any = recurrent.lstm(gx, hx[0], hx[1], w_hh, b_hh, (len(input),), False)
    return made[1], made[2]


@of_tensors
def gru_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """One step of a GRU: what `nn.GRUCell` computes; weights have 3 hidden_size rows."""
    _need("gru_cell", input, hx, w_ih, w_hh, b_ih, b_hh)
    gx = _checked(input, (hx,), w_ih, w_hh, b_ih)
    h: Tensor = recurrent.gru(gx, hx, w_hh, b_hh, (len(input),), False)[1]
    return h


@of_tensors
def rnn_tanh_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """One step of an RNN: `tanh(input w_ih' + b_ih + hx w_hh' + b_hh)`."""
    return _simple(input, hx, w_ih, w_hh, b_ih, b_hh, False)


@of_tensors
def rnn_relu_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """As `rnn_tanh_cell`, with relu."""
    return _simple(input, hx, w_ih, w_hh, b_ih, b_hh, True)


def _simple(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None,
    b_hh: Tensor | None, relu: bool,
) -> Tensor:  # fmt: skip
    _need("rnn_relu_cell" if relu else "rnn_tanh_cell", input, hx, w_ih, w_hh, b_ih, b_hh)
    gx = _checked(input, (hx,), w_ih, w_hh, b_ih)
    h: Tensor = recurrent.rnn(gx, hx, w_hh, b_hh, relu, (len(input),), False)[1]
    return h


def _need(name: str, *given: Tensor | None) -> None:
    names = ("input", "hx", "w_ih", "w_hh", "b_ih", "b_hh")
    need_tensors(name, **{n: t for n, t in zip(names, given, strict=True) if t is not None})


def _checked(
    input: Tensor, hx: Sequence[Tensor], w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None
) -> Tensor:
    """What the input contributes to the gates, if all sizes fit."""
    if input.ndim != 2:
        raise IndexError(
            "Dimension out of range (expected to be in range of [-1, 0], but got 1): a cell takes"
            f" (N, input_size), got {list(input.shape)}"
        )
    if input.shape[1] != w_ih.shape[1]:
        raise RuntimeError(
            f"input has inconsistent input_size: got {input.shape[1]} expected {w_ih.shape[1]}"
        )
    for state in hx:
        if state.shape[0] != input.shape[0]:
            raise RuntimeError(
                f"Input batch size {input.shape[0]} doesn't match hidden0 batch size"
                f" {state.shape[0]}"
            )
        if state.shape[1] != w_hh.shape[1]:
            raise RuntimeError(
                f"hidden0 has inconsistent hidden_size: got {state.shape[1]}, expected"
                f" {w_hh.shape[1]}"
            )
    return linear(input, w_ih, b_ih)


# Bags ---------------------------------------------------------------------------------------------


def embedding_bag(
    weight: Tensor, indices: Tensor, offsets: Tensor, scale_grad_by_freq: bool = False,
    mode: int = 0, sparse: bool = False, per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False, padding_idx: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """`nn.functional.embedding_bag`, with what torch's own backward pass needs.

    Args:
        weight: the table, (V, D).
        indices: of all bags one after the other, (N,).
        offsets: where each bag begins, (B,).
        mode: 0 for the sum, 1 for the mean, 2 for the largest elements.
        scale_grad_by_freq, sparse, per_sample_weights, include_last_offset, padding_idx: as there.

    Returns:
        The result (B, D); the bag of each index (empty for a plain sum); how many rows were
        averaged in each bag (zeros for a sum); and for `mode=2` the row of every largest element,
        else the third once more.

    >>> import tinygrad_edu as torch
    >>> table = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    >>> y, bag, size, _ = torch.embedding_bag(
    ...     table, torch.tensor([0, 1, 2]), torch.tensor([0, 1]), mode=1)
    >>> y.tolist(), bag.tolist(), size.tolist()
    ([[1.0, 2.0], [4.0, 5.0]], [0, 1, 1], [1, 2])
    """
    if mode not in (0, 1, 2):
        raise RuntimeError(f"embedding_bag: mode should be 0, 1 or 2, got {mode}")
    y = bags_of(
        indices, weight, offsets, scale_grad_by_freq=scale_grad_by_freq,
        mode=("sum", "mean", "max")[mode], sparse=sparse, per_sample_weights=per_sample_weights,
        include_last_offset=include_last_offset, padding_idx=padding_idx,
    )  # fmt: skip
    plain = mode == 0 and per_sample_weights is None and padding_idx is None
    with no_grad():
        return y, *_bookkeeping(
            weight, indices, offsets, mode, plain, include_last_offset, padding_idx
        )


def _bookkeeping(
    weight: Tensor, indices: Tensor, offsets: Tensor, mode: int, plain: bool, last: bool,
    padding_idx: int | None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The bag of each index, how many count in each bag, and the rows of the largest elements."""
    index, starts = indices.cpu().array, offsets.cpu().array
    ends = np.concatenate([starts[1:], np.array([len(index)], starts.dtype)])
    if last:
        starts, ends = starts[:-1], ends[:-1]
    bag = np.repeat(np.arange(len(starts)), ends - starts)
    size = np.zeros(len(offsets.array), np.int64)
    kept = np.ones(len(index), bool) if padding_idx is None else index != padding_idx
    if mode:
        size[: len(starts)] = np.bincount(bag[kept], minlength=len(starts))
    rows = size.copy()
    if mode == 2:
        rows, table = np.zeros((len(size), weight.shape[1]), np.int64), weight.cpu().array
        for i, (first, end) in enumerate(zip(starts, ends, strict=True)):
            chosen = index[first:end][kept[first:end]]
            if len(chosen):
                rows[i] = chosen[table[chosen].argmax(0)]
    found = (bag[:0] if plain else bag, size, rows)
    a, b, c = [from_numpy(part).to(weight.device) for part in found]
    return a, b, c
