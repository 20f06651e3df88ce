"""Checks of what an optimizer moves, and of parameters that nobody moves."""

from __future__ import annotations

import gc
from typing import Any

from tinygrad_edu.diagnosis.findings import Found, check
from tinygrad_edu.diagnosis.history import History
from tinygrad_edu.nn.modules.module import Module
from tinygrad_edu.nn.parameter import Parameter


def is_held(p: Any) -> bool:
    """Whether a living module has this parameter."""
    for table in gc.get_referrers(p):
        if isinstance(table, dict) and any([value is p for value in table.values()]):
            for owner in gc.get_referrers(table):
                if isinstance(owner, Module) or (
                    isinstance(owner, dict) and owner.get("_parameters") is table
                ):
                    return True
    return False


def strangers(seen: History) -> list[Any]:
    """Leaves that backward passes have reached, and that no optimizer has."""
    return [
        leaf.tensor() for leaf, record in list(seen.leaves.items())
        if record.backwards and not record.owners and leaf.tensor() is not None
        and leaf.tensor().node is leaf  # type: ignore[union-attr]
    ]  # fmt: skip


@check("optimizer-other-parameters", "error", "step")
def optimizer_other_parameters(seen: History, event: Any) -> Any:
    """step ({also}) has no gradient: the backward passes reach other parameters than the
    optimizer's.

    Why: None of its {count} parameters has a gradient, while {others} tensors that no optimizer has
    got one.

    Cure: optimizer = torch.optim.SGD(model.parameters(), lr)  # of the model that is called
    """
    others = _unreached(seen, event)
    if others and any([is_held(p) for p in event.parameters]):
        yield Found(
            event.record.place, event.place, count=len(event.parameters), others=len(others)
        )


@check("optimizer-stale-parameters", "error", "step")
def optimizer_stale_parameters(seen: History, event: Any) -> Any:
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
    gone = [p for p in idle if not is_held(p) and p.array.shape[1:] in shapes]
    if gone and all([isinstance(p, Parameter) for p in gone]):
        yield Found(
            event.record.place, event.place,
            gone=len(gone), count=len(event.parameters), others=len(others),
        )  # fmt: skip


def _unreached(seen: History, event: Any) -> list[Any]:
    """The leaves that got gradients instead of those of the optimizer, of which none got one."""
    if event.moving or event.record.backwards or seen.notes.get("cut"):
        return []
    return strangers(seen)


@check("parameter-not-optimized", "note", "stepped")
def parameter_not_optimized(seen: History, event: Any) -> Any:
    """{count} parameters get gradients, and no optimizer has them, the first of shape {shape}.

    Why: Backward passes compute their gradients; nothing uses these. If they are to stay as they
    are, requires_grad_(False) saves the work.

    Cure: optimizer = torch.optim.SGD([*body.parameters(), *head.parameters()], lr)
    """
    if event.record.steps != 4 or not event.record.backwards:
        return
    others = [p for p in strangers(seen) if isinstance(p, Parameter)]
    often = [p for p in others if seen.record(p).backwards >= 3]  # type: ignore[union-attr]
    if often:
        yield Found(event.record.place, count=len(often), shape=list(often[0].array.shape))


def never_reached(seen: History, record: Any) -> list[Any]:
    """The optimizer's parameters that no backward pass has reached, though it reaches others."""
    idle = []
    for p in record.parameters():
        found = seen.record(p)
        if p.node is not None and p._grad is None and (found is None or not found.backwards):
            idle.append(p)
    return idle if record.backwards else []


@check("parameter-unreached", "note", "step")
def parameter_unreached(seen: History, event: Any) -> Any:
    """{count} of {all} parameters have never had a gradient, the first of shape {shape}.

    Why: In {steps} steps no backward pass has come to them: they are not used, or not for the loss.

    Cure: use the layer in forward(), or leave it out
    """
    record = event.record
    if record.steps != 4:
        return
    idle = never_reached(seen, record)
    known = sum([1 for p in idle if (r := seen.record(p)) is not None and _is_cut(seen, r.bit)])
    if idle and not known and len(idle) < len(event.parameters):
        yield Found(
            event.place, count=len(idle), all=len(event.parameters), steps=record.steps,
            shape=list(idle[0].array.shape),
        )  # fmt: skip


def _is_cut(seen: History, bit: int) -> bool:
    cuts = [*[entry[0] for entry in seen.entered.values()], *seen.left.values()]
    return any([bool(mask & bit) for mask in cuts])
