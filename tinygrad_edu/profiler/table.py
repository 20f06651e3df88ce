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
    rows: Sequence[Any],
    total: float,
    memory: bool,
    widths: tuple[int, int, int],
    unit: str | None,
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

    columns: list[tuple[str, Callable[[Any], str]]] = [
        ("Name", lambda e: _cut(e.key, widths[0])),
        ("Self CPU %", lambda e: part(e.self_cpu_time_total)),
        ("Self CPU", lambda e: as_time(e.self_cpu_time_total, unit)),
        ("CPU total %", lambda e: part(e.cpu_time_total)),
        ("CPU total", lambda e: as_time(e.cpu_time_total, unit)),
        ("CPU time avg", lambda e: as_time(e.cpu_time, unit)),
    ]
    if memory:
        columns += [
            ("CPU Mem", lambda e: as_bytes(e.cpu_memory_usage)),
            ("Self CPU Mem", lambda e: as_bytes(e.self_cpu_memory_usage)),
        ]
    columns.append(("# of Calls", lambda e: str(e.count)))
    if any([e.input_shapes for e in rows]):
        columns.append(("Input Shapes", lambda e: _cut(str(e.input_shapes), widths[1])))
    if any([e.stack for e in rows]):
        columns.append(
            ("Source Location", lambda e: _cut(e.stack[0] if e.stack else "", widths[2]))
        )
    cells = [[head for head, _ in columns], *[[cell(row) for _, cell in columns] for row in rows]]
    wide = [max(12, *[len(line[i]) for line in cells]) for i in range(len(columns))]
    rule = "  ".join(["-" * width for width in wide])
    lines = ["  ".join([c.rjust(w) for c, w in zip(line, wide, strict=True)]) for line in cells]
    end = f"Self CPU time total: {as_time(total, unit)}"
    return "\n".join([rule, lines[0], rule, *lines[1:], rule, end, ""])
