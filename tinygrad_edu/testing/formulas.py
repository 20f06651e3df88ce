"""A derivative rule as it is written in the source."""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
from collections.abc import Callable
from typing import Any


@functools.cache
def formula(rule: Callable[..., Any]) -> str:
    """A rule as it is written in the source, without the layout.

    >>> formula(lambda g, x: 2 * g * x)
    '2 * g * x'
    """
    code = rule.__code__
    own = list(code.co_varnames[: code.co_argcount])
    found = [
        one
        for one in functions_of(code.co_filename)
        if [a.arg for a in one.args.args] == own and first_line(one) == code.co_firstlineno
    ]
    if len(found) > 1:  # two on one line
        columns = {p[2] for p in code.co_positions() if p[2]}
        found = [one for one in found if one.body.col_offset in columns]  # type: ignore[union-attr]
    if not found:
        return f"{rule.__name__}({', '.join(inspect.signature(rule).parameters)})"
    (one,) = found[:1]
    if isinstance(one, ast.Lambda):
        return ast.unparse(one.body)
    body = one.body[1:] if ast.get_docstring(one) else one.body
    return "\n".join(map(ast.unparse, body))


@functools.cache
def functions_of(filename: str) -> list[ast.Lambda | ast.FunctionDef]:
    """All functions of a file."""
    try:
        tree = ast.parse("".join(linecache.getlines(filename)))
    except SyntaxError:
        return []
    return [n for n in ast.walk(tree) if isinstance(n, (ast.Lambda, ast.FunctionDef))]


def first_line(one: ast.Lambda | ast.FunctionDef) -> int:
    """Where it begins, decorators included."""
    found: int = min([one.lineno, *[d.lineno for d in getattr(one, "decorator_list", [])]])
    return found
