"""`torch.onnx`: importable; models are not exported."""

from __future__ import annotations

from tinygrad_edu.names.settings import unavailable

_REASON = (
    "there is no exporter; save the state_dict, load it into the same model in PyTorch, and export"
    " from there"
)
export = unavailable("torch.onnx.export", _REASON)
dynamo_export = unavailable("torch.onnx.dynamo_export", _REASON)


def is_in_onnx_export() -> bool:
    """False."""
    return False
