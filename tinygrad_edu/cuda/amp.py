"""`torch.cuda.amp`, as older scripts write `torch.amp` for "cuda"."""

from tinygrad_edu import dtypes
from tinygrad_edu.amp import by_device, grad_scaler

__path__: list[str] = []  # so that `from torch.cuda.amp.grad_scaler import …` looks here
__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd", "grad_scaler"]

autocast, GradScaler, custom_fwd, custom_bwd = by_device.forms("cuda", dtypes.float16)
