"""Automatic differentiation as torch offers it: `backward`, `grad`, `Function`, `gradcheck`.

The engine beneath is in tinygrad_edu/engine.
"""

from typing import TYPE_CHECKING

from tinygrad_edu.engine.gradients import backward, grad
from tinygrad_edu.engine.graph import Node
from tinygrad_edu.engine.primitive import primitive
from tinygrad_edu.engine.switches import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
)
from tinygrad_edu.names.missing import later, uncover

# Imported when it is asked for: each name, and the module that it is in.
_IN = {
    "": ["forward_ad", "functional", "grad_mode", "graph", "profiler"],
    "checking": ["gradcheck", "gradgradcheck"],
    "anomaly": ["detect_anomaly", "set_detect_anomaly"],
    "function": ["Function"],
    "variable": ["Variable"],
}

if TYPE_CHECKING:
    from tinygrad_edu.autograd import forward_ad, functional, grad_mode, graph
    from tinygrad_edu.autograd.anomaly import detect_anomaly, set_detect_anomaly
    from tinygrad_edu.autograd.checking import gradcheck, gradgradcheck
    from tinygrad_edu.autograd.function import Function
    from tinygrad_edu.autograd.variable import Variable
    from tinygrad_edu.profiler import legacy as profiler
else:
    uncover(__name__, "gradcheck")
    __getattr__, __dir__ = later(__name__, _IN)

__all__ = [
    "Function",
    "Node",
    "Variable",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "forward_ad",
    "functional",
    "grad",
    "grad_mode",
    "gradcheck",
    "gradgradcheck",
    "graph",
    "inference_mode",
    "is_grad_enabled",
    "no_grad",
    "primitive",
    "profiler",
    "set_detect_anomaly",
    "set_grad_enabled",
]
