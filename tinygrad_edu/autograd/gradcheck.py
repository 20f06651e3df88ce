"""torch's path to checking, a function of which has the name of this module."""

from typing import TYPE_CHECKING

from tinygrad_edu.names.missing import elsewhere

if TYPE_CHECKING:
    from tinygrad_edu.autograd.checking import gradcheck as gradcheck
    from tinygrad_edu.autograd.checking import gradgradcheck as gradgradcheck
    from tinygrad_edu.autograd.rules import GradcheckError as GradcheckError
else:
    __getattr__ = elsewhere(__name__, "autograd.checking")
