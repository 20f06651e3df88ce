"""The names that torch's dispatcher gives to operations: `torch.ops.aten.mm.default`.

They only name: a policy of selective checkpointing compares them (utils/selective.py).
"""

from __future__ import annotations

from typing import Any

from tinygrad_edu.engine.graph import TensorBase

__all__ = ["Overload", "Packet", "aten", "name_of"]


class Overload:
    """One form of an operation, such as `aten.add.Tensor`; there is one object of each name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<OpOverload(op='{self.name}')>"

    def __str__(self) -> str:
        return self.name


class Packet:
    """All forms of an operation, `aten.add`; or, of the name "aten", all operations."""

    def __init__(self, name: str, inside: type[Any]) -> None:
        self._name, self._inside = name, inside

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        full = f"{self._name}.{name}"
        made = Overload(full) if self._inside is Overload else Packet(full, Overload)
        return self.__dict__.setdefault(name, made)


aten = Packet("aten", Packet)

_NAMES = {
    "attention": "_scaled_dot_product_flash_attention_for_cpu", "convolve": "convolution",
    "softmax": "_softmax", "log_softmax": "_log_softmax", "layer_norm": "native_layer_norm",
    "batch_norm": "native_batch_norm", "group_norm": "native_group_norm",
    "cross_entropy": "nll_loss_forward", "squared_error": "mse_loss",
}  # fmt: skip
_BINARY = {"add", "sub", "mul", "div", "remainder", "fmod", "eq", "ne", "lt", "le", "gt", "ge"}
_OF_MATRICES = {(1, 1): "dot", (2, 1): "mv", (2, 2): "mm", (3, 3): "bmm"}


def name_of(op: Any, args: tuple[Any, ...]) -> Any:
    """What torch calls this operation of these arguments on a CPU; of several, the one that costs.

    >>> import tinygrad_edu as torch
    >>> name_of(torch.matmul.primitive, (torch.ones(2, 3), torch.ones(3, 4)))
    <OpOverload(op='aten.mm.default')>
    """
    name, form = op.name.strip("_"), "default"
    ndims = tuple([t.array.ndim for t in args[:2] if isinstance(t, TensorBase)])
    if name == "linear":
        name = "addmm" if len(args) > 2 and args[2] is not None else "mm"
    elif name == "matmul":
        name = _OF_MATRICES.get(ndims, "mm" if 2 in ndims and ndims[1:] == (2,) else "bmm")
    elif name in _BINARY:  # arithmetic takes numbers as tensors, comparisons do not
        form = "Scalar" if len(ndims) < 2 and len(name) == 2 else "Tensor"
    elif name == "pow":
        form = "Tensor_Tensor" if len(ndims) == 2 else "Tensor_Scalar"
    elif name in ("sum", "mean") and len(args) > 1 and args[1] is not None:
        form = "dim_IntList" if name == "sum" else "dim"
    return getattr(getattr(aten, _NAMES.get(name, name)), form)
