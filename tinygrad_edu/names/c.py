"""`torch._C`: the handful of its names that libraries call when they are imported."""

from __future__ import annotations

from typing import Any

from tinygrad_edu.names.missing import missing


def _log_api_usage_once(event: str) -> None:
    """Does nothing: nobody is told what is used."""


def _get_tracing_state() -> Any:
    """None: nothing is traced."""
    return None


__getattr__ = missing(__name__)
