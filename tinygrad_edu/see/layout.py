"""Where the boxes of a graph lie: level by level, with few crossings.

The method is Sugiyama's: a level for every box, stand-ins where an edge passes a level, an order in
each level by the middle of the neighbours (Sugiyama, Tagawa, Toda 1981), then places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

GAP, ROW = 22.0, 34.0
"""Between boxes of a level, and between levels."""
SWEEPS = 12

Point = tuple[float, float]


class Layout(NamedTuple):
    """What was found: the corner of each box, the bends of each edge, and the size of it all.

    `floors` is for each box the lower end of its level, down to which its lines run straight.
    """

    corners: list[Point]
    bends: list[list[Point]]
    floors: list[float]
    width: float
    height: float


def arrange(
    sizes: Sequence[Point], edges: Sequence[tuple[int, int]], first: int = 0, last: int = 0
) -> Layout:
    """Lay boxes out from top to bottom.

    Args:
        sizes: (width, height) of each box; every edge leads to a box with a higher index.
        edges: pairs of indices.
        first, last: how many boxes at the beginning stay on the top level, and at the end on the
            lowest.

    >>> found = arrange([(10, 5), (10, 5), (10, 5)], [(0, 1), (0, 2), (1, 2)])
    >>> [y for x, y in found.corners]
    [0.0, 39.0, 78.0]
    >>> len(found.bends[1])  # the edge that passes a level bends around the box there
    2
    """
    levels = _levels(len(sizes), edges, first, last)
    rows: list[list[int]] = [[] for _ in range(max(levels, default=-1) + 1)]
    for i, level in enumerate(levels):
        rows[level].append(i)
    widths = [w for w, _ in sizes]
    chains = []
    links: list[tuple[int, int]] = []
    for a, b in edges:
        chain = [a]
        for level in range(levels[a] + 1, levels[b]):
            chain.append(len(widths))
            rows[level].append(len(widths))
            widths.append(2.0)
        chain.append(b)
        links += zip(chain, chain[1:], strict=False)
        chains.append(chain)
    above: list[list[int]] = [[] for _ in widths]
    below: list[list[int]] = [[] for _ in widths]
    for a, b in links:
        below[a].append(b)
        above[b].append(a)
    rows = _ordered(rows, above, below)
    middles = _places(rows, above, below, widths, len(sizes))
    tops, heights, y = [], [], 0.0
    for row in rows:
        height = max([sizes[i][1] for i in row if i < len(sizes)], default=0.0)
        tops.append(y)
        heights.append(height)
        y += height + (ROW if height > 2 else ROW / 3)
    left = min([m - w / 2 for m, w in zip(middles, widths, strict=True)], default=0.0)
    right = max([m + w / 2 for m, w in zip(middles, widths, strict=True)], default=0.0)
    corners = [(middles[i] - left - w / 2, tops[levels[i]]) for i, (w, _) in enumerate(sizes)]
    floors = [tops[level] + heights[level] for level in levels]
    bends = []
    for chain in chains:
        path: list[Point] = []
        for level, i in enumerate(chain[1:-1], levels[chain[0]] + 1):
            x = middles[i] - left
            path += [(x, tops[level]), (x, tops[level] + heights[level])]
        bends.append(path)
    return Layout(corners, bends, floors, right - left, tops[-1] + heights[-1] if rows else 0.0)


def _levels(count: int, edges: Sequence[tuple[int, int]], first: int, last: int) -> list[int]:
    """As deep as the longest way from above; a box with nothing above it, close to its user."""
    levels = [0] * first + [int(first > 0)] * (count - first)
    used: list[list[int]] = [[] for _ in range(count)]
    fed = [False] * count
    for a, b in sorted(edges, key=lambda edge: edge[1]):
        levels[b] = max(levels[b], levels[a] + 1)
        used[a].append(b)
        fed[b] = True
    for i in range(first, count):
        if not fed[i] and used[i]:
            levels[i] = min([levels[b] for b in used[i]]) - 1
    for i in range(count - last, count):
        levels[i] = max(levels)
    return levels


def _ordered(
    rows: list[list[int]], above: list[list[int]], below: list[list[int]]
) -> list[list[int]]:
    """The rows in the order with the fewest crossings that the sweeps come by."""
    best, fewest = rows, _crossings(rows, below)
    rows = [[*row] for row in rows]
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        order = range(1, len(rows)) if down else range(len(rows) - 2, -1, -1)
        near = above if down else below
        for level in order:
            fixed = rows[level - 1 if down else level + 1]
            place = {i: float(k) for k, i in enumerate(fixed)}
            own = {i: float(k) for k, i in enumerate(rows[level])}
            middle = {
                i: sum([place[j] for j in near[i]]) / len(near[i]) if near[i] else own[i]
                for i in rows[level]
            }
            rows[level].sort(key=lambda i: (middle[i], own[i]))  # noqa: B023
        found = _crossings(rows, below)
        if found < fewest:
            best, fewest = [[*row] for row in rows], found
    return best


def _crossings(rows: list[list[int]], below: list[list[int]]) -> int:
    """How many pairs of edges between neighbouring rows cross."""
    total = 0
    for row, lower in zip(rows, rows[1:], strict=False):
        place = {i: k for k, i in enumerate(lower)}
        ends: list[int] = []
        for i in row:
            mine = sorted([place[j] for j in below[i]])
            total += sum([other > end for end in mine for other in ends])
            ends += mine
    return total


def _places(
    rows: list[list[int]],
    above: list[list[int]],
    below: list[list[int]],
    widths: list[float],
    boxes: int,
) -> list[float]:
    """The middle of each box: as near to its neighbours as the order in its row allows."""
    middles = [0.0] * len(widths)
    for row in rows:
        x = 0.0
        for i in row:
            middles[i] = x + widths[i] / 2
            x += widths[i] + GAP
        for i in row:
            middles[i] -= x / 2
    for sweep in range(2 * SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else rows[::-1]:
            wanted, weights = [], []
            for i in row:
                near = above[i] if down else below[i]
                if sweep > SWEEPS:
                    near = above[i] + below[i]
                wanted.append(sum([middles[j] for j in near]) / len(near) if near else middles[i])
                weights.append(3.0 if i >= boxes else 1.0 + len(near) if near else 0.1)
            for i, x in zip(row, _apart(wanted, weights, [widths[i] for i in row]), strict=True):
                middles[i] = x
    return middles


def _apart(wanted: list[float], weights: list[float], widths: list[float]) -> list[float]:
    """The places nearest to the wanted ones at which nothing overlaps (pooling neighbours)."""
    offsets, x = [], 0.0
    for k, width in enumerate(widths):
        x += width / 2 + (widths[k - 1] / 2 + GAP if k else 0.0)
        offsets.append(x)
    blocks: list[list[float]] = []  # sum of weights, sum of weighted places, how many
    for place, weight, offset in zip(wanted, weights, offsets, strict=True):
        blocks.append([weight, weight * (place - offset), 1])
        while len(blocks) > 1 and blocks[-2][1] / blocks[-2][0] > blocks[-1][1] / blocks[-1][0]:
            weight_, sum_, count = blocks.pop()
            blocks[-1] = [blocks[-1][0] + weight_, blocks[-1][1] + sum_, blocks[-1][2] + count]
    shifts = [b[1] / b[0] for b in blocks for _ in range(int(b[2]))]
    return [shift + offset for shift, offset in zip(shifts, offsets, strict=True)]
