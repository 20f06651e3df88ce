"""What goes wrong between processes."""

from __future__ import annotations

INSTALL = "pip install 'tinygrad-edu[mpi]'"


class DistError(RuntimeError):
    """Something went wrong between processes."""


class DistBackendError(DistError):
    """A call on which the ranks disagree, that took too long, or that waits for one that left."""


class DistNetworkError(DistError):
    """The processes did not find each other."""
