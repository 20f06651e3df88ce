"""Automatic differentiation: primitives, the graph they record, and the walk back through it.

Read primitive.py (how an operation and its derivatives are declared), graph.py (what is recorded)
and walk.py (the backward pass), in this order.
"""

from typing import TYPE_CHECKING

from tinygrad_edu.autograd import grad_mode, graph, half, saved
from tinygrad_edu.autograd.anomaly import detect_anomaly, set_detect_anomaly
from tinygrad_edu.autograd.function import Function
from tinygrad_edu.autograd.gradcheck import gradcheck, gradgradcheck
from tinygrad_edu.autograd.graph import Node
from tinygrad_edu.autograd.mode import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
)
from tinygrad_edu.autograd.primitive import primitive
from tinygrad_edu.autograd.variable import Variable
from tinygrad_edu.autograd.walk import backward, grad
from tinygrad_edu.missing import missing

# torch keeps them in autograd.graph, which here is read before all of this.
graph.saved_tensors_hooks = saved.saved_tensors_hooks  # type: ignore[attr-defined]
graph.save_on_cpu = saved.save_on_cpu  # type: ignore[attr-defined]

if TYPE_CHECKING:
    from tinygrad_edu.autograd import functional, profiler
else:  # imported when they are asked for
    __getattr__ = missing(__name__, {"functional": "", "profiler": ""})

__all__ = [
    "Function",
    "Node",
    "Variable",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "functional",
    "grad",
    "grad_mode",
    "gradcheck",
    "gradgradcheck",
    "half",
    "inference_mode",
    "is_grad_enabled",
    "no_grad",
    "primitive",
    "profiler",
    "set_detect_anomaly",
    "set_grad_enabled",
]
