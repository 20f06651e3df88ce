"""Saving where no other file can be put in the place of the old one, and what a new file keeps."""

from __future__ import annotations

import errno
import os
import pathlib
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from test_atomic_save import writes_to

import tinygrad_edu as torch
from tinygrad_edu.serialization.atomic import replacing

pytestmark = pytest.mark.skipif(not hasattr(os, "pwrite"), reason="needs POSIX")
linux = pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs Linux")


def run(code: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-c", code], check=True, timeout=60, **options)


def loaded(data: bytes) -> Any:
    import io

    return torch.load(io.BytesIO(data))


BIG = "import tinygrad_edu as t; t.save(t.arange(500_000), {!r})"


@linux
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_a_pipe_by_its_name(name: str) -> None:
    done = run(BIG.format(name), stdout=subprocess.PIPE)
    assert loaded(done.stdout).tolist() == list(range(500_000))


@linux
@pytest.mark.parametrize("name", ["/dev/stdout", "/proc/self/fd/1"])
def test_an_open_file_by_its_descriptor(name: str, tmp_path: pathlib.Path) -> None:
    """The descriptor stays the file's: what is renamed away would take later output with it."""
    path = tmp_path / "out"
    with open(path, "wb") as file:
        run(BIG.format(name), stdout=file)
        assert os.fstat(file.fileno()).st_ino == path.stat().st_ino
    assert loaded(path.read_bytes()).tolist() == list(range(500_000))
    with open(path, "w+b") as file:
        path.unlink()
        torch.save([1], f"/proc/self/fd/{file.fileno()}")
        file.seek(0)
        assert torch.load(file) == [1]
    assert os.listdir(tmp_path) == []


def test_a_named_pipe(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()))
    reader.start()
    torch.save(torch.arange(300_000), path)
    reader.join()
    assert loaded(got[0]).shape == (300_000,) and stat.S_ISFIFO(path.stat().st_mode)


@pytest.mark.parametrize("call", ["open", "link", "replace"])
@pytest.mark.parametrize("code", ["EACCES", "EPERM", "EROFS", "EBUSY", "EXDEV", "ENAMETOOLONG"])
def test_what_cannot_be_replaced_is_overwritten(
    call: str, code: str, tmp_path: pathlib.Path, monkeypatch: Any
) -> None:
    """A mount point, a folder of others, a file system that is read-only but for one file."""
    path = tmp_path / "x.pt"
    torch.save(torch.zeros(400_000), path)
    number, inode = getattr(errno, code), path.stat().st_ino

    def refuse(*args: Any, **options: Any) -> int:
        raise OSError(number, os.strerror(number))

    for state in (torch.arange(300_000.0), torch.arange(500_000.0)):  # shorter, longer
        with monkeypatch.context() as patch:
            patch.setattr(os, call, refuse)
            torch.save(state, path)
        assert torch.equal(torch.load(path), state)
        assert path.stat().st_ino == inode and os.listdir(tmp_path) == ["x.pt"]
    with monkeypatch.context() as patch:
        patch.setattr(os, "link" if call == "replace" else call, refuse)
        with pytest.raises(OSError) as caught:
            torch.save([1], tmp_path / "new.pt")
    assert caught.value.errno == number and caught.value.filename == str(tmp_path / "new.pt")
    assert os.listdir(tmp_path) == ["x.pt"]


def test_a_file_that_may_not_be_written(tmp_path: pathlib.Path, monkeypatch: Any) -> None:
    path = tmp_path / "x.pt"
    torch.save([1], path)
    monkeypatch.setattr(os, "access", lambda *args: False)  # nothing is forbidden to root
    with pytest.raises(PermissionError, match=r"x\.pt"):
        torch.save([2], path)
    assert torch.load(path) == [1] and os.listdir(tmp_path) == ["x.pt"]


@pytest.mark.parametrize("letter", ["a", "é", "模", "😀"])
def test_names_as_long_as_they_may_be(letter: str, tmp_path: pathlib.Path) -> None:
    size = len(letter.encode())
    for length in range(200 // size, 255 // size + 1):
        path = tmp_path / (letter * length)
        for state in ([1], [2]):
            torch.save(state, path)
        assert torch.load(path) == [2]
        path.unlink()
    with pytest.raises(OSError) as caught:
        torch.save([1], tmp_path / (letter * 256))
    assert caught.value.errno == errno.ENAMETOOLONG
    assert os.listdir(tmp_path) == []


def test_a_name_that_is_no_text(tmp_path: pathlib.Path) -> None:
    path = os.path.join(os.fsencode(tmp_path), b"\xff\xfe" * 60)
    torch.save([1], path)
    torch.save([2], path)
    assert torch.load(path) == [2]


@linux
def test_a_path_as_long_as_it_may_be(tmp_path: pathlib.Path, monkeypatch: Any) -> None:
    folder = tmp_path
    while len(str(folder)) < 4095 - 250:
        folder = folder / ("d" * min(200, 4095 - 50 - len(str(folder))))
        folder.mkdir()
    path = folder / ("n" * (4095 - len(str(folder)) - 1))
    path.write_bytes(b"old")  # so that it can be overwritten
    torch.save([1], path)
    assert torch.load(path) == [1]


def test_what_a_new_file_keeps(tmp_path: pathlib.Path) -> None:
    path, link = tmp_path / "x.pt", tmp_path / "hard.pt"
    torch.save([1], path)
    for mode in (0o600, 0o644, 0o660, 0o400 | 0o200):
        path.chmod(mode)
        torch.save([2], path)
        assert stat.S_IMODE(path.stat().st_mode) == mode
    if os.geteuid() == 0:
        os.chown(path, 1234, 2345)
        path.chmod(0o640)
        torch.save([3], path)
        now = path.stat()
        assert (now.st_uid, now.st_gid, stat.S_IMODE(now.st_mode)) == (1234, 2345, 0o640)
    try:
        os.setxattr(path, "user.note", b"kept")
    except (OSError, AttributeError):
        pass
    else:
        torch.save([4], path)
        assert os.getxattr(path, "user.note") == b"kept"
    os.link(path, link)
    before = torch.load(path)
    torch.save([5], path)
    assert torch.load(path) == [5] and torch.load(link) == before, "as documented"


def test_nobody_else_reads_the_new_file_before_it_is_done(
    tmp_path: pathlib.Path, monkeypatch: Any
) -> None:
    path = tmp_path / "x.pt"
    torch.save([1], path)
    path.chmod(0o600)
    modes, real = [], os.chmod

    def look(name: Any, mode: int) -> None:
        modes.append(stat.S_IMODE(os.stat(name).st_mode))
        real(name, mode)

    monkeypatch.setattr(os, "chmod", look)
    old = os.umask(0)
    try:
        torch.save([2], path)
    finally:
        os.umask(old)
    assert modes == [0o600]


SAVER = """
import itertools, sys, tinygrad_edu as t
from tinygrad_edu.safetensors import save_file
x = t.zeros(1_000_000)
save_file({"x": x}, sys.argv[1])
print("ready", flush=True)
for i in itertools.count(1):
    x.fill_(float(i))
    save_file({"x": x}, sys.argv[1])
"""


@linux
def test_safetensors_killed_while_saving(tmp_path: pathlib.Path) -> None:
    """The file is whole, and nothing else is left."""
    pytest.importorskip("safetensors")
    from tinygrad_edu.safetensors import load_file, save_file

    path, rng, interrupted = tmp_path / "x.safetensors", random.Random(0), 0
    for _ in range(8):
        code = [sys.executable, "-c", SAVER, str(path)]
        process = subprocess.Popen(code, stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        time.sleep(rng.random() * 0.05)
        process.send_signal(signal.SIGSTOP)
        interrupted += writes_to(process.pid, tmp_path)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        x = load_file(path)["x"]
        assert bool((x == x[0]).all())
        left = [name for name in os.listdir(tmp_path) if name != path.name]
        assert not left or left[0].startswith(".x.safetensors."), left
        save_file({"x": torch.zeros(3)}, path)  # a kill between naming and renaming: gone with this
        assert os.listdir(tmp_path) == [path.name]
    assert interrupted


def abandoned(path: pathlib.Path) -> pathlib.Path:
    """What a process that was killed leaves where every file has a name from the beginning."""
    code = """
import os, signal, sys, tinygrad_edu as t
del os.O_TMPFILE
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
t.save([t.zeros(1000)], sys.argv[1])
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)])
    assert done.returncode == -signal.SIGKILL
    (left,) = {*path.parent.glob(".*.tmp")}
    return left


@linux
def test_what_killed_processes_left_is_removed_by_the_next_save(tmp_path: pathlib.Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    path = tmp_path / "x.pt"
    left = abandoned(path)
    keep = {left.name[:-5] + "tmp2", ".x.pt.backup.tmp", ".y.pt." + "0" * 16 + ".tmp"}
    for name in keep:
        (tmp_path / name).write_bytes(b"somebody's")
    with left.open("rb") as held:  # somebody still writes to it
        fcntl.flock(held, fcntl.LOCK_EX)
        torch.save([1], path)
        assert left.exists()
    torch.save([1], path)
    assert set(os.listdir(tmp_path)) == keep | {"x.pt"}


@linux
@pytest.mark.parametrize("answer", ["no flag", "EOPNOTSUPP", "EISDIR", "no /proc"])
@pytest.mark.parametrize("exists", [True, False])
def test_where_every_file_has_a_name(
    answer: str, exists: bool, tmp_path: pathlib.Path, monkeypatch: Any
) -> None:
    path = tmp_path / "x.pt"
    if exists:
        torch.save([0], path)
        path.chmod(0o640)
    real = os.open

    def refuse(name: Any, flags: int, *more: Any, **options: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(getattr(errno, answer), answer)
        return real(name, flags, *more, **options)

    if answer == "no flag":
        monkeypatch.delattr(os, "O_TMPFILE")
    elif answer == "no /proc":
        monkeypatch.setattr(os.path, "lexists", lambda path: False)
    else:
        monkeypatch.setattr(os, "open", refuse)
    before = set(os.listdir("/proc/self/fd"))
    torch.save([1], path)
    assert torch.load(path) == [1] and os.listdir(tmp_path) == ["x.pt"]
    assert set(os.listdir("/proc/self/fd")) <= before
    if exists:
        assert stat.S_IMODE(path.stat().st_mode) == 0o640


@linux
def test_a_file_that_appears_while_a_new_one_is_written(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.pt"
    with replacing(path) as target:
        path.write_bytes(b"somebody's")
        target.file.write(b"ours")
    assert path.read_bytes() == b"ours" and os.listdir(tmp_path) == ["x.pt"]
