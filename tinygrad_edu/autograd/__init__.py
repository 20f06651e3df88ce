"""Automatic differentiation: primitives, the graph they record, and the walk back through it.

Read primitive.py (how an operation and its derivatives are declared), graph.py (what is recorded)
and walk.py (the backward pass), in this order.
"""

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
from tinygrad_edu.autograd.walk import backward, grad

__all__ = [
    "Function",
    "Node",
    "backward",
    "enable_grad",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "inference_mode",
    "is_grad_enabled",
    "no_grad",
    "primitive",
    "set_grad_enabled",
]
