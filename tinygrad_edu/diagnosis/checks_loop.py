"""Checks of the training loop: gradients that are not cleared, or cleared too early."""

import gc
from typing import Any

import numpy as np

from tinygrad_edu.diagnosis.findings import Event, Found, check
from tinygrad_edu.diagnosis.flow import norm_of
from tinygrad_edu.diagnosis.history import History, LeafRecord, fingerprint, snapshot
from tinygrad_edu.diagnosis.source import nearby
from tinygrad_edu.engine.mode import is_recording
from tinygrad_edu.nn.modules.module import Module
from tinygrad_edu.nn.parameter import Parameter


@check("zero-grad-missing", "error", "backward step")
def zero_grad_missing(seen: History, event: Event) -> Any:
    """backward() adds to gradients that step ({also}) has used already; nothing clears them.

    Why: backward() adds to .grad, so that gradients can be accumulated. What a step has used is
    still in there: each step follows the sum of all gradients so far (here of norm {norm:.3g}).

    Cure: optimizer.zero_grad()  # once for each step, before backward()
    """
    for leaf in event.leaves or ():
        t = leaf.tensor()
        by_hand = _note_leftovers(seen.leaf(leaf), t, event.place)
        if by_hand is not None:
            yield Found(by_hand, event.place, norm=norm_of([t._grad.array]))
            return
    moving = event.moving or ()
    mixed = [r.mixed for p in moving if (r := seen.record(p)) is not None and r.mixed is not None]
    if mixed:
        yield Found(mixed[0], event.place, norm=norm_of([p._grad.array for p in moving]))


def _note_leftovers(record: LeafRecord, t: Any, place: Any) -> Any:
    """Before a backward pass: is a used gradient still there?  Where, if that is certain by now."""
    g = t._grad
    if g is None or record.gradient != snapshot(g):
        record.consumed, record.mixed = False, None
        return None
    by_hand = record.touched and record.value != fingerprint(t)
    if by_hand and record.mixed is not None and not record.owners:
        return record.mixed
    if record.consumed or by_hand:
        record.mixed = place if g.array.any() else None
    return None


@check("zero-grad-before-step", "error", "step")
def zero_grad_before_step(seen: History, event: Event) -> Any:
    """zero_grad() clears the gradients before step ({also}) has used them.

    Why: step() finds {left} of {count} gradients, all zero if any: no parameter moves.

    Cure: optimizer.zero_grad(); loss.backward(); optimizer.step()
    """
    if not event.record.passes() or any([p._grad.array.any() for p in event.moving]):
        return
    last = event.record.log[-1]
    if last.wipes and last.fresh and seen.last_node < last.tick:  # nothing was computed since
        yield Found(last.place, event.place, left=len(event.moving), count=len(event.parameters))


@check("gradient-discarded", "warning", "step")
def gradient_discarded(seen: History, event: Event) -> Any:
    """zero_grad() clears gradients between the backward passes that belong to one step ({also}).

    Why: Of {passes} backward passes before this step only the last one counts; the others were
    computed for nothing.

    Cure: clear once for each step:  optimizer.step(); optimizer.zero_grad()
    """
    record, passes = event.record, event.record.passes()
    if seen.scaled or len(passes) < 2 or record.log[-1].wipes:
        return
    first = list(record.log).index(passes[0])
    wiped = [entry for entry in list(record.log)[first:] if entry.wipes and entry.fresh]
    alike = len({(entry.stack, entry.step) for entry in passes}) == 1
    # else another loss, or another optimizer's step, lies between
    if wiped and alike and not seen.looks_left(("discarded", id(record)), 1):
        yield Found(wiped[-1].place, event.place, passes=len(passes))


@check("step-missing", "error", "backward end")
def step_missing(seen: History, event: Event) -> Any:
    """Gradients are computed, and the optimizer made in {also} never steps.

    Why: {passes} backward passes have filled .grad; only optimizer.step() moves the parameters.

    Cure: loss.backward(); optimizer.step()
    """
    for record in seen.optimizers:
        passes = record.passes()
        often = len(passes) >= 10 and len(record.wipes()) >= 3 and not seen.scaled
        certain = len(passes) >= 2 and (event.what == "end" or often)
        if record.steps == 0 and not record.stepping and certain:
            yield Found(passes[-1].place, record.place, passes=record.backwards)


@check("step-before-backward", "error", "backward")
def step_before_backward(seen: History, event: Event) -> Any:
    """step() comes before the backward pass ({also}) of the same loss.

    Why: step() finds no gradient of this loss: it moves nothing, or along the gradient of the loss
    before.

    Cure: loss.backward(); optimizer.step()
    """
    for record in event.records:
        if record.steps and not record.fresh and event.number and event.number < record.tick:
            yield Found(record.step_place, event.place)


@check("clip-after-step", "error", "clip")
def clip_after_step(seen: History, event: Event) -> Any:
    """Gradients are clipped after the optimizer has used them (step: {also}).

    Why: The norm is {norm:.3g}, and the step was made with it: clipping comes too late.

    Cure: loss.backward(); clip_grad_norm_(model.parameters(), {most:g}); optimizer.step()
    """
    moving = [p for p in event.parameters if p._grad is not None]
    used = [p for p in moving if seen.is_consumed(p)]
    size = norm_of([p._grad.array for p in moving])
    if size and 2 * len(used) > len(moving) and np.isfinite(event.most):
        places = [r.step_place for r in seen.living() if r.steps]
        yield Found(event.place, places[-1] if places else None, norm=size, most=event.most)


@check("clip-before-backward", "error", "clip backward step failed")
def clip_before_backward(seen: History, event: Event) -> Any:
    """Gradients are clipped before the backward pass ({also}) that makes them.

    Why: At that moment {count} parameters have no gradient: there is nothing to clip, and what
    comes then is not clipped.

    Cure: loss.backward(); clip_grad_norm_(model.parameters(), {most:g}); optimizer.step()
    """
    if event.what == "clip":
        empty = not any([p._grad.array.any() for p in event.parameters if p._grad is not None])
        seen.notes["clip"] = (event, {id(p.leaf) for p in event.parameters}) if empty else None
        return
    clip, ids = seen.notes.pop("clip", None) or (None, ())
    reached = not set(map(id, event.leaves or ())).isdisjoint(ids)
    if clip is not None and np.isfinite(clip.most) and (reached or event.what == "failed"):
        also = event.place if reached else None
        yield Found(clip.place, also, count=len(clip.parameters), most=clip.most)


@check("clip-never", "note", "end")
def clip_never(seen: History, event: Event) -> Any:
    """Gradients are clipped to norm {most:g}, and are never as large: {largest:.3g} at most.

    Why: In {times} steps nothing was clipped. The limit guards against outliers a thousand times
    larger than these alone; if it is to smooth training, it does not.

    Cure: a limit near the usual norm, which clip_grad_norm_ returns
    """
    for (place, most), norms in seen.norms.items():
        if len(norms) >= 15 and max(norms) < most / 10:
            yield Found(place, most=most, largest=max(norms), times=len(norms))


@check("clip-always", "note", "end")
def clip_always(seen: History, event: Event) -> Any:
    """Gradients are clipped to norm {most:g} in all {times} steps: they are {least:.3g} at least.

    Why: Only their direction counts then: steps are of one length, near a minimum too, and the
    learning rate is another one than it says.

    Cure: a limit near the usual norm, which clip_grad_norm_ returns; or a lower learning rate
    """
    for (place, most), norms in seen.norms.items():
        if len(norms) >= 15 and min(norms) > most:
            yield Found(place, most=most, least=min(norms), times=len(norms))


@check("accumulation-not-divided", "warning", "step")
def accumulation_not_divided(seen: History, event: Event) -> Any:
    """{passes} backward passes of mean losses are added up for one step ({also}).

    Why: The sum of {passes} means is {passes} times the mean of all: the step is as if the learning
    rate were {passes} times higher.

    Cure: (loss / {passes}).backward()
    """
    passes, wiped = event.record.passes(), list(event.record.log)[1:]
    alike = {(entry.stack, entry.mean) for entry in passes}
    sums = len(passes) < 2 or len(alike) > 1 or not passes[0].mean
    holds = not sums and not any([entry.wipes and entry.fresh for entry in wiped])
    if seen.in_a_row(("accumulated", id(event.record)), holds) >= 2:
        yield Found(passes[-1].place, event.place, passes=len(passes))


@check("leaf-replaced", "error", "op backward end")
def leaf_replaced(seen: History, event: Event) -> Any:
    """The parameter is replaced by a result, which is no parameter: {how}.

    Why: w = w - lr * w.grad binds the name to a new tensor. The old one, which the gradients belong
    to, has not changed.

    Cure: with torch.no_grad(): w -= lr * w.grad
    """
    pending: dict[int, Any] = seen.note("replaced", dict)
    if event.what != "op":
        for key, (place, ref) in list(pending.items()):
            if ref() is None:
                del pending[key]
                yield Found(place, how="the result is thrown away")
        return
    for a in event.inputs:
        if id(a) in pending and is_recording() and a.node is None:
            seen.notes["explained"] = True
            yield Found(pending.pop(id(a))[0], event.place, how="it is used, and needs no gradient")
    facts = seen.of(event.y)
    leaf = facts.gradient_of
    if event.name not in ("sub", "add") or leaf is None:
        return
    writes = nearby(event.place, r"[-+]=|_\(|\.data\b|copy_|set_|Parameter\(|requires_grad")
    if writes is not None or not any([a.node is leaf for a in event.inputs]):
        return
    if event.y.node is not None:
        yield Found(event.place, how="the result has a history")
    else:
        pending[id(event.y)] = event.place, seen.facts[id(event.y)][0]


def living() -> list[Module]:
    """All modules that there are: one look at all objects."""
    return [found for found in gc.get_objects() if issubclass(type(found), Module)]


def held() -> set[int]:
    """The ids of all their parameters."""
    return {id(p) for module in living() for p in module._parameters.values()}


def strangers(seen: History) -> list[Any]:
    """Leaves that backward passes have reached, and that no optimizer has."""
    return [
        leaf.tensor() for leaf, record in list(seen.leaves.items())
        if record.backwards and not record.owners and leaf.tensor() is not None
        and leaf.tensor().node is leaf  # type: ignore[union-attr]
    ]  # fmt: skip


@check("optimizer-other-parameters", "error", "step")
def optimizer_other_parameters(seen: History, event: Event) -> Any:
    """step ({also}) has no gradient: the backward passes reach other parameters than the
    optimizer's.

    Why: None of its {count} parameters has a gradient, while {others} tensors that no optimizer has
    got one.

    Cure: optimizer = torch.optim.SGD(model.parameters(), lr)  # of the model that is called
    """
    others = _unreached(seen, event)
    if _cut(seen, event.parameters):
        others = [p for p in others if isinstance(p, Parameter)]
    if others and not held().isdisjoint([id(p) for p in event.parameters]):
        seen.notes["others", event.record] = True
        count = len(event.parameters)
        yield Found(event.record.place, event.place, count=count, others=len(others))


@check("optimizer-stale-parameters", "error", "step")
def optimizer_stale_parameters(seen: History, event: Event) -> Any:
    """The optimizer has parameters of before: {gone} of its {count} belong to no module any more.

    Why: They were replaced after the optimizer was made. {others} new ones get gradients, and no
    step ({also}) moves them.

    Cure: make the optimizer after the last change of the model
    """
    if event.record.steps > 20:
        return
    idle = [p for p in event.parameters if p._grad is None]
    others = [p for p in strangers(seen) if isinstance(p, Parameter) or _unreached(seen, event)]
    if not idle or not others or not seen.backwards:
        return
    shapes = {p.array.shape[1:] for p in others}
    alike = [p for p in idle if p.array.shape[1:] in shapes]
    known = held() if alike else set()
    gone = [p for p in alike if id(p) not in known]
    if gone and all([isinstance(p, Parameter) for p in gone]):
        numbers = {"gone": len(gone), "count": len(event.parameters), "others": len(others)}
        yield Found(event.record.place, event.place, **numbers)


def _unreached(seen: History, event: Event) -> list[Any]:
    """The leaves that got gradients instead of those of the optimizer, of which none got one."""
    if event.moving or event.record.backwards or seen.notes.get("cut"):
        return []
    return strangers(seen)


@check("parameter-not-optimized", "note", "stepped")
def parameter_not_optimized(seen: History, event: Event) -> Any:
    """{count} parameters get gradients, and no optimizer has them, the first of shape {shape}.

    Why: Backward passes compute their gradients; nothing uses these. If they are to stay as they
    are, requires_grad_(False) saves the work.

    Cure: optimizer = torch.optim.SGD([*body.parameters(), *head.parameters()], lr)
    """
    if event.record.looks != 4 or not event.record.backwards:
        return
    others = [p for p in strangers(seen) if isinstance(p, Parameter)]
    often = [p for p in others if seen.record(p).backwards >= 3]  # type: ignore[union-attr]
    if often:
        yield Found(event.record.place, **counted(often))


def counted(parameters: list[Any]) -> dict[str, Any]:
    """How many they are, and the shape of the first, as evidence."""
    return {"count": len(parameters), "shape": list(parameters[0].array.shape)}


def never_reached(seen: History, record: Any) -> list[Any]:
    """The optimizer's parameters that no backward pass has reached."""
    idle = [p for p in record.parameters() if p.node is not None and p._grad is None]
    return [p for p in idle if (found := seen.record(p)) is None or not found.backwards]


@check("parameter-unreached", "note", "step")
def parameter_unreached(seen: History, event: Event) -> Any:
    """{count} of {all} parameters have never had a gradient, the first of shape {shape}.

    Why: In {steps} steps no backward pass has come to them: they are not used, or not for the loss.

    Cure: use the layer in forward(), or leave it out
    """
    record = event.record
    if record.looks != 4 or not record.backwards:
        return
    idle = never_reached(seen, record)
    if idle and not _cut(seen, idle) and len(idle) < len(event.parameters):
        numbers = {"all": len(event.parameters), "steps": record.steps}
        yield Found(event.place, **numbers, **counted(idle))


def _cut(seen: History, parameters: list[Any]) -> bool:
    """Whether something is known to cut one of these parameters off."""
    cuts = 0
    for mask in (*[entry[0] for entry in seen.entered.values()], *seen.left.values()):
        cuts |= mask
    return any([seen.bit(p) & cuts for p in parameters])
