"""`memory_format=`: strides, sharing and refusals as torch's, wherever it may be given."""

from __future__ import annotations

import pytest

import tinygrad_edu as tg

torch = pytest.importorskip("torch")

SHAPES = [
    (2, 3, 4, 5), (8, 1, 3, 3), (2, 3, 1, 1), (1, 3, 4, 4), (2, 1, 1, 4), (1, 1, 1, 1),
    (2, 3), (2, 3, 2, 2, 2), (2, 1, 2, 2, 2),
]  # fmt: skip
FORMATS = ["contiguous_format", "preserve_format", "channels_last", "channels_last_3d"]
ORDERS = ["as made", "reversed", "channels last"]
MAKING = {
    "to": lambda lib, x, f: x.to(memory_format=f),
    "to, of another dtype": lambda lib, x, f: x.to(lib.float64, memory_format=f),
    "cpu": lambda lib, x, f: x.cpu(memory_format=f),
    "double": lambda lib, x, f: x.double(memory_format=f),
    "contiguous": lambda lib, x, f: x.contiguous(memory_format=f),
    "clone": lambda lib, x, f: x.clone(memory_format=f),
    "empty": lambda lib, x, f: lib.empty(x.shape, memory_format=f),
    "empty_like": lambda lib, x, f: lib.empty_like(x, memory_format=f),
    "zeros_like": lambda lib, x, f: lib.zeros_like(x, memory_format=f),
    "ones_like": lambda lib, x, f: lib.ones_like(x, memory_format=f),
    "full_like": lambda lib, x, f: lib.full_like(x, 3, memory_format=f),
    "rand_like": lambda lib, x, f: lib.rand_like(x, memory_format=f),
    "randn_like": lambda lib, x, f: lib.randn_like(x, memory_format=f),
    "randint_like": lambda lib, x, f: lib.randint_like(x, 9, memory_format=f),
    "Module.to": lambda lib, x, f: held(lib, x).to(memory_format=f).held,
}


def held(lib, x):
    module = lib.nn.Module()
    module.held = lib.nn.Parameter(x)
    return module


def outcome(lib, make, shape, order, name):
    """Strides, whether memory is shared, and the sum; or the error."""
    lib.manual_seed(0)
    x = lib.ones(shape)
    if order == "reversed":
        x = lib.ones(shape[::-1]).permute(*range(len(shape))[::-1])
    elif order == "channels last" and len(shape) == 4:
        x = lib.ones(shape[0], *shape[2:], shape[1]).permute(0, 3, 1, 2)
    try:
        y = make(lib, x, getattr(lib, name))
    except RuntimeError as error:
        return str(error)
    known = make is not MAKING["empty"] and make is not MAKING["empty_like"]
    steps = list(y.stride())
    if name == "preserve_format":  # NumPy's own order has other strides where there is no step
        steps = [step for step, size in zip(steps, shape, strict=True) if size > 1]
    return steps, y.data_ptr() == x.data_ptr(), round(y.sum().item(), 3) if known else None


@pytest.mark.parametrize("name", MAKING)
def test_strides_are_those_of_torch(name: str) -> None:
    for shape in SHAPES:
        for order in ORDERS:
            for form in FORMATS:
                ours, theirs = [
                    outcome(lib, MAKING[name], shape, order, form) for lib in (tg, torch)
                ]
                assert ours == theirs, (shape, order, form)
