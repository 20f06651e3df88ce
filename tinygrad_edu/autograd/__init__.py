"""Automatic differentiation as torch offers it: `backward`, `grad`, `Function`, `gradcheck`.

The engine beneath is in tinygrad_edu/engine.
"""

import sys
from typing import TYPE_CHECKING

from tinygrad_edu.autograd import grad_mode, graph
from tinygrad_edu.autograd.anomaly import detect_anomaly, set_detect_anomaly
from tinygrad_edu.autograd.function import Function
from tinygrad_edu.autograd.gradcheck import gradcheck, gradgradcheck
from tinygrad_edu.autograd.variable import Variable
from tinygrad_edu.engine import boundary, gradients, switches
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
from tinygrad_edu.missing import missing

# Pickles of the first edition name these modules.
sys.modules |= {
    f"{__name__}.errors": boundary,
    f"{__name__}.mode": switches,
    f"{__name__}.walk": gradients,
}

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
    "graph",
    "inference_mode",
    "is_grad_enabled",
    "no_grad",
    "primitive",
    "profiler",
    "set_detect_anomaly",
    "set_grad_enabled",
]
