"""Pictures of the engine at work, for those who read it and those who train with it.

    graph          the recorded graph as a drawing, modules folded as one likes
    backward       the backward pass step by step, as text and as one page for a browser
    summary        a model's modules: shapes, parameters, multiplications, bytes kept, time
    memory         what lives during a step, and who made it
    training       loss, gradient norms and updates while a model trains
    attention      the maps of all heads
    tensor         a tensor at a glance
    learning_rate  the loss by learning rate, and which to take
    watch          a block in which the graph remembers which module made what

Nothing of this is imported by a program that does not ask for it, and nothing but NumPy is needed.

In reading order: `reading` (what the tape says), `layout` (where boxes lie), `drawing` and `steps`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinygrad_edu.names.missing import later

if TYPE_CHECKING:
    from tinygrad_edu.see.drawing import graph
    from tinygrad_edu.see.glance import tensor
    from tinygrad_edu.see.heads import attention
    from tinygrad_edu.see.rates import learning_rate
    from tinygrad_edu.see.room import memory
    from tinygrad_edu.see.steps import backward
    from tinygrad_edu.see.table import summary
    from tinygrad_edu.see.trainer import training
    from tinygrad_edu.see.watching import watch

_IN = {
    "drawing": ["graph"], "glance": ["tensor"], "heads": ["attention"], "rates": ["learning_rate"],
    "room": ["memory"], "steps": ["backward"], "table": ["summary"], "trainer": ["training"],
    "watching": ["watch"],
}  # fmt: skip

__all__ = [
    "attention", "backward", "graph", "learning_rate", "memory", "summary", "tensor", "training",
    "watch",
]  # fmt: skip

__getattr__, __dir__ = later(__name__, _IN)
