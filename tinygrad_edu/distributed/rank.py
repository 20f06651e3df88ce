"""What the launcher starts for each rank: it starts the script and notes how it ended.

It is run as a file, by itself, so that it is there in 20 ms and outlives whatever happens to the
script: an exception, an exit, a signal.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time


def die_with_parent() -> None:
    """Let Linux kill this process when its parent is gone."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def main(folder: str, command: list[str]) -> int:
    """Run the command, and write into the folder how it ended; returns its code.

    Args:
        folder: has a file for each rank that has ended.
        command: what the rank is to run.
    """
    rank = next(
        (os.environ[name] for name in ("PMI_RANK", "OMPI_COMM_WORLD_RANK") if name in os.environ),
        "0",
    )
    die_with_parent()
    child = subprocess.Popen(command, close_fds=False, preexec_fn=die_with_parent)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _: child.send_signal(got))
    code = child.wait()
    if os.path.isdir(folder):
        path = os.path.join(folder, rank)
        with open(f"{path}.part", "w") as file:
            json.dump({"rank": int(rank), "code": code, "time": time.time()}, file)
        os.replace(f"{path}.part", f"{path}.ended")
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
