"""Checks of the masks of attention."""

import weakref
from typing import Any

import numpy as np

from tinygrad_edu.diagnosis.findings import Event, Found, check
from tinygrad_edu.diagnosis.flow import norm_of
from tinygrad_edu.diagnosis.history import NOTHING, History
from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.places import UNKNOWN

HIDDEN = -1e4


def _is_inverted(hidden: Any) -> bool:
    """Whether a square mask hides the past and shows the future."""
    n = hidden.shape[-1] if hidden.ndim >= 2 else 0
    if n < 3 or hidden.shape[-2] != n:
        return False
    below, above = np.tril(np.ones((n, n), bool), -1), np.triu(np.ones((n, n), bool), 1)
    return bool(hidden[..., below].all() and not hidden[..., above].any())


@check("mask-inverted", "error", "op.softmax op.masked_fill op.mul attention")
def mask_inverted(seen: History, event: Event) -> Any:
    """The mask hides {what}.

    Why: True means hidden for masked_fill and nn.MultiheadAttention, visible for
    scaled_dot_product_attention. Here {hidden} of {all} places are hidden, the wrong ones.

    Cure: ~mask
    """
    found = _mask(seen, event)
    if found is None:
        return
    hidden, facts, shown = found
    square = hidden.ndim >= 2 and hidden.shape[-1] == hidden.shape[-2]
    if hidden.ndim > 2 and (hidden == hidden[..., :1, :]).all():
        square = False  # a row for each sample, not one for each word
    what = None
    if _is_inverted(hidden):
        what = "what came before, and shows what comes after"
    elif facts.kind == ("padding" if shown else "words") and not square:
        what = "the words, and shows the padding"
    if what is not None:
        seen.notes["inverted"] = seen.notes["nan data"] = True
        also = None if facts.place is UNKNOWN else facts.place
        yield Found(event.place, also, what=what, hidden=int(hidden.sum()), all=hidden.size)


def _mask(seen: History, event: Event) -> Any:
    """What is hidden, what is known of the mask, and whether True in it means visible."""
    if event.what == "attention":
        mask = event.attn_mask
        if not isinstance(mask, TensorBase):
            return None
        if mask.array.dtype == bool:
            return ~mask.array, seen.of(mask), True
        return mask.array <= HIDDEN, NOTHING, True
    if event.name == "masked_fill":
        mask, value = event.args[1:3]
        number = value.array if isinstance(value, TensorBase) else value
        if np.size(number) != 1 or float(number) > HIDDEN or event.y.array.dtype.kind != "f":
            return None
        return mask.array, seen.of(mask), False
    x = event.inputs[0].array if event.inputs else np.zeros(0)
    if event.name == "mul":
        number = event.args[1] if len(event.inputs) == 1 else 0
        added = isinstance(number, (int, float)) and number <= HIDDEN
        return (x != 0, event.before, False) if added else None
    square = x.ndim >= 2 and x.shape[-1] == x.shape[-2] >= 3
    if square and seen.looks_left(("inverted", event.place), 6):
        return x <= HIDDEN, NOTHING, False
    return None


@check("mask-hides-all", "error", "op.softmax attention")
def mask_hides_all(seen: History, event: Event) -> Any:
    """{rows} of {all} queries see no key: the mask hides all of them.

    Why: softmax of scores that are all -inf is NaN, and from there on everything is.

    Cure: leave one key visible in each row, or drop rows that are padding alone
    """
    blind = None
    if event.what == "attention":
        found = _mask(seen, event)
        blind = None if found is None else found[0].all(-1)
    elif event.before.kind == "masked" or seen.looks_left(("all", event.place), 6):
        x = event.inputs[0].array
        if x.ndim > 1 and int(event.args[1]) % x.ndim == x.ndim - 1:
            blind = np.isneginf(x).all(-1)
    if blind is not None and blind.any() and not seen.notes.get("inverted"):
        seen.notes["nan data"] = True
        yield Found(event.place, rows=int(blind.sum()), all=int(blind.size))


@check("mask-missing", "error", "op.softmax op.embedding attention loss.cross_entropy backward")
def mask_missing(seen: History, event: Event) -> Any:
    """The labels are the inputs shifted by one ({also}), and attention sees what comes next.

    Why: Each of {count} places looks up its label among the later inputs: the loss falls, and
    nothing is learnt. {weight:.0%} of the attention is on later places.

    Cure: scores.masked_fill(torch.ones(T, T).triu(1).bool(), -inf), or is_causal=True
    """
    if event.what in ("attention", "op"):
        _note_attention(seen, event)
        return
    blind, ids = seen.notes.pop("attentions", []), seen.notes.pop("words", None)
    if event.recorded and blind and ids is not None and all([weight for _, weight in blind]):
        if _is_shifted(ids, event.t):
            yield Found(blind[0][0], event.place, count=ids.size, weight=blind[0][1])


def _note_attention(seen: History, event: Event) -> None:
    """Note the words that go in, and how much of the attention is on later places."""
    weight = None
    if event.what == "attention":
        length, keys = event.query.array.shape[-2], event.key.array.shape[-2]
        found, later = _mask(seen, event), np.triu(np.ones((length, keys), bool), 1)
        hidden = found is not None and found[0].shape[-2:] == later.shape
        if length == keys >= 3:
            hides = event.is_causal or (hidden and found[0][..., later].all())
            weight = 0.0 if hides else 0.5
    elif event.name == "embedding":
        if event.args[1].array.ndim == 2:
            seen.notes["words"] = event.args[1].array
    elif event.y.node is not None:
        p = event.y.array
        if p.ndim >= 3 and p.shape[-1] == p.shape[-2] >= 3:
            later = p[..., np.triu(np.ones(p.shape[-2:], bool), 1)].sum() / max(p.sum(), 1e-9)
            weight = float(later) if later > 1e-6 else 0.0
    if weight is not None and seen.steps < 12:
        seen.note("attentions", list).append((event.place, weight))


def _is_shifted(ids: Any, target: Any) -> bool:
    """Whether each label is the next input, along one of the two dimensions."""
    if target.size != ids.size or target.dtype.kind not in "iu" or ids.size < 8:
        return False
    for x, t in ((ids, target.reshape(ids.shape)), (ids.T, target.reshape(ids.shape).T)):
        if x.shape[1] >= 3 and len(np.unique(x)) > 2 and (t[:, :-1] == x[:, 1:]).all():
            return True
    return False


@check("padding-trained", "note", "op.eq op.ne op.embedding loss step")
def padding_trained(seen: History, event: Event) -> Any:
    """The embedding of the padding, word {word}, is trained ({also}): its gradient is {norm:.3g}.

    Why: {share:.0%} of the words are padding, and say nothing; whatever is learnt about them gets
    into sums and means.

    Cure: nn.Embedding(words, width, padding_idx={word})
    """
    embedded: dict[int, Any] = seen.note("embedded", dict)
    if event.name == "embedding":
        embedded[id(event.args[0])] = weakref.ref(event.args[0]), event.args[1].array, event.place
    elif event.what == "op" and event.inputs[0].array.ndim == 2 and event.before.kind is None:
        if len(event.inputs) == 1 and event.inputs[0].array.dtype.kind in "iu":
            seen.notes["padding"] = int(event.args[1])
    elif event.what == "loss" and event.options.get("ignore_index", -1) >= 0:
        seen.notes["padding"] = event.options["ignore_index"]
    word = seen.notes.get("padding", -1)
    for ref, ids, place in embedded.values() if event.what == "step" and word >= 0 else ():
        g, share = getattr(ref(), "_grad", None), float((ids == word).mean())
        if g is not None and share and word < len(g.array) and g.array[word].any():
            yield Found(place, event.place, word=word, norm=norm_of([g.array[word]]), share=share)
