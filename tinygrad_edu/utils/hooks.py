"""`torch.utils.hooks`: where scripts import the handle of a hook from."""

from tinygrad_edu.engine.hooks import RemovableHandle

__all__ = ["RemovableHandle"]
