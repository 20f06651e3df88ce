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
    failed        it ends with an exception: error, place
"""

import os
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_edu.autograd.graph import reachable
from tinygrad_edu.diagnosis import flow
from tinygrad_edu.diagnosis import history as past
from tinygrad_edu.diagnosis.findings import Event
from tinygrad_edu.diagnosis.source import is_discarded
from tinygrad_edu.engine.composed import Composed
from tinygrad_edu.engine.graph import Leaf, TensorBase, clock
from tinygrad_edu.engine.mode import is_recording, state
from tinygrad_edu.engine.places import UNKNOWN, here, stack
from tinygrad_edu.nn.modules import module as modules
from tinygrad_edu.nn.modules.batchnorm import _BatchNorm
from tinygrad_edu.nn.modules.dropout import _DropoutNd
from tinygrad_edu.optim import optimizer as optimizers

LOSSES = frozenset(
    """cross_entropy nll_loss binary_cross_entropy binary_cross_entropy_with_logits mse_loss l1_loss
    smooth_l1_loss huber_loss kl_div""".split()
)


class Watch:
    """Listens while the doctor is in; `emit(event, **what)` is called for all that happens."""

    def __init__(self, seen: past.History, emit: Callable[..., None], every: int) -> None:
        self.seen, self.emit, self.every = seen, emit, every
        self.asleep, self.process = False, os.getpid()
        self.inside = 0  # composed functions that are running

    # ---- coming and going

    def start(self) -> None:
        """Begin to count steps, and to look on."""
        self.counting = optimizers.register_optimizer_step_post_hook(self.stepped)
        self.wake()

    def wake(self) -> None:
        """Look at everything: calls of this thread, modules, optimizers."""
        self.asleep = False
        self.handles = [
            optimizers.register_optimizer_step_pre_hook(self.stepping),
            modules.register_module_forward_pre_hook(self.entering),
            modules.register_module_forward_hook(self.leaving, always_call=True),
        ]
        self._listen((self.heard,), (self.around,))
        for record in self.seen.schedules:
            record.catch_up()

    def sleep(self) -> None:
        """Look at nothing, but count steps."""
        self.asleep = True
        for handle in self.handles:
            handle.remove()
        self._listen((), ())

    def stop(self) -> None:
        """Stop counting, too."""
        if self.asleep:
            self.wake()
        self.sleep()
        self.counting.remove()

    def _listen(self, listeners: Any, around: Any) -> None:
        mode = state.mode
        others = [x for x in mode.listeners if x != self.heard]
        steps = [x for x in mode.around if x != self.around]
        state.mode = mode.but(listeners=(*others, *listeners), around=(*steps, *around))

    # ---- calls

    def heard(self, op: Any, make: Any, *args: Any, **kwargs: Any) -> Any:
        """One call of this thread, whatever it is."""
        if self.asleep or state.mode.roots or os.getpid() != self.process:
            return make(*args, **kwargs)  # of the backward pass `around` tells
        if op.__class__ is Composed:
            return self._composed(op.name, make, args, kwargs)
        y = make(*args, **kwargs)
        t = y[0] if y.__class__ is tuple and y else y
        if isinstance(t, TensorBase):
            self._made(op.name, args, kwargs, y, t)
        return y

    def _made(self, name: str, args: Any, kwargs: Any, y: Any, t: Any) -> None:
        seen, inputs, node, place = self.seen, past.tensors(args), t.node, None
        if name == "copied" and inputs and not self.inside:
            seen.filled[past.address(inputs[0])] = here()
        if node is not None and not node.is_leaf:
            place = here()
            seen.last_node = node.number
            for part in y if y.__class__ is tuple else (y,):
                part.node.line = place
                if part.node.whole is not None:
                    part.node.whole.line = place
            seen.reach(node)
        if flow.follow(seen, name, args, inputs, y, t, place) or name in flow.WATCHED:
            self.emit(
                "op", name=name, args=args, inputs=inputs, y=t, place=place or here(),
                before=seen.of(inputs[0]) if inputs else past.NOTHING, inside=self.inside,
                ours=self._in_ours(),
            )  # fmt: skip

    def _in_ours(self) -> bool:
        """Whether a layer of this package is running."""
        running = self.seen.modules
        return bool(running) and type(running[-1]).__module__.startswith("tinygrad_edu")

    def _composed(self, name: str, make: Any, args: Any, kwargs: Any) -> Any:
        """A composed function, or a step of training; a method may be named for it."""
        key = name.replace(".", "_")
        if around := getattr(self, f"around_{key}", None):
            return around(make, args, kwargs)
        if before := getattr(self, f"before_{key}", None):
            before(args, kwargs)
            return make(*args, **kwargs)
        after = getattr(self, f"after_{key}", None)
        if after is None:
            self._before(name, args, kwargs)
        within = after is None or name == "scheduler"
        y = self._within(make, args, kwargs) if within else make(*args, **kwargs)
        if after is not None:
            after(args, kwargs, y)
        elif name in LOSSES and isinstance(y, TensorBase):
            self.seen.about(y).learn(kind=f"loss {kwargs.get('reduction', 'mean')}", place=here())
        return y

    def _within(self, make: Any, args: Any, kwargs: Any) -> Any:
        """Call it; what it calls in turn is inside."""
        self.inside += 1
        try:
            return make(*args, **kwargs)
        finally:
            self.inside -= 1

    def _before(self, name: str, args: Any, kwargs: Any) -> None:
        """A composed function is about to be called: a loss, perhaps, or attention."""
        if name == "scaled_dot_product_attention":
            names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
            self.emit("attention", place=here(), **dict(zip(names, args, strict=False)), **kwargs)
        if name not in LOSSES or self.inside:
            return
        given = {**dict(zip(("input", "target"), args, strict=False)), **kwargs}
        x, target = given.get("input"), given.get("target")
        if not (isinstance(x, TensorBase) and isinstance(target, TensorBase)):
            return
        seen, facts, recorded = self.seen, self.seen.of(x), x.node is not None
        passed, last = seen.current, seen.passes[-1] if seen.passes else None
        guesser = seen.of(target).judged or seen.picked.get(past.address(target))
        if facts.judged is not None:
            facts.judged.judged = True
        if guesser is not None and recorded:
            guesser.used = True  # its answers are the labels of a recorded pass
        if passed is None and last is not None and facts.judged is last:
            passed = last
        if passed is not None and passed.module() is not None:
            seen.supervised.add(passed.module())
        self.emit(
            "loss", name=name, target=target, place=here(), facts=facts, kind=facts.kind,
            x=x.array, t=target.array, recorded=recorded, axis=min(x.array.ndim - 1, 1),
            options=given, also=facts.place if facts.kind else None,
        )  # fmt: skip

    # ---- what is no operation

    def around_backward(self, make: Any, args: Any, kwargs: Any) -> Any:
        seen = self.seen
        roots = past.tensors([args[0] if args else kwargs["tensors"]])
        starts = [t.node for t in roots if t.node is not None]
        nodes, lines = reachable(starts), stack()
        _mark(nodes)
        leaves = [n for n in nodes if isinstance(n, Leaf) and n.tensor() is not None]
        reached = {id(leaf) for leaf in leaves}
        seen.backwards += 1
        event = Event(
            what="backward", roots=roots, starts=starts, nodes=nodes, leaves=leaves, stack=lines,
            place=lines[0] if lines else here(),
            mean=len(roots) == 1 and seen.of(roots[0]).kind == "loss mean",
            value=float(roots[0].array) if roots and roots[0].array.size == 1 else None,
            number=max([n.number for n in starts], default=0),
            records=[r for r in seen.living() if not reached.isdisjoint(r.leaves())],
        )  # fmt: skip
        for record in event.records:
            record.backwards += 1
            record.log.append(past.Entry(event.place, seen.steps, lines, event.mean))
        self.emit(**vars(event))
        result = make(*args, **kwargs)
        seen.gradients.clear()
        for leaf in leaves:
            t, found = leaf.tensor(), seen.leaf(leaf)
            if t is not None:
                found.backwards += 1
                found.gradient, found.value = past.snapshot(t._grad), past.fingerprint(t)
                found.touched = found.consumed = False
                if t._grad is not None:
                    seen.gradients[id(t._grad)] = weakref.ref(leaf)
        return result

    def before_autograd_grad(self, args: Any, kwargs: Any) -> None:
        outputs = past.tensors([args[0] if args else kwargs["outputs"]])
        _mark(reachable([t.node for t in outputs if t.node is not None]))

    def after_detach(self, args: Any, kwargs: object, y: Any) -> None:
        flow.cut(self.seen, args[0], y, "detach()")

    def after_data(self, args: Any, kwargs: object, y: Any) -> None:
        flow.cut(self.seen, args[0], y, ".data")
        if args[0].leaf is not None:
            self.seen.filled[past.address(args[0])] = here()
        self.emit("data", t=args[0], twin=y, place=here())

    def before_set_data(self, args: Any, kwargs: object) -> None:
        vars(self.seen.of(args[1])).pop("gradient_of", None)  # the leaf has its new value

    def before_grad_of_result(self, args: Any, kwargs: object) -> None:
        self.emit("grad_of_result", t=args[0], place=here())

    def after_item(self, args: Any, kwargs: object, y: Any) -> None:
        t, seen = args[0], self.seen
        facts = seen.of(t)
        lost, passed = facts.lost | (0 if t.node is None else seen.reach(t.node)), facts.judged
        if lost:
            seen.left[here()] |= lost
        if passed and (isinstance(y, (int, float)) or passed.module() in seen.supervised):
            passed.judged = True
        if isinstance(y, np.ndarray):
            flow.inherit(seen, facts, y)

    after_tolist = after_numpy = after_item

    def after_tensor(self, args: Any, kwargs: Any, y: Any) -> None:
        source = args[0] if args else kwargs.get("data")
        if isinstance(source, TensorBase):
            flow.cut(self.seen, source, y, "torch.tensor()")
        elif y.node is not None or isinstance(source, (int, float)):
            self.seen.about(y).learn(kind="new", place=here())

    def after_from_numpy(self, args: Any, kwargs: object, y: Any) -> None:
        flow.inherit(self.seen, self.seen.of(args[0] if args else None), y)

    def after_to(self, args: Any, kwargs: object, y: Any) -> None:
        t = args[0]
        if not self.inside and not self._in_ours() and is_discarded():
            self.emit("to", t=t, place=here())
        if y is not t and y.node is None:
            flow.inherit(self.seen, self.seen.of(t), y)
            if t.node is not None:
                flow.cut(self.seen, t, y, "a cast to integers")

    def after_optimizer(self, args: Any, kwargs: object, y: Any) -> None:
        self.seen.optimizer(args[0], here())

    def before_zero_grad(self, args: Any, kwargs: object) -> None:
        owner, seen, place, now = args[0], self.seen, here(), clock()
        groups = getattr(owner, "param_groups", None)
        ids = {id(p) for p in (owner.parameters() if groups is None else past.listed(groups))}
        for record in seen.living():
            if not ids.isdisjoint(map(id, record.parameters())):
                given = [p for p in record.parameters() if p._grad is not None]
                fresh = any([not seen.is_consumed(p) for p in given])
                record.log.append(past.Entry(place, seen.steps, (), False, True, fresh, now))

    def after_scheduler(self, args: Any, kwargs: object, y: Any) -> None:
        self.seen.schedule(args[0], here())
        for part in getattr(args[0], "_schedulers", ()):
            self.seen.schedule(part, here()).inner = True

    def around_scheduler_step(self, make: Any, args: Any, kwargs: Any) -> Any:
        y = self._within(make, args, kwargs)
        if not self.inside:  # else it is part of another schedule
            place, record = here(), self.seen.schedule(args[0], here())
            record.steps += 1
            record.alone += record.steps > 1 and record.optimizer.steps - record.beside != 1
            self.emit("schedule", record=record, schedule=args[0], place=place, stack=stack())
            record.beside, record.epochs = record.optimizer.steps, past.epochs(args[0])
        return y

    def around_clip(self, make: Any, args: Any, kwargs: Any) -> Any:
        given = [*args, *kwargs.values()]
        several = [given[0]] if isinstance(given[0], TensorBase) else list(given[0])
        most = kwargs.get("max_norm", kwargs.get("clip_value", given[1]))
        place, most = here(), float(most)
        self.emit("clip", parameters=several, most=most, place=place)
        names = ("parameters", "max_norm", "norm_type", "error_if_nonfinite", "foreach")
        norm = make(**{**kwargs, **dict(zip(names, (several, *args[1:]), strict=False))})
        if norm is not None:
            self.seen.norms[place, most].append(float(norm))
        return norm

    def after_loader(self, args: Any, kwargs: object, y: Any) -> None:
        self.emit("loader", loader=args[0], place=here())

    def before_epoch(self, args: Any, kwargs: object) -> None:
        self.emit("epoch", loader=args[0], place=here(), recording=is_recording())

    def before_scaler_step(self, args: object, kwargs: object) -> None:
        self.seen.scaled = True

    # ---- modules

    def entering(self, module: Any, args: Any) -> None:
        """A module is about to compute."""
        seen = self.seen
        if not seen.modules:
            seen.current = None
            if not type(module).__module__.endswith("modules.loss"):
                seen.current = passed = past.Pass(module, seen.steps)
                given = past.tensors(args)
                passed.given = past.contents(given[0]) if given else None
                self.emit("begin", passed=passed, module=module, args=args)
        seen.modules.append(module)
        if seen.current is not None:
            _note_mode(seen.current, module)
            self.emit("module", module=module, passed=seen.current)

    def leaving(self, module: Any, args: object, output: object) -> None:
        """It has computed, or failed."""
        seen = self.seen
        while seen.modules and seen.modules.pop() is not module:
            pass
        passed = seen.current
        if seen.modules or passed is None:
            return
        seen.current = None
        for t in past.tensors(output.values() if isinstance(output, dict) else [output]):
            if t.node is not None and not t.node.is_leaf:
                passed.outputs.append(weakref.ref(t.node))
                t.node.of_pass = passed
            if passed.training and passed.noisy:
                seen.about(t).judged = passed
        seen.passes.append(passed)

    # ---- optimizers

    def stepping(self, optimizer: Any, args: object, kwargs: object) -> None:
        """An optimizer is about to step."""
        seen, place = self.seen, here()
        record = seen.optimizer(optimizer, place)
        record.step_place, record.stepping = place, True
        seen.adopt(record)
        parameters = record.parameters()
        moving = [p for p in parameters if p._grad is not None]
        self.emit("step", optimizer=optimizer, record=record, parameters=parameters, place=place,
                  moving=moving)  # fmt: skip
        for p in moving:
            leaf = seen.record(p)
            if leaf is not None:
                leaf.gradient, leaf.consumed = past.snapshot(p._grad), True

    def stepped(self, optimizer: Any, args: object, kwargs: object) -> None:
        """It has stepped: the log starts anew."""
        seen = self.seen
        record = seen.optimizer(optimizer, UNKNOWN)
        record.steps += 1
        seen.steps += 1
        record.tick = seen.last_step = clock()
        if not self.asleep:
            said = [entry for entry in record.log if not entry.wipes or entry.fresh]
            record.fresh, record.stepping = bool(said) and not said[-1].wipes, False
            record.looks += 1
            record.log.clear()
            self.emit("stepped", optimizer=optimizer, record=record)
        if self.every > 1:
            turn = seen.steps // max(sum([r.steps > 0 for r in seen.living()]), 1)
            asleep = turn >= 2 and turn % self.every != 0
            if asleep and not self.asleep:
                self.sleep()
                seen.forget()
            elif self.asleep and not asleep:
                self.wake()

    # ---- the backward pass

    def around(self, step: Any, node: Any, kept: Any, g: Any) -> Any:
        """One step of it: which rule makes a gradient that is not finite?"""
        if self.asleep or node.plan.op.name not in flow.RISKY:
            return step(node, kept, g)
        found = list(step(node, kept, g))
        for _, gx in found:
            arrays = isinstance(gx, (np.ndarray, np.generic)) and not isinstance(g, TensorBase)
            if arrays and not flow.finite(gx) and flow.finite(g):
                line = node.__dict__.get("line")
                self.emit("bad", bad=node.plan.op.name, gx=gx, place=line)
                break
        return found


def _mark(nodes: set[Any]) -> None:
    """A backward pass comes through these nodes, and so through what made them."""
    for node in nodes:
        passed = node.__dict__.get("of_pass")
        if passed is not None:
            passed.visited = True


def _note_mode(passed: past.Pass, module: Any) -> None:
    """Note a layer that does something else in training than in evaluation."""
    norm = isinstance(module, _BatchNorm) and module.track_running_stats
    p = getattr(module, "p" if isinstance(module, _DropoutNd) else "dropout", None)
    drops = isinstance(p, (int, float)) and 0 < p < 1
    if norm or (drops and type(module).__module__.startswith("tinygrad_edu")):
        (passed.noisy if module.training else passed.quiet).append(type(module).__name__)
