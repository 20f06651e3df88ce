"""Connectionist temporal classification: how likely a network's outputs spell a target.

A path names a class at every time.  It spells the target if, repeated classes being merged and then
blanks dropped, the target is left.  The loss is minus the log of the probability of all such paths.
The states of a path are the target's labels with a blank between, before and behind them:
`states[n] = blank, l1, blank, l2, ..., blank`; a path stays, goes on by one, or by two over a blank
between different labels.  `alpha[t, n, s]` is the log-probability of all ways to be in state s at
time t; `beta[t, n, s]` that of all ways from there to the end, time t included in both.

Source: Graves et al., "Connectionist Temporal Classification", 2006, section 4.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import numpy as np

from tinygrad_edu.dtypes import Array
from tinygrad_edu.engine.primitive import primitive

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


_NEVER = -np.inf


def _skips(states: Array) -> Array:
    """Where a path may come from two states before: a label other than the one before it."""
    skips = np.zeros_like(states, dtype=bool)
    skips[:, 3::2] = states[:, 3::2] != states[:, 1:-2:2]
    return skips


def _scores(log_probs: Array, states: Array) -> Array:
    """The log-probability of each state's class at each time: (T, N, C) -> (T, N, S)."""
    return log_probs[:, np.arange(len(states), like=states)[:, None], states]


def _shift(a: Array, by: int) -> Array:
    """The states moved by so many places, -inf coming in."""
    moved = np.full_like(a, _NEVER)
    if by > 0:
        moved[:, by:] = a[:, :-by]
    else:
        moved[:, :by] = a[:, -by:]
    return moved


def _last_states(ends: Array, count: int) -> Array:
    """Which states a path may end in, (N, S): its last label or the blank behind."""
    place = np.arange(count, like=ends)
    last = 2 * ends[:, None]
    return (place == last) | (place == last - 1)


def _log_sum(a: Array, chosen: Array) -> Array:
    """The log of the sum of the chosen probabilities in each row."""
    a = np.where(chosen, a, _NEVER)
    top = a.max(1)
    top = np.where(np.isfinite(top), top, 0.0).astype(a.dtype)
    return np.log(np.exp(a - top[:, None]).sum(1)) + top


@primitive(saves=("raw", "alpha"), node="CtcLoss")
def ctc(
    log_probs: Array, states: Array, times: Array, ends: Array, zero_infinity: bool
) -> tuple[Array, Array, Array]:
    """Minus the log-probability of each target, (N,).

    Args:
        log_probs: of the classes, (T, N, C).
        states: labels with blanks between them, (N, S); behind a target's end, anything.
        times: how many times of each row count, (N,).
        ends: how many labels each target has, (N,).
        zero_infinity: targets that cannot be spelt in time have loss 0 and no gradient.
    """
    scores = _scores(log_probs, states)
    steps, n, count = scores.shape
    skips = _skips(states)
    alpha = np.full_like(scores, _NEVER)
    alpha[:1, :, 0] = scores[:1, :, 0]
    if count > 1:
        alpha[:1, :, 1] = scores[:1, :, 1]
    for t in range(1, steps):
        a = alpha[t - 1]
        over = np.where(skips, _shift(a, 2), _NEVER)
        alpha[t] = np.logaddexp(np.logaddexp(a, _shift(a, 1)), over) + scores[t]
    rows = np.arange(n, like=states)
    losses = -_log_sum(alpha[np.maximum(times - 1, 0), rows], _last_states(ends, count))
    # no time at all spells the empty target, and no other
    raw = np.where(times > 0, losses, np.where(ends > 0, np.inf, -0.0)).astype(losses.dtype)
    losses = np.where(raw == np.inf, 0.0, raw).astype(raw.dtype) if zero_infinity else raw
    return losses, raw, alpha


@primitive
def _ctc_gradient(
    g: Array,
    log_probs: Array,
    raw: Array,
    states: Array,
    times: Array,
    ends: Array,
    zero_infinity: bool,
    alpha: Array,
) -> Array:
    """`probability - (share of the paths through a class)`, for each time, row and class.

    The first term is no derivative by `log_probs`: torch adds it for log-probabilities that come
    from `log_softmax`, through whose own derivative it adds nothing.
    """
    scores = _scores(log_probs, states)
    steps, n, count = scores.shape
    skips = np.concatenate([_skips(states), np.zeros_like(states, bool, shape=(n, 2))], 1)[:, 2:]
    final = _last_states(ends, count)
    beta = np.full_like(scores[0], _NEVER)
    gradient = np.exp(log_probs)
    classes = np.arange(log_probs.shape[2], like=states)
    one_hot = (states[:, :, None] == classes).astype(scores.dtype)
    for t in range(steps - 1, -1, -1):
        over = np.where(skips, _shift(beta, -2), _NEVER)
        beta = np.logaddexp(np.logaddexp(beta, _shift(beta, -1)), over)
        here = np.where(final, 0.0, _NEVER).astype(beta.dtype)
        begun, ending = (t < times)[:, None], (t == times - 1)[:, None]
        beta = np.where(ending, here, np.where(begun, beta, _NEVER)) + scores[t]
        paths = alpha[t] + beta
        share = np.exp(paths + raw[:, None] - scores[t])
        share = np.where(paths == _NEVER, 0.0, share).astype(share.dtype)
        gradient[t] -= np.matmul(share[:, None, :], one_hot)[:, 0]
        gradient[t] *= g[:, None]
        gradient[t] = np.where(begun, gradient[t], 0.0)
        nowhere = begun & (raw == np.inf)[:, None]
        gradient[t] = np.where(nowhere, 0.0 if zero_infinity else np.nan, gradient[t])
    return gradient


def _refuse(g: Tensor) -> NoReturn:
    raise RuntimeError("derivative for aten::_ctc_loss_backward is not implemented")


_ctc_gradient.vjp(g=_refuse, log_probs=_refuse)
ctc.vjp(
    log_probs=lambda g, log_probs, raw, states, times, ends, zero_infinity, alpha: _ctc_gradient(
        g, log_probs, raw, states, times, ends, zero_infinity, alpha
    )
)
