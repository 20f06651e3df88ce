"""Draws docs/layers.svg from the contract in pyproject.toml: `python docs/draw_layers.py`.

Each row is a layer; a file may import what stands in the rows beneath its own.  Beneath a room
stands how many lines of code it has.
"""

from __future__ import annotations

import pathlib
import re
import runpy
import tomllib
from html import escape

ROOT = pathlib.Path(__file__).resolve().parent.parent
code_lines = runpy.run_path(str(ROOT / "tests/count_lines.py"))["code_lines"]
WIDTH, ROW, GAP, PAD = 920, 46, 8, 12


def layers() -> list[list[str]]:
    """The rooms of each layer, from the top, without the package's name."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    rows = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    return [[name.removeprefix("tinygrad_edu.") for name in re.split(r" [:|] ", r)] for r in rows]


def lines_of(room: str) -> int:
    """Lines of code of a module or a package, as tests/count_lines.py counts them."""
    place = ROOT / "tinygrad_edu" / room.replace(".", "/")
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    return sum(code_lines(file.read_text()) for file in files)


def draw() -> str:
    rows = layers()
    height = len(rows) * (ROW + GAP) + PAD
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for i, row in enumerate(rows):
        y, width = PAD + i * (ROW + GAP), (WIDTH - 2 * PAD - GAP * (len(row) - 1)) / len(row)
        shade = 250 - 4 * i
        for k, room in enumerate(row):
            x = PAD + k * (width + GAP)
            name = escape(room.removeprefix("names.") if len(row) > 6 else room)
            size = 12 if width > 90 else 10
            parts.append(
                f'<g><rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{ROW}" rx="6"'
                f' fill="rgb({shade - 40},{shade - 10},245)" stroke="#456"/>'
                f'<text x="{x + width / 2:.1f}" y="{y + 19}" text-anchor="middle"'
                f' font-size="{size}">{name}</text>'
                f'<text x="{x + width / 2:.1f}" y="{y + 36}" text-anchor="middle" fill="#345"'
                f' font-size="10">{lines_of(room):,}</text></g>'
            )
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    (ROOT / "docs" / "layers.svg").write_text(draw())
