"""torch's path to more.linear_loss, a function of which has the name of this module."""

from typing import TYPE_CHECKING

from tinygrad_edu.names.missing import elsewhere

if TYPE_CHECKING:
    from tinygrad_edu.nn.functional.more.linear_loss import (
        LinearCrossEntropyOptions as LinearCrossEntropyOptions,
    )
    from tinygrad_edu.nn.functional.more.linear_loss import (
        linear_cross_entropy as linear_cross_entropy,
    )
else:
    __getattr__ = elsewhere(__name__, "nn.functional.more.linear_loss")
