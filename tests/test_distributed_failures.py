"""A rank that fails ends its job in under 5 seconds, says how, last, and leaves nothing behind.

`python tests/test_distributed_failures.py` prints the table of docs/distributed.md.
"""

from __future__ import annotations

import functools
import glob
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import shared_work
from launching import MPI, MPIEXEC, ROOT, environment, finish, launch

import tinygrad_edu.multiprocessing as mp
from tinygrad_edu.distributed import run  # being imported, it lets MPI spawn

pytestmark = pytest.mark.skipif(not MPI, reason="mpi4py or an MPI is not installed")
SCRIPT = str(ROOT / "tests" / "ranks" / "failing.py")
LIMIT = 5.0
# What happens to rank 1: the exit code, and the end of what is printed.
OURS = {
    "raises": (1, "ValueError: boom"),
    "exits": (3, "rank 1 failed with exit code 3"),
    "exits with a word": (1, "no data"),
    "ends early": (1, "rank 1 has left, but is waited for"),
    "is killed": (137, "rank 1 was ended by SIGKILL"),
    "crashes": (139, "rank 1 was ended by SIGSEGV"),
    "leaves without a word": (7, "rank 1 failed with exit code 7"),
    "ends before init": (
        1, "rank 1 ended without calling init_process_group, for which others wait",
    ),
    "is late": (1, "a rank may not have called"),
    "calls another": (1, "rank 1 called barrier()"),
    "has another shape": (1, "rank 1 called all_reduce(float32, shape (4,), SUM)"),
    "waits to receive": (1, "rank 1 has left, but is waited for"),
}  # fmt: skip


def segments() -> set[str]:
    return set(glob.glob("/dev/shm/*mpi*"))


def happen(what: str) -> tuple[float, int, str]:
    """Seconds from the event to the end of the job, the code, and the last line."""
    done = launch(2, SCRIPT, what, timeout=40)
    ended = time.time()
    at = [float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("at ")]
    assert at, done.stderr
    return ended - min(at), done.returncode, done.stderr.rstrip().splitlines()[-1]


RARER = ["exits with a word", "crashes", "leaves without a word", "ends before init",
         "has another shape", "waits to receive"]  # fmt: skip
"""Those of slow.txt."""


@functools.cache
def happenings(rare: bool) -> dict[str, tuple[float, int, str]]:
    """Half of them, three jobs at a time: they wait more than they compute."""
    before = segments()
    names = [what for what in OURS if (what in RARER) is rare]
    with ThreadPoolExecutor(3) as pool:
        found = dict(zip(names, pool.map(happen, names), strict=True))
    assert segments() <= before
    return found


@pytest.mark.parametrize("what", OURS)
def test_ends_the_job(what: str) -> None:
    seconds, code, last = happenings(what in RARER)[what]
    assert seconds < LIMIT
    assert (code, OURS[what][1] in last) == (OURS[what][0], True), last


def test_the_launcher_is_ended() -> None:
    """Its processes go with it."""
    command = [sys.executable, "-m", "tinygrad_edu.distributed.run", "--nproc-per-node=2"]
    with subprocess.Popen(
        [*command, SCRIPT, "is late"], env=environment(), stdout=subprocess.PIPE, text=True,
        stderr=subprocess.DEVNULL,
    ) as job:  # fmt: skip
        assert job.stdout is not None and job.stdout.readline().startswith("at ")
        ranks = [p for p in Path("/proc").glob("[0-9]*/cmdline")
                 if SCRIPT in _read(p) and str(job.pid) != p.parent.name]  # fmt: skip
        job.send_signal(signal.SIGTERM)
        assert job.wait(LIMIT) == 143
    assert len(ranks) >= 2
    end = time.monotonic() + LIMIT
    while any([SCRIPT in _read(p) for p in ranks]) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any([SCRIPT in _read(p) for p in ranks])


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


@pytest.mark.parametrize("what, code", [("all is well", 0), ("raises", 1), ("ends early", 1)])
def test_bare_mpiexec(what: str, code: int) -> None:
    """`mpiexec python -m tinygrad_edu script.py`: the job ends, too."""
    assert MPIEXEC is not None
    command = [MPIEXEC, "-n", "2", sys.executable, "-m", "tinygrad_edu", SCRIPT, what]
    done = finish(command, 40)
    assert (done.returncode != 0) == (code != 0), done.stderr
    if not code:
        assert done.stdout.count("ranks 2") == 2


@pytest.mark.parametrize("work, code, words", [
    (shared_work.raises, None, "(?s)-- Process 1 terminated .*ValueError: no such luck"),
    (shared_work.exits, 3, "process 1 terminated with exit code 3"),
    (shared_work.is_killed, -9, "process 1 terminated with signal SIGKILL"),
])  # fmt: skip
def test_spawned_by_mpi(work: Any, code: int | None, words: str) -> None:
    """As plain processes do, which are spawned while nobody has imported torch.distributed."""
    assert "tinygrad_edu.distributed" in sys.modules
    with pytest.raises(mp.ProcessException, match=words) as caught:
        mp.spawn(work, ("",), nprocs=2)
    assert caught.value.error_index == 1 and caught.value.pid > 0
    assert getattr(caught.value, "exit_code", None) == code


def test_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, words in (
        (["--nproc-per-node=x", "a.py"], "expected a number, cpu, gpu or auto"),
        (["--max-restarts=2", "a.py"], "not restarted"),
        (["--nnodes=2", "a.py"], "name the machines"),
        ([], "required: script"),
    ):
        with pytest.raises(SystemExit) as ended:
            run.main(arguments)
        assert ended.value.code and words in f"{ended.value} {capsys.readouterr().err}"
    script = tmp_path / "says.py"
    script.write_text("import os, sys\nprint('rank', os.environ['RANK'], *sys.argv[1:])\n")
    torchrun = [sys.executable, "-m", "tinygrad_edu", "torchrun", "--standalone"]
    done = finish([*torchrun, "--nproc_per_node", "2", str(script), "--lr", "1"], 60, str(tmp_path))
    assert sorted(done.stdout.splitlines()) == ["rank 0 --lr 1", "rank 1 --lr 1"], done.stderr
    module = [sys.executable, "-m", "tinygrad_edu", "-m", "torch.distributed.launch"]
    done = finish([*module, "--nproc-per-node=1", "--show-rank", "-m", "says"], 60, str(tmp_path))
    assert done.stdout.startswith("0") and "rank 0" in done.stdout, done.stderr


def main() -> None:
    print("| what rank 1 does | seconds | code | the last line |\n|---|---|---|---|")
    for what in OURS:
        seconds, code, last = happen(what)
        print(f"| {what} | {seconds:.1f} | {code} | `{last}` |", flush=True)


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
