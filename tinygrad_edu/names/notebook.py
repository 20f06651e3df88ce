"""Notebooks: `%load_ext tinygrad_edu` lets later cells `import torch` and have this package."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from tinygrad_edu.engine.boundary import without


def load_ipython_extension(shell: Any) -> None:
    """`import torch` means this package from now on; tracebacks end in the user's cell.

    Raises:
        RuntimeError: another torch has been imported already.
    """
    from tinygrad_edu import standin

    standin.install()
    shell.set_custom_exc((Exception,), _show)


def unload_ipython_extension(shell: Any) -> None:
    """`import torch` means what it meant before."""
    from tinygrad_edu import standin

    standin.uninstall()
    shell.set_custom_exc((), None)


def _show(
    shell: Any,
    kind: type[BaseException],
    error: BaseException,
    trace: TracebackType | None,
    tb_offset: int | None = None,
) -> None:
    for link in (error.__cause__, error.__context__):
        if link is not None:
            link.__traceback__ = _without_ours(link.__traceback__)
    shell.showtraceback((kind, error, _without_ours(trace)), tb_offset=tb_offset)


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames of this package; all of it, if there are no others."""
    return without(trace, ("tinygrad_edu.",)) or trace
