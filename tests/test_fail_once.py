"""Every system call of a save and of a load fails once; then the power fails at every one of them.

After SQLite's tests: whatever the n-th call answers, the old file is whole or the new one is, the
error says which file and what failed, and nothing is left over.
"""

from __future__ import annotations

import builtins
import errno
import io
import itertools
import mmap
import os
import pathlib
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import tinygrad_edu as torch
from tinygrad_edu.serialization import CheckpointError

pytestmark = pytest.mark.skipif(not hasattr(os, "pwrite"), reason="needs POSIX")

OLD = {"x": torch.arange(300_000.0), "n": 1}
NEW = {"x": torch.arange(700_000.0) * 2, "y": [torch.ones(5) for _ in range(3)], "n": 2}
ERRORS = [errno.ENOSPC, errno.EIO, errno.EINTR, errno.EMFILE, errno.EACCES, errno.EDQUOT]


def save(state: Any, path: pathlib.Path) -> None:
    torch.save(state, path)


def save_safetensors(state: Any, path: pathlib.Path) -> None:
    pytest.importorskip("safetensors")
    from tinygrad_edu.safetensors import save_file

    save_file({"x": state["x"]}, path)


def load_safetensors(path: pathlib.Path) -> Any:
    from tinygrad_edu.safetensors import load_file

    return load_file(path)


def load_mapped(path: pathlib.Path) -> Any:
    return torch.load(path, mmap=True)


WAYS = {"torch.save": (save, torch.load), "safetensors": (save_safetensors, load_safetensors)}


class Failing:
    """Counts the calls of a function that reach our files, and makes the n-th one fail."""

    def __init__(self, function: Callable[..., Any], module: str) -> None:
        self.function, self.module = function, module
        self.lock, self.seen, self.fail_at, self.code = threading.Lock(), 0, 0, 0

    def __call__(self, *args: Any, **options: Any) -> Any:
        with self.lock:
            self.seen += 1
            fails = self.seen == self.fail_at
        if fails:
            raise OSError(self.code, os.strerror(self.code))
        return self.function(*args, **options)


def patched(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> Failing:
    failing = Failing(getattr(owner, name), name)
    monkeypatch.setattr(owner, name, failing)
    return failing


SAVING = [
    (os, "open"), (os, "stat"), (os, "pwrite"), (os, "fsync"), (os, "chmod"),
    (os, "chown"), (os, "replace"), (os, "listxattr"), (os, "unlink"), (os, "close"),
    (os, "link"), (os, "listdir"), (os, "fstat"),
]  # fmt: skip


def same(found: Any, expected: Any) -> bool:
    return bool(torch.equal(found["x"], expected["x"]))


@pytest.mark.parametrize("exists", [True, False], ids=["over a file", "a new file"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("owner, name", SAVING, ids=[name for _, name in SAVING])
def test_every_call_of_a_save_fails_once(
    owner: Any, name: str, way: str, exists: bool, tmp_path: pathlib.Path, monkeypatch: Any
) -> None:
    store, load = WAYS[way]
    path = tmp_path / "x.pt"
    store(OLD, tmp_path / "warm")
    (tmp_path / "warm").unlink()
    failed = 0
    for n in itertools.count(1):
        path.unlink(missing_ok=True)
        if exists:
            store(OLD, path)
            path.chmod(0o640)
        with monkeypatch.context() as patch:
            failing = patched(patch, owner, name)
            failing.fail_at, failing.code = n, ERRORS[n % len(ERRORS)]
            error = None
            try:
                store(NEW, path)
            except OSError as caught:
                error = caught
        if failing.seen < n:
            break
        if error is not None:
            failed += 1
            assert error.errno == failing.code and error.filename == str(path), error
            assert "while" in str(error), error
        left = [file for file in os.listdir(tmp_path) if file != "x.pt"]
        assert not left or name == "unlink", left
        for file in left:
            (tmp_path / file).unlink()
        if exists or path.exists():
            # A folder that cannot be flushed, and an owner that cannot be set, are no errors.
            assert same(load(path), OLD if error is not None else NEW)
        if exists:
            assert path.stat().st_mode & 0o777 in (0o640, 0o600)
    expected = {"open", "pwrite", "fsync", "link", "replace"}
    expected -= {"pwrite"} if way == "safetensors" else set()
    expected -= set() if exists else {"replace"}
    assert failed or name not in expected, f"{name} never failed"


LOADING = [(builtins, "open"), (os, "preadv"), (mmap, "mmap")]


@pytest.mark.parametrize("owner, name", LOADING, ids=[name for _, name in LOADING])
def test_every_call_of_a_load_fails_once(
    owner: Any, name: str, tmp_path: pathlib.Path, monkeypatch: Any
) -> None:
    path = tmp_path / "x.pt"
    save(NEW, path)
    load = load_mapped if name == "mmap" else torch.load
    load(path)
    descriptors = set(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else set()
    failed = 0
    for n in itertools.count(1):
        with monkeypatch.context() as patch:
            failing = patched(patch, owner, name)
            failing.fail_at, failing.code = n, ERRORS[n % len(ERRORS)]
            try:
                load(path)
            except OSError as error:
                failed += 1
                assert error.errno == failing.code and error.filename == str(path), error
            except CheckpointError as error:
                pytest.fail(f"an error of the disk is told as damage of the file: {error}")
        if failing.seen < n:
            break
        if descriptors:
            assert set(os.listdir("/proc/self/fd")) <= descriptors, "a file was left open"
    assert failed == n - 1


class Disk(io.BytesIO):
    """A file object of which the n-th call fails, and which gives and takes a little at a time."""

    def __init__(self, data: bytes = b"", fail_at: int = 0, most: int = 1 << 30) -> None:
        super().__init__(data)
        self.calls, self.fail_at, self.most = 0, fail_at, most

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self.fail_at:
            raise OSError(errno.EIO, "Input/output error")

    def write(self, data: Any) -> int:
        self._count()
        return super().write(bytes(data)[: self.most])

    def read(self, size: int | None = -1) -> bytes:
        self._count()
        return super().read(self.most if size is None or size < 0 else min(size, self.most))

    def readinto(self, out: Any) -> int:
        self._count()
        return super().readinto(memoryview(out)[: self.most])

    def seek(self, place: int, whence: int = 0) -> int:
        self._count()
        return super().seek(place, whence)


def test_every_call_to_a_file_object_fails_once() -> None:
    state = {"x": torch.arange(3.0), "n": 1}
    for n in itertools.count(1):
        file = Disk(fail_at=n)
        try:
            torch.save(state, file)
        except OSError as error:
            assert error.errno == errno.EIO
            continue
        break
    assert n > 10
    data = file.getvalue()
    for n in itertools.count(1):
        file = Disk(data, n)
        try:
            assert same(torch.load(file), state)
        except OSError as error:
            assert error.errno == errno.EIO
            continue
        break
    assert n > 20


@pytest.mark.parametrize("most", [1, 7, 1000])
def test_file_objects_that_take_and_give_little(most: int) -> None:
    state = {"x": torch.arange(100.0), "n": 1}
    file = Disk(most=most)
    torch.save(state, file)
    assert same(torch.load(Disk(file.getvalue(), most=most)), state)


# ---- loss of power -------------------------------------------------------------------------------


class Recorder:
    """What a save does to the disk, call by call; `states` are what a loss of power can leave."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: pathlib.Path) -> None:
        self.log: list[tuple[Any, ...]] = []
        self.folder = str(folder)
        names: dict[int, str] = {}
        real_open, real_write, real_sync, real_replace = os.open, os.pwrite, os.fsync, os.replace
        real_link, real_unlink, lock = os.link, os.unlink, threading.Lock()

        def open_(path: Any, flags: int, *more: Any, **options: Any) -> int:
            descriptor = real_open(path, flags, *more, **options)
            names[descriptor] = str(path)
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                names[descriptor] = "without a name"
            if flags & os.O_CREAT:
                self.log.append(("create", str(path)))
            return descriptor

        def write(descriptor: int, data: Any, at: int) -> int:
            with lock:
                self.log.append(("write", names[descriptor], at, bytes(data)))
            return real_write(descriptor, data, at)

        def sync(descriptor: int) -> None:
            real_sync(descriptor)
            self.log.append(("sync", names[descriptor]))

        def replace(old: Any, new: Any) -> None:
            real_replace(old, new)
            self.log.append(("rename", str(old), str(new)))

        def link(old: Any, new: Any, **options: Any) -> None:
            real_link(old, new, **options)
            self.log.append(("link", "without a name", str(new)))

        def unlink(path: Any, **options: Any) -> None:
            real_unlink(path, **options)
            self.log.append(("unlink", str(path)))

        for name, function in (
            ("open", open_), ("pwrite", write), ("fsync", sync), ("replace", replace),
            ("link", link), ("unlink", unlink),
        ):  # fmt: skip
            monkeypatch.setattr(os, name, function)

    def states(self, before: dict[str, bytes], rng: random.Random) -> Iterator[dict[str, bytes]]:
        """Folders after a loss of power behind each call.

        What happened to a file since it was last flushed has reached the disk in part, in any
        order; so has what happened to names since the folder was flushed.  A file system without a
        journal does not keep even names and contents in order.
        """
        for stop in range(len(self.log) + 1):
            for _ in range(3):
                yield self._after(self.log[:stop], dict(before), rng)

    def _after(
        self, log: list[tuple[Any, ...]], names: dict[str, bytes], rng: random.Random
    ) -> dict[str, bytes]:
        synced = {entry[1]: i for i, entry in enumerate(log) if entry[0] == "sync"}
        content: dict[str, bytearray] = {}
        for i, entry in enumerate(log):
            kind, path = entry[:2]
            if kind == "write":
                data = content.setdefault(path, bytearray())
                at, piece = entry[2:]
                data.extend(bytes(max(0, at + len(piece) - len(data))))
                if i < synced.get(path, -1) or rng.random() < 0.5:
                    data[at : at + len(piece)] = piece
        content.update({e[2]: content.get(e[1], bytearray()) for e in log if e[0] == "link"})
        for i, entry in enumerate(log):
            kind, path = entry[:2]
            kept = i < synced.get(self.folder, -1) or rng.random() < 0.5
            if kind == "create" and kept:
                names[path] = bytes(content.get(path, b""))
            elif kind == "link" and kept:
                names[entry[2]] = bytes(content[path])
            elif kind == "unlink" and kept:
                names.pop(path, None)
            elif kind == "rename" and kept:  # the name it had may be on the disk or not
                names.pop(path, None)
                names[entry[2]] = bytes(content.get(path, b""))
        return names


@pytest.mark.parametrize("exists", [True, False], ids=["over a file", "a new file"])
def test_loss_of_power(exists: bool, tmp_path: pathlib.Path, monkeypatch: Any) -> None:
    path = tmp_path / "x.pt"
    save(OLD, path)
    old = path.read_bytes()
    if not exists:
        path.unlink()
    with monkeypatch.context() as patch:
        disk = Recorder(patch, tmp_path)
        save(NEW, path)
    new = path.read_bytes()
    kinds = [entry[0] for entry in disk.log]
    assert kinds.count("sync") == 2 and kinds[-1] == "sync"
    assert kinds[-3:-1] == ["link", "rename"] if exists else kinds[-2] == "link"
    seen = set()
    before = {str(path): old} if exists else {}
    for state in disk.states(before, random.Random(0)):
        found = state.get(str(path))
        assert found in (new, old if exists else None), "a torn file"
        seen.add(found == new)
    assert seen == {True, False}
    for state in itertools.islice(disk.states(before, random.Random(1)), 1_000_000):
        last = state
    assert last[str(path)] == new, "after the save has returned, the new file stays"


def test_the_simulated_disk_tears_files(tmp_path: pathlib.Path, monkeypatch: Any) -> None:
    """The test above can fail: without the first flush, names outrun contents."""
    path = tmp_path / "x.pt"
    save(OLD, path)
    old = path.read_bytes()
    with monkeypatch.context() as patch:
        disk = Recorder(patch, tmp_path)
        save(NEW, path)
    new = path.read_bytes()
    first = next(i for i, entry in enumerate(disk.log) if entry[0] == "sync")
    del disk.log[first]
    found = {state.get(str(path)) for state in disk.states({str(path): old}, random.Random(0))}
    assert found - {old, new}
