"""`torch.cuda.amp`, as older scripts write `torch.amp` for "cuda"."""

from tinygrad_edu import dtypes
from tinygrad_edu.amp import by_device

autocast, GradScaler, custom_fwd, custom_bwd = by_device.forms("cuda", dtypes.float16)
