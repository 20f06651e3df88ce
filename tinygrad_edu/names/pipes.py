"""What a command does when nobody reads on: `tinygrad-edu examples | head -1`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

ENDED = 141
"""The status that a shell gives of a program ended by SIGPIPE."""


@contextlib.contextmanager
def until_closed() -> Iterator[None]:
    """Inside the block, a reader of the output that goes away ends the program, without a word.

    What is still to be written goes nowhere, so that Python does not complain of it at the end.
    """
    try:
        try:
            yield
        except SystemExit:
            sys.stdout.flush()
            raise
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(ENDED) from None
