"""Shows the examples in docstrings as code: an extension of griffe, which reads them."""

from typing import Any

import griffe


def fenced(text: str) -> str:
    """The text with every example, from `>>>` to the next empty line, as a block of code."""
    found: list[str] = []
    inside = False
    for line in text.splitlines():
        if not inside and line.lstrip().startswith(">>>"):
            if found and found[-1].strip():
                found.append("")
            found.append("```pycon")
            inside = True
        elif inside and not line.strip():
            found.append("```")
            inside = False
        found.append(line)
    return "\n".join([*found, *(["```"] if inside else [])])


class Fenced(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)
