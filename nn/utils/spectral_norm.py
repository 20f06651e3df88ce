"""torch's path to spectral_hooks, a function of which has the name of this module."""

from typing import TYPE_CHECKING

from tinygrad_edu.names.missing import elsewhere

if TYPE_CHECKING:
    from tinygrad_edu.nn.utils.spectral_hooks import SpectralNorm as SpectralNorm
    from tinygrad_edu.nn.utils.spectral_hooks import remove_spectral_norm as remove_spectral_norm
    from tinygrad_edu.nn.utils.spectral_hooks import spectral_norm as spectral_norm
else:
    __getattr__ = elsewhere(__name__, "nn.utils.spectral_hooks")
