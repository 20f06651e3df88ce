"""Programs: a recording written out in Python, as functions of arrays.

A line is one call.  What no later line names is deleted at once, or lends its memory to a result;
gradients that lead nowhere are never computed.  `torch.compiler.explain` shows the plan:

    def forward(x0, w0, w1):
        v1 = np.matmul(x0, w0.T)
        np.add(v1, w1, out=v1)
        v2 = np.maximum(v1, zeros, out=v1)
        del v1
        return (v2,), (x0, v2)

If the function is a training step, its backward pass stands in the midst of the program, and
gradients `land` at the leaves; else it is a second program, which the results' node runs.
"""

from __future__ import annotations

import contextlib
import itertools
import keyword
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tinygrad_edu.compiler.lower import BACKWARD
from tinygrad_edu.engine.graph import Node
from tinygrad_edu.engine.mode import state
from tinygrad_edu.engine.record import as_array
from tinygrad_edu.engine.walk import accumulate, unbroadcast

NAME = re.compile(r"\b[vxw]\d+\b")
"""An array in a line: `v` computed, `x` an argument, `w` from outside."""
_COMPUTED = re.compile(r"\b(?:[vdlg]\d+|e)\b")
_RESERVED = re.compile(r"[vxwdrgl]\d+|[heg_]")


def fit(g: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """A gradient in the shape and dtype of what it is the gradient of, as the walk makes it."""
    if g is None or (g.shape == shape and g.dtype is dtype):
        return g
    if g.shape != shape:
        g = unbroadcast(g, shape)
    return g if g.dtype == dtype else g.astype(dtype)


def hand_out(gx: Any, g: Any) -> Any:
    """A gradient that leaves the program: a view, unless the walk may take its array for its own.

    See `Arrivals` in engine/walk.py.
    """
    return gx.view() if gx is g and gx.__class__ is np.ndarray else gx


def own(gx: Any, g: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """`fit` for a leaf: an array that nobody else holds, for it may become the leaf's `.grad`."""
    fitting = fit(gx, shape, dtype)
    return fitting.copy() if fitting is g or fitting.base is not None else fitting


def add(so_far: Any, g: Any) -> Any:
    """The sum of two gradients, either of which may be None."""
    if g is None:
        return so_far
    return g if so_far is None else so_far + g


def put(parts: Any, count: int, index: int, g: Any) -> Any:
    """The gradients of an operation's outputs, with that of one more."""
    parts = parts or [None] * count
    parts[index] = g
    return parts


def land(leaf: Any, g: Any) -> None:
    """The gradient of a leaf has arrived: what the walk does with it."""
    hooks = leaf.hooks
    if hooks is None:
        accumulate(leaf, g, True, False)
    else:
        accumulate(leaf, hooks.arrived(g, False), False, False)
        hooks.handed_on(leaf, (), g, False)


@contextlib.contextmanager
def quiet(loss: Node) -> Iterator[None]:
    """The mode of a backward pass: nothing is recorded, and NumPy warns of nothing.

    `loss` is a node that leads to all leaves at once; hooks may ask which those are.
    """
    mode = state.mode
    try:
        state.mode = mode.but(enabled=False, roots=(loss,))
        with np.errstate(all="ignore"):
            yield
    finally:
        state.mode = mode


class Writer:
    """Writes a function, line by line, with the objects that its lines name.

    Attributes:
        names: the objects: operations, rules, shapes, whatever is no number.
        lines: the body so far.
    """

    def __init__(self) -> None:
        self.names: dict[str, Any] = {
            "fit": fit, "hand_out": hand_out, "add": add, "put": put, "asarray": as_array,
            "np": np, "own": own, "land": land, "quiet": quiet,
        }  # fmt: skip
        self.lines: list[str] = []
        self._known: dict[int, str] = {}

    def line(self, text: str, depth: int = 1) -> None:
        """Add a line."""
        self.lines.append("    " * depth + text)

    def name(self, value: Any, hint: str) -> str:
        """The name under which the lines find an object."""
        found = self._known.get(id(value))
        if found is None:
            found = hint = re.sub(r"\W", "", hint) or "f"
            number = itertools.count(2)
            while found in self.names or keyword.iskeyword(found) or _RESERVED.fullmatch(found):
                found = f"{hint}_{next(number)}"
            self.names[found] = value
            self._known[id(value)] = found
        return found

    def constant(self, value: Any) -> str:
        """Something that is no array, as an expression."""
        if value is None or type(value) in (bool, int, str):
            return repr(value)
        if type(value) is float and math.isfinite(value):
            return repr(value)
        if type(value) is tuple and all([type(v) in (int, bool) for v in value]):
            return repr(value)
        return self.name(value, type(value).__name__.lower())

    def template(self, value: Any, arrays: Any) -> str:
        """An argument as an expression; `arrays(a)` is the name of an array, None for no array."""
        known = arrays(value)
        if known is not None:
            return str(known)
        if type(value) in (tuple, list) and any([_holds_array(v, arrays) for v in value]):
            inner = ", ".join([self.template(v, arrays) for v in value])
            return f"[{inner}]" if type(value) is list else f"({inner},)"
        return self.constant(value)

    def function(self, name: str, parameters: Sequence[str]) -> tuple[str, Any]:
        """Its source and itself; what is no longer needed is deleted."""
        given = {p for p in parameters if p[0] != "g"}
        body = _with_deletions(in_place(self.lines, given), given)
        source = "\n".join([f"def {name}({', '.join(parameters)}):", *body, ""])
        scope = {**self.names, "__name__": __name__}  # it is one of ours
        exec(compile(source, f"<compiled {name}>", "exec"), scope)
        return source, scope[name]


def _holds_array(value: Any, arrays: Any) -> bool:
    if type(value) in (tuple, list):
        return any([_holds_array(v, arrays) for v in value])
    return arrays(value) is not None


_SUM = re.compile(r"(\w+) = (np\.(?:add|subtract|multiply|maximum)\((\w+), (\w+))\)")
_READS = re.compile(r"= np\.|^ *np\.|_noise\(|= gate\(")


def in_place(lines: Sequence[str], kept: set[str]) -> list[str]:
    """The lines, where elementwise results take the memory of an operand that is not used again.

    It must be an array that the program has computed in C order, and that nothing else looks into:
    only lines that call NumPy, and copy, name it.
    """
    uses: dict[str, list[int]] = {}
    for i, line in enumerate(lines):
        for name in _COMPUTED.findall(line):
            uses.setdefault(name, []).append(i)
    ours = {
        n for n, at in uses.items() if n not in kept and all(_READS.search(lines[i]) for i in at)
    }
    straight: set[str] = set()
    written = []
    for i, line in enumerate(lines):
        found = _SUM.search(line)
        if found is not None:
            y, call, *operands = found.groups()
            if all([n[0] != "d" or n in straight for n in operands]):
                straight.add(y)
            free = [n for n in operands if n in ours and n in straight and uses[n][-1] == i]
            line = line.replace(call, f"{call}, out={free[0]}") if free else line
        elif "= np.matmul(" in line:
            straight.add(line.split()[0])
        written.append(line)
    return written


def _with_deletions(lines: Sequence[str], kept: set[str]) -> list[str]:
    """The lines, and behind the last that names a computed array its deletion."""
    last: dict[str, int] = {}
    for i, line in enumerate(lines):
        last |= dict.fromkeys([n for n in _COMPUTED.findall(line) if n not in kept], i)
    ends: dict[int, list[str]] = {}
    for name, i in last.items():
        ends.setdefault(i, []).append(name)
    written = []
    for i, line in enumerate(lines):
        written.append(line)
        if i in ends and not line.lstrip().startswith("return"):
            margin = line[: len(line) - len(line.lstrip())]
            written.append(f"{margin}del {', '.join(ends[i])}")
    return written


class Step:
    """A node of the recorded graph, with names in place of the arrays that it keeps."""

    def __init__(self, node: Any, kept: Sequence[str]) -> None:
        self.plan, self.edges, self.shape, self.dtype = (
            node.plan,
            node.edges,
            node.shape,
            node.dtype,
        )
        self.number, self.whole, self.index, self.parts = (
            node.number, node.whole, node.index, node.parts,
        )  # fmt: skip
        self.kept, self.values = tuple(kept), node.kept


class Walk:
    """Writes the walk over recorded nodes, youngest first, as the engine would take them.

    Args:
        steps: the nodes of the recording.
        ends: the nodes that gradients are handed on to, and which tensor each belongs to.
        outputs: the nodes of the results, whose gradients are `g0`, `g1` and so on.
        start: their one gradient, if the walk is part of a program; gradients then go to leaves.

    Attributes:
        shares: the nodes at the ends, one for each share of a gradient, in the order of `return`.
        sure: every gradient arrives; with several outputs some may not.
    """

    def __init__(
        self, writer: Writer, steps: dict[Any, Step], ends: dict[Any, int],
        outputs: Sequence[Any], start: str = "",
    ) -> None:  # fmt: skip
        self.writer, self.ends, self.start = writer, ends, start
        self.shares: list[Any] = []
        self.sure = len(outputs) == 1
        order = sorted(steps, key=lambda node: -node.number)
        self.place = {node: f"d{i}" for i, node in enumerate(order)}
        if start:
            self.place |= {node: f"l{i}" for node, i in ends.items()}
        before, writer.lines = writer.lines, []
        self.arrived = {*outputs}
        for node in order:
            g = self.place[node]
            if not self.sure:
                writer.line(f"if {g} is not None:")
            self.write(steps[node], steps, g)
        self.finish(before, order, outputs)

    def line(self, text: str) -> None:
        """A line of the node at hand."""
        self.writer.line(text, 1 if self.sure else 2)

    def write(self, step: Step, steps: dict[Any, Step], g: str) -> None:
        """The lines of one node: its rules, and where their results go."""
        writer, plan, op = self.writer, step.plan, step.plan.op
        if step.whole is not None:
            at, count = self.place[step.whole], steps[step.whole].parts
            so_far = at if step.whole in self.arrived or not self.sure else None
            self.line(f"{at} = put({so_far}, {count}, {step.index}, {g})")
            self.arrived.add(step.whole)
        elif plan.joint is None and not op.variadic:
            for i, rule, pick in plan.rules:
                if step.edges[i] is not None:
                    self.apply(step, op, i, rule, pick, g)
        else:
            rule, pick = plan.joint, plan.joint_pick
            if rule is None:
                ((_, rule, pick),) = plan.rules
            picked = list(pick(step.kept))
            if plan.joint is not None and "live" in op.joint_needs:
                picked.insert(op.joint_needs.index("live"), writer.constant(plan.live))
            self.line(f"e = {writer.name(rule, op.name + '_rule')}({', '.join([g, *picked])})")
            for i, edge in enumerate(step.edges):
                if edge is not None:
                    self.deliver(f"e[{i}]", edge, g, op.owns)

    def apply(self, step: Step, op: Any, i: int, rule: Any, pick: Any, g: str) -> None:
        """The lines of one rule."""
        edge, names, lower = step.edges[i], pick(step.kept), BACKWARD.get(rule)
        alike = (
            lower is not None and (edge in self.place or self.start) and step.dtype == edge.dtype
        )
        gx = (
            lower(self.writer, g, names, pick(step.values), step, edge) if alike and lower else None
        )
        if gx is None:
            gx = f"{self.writer.name(rule, f'{op.name}_{op.inputs[i]}')}({', '.join([g, *names])})"
            self.deliver(gx, edge, g, op.owns)
        else:
            self.deliver(gx, edge, g, op.owns, fits=True)

    def deliver(self, gx: str, edge: Any, g: str, owns: bool, fits: bool = False) -> None:
        """The line that hands a gradient on; `gx` is the expression that computes it.

        It `fits` if it is a new array of the right shape and dtype.
        """
        if edge in self.ends and not self.start:
            self.shares.append(edge)
            if not owns:
                self.line(f"h = {gx}")
                gx, g = "h", "h"
            self.line(f"r{len(self.shares) - 1} = hand_out({gx}, {g})")
            return
        at, shape = self.place[edge], self.writer.constant(edge.shape)
        dtype = self.writer.name(edge.dtype, "t")
        made = gx if fits else f"fit({gx}, {shape}, {dtype})"
        if edge in self.ends and edge not in self.arrived and not fits:
            made = f"own({gx}, {g}, {shape}, {dtype})" if owns else f"{made}.copy()"
        if edge in self.arrived or not self.sure:
            made = f"add({at}, {made})"
        self.line(f"{at} = {made}")
        self.arrived.add(edge)

    def finish(self, before: list[str], order: list[Any], outputs: Sequence[Any]) -> None:
        """What comes before and behind all this."""
        writer = self.writer
        if self.start:
            begin = [f"{self.place[outputs[0]]} = {self.start}"]
            writer.line("program.begun = True")
            for leaf in sorted(self.ends, key=lambda leaf: -leaf.number):
                if leaf in self.arrived:
                    writer.line(f"land({writer.name(leaf, 'leaf')}, {self.place[leaf]})")
        else:
            begin = [f"{self.place[node]} = g{i}" for i, node in enumerate(outputs)]
            nothing = [self.place[node] for node in order if node not in outputs]
            nothing += [f"r{i}" for i in range(len(self.shares))]
            begin += [" = ".join([*nothing, "None"])] if nothing and not self.sure else []
            writer.line(f"return {as_tuple([f'r{i}' for i in range(len(self.shares))])}")
        margin = "    " if self.start else ""
        written = ["    " + line for line in begin] + writer.lines
        writer.lines = before + [margin + line for line in written]


def as_tuple(names: Sequence[str]) -> str:
    """A tuple of these, as an expression."""
    return f"({', '.join(names)}{',' * (len(names) == 1)})"
