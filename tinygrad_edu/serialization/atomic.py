"""Replacing a file as a whole or not at all, where the file system can."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from functools import partial
from io import FileIO
from typing import BinaryIO, NamedTuple

if sys.platform != "win32":
    import fcntl

MAX_NAME = 255
"""Bytes of a file's name; the limit of all file systems in wide use."""

_CANNOT_REPLACE = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.EXDEV, errno.ENAMETOOLONG,
    errno.ENOSYS, errno.EOPNOTSUPP,
}  # fmt: skip
"""What a folder answers in which this name can be written but no other put in its place."""


_NO_UNNAMED = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS}
"""What a file system or a kernel answers that knows no files without a name."""


class Target(NamedTuple):
    """A file being written: the object to write to, and whether it begins empty and can seek."""

    file: BinaryIO
    fresh: bool


@contextlib.contextmanager
def replacing(path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> Iterator[Target]:
    """A file to write, which takes the place of `path` once the block has ended well.

    It is written beside the target, flushed to the disk, then renamed, so that at every moment
    `path` is the whole old file or the whole new one, even if the process is killed or the machine
    loses power.  If the block raises, or the disk is full, the old file stays and the new one is
    removed.  On Linux the new file has no name until it is done, so a process that is killed leaves
    nothing behind.  File systems without such files (NFS), other systems, and a kill in the instant
    between naming and renaming leave `.name.*.tmp`, which the next save of that name removes.

    A file that this user may not write is not replaced either.  The new file has the old one's
    permissions and, as far as this user may set them, its owner, group, access lists and other
    extended attributes.  It is a new file all the same: further hard links to the old one keep the
    old content.

    Not everything can be renamed over.  Pipes and devices, and what is named by an open descriptor
    (/dev/stdout, /dev/fd/3), are written directly.  A file in a folder that takes no new files, or
    that is a mount point of its own, is overwritten in place: then a kill, a full disk or a loss of
    power can leave it torn.

    Raises:
        OSError: it cannot be written; the error names `path` and what failed.
    """
    name = os.fsdecode(path)
    target = os.path.realpath(name)
    with contextlib.ExitStack() as stack:
        with _told(name, "opening"):
            old = _status(name)
            beside = None
            if os.path.basename(name) not in ("", ".") and not (old and _is_direct(name, old)):
                beside = _Beside.open(target, old, stack)
        if beside is None:
            with _told(name, "opening"):
                file = stack.enter_context(open(name, "wb", buffering=0))
            with _told(name, "writing"):
                yield Target(file, fresh=False)
                if old is not None and stat.S_ISREG(old.st_mode):
                    os.fsync(file.fileno())
            return
        with _told(name, "writing"):
            yield Target(beside.file, fresh=True)
        beside.put_in_place(name, old)


def _status(name: str) -> os.stat_result | None:
    try:
        return os.stat(name)
    except FileNotFoundError:
        return None


def _is_direct(name: str, old: os.stat_result) -> bool:
    """Whether this is not a name in a folder, or not that of a regular file."""
    if not stat.S_ISREG(old.st_mode):
        return True
    for _ in range(40):  # the links that Linux follows at most
        folder = os.path.realpath(os.path.dirname(name))
        if folder.startswith(("/proc/", "/dev/fd")):
            return True
        if not os.path.islink(name):
            return False
        name = os.path.join(folder, os.readlink(name))
    return False


@contextlib.contextmanager
def _told(name: str, step: str) -> Iterator[None]:
    """Within this, an error of the operating system says which file, and what was being done."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename != name:
            error.strerror = f"{error.strerror or os.strerror(error.errno)} (while {step})"
            error.filename = name
            if error.filename2 is not None:
                del error.filename2  # the name beside it is of no interest
        raise


class _Beside:
    """The new file, in the folder of the one that it will replace."""

    def __init__(self, target: str, path: str, file: BinaryIO, named: bool) -> None:
        self.target, self.path, self.file, self.named = target, path, file, named

    @classmethod
    def open(
        cls, target: str, old: os.stat_result | None, stack: contextlib.ExitStack
    ) -> _Beside | None:
        """Make it; None if the folder takes no new files but has the target to overwrite."""
        folder, name = os.path.split(target)
        tail = f".{secrets.token_hex(8)}.tmp"
        short = os.fsencode(name)[: MAX_NAME - 1 - len(tail)].decode("utf-8", "ignore")
        path = os.path.join(folder, f".{short}{tail}")
        # Until it has the old file's permissions, nobody else may read it.
        mode = 0o666 if old is None else 0o600
        if old is not None and not os.access(target, os.W_OK):  # though it could be renamed over
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), target)
        _remove_abandoned(folder, f".{short}.")
        stack.callback(_remove, path)
        try:
            file, named = _unnamed(folder, mode), False
            if file is None:
                opener = partial(os.open, mode=mode)
                file, named = open(path, "x+b", buffering=0, opener=opener), True
            stack.enter_context(file)
        except OSError as error:
            if old is not None and error.errno in _CANNOT_REPLACE:
                return None
            raise
        _lock(file)
        if old is not None:
            _copy_attributes(target, old, path if named else file.fileno())
        return cls(target, path, file, named)

    def put_in_place(self, name: str, old: os.stat_result | None) -> None:
        """Flush it, and give it the target's name; or copy it there if that name is immovable."""
        with _told(name, "flushing it to the disk"):
            os.fsync(self.file.fileno())
        with _told(name, "putting it in its place"):
            try:
                self._rename(new=old is None)
            except OSError as error:
                if old is None or error.errno not in _CANNOT_REPLACE:
                    raise
                self._copy_over()
                return
        _flush_folder(os.path.dirname(self.target))

    def _rename(self, new: bool) -> None:
        if self.named:
            self.file.close()  # else Windows does not rename it
        elif new:
            try:
                _link(self.file, self.target)
            except FileExistsError:  # somebody has made one meanwhile
                _link(self.file, self.path)
            else:
                return
        else:
            _link(self.file, self.path)
        os.replace(self.path, self.target)

    def _copy_over(self) -> None:
        source = open(self.path, "rb") if self.file.closed else self.file
        with source, open(self.target, "r+b") as out:
            source.seek(0)
            shutil.copyfileobj(source, out, 1 << 20)
            out.truncate()
            out.flush()
            os.fsync(out.fileno())


def _unnamed(folder: str, mode: int) -> BinaryIO | None:
    """A new file without a name; None where there is no such thing."""
    if not hasattr(os, "O_TMPFILE"):
        return None
    # From one C function into the next: no interrupt can lose the descriptor on the way.
    descriptors = map(os.open, [folder], [os.O_TMPFILE | os.O_RDWR], [mode])
    try:
        (file,) = map(partial(FileIO, mode="r+b"), descriptors)
    except OSError as error:
        if error.errno in _NO_UNNAMED:
            return None
        raise
    if not os.path.lexists(_by_number(file)):  # /proc is missing
        file.close()
        return None
    return file


def _by_number(file: BinaryIO) -> str:
    return f"/proc/self/fd/{file.fileno()}"


def _link(file: BinaryIO, path: str) -> None:
    """Give a file without a name one; any `src_dir_fd` makes Python follow the link in /proc."""
    os.link(_by_number(file), path, src_dir_fd=file.fileno(), follow_symlinks=True)


def _lock(file: BinaryIO) -> None:
    """Tell other processes that somebody writes to it."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _remove_abandoned(folder: str, prefix: str) -> None:
    """Remove unfinished files of processes that were killed: nobody holds their lock any more."""
    if sys.platform == "win32":
        return
    ours = re.compile(re.escape(prefix) + r"[0-9a-f]{16}\.tmp")
    with contextlib.suppress(OSError):
        for name in filter(ours.fullmatch, os.listdir(folder)):
            path = os.path.join(folder, name)
            with contextlib.suppress(OSError), open(path, "r+b", buffering=0) as file:
                found = os.fstat(file.fileno())
                # One that has just been made may not be locked yet.
                if found.st_size or found.st_mtime < time.time() - 60:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(path)


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def _copy_attributes(source: str, old: os.stat_result, path: str | int) -> None:
    """Give a file the owner, extended attributes and permissions of another, as far as allowed."""
    if hasattr(os, "chown"):
        new = os.stat(path)
        for user, group in ((old.st_uid, -1), (-1, old.st_gid)):
            if (user, group) not in ((new.st_uid, -1), (-1, new.st_gid)):
                with contextlib.suppress(OSError):
                    os.chown(path, user, group)
    if hasattr(os, "listxattr"):
        with contextlib.suppress(OSError):
            for key in os.listxattr(source):
                with contextlib.suppress(OSError):
                    os.setxattr(path, key, os.getxattr(source, key))
    with contextlib.suppress(OSError):
        os.chmod(path, stat.S_IMODE(old.st_mode))


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
