"""Recurrent layers: one direction of one layer over time, for RNN, LSTM and GRU.

Each stands here twice: as a fast operation, whose way back through time is in kernels/recurrent.py,
and as its definition, a loop over the steps, which is what a reader reads and what
`create_graph=True` differentiates.  How sequences lie in the rows is told there, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tinygrad_edu.dtypes import Array
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.kernels import recurrent as kernel
from tinygrad_edu.kernels.recurrent import Sizes
from tinygrad_edu.ops.joining import cat

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


State = tuple[Any, ...]


def _over_time(
    gx: Any, state: State, sizes: Sizes, reverse: bool, step: Callable[..., State]
) -> tuple[Any, ...]:
    """All states `step(gx_t, *state)` gives, in the order of the rows, and the last ones."""
    found = []
    for rows in kernel.steps(sizes, reverse):
        n = rows.stop - rows.start
        new = step(gx[rows], *[s[:n] for s in state])
        found.append(new[0])
        rest = [s[n:] for s in state]
        state = tuple([cat([a, b]) if len(b) else a for a, b in zip(new, rest, strict=True)])
    return (cat(found[::-1] if reverse else found), *state)


def _tensors(*values: object) -> list[Any]:
    return [v if v is None or isinstance(v, TensorBase) else wrap(v) for v in values]


def _product(h: Any, w: Any, b: Any) -> Any:
    return h @ w.T if b is None else h @ w.T + b


# RNN ----------------------------------------------------------------------------------------------


@primitive(saves=("states", "before"), multiple=True, autocast="lower")
def rnn(
    gx: Array, h0: Array, w: Array, b: Array | None, relu: bool, sizes: Sizes, reverse: bool
) -> Any:
    """`h = tanh(gx + W h + b)`, or relu: all states, and the last ones."""
    y, h, before = kernel.rnn_forward(gx, h0, w, b, relu, sizes, reverse)
    return (y, h), y.copy(), before  # the states may be written, as in torch


@rnn.vjp_joint("gx", "h0", "w", "b")
def _(
    g: Tensor, live: object, w: Array, states: Array, before: Array, relu: bool, sizes: Sizes,
    reverse: bool,
) -> Any:  # fmt: skip
    return kernel.rnn_backward(g, w, states, before, relu, sizes, reverse, live)


@rnn.defined_as
def _rnn(gx: Any, h0: Any, w: object, b: Tensor, relu: bool, sizes: Sizes, reverse: bool) -> Any:
    gx, h0, w, b = _tensors(gx, h0, w, b)

    def step(x: Tensor, h: Tensor | float) -> State:
        a = x + _product(h, w, b)
        return (a.relu() if relu else a.tanh(),)

    return _over_time(gx, (h0,), sizes, reverse, step)


# LSTM ---------------------------------------------------------------------------------------------


@primitive(
    saves=("gates", "before", "cells", "squashed"),
    multiple=True,
    autocast={"cpu": "as_state", "cuda": "lower"},
)
def lstm(
    gx: Array, h0: Array, c0: Array, w: Array, b: Array | None, sizes: Sizes, reverse: bool
) -> Any:
    """All states, the last ones, and the last cells.

    i, f, o = sigmoid, g = tanh of the four parts of gx + W h + b;  c = f c + i g;  h = o tanh(c).

    Source: Hochreiter and Schmidhuber, "Long short-term memory", 1997; Gers et al., "Learning to
    forget", 2000.
    """
    return kernel.lstm_forward(gx, h0, c0, w, b, sizes, reverse)


@lstm.vjp_joint("gx", "h0", "c0", "w", "b")
def _(
    g: Tensor, live: object, w: Array, gates: Array, before: Array, cells: Array, squashed: Array,
    sizes: Sizes, reverse: bool,
) -> Any:  # fmt: skip
    return kernel.lstm_backward(g, w, (gates, before, cells, squashed), sizes, reverse, live)


@lstm.defined_as
def _lstm(
    gx: object, h0: object, c0: object, w: object, b: Tensor, sizes: Sizes, reverse: bool
) -> Any:
    return projected_lstm(gx, h0, c0, w, b, None, sizes, reverse)


lstm_layer = lstm.called("MkldnnRnnLayer(gx.x, gx.weight, w, gx.bias, b, h0, c0)")
"""`lstm` of the rows that `linear` gives, which is one step of torch's."""


def projected_lstm(
    gx: Any, h0: Any, c0: Any, w: object, b: Tensor, w_hr: Any, sizes: Sizes, reverse: bool
) -> Any:
    """An LSTM step by step, its states multiplied by the matrix `w_hr` unless that is None.

    Source: Sak et al., "Long short-term memory based recurrent neural network architectures", 2014.
    """
    gx, h0, c0, w, b = _tensors(gx, h0, c0, w, b)

    def step(x: Tensor, h: Tensor | float, c: Any) -> State:
        i, f, g, o = (x + _product(h, w, b)).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        return (h if w_hr is None else h @ w_hr.T, c)

    return _over_time(gx, (h0, c0), sizes, reverse, step)


# GRU ----------------------------------------------------------------------------------------------


@primitive(
    saves=("gates", "before", "mixed"), multiple=True, autocast={"cpu": "as_state", "cuda": "lower"}
)
def gru(gx: Array, h0: Array, w: Array, b: Array | None, sizes: Sizes, reverse: bool) -> Any:
    """All states, and the last ones.

    With gx and m = W h + b in three parts each: r, z = sigmoid(gx + m), n = tanh(gx + r m) and
    h = (1 - z) n + z h.

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014.
    """
    return kernel.gru_forward(gx, h0, w, b, sizes, reverse)


@gru.vjp_joint("gx", "h0", "w", "b")
def _(
    g: Tensor, live: object, w: Array, gates: Array, before: Array, mixed: Array, sizes: Sizes,
    reverse: bool,
) -> Any:  # fmt: skip
    return kernel.gru_backward(g, w, (gates, before, mixed), sizes, reverse, live)


@gru.defined_as
def _gru(gx: Any, h0: Any, w: object, b: Tensor, sizes: Sizes, reverse: bool) -> Any:
    gx, h0, w, b = _tensors(gx, h0, w, b)

    def step(x: Tensor, h: Tensor | float) -> State:
        (xr, xz, xn), (mr, mz, mn) = x.chunk(3, 1), _product(h, w, b).chunk(3, 1)
        r, z = (xr + mr).sigmoid(), (xz + mz).sigmoid()
        n = (xn + r * mn).tanh()
        return ((1 - z) * n + z * h,)

    return _over_time(gx, (h0,), sizes, reverse, step)
