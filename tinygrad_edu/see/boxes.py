"""The boxes of a drawing: operations, ends of paths, and modules as groups of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tinygrad_edu.engine.graph import Leaf
from tinygrad_edu.nn import Module
from tinygrad_edu.see.reading import Operation, Tape, kept_of, shape_of, size

LINE, WIDE, PAD = 15.0, 6.7, 9.0
"""The height of a line of text, the width of a letter, and the space around text."""


@dataclass
class Box:
    """What is drawn as one rectangle, with what is inside."""

    key: str
    kind: str
    """`operation`, `parameters`, `view`, `loss`, `leaf` or `group`."""
    title: str
    lines: list[str]
    operations: list[Operation] = field(default_factory=list)
    leaf: Leaf | None = None
    children: list[Box] = field(default_factory=list)
    open: bool = False

    @property
    def numbers(self) -> list[int]:
        """The nodes that it stands for."""
        if self.leaf is not None:
            return [self.leaf.number]
        return [o.number for o in self.operations]

    def text_size(self) -> tuple[float, float]:
        """How large its text is, with the space around it."""
        letters = max([len(self.title) * 1.1, *map(len, self.lines)])
        return letters * WIDE + 2 * PAD, (1 + len(self.lines)) * LINE + PAD

    def atoms(self) -> Iterator[Box]:
        """The boxes in it that have none inside."""
        if not self.children:
            yield self
        for child in self.children:
            yield from child.atoms()


def boxes(tape: Tape, model: Module | None) -> list[Box]:
    """The boxes of a tape, modules as groups, all of them folded."""
    chains = _chains(tape.operations)
    modules = model.named_modules() if model is not None else ()
    grouped = _grouped(chains, 0, {n: type(m).__name__ for n, m in modules}, [0])
    last = tape.operations[-1]
    for box in [atom for group in grouped for atom in group.atoms()]:
        if last in box.operations:
            box.kind = "loss"
    parameters = {p for o in tape.operations for n, p in o.leaves if _is_parameter(p)}
    ends = [
        Box(f"leaf{leaf.number}", "leaf", name, [shape_of(leaf), *_gradient(leaf)], leaf=leaf)
        for leaf, name in tape.names.items()
        if leaf not in parameters
    ]
    return [*ends, *grouped]


def _is_parameter(leaf: Leaf) -> bool:
    tensor = leaf.tensor()
    return tensor is not None and type(tensor).__name__ == "Parameter"


def _chains(operations: Sequence[Operation]) -> list[list[Operation]]:
    """Views that follow each other without a branch are one box."""
    uses: dict[int, int] = {}
    for one in operations:
        for below in one.inputs:
            uses[below.number] = uses.get(below.number, 0) + 1
    chains: list[list[Operation]] = []
    ending: dict[int, list[Operation]] = {}
    for one in operations:
        joined = None
        if _is_view(one) and len(one.inputs) == 1 and not one.leaves:
            before = one.inputs[0]
            joined = ending.get(before.number)
            if not _is_view(before) or uses[before.number] > 1 or before.path != one.path:
                joined = None
        if joined is None:
            joined = []
            chains.append(joined)
        joined.append(one)
        ending[one.number] = joined
    return chains


def _is_view(one: Operation) -> bool:
    return bool(one.node.plan.op.view) or one.name in ("reshape", "contiguous")


def _grouped(
    chains: Sequence[list[Operation]], level: int, kinds: dict[str, str], count: list[int]
) -> list[Box]:
    """The boxes of these operations: neighbours of one module are in one group."""
    runs: list[tuple[str | None, list[list[Operation]]]] = []
    for chain in chains:
        parts = chain[0].path.split(".") if chain[0].path else []
        name = parts[level] if len(parts) > level else None
        if runs and name is not None and runs[-1][0] == name:
            runs[-1][1].append(chain)
        else:
            runs.append((name, [chain]))
    found = []
    for name, run in runs:
        if name is None or len(run) == 1:
            found.append(_operation(run[0], level))
            continue
        children = _grouped(run, level + 1, kinds, count)
        if len(children) == 1:  # a module that only holds another
            children[0].title = f"{name}.{children[0].title}"
            found.append(children[0])
            continue
        count[0] += 1
        path = ".".join(run[0][0].path.split(".")[: level + 1])
        kind = kinds.get(path, "")
        operations = [o for chain in run for o in chain]
        found.append(
            Box(f"group{count[0]}", "group", f"{name}  {kind}".rstrip(), _totals(operations),
                operations, children=children)
        )  # fmt: skip
    return found


def _operation(chain: list[Operation], level: int) -> Box:
    first, last = chain[0], chain[-1]
    label = ".".join(first.path.split(".")[level:])
    names = " → ".join([o.name for o in chain])
    title = f"{names}  {shape_of(last.node)}" + (f"  [{label}]" if label else "")
    lines = []
    for name, leaf in first.leaves:
        if _is_parameter(leaf):
            short = name.removeprefix(first.path + ".") if first.path else name
            lines.append("  ".join([f"{short} {shape_of(leaf)}", *_gradient(leaf)]))
    keeps = " · ".join(filter(None, [kept_of(o) for o in chain]))
    lines += [f"keeps {keeps}"] if keeps else ["freed"] if first.freed else []
    parameters = any([_is_parameter(leaf) for _, leaf in first.leaves])
    kind = "parameters" if parameters else "view" if _is_view(first) else "operation"
    return Box(f"n{first.number}", kind, title, lines, chain)


def _totals(operations: Sequence[Operation]) -> list[str]:
    """What a folded group says of all in it."""
    leaves = {leaf for o in operations for _, leaf in o.leaves if _is_parameter(leaf)}
    count = sum([math.prod(leaf.shape) for leaf in leaves])
    squares = [_norm(leaf) for leaf in leaves]
    lines = [f"{len(operations)} operations → {shape_of(operations[-1].node)}"]
    if leaves:
        lines.append(f"{count:,} parameters")
    if squares and None not in squares:
        lines[-1] += f"  |grad| {math.sqrt(sum([s * s for s in squares if s])):.2g}"
    if all([o.freed for o in operations if o.node.plan.arrays]):
        lines.append("freed")
    else:
        lines.append(f"keeps {size(sum([o.bytes for o in operations]))}")
    return lines


def _norm(leaf: Leaf) -> float | None:
    tensor: Any = leaf.tensor()
    grad = tensor.grad if tensor is not None else None
    return None if grad is None else float(grad.detach().double().norm())


def _gradient(leaf: Leaf) -> list[str]:
    """The size of a leaf's gradient, if it has one."""
    norm = _norm(leaf)
    return [] if norm is None else [f"|grad| {norm:.2g}"]
