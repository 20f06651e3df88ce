"""RANK, WORLD_SIZE and their kin: what torch's scripts read, from what MPI and Slurm have set."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, MutableMapping
from typing import NamedTuple

REPORTS = "TINYGRAD_EDU_REPORTS"
"""The environment variable with the folder in which ranks tell the launcher how they ended."""

_SOURCES = (  # of each launcher: rank, size, rank on this machine, size on this machine
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"),
    (
        "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
        "OMPI_COMM_WORLD_LOCAL_SIZE",
    ),
    ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE"),
)  # fmt: skip


class Place(NamedTuple):
    """Which process this is, among how many; and the same on this machine."""

    rank: int
    size: int
    local_rank: int
    local_size: int


def place(given: Mapping[str, str] | None = None) -> Place | None:
    """Where MPI or Slurm has started this process; None if neither has.

    >>> place({"PMI_RANK": "1", "PMI_SIZE": "2"})
    Place(rank=1, size=2, local_rank=1, local_size=2)
    """
    found = os.environ if given is None else given
    for rank, size, local_rank, local_size in _SOURCES:
        if rank == "SLURM_PROCID" and "SLURM_STEP_ID" not in found:
            continue  # the batch script itself, which srun has not started
        if rank in found and size in found:
            r, n = int(found[rank]), int(found[size])
            return Place(r, n, int(found.get(local_rank, r)), int(found.get(local_size, n)))
    return None


def note(code: int, text: str = "") -> bool:
    """Tell the launcher that this rank fails; False if there is none.  Only the first note counts.

    Args:
        code: what the process will return.
        text: why, such as a traceback; the launcher prints it when all ranks have ended.
    """
    folder, rank = os.environ.get(REPORTS, ""), os.environ.get("RANK", "0")
    if not os.path.isdir(folder):
        return False
    path = os.path.join(folder, f"{rank}.failed")
    if not os.path.exists(path):
        said = {"rank": int(rank), "code": code, "time": time.time(), "traceback": text}
        with open(f"{path}.part", "w") as file:
            json.dump(said, file)
        os.replace(f"{path}.part", path)
    return True


def announce(environment: MutableMapping[str, str] | None = None) -> Place | None:
    """Set torch's variables, those that are not there, if MPI or Slurm has started this process.

    MASTER_ADDR and MASTER_PORT are set because scripts read them; nothing listens there.
    """
    found = os.environ if environment is None else environment
    here = place(found)
    if here is not None:
        values = dict(
            RANK=here.rank, WORLD_SIZE=here.size, LOCAL_RANK=here.local_rank,
            LOCAL_WORLD_SIZE=here.local_size, GROUP_RANK=here.rank // max(here.local_size, 1),
            MASTER_ADDR="127.0.0.1", MASTER_PORT=29500,
        )  # fmt: skip
        for name, value in values.items():
            found.setdefault(name, str(value))
    return here
