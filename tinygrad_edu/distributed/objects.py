"""The operations on any Python objects, which are pickled.

Unpickling runs what the pickle says: the processes of a job must trust each other.
"""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.distributed import collectives
from tinygrad_edu.distributed.collectives import Group
from tinygrad_edu.distributed.world import ProcessGroup, get_rank, member
from tinygrad_edu.engine.record import wrap

if TYPE_CHECKING:
    from tinygrad_edu.ops.creation import DeviceLike
    from tinygrad_edu.tensor import Tensor


def _pickled(thing: object) -> Tensor:
    return wrap(np.frombuffer(bytearray(pickle.dumps(thing)), np.uint8))


def _unpickled(array: Any) -> Any:
    return pickle.load(io.BytesIO(array.tobytes()))


def _host(group: ProcessGroup) -> ProcessGroup:
    """The same processes, with a backend for memory of the host."""
    return group if group.backend != "nccl" else group.on_host()


def _padded(thing: object, group: ProcessGroup) -> tuple[Any, list[int]]:
    """An object as bytes, as long as the longest of the group, and how long each is."""
    data = _pickled(thing)
    sizes = wrap(np.zeros(group.size(), np.int64))
    collectives.all_gather_into_tensor(sizes, wrap(np.array([data.numel()])), group)
    lengths: list[int] = sizes.tolist()
    whole = np.zeros(max(lengths), np.uint8)
    whole[: data.numel()] = data.array
    return wrap(whole), lengths


def all_gather_object(object_list: list[Any], obj: object, group: Group = None) -> None:
    """Put the object of every rank into `object_list`, on every rank."""
    chosen = member(group)
    if chosen is None:
        return
    _check_length(object_list, chosen)
    chosen = _host(chosen)
    data, lengths = _padded(obj, chosen)
    rows = wrap(np.empty((len(lengths), data.numel()), np.uint8))
    collectives.all_gather_into_tensor(rows, data, chosen)
    for i, n in enumerate(lengths):
        object_list[i] = _unpickled(rows.array[i, :n])


def _check_length(things: list[Any], group: ProcessGroup) -> None:
    if len(things) < group.size():
        raise ValueError(f"expected a list of {group.size()}, one a rank, got {len(things)}")


def gather_object(
    obj: object, object_gather_list: list[Any] | None = None, dst: int | None = None,
    group: Group = None, group_dst: int | None = None,
) -> None:  # fmt: skip
    """Put the object of every rank into the `object_gather_list` of the rank `dst`."""
    chosen = member(group)
    if chosen is None:
        return
    mine = chosen.rank() == collectives._root(chosen, dst, group_dst, "dst")
    collectives._check_list("object_gather_list", "destination", object_gather_list, mine)
    found: list[Any] = [None] * chosen.size()
    all_gather_object(found, obj, chosen)
    if mine and object_gather_list is not None:
        object_gather_list[: len(found)] = found


def broadcast_object_list(
    object_list: list[Any], src: int | None = None, group: Group = None, device: DeviceLike = None,
    group_src: int | None = None,
) -> None:  # fmt: skip
    """Fill every rank's `object_list` with the objects of the rank `src`."""
    chosen = member(group)
    if chosen is None:
        return
    root = chosen.ranks[collectives._root(chosen, src, group_src, "src")]
    chosen = _host(chosen)
    mine = get_rank() == root
    data = _pickled(list(object_list)) if mine else None
    size = wrap(np.array([0 if data is None else data.numel()]))
    collectives.broadcast(size, root, chosen)
    data = wrap(np.empty(int(size), np.uint8)) if data is None else data
    collectives.broadcast(data, root, chosen)
    found = _unpickled(data.array)
    if len(found) != len(object_list):
        raise ValueError(f"rank {root} sent {len(found)} objects, expected {len(object_list)}")
    if not mine:
        object_list[:] = found


def scatter_object_list(
    scatter_object_output_list: list[Any], scatter_object_input_list: list[Any] | None = None,
    src: int | None = None, group: Group = None, group_src: int | None = None,
) -> None:  # fmt: skip
    """Put into the first place of each rank's list its part of the list of the rank `src`."""
    chosen = member(group)
    if chosen is None:
        return
    if not scatter_object_output_list:
        raise ValueError(
            "Expected argument scatter_object_output_list to be a list of size at least 1."
        )
    root = collectives._root(chosen, src, group_src, "src")
    if chosen.rank() == root:
        _check_length(scatter_object_input_list or [], chosen)
    box = [scatter_object_input_list if chosen.rank() == root else None]
    broadcast_object_list(box, chosen.ranks[root], chosen)
    assert box[0] is not None
    scatter_object_output_list[0] = box[0][chosen.rank()]


def send_object_list(
    object_list: list[Any], dst: int, group: Group = None, device: DeviceLike = None
) -> None:
    """Send objects to the rank `dst`, which must receive them by `recv_object_list`."""
    chosen = member(group)
    if chosen is not None:
        chosen, data = _host(chosen), _pickled(list(object_list))
        collectives.send(wrap(np.array([data.numel()])), dst, chosen)
        collectives.send(data, dst, chosen)


def recv_object_list(
    object_list: list[Any], src: int | None = None, group: Group = None, device: DeviceLike = None
) -> int:
    """Fill the list with what a rank has sent by `send_object_list`; returns its rank."""
    chosen = member(group)
    if chosen is None:
        return -1
    chosen, size = _host(chosen), wrap(np.zeros(1, np.int64))
    source = collectives.recv(size, src, chosen)
    data = wrap(np.empty(int(size), np.uint8))
    collectives.recv(data, source, chosen)
    found = _unpickled(data.array)
    if len(found) != len(object_list):
        raise ValueError(f"rank {source} sent {len(found)} objects, expected {len(object_list)}")
    object_list[:] = found
    return source


__all__ = [
    "all_gather_object", "broadcast_object_list", "gather_object", "recv_object_list",
    "scatter_object_list", "send_object_list",
]  # fmt: skip
