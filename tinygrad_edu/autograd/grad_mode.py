"""`torch.autograd.grad_mode`: torch's name of the module mode.py."""

from tinygrad_edu.autograd.mode import enable_grad, inference_mode, no_grad, set_grad_enabled

__all__ = ["enable_grad", "inference_mode", "no_grad", "set_grad_enabled"]
