"""What torch calls a node, where that is not our operation's name followed by `Backward0`.

torch numbers the overloads of an operation and names what it fuses.  Names are worked out when
somebody asks, from what the node knows even after its backward pass: the shapes around it, and
which of its inputs need a gradient.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinygrad_edu.autograd.graph import Node

_NAMES = {
    # what torch fuses, or calls otherwise
    "attention": "ScaledDotProductFlashAttentionForCpu",
    "batch_norm": "NativeBatchNorm", "bce": "BinaryCrossEntropy",
    "bce_logits": "BinaryCrossEntropyWithLogits", "convolve": "Convolution",
    "convolve_input": "Convolution", "ctc": "CtcLoss", "floor_divide": "DivBackward2",
    "huber": "HuberLoss", "layer_norm": "NativeLayerNorm", "logsigmoid": "LogSigmoid",
    "mantissa": "Frexp", "max": "MaxBackward1", "min": "MinBackward1", "pad": "ConstantPadNd",
    "prelu": "PreluKernel", "reshape_copy": "View",
    "scatter_extreme": "ScatterReduce", "scatter_product": "ScatterReduce",
    "smooth_l1": "SmoothL1Loss", "softsign": "Div",
    "square": "Pow", "squared_error": "MseLoss", "take": "Index",
    "trunc_divide": "DivBackward2", "undiagonal": "DiagEmbed",
    "copied": "torch::autograd::CopyBackwards", "copy_slices": "torch::autograd::CopySlices",
    # what is in one of its namespaces
    "cholesky": "LinalgCholeskyEx", "det": "LinalgDet", "eigh": "LinalgEigh", "inv": "LinalgInvEx",
    "logabsdet": "LinalgSlogdet", "pinv": "LinalgPinv", "qr": "LinalgQr",
    "sign_of_det": "LinalgSlogdet", "solve": "LinalgSolveEx", "svd": "LinalgSvd",
    "vector_norm": "LinalgVectorNorm", "entr": "SpecialEntr", "erfcx": "SpecialErfcx",
    "i0e": "SpecialI0E", "i1": "SpecialI1", "i1e": "SpecialI1E", "log_ndtr": "SpecialLogNdtr",
    "ndtri": "SpecialNdtri", "xlog1py": "SpecialXlog1Py",
}  # fmt: skip
"""Our names -> torch's; without a number, `Backward0` follows."""

_LOSSES = ("squared_error", "huber", "smooth_l1", "bce", "bce_logits")


def _ndim(node: Node, place: int) -> int | None:
    """How many dimensions an input has; None if it needs no gradient."""
    edge = node.edges[place]
    return None if edge is None else len(edge.shape)


def _reduction(node: Node) -> str:
    """Of all dimensions (0) or of some (1); torch's losses are reduced in one operation."""
    edge = node.edges[0]
    before = "" if edge is None else _operation(edge)
    word = _operation(node).capitalize()
    return _NAMES[before] if before in _LOSSES else f"{word}Backward{int(node.shape != ())}"


def _part(node: Node) -> str:
    """By the last step that `x[1, :2, None]` takes; by the shapes once the index is forgotten."""
    for entry in reversed(node.kept[0] if node.kept else ()):
        if entry is None:
            return "Unsqueeze"
        if isinstance(entry, int):
            return "Select"
        if isinstance(entry, slice) and entry != slice(None):
            return "Slice"
    before, after = node.edges[0].shape if node.edges[0] is not None else (), node.shape
    if len(after) > len(before):
        return "Unsqueeze"
    sizes = iter(before)
    whole = all([size in sizes for size in after])  # the sizes that are left, in their order
    return "Select" if whole and len(after) < len(before) else "Slice"


def _product(node: Node) -> str:
    a, b, y = _ndim(node, 0), _ndim(node, 1), len(node.shape)
    if y == 2 and a in (2, None) and b in (2, None):
        return "Mm"
    if y == 1:
        return "Mv" if a == 2 or b == 1 else "SqueezeBackward4"
    return "UnsafeView" if y else "Dot"


def _linear(node: Node) -> str:
    biased, ndim = node.edges[2] is not None, len(node.shape)
    if ndim == 2:
        return "Addmm" if biased else "Mm"
    return "View" if biased else "UnsafeView" if ndim > 2 else "SqueezeBackward4"


def _pool(node: Node) -> str:
    ndim = len(node.shape) - 2
    return f"MaxPool{ndim}DWithIndices" if ndim > 1 else "SqueezeBackward1"


def _by_second(node: Node) -> str:
    """With a number as the second operand, or with a tensor (as far as the node knows)."""
    first, second = [edge is not None for edge in (*node.edges, None)[:2]]
    number = 2 if second and not first and _operation(node) == "pow" else int(second)
    return f"{_operation(node).capitalize()}Backward{number}"


def _rsub(node: Node) -> str:
    return f"RsubBackward{int((*node.edges, None)[1] is None)}"


def _clamp(node: Node) -> str:
    return f"ClampBackward{int(not any(node.edges[1:]))}"


def _cross_entropy(node: Node) -> str:
    return "NllLoss2D" if (_ndim(node, 0) or 2) > 2 else "NllLoss"


_RULES: dict[str, Callable[[Node], str]] = {
    "sum": _reduction, "mean": _reduction, "prod": _reduction,
    "rsub": _rsub, "pow": _by_second, "fmod": _by_second, "remainder": _by_second,
    "clamp": _clamp,
    "slice": _part, "matmul": _product, "linear": _linear, "max_pool": _pool,
    "cross_entropy": _cross_entropy,
}  # fmt: skip


def _operation(node: Node) -> str:
    """The name of our primitive, or of the user's own function."""
    return "" if node.is_leaf else node.plan.op.name


def name_of(node: Node) -> str:
    """torch's name of a node, as `MulBackward0`."""
    own = _operation(node)
    if own in _RULES:
        found = _RULES[own](node)
    elif own in _NAMES or own.endswith("Backward"):  # that is a Function of the user's
        found = _NAMES.get(own, own)
    else:
        words = "".join([word.capitalize() for word in own.split("_")])
        found = re.sub(r"\d[a-z]", lambda match: match[0].upper(), words)  # log1p: Log1P
    return found if "Backward" in found or "::" in found else f"{found}Backward0"
