"""`memory`: what lives during a step, at its peak, and who made it."""

from __future__ import annotations

import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

from tinygrad_edu.engine.graph import Node, TensorBase
from tinygrad_edu.engine.types import Call, Gradient
from tinygrad_edu.kernels.memory_order import owner
from tinygrad_edu.see.charts import columns, lines
from tinygrad_edu.see.reading import is_array, size, tensors
from tinygrad_edu.see.watching import looking


class Memory:
    """What was found.

    Attributes:
        forward, backward: after each call, the bytes alive of what calls made, and of gradients.
        peak: the greatest sum of the two.
        at_peak: who had made what lived then: pairs (name, bytes), the greatest first.
        measured: the greatest memory that Python's own tracer saw above that at the beginning; it
            includes what operations need while they compute.
    """

    def __init__(
        self, samples: list[tuple[int, int]], at_peak: dict[str, int], measured: int
    ) -> None:
        self.forward = [a for a, _ in samples]
        self.backward = [b for _, b in samples]
        self.peak = max([a + b for a, b in samples], default=0)
        self.at_peak = sorted(at_peak.items(), key=lambda pair: -pair[1])
        self.measured = measured

    def __str__(self) -> str:
        rows = [[name, size(count), f"{100 * count / max(self.peak, 1):.0f} %"]
                for name, count in self.at_peak[:12]]  # fmt: skip
        rest = sum([count for _, count in self.at_peak[12:]])
        if rest:
            rows.append(["others", size(rest), f"{100 * rest / self.peak:.0f} %"])
        head = f"peak {size(self.peak)} of tensors, {size(self.measured)} measured"
        return head + ("\n" + columns(rows, right=(1, 2)) if rows else "")

    __repr__ = __str__

    def chart(self) -> str:
        """What lives, call by call, in MB, as SVG: gradients on top of what calls made."""
        series = {"made by calls": self.forward, "gradients": self.backward}
        scaled = {name: [n / 2**20 for n in ns] for name, ns in series.items()}
        return lines(range(len(self.forward)), scaled, "call", y_name="MB", stacked=True)

    def _repr_html_(self) -> str:
        return f"{self.chart()}<pre>{self}</pre>"


def memory(step: Callable[[], Any]) -> Memory:
    """Run `step()` once and follow every array that its calls and its backward pass make.

    Args:
        step: usually one training step; what lived before it (parameters, the optimizer's state)
            is not counted.

    >>> import tinygrad_edu as torch
    >>> w = torch.ones(1000, requires_grad=True)
    >>> found = torch.see.memory(lambda: (w * 2).exp().sum().backward())
    >>> found.peak, dict(found.at_peak)["exp"]
    (8008, 4000)
    """
    follower = _Follower()
    tracing = tracemalloc.is_tracing()
    if not tracing:
        tracemalloc.start()
    tracemalloc.reset_peak()
    start = tracemalloc.get_traced_memory()[0]
    try:
        with looking(follower.listen, follower.around):
            step()
    finally:
        measured = tracemalloc.get_traced_memory()[1] - start
        if not tracing:
            tracemalloc.stop()
        follower.references.clear()  # they would call back later
    return Memory(follower.samples, follower.at_peak, measured)


class _Follower:
    """Knows which arrays are alive, by weak references to them."""

    def __init__(self) -> None:
        self.alive: dict[int, tuple[str, int, bool]] = {}
        self.references: dict[int, Any] = {}
        self.samples: list[tuple[int, int]] = []
        self.at_peak: dict[str, int] = {}
        self.peak = 0
        self.totals = [0, 0]

    def listen(self, op: Any, make: Call, *args: object, **kwargs: object) -> Any:
        """Note what a call makes, and what it keeps besides."""
        y = make(*args, **kwargs)
        name = getattr(op, "name", getattr(op, "__name__", "?"))
        given = {id(owner(t.array)) for t in tensors(args)}
        found = [t.array for t in tensors(y)]
        for t in tensors(y):
            node = t.node.whole or t.node if t.node is not None else None
            found += [k for k in (node.kept or () if node is not None else ()) if is_array(k)]
        for array in found:
            if id(owner(array)) not in given:
                self.born(array, name, False)
        self.sample()
        return y

    def around(self, step: Call, node: Node, kept: object, g: Gradient) -> Any:
        """Note the gradients that a rule makes."""
        found = list(step(node, kept, g))
        for _, gx in found:
            array = gx.array if isinstance(gx, TensorBase) else gx
            if is_array(array):
                self.born(array, f"gradients of {node.plan.op.name}", True)
        self.sample()
        return found

    def born(self, array: Any, name: str, gradient: bool) -> None:
        """An array is there that was not before."""
        base = owner(array)
        key = id(base)
        if key in self.alive:
            return
        self.alive[key] = name, base.nbytes, gradient
        self.totals[gradient] += base.nbytes
        self.references[key] = weakref.ref(base, lambda _: self.died(key))

    def died(self, key: int) -> None:
        """It is gone."""
        _, count, gradient = self.alive.pop(key)
        self.totals[gradient] -= count
        self.references.pop(key, None)

    def sample(self) -> None:
        """One more point of the chart."""
        self.samples.append((self.totals[0], self.totals[1]))
        if sum(self.totals) > self.peak:
            self.peak = sum(self.totals)
            self.at_peak = {}
            for name, count, _ in self.alive.values():
                self.at_peak[name] = self.at_peak.get(name, 0) + count
