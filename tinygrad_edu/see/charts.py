"""Charts, drawn by matplotlib, and tables of text."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence


def lines(
    xs: Sequence[float],
    series: Mapping[str, Sequence[float]],
    x_name: str,
    log_x: bool = False,
    log_y: bool = False,
    mark: float | None = None,
    stacked: bool = False,
    y_name: str = "",
) -> str:
    """Lines over a common x, as SVG; if `stacked`, areas upon each other.

    Args:
        mark: an x to point at.

    Raises:
        ImportError: matplotlib is not there.

    >>> lines([0, 1], {"loss": [2.0, 1.0]}, x_name="step")[:5]
    '<?xml'
    """
    from matplotlib.figure import Figure  # not needed for anything else

    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    if stacked:
        axes.stackplot(xs, *series.values(), labels=list(series))
    for name, ys in () if stacked else series.items():
        axes.plot(xs, ys, label=name)
    if mark is not None:
        axes.axvline(mark, color="tab:red", linestyle="--")
    scales = ["log" if log else "linear" for log in (log_x, log_y)]
    axes.set(xlabel=x_name, ylabel=y_name, xscale=scales[0], yscale=scales[1])
    axes.legend()
    target = io.StringIO()
    figure.savefig(target, format="svg")
    return target.getvalue().replace("<svg ", '<svg style="max-width: 100%; height: auto" ', 1)


def columns(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Rows of text in columns; those whose number is in `right` end together.

    >>> print(columns([["name", "n"], ["linear", "10"]], right=[1]))
    name     n
    linear  10
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def padded(k: int, cell: str) -> str:
        return cell.rjust(widths[k]) if k in right else cell.ljust(widths[k])

    spaced = ["  ".join([padded(k, cell) for k, cell in enumerate(row)]) for row in rows]
    return "\n".join([line.rstrip() for line in spaced])
