"""Checks of numbers: what is not finite, gradients that grow or fade from layer to layer."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_edu.diagnosis.findings import Found, check
from tinygrad_edu.diagnosis.flow import RISKY, finite
from tinygrad_edu.diagnosis.history import History, tensors


@check("nan-input", "error", "begin loss")
def nan_input(seen: History, event: Any) -> Any:
    """The data hold {bad} numbers that are not finite, of {all}.

    Why: NaN goes through every operation: one is enough to make the loss, all gradients and then
    all weights NaN.

    Cure: x = torch.nan_to_num(x), or leave these rows out
    """
    if seen.notes.get("suspect"):
        return  # it was made, by the line that `nan_first` will name
    given = event.args if hasattr(event, "args") else [event.target]
    for t in tensors(given):
        if t.node is None and seen.of(t) is None and not finite(t.array):
            bad = np.isnan(t.array)
            if bad.any():
                seen.notes["suspect"] = None
                seen.notes["nan data"] = True
                yield Found(
                    event.passed.place if hasattr(event, "passed") else event.place,
                    bad=int((~np.isfinite(t.array)).sum()), all=t.array.size,
                )  # fmt: skip


@check("nan-first", "error", "op backward step bad")
def nan_first(seen: History, event: Any) -> Any:
    """{op}() makes {what} of finite numbers: the first of this program.

    Why: {bad} of {all} results. Whatever is computed from them is NaN, and after the step all
    weights are.

    Cure: keep the argument inside: x.clamp(min=1e-8) for log and sqrt, x + eps below a fraction
    """
    if hasattr(event, "inputs"):
        if event.name in RISKY and seen.notes.get("suspect") is None and not finite(event.y.array):
            if all([finite(a.array) for a in event.inputs]) and not event.inside:
                y = event.y.array
                what = "NaN" if np.isnan(y).any() else "infinity"
                numbers = {"op": event.name, "what": what, "bad": int((~np.isfinite(y)).sum())}
                seen.notes["suspect"] = event.place, {**numbers, "all": y.size}
    elif hasattr(event, "bad"):
        seen.notes.setdefault("back", (event.place, event.bad))
    elif hasattr(event, "value"):
        suspect = seen.notes.pop("suspect", None)
        seen.notes.pop("back", None)
        if event.value is not None and not math.isfinite(event.value) and suspect is not None:
            if not seen.notes.get("nan data"):
                yield Found(suspect[0], event.place, **suspect[1])
    elif seen.notes.get("back") is not None:
        place, numbers = seen.notes.pop("back")
        broken = [p for p in event.moving if not finite(p._grad.array)]
        if broken and place is not None and not seen.notes.get("nan data"):
            yield Found(place, event.place, **numbers)


def _rms(array: Any) -> float:
    return float(np.sqrt((array.astype(np.float64) ** 2).mean()))


def gradients_by_layer(seen: History, event: Any) -> list[tuple[Any, float]]:
    """The matrices in the order of their first use, each with the size of its gradient."""
    found = []
    for p in event.moving:
        record = seen.record(p)
        if p.array.ndim >= 2 and record is not None and record.bit and p.array.size:
            found.append((record.bit, p, _rms(p._grad.array)))
    return [(p, size) for _, p, size in sorted(found, key=lambda entry: entry[0])]


@check("vanishing", "warning", "step")
def vanishing(seen: History, event: Any) -> Any:
    """Gradients fade on their way: in the first layer they are {ratio:.1e} of those in the last.

    Why: Each of {layers} layers multiplies the gradient by less than 1 (sigmoid by at most 0.25):
    the first ones hardly learn.

    Cure: ReLU, normalisation, or connections that skip layers
    """
    yield from _compare(seen, event, "vanishing", lambda first, last: first / last)


@check("exploding", "warning", "step")
def exploding(seen: History, event: Any) -> Any:
    """Gradients grow on their way: in the first layer they are {ratio:.1e} times those in the last.

    Why: Each of {layers} layers multiplies the gradient by more than 1: a step throws the first
    ones far away.

    Cure: nn.utils.clip_grad_norm_(model.parameters(), 1.0); smaller initial weights
    """
    yield from _compare(seen, event, "exploding", lambda first, last: last / first)


def _compare(seen: History, event: Any, which: str, ratio: Any) -> Any:
    if seen.scaled or event.record.steps > 20:
        return
    layers = gradients_by_layer(seen, event)
    key = which, id(event.record)
    if len(layers) < 4 or not all([0 < size < math.inf for _, size in layers]):
        seen.looks[key] = 0
        return
    found = ratio(layers[0][1], layers[-1][1])
    seen.looks[key] = seen.looks[key] + 1 if found < 1e-4 else 0
    if seen.looks[key] >= 4:
        shown = found if which == "vanishing" else 1 / found
        yield Found(event.place, ratio=shown, layers=len(layers))


@check("exploding", "warning", "step")
def exploding_at_once(seen: History, event: Any) -> Any:
    """Gradients are of norm {norm:.1e}, the weights of norm {weights:.1e}.

    Why: One step along such a gradient throws the weights {steps:.0e} times as far as they are.

    Cure: nn.utils.clip_grad_norm_(model.parameters(), 1.0); smaller initial weights
    """
    if seen.scaled or event.record.steps > 20:
        return
    big = [p for p in event.moving if p.array.ndim >= 2]
    norm = math.sqrt(sum([float((p._grad.array.astype(np.float64) ** 2).sum()) for p in big]))
    weights = math.sqrt(sum([float((p.array.astype(np.float64) ** 2).sum()) for p in big]))
    key = "exploding", id(event.record), "norm"
    large = math.isfinite(norm) and len(big) >= 3 and norm > 1e4 * max(weights, 1e-3)
    seen.looks[key] = seen.looks[key] + 1 if large else 0
    if seen.looks[key] >= 3:
        yield Found(event.place, norm=norm, weights=weights, steps=norm / weights)
