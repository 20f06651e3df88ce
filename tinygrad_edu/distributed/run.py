"""torchrun's work, done by MPI: `python -m tinygrad_edu.distributed.run --nproc-per-node=2 a.py`.

The script finds RANK, LOCAL_RANK, WORLD_SIZE, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT in its
environment, and `import torch` gives this package.  A rank that fails ends the job: what happened
to it is printed last, and is the exit code.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence
from typing import Any

from tinygrad_edu.distributed.errors import INSTALL, DistError
from tinygrad_edu.distributed.rank import die_with_parent
from tinygrad_edu.names.pipes import until_closed
from tinygrad_edu.names.ranks import REPORTS

_OURS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK")
_SHOW_RANK = {"gforker": "-l", "hydra": "-prepend-rank", "openmpi": "--tag-output"}
_LAST_WORDS = 1.0
"""Seconds that the other ranks have to end by themselves when one has failed."""


def parser() -> argparse.ArgumentParser:
    """The options, torchrun's and ours."""
    made = argparse.ArgumentParser(
        prog="python -m tinygrad_edu.distributed.run", allow_abbrev=False,
        description="Start a script in several processes that MPI connects.",
    )  # fmt: skip

    def option(name: str, **how: Any) -> None:
        made.add_argument(f"--{name}", f"--{name.replace('-', '_')}", **how)

    option("nproc-per-node", default="1", help="processes a machine: a number, cpu, gpu, auto")
    option("nnodes", type=int, default=1, help="machines")
    option("node-rank", type=int, default=0, help="which machine this is: MPI starts all from 0")
    option("hosts", default="", help="the machines' names, for MPI, separated by commas")
    option("master-addr", default="127.0.0.1", help="set for the script; nothing listens there")
    option("master-port", type=int, default=29500, help="likewise")
    option("show-rank", action="store_true", help="put its rank in front of every line of output")
    made.add_argument("-m", "--module", action="store_true", help="the script is a module's name")
    option("no-python", action="store_true", help="the script is a program of its own")
    option("standalone", action="store_true", help="accepted: without --hosts it always is")
    for accepted in ("rdzv-backend", "rdzv-endpoint", "rdzv-id", "rdzv-conf", "start-method"):
        option(accepted, default="", help="accepted: MPI brings the processes together")
    option("max-restarts", type=int, default=0, help="must be 0: start again from a checkpoint")
    made.add_argument("script")
    made.add_argument("arguments", nargs=argparse.REMAINDER)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; returns the exit status."""
    made = parser()
    with until_closed():
        options = made.parse_args(arguments)
    if options.max_restarts:
        made.error("--max-restarts: a failed job is not restarted; start it again yourself")
    if options.nnodes < 1:
        made.error(f"--nnodes: expected a number of machines, got {options.nnodes}")
    if options.node_rank:
        print("MPI starts the processes of all machines from the one with --node-rank=0")
        return 0
    if options.nnodes > 1 and not options.hosts and "SLURM_JOB_ID" not in os.environ:
        made.error("--nnodes: name the machines, --hosts=a,b (MPI reaches them by ssh)")
    per_node, command = processes(options.nproc_per_node), script_command(options)
    address = {"MASTER_ADDR": options.master_addr, "MASTER_PORT": str(options.master_port)}
    try:
        with tempfile.TemporaryDirectory(prefix="tinygrad_edu_") as folder:
            job = Job(
                command, folder, options.nnodes * per_node, per_node, options.hosts,
                options.show_rank, address,
            )  # fmt: skip
            return job.wait()
    except DistError as error:
        print(f"distributed.run: {error}", file=sys.stderr)
        return 1


def processes(asked: str) -> int:
    """How many processes a machine is to have."""
    if asked.isdigit() and int(asked):
        return int(asked)
    from tinygrad_edu import cuda  # here: the launcher itself computes nothing

    gpus = cuda.device_count()
    if asked == "cpu" or (asked == "auto" and not gpus):
        return os.cpu_count() or 1
    if asked in ("gpu", "auto") and gpus:
        return gpus
    raise SystemExit(f"--nproc-per-node: expected a number, cpu, gpu or auto, got {asked!r}")


def script_command(options: Any) -> list[str]:
    """What each rank runs."""
    if options.no_python:
        return [options.script, *options.arguments]
    named = ["-m", options.script] if options.module else [options.script]
    return [sys.executable, "-u", "-m", "tinygrad_edu", *named, *options.arguments]


def mpiexec(alone: bool) -> tuple[str, str]:
    """The MPI's own launcher, and which MPI it is: "gforker", "hydra" or "openmpi".

    Args:
        alone: whether all processes are on this machine. MPICH has a launcher for that which
            listens on no port.

    Raises:
        DistError: there is none.
    """
    scripts = sysconfig.get_path("scripts")
    forker = shutil.which("mpiexec.gforker", path=scripts) if alone else None
    if forker is not None:
        return forker, "gforker"
    found = shutil.which("mpiexec", path=scripts) or shutil.which("mpiexec")
    if found is None:
        raise DistError(f"there is no mpiexec: {INSTALL}")
    text = subprocess.run([found, "--version"], capture_output=True, text=True).stdout
    return found, "openmpi" if "Open MPI" in text or "OpenRTE" in text else "hydra"


class Job:
    """The processes of one command under mpiexec.

    Args:
        folder: where the ranks tell how they end.
        size, per_node: how many processes; how many of them on each machine.
        hosts: the machines' names, separated by commas; this one unless given.
        show_rank: whether lines of output begin with the rank.
        extra: variables for the environment.
    """

    def __init__(
        self, command: list[str], folder: str, size: int, per_node: int, hosts: str = "",
        show_rank: bool = False, extra: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        program, kind = mpiexec(not hosts)
        start = [program]
        if kind == "openmpi":
            start += ["--oversubscribe"] + ["--allow-run-as-root"] * (os.getuid() == 0)
        if show_rank:
            start.append(_SHOW_RANK[kind])
        if hosts:
            start += ["-ppn", str(per_node), "-hosts"] if kind == "hydra" else ["-host"]
            start.append(hosts)
        supervisor = os.path.join(os.path.dirname(__file__), "rank.py")
        start += ["-n", str(size), sys.executable, "-I", "-S", supervisor, folder, *command]
        environment = {k: v for k, v in os.environ.items() if k not in _OURS and not _of_mpi(k)}
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // per_node)))
        if not hosts:
            environment.setdefault("UCX_NET_DEVICES", "lo")
        environment |= {REPORTS: folder, "TORCHELASTIC_RUN_ID": uuid.uuid4().hex}
        environment |= extra or {}
        self.folder, self.size, self._failed_at = folder, size, 0.0
        # A thread that ends would take it along, so only the main one's goes with its parent.
        main = threading.current_thread() is threading.main_thread()
        self.process = subprocess.Popen(
            start, env=environment, start_new_session=True,
            preexec_fn=die_with_parent if main else None,
        )  # fmt: skip

    def done(self, timeout: float | None = None) -> bool:
        """Whether all have ended; if one has failed, the others are ended.

        Args:
            timeout: seconds to wait; without end unless given.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while self.process.poll() is None:
            failures = [] if self._failed_at else self.failures()
            if failures:  # whoever waits in MPI's start cannot end by itself
                self._failed_at = 1e-9 if failures[0].get("missed") else time.monotonic()
            if self._failed_at and time.monotonic() - self._failed_at > _LAST_WORDS:
                break
            if end is not None and time.monotonic() > end:
                return False
            time.sleep(0.05)
        self.end()
        return True

    def wait(self) -> int:
        """Until all have ended; prints how ranks have failed, and returns the exit status."""
        previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        try:
            self.done()
        except KeyboardInterrupt:
            return 130
        finally:
            self.end()
            signal.signal(signal.SIGTERM, previous)
        found = self.failures()
        if not found:
            return self.process.returncode or 0
        tell(found)
        code = int(found[0]["code"])
        return code if code > 0 else 128 - code

    def failures(self) -> list[dict[str, Any]]:
        """How ranks have failed: rank, code, traceback, and when; the first one first."""
        found: dict[int, dict[str, Any]] = {}
        names = sorted(os.listdir(self.folder))
        starting = [name for name in names if name.endswith(".starting")]
        for name in [name for name in names if name.endswith((".ended", ".failed"))]:
            with open(os.path.join(self.folder, name)) as file:
                said = json.load(file)
            rank = said["rank"]
            if name.endswith(".failed") or said["code"]:
                found[rank] = said  # what the rank itself has said comes last, and counts
            elif starting and f"{rank}.starting" not in names:
                found[rank] = said | {"code": 1, "missed": True}
        return sorted(found.values(), key=lambda said: said["time"])

    def end(self) -> None:
        """Kill what is left."""
        over = ProcessLookupError, PermissionError, subprocess.TimeoutExpired
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(*over):
                os.killpg(self.process.pid, number)
                self.process.wait(0.3)
        self.process.wait()


def _of_mpi(name: str) -> bool:
    """Whether a variable tells a process where an outer MPI has started it."""
    return re.match(r"(PMI|PMIX|OMPI|MPI)_(?!ALLOW_RUN)", name) is not None


def how(said: dict[str, Any]) -> str:
    """How a rank ended, in words."""
    code = said["code"]
    if said.get("missed"):
        return "ended without calling init_process_group, for which others wait"
    if code == 130:
        return "was interrupted"
    if code >= 0:
        return f"failed with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def tell(found: list[dict[str, Any]]) -> None:
    """Print how ranks have failed, the first of them last."""
    sys.stdout.flush()
    for said in reversed(found):
        lines = "" if said["code"] == 130 else said.get("traceback", "").rstrip("\n")
        if said is not found[0] and lines:
            lines = lines.splitlines()[-1]
        print(f"\nrank {said['rank']} {how(said)}", file=sys.stderr)
        if lines:
            print(lines, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
