"""Charts, drawn by matplotlib, and tables of text."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence


def lines(
    xs: Sequence[float],
    series: Mapping[str, Sequence[float]],
    x_name: str,
    log_x: bool = False,
    mark: float | None = None,
    stacked: bool = False,
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
    axes.set(xlabel=x_name, xscale="log" if log_x else "linear")
    axes.legend()
    target = io.StringIO()
    figure.savefig(target, format="svg")
    return target.getvalue()


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
