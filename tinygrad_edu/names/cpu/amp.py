"""`torch.cpu.amp`, as older scripts write `torch.amp` for "cpu"."""

from tinygrad_edu import dtypes
from tinygrad_edu.amp import by_device

autocast, GradScaler, _, _ = by_device.forms("cpu", dtypes.bfloat16)
