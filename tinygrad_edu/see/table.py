"""`summary`: what the modules of a model make, hold and cost."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

from tinygrad_edu.engine.types import Call
from tinygrad_edu.nn import Module
from tinygrad_edu.see.charts import columns
from tinygrad_edu.see.reading import Tape, read, shape_of, size, tensors
from tinygrad_edu.see.watching import looking, watch


@dataclass
class Row:
    """One call of a module."""

    path: str
    kind: str
    output: str = ""
    parameters: int = 0
    """In it and in all beneath it; those that two modules share count once."""
    multiply_adds: int = 0
    bytes: int = 0
    """Kept for the backward pass by it and all beneath it."""
    seconds: float = 0.0
    calls: int = 0


class Summary:
    """A table of modules; `total` is the row of the model itself."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows, self.total = rows, rows[0]

    def __str__(self) -> str:
        head = ["module", "", "output", "parameters", "multiply-adds", "kept", "time"]
        table = [head]
        for row in self.rows:
            depth = row.path.count(".") + bool(row.path)
            name = "  " * depth + (row.path.rpartition(".")[2] or "model")
            again = f" (called {row.calls} times)" if row.calls > 1 else ""
            if row.calls == 0:
                again = " (not called)"
            table.append([
                name, row.kind + again, row.output, f"{row.parameters:,}",
                f"{row.multiply_adds:,}", size(row.bytes), f"{row.seconds * 1e3:.2f} ms",
            ])  # fmt: skip
        return columns(table, right=(3, 4, 5, 6))

    __repr__ = __str__


def summary(model: Module, *args: object, **kwargs: object) -> Summary:
    """Run `model(*args, **kwargs)` once and say of every module what it made, holds and cost.

    A row counts what is beneath it as well, and all calls of it.  Multiply-adds are those of
    products: linear layers, convolutions, `matmul`, attention, recurrent cells; adding a bias
    counts as one for each element.  The bytes kept are read from the graph: what the rules keep
    and nobody else would hold, every memory once.

    Args:
        model: left in its mode (`train` or `eval`); batch norms see this batch, as in any call.
        args, kwargs: of its `forward`.

    Unlike torchinfo, the products of a linear layer are counted for every row of its input.

    >>> import tinygrad_edu as torch
    >>> found = torch.see.summary(torch.nn.Linear(4, 3), torch.ones(2, 4))
    >>> found.total.parameters, found.total.multiply_adds
    (15, 30)
    """
    counter = _Counter(model)
    with counter, looking(counter.listen):
        y = model(*args, **kwargs)
    results = [t for t in tensors(y) if t.requires_grad]
    kept: dict[str, int] = {}
    seen: set[int] = set()
    tapes: list[Tape] = [read(t, model) for t in results if not t.is_leaf]
    for one in [o for tape in tapes for o in tape.operations]:
        if one.number not in seen:
            seen.add(one.number)
            _add(kept, one.path, one.bytes)
    for path, row in counter.rows.items():
        row.bytes, row.multiply_adds = kept.get(path, 0), counter.products.get(path, 0)
    return Summary(list(counter.rows.values()))


class _Counter(watch):
    """Notes the calls of modules, and listens to the operations between."""

    def __init__(self, model: Module) -> None:
        super().__init__(model)
        self.rows = {
            path: Row(path, type(m).__name__, parameters=sum([p.numel() for p in m.parameters()]))
            for path, m in model.named_modules()
        }
        self.started: list[float] = []
        self.products: dict[str, int] = {}

    def entered(self, path: str, module: Module, args: object) -> None:
        super().entered(path, module, args)
        self.started.append(time.perf_counter())

    def left(self, path: str, module: Module, args: object, output: object) -> None:
        row = self.rows[path]
        row.seconds += time.perf_counter() - self.started.pop()
        row.calls += 1
        row.output = ", ".join([shape_of(t) for t in tensors(output)])
        super().left(path, module, args, output)

    def listen(self, op: Any, make: Call, *args: object, **kwargs: object) -> Any:
        """Count the products of a call."""
        y = make(*args, **kwargs)
        count = multiply_adds(getattr(op, "name", ""), args, y)
        if count:
            _add(self.products, self.path[-1] if self.path else "", count)
        return y


def multiply_adds(name: str, args: Any, y: Any) -> int:
    """How many products a call of an operation adds up; 0 of those that add up none."""
    if name in ("linear", "convolve"):
        weight, bias = args[1], args[2]
        each = weight.shape[-1] if name == "linear" else math.prod(weight.shape[1:])
        return int(math.prod(y.shape) * (each + (bias is not None)))
    if name == "matmul":
        return int(math.prod(y.shape) * args[0].shape[-1])
    if name == "attention":
        query, key, value = args[:3]
        pairs = math.prod(query.shape[:-1]) * key.shape[-2]
        return int(pairs * (query.shape[-1] + value.shape[-1]))
    if name in ("rnn", "lstm", "gru"):
        weight, bias = (args[3], args[4]) if name == "lstm" else (args[2], args[3])
        rows = math.prod(args[0].shape[:-1])
        return int(rows * (math.prod(weight.shape) + (weight.shape[0] if bias is not None else 0)))
    return 0


def _add(sums: dict[str, int], path: str, count: int) -> None:
    """Add to a path and to all above it."""
    parts = path.split(".") if path else []
    for k in range(len(parts) + 1):
        above = ".".join(parts[:k])
        sums[above] = sums.get(above, 0) + count
