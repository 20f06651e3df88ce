"""`DistributedDataParallel`: one model in several processes, each with its part of the data."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_edu.distributed.collectives import all_gather_into_tensor
from tinygrad_edu.distributed.work import Work
from tinygrad_edu.distributed.world import ProcessGroup, default_group
from tinygrad_edu.engine.mode import state
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.engine.tree import change
from tinygrad_edu.nn.modules.module import Module
from tinygrad_edu.nn.parallel.reducer import MEGABYTE, Reducer, broadcast_all
from tinygrad_edu.tensor import Tensor


class DistributedDataParallel(Module):
    """A model whose gradients are averaged over all processes during `backward`.

    All ranks start with the parameters and buffers of rank 0, and stay equal.  Training equals that
    of one process on all ranks' samples together if each rank has as many and the loss is a mean.

    Args:
        module: the model, which becomes the attribute `module`: names get the prefix "module.".
        device_ids: the GPU of this process, as [index]; None on the CPU.
        output_device, dim, check_reduction, device_mesh, bucket_cap_mb_list: accepted.
        broadcast_buffers: give all ranks rank 0's buffers at the beginning of each forward pass.
        init_sync: compare the models, and give all ranks rank 0's values.
        process_group: of which processes; all unless given.
        bucket_cap_mb: about how many megabytes of gradients are sent together, 25 unless given; the
            first time 1.
        find_unused_parameters: some parameters may not take part in the loss, here or anywhere.
        gradient_as_bucket_view: let `.grad` be a part of the buckets, which saves a copy.
        static_graph: as `find_unused_parameters`; it may not change what is used.

    Raises:
        ValueError: there is no process group, or `device_ids` for a model on the CPU.
        RuntimeError: no parameter requires grad, or the models of the ranks differ.

    Unlike torch, there are no communication hooks; nothing is sent while no Python runs.
    """

    def __init__(
        self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0,
        broadcast_buffers: bool | None = None, init_sync: bool = True,
        process_group: ProcessGroup | None = None, bucket_cap_mb: float | None = None,
        find_unused_parameters: bool = False, check_reduction: bool = False,
        gradient_as_bucket_view: bool = False, static_graph: bool = False,
        delay_all_reduce_named_params: Any = None, param_to_hook_all_reduce: Any = None,
        mixed_precision: Any = None, device_mesh: Any = None,
        skip_all_reduce_unused_params: bool = False, bucket_cap_mb_list: Any = None,
        batched_grad_copy: bool = False, forward_sync_buffers: bool | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        refused = (delay_all_reduce_named_params, param_to_hook_all_reduce, mixed_precision)
        if any([option is not None for option in refused]):
            raise NotImplementedError("DistributedDataParallel: only plain reduction is supported")
        group = default_group() if process_group is None else process_group
        params = [p for p in module.parameters() if p.requires_grad]
        if not params:
            raise RuntimeError(
                "DistributedDataParallel is not needed when a module doesn't have any parameters"
                " that require a gradient."
            )
        if device_ids and not params[0].is_cuda:
            raise ValueError(
                "DistributedDataParallel device_ids and output_device arguments only work with GPU"
                f" modules, but got device_ids {device_ids} for parameters on {params[0].device}"
            )
        self.module, self.device_ids, self.dim = module, device_ids, dim
        self.process_group = group
        self.broadcast_buffers = broadcast_buffers is not False
        self.find_unused_parameters, self.static_graph = find_unused_parameters, static_graph
        self.gradient_as_bucket_view = gradient_as_bucket_view
        self.require_backward_grad_sync = self.require_forward_param_sync = True
        self._joining: _Joining | None = None
        if init_sync:
            self._check_equal()
            broadcast_all([*module.parameters(), *module.buffers()], 0, group)
        cap = round((25 if bucket_cap_mb is None else bucket_cap_mb) * MEGABYTE)
        self.reducer = Reducer(
            params, group, [min(MEGABYTE, cap), cap],
            find_unused_parameters or static_graph, gradient_as_bucket_view,
        )  # fmt: skip

    def _check_equal(self) -> None:
        """RuntimeError on every rank, with what differs, if the models have other tensors."""
        works = []  # all begun before the first is waited for: together they take one latency
        for name, x in [*self.module.named_parameters(), *self.module.named_buffers()]:
            said = f"{name}, {x.dtype}, shape {tuple(x.shape)}, requires_grad={x.requires_grad}"
            works.append(Work(self.process_group, f"DistributedDataParallel({said})"))
        for work in works:
            work.wait()

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        joining, module = self._joining, self.module
        averages = self.require_backward_grad_sync and state.mode.enabled
        if joining is not None:
            joining.tell(True, averages)
        if self._will_sync_buffers():
            root = 0 if joining is None else joining.last
            broadcast_all(module.buffers(), root, self.process_group)
        if self.device_ids:
            gpu = f"cuda:{self.device_ids[0]}"
            moved = lambda x: x.to(gpu) if isinstance(x, Tensor) else x  # noqa: E731
            inputs, kwargs = change((inputs, kwargs), moved)
        output = module(*inputs, **kwargs)
        self.require_forward_param_sync = averages
        if averages:
            self.reducer.prepare(output, None if joining is None else joining.divisor)
        else:
            self.reducer.armed = False
        return output

    def _will_sync_buffers(self) -> bool:
        wanted = self.require_forward_param_sync and self.broadcast_buffers
        return wanted and next(self.module.buffers(), None) is not None

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        """Within it gradients are added up here, and averaged by the first pass after it."""
        before, self.require_backward_grad_sync = self.require_backward_grad_sync, False
        try:
            yield
        finally:
            self.require_backward_grad_sync = before

    @contextlib.contextmanager
    def join(
        self, divide_by_initial_world_size: bool = True, enable: bool = True,
        throw_on_early_termination: bool = False,
    ) -> Iterator[None]:  # fmt: skip
        """Within it ranks may have different numbers of batches.

        A rank that leaves the block takes part in the others' averages, with zeros, until all have
        left; then all get the parameters and buffers of a rank that had most batches.

        Args:
            divide_by_initial_world_size: divide by all ranks, not by those that still have data.
            enable: False: nothing of this.
            throw_on_early_termination: raise on every rank when one has left.
        """
        if not enable:
            yield
            return
        self._joining = _Joining(self, divide_by_initial_world_size, throw_on_early_termination)
        try:
            yield
            self._joining.shadow()
        finally:
            self._joining = None


class _Joining:
    """What ranks with different numbers of batches tell each other before each of them.

    Attributes:
        last: the highest number of a rank that has data.
        divisor: how many have data, if gradients are divided by that.
    """

    def __init__(self, ddp: DistributedDataParallel, by_all: bool, throw: bool) -> None:
        self.ddp, self.by_all, self.throw = ddp, by_all, throw
        self.last, self.divisor = 0, None if by_all else ddp.process_group.size()

    def tell(self, active: bool, averages: bool) -> tuple[bool, bool]:
        """Tell the others; returns whether buffers are sent, and gradients are averaged."""
        group = self.ddp.process_group
        mine = [active, active and self.ddp._will_sync_buffers(), active and averages]
        found = wrap(np.empty((group.size(), 3), np.int64))
        all_gather_into_tensor(found, wrap(np.array(mine, np.int64)), group)
        ranks = np.flatnonzero(found.array[:, 0])
        if self.throw and len(ranks) < group.size():
            raise RuntimeError(
                "Detected at least one rank that exhausted inputs. Throwing across all ranks."
            )
        if len(ranks):
            self.last = int(ranks[-1])
            self.divisor = None if self.by_all else len(ranks)
        self.left = not len(ranks)
        return bool(found.array[:, 1].any()), bool(found.array[:, 2].any())

    def shadow(self) -> None:
        """Go along with those that still have data."""
        module, group, reducer = self.ddp.module, self.ddp.process_group, self.ddp.reducer
        while True:
            buffers, averages = self.tell(False, False)
            if self.left:
                break
            if buffers:
                broadcast_all(module.buffers(), self.last, group)
            if averages:
                reducer.shadow(self.divisor)
        broadcast_all([*module.parameters(), *module.buffers()], self.last, group)


__all__ = ["DistributedDataParallel"]
