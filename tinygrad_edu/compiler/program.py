"""Programs: a recording written out as two Python functions of arrays, `forward` and `backward`.

A line is one call.  What no later line names is deleted at once; gradients that lead nowhere are
never computed.  `print(program.source)` shows the plan:

    def forward(x0, w1, w2):
        v3 = linear(x0, w1, w2)
        v4 = relu(v3)
        del v3
        return (v4,), (x0, v4)
"""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_edu.engine.record import as_array
from tinygrad_edu.engine.walk import unbroadcast

NAME = re.compile(r"\b[vxw]\d+\b")
"""An array in a line: `v` computed, `x` an argument, `w` from outside."""
_RESERVED = re.compile(r"[vxwdrg]\d+|[heg_]")


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


class Writer:
    """Writes a function, line by line, with the objects that its lines name.

    Attributes:
        names: the objects: operations, rules, shapes, whatever is no number.
        lines: the body so far.
    """

    def __init__(self) -> None:
        self.names: dict[str, Any] = {
            "fit": fit, "hand_out": hand_out, "add": add, "put": put, "asarray": as_array,
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
            while found in self.names or keyword.iskeyword(found) or _RESERVED.fullmatch(found):
                found = f"{hint}_{len(self.names)}"
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
        return self.name(value, "c")

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
        body = _with_deletions(self.lines, {*parameters})
        source = "\n".join([f"def {name}({', '.join(parameters)}):", *body, ""])
        scope = dict(self.names)
        exec(compile(source, f"<compiled {name}>", "exec"), scope)
        return source, scope[name]


def _holds_array(value: Any, arrays: Any) -> bool:
    if type(value) in (tuple, list):
        return any([_holds_array(v, arrays) for v in value])
    return arrays(value) is not None


def _with_deletions(lines: Sequence[str], kept: set[str]) -> list[str]:
    """The lines, and behind the last that names a computed array its deletion."""
    last: dict[str, int] = {}
    for i, line in enumerate(lines):
        for name in NAME.findall(line):
            if name.startswith("v") and name not in kept:
                last[name] = i
    ends: dict[int, list[str]] = {}
    for name, i in last.items():
        ends.setdefault(i, []).append(name)
    written = []
    for i, line in enumerate(lines):
        written.append(line)
        if i in ends and not line.lstrip().startswith("return"):
            written.append(f"    del {', '.join(ends[i])}")
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
        self.kept = tuple(kept)


def write_backward(
    writer: Writer, steps: dict[Any, Step], ends: dict[Any, int], outputs: Sequence[Any]
) -> list[Any]:
    """Write the walk over the recorded nodes, youngest first, as the engine would take them.

    Args:
        steps: the nodes of the recording.
        ends: the nodes that gradients are handed on to, and which tensor each belongs to.
        outputs: the nodes of the results, whose gradients are `g0`, `g1` and so on.

    Returns:
        The nodes at the ends, one for each share of a gradient, in the order of `return`.
    """
    order = sorted(steps, key=lambda node: -node.number)
    place = {node: f"d{i}" for i, node in enumerate(order)}
    arrivals = [e for n in order for e in (n.edges if n.whole is None else ())]
    several = {n for n in order if arrivals.count(n) + outputs.count(n) > 1}
    shares: list[Any] = []

    def deliver(gx: str, edge: Any, g: str, owns: bool) -> None:
        """The line that hands a gradient on; `gx` is the expression that computes it."""
        if edge in ends:
            shares.append(edge)
            source = g if owns else "h"
            if not owns:
                writer.line(f"h = {gx}", 2)
                gx = "h"
            writer.line(f"r{len(shares) - 1} = hand_out({gx}, {source})", 2)
            return
        made = f"fit({gx}, {writer.constant(edge.shape)}, {writer.name(edge.dtype, 't')})"
        at = place[edge]
        writer.line(f"{at} = add({at}, {made})" if edge in several else f"{at} = {made}", 2)

    for node in order:
        step, g = steps[node], place[node]
        writer.line(f"if {g} is not None:")
        if step.whole is not None:
            at, count = place[step.whole], steps[step.whole].parts
            writer.line(f"{at} = put({at}, {count}, {step.index}, {g})", 2)
        else:
            _write_rules(writer, step, g, deliver)
        writer.line(f"{g} = None", 2)
    starts = [f"{place[node]} = g{i}; g{i} = None" for i, node in enumerate(outputs)]
    nothing = [place[node] for node in order if node not in outputs]
    nothing += [f"r{i}" for i in range(len(shares))]
    begin = [" = ".join([*nothing, "None"])] if nothing else []
    writer.lines = ["    " + line for line in (*starts, *begin)] + writer.lines
    writer.line(f"return {as_tuple([f'r{i}' for i in range(len(shares))])}")
    return shares


def _write_rules(writer: Writer, step: Step, g: str, deliver: Any) -> None:
    """The lines of one node: its rules, and where their results go."""
    plan, op = step.plan, step.plan.op
    if plan.joint is None and not op.variadic:
        for i, rule, pick in plan.rules:
            if step.edges[i] is not None:
                name = writer.name(rule, f"{op.name}_{op.inputs[i]}")
                gx = f"{name}({', '.join([g, *pick(step.kept)])})"
                deliver(gx, step.edges[i], g, op.owns)
        return
    if plan.joint is not None:
        rule, picked = plan.joint, list(plan.joint_pick(step.kept))
        if "live" in op.joint_needs:
            picked.insert(op.joint_needs.index("live"), writer.constant(plan.live))
    else:
        ((_, rule, pick),) = plan.rules
        picked = list(pick(step.kept))
    writer.line(f"e = {writer.name(rule, op.name + '_rule')}({', '.join([g, *picked])})", 2)
    for i, edge in enumerate(step.edges):
        if edge is not None:
            deliver(f"e[{i}]", edge, g, op.owns)
    writer.line("e = None", 2)


def as_tuple(names: Sequence[str]) -> str:
    """A tuple of these, as an expression."""
    return f"({', '.join(names)}{',' * (len(names) == 1)})"
