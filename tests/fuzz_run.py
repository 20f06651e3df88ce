"""One run of a random program by one library: what it raised, and what can be seen at its end."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from math import inf, nan
from typing import Any

import numpy as np
import torch
from op_table import all_rows

import tinygrad_edu

OPS = {f"{op.name} {i}" if op.run else op.name: op for i, op in enumerate(all_rows())}
"""The rows of the table by name; the number tells apart rows of one name that say how they run."""


class Scaled:
    """torch, but every float written in the program is larger by a few units in the last place.

    What this changes much, rounding decides: there the libraries may differ.  Ties stay ties.
    """

    def __init__(self, units: float) -> None:
        self.units = units

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def tensor(self, values: Any, **options: Any) -> Any:
        array, dtype = np.array(values), options.get("dtype", torch.float32)
        if dtype.is_floating_point:
            array = array * (1 + self.units * torch.finfo(dtype).eps)
        return torch.tensor(array, **options)


class Run:
    """A library's run of a program, one line after another.

    Attributes:
        names: the variables.
        raised: the type of the exception of every line, or "".
        said: what the exceptions said.
    """

    def __init__(self, T: Any, lines: Sequence[str] = ()) -> None:
        def w(y: Any) -> Any:
            """Numbers to weight the elements of y by, so that no two count alike."""
            return (T.arange(y.numel()) % 7 - 2.5).reshape(y.shape)

        self.names = {"T": T, "OPS": OPS, "w": w, "log": [], "inf": inf, "nan": nan}
        self.hidden = {*self.names, "__builtins__", "total", "again"} - {"log"}
        self.raised: list[str] = []
        self.said: list[str] = []
        T.manual_seed(0)
        for line in lines:
            self.add(line)

    def add(self, line: str) -> bool:
        """Run one more line; False where it raises."""
        self.raised.append("")
        self.said.append("")
        try:
            if ".register_hook(" in line:
                x = self.names[line.partition(".")[0]]
                if x._base is not None and x.is_leaf:  # torch 2.13 may crash there
                    raise RuntimeError("no hooks of views without a history")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                exec(compile_line(line), self.names)
        except Exception as error:
            self.raised[-1], self.said[-1] = type(error).__name__, str(error)
        return not self.raised[-1]

    def seen(self) -> dict[str, Any]:
        """All that can be seen at the end.  Looking changes what it looks at, so look once."""
        found: dict[str, Any] = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name, value in self.names.items():
                if name not in self.hidden:
                    try:
                        look(name, value, found)
                    except Exception as error:
                        found[name] = f"cannot be seen: {type(error).__name__}"
        return found


_code: dict[str, Any] = {}


def compile_line(line: str) -> Any:
    if line not in _code:
        if len(_code) > 1000:
            _code.clear()
        _code[line] = compile(line, "<program>", "exec")
    return _code[line]


def look(name: str, value: Any, found: dict[str, Any]) -> None:
    """Write down a value, part by part, under names such as "x3.strides"."""
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        for i, part in enumerate(value):
            look(f"{name}[{i}]", part, found)
        found[f"{name}.length"] = len(value)
    elif isinstance(value, (torch.Tensor, tinygrad_edu.Tensor)):
        sizes = tuple(value.shape)
        steps = zip(value.stride(), sizes, strict=True)
        found[f"{name}.dtype"] = str(value.dtype)
        found[f"{name}.shape"] = sizes
        found[f"{name}.strides"] = 0 not in sizes and tuple(s for s, size in steps if size > 1)
        found[f"{name}.in order"] = value.is_contiguous()
        found[f"{name}.requires_grad"] = value.requires_grad
        found[f"{name}.is_leaf"] = value.is_leaf
        plain = value.detach()
        plain = plain.float() if value.dtype in (torch.bfloat16, tinygrad_edu.bfloat16) else plain
        found[f"{name}.values"] = np.array(plain.numpy(force=True))
        if value.requires_grad:
            look(f"{name}.grad", value.grad, found)
    elif value is None or isinstance(value, (bool, int, float, str)):
        found[name] = value
