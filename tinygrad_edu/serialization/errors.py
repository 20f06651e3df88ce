"""The error that a file gives rise to when it cannot be loaded."""

from __future__ import annotations

import pickle


class CheckpointError(pickle.UnpicklingError, RuntimeError):
    """A file is damaged, or asks for something that loading never does.

    torch raises `UnpicklingError` for some such files and `RuntimeError` for others; this is both.
    """


class EmptyFileError(CheckpointError, EOFError):
    """There is nothing to read: the file is empty, or all of it has been read; torch's EOFError."""
