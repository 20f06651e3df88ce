"""The operations on any Python objects, which are pickled.

Unpickling runs what the pickle says: the processes of a job must trust each other.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_edu.distributed import collectives as c
from tinygrad_edu.distributed.collectives import Group
from tinygrad_edu.distributed.world import ProcessGroup, member
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.tensor import Tensor


def _members(group: Group) -> ProcessGroup | None:
    """The group over MPI, whatever its backend; None in a process that is not in it."""
    found = member(group)
    return found and found.on_host()


def _pickled(thing: object, length: int = 0) -> Tensor:
    """An object as bytes; as many at least."""
    return wrap(np.frombuffer(pickle.dumps(thing).ljust(length, b"\0"), np.uint8).copy())


def _moved(things: list[Any] | None, move: Callable[[Tensor], Any]) -> list[Any]:
    """A list that one rank gives and others, who have None, get: first its size, then its bytes."""
    data = _pickled(things)
    size = wrap(np.array([data.numel()]))
    move(size)
    if things is not None:
        move(data)
        return things
    data = wrap(np.empty(int(size), np.uint8))
    move(data)
    found: list[Any] = pickle.loads(data.array.tobytes())
    return found


def _fill(object_list: list[Any], found: list[Any], source: int) -> None:
    if len(found) != len(object_list):
        raise ValueError(f"rank {source} sent {len(found)} objects, expected {len(object_list)}")
    object_list[:] = found


def _check_length(things: list[Any], group: ProcessGroup) -> None:
    if len(things) < group.size():
        raise ValueError(f"expected a list of {group.size()}, one a rank, got {len(things)}")


def all_gather_object(object_list: list[Any], obj: object, group: Group = None) -> None:
    """Put the object of every rank into `object_list`, on every rank."""
    chosen = _members(group)
    if chosen is None:
        return
    _check_length(object_list, chosen)
    longest = wrap(np.array(_pickled(obj).numel()))
    c.all_reduce(longest, c.ReduceOp.MAX, chosen)
    rows = wrap(np.empty((chosen.size(), int(longest)), np.uint8))
    c.all_gather_into_tensor(rows, _pickled(obj, int(longest)), chosen)
    object_list[: chosen.size()] = [pickle.loads(row.tobytes()) for row in rows.array]


def gather_object(
    obj: object, object_gather_list: list[Any] | None = None, dst: int | None = None,
    group: Group = None, group_dst: int | None = None,
) -> None:  # fmt: skip
    """Put the object of every rank into the `object_gather_list` of the rank `dst`."""
    chosen = _members(group)
    if chosen is None:
        return
    mine = chosen.rank() == c.root_of(chosen, "dst", dst, group_dst)
    c.check_list("object_gather_list", object_gather_list, "dst", mine)
    found: list[Any] = [None] * chosen.size()
    all_gather_object(found, obj, chosen)
    if object_gather_list is not None:
        object_gather_list[: len(found)] = found


def broadcast_object_list(
    object_list: list[Any], src: int | None = None, group: Group = None, device: object = None,
    group_src: int | None = None,
) -> None:  # fmt: skip
    """Fill every rank's `object_list` with the objects of the rank `src`."""
    chosen = _members(group)
    if chosen is None:
        return
    root = c.root_of(chosen, "src", src, group_src)
    mine = list(object_list) if chosen.rank() == root else None
    found = _moved(mine, lambda x: c.broadcast(x, group=chosen, group_src=root))
    _fill(object_list, found, chosen.ranks[root])


def scatter_object_list(
    scatter_object_output_list: list[Any], scatter_object_input_list: list[Any] | None = None,
    src: int | None = None, group: Group = None, group_src: int | None = None,
) -> None:  # fmt: skip
    """Put into the first place of each rank's list its part of the list of the rank `src`."""
    chosen = _members(group)
    if chosen is None:
        return
    if not scatter_object_output_list:
        raise ValueError(
            "Expected argument scatter_object_output_list to be a list of size at least 1."
        )
    root = c.root_of(chosen, "src", src, group_src)
    if chosen.rank() == root:
        _check_length(scatter_object_input_list or [], chosen)
    box: list[Any] = [scatter_object_input_list]
    broadcast_object_list(box, None, chosen, group_src=root)
    scatter_object_output_list[0] = box[0][chosen.rank()]


def send_object_list(
    object_list: list[Any], dst: int, group: Group = None, device: object = None
) -> None:
    """Send objects to the rank `dst`, which must receive them by `recv_object_list`."""
    chosen = _members(group)
    if chosen is None:
        return
    _moved(list(object_list), lambda x: c.send(x, dst, chosen))


def recv_object_list(
    object_list: list[Any], src: int | None = None, group: Group = None, device: object = None
) -> int:
    """Fill the list with what a rank has sent by `send_object_list`; returns its rank."""
    chosen = _members(group)
    if chosen is None:
        return -1
    sources = [src]
    found = _moved(None, lambda x: sources.append(c.recv(x, sources[-1], chosen)))
    source = sources[-1]
    assert source is not None
    _fill(object_list, found, source)
    return source


__all__ = [
    "all_gather_object", "broadcast_object_list", "gather_object", "recv_object_list",
    "scatter_object_list", "send_object_list",
]  # fmt: skip
