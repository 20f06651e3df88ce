"""Gradients of several processes, averaged in buckets while the backward pass goes on.

The last layers' gradients are ready first, so buckets are filled from the end of the model.  A
bucket is sent when all of its gradients, and the buckets before it, are ready: every rank sends the
same buckets in the same order.  Source: Li et al., "PyTorch Distributed: Experiences on
Accelerating Data Parallel Training", 2020, section 3.2.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tinygrad_edu.backend import new_like
from tinygrad_edu.distributed.collectives import ReduceOp, all_reduce, broadcast
from tinygrad_edu.distributed.world import ProcessGroup
from tinygrad_edu.dtypes import Array
from tinygrad_edu.engine.graph import Node
from tinygrad_edu.engine.record import current_node, wrap
from tinygrad_edu.engine.tree import flatten
from tinygrad_edu.tensor import Tensor

MEGABYTE = 1 << 20


class Bucket:
    """Some parameters, and one array for all of their gradients.

    Args:
        numbers: which of the tensors.

    Attributes:
        members: of each the number, the tensor, and its part of the array.
    """

    def __init__(self, numbers: list[int], tensors: Sequence[Tensor]) -> None:
        self.numbers = numbers
        chosen = [tensors[i] for i in numbers]
        *ends, size = itertools.accumulate([x.array.size for x in chosen])
        self.flat = wrap(new_like(chosen[0].array, size))
        parts = zip(np.split(self.flat.array, ends), chosen, strict=True)
        views: list[Array] = [part.reshape(x.array.shape) for part, x in parts]
        self.members = [*zip(numbers, chosen, views, strict=True)]


def in_buckets(
    tensors: Sequence[Tensor], caps: Sequence[int], backwards: bool = False
) -> list[Bucket]:
    """Tensors in buckets of one dtype and device, each of a limited size in bytes.

    Args:
        caps: the limits of the first buckets; the last one is that of all others, too.
        backwards: begin with the last tensor.
    """
    parts: list[list[int]] = []
    unfilled: dict[Any, tuple[list[int], int]] = {}
    places = range(len(tensors))
    for i in reversed(places) if backwards else places:
        key = tensors[i].dtype, tensors[i].device
        part, size = unfilled.get(key, ([], 0))
        if not part:
            parts.append(part)
        part.append(i)
        size += tensors[i].nbytes
        full = size >= caps[min(len(parts), len(caps)) - 1]
        unfilled[key] = ([], 0) if full else (part, size)
    return [Bucket(part, tensors) for part in parts]


def broadcast_all(tensors: Iterable[Tensor], root: int, group: ProcessGroup) -> None:
    """Give every rank the values of the group's number `root`."""
    for bucket in in_buckets(list(tensors), [25 * MEGABYTE]):
        for _, x, view in bucket.members:
            view[...] = x.array
        broadcast(bucket.flat, group_src=root, group=group)
        if group.rank() != root:
            for _, x, view in bucket.members:
                x.array[...] = view
                x._storage.write()


def reached(output: object) -> set[Node]:
    """The nodes from which tensors, in nested containers, were computed."""
    found: set[Node] = set()
    things = flatten(output)
    others = [x for x in things if not isinstance(x, Tensor) and hasattr(x, "__dict__")]
    things += flatten([vars(thing) for thing in others])
    todo = [current_node(x) for x in things if isinstance(x, Tensor)]
    while todo:
        node = todo.pop()
        if node is not None and node not in found:
            found.add(node)
            todo.extend(node.edges)
    return found


class Reducer:
    """Averages the gradients of parameters over a group.

    Args:
        params: in the order of the model.
        group: whose ranks take part.
        caps: sizes of buckets in bytes, see `in_buckets`.
        find_unused: whether parameters may be without gradient; the ranks then tell each other.
        as_views: let `.grad` be a part of the bucket, which saves a copy.
    """

    def __init__(
        self, params: Sequence[Tensor], group: ProcessGroup, caps: Sequence[int], find_unused: bool,
        as_views: bool,
    ) -> None:  # fmt: skip
        self.params, self.group = params, group
        self.find_unused, self.as_views = find_unused, as_views
        self.buckets = in_buckets(params, caps, backwards=True)
        self.armed = False
        self.divisor: int | None = None
        for i, p in enumerate(params):
            p.register_post_accumulate_grad_hook(functools.partial(self._ready, i))

    def prepare(self, output: object, divisor: int | None) -> None:
        """A forward pass has ended: the backward pass is to average gradients.

        Args:
            output: what the model returned.
            divisor: what the sum is divided by; the size of the group unless given.

        Raises:
            RuntimeError: the last backward pass left parameters without gradient.
        """
        if self.armed and self.seen:
            missing = [i for i in range(len(self.params)) if i not in self.seen]
            raise RuntimeError(
                "Expected to have finished reduction in the prior iteration before starting a new"
                f" one: the parameters {missing[:20]} got no gradient, so they were not part of the"
                " loss. Pass find_unused_parameters=True to DistributedDataParallel, and let all"
                " of the model's outputs take part in the loss."
            )
        self.armed, self.divisor = True, divisor
        self.seen: set[int] = set()
        self.works: list[Any] = []
        self.unused: set[int] = set()
        if self.find_unused:
            nodes = reached(output)
            self.unused = {i for i, p in enumerate(self.params) if p.node not in nodes}
            self._advance()

    def _ready(self, i: int, tensor: Tensor) -> None:
        if not self.armed:
            return
        if i in self.seen:
            raise RuntimeError(
                f"Expected to mark a variable ready only once: parameter {i} got its gradient in"
                " two parts, as by two backward passes after one forward pass; use no_sync() for"
                " all but the last, or checkpoint with use_reentrant=False"
            )
        self.seen.add(i)
        self._advance()

    def _advance(self) -> None:
        """Send the buckets that are ready; when all are, wait for them."""
        ready = self.seen | self.unused
        while len(self.works) < len(self.buckets):
            bucket = self.buckets[len(self.works)]
            if not ready.issuperset(bucket.numbers):
                return
            self.works.append(self._send(bucket))
        self._finish()

    def _send(self, bucket: Bucket) -> Any:
        for _, p, view in bucket.members:
            if p.grad is None:
                view[...] = 0
            elif p.grad.array is not view:
                view[...] = p.grad.array
        return self._average(bucket)

    def shadow(self, divisor: int | None) -> None:
        """Take part in the averages of the others, without gradients of one's own."""
        self.divisor = divisor
        for bucket in self.buckets:
            bucket.flat.array[...] = 0
        works = [self._average(bucket) for bucket in self.buckets]
        if self.find_unused:
            self._used_anywhere(set())
        for work in works:
            work.wait()

    def _average(self, bucket: Bucket) -> Any:
        op = ReduceOp.AVG if self.divisor is None else ReduceOp.SUM
        return all_reduce(bucket.flat, op, self.group, async_op=True)

    def _used_anywhere(self, mine: set[int]) -> set[int]:
        """The parameters that some rank has used."""
        flags = wrap(new_like(self.params[0].array, len(self.params), 0, "int32"))
        for i in mine:
            flags.array[i] = 1
        all_reduce(flags, ReduceOp.MAX, self.group)
        return {i for i, used in enumerate(flags.tolist()) if used}

    def _finish(self) -> None:
        used = set(range(len(self.params)))
        if self.find_unused:
            used = self._used_anywhere(used - self.unused)
        for bucket, work in zip(self.buckets, self.works, strict=True):
            work.wait()
            if self.divisor is not None:
                bucket.flat.array /= self.divisor
            for i, p, view in bucket.members:
                if i in used:
                    self._give(p, view)
        self.armed = False

    def _give(self, p: Tensor, view: Array) -> None:
        grad = p.grad
        if self.as_views:
            if grad is None or grad.array is not view:
                p.grad = wrap(view)
        elif grad is None:
            p.grad = wrap(view.copy())
        else:
            grad.array[...] = view
            grad._storage.write()
