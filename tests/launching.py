"""How tests start jobs of several processes."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig

ROOT = pathlib.Path(__file__).resolve().parent.parent
MPIEXEC = shutil.which("mpiexec", path=sysconfig.get_path("scripts")) or shutil.which("mpiexec")
MPI = importlib.util.find_spec("mpi4py") is not None and MPIEXEC is not None


def environment() -> dict[str, str]:
    """That of a process which finds this tree, and nothing of an outer job."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("PMI", "MPI_"))}
    return ours | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "UCX_NET_DEVICES": "lo"}


def finish(
    command: list[str], timeout: float, cwd: str | None = None, paths: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a command; it must end in time."""
    variables = environment()
    folders = [variables["PYTHONPATH"], *[str(ROOT / path) for path in paths]]
    variables["PYTHONPATH"] = os.pathsep.join(folders)
    return subprocess.run(
        command, env=variables, capture_output=True, text=True, timeout=timeout, cwd=cwd
    )


def launch(
    size: int, script: str, *arguments: str, timeout: float = 60, options: tuple[str, ...] = (),
    cwd: str | None = None, paths: tuple[str, ...] = (),
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Run a script in so many processes by our launcher; it may import from `paths`."""
    command = [sys.executable, "-m", "tinygrad_edu.distributed.run", f"--nproc-per-node={size}"]
    return finish([*command, *options, script, *arguments], timeout, cwd, paths)
