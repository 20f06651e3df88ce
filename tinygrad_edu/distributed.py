"""`torch.distributed`: there is one process, and scripts that ask are told so."""

from __future__ import annotations

from enum import Enum, auto

from tinygrad_edu.names.settings import unavailable

_REASON = "it runs in one process, without communication between processes"
init_process_group = unavailable("torch.distributed.init_process_group", _REASON)
new_group = unavailable("torch.distributed.new_group", _REASON)
all_reduce = unavailable("torch.distributed.all_reduce", _REASON)
all_gather = unavailable("torch.distributed.all_gather", _REASON)
broadcast = unavailable("torch.distributed.broadcast", _REASON)
reduce = unavailable("torch.distributed.reduce", _REASON)
barrier = unavailable("torch.distributed.barrier", _REASON)


class ReduceOp(Enum):
    """What `all_reduce` would do with the tensors of several processes."""

    SUM, AVG, PRODUCT, MIN, MAX, BAND, BOR, BXOR = (auto() for _ in range(8))


def is_available() -> bool:
    """False.

    >>> import tinygrad_edu as torch
    >>> torch.distributed.is_available()
    False
    """
    return False


def is_initialized() -> bool:
    """False."""
    return False


def is_nccl_available() -> bool:
    """False."""
    return False


def is_gloo_available() -> bool:
    """False."""
    return False


def get_rank(group: object = None) -> int:
    """-1: there is no group.

    Unlike torch, it does not raise.
    """
    return -1


def get_world_size(group: object = None) -> int:
    """1, counting this process.

    Unlike torch, it does not raise.
    """
    return 1


def destroy_process_group(group: object = None) -> None:
    """Nothing to destroy."""
