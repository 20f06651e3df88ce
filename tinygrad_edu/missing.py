"""What a name that is not here answers: that it is not, why, and which similar one is."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable
from typing import Any, NoReturn

_REASONS = {
    ("fft", "stft", "istft"): "there are no Fourier transforms: np.fft computes without a gradient",
    ("sparse", "to_sparse", "sparse_coo_tensor"): "there are no sparse tensors",
    ("complex", "complex64", "complex128", "cfloat", "cdouble", "view_as_complex", "polar"): (
        "there are no complex numbers"
    ),
    ("quantization", "quantized", "quantize_per_tensor", "qint8", "ao"): "nothing is quantised",
    ("LBFGS",): "its closures are not supported; AdamW is the usual choice for small problems",
    ("SparseAdam",): "there are no sparse gradients; use Adam",
    ("LazyLinear", "LazyConv1d", "LazyConv2d"): "parameters have their shapes from the beginning",
    ("fx", "export", "_dynamo", "_inductor"): "there is no compiler",
}
_BY_NAME = {name: reason for names, reason in _REASONS.items() for name in names}


def missing(module: str) -> Callable[[str], NoReturn]:
    """The `__getattr__` of a module.

    >>> import tinygrad_edu as torch
    >>> torch.nn.Liner
    Traceback (most recent call last):
    AttributeError: module 'tinygrad_edu.nn' has no attribute 'Liner'; the nearest is 'Linear'
    """

    def __getattr__(name: str) -> NoReturn:
        text = f"module {module!r} has no attribute {name!r}"
        if not name.startswith("__"):
            text += _why(vars(sys.modules[module]), name)
        raise AttributeError(text, name=name)

    return __getattr__


def _why(known: dict[str, Any], name: str) -> str:
    if name in _BY_NAME:
        return f": {_BY_NAME[name]}"
    near = difflib.get_close_matches(name, [n for n in known if not n.startswith("_")], 1, 0.6)
    return f"; the nearest is {near[0]!r}" if near else ""
