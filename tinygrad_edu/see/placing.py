"""Where boxes lie and lines run, frames within frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tinygrad_edu.see.boxes import WIDE, Box
from tinygrad_edu.see.layout import Point, arrange

TITLE, SIDE = 24.0, 12.0
"""The space inside a frame above its boxes, and around them."""
PORT = (4.0, 1.0)
"""The size of the place where a line passes a frame."""

End = int | str
"""Where a line ends: at the box of that index, or at the border by the name of its source."""


class Placed:
    """Boxes with their corners, and the lines among them, in a frame of their own.

    A line that leaves a frame, or comes into it, passes its border at a port, which the layout
    takes for a small box on the first or the last level.

    Attributes:
        boxes: triples (box, corner, size), those inside of frames too.
        lines: triples (key of the source's box, of the target's, points).
        width, height: of all.
        entries, exits: by the key of a line's source, where it passes the border.
    """

    def __init__(
        self, shown: Sequence[Box], pairs: Sequence[tuple[int, int]], seen_in: Mapping[int, str]
    ) -> None:
        self.shown = shown
        self.inner = [Placed(b.children, pairs, seen_in) if b.open else None for b in shown]
        self.sizes = [self._size(k) for k in range(len(shown))]
        self.entries: dict[str, float] = {}
        self.exits: dict[str, float] = {}
        edges = self._edges(pairs, seen_in)
        places: list[End] = [
            *["in " + n for n in self.entries], *range(len(shown)),
            *["out " + n for n in self.exits],
        ]  # fmt: skip
        place = {one: k for k, one in enumerate(places)}
        found = arrange(
            [*[PORT] * len(self.entries), *self.sizes, *[PORT] * len(self.exits)],
            [(place[a], place[b]) for a, b, _ in edges],
            len(self.entries),
            len(self.exits),
        )
        self.width, self.height = found.width, found.height
        for kind, ports in (("in ", self.entries), ("out ", self.exits)):
            for name in ports:
                ports[name] = found.corners[place[kind + name]][0] + PORT[0] / 2
        self.corners = found.corners[len(self.entries) :]
        starts = [self._end(a, name, True) for a, _, name in edges]
        ends = [self._end(b, name, False) for _, b, name in edges]
        middles = list(zip(starts, found.bends, ends, strict=True))
        self._spread([a for a, _, _ in edges], starts, [[*b, e][0][0] for _, b, e in middles])
        self._spread([b for _, b, _ in edges], ends, [[s, *b][-1][0] for s, b, _ in middles])
        self.lines: list[tuple[str, str, list[Point]]] = []
        for ((a, _, name), aim), bends, start, end in zip(
            edges.items(), found.bends, starts, ends, strict=True
        ):
            floor = start[0], found.floors[place[a]]
            self.lines.append((name, aim, [start, floor, *bends, end]))
        self._take_over()

    def _edges(
        self, pairs: Sequence[tuple[int, int]], seen_in: Mapping[int, str]
    ) -> dict[tuple[End, End, str], str]:
        """The lines to draw here: where each begins and ends, its source, and what it leads to.

        Several from one source into one frame are one line up to its border.
        """
        item = {number: k for k, box in enumerate(self.shown) for number in box.numbers}
        edges: dict[tuple[End, End, str], str] = {}
        for a, b in pairs:
            name, source, target = seen_in[a], item.get(a), item.get(b)
            if source == target:  # inside one box, or none of ours
                continue
            if source is None:
                self.entries[name] = 0.0
            if target is None:
                self.exits[name] = 0.0
            start: End = "in " + name if source is None else source
            end: End = "out " + name if target is None else target
            edges.setdefault((start, end, name), seen_in[b])
        return edges

    def _size(self, k: int) -> Point:
        inner, box = self.inner[k], self.shown[k]
        if inner is None:
            return box.text_size()
        width = max(inner.width, len(box.title) * WIDE * 1.1) + 2 * SIDE
        return width, inner.height + TITLE + SIDE

    def _end(self, one: End, name: str, out: bool) -> Point:
        """Where a line leaves (`out`) or arrives."""
        if isinstance(one, str):
            return (self.entries[name], 0.0) if out else (self.exits[name], self.height)
        (x, y), (width, height) = self.corners[one], self.sizes[one]
        inner = self.inner[one]
        if inner is None:
            return x + width / 2, y + (height if out else 0.0)
        ports = inner.exits if out else inner.entries
        return x + SIDE + ports[name], y + TITLE + (inner.height if out else 0.0)

    def _spread(self, places: Sequence[End], points: list[Point], towards: Sequence[float]) -> None:
        """Several lines at a closed box get places beside each other, in the order they go."""
        for one in {p for p in places if isinstance(p, int)}:
            mine = [k for k, p in enumerate(places) if p == one]
            if self.inner[one] is not None or len(mine) < 2:
                continue
            mine.sort(key=lambda k: towards[k])
            room = min(self.sizes[one][0] * 0.7, 40.0 * (len(mine) - 1))
            for k, i in enumerate(mine):
                x, y = points[i]
                points[i] = x + room * (k / (len(mine) - 1) - 0.5), y

    def _take_over(self) -> None:
        """Those inside of frames become this one's own, moved to where the frame lies."""
        self.boxes = list(zip(self.shown, self.corners, self.sizes, strict=False))
        for inner, (x, y) in zip(self.inner, self.corners, strict=False):
            if inner is not None:
                x, y = x + SIDE, y + TITLE
                self.boxes += [(b, (px + x, py + y), size) for b, (px, py), size in inner.boxes]
                for name, aim, path in inner.lines:
                    self.lines.append((name, aim, [(px + x, py + y) for px, py in path]))
