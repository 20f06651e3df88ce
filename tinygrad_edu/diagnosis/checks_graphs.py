"""Checks of modes, and of graphs: what they keep alive, where they are cut, what is hidden."""

import linecache
import re
import weakref
from collections import deque
from typing import Any

from tinygrad_edu.diagnosis.checks_loop import counted, never_reached
from tinygrad_edu.diagnosis.findings import Event, Found, check
from tinygrad_edu.diagnosis.history import History
from tinygrad_edu.diagnosis.source import nearby
from tinygrad_edu.engine.graph import Leaf, Storage, TensorBase
from tinygrad_edu.engine.places import Place


@check("eval-forgotten", "warning", "begin step end")
def eval_forgotten(seen: History, event: Event) -> Any:
    """The model is evaluated in training mode: {layers} at work.

    Why: Dropout draws anew each time, and batch norm takes the statistics of this very batch, and
    moves its own: the same data give another result. Nothing is recorded here, so this is no
    training.

    Cure: model.eval(); with torch.no_grad(): ...; model.train()
    """
    beginning = event.passed
    monte_carlo = seen.note("monte carlo", set)
    for passed in seen.passes:
        if passed.counted or not passed.noisy or not passed.training:
            continue
        again = beginning is not None and passed.given == beginning.given
        again = again and passed.stack == beginning.stack and passed.step == beginning.step
        if again:
            monte_carlo.add(passed.place)  # the same input again and again: it is meant
        if beginning is not None:
            continue
        trains = passed.recorded and (passed.visited or not passed.is_dead())
        if passed.judged and not (trains or passed.used or passed.place in monte_carlo):
            passed.counted = True
            yield Found(passed.place, layers=", ".join(dict.fromkeys(passed.noisy)))


@check("train-forgotten", "warning", "step")
def train_forgotten(seen: History, event: Event) -> Any:
    """The model trains in evaluation mode: {layers} stand still since the last evaluation.

    Why: eval() stays on until train() is called: dropout drops nothing, and batch norm takes its
    running statistics, from here on.

    Cure: model.train()  # at the beginning of each epoch
    """
    trained: dict[int, bool] = seen.note("trained", dict)
    for passed in seen.passes:
        if not passed.visited or passed.counted:
            continue
        passed.counted = True
        key = id(passed.module())
        if passed.training:
            trained[key] = True
        elif trained.get(key) and passed.quiet:
            yield Found(passed.place, layers=", ".join(dict.fromkeys(passed.quiet)))


@check("no-grad-missing", "warning", "begin end")
def no_grad_missing(seen: History, event: Event) -> Any:
    """{passes} forward passes here were recorded, and no backward pass came.

    Why: The graph of a pass keeps all its activations, for nothing: evaluation takes twice the
    memory, or more.

    Cure: with torch.no_grad(): scores = model(x)
    """
    wasted: dict[Any, set[int]] = seen.note("wasted", dict)
    for passed in seen.passes:
        if passed.visited or not passed.recorded or not passed.outputs or not passed.is_dead():
            continue
        wasted.setdefault(passed.place, set()).add(passed.start)
        count = len(wasted[passed.place])
        trains = any([p.visited and p.place == passed.place for p in seen.passes])
        if count >= 2 and seen.steps and not trains:
            mine = [p for p in seen.passes if p.module() is passed.module() and not p.training]
            attacked = any([p.visited for p in mine])
            level = "note" if passed.training or attacked else "warning"
            yield Found(passed.place, None, level, passes=count)


@check("graph-kept", "warning", "backward end")
def graph_kept(seen: History, event: Event) -> Any:
    """{alive} graphs of earlier steps are still alive: something here keeps them.

    Why: A loss is a tensor with its whole graph behind it. Kept in a list, or added to a running
    total, it keeps the graphs of all steps: memory grows until it is used up.

    Cure: total += loss.item()  # or losses.append(loss.detach())
    """
    roots = seen.note("roots", lambda: deque(maxlen=32))
    alive = [entry for entry in roots if entry[0]() is not None and entry[2] < seen.steps]
    ended = event.what == "end"
    kept = [p for p in seen.passes if p.visited and p.step < seen.steps - 1 and not p.is_dead()]
    if len(kept) >= 8 and not alive:
        yield Found(_keeper(kept[-1].place, 0), kept[-1].place, alive=len(kept))
    if len(alive) >= (8 if not ended else 6):
        yield Found(_keeper(alive[-1][1]), alive[-1][1], alive=len(alive))
    if event.starts and seen.living():
        roots.append((weakref.ref(event.starts[0]), event.place, seen.steps))


def _keeper(place: Place, before: int = 8) -> Place | None:
    """The line near a backward() that keeps its loss, by its name."""
    line = linecache.getline(place.file, place.line)
    found = re.search(r"(\w+)\.backward\(", line) or re.search(r"\b(\w+) *=[^=]", line)
    if found is None:
        return None
    taker = r"\.(?!scale|step|backward)\w+\(" if "backward(" in line else r"append\("
    value = rf"\b{found[1]}\b(?!\.(item|detach|backward|data))"
    return nearby(place, rf"({taker}|\+=|=.*\+|\] *=|: ).*{value}", before, after=25)


@check("state-not-detached", "error", "backward")
def state_not_detached(seen: History, event: Event) -> Any:
    """The graph goes back through {steps} earlier steps: a state made before them comes in here.

    Why: A hidden state carries its history along. backward ({also}) runs through all steps since
    the beginning: an error, or with retain_graph=True slower each time, along weights that have
    changed since.

    Cure: h = h.detach()  # after each step
    """
    marks = seen.note("marks", lambda: deque(maxlen=64))
    old = [n for n in event.nodes if n.number < seen.last_step and not n.is_leaf]
    used = {n for n in old if n.__dict__.get("walked") == event.place}  # not by another loss
    for node in event.nodes:
        node.walked = event.place
    if seen.steps and used:
        crossed = sum([tick > min([n.number for n in used]) for tick in marks])
        bridges = [n for n in event.nodes if n not in used and not used.isdisjoint(n.edges)]
        bridge = max(bridges, key=lambda n: n.number, default=event.starts[0])
        place = bridge.__dict__.get("line") or event.place
        yield Found(place, event.place, steps=max(crossed, 1))
    if not marks or marks[-1] != seen.last_step:
        marks.append(seen.last_step)


# ---- graphs that are cut, or deceived


@check("graph-cut", "error", "step")
def graph_cut(seen: History, event: Event) -> Any:
    """{how} cuts {count} parameters off from the loss, the first of shape {shape}.

    Why: What {how} returns is values without a history. After {steps} step(s) these parameters,
    which the optimizer has, have got no gradient.

    Cure: leave {how} out between the parameters and the loss
    """
    record = event.record
    if not 1 <= record.steps <= 20 or not seen.backwards or ("others", record) in seen.notes:
        return
    places = [(place, mask, how) for place, (mask, how) in seen.entered.items()]
    for place, mask in seen.left.items() if record.steps >= 2 else ():
        if not any([mask & other for _, other, _ in places]):
            places.append((place, mask, "a number or an array"))
    for place, mask, how in places:
        idle = [p for p in never_reached(seen, record) if seen.bit(p) & mask]
        if idle:
            yield Found(place, how=how, steps=record.steps, **counted(idle))


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
