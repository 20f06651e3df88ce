"""`backward`: the walk step by step, as text and as one page for a browser."""

from __future__ import annotations

import html
import json
import pathlib
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from tinygrad_edu.engine.graph import Leaf, Node, TensorBase
from tinygrad_edu.engine.types import Call, Gradient
from tinygrad_edu.nn import Module
from tinygrad_edu.see.boxes import boxes
from tinygrad_edu.see.drawing import Drawing, graph, part
from tinygrad_edu.see.glance import host, thumbnail
from tinygrad_edu.see.reading import Operation, Tape, read, rules_of, shape_of, size
from tinygrad_edu.see.watching import looking
from tinygrad_edu.tensor import Tensor

FEW = 8
"""So many numbers are written out."""
MANY = 150
"""A page shows up to so many boxes unfolded."""


@dataclass
class Seen:
    """A gradient as it is shown: all of a small one, of a large one its size and a thumbnail."""

    shape: str
    norm: float
    cells: list[list[float]]
    values: list[float] | None

    def __str__(self) -> str:
        if self.values is not None:
            return f"{self.shape}  [{', '.join([f'{v:.4g}' for v in self.values])}]"
        return f"{self.shape}  |g| {self.norm:.4g}"


@dataclass
class Share:
    """What one step hands on to one of the nodes beneath it."""

    argument: str
    to: int
    name: str
    gradient: Seen
    added: bool
    """Something had arrived there before: the two are added."""
    summed: bool
    """It is summed over the dimensions along which the argument was repeated."""
    leaf: bool


@dataclass
class Step:
    """One step of the walk."""

    number: int
    name: str
    path: str
    rules: list[tuple[str, str]]
    arrives: list[Seen | None]
    """One gradient; of an operation with several outputs one for each, None where none came."""
    shares: list[Share] = field(default_factory=list)
    freed: int = 0

    def text(self, place: int, count: int) -> str:
        """The step in words."""
        where = f"  in {self.path}" if self.path else ""
        lines = [f"step {place} of {count}: {self.name}{where}  (node {self.number})"]
        lines += [f"  arrives   {g if g is not None else 'nothing'}" for g in self.arrives]
        for argument, formula in self.rules:
            first, *more = formula.splitlines() or [""]
            lines.append(f"  rule      {argument}: {first}")
            lines += [f"              {line}" for line in more]
        for share in self.shares:
            plus = "  + what was there" if share.added else ""
            down = "  (summed)" if share.summed else ""
            lines.append(f"  to        {share.name}: {share.gradient}{down}{plus}")
        if self.freed:
            lines.append(f"  frees     {size(self.freed)}")
        return "\n".join(lines)


class Walk:
    """A backward pass that was watched.

    Attributes:
        steps: in the order of the walk, the youngest operation first.

    `str` is the whole as text, `save` writes a page for a browser, a notebook shows the page.
    """

    def __init__(self, tape: Tape, steps: list[Step], drawing: Drawing) -> None:
        self.tape, self.steps, self.drawing = tape, steps, drawing

    def __str__(self) -> str:
        count = len(self.steps)
        return "\n".join([step.text(k, count) for k, step in enumerate(self.steps, 1)])

    def page(self) -> str:
        """One HTML page that needs nothing else: a slider, the graph, and heat maps."""
        data = json.dumps([_plain(asdict(step)) for step in self.steps]).replace("<", "\\u003c")
        text = part("steps.html")
        for name, value in (
            ("STYLE", part("steps.css")), ("SCRIPT", part("steps.js")),
            ("LAST", str(len(self.steps))), ("GRAPH", str(self.drawing)), ("DATA", data),
        ):  # fmt: skip
            text = text.replace(f"<!--{name}-->", value)
        return text

    def save(self, path: str | pathlib.Path) -> None:
        """Write the page to a file; any browser opens it, without a network."""
        pathlib.Path(path).write_text(self.page(), encoding="utf-8")

    def _repr_html_(self) -> str:
        page = html.escape(self.page(), quote=True)
        return f'<iframe srcdoc="{page}" style="width:100%;height:720px;border:0"></iframe>'


def backward(
    loss: Tensor,
    model: Module | None = None,
    *,
    gradient: Tensor | None = None,
    retain_graph: bool = False,
) -> Walk:
    """Run `loss.backward()` and note of each step what arrives, goes on and is freed.

    Args:
        loss: a tensor that requires grad; of one element, unless `gradient` is given.
        model: names parameters and modules, as in `see.graph`.
        gradient, retain_graph: as of `Tensor.backward`.

    Gradients are added to `.grad` as usual.

    Raises:
        ValueError: `loss` has no graph.
        RuntimeError: as `Tensor.backward`.

    >>> import tinygrad_edu as torch
    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> print(torch.see.backward((x * x).sum()))
    step 1 of 2: sum  (node ...)
      arrives   ()  [1]
      rule      x: repeated(g, x_shape, dims, keepdim)
      to        mul: 2  [1, 1]
    step 2 of 2: mul  (node ...)
    ...
    """
    tape = read(loss, model)
    recorder = _Recorder(tape)
    depth = 99 if sum([1 for b in boxes(tape, model) for _ in b.atoms()]) <= MANY else None
    drawing = graph(loss, model, depth=depth)
    with looking(around=recorder):
        loss.backward(gradient, retain_graph=retain_graph)
    for step, one in zip(recorder.steps, recorder.operations, strict=True):
        step.freed = one.bytes if one.node.kept is None else 0
    return Walk(tape, recorder.steps, drawing)


class _Recorder:
    """Stands around each backward step and notes it."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.by_node = {one.node: one for one in tape.operations}
        self.steps: list[Step] = []
        self.operations: list[Operation] = []
        self.reached: set[Node] = set()

    def __call__(self, step: Call, node: Node, kept: Any, g: Gradient) -> Any:
        arrives = [_seen(one) for one in (g if isinstance(g, list) else [g])]
        found = list(step(node, kept, g))
        one = self.by_node[node]
        noted = Step(node.number, one.name, one.path, rules_of(node), arrives)
        names = node.plan.op.inputs
        for i, gx in found:
            edge = node.edges[i] if i < len(node.edges) else None
            if edge is None or gx is None:
                continue
            whole = edge.whole or edge
            name = self._name(edge)
            argument = names[i] if i < len(names) and not node.plan.op.variadic else f"{i}"
            noted.shares.append(
                Share(
                    argument, whole.number, name, _seen(_summed(gx, edge.shape)),  # type: ignore[arg-type]
                    edge in self.reached, gx.shape != edge.shape, edge.is_leaf,
                )
            )  # fmt: skip
            self.reached.add(edge)
        self.steps.append(noted)
        self.operations.append(one)
        return found

    def _name(self, edge: Node) -> str:
        if isinstance(edge, Leaf):
            return f"{self.tape.names[edge]}.grad"
        output = f"[{edge.index}]" if edge.whole is not None else ""
        return f"{self.by_node[edge.whole or edge].name}{output}"


def _summed(gx: Gradient, shape: tuple[int, ...]) -> Any:
    """A gradient as it arrives at an argument of that shape."""
    array = gx.array if isinstance(gx, TensorBase) else gx
    extra = array.ndim - len(shape)
    dims = tuple(range(extra)) + tuple(
        [i + extra for i, n in enumerate(shape) if n == 1 and array.shape[i + extra] != 1]
    )
    return array.sum(dims).reshape(shape) if dims else array


def _seen(g: Any) -> Seen | None:
    if g is None:
        return None
    array = host(g)
    values = [float(v) for v in array.ravel()] if array.size <= FEW else None
    cells = [[float(f"{v:.4g}") for v in row] for row in thumbnail(array)]
    return Seen(shape_of(array), float(np.sqrt(np.square(array).sum())), cells, values)


def _plain(value: object) -> Any:
    """A step as JSON can hold it: what is not finite is nothing, bytes are words."""
    if isinstance(value, dict):
        return {k: size(v) if k == "freed" else _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
