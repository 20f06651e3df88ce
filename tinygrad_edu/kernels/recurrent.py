"""Recurrent layers over time, forward and back, on plain arrays.

All sequences of a batch lie in one matrix of rows, ordered by time: first the first elements of all
sequences, then the second ones, and so on.  `sizes[t]` says how many sequences are longer than t;
sequences are sorted, longest first.  A step works on the first `sizes[t]` rows of the state; the
others have ended (or, backwards in time, not begun) and keep what they have.

The products with the input are done for all times at once, outside; those with the state, step by
step; the gradient of the weight, again, in one product over all times.
The definitions that these compute faster stand in ops/recurrent.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.kernels.cuda import products
from tinygrad_edu.kernels.gate import gate

Sizes = tuple[int, ...]


def steps(sizes: Sizes, reverse: bool) -> list[slice]:
    """The rows of each step, in the order of computing."""
    found, start = [], 0
    for size in sizes:
        found.append(slice(start, start + size))
        start += size
    return found[::-1] if reverse else found


def _start(gx: Array, bias: Array | None) -> Array:
    return gx.copy() if bias is None else gx + bias


def _add(total: Array | None, more: Array | None) -> Array:
    return more if total is None else total if more is None else total + more


def _weight_gradients(ga: Array, before: Array, live: Any) -> tuple[Array | None, Array | None]:
    """The gradients of the weight and the bias, given that of the rows `before @ weight.T`."""
    return (products.matmul(ga.T, before) if live[0] else None, ga.sum(0) if live[1] else None)


# h = tanh(gx + W h), or relu ----------------------------------------------------------------------


def rnn_forward(
    gx: Array, h0: Array, w: Array, b: Array | None, relu: bool, sizes: Sizes, reverse: bool
) -> tuple[Array, Array, Array]:
    """The states of all rows, the last states, and the states before each row."""
    y, h, turned = _start(gx, b), h0.copy(), w.T.copy()
    before = np.empty_like(y)
    for rows in steps(sizes, reverse):
        state, a = h[: rows.stop - rows.start], y[rows]
        before[rows] = state
        a += products.matmul(state, turned)
        if relu:
            np.maximum(a, 0, out=a)
        else:
            np.tanh(a, out=a)
        state[...] = a
    return y, h, before


def rnn_backward(
    g: Any, w: Array, y: Array, before: Array, relu: bool, sizes: Sizes, reverse: bool, live: Any
) -> Any:
    """The gradients of gx, h0, w, b."""
    gy, gh = g
    h = np.zeros_like(y, shape=(sizes[0], y.shape[1])) if gh is None else gh.copy()
    ga = np.empty_like(y) if relu else 1 - y * y
    for rows in reversed(steps(sizes, reverse)):
        state, a = h[: rows.stop - rows.start], ga[rows]
        if gy is not None:
            state += gy[rows]
        if relu:
            a[...] = gate(state, ~(y[rows] <= 0))
        else:
            a *= state
        products.matmul(a, w, out=state)
    return (ga, h, *_weight_gradients(ga, before, live[2:]))


# LSTM ---------------------------------------------------------------------------------------------


def lstm_forward(
    gx: Array, h0: Array, c0: Array, w: Array, b: Array | None, sizes: Sizes, reverse: bool
) -> Any:
    """(states, last states, last cells), and what the way back needs.

    The gates are i, f, g, o.  sigmoid(a) = tanh(a / 2) / 2 + 1/2, so one tanh serves all four.
    """
    size = h0.shape[1]
    half = np.full_like(gx, 0.5, shape=(4 * size,))
    half[2 * size : 3 * size] = 1
    gates = _start(gx, b)
    gates *= half
    turned = w.T.copy() * half
    y = np.empty_like(gx, shape=(len(gx), size))
    before, cells, squashed = np.empty_like(y), np.empty_like(y), np.empty_like(y)
    h, c = h0.copy(), c0.copy()
    for rows in steps(sizes, reverse):
        n = rows.stop - rows.start
        state, cell, a = h[:n], c[:n], gates[rows]
        before[rows], cells[rows] = state, cell
        a += products.matmul(state, turned)
        np.tanh(a, out=a)
        a *= half
        a += 1 - half
        i, f, g, o = (a[:, k * size : (k + 1) * size] for k in range(4))
        cell *= f
        cell += i * g
        np.tanh(cell, out=squashed[rows])
        np.multiply(o, squashed[rows], out=state)
        y[rows] = state
    return (y, h, c), gates, before, cells, squashed


def lstm_backward(
    g: Any, w: Array, kept: Any, sizes: Sizes, reverse: bool, live: Any
) -> Any:  # fmt: skip
    """The gradients of gx, h0, c0, w, b."""
    gy, gh, gc = g
    gates, before, cells, squashed = kept
    size = before.shape[1]
    h = np.zeros_like(gates, shape=(sizes[0], size)) if gh is None else gh.copy()
    c = np.zeros_like(h) if gc is None else gc.copy()
    ga = gates - gates * gates  # of the sigmoids; of the tanh:
    i, f, g_, o = (gates[:, k * size : (k + 1) * size] for k in range(4))
    ga[:, 2 * size : 3 * size] = 1 - g_ * g_
    ga[:, :size] *= g_
    ga[:, size : 2 * size] *= cells
    ga[:, 2 * size : 3 * size] *= i
    ga[:, 3 * size :] *= squashed
    through = o * (1 - squashed * squashed)  # from the state into the cell
    for rows in reversed(steps(sizes, reverse)):
        n = rows.stop - rows.start
        state, cell, a = h[:n], c[:n], ga[rows]
        if gy is not None:
            state += gy[rows]
        cell += state * through[rows]
        a[:, 3 * size :] *= state
        a[:, : 3 * size].reshape(n, 3, size)[...] *= cell[:, None]
        cell *= f[rows]
        products.matmul(a, w, out=state)
    return (ga, h, c, *_weight_gradients(ga, before, live[3:]))


# GRU ----------------------------------------------------------------------------------------------


def gru_forward(
    gx: Array, h0: Array, w: Array, b: Array | None, sizes: Sizes, reverse: bool
) -> Any:
    """(states, last states), and what the way back needs.  The gates are r, z, n."""
    size = h0.shape[1]
    gates, turned = gx.copy(), w.T.copy()
    y = np.empty_like(gx, shape=(len(gx), size))
    before, mixed = np.empty_like(y), np.empty_like(y)
    h = h0.copy()
    for rows in steps(sizes, reverse):
        state, a = h[: rows.stop - rows.start], gates[rows]
        before[rows] = state
        m = products.matmul(state, turned)
        if b is not None:
            m += b
        rz, n = a[:, : 2 * size], a[:, 2 * size :]
        rz += m[:, : 2 * size]
        rz *= 0.5
        np.tanh(rz, out=rz)
        rz *= 0.5
        rz += 0.5
        mixed[rows] = m[:, 2 * size :]
        n += rz[:, :size] * mixed[rows]
        np.tanh(n, out=n)
        state -= n
        state *= rz[:, size:]
        state += n
        y[rows] = state
    return (y, h), gates, before, mixed


def gru_backward(
    g: Any, w: Array, kept: Any, sizes: Sizes, reverse: bool, live: Any
) -> Any:  # fmt: skip
    """The gradients of gx, h0, w, b."""
    gy, gh = g
    gates, before, mixed = kept
    size = before.shape[1]
    r, z, n = (gates[:, k * size : (k + 1) * size] for k in range(3))
    h = np.zeros_like(gates, shape=(sizes[0], size)) if gh is None else gh.copy()
    ga = np.empty_like(gates)
    np.multiply((1 - z) * (1 - n * n), 1, out=ga[:, 2 * size :])
    np.multiply((before - n) * z, 1 - z, out=ga[:, size : 2 * size])
    np.multiply(ga[:, 2 * size :] * mixed * r, 1 - r, out=ga[:, :size])
    gm = ga.copy()
    gm[:, 2 * size :] *= r
    for rows in reversed(steps(sizes, reverse)):
        count = rows.stop - rows.start
        state, m = h[:count], gm[rows]
        if gy is not None:
            state += gy[rows]
        for part in (m, ga[rows]):
            part.reshape(count, 3, size)[...] *= state[:, None]
        state *= z[rows]
        state += products.matmul(m, w)
    return (ga, h, *_weight_gradients(gm, before, live[2:]))
