"""`torch.utils.hooks`: where scripts import the handle of a hook from."""

from tinygrad_edu.autograd.graph import RemovableHandle

__all__ = ["RemovableHandle"]
