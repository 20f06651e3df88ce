"""The table of a profile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

_UNITS = {"s": 1e6, "ms": 1e3, "us": 1.0}


def as_time(us: float, unit: str | None = None) -> str:
    """`1.500ms`: microseconds in the unit that fits, or in that given."""
    unit = unit or ("s" if us >= 1e6 else "ms" if us >= 1e3 else "us")
    return f"{us / _UNITS[unit]:.3f}{unit}"


def as_bytes(count: int) -> str:
    """`1.50 KB`."""
    for power, unit in ((30, "GB"), (20, "MB"), (10, "KB")):
        if abs(count) >= 1 << power:
            return f"{count / (1 << power):.2f} {unit}"
    return f"{count} B"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def table(
    rows: Sequence[Any], total: float, memory: bool, widths: tuple[int, int, int], unit: str | None
) -> str:
    """The rows as a text, and beneath them the time of all.

    Args:
        rows: events, or their sums.
        total: what percentages are of, in microseconds.
        memory: with columns of memory.
        widths: of names, shapes and lines of source at most.
        unit: of all times, None for what fits each.
    """
    if not rows:
        return ""

    def part(us: float) -> str:
        return f"{100 * us / total if total else 0:.2f}%"

    shapes = any([e.input_shapes for e in rows])
    stacks = any([e.stack for e in rows])
    columns: list[tuple[bool, str, Callable[[Any], str]]] = [
        (True, "Name", lambda e: _cut(e.key, widths[0])),
        (True, "Self CPU %", lambda e: part(e.self_cpu_time_total)),
        (True, "Self CPU", lambda e: as_time(e.self_cpu_time_total, unit)),
        (True, "CPU total %", lambda e: part(e.cpu_time_total)),
        (True, "CPU total", lambda e: as_time(e.cpu_time_total, unit)),
        (True, "CPU time avg", lambda e: as_time(e.cpu_time, unit)),
        (memory, "CPU Mem", lambda e: as_bytes(e.cpu_memory_usage)),
        (memory, "Self CPU Mem", lambda e: as_bytes(e.self_cpu_memory_usage)),
        (True, "# of Calls", lambda e: str(e.count)),
        (shapes, "Input Shapes", lambda e: _cut(str(e.input_shapes), widths[1])),
        (stacks, "Source Location", lambda e: _cut("".join(e.stack[:1]), widths[2])),
    ]
    shown = [(head, cell) for wanted, head, cell in columns if wanted]
    cells = [[head for head, _ in shown], *[[cell(row) for _, cell in shown] for row in rows]]
    wide = [max(12, *[len(line[i]) for line in cells]) for i in range(len(shown))]
    rule = "  ".join(["-" * width for width in wide])
    lines = ["  ".join([c.rjust(w) for c, w in zip(line, wide, strict=True)]) for line in cells]
    end = f"Self CPU time total: {as_time(total, unit)}"
    return "\n".join([rule, lines[0], rule, *lines[1:], rule, end, ""])
