"""Programs: a recording written out in Python, as a function of arrays.

A line is one call.  What no later line names is deleted at once, or lends its memory to a result;
gradients that lead nowhere are never computed.  `torch.compiler.explain` shows the plan:

    def program(given, x0, w0, w1):
        v1 = np.matmul(x0, w0.T)
        np.add(v1, w1, out=v1)
        v2 = np.maximum(v1, zeros, out=v1)
        del v1
        t0 = wrap(v2)
        return t0

If the function is a training step, its backward pass stands in the midst of the program, and
gradients `land` at the leaves.  If it returns what is to be walked later, the program makes the
nodes of the results, and the engine walks them.
"""

from __future__ import annotations

import itertools
import keyword
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from tinygrad_edu.compiler.lower import lower
from tinygrad_edu.compiler.watch import inside
from tinygrad_edu.engine.graph import Node
from tinygrad_edu.engine.mode import state
from tinygrad_edu.engine.record import as_array, current_node, wrap
from tinygrad_edu.engine.tree import rebuild
from tinygrad_edu.engine.walk import accumulate, unbroadcast, walk_back

_COMPUTED = re.compile(r"\b(?:[vdlt]\d+|e)\b")
_RESERVED = re.compile(r"[vxwdltn]\d+|[eg_]|given")


def fit(g: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """A gradient in the shape and dtype of what it is the gradient of, as the walk makes it."""
    if g is None or (g.shape == shape and g.dtype is dtype):
        return g
    if g.shape != shape:
        g = unbroadcast(g, shape)
    return g if g.dtype == dtype else g.astype(dtype)


def own(gx: Any, g: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """`fit` for a leaf: an array that nobody else holds, for it may become the leaf's `.grad`."""
    fitting = fit(gx, shape, dtype)
    return fitting.copy() if fitting is g or fitting.base is not None else fitting


def add(so_far: Any, g: Any) -> Any:
    """The sum of two gradients, either of which may be None."""
    if g is None:
        return so_far
    return g if so_far is None else so_far + g


def land(leaf: Any, g: Any) -> None:
    """The gradient of a leaf has arrived: what the walk does with it."""
    if leaf.hooks is None:
        accumulate(leaf, g, True, False)
    else:
        walk_back([(leaf, g)], retain=True, create=False, at_leaf=accumulate)


def quiet(loss: Node) -> AbstractContextManager[None]:
    """The mode of a backward pass: nothing is recorded.

    `loss` is a node that leads to all leaves at once; hooks may ask which those are.
    """
    return inside(state.mode.but(enabled=False, roots=(loss,)))


class Writer:
    """Writes a function, line by line, with the objects that its lines name.

    Attributes:
        names: the objects: operations, rules, shapes, whatever is no number.
        lines: the body so far.
        margin: what stands before the next line.
    """

    def __init__(self) -> None:
        known: Any = (fit, own, add, land, quiet, wrap, rebuild, as_array, current_node)
        self.names: dict[str, Any] = {"np": np} | {f.__name__: f for f in known}
        self.lines: list[str] = []
        self.margin = "    "
        self._known: dict[int, str] = {}

    def line(self, text: str) -> None:
        """Add a line."""
        self.lines.append(self.margin + text)

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

    def call(self, function: Any, hint: str, arguments: Iterable[str]) -> str:
        """A call of a function, as an expression."""
        return f"{self.name(function, hint)}({', '.join(arguments)})"

    def constant(self, value: Any) -> str:
        """Something that is not an array, as an expression."""
        if type(value) is tuple:
            return as_tuple([*map(self.constant, value)])
        finite = type(value) is float and math.isfinite(value)
        plain = finite or value is None or type(value) in (bool, int, str)
        return repr(value) if plain else self.name(value, type(value).__name__.lower())

    def template(self, value: Any, arrays: Any) -> str:
        """An argument as an expression; `arrays(a)` is the name of an array, None for no array."""
        known = arrays(value)
        if known is not None:
            return str(known)
        if type(value) in (tuple, list):
            parts = [self.template(v, arrays) for v in value]
            return as_tuple(parts) if type(value) is tuple else f"[{', '.join(parts)}]"
        return self.constant(value)

    def function(self, parameters: Sequence[str]) -> tuple[str, Any]:
        """Its source and itself; what is no longer needed is deleted."""
        body = tidy(self.lines)
        source = "\n".join([f"def program({', '.join(parameters)}):", *body])
        scope = {**self.names, "__name__": __name__}  # it is one of ours
        exec(compile(source, "<compiled>", "exec"), scope)
        return source, scope["program"]


def as_tuple(names: Sequence[str]) -> str:
    """A tuple of these, as an expression."""
    return f"({', '.join(names)}{',' * (len(names) == 1)})"


_SUM = re.compile(r"(\w+) = (np\.(?:add|subtract|multiply|maximum)\((\w+), (\w+))\)")
_READS = re.compile(r"= np\.|^ *np\.|_noise\(|= gate\(")


def tidy(lines: Sequence[str]) -> list[str]:
    """The lines; and a computed array is deleted behind the last that names it.

    Or it lends its memory to an elementwise result there.  It must lie in C order, and nothing else
    may look into it: only lines that call NumPy, and copy, name it.
    """
    last = {name: i for i, line in enumerate(lines) for name in _COMPUTED.findall(line)}
    shared = {n for line in lines if not _READS.search(line) for n in _COMPUTED.findall(line)}
    straight: set[str] = set()
    written = []
    for i, line in enumerate(lines):
        ended = [name for name, at in last.items() if at == i]
        found = _SUM.search(line)
        if found is not None:
            y, call, *operands = found.groups()
            if all([n[0] != "d" or n in straight for n in operands]):
                straight.add(y)
            free = [n for n in operands if n in ended and n in straight - shared]
            if free:
                line = line.replace(call, f"{call}, out={free[0]}")
        elif "= np.matmul(" in line:
            straight.add(line.split()[0])
        written.append(line)
        if ended and not line.lstrip().startswith("return"):
            margin = line[: len(line) - len(line.lstrip())]
            written.append(f"{margin}del {', '.join(ended)}")
    return written


class Walk:
    """Writes the walk over recorded nodes, youngest first, as the engine would take them.

    Args:
        kept: of each node of the recording the names of what it keeps.
        leaves: the leaves that gradients are handed on to, and which tensor each belongs to.
        root: the node it starts from, with a gradient called `start`.
    """

    def __init__(
        self, writer: Writer, kept: Mapping[Any, Sequence[str]], leaves: Mapping[Any, int],
        root: Any, start: str,
    ) -> None:  # fmt: skip
        self.writer, self.kept, self.leaves = writer, kept, leaves
        order = sorted(kept, key=lambda node: -node.number)
        self.place = {node: f"d{i}" for i, node in enumerate(order)}
        self.place |= {node: f"l{i}" for node, i in leaves.items()}
        self.arrived = {root}
        writer.line(f"{self.place[root]} = {start}")
        for node in order:
            self.write(node, self.place[node])
        writer.line("recording.begun = True")
        for leaf in sorted(leaves, key=lambda leaf: -leaf.number):
            if leaf in self.arrived:
                writer.line(f"land({writer.name(leaf, 'leaf')}, {self.place[leaf]})")

    def write(self, node: Any, g: str) -> None:
        """The lines of one node: its rules, and where their results go."""
        writer, plan, op, kept = self.writer, node.plan, node.plan.op, self.kept[node]
        if node.whole is not None:
            at = self.place[node.whole]
            if node.whole not in self.arrived:
                writer.line(f"{at} = [None] * {node.whole.parts}")
                self.arrived.add(node.whole)
            writer.line(f"{at}[{node.index}] = {g}")
            return
        joint = [] if plan.joint is None else [(0, plan.joint, plan.joint_pick)]
        for i, rule, pick in joint or plan.rules:
            edge, names = node.edges[i], [g, *pick(kept)]
            if joint and "live" in op.joint_needs:
                names.insert(op.joint_needs.index("live") + 1, writer.constant(plan.live))
            gx = writer.call(rule, f"{op.name}_{op.inputs[i] if op.inputs else 'rule'}", names)
            if joint or op.variadic:
                writer.line(f"e = {gx}")
                for j, edge in enumerate(node.edges):
                    if edge is not None:
                        self.deliver(f"e[{j}]", edge, g, op.owns)
            elif edge is not None:
                like, values = edge.dtype, (node.shape, *pick(node.kept))
                alike = lower(writer, rule, names, values, edge.shape, like)
                if node.dtype != like or alike is None:
                    self.deliver(gx, edge, g, op.owns)
                else:
                    self.deliver(alike, edge, g, op.owns, fits=True)

    def deliver(self, gx: str, edge: Any, g: str, owns: bool, fits: bool = False) -> None:
        """The line that hands a gradient on; `gx` is the expression that computes it.

        It `fits` if it is a new array of the right shape and dtype.
        """
        at, shape = self.place[edge], self.writer.constant(edge.shape)
        dtype = self.writer.name(edge.dtype, "t")
        made = gx if fits else f"fit({gx}, {shape}, {dtype})"
        if edge in self.leaves and edge not in self.arrived and not fits:
            made = f"own({gx}, {g}, {shape}, {dtype})" if owns else f"{made}.copy()"
        if edge in self.arrived:
            made = f"add({at}, {made})"
        self.writer.line(f"{at} = {made}")
        self.arrived.add(edge)
