"""`torch.autograd.profiler`: the older name of `torch.profiler`."""

from tinygrad_edu.names.profiler import profile, record_function

__all__ = ["profile", "record_function"]
