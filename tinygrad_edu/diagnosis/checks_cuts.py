"""Checks of paths that gradients cannot take, and of values changed behind the graph."""

from __future__ import annotations

from typing import Any

from tinygrad_edu.diagnosis.checks_loop import counted, never_reached
from tinygrad_edu.diagnosis.findings import Event, Found, check
from tinygrad_edu.diagnosis.history import History
from tinygrad_edu.engine.graph import Leaf, Storage, TensorBase


@check("graph-cut", "error", "step")
def graph_cut(seen: History, event: Event) -> Any:
    """{how} cuts {count} parameters off from the loss, the first of shape {shape}.

    Why: What {how} returns is values without a history. After {steps} step(s) these parameters,
    which the optimizer has, have got no gradient.

    Cure: leave {how} out between the parameters and the loss
    """
    record = event.record
    if not 1 <= record.steps <= 20 or not seen.backwards:
        return
    idle = never_reached(seen, record)
    for place, entry in seen.entered.items():
        yield from _behind(seen, idle, place, entry[0], entry[1], record.steps)
    for place, mask in seen.left.items() if record.steps >= 2 else ():
        if not any([mask & entry[0] for entry in seen.entered.values()]):
            yield from _behind(seen, idle, place, mask, "a number or an array", record.steps)


def _behind(seen: History, idle: list[Any], place: Any, mask: int, how: str, steps: int) -> Any:
    lost = [p for p in idle if (r := seen.record(p)) is not None and r.bit & mask]
    if lost:
        yield Found(place, how=how, steps=steps, **counted(lost))


@check("graph-cut", "error", "backward")
def graph_cut_at_the_root(seen: History, event: Event) -> Any:
    """backward ({also}) starts from a tensor that has no history: {how} has cut it off.

    Why: It leads to {count} leaves, and to no parameter: none of them gets a gradient.

    Cure: compute the loss from the model's output by operations alone, and call its backward()
    """
    roots = event.roots
    if not roots or not all([t.node is None or isinstance(t.node, Leaf) for t in roots]):
        return
    facts = seen.of(roots[0])
    trains = seen.living() or seen.passes or facts.lost
    if seen.notes.get("explained") or not trains:
        return
    place, how = event.place, "something"
    if facts.cut is not None:
        place, how = facts.cut
    elif facts.kind == "new":
        place, how = facts.place, "torch.tensor()"
    elif seen.left:
        place, how = list(seen.left)[-1], "item() or numpy()"
    seen.notes["cut"] = True
    yield Found(place, event.place, how=how, count=len(event.leaves))


@check("data-write", "error", "data backward")
def data_write(seen: History, event: Event) -> Any:
    """Values that the backward pass ({also}) needs are changed through .data.

    Why: The graph keeps the array of {op}, and .data hides the change from its count of versions:
    the gradient is that of other values, and nobody is told.

    Cure: compute a new tensor:  h = h * 2;  or write before the forward pass, under no_grad()
    """
    writes: dict[int, Any] = seen.note("data", dict)
    if event.what == "data":
        if event.twin._storage is not event.t._storage:
            writes[id(event.twin._storage)] = event.twin._storage, event.t._storage, event.place
        return
    written = {id(s): (twin.written, at) for twin, s, at in writes.values() if twin.version}
    writes.clear()
    for node in event.nodes if written else ():
        for guard in node.guards:
            for part in guard if isinstance(guard, tuple) else (guard,):
                when, place = written.get(id(part), (0, None))
                if isinstance(part, Storage) and when > node.number:
                    yield Found(place, event.place, op=node.name())
                    return


@check("nonleaf-grad", "warning", "grad_of_result")
def nonleaf_grad(seen: History, event: Event) -> Any:
    """.grad of a result is asked for; it is None (the result was made in {also}).

    Why: Backward passes fill .grad of leaves alone, tensors that no operation made: this one was
    made by {op}.

    Cure: w = (torch.randn(3) * 0.1).requires_grad_()  # or w.retain_grad() before backward()
    """
    node = event.t.node
    yield Found(event.place, node.__dict__.get("line"), op=node.name())


@check("to-dropped", "warning", "to")
def to_dropped(seen: History, event: Event) -> Any:
    """The result of to() is thrown away: the tensor itself stays {dtype} on {device}.

    Why: to() of a tensor returns another tensor; only that of a module works in place.

    Cure: x = x.to(device)
    """
    if isinstance(event.t, TensorBase):
        yield Found(event.place, dtype=event.t.dtype, device=event.t.device)  # type: ignore[attr-defined]
