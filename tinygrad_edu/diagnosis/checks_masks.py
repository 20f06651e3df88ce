"""Checks of the masks of attention."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_edu.diagnosis.findings import Found, check
from tinygrad_edu.diagnosis.history import History
from tinygrad_edu.engine.graph import Variable

HIDDEN = -1e4


def _is_inverted(hidden: Any) -> bool:
    """Whether a square mask hides the past and shows the future."""
    n = hidden.shape[-1] if hidden.ndim >= 2 else 0
    if n < 3 or hidden.shape[-2] != n:
        return False
    below, above = np.tril(np.ones((n, n), bool), -1), np.triu(np.ones((n, n), bool), 1)
    return bool(hidden[..., below].all() and not hidden[..., above].any())


def _shows_future(hidden: Any) -> bool:
    n = hidden.shape[-1]
    return not bool(hidden[..., np.triu(np.ones((n, n), bool), 1)].all())


@check("mask-inverted", "error", "op attention")
def mask_inverted(seen: History, event: Any) -> Any:
    """The mask hides {what}.

    Why: True means hidden for masked_fill and nn.MultiheadAttention, visible for
    scaled_dot_product_attention. Here {hidden} of {all} places are hidden, the wrong ones.

    Cure: ~mask
    """
    found = _mask(seen, event)
    if found is None:
        return
    hidden, facts, shown = found
    what = None
    wrong = "eq" if shown else "ne"
    if hidden.ndim >= 2 and _is_inverted(hidden):
        what = "what came before, and shows what comes after"
    elif facts is not None and facts.kind == wrong and hidden.size and not _is_square(hidden):
        what = "the words, and shows the padding"
    if what is not None:
        seen.notes["inverted"] = seen.notes["nan data"] = True
        yield Found(
            event.place, facts.place if facts is not None else None,
            what=what, hidden=int(hidden.sum()), all=hidden.size,
        )  # fmt: skip


def _is_square(hidden: Any) -> bool:
    return hidden.ndim == 2 and hidden.shape[0] == hidden.shape[1]


def _mask(seen: History, event: Any) -> Any:
    """What is hidden, what is known of the mask, and whether True in it means visible."""
    if hasattr(event, "is_causal"):
        mask = event.attn_mask
        if not isinstance(mask, Variable):
            return None
        as_bool = mask.array.dtype == bool
        hidden = ~mask.array if as_bool else mask.array <= HIDDEN
        return hidden, seen.of(mask) if as_bool else None, True
    if event.name == "masked_fill":
        mask, value = event.args[1], event.args[2]
        number = value.array if isinstance(value, Variable) else value
        if np.size(number) != 1 or float(number) > HIDDEN or event.y.array.dtype.kind != "f":
            return None
        return mask.array, seen.of(mask), False
    if event.name == "softmax" and event.inputs:
        x = event.inputs[0].array
        if (
            x.ndim >= 2
            and x.shape[-1] == x.shape[-2] >= 3
            and seen.looks_left(("inverted", event.place), 6)
        ):
            return x <= HIDDEN, None, False
    return None


@check("mask-hides-all", "error", "op attention")
def mask_hides_all(seen: History, event: Any) -> Any:
    """{rows} of {all} queries see no key: the mask hides all of them.

    Why: softmax of scores that are all -inf is NaN, and from there on everything is.

    Cure: leave one key visible in each row, or drop rows that are padding alone
    """
    if seen.notes.get("inverted"):
        return
    if hasattr(event, "is_causal"):
        found = _mask(seen, event)
        blind = None if found is None else found[0].all(-1)
    elif event.name == "softmax" and event.inputs:
        facts, x = seen.of(event.inputs[0]), event.inputs[0].array
        masked = (facts is not None and facts.kind == "masked") or seen.looks_left(
            ("all", event.place), 6
        )
        if not masked or int(event.args[1]) % max(x.ndim, 1) != x.ndim - 1 or x.ndim < 2:
            return
        blind = np.isneginf(x).all(-1)
    else:
        return
    if blind is not None and blind.any():
        seen.notes["nan data"] = True
        yield Found(event.place, rows=int(blind.sum()), all=int(blind.size))


@check("mask-missing", "error", "op attention loss backward")
def mask_missing(seen: History, event: Any) -> Any:
    """The labels are the inputs shifted by one ({also}), and attention sees what comes next.

    Why: Each of {count} places looks up its label among the later inputs: the loss falls, and
    nothing is learnt. {weight:.0%} of the attention is on later places.

    Cure: scores.masked_fill(torch.ones(T, T).triu(1).bool(), -inf), or is_causal=True
    """
    if hasattr(event, "is_causal"):
        _note_attention(seen, event)
    elif hasattr(event, "inputs"):
        if event.name == "embedding" and event.args and len(event.inputs) == 2:
            _note_words(seen, event.inputs)
        elif event.name == "softmax" and event.y.node is not None:
            _note_softmax(seen, event)
    elif hasattr(event, "target"):
        blind = seen.notes.pop("attentions", [])
        ids = seen.notes.pop("words", None)
        if event.name != "cross_entropy" or not event.recorded or not blind:
            return
        if ids is None or any([weight == 0 for _, weight in blind]):
            return
        if _is_shifted(ids, event.target.array):
            place, weight = blind[0]
            yield Found(place, event.place, count=ids.size, weight=weight)
    elif hasattr(event, "leaves"):
        seen.notes.pop("attentions", None)
        seen.notes.pop("words", None)


def _note_words(seen: History, inputs: Any) -> None:
    ids = next((t.array for t in inputs if t.array.dtype.kind in "iu"), None)
    if ids is not None and ids.ndim == 2:
        seen.notes["words"] = ids


def _note_softmax(seen: History, event: Any) -> None:
    p = event.y.array
    if p.ndim >= 3 and p.shape[-1] == p.shape[-2] >= 3 and seen.steps < 12:
        n = p.shape[-1]
        later = p[..., np.triu(np.ones((n, n), bool), 1)].sum() / max(p.sum(), 1e-9)
        seen.note("attentions", list).append((event.place, float(later) if later > 1e-6 else 0))


def _note_attention(seen: History, event: Any) -> None:
    q, k = event.query.array, event.key.array
    if q.shape[-2] != k.shape[-2] or q.shape[-2] < 3 or seen.steps >= 12:
        return
    blind = not event.is_causal
    if blind and isinstance(event.attn_mask, Variable):
        mask = event.attn_mask.array
        hidden = ~mask if mask.dtype == bool else mask <= HIDDEN
        blind = not (hidden.ndim >= 2 and hidden.shape[-1] == hidden.shape[-2]) or _shows_future(
            hidden
        )
    seen.note("attentions", list).append((event.place, 0.5 if blind else 0))


def _is_shifted(ids: Any, target: Any) -> bool:
    """Whether each label is the next input, along one of the two dimensions."""
    if target.size != ids.size or target.dtype.kind not in "iu" or ids.size < 8:
        return False
    for x, t in ((ids, target.reshape(ids.shape)), (ids.T, target.reshape(ids.shape).T)):
        if x.shape[1] >= 3 and len(np.unique(x)) > 2 and (t[:, :-1] == x[:, 1:]).all():
            return True
    return False
