"""`tensor`: a tensor at a glance."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_edu.dtypes import Array, from_numpy, is_floating
from tinygrad_edu.engine.graph import TensorBase

BARS = "▁▂▃▄▅▆▇█"
ROWS, COLUMNS = 16, 24


def host(value: object) -> Array:
    """A tensor or an array as NumPy's array, floats in double precision."""
    array = value.array if isinstance(value, TensorBase) else value
    array = array.get() if hasattr(array, "get") else np.asarray(array)
    return array.astype(np.float64) if array.dtype.kind in "fV" else array


def thumbnail(value: object, rows: int = ROWS, columns: int = COLUMNS) -> Array:
    """At most so many numbers that show an array: means of blocks, the last dimension across.

    >>> thumbnail(np.arange(8.0), columns=4)
    array([[0.5, 2.5, 4.5, 6.5]])
    """
    array = host(value).astype(np.float64)
    if not array.size:
        return np.zeros((0, 0))
    flat = array.reshape(-1, array.shape[-1] if array.ndim else 1)
    for axis, most in ((0, rows), (1, columns)):
        count = flat.shape[axis]
        if count > most:
            cuts = np.linspace(0, count, most, endpoint=False).astype(int)
            shape = [1, 1]
            shape[axis] = most
            lengths = np.diff([*cuts, count]).reshape(shape)
            flat = np.add.reduceat(flat, cuts, axis=axis) / lengths
    return flat


@dataclass
class Glance:
    """What `tensor` found: its text is one line and a small chart."""

    title: str
    values: Array
    numbers: dict[str, Any]

    def __str__(self) -> str:
        facts = [f"{k} {v:.4g}" if isinstance(v, float) else f"{v} {k}"
                 for k, v in self.numbers.items()]  # fmt: skip
        return "  ".join([self.title, *facts, self.sparkline()]).rstrip()

    __repr__ = __str__

    def sparkline(self) -> str:
        """How the values are spread: a histogram in 16 bars, from the least to the greatest."""
        found = self.values[np.isfinite(self.values)]
        if found.size < 2 or found.min() == found.max():
            return ""
        counts, _ = np.histogram(found, bins=16)
        heights = np.ceil(counts / counts.max() * (len(BARS) - 1)).astype(int)
        return "".join([BARS[h] for h in heights])

    def _repr_html_(self) -> str:
        return f"<code>{html.escape(str(self))}</code><br>{svg(*heat_map(thumbnail(self.values)))}"


def tensor(x: Any) -> Glance:
    """Shape, type, range, mean, spread, how many NaN, infinite and zero, and a histogram.

    In a notebook there is a heat map as well: rows are all dimensions but the last, and what is
    larger than 16 by 24 is shown by the means of blocks.

    Args:
        x: a tensor or an array.

    >>> import tinygrad_edu as torch
    >>> torch.see.tensor(torch.tensor([0.0, 1.0, 2.0, float("nan")]))
    4 float32  min 0  max 2  mean 1  std 0.8165  1 NaN  1 zero  █▁▁▁▁▁▁▁█▁▁▁▁▁▁█
    """
    values = host(x)
    array = x.array if isinstance(x, TensorBase) else np.asarray(x)
    shape = "×".join(map(str, values.shape)) or "()"
    title = f"{shape} {from_numpy(array.dtype).name}"
    numbers: dict[str, Any] = {}
    wide = values.astype(np.float64)
    finite = wide[np.isfinite(wide)]
    if finite.size:
        numbers |= {"min": float(finite.min()), "max": float(finite.max())}
        numbers |= {"mean": float(finite.mean()), "std": float(finite.std())}
    if is_floating(array.dtype):
        counts = {"NaN": np.isnan(wide), "infinite": np.isinf(wide)}
        numbers |= {name: int(c.sum()) for name, c in counts.items() if c.any()}
    if (wide == 0).any():
        numbers["zero"] = int((wide == 0).sum())
    return Glance(title, wide, numbers)


def color(value: float, most: float) -> str:
    """Red for positive, blue for negative, white for zero, black for NaN.

    >>> color(0.0, 1.0), color(1.0, 1.0)
    ('#ffffff', '#c0392b')
    """
    if not np.isfinite(value):
        return "#000000"
    share = min(abs(value) / most, 1.0) if most else 0.0
    full = (192, 57, 43) if value > 0 else (41, 98, 192)
    return "#" + "".join([f"{round(255 + (f - 255) * share):02x}" for f in full])


def heat_map(value: object, labels: Sequence[str] = (), cell: int = 14) -> tuple[str, int, int]:
    """A small array as SVG cells colored from blue to red, with names of the rows; and its size."""
    small = np.atleast_2d(host(value))
    finite = np.abs(small[np.isfinite(small)])
    most = float(finite.max()) if finite.size else 0.0
    parts = [
        f'<rect x="{c * cell}" y="{r * cell}" width="{cell}" height="{cell}"'
        f' fill="{color(float(v), most)}"><title>{r}, {c}: {float(v):.4g}</title></rect>'
        for r, row in enumerate(small)
        for c, v in enumerate(row)
    ]
    parts += [
        f'<text x="-4" y="{r * cell + 11}" text-anchor="end">{html.escape(label)}</text>'
        for r, label in enumerate(labels)
    ]
    return "".join(parts), small.shape[1] * cell, small.shape[0] * cell


def svg(inside: str, width: float, height: float) -> str:
    """A drawing of that size, on white."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
        f' font-family="monospace" font-size="11"><rect width="100%" height="100%" fill="#fff"/>'
        f"{inside}</svg>"
    )
