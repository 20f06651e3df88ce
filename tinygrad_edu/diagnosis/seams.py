"""How the doctor looks on: it listens to calls, and hooks onto modules, optimizers and rules.

Each thing that happens becomes an event; the checks that are interested in that event run on it
(see findings.py).  The events, and what they know:

    op            an operation was called: name, inputs, y, place
    loss          a loss is about to be computed: name, input, target, place
    pass          a model has answered: passed (see history.py), module, args
    module        a module inside of one is called: module
    backward      a backward pass begins: roots, nodes, leaves, place, stack, value
    step          an optimizer is about to step: optimizer, record, parameters, place
    stepped       it has
    zero_grad     gradients are about to be forgotten: parameters, place
    clip          gradients are about to be clipped: parameters, most, place
    schedule      a schedule has stepped: record, place
    epoch         a loader is asked for batches: loader, place
    to, data, set_data, grad_of_result    the method was called: t, place
    end           the block ends
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from tinygrad_edu.diagnosis import flow
from tinygrad_edu.diagnosis.history import (
    History,
    Pass,
    address,
    contents,
    fingerprint,
    snapshot,
    tensors,
    visited,
)
from tinygrad_edu.diagnosis.places import here, is_discarded, stack
from tinygrad_edu.engine.composed import Composed
from tinygrad_edu.engine.graph import Leaf, Variable, clock
from tinygrad_edu.engine.mode import is_recording, state
from tinygrad_edu.nn.modules.batchnorm import _BatchNorm
from tinygrad_edu.nn.modules.dropout import _DropoutNd
from tinygrad_edu.nn.modules.hooks import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from tinygrad_edu.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

LOSSES = frozenset(
    [
        "cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits",
        "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "kl_div",
    ]
)  # fmt: skip
Emit = Callable[[str, Any], None]


class Watch:
    """Listens while the doctor is in; `emit(event, what)` is called for all that happens."""

    def __init__(self, seen: History, emit: Emit, every: int) -> None:
        self.seen, self.emit, self.every = seen, emit, every
        self.asleep = False
        self.inside = 0  # composed functions that are running
        self.told = {
            name: getattr(self, f"_{name.replace('.', '_')}")
            for name in (
                "backward", "autograd.grad", "detach", "data", "set_data", "grad_of_result", "item",
                "tolist", "numpy", "tensor", "from_numpy", "to", "optimizer", "zero_grad",
                "scheduler", "scheduler_step", "clip", "loader", "epoch", "scaler_step",
            )
        }  # fmt: skip

    # ---- coming and going

    def start(self) -> None:
        """Begin to listen, in this thread."""
        mode = state.mode
        state.mode = mode.but(
            listeners=(*mode.listeners, self.heard), around=(*mode.around, self.around)
        )
        self.handles = [
            register_optimizer_step_pre_hook(self.stepping),
            register_optimizer_step_post_hook(self.stepped),
        ]
        self.wake()

    def wake(self) -> None:
        """Look at modules and operations, too."""
        self.asleep = False
        self.on_modules = [
            register_module_forward_pre_hook(self.entering),
            register_module_forward_hook(self.leaving, always_call=True),
        ]

    def sleep(self) -> None:
        """Let modules and operations pass, until the next step that is looked at."""
        self.asleep = True
        for handle in self.on_modules:
            handle.remove()
        self.seen.modules.clear()
        self.seen.current = None

    def stop(self) -> None:
        """Stop listening."""
        mode = state.mode
        state.mode = mode.but(
            listeners=tuple([x for x in mode.listeners if x != self.heard]),
            around=tuple([x for x in mode.around if x != self.around]),
        )
        for handle in (*self.handles, *self.on_modules):
            handle.remove()

    # ---- calls

    def heard(self, op: Any, make: Any, *args: Any, **kwargs: Any) -> Any:
        """One call of this thread, whatever it is."""
        if state.mode.roots:  # the backward pass: see `around`
            return make(*args, **kwargs)
        if op.__class__ is Composed:
            return self._composed(op.name, make, args, kwargs)
        if self.asleep:
            return make(*args, **kwargs)
        y = make(*args, **kwargs)
        t = y[0] if y.__class__ is tuple and y else y
        if isinstance(t, Variable):
            self._made(op.name, args, kwargs, y, t)
        return y

    def _made(self, name: str, args: Any, kwargs: Any, y: Any, t: Any) -> None:
        seen, inputs, node = self.seen, tensors(args), t.node
        place = None
        if name == "copied" and inputs and self.inside == 0:
            seen.filled[address(inputs[0])] = here()
        if node is not None and not node.is_leaf:
            place = here()
            seen.last_node = node.number
            for part in y if y.__class__ is tuple else (y,):
                part.node.line = place
                if part.node.whole is not None:
                    part.node.whole.line = place
            seen.reach(node)
        if flow.follow(seen, name, args, inputs, y, t, place) or name in flow.WATCHED:
            event = SimpleNamespace(
                name=name, args=args, kwargs=kwargs, inputs=inputs, y=t,
                place=place or here(), inside=self.inside, ours=self._in_ours(),
            )  # fmt: skip
            self.emit("op", event)

    def _in_ours(self) -> bool:
        """Whether a layer of this package is running."""
        running = self.seen.modules
        return bool(running) and type(running[-1]).__module__.startswith("tinygrad_edu")

    def _composed(self, name: str, make: Any, args: Any, kwargs: Any) -> Any:
        told = self.told.get(name)
        if told is not None:
            return told(make, args, kwargs)
        if self.asleep:
            return make(*args, **kwargs)
        if name in LOSSES and not self.inside:
            self._loss(name, args, kwargs)
        elif name == "scaled_dot_product_attention":
            names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
            given = SimpleNamespace(attn_mask=None, is_causal=False, place=here())
            given.__dict__.update(zip(names, args, strict=False), **kwargs)
            self.emit("attention", given)
        self.inside += 1
        try:
            y = make(*args, **kwargs)
        finally:
            self.inside -= 1
        if name in LOSSES and isinstance(y, Variable):
            facts = self.seen.about(y)
            facts.kind, facts.place = f"loss {kwargs.get('reduction', 'mean')}", here()
        return y

    def _loss(self, name: str, args: Any, kwargs: Any) -> None:
        given = {**dict(zip(("input", "target"), args, strict=False)), **kwargs}
        x, target = given.get("input"), given.get("target")
        if isinstance(x, Variable) and isinstance(target, Variable):
            for t in (x, target):
                flow.judge(self.seen.of(t))
            self.emit(
                "loss",
                SimpleNamespace(
                    name=name, input=x, target=target, given=given, place=here(),
                    facts=self.seen.of(x), recorded=x.node is not None,
                ),
            )  # fmt: skip

    # ---- what is no operation

    def _backward(self, make: Any, args: Any, kwargs: Any) -> Any:
        roots = tensors([args[0] if args else kwargs["tensors"]])
        starts = [t.node for t in roots if t.node is not None]
        nodes = visited(starts)
        seen = self.seen
        leaves = [n for n in nodes if isinstance(n, Leaf) and n.tensor() is not None]
        for node in nodes:
            passed = node.__dict__.get("of_pass")
            if passed is not None:
                passed.visited = True
        lines = stack()
        seen.backwards += 1
        value = float(roots[0].array) if roots and roots[0].array.size == 1 else None
        event = SimpleNamespace(
            roots=roots, starts=starts, nodes=nodes, leaves=leaves, place=lines[0] if lines else
            here(), stack=lines, value=value, number=max([n.number for n in starts], default=0),
            facts=seen.of(roots[0]) if roots else None, mean=_is_mean(seen, roots),
        )  # fmt: skip
        reached = {id(leaf) for leaf in leaves}
        event.records = [
            r for r in seen.living()
            if any([id(p.leaf) in reached for p in r.parameters() if p.leaf is not None])
        ]  # fmt: skip
        for record in event.records:
            record.backwards += 1
            record.log.append(("backward", event.place, lines, event))
        self.emit("backward", event)
        result = make(*args, **kwargs)
        seen.gradients.clear()
        for leaf in leaves:
            t = leaf.tensor()
            if t is None:
                continue
            record = seen.leaf(leaf)
            record.backwards += 1
            record.gradient, record.value = snapshot(t._grad), fingerprint(t)
            record.touched = record.consumed = False
            if t._grad is not None:
                seen.gradients[id(t._grad)] = weakref.ref(leaf)
        event.roots, event.nodes, event.leaves, event.starts = [], set(), [], []
        return result

    def _autograd_grad(self, make: Any, args: Any, kwargs: Any) -> Any:
        outputs = tensors([args[0] if args else kwargs["outputs"]])
        for node in visited([t.node for t in outputs if t.node is not None]):
            passed = node.__dict__.get("of_pass")
            if passed is not None:
                passed.visited = True
        return make(*args, **kwargs)

    def _detach(self, make: Any, args: Any, kwargs: Any) -> Any:
        y = make(*args, **kwargs)
        flow.cut(self.seen, args[0], y, "detach()")
        return y

    def _data(self, make: Any, args: Any, kwargs: Any) -> Any:
        y = make(*args, **kwargs)
        flow.cut(self.seen, args[0], y, ".data")
        place = here()
        if args[0].leaf is not None:
            self.seen.filled[address(args[0])] = place
        self.emit("data", SimpleNamespace(t=args[0], twin=y, place=place))
        return y

    def _set_data(self, make: Any, args: Any, kwargs: Any) -> Any:
        facts = self.seen.of(args[1])
        if facts is not None:
            facts.gradient_of = None  # the leaf has been given its new value
        return make(*args, **kwargs)

    def _grad_of_result(self, make: Any, args: Any, kwargs: Any) -> Any:
        self.emit("grad_of_result", SimpleNamespace(t=args[0], place=here()))
        return make(*args, **kwargs)

    def _number(self, make: Any, args: Any, kwargs: Any) -> Any:
        y, t = make(*args, **kwargs), args[0]
        facts, node = self.seen.of(t), t.node
        lost = (0 if facts is None else facts.lost) | (0 if node is None else self.seen.reach(node))
        if lost:
            place = here()
            self.seen.left[place] = self.seen.left.get(place, 0) | lost
        if isinstance(y, (int, float)):
            flow.judge(facts)
        if isinstance(y, np.ndarray) and facts is not None:
            flow.give_out(self.seen, y, facts)
        return y

    _item = _tolist = _numpy = _number

    def _tensor(self, make: Any, args: Any, kwargs: Any) -> Any:
        y = make(*args, **kwargs)
        source = args[0] if args else kwargs.get("data")
        if isinstance(source, Variable):
            flow.cut(self.seen, source, y, "torch.tensor()")
        elif y.node is not None or isinstance(source, (int, float)):
            facts = self.seen.about(y)
            facts.kind, facts.place = "new", here()
        return y

    def _from_numpy(self, make: Any, args: Any, kwargs: Any) -> Any:
        y = make(*args, **kwargs)
        flow.take_back(self.seen, args[0] if args else None, y)
        return y

    def _to(self, make: Any, args: Any, kwargs: Any) -> Any:
        y = make(*args, **kwargs)
        if self.asleep:
            return y
        if not self.inside and not self._in_ours() and is_discarded():
            self.emit("to", SimpleNamespace(t=args[0], place=here()))
        facts, t = self.seen.of(args[0]), args[0]
        if y is not t and y.node is None and (t.node is not None or facts is not None):
            flow.inherit(self.seen, facts, y)
            if t.node is not None:
                flow.cut(self.seen, t, y, "a cast to integers")
        return y

    def _optimizer(self, make: Any, args: Any, kwargs: Any) -> Any:
        make(*args, **kwargs)
        self.emit(
            "optimizer", SimpleNamespace(record=self.seen.optimizer(args[0], here()), place=here())
        )

    def _zero_grad(self, make: Any, args: Any, kwargs: Any) -> Any:
        owner, seen = args[0], self.seen
        if hasattr(owner, "param_groups"):
            parameters = [p for group in owner.param_groups for p in group["params"]]
        else:
            parameters = list(owner.parameters())
        ids, place = {id(p) for p in parameters}, here()
        for record in seen.living():
            mine = record.parameters()
            if any([id(p) in ids for p in mine]):
                wiped = any([p._grad is not None and not _consumed(seen, p) for p in mine])
                record.log.append(("zero", place, wiped, clock()))
        self.emit("zero_grad", SimpleNamespace(parameters=parameters, place=place))
        return make(*args, **kwargs)

    def _scheduler(self, make: Any, args: Any, kwargs: Any) -> Any:
        schedule = args[0]
        self.inside += 1
        try:
            make(*args, **kwargs)
        finally:
            self.inside -= 1
        self.seen.schedule(schedule, here())

    def _scheduler_step(self, make: Any, args: Any, kwargs: Any) -> Any:
        seen, schedule = self.seen, args[0]
        self.inside += 1
        try:
            y = make(*args, **kwargs)
        finally:
            self.inside -= 1
        if self.inside:
            return y
        place = here()
        record = seen.schedule(schedule, place)
        record.steps += 1
        optimizer = record.optimizer
        self.emit(
            "schedule",
            SimpleNamespace(record=record, schedule=schedule, optimizer=optimizer, place=place),
        )
        record.beside = optimizer.steps
        return y

    def _clip(self, make: Any, args: Any, kwargs: Any) -> Any:
        given = [*args, *kwargs.values()]
        parameters = given[0] if isinstance(given[0], Variable) else list(given[0])
        several = [parameters] if isinstance(parameters, Variable) else parameters
        most = kwargs.get("max_norm", kwargs.get("clip_value", given[1]))
        self.emit("clip", SimpleNamespace(parameters=several, most=float(most), place=here()))
        if args:
            return make(parameters, *args[1:], **kwargs)
        return make(**{**kwargs, "parameters": parameters})

    def _loader(self, make: Any, args: Any, kwargs: Any) -> Any:
        make(*args, **kwargs)
        self.emit("loader", SimpleNamespace(loader=args[0], place=here()))

    def _epoch(self, make: Any, args: Any, kwargs: Any) -> Any:
        self.emit(
            "epoch",
            SimpleNamespace(loader=args[0], place=here(), recording=is_recording()),
        )
        return make(*args, **kwargs)

    def _scaler_step(self, make: Any, args: Any, kwargs: Any) -> Any:
        self.seen.scaled = True
        return make(*args, **kwargs)

    # ---- modules

    def entering(self, module: Any, args: Any) -> None:
        """A module is about to compute."""
        seen = self.seen
        if not seen.modules:
            if type(module).__module__.endswith("modules.loss"):
                seen.current = None
            else:
                seen.current = passed = Pass(module, stack(), is_recording(), clock())
                passed.step = seen.steps
                given = next((a for a in args if isinstance(a, Variable)), None)
                passed.given = None if given is None else contents(given)
                self.emit("begin", SimpleNamespace(passed=passed, module=module, args=args))
        seen.modules.append(module)
        if seen.current is not None:
            _note_mode(seen.current, module)
            self.emit("module", SimpleNamespace(module=module, passed=seen.current))

    def leaving(self, module: Any, args: Any, output: Any) -> None:
        """It has computed, or failed."""
        seen = self.seen
        while seen.modules and seen.modules.pop() is not module:
            pass
        passed = seen.current
        if seen.modules or passed is None:
            return
        seen.current = None
        results = tensors([output] if not isinstance(output, dict) else output.values())
        for t in results:
            if t.node is not None and not t.node.is_leaf:
                passed.outputs.append(weakref.ref(t.node))
                t.node.of_pass = passed
            if passed.training and passed.noisy:
                seen.about(t).judged = passed
        seen.passes.append(passed)
        self.emit("pass", SimpleNamespace(passed=passed, module=module, args=args, results=results))

    # ---- optimizers

    def stepping(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """An optimizer is about to step."""
        seen, place = self.seen, here()
        record = seen.optimizer(optimizer, place)
        record.step_place = place
        seen.adopt(record)
        event = SimpleNamespace(
            optimizer=optimizer, record=record, parameters=record.parameters(), place=place
        )
        event.moving = [p for p in event.parameters if p._grad is not None]
        self.emit("step", event)
        for p in event.moving:
            leaf = seen.record(p)
            if leaf is not None:
                leaf.gradient, leaf.consumed = snapshot(p._grad), True

    def stepped(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """It has stepped: the log starts anew."""
        seen = self.seen
        record = seen.optimizers[id(optimizer)]
        kinds = [entry[0] for entry in record.log if entry[0] == "backward" or entry[2]]
        record.fresh = bool(kinds) and kinds[-1] == "backward"
        record.log.clear()
        record.steps += 1
        seen.steps += 1
        record.tick = seen.last_step = clock()
        self.emit("stepped", SimpleNamespace(optimizer=optimizer, record=record))
        asleep = self.every > 1 and seen.steps >= 2 and seen.steps % self.every != 0
        if asleep != self.asleep:
            self.sleep() if asleep else self.wake()

    # ---- the backward pass

    def around(self, step: Any, node: Any, kept: Any, g: Any) -> Any:
        """One step of it: which rule makes a gradient that is not finite?"""
        if self.asleep or node.plan.op.name not in flow.RISKY:
            return step(node, kept, g)
        found = list(step(node, kept, g))
        if isinstance(g, (np.ndarray, np.generic)) and flow.finite(g):
            for _, gx in found:
                if isinstance(gx, (np.ndarray, np.generic)) and not flow.finite(gx):
                    bad = {"op": f"the derivative of {node.plan.op.name}", "all": gx.size}
                    bad |= {"what": "NaN or infinity", "bad": int((~np.isfinite(gx)).sum())}
                    self.emit("bad", SimpleNamespace(bad=bad, place=node.__dict__.get("line")))
                    break
        return found


def _note_mode(passed: Pass, module: Any) -> None:
    """Note a layer that does something else in training than in evaluation."""
    norm = isinstance(module, _BatchNorm) and module.track_running_stats
    p = getattr(module, "p" if isinstance(module, _DropoutNd) else "dropout", None)
    drops = isinstance(p, (int, float)) and 0 < p < 1
    if norm or (drops and type(module).__module__.startswith("tinygrad_edu")):
        (passed.noisy if module.training else passed.quiet).append(type(module).__name__)


def _is_mean(seen: History, roots: list[Any]) -> bool:
    """Whether a backward pass starts from a mean that nothing has divided since."""
    if len(roots) != 1 or roots[0].node is None or roots[0].node.is_leaf:
        return False
    facts = seen.of(roots[0])
    kind = None if facts is None else facts.kind
    return kind == "loss mean" or (kind is None and roots[0].node.plan.op.name == "mean")


def _consumed(seen: History, p: Any) -> bool:
    record = seen.record(p)
    return record is not None and record.consumed and record.gradient == snapshot(p._grad)
