"""torch's path to weight_hooks, a function of which has the name of this module."""

from typing import TYPE_CHECKING

from tinygrad_edu.names.missing import elsewhere

if TYPE_CHECKING:
    from tinygrad_edu.nn.utils.weight_hooks import WeightNorm as WeightNorm
    from tinygrad_edu.nn.utils.weight_hooks import remove_weight_norm as remove_weight_norm
    from tinygrad_edu.nn.utils.weight_hooks import weight_norm as weight_norm
else:
    __getattr__ = elsewhere(__name__, "nn.utils.weight_hooks")
