"""`torch.distributed`: several processes, over MPI (mpi4py), and NCCL between GPUs (CuPy).

    python -m tinygrad_edu.distributed.run --nproc-per-node=2 train.py

In reading order:

    work            an operation from its call to its end; why nothing hangs
    mpi, nccl       the engines: who carries arrays
    world           process groups
    collectives     all_reduce and its kin; `objects`: the same for any objects
    nn.functional   collectives with gradients
    run             the launcher; `rank` is what it starts for each process, `spawned` for `spawn`

RANK, WORLD_SIZE and their kin come from what MPI and Slurm have set: `names/ranks.py`.
Data parallel training stands on these: `nn/parallel/`, `optim/more/sharded.py`.
"""

from __future__ import annotations

import typing as _typing

from tinygrad_edu.distributed import collectives as _collectives
from tinygrad_edu.distributed import objects as _objects
from tinygrad_edu.distributed import world as _world
from tinygrad_edu.distributed.collectives import *  # noqa: F403
from tinygrad_edu.distributed.errors import DistBackendError, DistError, DistNetworkError
from tinygrad_edu.distributed.objects import *  # noqa: F403
from tinygrad_edu.distributed.work import Work
from tinygrad_edu.distributed.world import *  # noqa: F403
from tinygrad_edu.names.missing import later as _later

__all__ = [
    "DistBackendError", "DistError", "DistNetworkError", "Work", "nn", "optim",
    *_collectives.__all__, *_objects.__all__, *_world.__all__,
]  # fmt: skip

if _typing.TYPE_CHECKING:
    from tinygrad_edu.distributed import nn
    from tinygrad_edu.optim.more import sharded as optim
else:
    __getattr__, __dir__ = _later(__name__, {"": ["launch", "nn", "optim", "run"]})
