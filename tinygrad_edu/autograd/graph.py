"""torch's `autograd.graph`: nodes, and hooks on what operations keep."""

from tinygrad_edu.autograd.saved import save_on_cpu, saved_tensors_hooks
from tinygrad_edu.engine.graph import Node

__all__ = ["Node", "save_on_cpu", "saved_tensors_hooks"]
