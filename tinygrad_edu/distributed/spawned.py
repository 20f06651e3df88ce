"""`torch.multiprocessing.spawn` for functions that call `init_process_group`.

MPI must start the processes that it is to connect, so they are started by its launcher, each with
the pickled function, and set up as Python sets up those that it spawns.
"""

from __future__ import annotations

import os
import pickle
import sys
import tempfile
import traceback
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from multiprocessing.spawn import get_preparation_data, prepare
from pathlib import Path
from typing import Any

from tinygrad_edu.distributed import world
from tinygrad_edu.distributed.run import Job
from tinygrad_edu.names.ranks import REPORTS, announce, note


class Ranks:
    """The processes that run the function.

    Args:
        fn: called as `fn(rank, *args)`.
        nprocs: how many.
    """

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...], nprocs: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tinygrad_edu_")
        setup: dict[str, Any] = get_preparation_data("rank")
        setup["authkey"] = bytes(setup["authkey"])  # shared tensors are handed over with it
        for i in range(nprocs):
            task = pickle.dumps((setup, bytes(ForkingPickler.dumps((fn, args)))))
            Path(self._folder.name, f"{i}.task").write_bytes(task)
        command = [sys.executable, "-u", "-m", "tinygrad_edu.distributed.spawned"]
        self.job = Job(command, self._folder.name, nprocs, nprocs)
        self.failure: dict[str, Any] | None = None
        self._pids: list[int] | None = None

    def pids(self) -> list[int]:
        """Their numbers at the system, of those that have started."""
        if self._pids is not None:
            return self._pids
        files = [Path(self._folder.name, f"{i}.pid") for i in range(self.job.size)]
        return [int(file.read_text()) for file in files if file.exists() and file.stat().st_size]

    def join(self, timeout: float | None) -> bool:
        """Whether all have ended; `failure` is how the first failed, if one has."""
        if self._pids is not None:
            return True
        if not self.job.done(timeout):
            return False
        failures, self._pids = self.job.failures(), self.pids()
        self.failure = failures[0] if failures else None
        self._folder.cleanup()
        return True


def main() -> int:
    """What each rank runs."""
    folder, here = os.environ[REPORTS], announce()
    rank = here.rank if here is not None else 0
    Path(folder, f"{rank}.pid").write_text(str(os.getpid()))
    setup, call = pickle.loads(Path(folder, f"{rank}.task").read_bytes())
    prepare(setup)
    fn, args = pickle.loads(call)
    code, text = 0, ""
    try:
        fn(rank, *args)
    except KeyboardInterrupt:
        return 130
    except Exception:
        code, text = 1, traceback.format_exc()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    if code:
        note(code, text)
        world.end_all(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
