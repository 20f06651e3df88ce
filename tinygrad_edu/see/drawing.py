"""`graph`: the recorded graph as an SVG drawing."""

from __future__ import annotations

import html
import pathlib
from collections.abc import Sequence
from importlib.resources import files

from tinygrad_edu.nn import Module
from tinygrad_edu.see.boxes import LINE, PAD, WIDE, Box, boxes
from tinygrad_edu.see.layout import Point
from tinygrad_edu.see.placing import TITLE, Placed
from tinygrad_edu.see.reading import Tape, read, size
from tinygrad_edu.tensor import Tensor

ENOUGH = 45
"""More boxes than that are not drawn at once, unless asked for."""
MARGIN = 16.0


def part(name: str) -> str:
    """One of the files of style or script that lie beside this one."""
    return (files(__package__) / name).read_text(encoding="utf-8")


class Drawing:
    """A picture: a notebook shows it, `save` writes it, `str` is its source."""

    def __init__(self, source: str, tape: Tape) -> None:
        self.source, self.tape = source, tape

    def __str__(self) -> str:
        return self.source

    def _repr_html_(self) -> str:
        page = html.escape(f"<!DOCTYPE html><body style='margin:0'>{self.source}", quote=True)
        return f'<iframe srcdoc="{page}" style="width:100%;height:640px;border:0"></iframe>'

    def save(self, path: str | pathlib.Path) -> None:
        """Write it to a file, which browsers and drawing programs open."""
        pathlib.Path(path).write_text(self.source, encoding="utf-8")


def graph(loss: Tensor, model: Module | None = None, *, depth: int | None = None) -> Drawing:
    """The graph that was recorded for `loss`, from the inputs at the top to the loss below.

    A box is an operation: its name, the shape of its output, the parameters it reads, and what its
    rules keep for the backward pass; in parentheses what costs no memory of its own.  After
    `backward`, parameters show the size of their gradients (the 2-norm).  A frame is a module; a
    folded one is opened by a click, and Escape leads back.

    Args:
        loss: any tensor that requires grad.
        model: names the parameters and the modules.  Modules are told from the parameters that
            operations read; if the forward pass ran inside `see.watch(model)`, they are known.
        depth: how many levels of modules are unfolded; unless given, as many as remain legible.

    Raises:
        ValueError: `loss` has no graph.

    >>> import tinygrad_edu as torch
    >>> x = torch.ones(3, requires_grad=True)
    >>> drawing = torch.see.graph((x * x).sum())
    >>> str(drawing)[:4]
    '<svg'
    """
    tape = read(loss, model)
    found = boxes(tape, model)
    if depth is None:
        depth = deepest(found)
    views = [_View("view0", "", found, found, depth)]
    for view in views:  # it grows: each folded group has a view of its own
        for box in view.folded:
            views.append(_View(f"of-{box.key}", box.title, box.children, found, None))
    body = "".join([view.source for view in views])
    width, height = views[0].width, views[0].height
    note = "" if tape.exact or model is None else " · modules told from their parameters"
    about = f"{len(tape.operations)} operations · {size(tape.bytes)} kept for backward{note}"
    return Drawing(
        f'<svg xmlns="http://www.w3.org/2000/svg" class="graph" role="img" width="{width:.0f}"'
        f' height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"><title>{about}</title>'
        f"<style>{part('graph.css')}</style>{body}<script><![CDATA[{part('graph.js')}]]></script></svg>\n",
        tape,
    )


def deepest(found: Sequence[Box]) -> int:
    """How many levels may be unfolded for the picture to stay legible."""
    depth = 0
    while True:
        now, more = _count(found, depth), _count(found, depth + 1)
        if more == now or more > ENOUGH:
            return depth
        depth += 1


def _count(found: Sequence[Box], depth: int) -> int:
    return sum([_count(b.children, depth - 1) if b.children and depth else 1 for b in found])


class _View:
    """One drawing of some boxes and of all lines among them, and to what is outside."""

    def __init__(
        self,
        key: str,
        title: str,
        shown: Sequence[Box],
        everything: Sequence[Box],
        depth: int | None,
    ) -> None:
        self.key, self.title, self.shown = key, title, shown
        self.folded: list[Box] = []
        self._open(shown, deepest(shown) if depth is None else depth)
        self.atom_of: dict[int, str] = {}
        """Of every node the key of the box that it is seen in."""
        for box in everything:
            for atom in box.atoms():
                self.atom_of |= dict.fromkeys(atom.numbers, atom.key)
        self._note(shown)
        self.placed = Placed(shown, _pairs(everything), self.atom_of)
        self.width = max(self.placed.width, len(title) * WIDE * 1.3) + 2 * MARGIN
        self.height = self.placed.height + 2 * MARGIN + (TITLE if title else 0)
        self.source = self._svg()

    def _open(self, shown: Sequence[Box], depth: int) -> None:
        for box in shown:
            box.open = bool(box.children) and depth > 0
            if box.open:
                self._open(box.children, depth - 1)
            elif box.children:
                self.folded.append(box)

    def _note(self, shown: Sequence[Box]) -> None:
        for box in shown:
            if box.open:
                self._note(box.children)
            else:
                self.atom_of |= dict.fromkeys(box.numbers, box.key)

    def _svg(self) -> str:
        """Its part of the drawing; only the first is shown at once."""
        attributes = f'id="{self.key}" data-size="{self.width:.0f} {self.height:.0f}"'
        attributes += "" if self.key == "view0" else ' display="none"'
        parts = [f"<g {attributes}>"]
        parts.append(f'<rect class="paper" width="{self.width:.0f}" height="{self.height:.0f}"/>')
        y = MARGIN
        if self.title:
            parts.append(f'<text class="back" x="{MARGIN}" y="{MARGIN + 4}">‹ '
                         f"{html.escape(self.title)}</text>")  # fmt: skip
            y += TITLE
        parts.append(f'<g transform="translate({MARGIN} {y})">')
        parts += [_line(*line) for line in self.placed.lines]
        frames_first = sorted(self.placed.boxes, key=lambda placed: not placed[0].open)
        parts += [_box(*placed) for placed in frames_first]
        return "".join([*parts, "</g></g>"])


def _pairs(everything: Sequence[Box]) -> list[tuple[int, int]]:
    """All edges, as numbers of nodes, from what is used to its user."""
    ends = {b.leaf for b in everything if b.leaf is not None}
    found = []
    for box in everything:
        for one in box.operations:
            found += [(below.number, one.number) for below in one.inputs]
            found += [(leaf.number, one.number) for _, leaf in one.leaves if leaf in ends]
    return found


def _line(source: str, target: str, path: Sequence[Point]) -> str:
    """A smooth line through the points, which leaves and arrives straight."""
    (x, y), *rest = path
    words = [f"M{x:.1f} {y:.1f}"]
    for px, py in rest:
        if abs(px - x) < 2:
            words.append(f"L{px:.1f} {py:.1f}")
        else:
            middle = (y + py) / 2
            words.append(f"C{x:.1f} {middle:.1f} {px:.1f} {middle:.1f} {px:.1f} {py:.1f}")
        x, y = px, py
    return f'<path class="edge" data-from="{source}" data-to="{target}" d="{" ".join(words)}"/>'


def _box(box: Box, corner: Point, extent: Point) -> str:
    (x, y), (width, height) = corner, extent
    kind = "frame" if box.open else f"box {box.kind}"
    place, radius = f'x="{x + PAD:.1f}"', 5.0
    if box.leaf is not None:
        place, radius = f'x="{x + width / 2:.1f}" text-anchor="middle"', height / 2
    shape = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{radius}"'
    words = [f'<text {place} y="{y + LINE * (k + 1):.1f}">{html.escape(text)}</text>'
             for k, text in enumerate([box.title, *([] if box.open else box.lines)])]  # fmt: skip
    words[0] = words[0].replace("<text", '<text class="name"')
    folded = box.kind == "group" and not box.open
    opens = f' data-opens="of-{box.key}" tabindex="0"' if folded else ""
    numbers = " ".join(map(str, box.numbers))
    return (
        f'<g class="{kind}" data-key="{box.key}" data-nodes="{numbers}"{opens}>'
        f"<title>{html.escape(_tip(box))}</title><rect {shape}/>{''.join(words)}</g>"
    )


def _tip(box: Box) -> str:
    """What is said when the mouse rests on it: whose rules keep what."""
    if box.children or box.leaf is not None:
        return f"{box.title}\n" + "\n".join(box.lines)
    found = []
    for one in box.operations:
        found.append(f"{one.number}: {one.node.name()}" + (f" in {one.path}" if one.path else ""))
        for kept in one.kept:
            whose = f"for the gradient of {', '.join(kept.rules)}" if kept.rules else "to go on"
            free = ", shared" if kept.shared else ""
            found.append(f"keeps {kept.name}, {size(kept.bytes)}{free}, {whose}")
    return "\n".join(found)
