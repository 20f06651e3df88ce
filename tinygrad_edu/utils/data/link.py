"""The link between a loader and a worker: messages that can be waited for in pieces.

A message is its length, then its bytes.  `multiprocessing` sends messages too, but whoever has
begun to read one of its must read it to the end, and a worker that is stopped in the middle of one
would stop its loader.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

Pause = Callable[[bool], None]
"""Waits until a link can be written to, or (False) read; raises when that is not worth it."""

_LENGTH = struct.Struct("<Q")
_BY_DESCRIPTOR = os.name != "nt"  # Windows' pipes carry messages, which are read as a whole


class Link:
    """One end of a pipe.

    Args:
        connection: the end, of `multiprocessing`.
        pause: called when this end would have to wait; without it, waiting is left to the system.
    """

    def __init__(self, connection: Connection, pause: Pause | None = None) -> None:
        self.connection = connection
        self.pause = pause
        if pause is not None and _BY_DESCRIPTOR:
            os.set_blocking(connection.fileno(), False)

    def write_message(self, data: bytes) -> None:
        """Send bytes."""
        self.write(_LENGTH.pack(len(data)))
        self.write(data)

    def read_message(self) -> bytearray:
        """Receive what `write_message` has sent.

        Raises:
            EOFError: the other end is gone.
        """
        length = bytearray(_LENGTH.size)
        self.read_into(memoryview(length))
        data = bytearray(_LENGTH.unpack(length)[0])
        self.read_into(memoryview(data))
        return data

    def write(self, data: bytes) -> None:
        """Send bytes whose number the other end knows."""
        if not _BY_DESCRIPTOR:
            self.connection.send_bytes(data)
            return
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self.connection.fileno(), rest) :]
            except BlockingIOError:
                assert self.pause is not None
                self.pause(True)

    def read_into(self, out: memoryview) -> None:
        """Receive as many bytes as there is room for.

        Raises:
            EOFError: the other end is gone.
        """
        if not _BY_DESCRIPTOR:
            if out:
                self.connection.recv_bytes_into(out)
            return
        while out:
            try:
                count = os.readv(self.connection.fileno(), [out])
            except BlockingIOError:
                assert self.pause is not None
                self.pause(False)
                continue
            except ConnectionResetError:
                raise EOFError from None
            if not count:
                raise EOFError
            out = out[count:]
