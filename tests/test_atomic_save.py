"""A save replaces the old file as a whole or not at all."""

from __future__ import annotations

import os
import pathlib
import random
import signal
import stat
import subprocess
import sys
import time
from typing import Any

import pytest

import tinygrad_edu as ours


def test_a_failure_keeps_the_old_file(tmp_path: pathlib.Path, monkeypatch: Any) -> None:
    path = tmp_path / "x.pt"
    ours.save(ours.ones(3), path)
    before = path.read_bytes()

    def full(*args: Any) -> int:
        raise OSError(28, "No space left on device")

    for name in ("pwrite", "fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            with pytest.raises(OSError, match="No space left"):
                ours.save(ours.zeros(1000), path)
        assert path.read_bytes() == before and os.listdir(tmp_path) == ["x.pt"]


def test_a_full_disk_keeps_the_old_file(tmp_path: pathlib.Path) -> None:
    """A real one: the process may not write files of more than 100 kB."""
    path = tmp_path / "x.pt"
    ours.save(ours.ones(3), path)
    before = path.read_bytes()
    code = (
        "import resource, signal, sys, tinygrad_edu as t;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        f"t.save(t.zeros(1_000_000), {str(path)!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "OSError: [Errno 27]" in done.stderr, done.stderr
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["x.pt"]


def test_modes_links_and_devices(tmp_path: pathlib.Path) -> None:
    path, link = tmp_path / "x.pt", tmp_path / "link.pt"
    old = os.umask(0o027)
    try:
        ours.save([1], path)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o600)
    link.symlink_to("x.pt")
    ours.save([2], link)
    assert link.is_symlink() and ours.load(path) == [2]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    ours.save([3], "/dev/null")
    with pytest.raises(OSError, match="No space left"):
        ours.save([3], "/dev/full")
    assert not os.path.isfile("/dev/null")


SAVER = """
import itertools, sys, tinygrad_edu as t
path = sys.argv[1]
x = t.zeros(300_000)
t.save({"number": 0, "x": x, "more": [t.zeros(1000) for _ in range(20)]}, path)
print("ready", flush=True)
for i in itertools.count(1):
    x.fill_(float(i))
    t.save({"number": i, "x": x, "more": [t.full((1000,), float(i)) for _ in range(20)]}, path)
"""


def writes_to(process: int, folder: pathlib.Path) -> bool:
    """Whether a process has a file open in the folder."""
    descriptors = pathlib.Path(f"/proc/{process}/fd")
    return any([os.readlink(file).startswith(f"{folder}/") for file in descriptors.iterdir()])


def kill_while_saving(folder: pathlib.Path, kills: int) -> int:
    """How many kills fell into the middle of a save; every one must leave a whole file."""
    path, rng, interrupted = folder / "x.pt", random.Random(0), 0
    for _ in range(kills):
        process = subprocess.Popen([sys.executable, "-c", SAVER, str(path)], stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        time.sleep(rng.random() * 0.03)
        process.send_signal(signal.SIGSTOP)
        interrupted += writes_to(process.pid, folder)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        state = ours.load(path)
        for x in (state["x"], *state["more"]):
            assert bool((x == state["number"]).all())
        left = [name for name in os.listdir(folder) if name != "x.pt"]
        for name in left:  # of a kill between naming and renaming
            assert name.startswith(".x.pt.") and name.endswith(".tmp")
            os.unlink(folder / name)
    return interrupted


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs Linux")
@pytest.mark.parametrize("kills", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_killed_while_saving(kills: int, tmp_path: pathlib.Path) -> None:
    if kills > 10 and "RUN_SLOW" not in os.environ:
        pytest.skip("set RUN_SLOW=1 to kill 200 times")
    assert kill_while_saving(tmp_path, kills) > kills // 10
