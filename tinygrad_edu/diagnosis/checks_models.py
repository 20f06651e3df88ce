"""Checks of models: parameters that nobody knows of, layers that do not learn."""

import math
from typing import Any

import numpy as np

from tinygrad_edu.diagnosis.checks_loop import living
from tinygrad_edu.diagnosis.findings import Event, Found, check
from tinygrad_edu.diagnosis.flow import RISKY, finite, norm_of, rms
from tinygrad_edu.diagnosis.history import NOTHING, History, address, tensors
from tinygrad_edu.diagnosis.source import assignment_of, called_directly, nearby
from tinygrad_edu.engine.graph import Leaf, TensorBase
from tinygrad_edu.engine.places import Place, here, stack
from tinygrad_edu.nn.modules.module import Module
from tinygrad_edu.nn.parameter import Parameter, is_lazy


def _attributes(seen: History, event: Event) -> Any:
    """What there is to look at; nothing yet while modules are called, whose attributes it notes."""
    if event.what != "module":
        return seen.notes.get("attributes", ())
    _note_attributes(seen, event.module, event.passed.place, event.passed.start)
    return ()


def _note_attributes(seen: History, module: Any, place: Place, start: int) -> None:
    """Note the attributes of a user's module that no table of its own holds, and their parts."""
    ours = type(module).__module__.startswith("tinygrad_edu")
    if ours or not seen.looks_left(("attributes", id(module)), 1):
        return
    for name, value in vars(module).items():
        parts = [part for part in _listed(value) if isinstance(part, (Module, TensorBase))]
        if parts and not name.startswith("_"):
            entry = module, name, value, parts, place, start
            seen.note("attributes", list).append(entry)


def _listed(value: object, depth: int = 2) -> list[Any]:
    """What lists, tuples and dicts hold."""
    if depth and isinstance(value, dict):
        return [part for item in value.values() for part in _listed(item, depth - 1)]
    if depth and isinstance(value, (list, tuple)):
        return [part for item in value for part in _listed(item, depth - 1)]
    return [value]


@check("layers-in-list", "error", "module step failed")
def layers_in_list(seen: History, event: Event) -> Any:
    """self.{name} of {owner} holds layers in a plain {kind}: {count} parameters are not registered.

    Why: model.parameters() does not see them: no optimizer moves them, .to() and state_dict() leave
    them out.

    Cure: self.{name} = nn.{right}(...)
    """
    if "empty parameter list" in str(event.error):
        for module in [m for m in living() if not [*m.parameters()]]:
            _note_attributes(seen, module, event.place, 0)
    for module, name, value, parts, place, _ in _attributes(seen, event):
        layers = [part for part in parts if isinstance(part, Module) and part is not value]
        own = [p for layer in layers for p in layer.parameters() if p.node is not None]
        hidden = [p for p in own if not _is_owned(seen, p)]
        if hidden:
            words = {"name": name, "owner": type(module).__name__, "kind": type(value).__name__}
            words["right"] = "ModuleDict" if isinstance(value, dict) else "ModuleList"
            made = assignment_of(name, type(module)) or place
            yield Found(made, event.place, **words, count=len(hidden))


def _is_owned(seen: History, p: Any) -> bool:
    record = seen.record(p)
    return record is not None and bool(record.owners)


@check("parameter-plain-tensor", "error", "module step")
def parameter_plain_tensor(seen: History, event: Event) -> Any:
    """self.{name} of {owner} is a tensor that needs a gradient, not a Parameter.

    Why: model.parameters() does not see it, so no optimizer moves it: {what}, of shape {shape}.

    Cure: self.{name} = nn.Parameter(...)  # of the finished value
    """
    for module, name, _, parts, place, start in _attributes(seen, event):
        for t in [part for part in parts if isinstance(part, TensorBase)]:
            leaf = t.node
            if leaf is None or leaf.number >= start or (leaf.is_leaf and _is_owned(seen, t)):
                continue
            what = "a leaf" if leaf.is_leaf else f"the result of {leaf.name()}"
            words = {"name": name, "owner": type(module).__name__, "what": what}
            made = assignment_of(name, type(module)) or place
            yield Found(made, event.place, **words, shape=list(t.array.shape))


@check("layer-made-in-forward", "error", "module")
def layer_made_in_forward(seen: History, event: Event) -> Any:
    """{layer} is made in forward(), anew in each call.

    Why: Its {count} parameters are new random numbers each time; no optimizer has them, and what
    they learn is thrown away.

    Cure: make the layer in __init__, and call it in forward()
    """
    module, passed = event.module, event.passed
    own = [p for p in module._parameters.values() if isinstance(p, Parameter) and not is_lazy(p)]
    made = [p for p in own if isinstance(p.leaf, Leaf) and p.leaf.number > passed.start]
    if not made or module is passed.module():
        return
    line = here()
    if not seen.looks_left(("made", line), 1):
        kind = type(module).__name__
        place = nearby(line, rf"\b{kind}\(", before=20) or line
        yield Found(place, passed.place, layer=kind, count=sum(p.array.size for p in made))


@check("forward-direct", "note", "op")
def forward_direct(seen: History, event: Event) -> Any:
    """forward() of {layer} is called directly: {hooks} hooks are passed over.

    Why: model(x) runs the hooks around forward(), which spectral norm, profilers and many tools are
    made of; model.forward(x) does not.

    Cure: model(x)
    """
    found = called_directly() if seen.looks_left(("direct", event.place), 2) else None
    if found is not None:
        module, place = found
        hooks = len(module._forward_hooks) + len(module._forward_pre_hooks)
        level = "warning" if hooks else "note"
        yield Found(place, None, level, layer=type(module).__name__, hooks=hooks)


@check("dead-units", "warning", "op.relu op.clamp")
def dead_units(seen: History, event: Event) -> Any:
    """{share:.0%} of the units of a ReLU are 0 for every sample, {times} times in a row.

    Why: Where the input is negative for all samples the gradient is 0: these units do not come back
    by themselves.

    Cure: a lower learning rate, biases that start at 0, or nn.LeakyReLU()
    """
    y = event.y.array
    if y.ndim < 2 or y.shape[0] < 8 or event.y.node is None or y.min() < 0:
        return
    key = "relu", event.place, seen.in_pass("relu")
    axes = (0, *range(2, y.ndim)) if y.ndim == 4 else tuple(range(y.ndim - 1))
    works, (times, before) = y.any(axes), seen.notes.get(key, (0, False))
    works = works | before if np.shape(before) in ((), works.shape) else works
    seen.notes[key] = (times + 1, works) if times < 4 else (0, False)
    if times == 4 and works.mean() < 0.5:
        yield Found(event.place, share=1 - float(works.mean()), times=5)


@check("saturated-units", "warning", "op.linear op.matmul")
def saturated_units(seen: History, event: Event) -> Any:
    """{share:.0%} of what {kind} ({also}) hands on is at its limits.

    Why: There its derivative is almost 0 (of tanh at 0.99 it is 0.02): the layers before it learn
    nothing.

    Cure: smaller initial weights, or normalised inputs
    """
    facts, x = event.before, event.inputs[0].array
    if facts.kind not in ("tanh", "sigmoid") or not x.size or seen.steps > 12:
        return
    if event.y.node is None or event.inside or x.ndim < 2 or not event.inputs[-1].is_leaf:
        return
    share = float((abs(x) > 0.99).mean())
    if facts.kind == "sigmoid":
        share += float((x < 0.01).mean())
    key = "saturated", event.place, facts.place, seen.in_pass("linear")
    if seen.in_a_row(key, share > 0.9) >= 4:
        yield Found(event.place, facts.place, share=share, kind=facts.kind)


@check("symmetric-start", "error", "step")
def symmetric_start(seen: History, event: Event) -> Any:
    """All {rows} units of a layer have the same weights, and the same gradient.

    Why: Equal units stay equal: the layer, of shape {shape}, computes one number {rows} times.

    Cure: random initial weights:  nn.init.kaiming_uniform_(layer.weight)
    """
    if event.record.steps not in (1, 2):
        return
    for p in event.moving:
        x, g = p.array, p._grad.array
        if x.ndim < 2 or x.shape[0] < 2 or not x.size or not np.isfinite(g).all():
            continue
        same = (x == x[:1]).all() and np.allclose(g, g[:1], rtol=1e-4, atol=1e-12)
        if same:
            place = seen.filled.get(address(p)) or _initialised()
            yield Found(place, event.place, rows=x.shape[0], shape=list(x.shape))
            return


def _initialised() -> Place | None:
    """The line that sets all weights alike, if one can be found."""
    init = r"(constant_|zeros_|ones_|fill_|(?<!grad\.)zero_)\(|\b(zeros|ones|full)\(.*requires_grad"
    init += r"|Parameter\(.*\b(zeros|ones|full)\("
    found = [nearby(line, init, before=10_000, after=10_000) for line in stack()]
    return next((place for place in found if place is not None), None)


@check("nan-input", "error", "begin loss op.matmul")
def nan_input(seen: History, event: Event) -> Any:
    """The data hold {bad} numbers that are not finite, of {all}.

    Why: NaN goes through every operation: one is enough to make the loss, all gradients and then
    all weights NaN.

    Cure: x = torch.nan_to_num(x), or leave these rows out
    """
    if seen.notes.get("suspect"):
        return  # it was made, by the line that `nan_first` will name
    outside = event.what == "op"
    if outside and (seen.modules or event.inside or not seen.looks_left(("data", event.place), 3)):
        return
    for t in tensors(event.args or [event.target]):
        if t.node is None and seen.of(t) is NOTHING and not finite(t.array):
            if (np.isnan(t.array) | np.isposinf(t.array)).any():  # -inf is what masks add
                seen.notes["suspect"], seen.notes["nan data"] = None, True
                place = event.place or event.passed.place
                yield Found(place, bad=int((~np.isfinite(t.array)).sum()), all=t.array.size)


def not_finite(op: str, y: Any) -> dict[str, Any]:
    """What is wrong with the results of an operation, or of a derivative."""
    what = "NaN" if np.isnan(y).any() else "infinity"
    return {"op": op, "what": what, "bad": int((~np.isfinite(y)).sum()), "all": y.size}


@check("nan-first", "error", "op backward step bad")
def nan_first(seen: History, event: Event) -> Any:
    """{op}() makes {what} of finite numbers: the first of this program.

    Why: {bad} of {all} results. Whatever is computed from them is NaN, and after the step all
    weights are.

    Cure: keep the argument inside: x.clamp(min=1e-8) for log and sqrt, x + eps below a fraction
    """
    notes = seen.notes
    if event.what == "op":
        if event.name in RISKY and notes.get("suspect") is None and not finite(event.y.array):
            if all([finite(a.array) for a in event.inputs]) and not event.inside:
                notes["suspect"] = event.place, not_finite(event.name, event.y.array)
    elif event.what == "bad":
        words = not_finite(f"the derivative of {event.bad}", event.gx)
        notes.setdefault("back", (event.place, words))
    elif event.what == "backward":
        suspect, _ = notes.pop("suspect", None), notes.pop("back", None)
        if suspect and not math.isfinite(event.value or 0) and not notes.get("nan data"):
            yield Found(suspect[0], event.place, **suspect[1])
    elif notes.get("back"):
        place, numbers = notes.pop("back")
        broken = not all([finite(p._grad.array) for p in event.moving])
        if broken and place is not None and not notes.get("nan data"):
            yield Found(place, event.place, **numbers)


def gradients_by_layer(seen: History, event: Event) -> list[float]:
    """The sizes of the matrices' gradients, in the order of their first use."""
    matrices = [p for p in event.moving if p.array.ndim >= 2 and p.array.size]
    used = sorted([p for p in matrices if seen.bit(p)], key=seen.bit)
    return [rms(p._grad.array) for p in used]


@check("vanishing", "warning", "step")
def vanishing(seen: History, event: Event) -> Any:
    """Gradients fade on their way: in the first layer they are {ratio:.1e} of those in the last.

    Why: Each of {layers} layers multiplies the gradient by less than 1 (sigmoid by at most 0.25):
    the first ones hardly learn.

    Cure: ReLU, normalisation, or connections that skip layers
    """
    yield from _compare(seen, event, "vanishing", lambda first, last: first / last)


@check("exploding", "warning", "step")
def exploding(seen: History, event: Event) -> Any:
    """Gradients grow on their way: in the first layer they are {ratio:.1e} times those in the last.

    Why: Each of {layers} layers multiplies the gradient by more than 1: a step throws the first
    ones far away.

    Cure: nn.utils.clip_grad_norm_(model.parameters(), 1.0); smaller initial weights
    """
    yield from _compare(seen, event, "exploding", lambda first, last: last / first)


def _compare(seen: History, event: Event, which: str, ratio: Any) -> Any:
    if seen.scaled or event.record.steps > 20:
        return
    layers = gradients_by_layer(seen, event)
    key = which, id(event.record)
    if len(layers) < 4 or not all([0 < size < math.inf for size in layers]):
        seen.looks[key] = 0
        return
    found = ratio(layers[0], layers[-1])
    if seen.in_a_row(key, found < 1e-4) >= 4:
        shown = found if which == "vanishing" else 1 / found
        yield Found(event.place, ratio=shown, layers=len(layers))


@check("exploding", "warning", "step")
def exploding_at_once(seen: History, event: Event) -> Any:
    """Gradients are of norm {norm:.1e}, the weights of norm {weights:.1e}.

    Why: One step along such a gradient throws the weights {steps:.0e} times as far as they are.

    Cure: nn.utils.clip_grad_norm_(model.parameters(), 1.0); smaller initial weights
    """
    if seen.scaled or event.record.steps > 20:
        return
    big = [p for p in event.moving if p.array.ndim >= 2]
    norm, weights = norm_of([p._grad.array for p in big]), norm_of([p.array for p in big])
    key = "exploding at once", id(event.record)
    large = math.isfinite(norm) and len(big) >= 3 and norm > 1e4 * max(weights, 1e-3)
    if seen.in_a_row(key, large) >= 3:
        yield Found(event.place, norm=norm, weights=weights, steps=norm / weights)
