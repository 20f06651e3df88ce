"""Replacing a file as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from typing import Any, BinaryIO


@contextlib.contextmanager
def replacing(path: Any) -> Iterator[BinaryIO]:
    """A new file to write, which takes the place of `path` once the block has ended well.

    It is written beside the target, flushed to the disk, then renamed, so that at every moment
    `path` is the whole old file or the whole new one, even if the process is killed or the machine
    loses power.  If the block raises, or the disk is full, the old file stays and the new one is
    removed; only a process that is killed leaves its unfinished `.name.*.tmp` behind.  What is no
    regular file, such as /dev/null, is written directly.
    """
    target = os.path.realpath(os.fsdecode(path))
    if os.path.exists(target) and not os.path.isfile(target):
        with open(target, "wb") as file:
            yield file
        return
    folder, name = os.path.split(target)
    beside = os.path.join(folder, f".{name[:100]}.{secrets.token_hex(8)}.tmp")
    try:
        with open(beside, "x+b") as file:
            with contextlib.suppress(OSError):
                os.chmod(beside, os.stat(target).st_mode & 0o7777)
            yield file
        with open(beside, "r+b") as file:  # by its name: a library may have put a new file there
            os.fsync(file.fileno())
        os.replace(beside, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise
    _flush_folder(folder)


def _flush_folder(folder: str) -> None:
    """Make the renaming itself survive a loss of power, where folders can be flushed at all."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
