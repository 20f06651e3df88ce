"""`torch.onnx`: importable; models are not exported."""

from __future__ import annotations

from tinygrad_edu.names import absent as symbolic_opset11
from tinygrad_edu.names.missing import missing
from tinygrad_edu.names.settings import unavailable

_REASON = (
    "there is no exporter; save the state_dict, load it into the same model in PyTorch, and export"
    " from there"
)
export = unavailable("torch.onnx.export", _REASON)
dynamo_export = unavailable("torch.onnx.dynamo_export", _REASON)
__all__ = ["dynamo_export", "export", "is_in_onnx_export", "register_custom_op_symbolic",
           "symbolic_opset11"]  # fmt: skip
__path__: list[str] = []  # torch.onnx has modules: see absent.py


def register_custom_op_symbolic(
    symbolic_name: str, symbolic_fn: object, opset_version: int
) -> None:
    """Accepted, to no effect."""


def is_in_onnx_export() -> bool:
    """False."""
    return False


__getattr__ = missing(__name__)
