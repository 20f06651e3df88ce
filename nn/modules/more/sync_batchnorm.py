"""Batch norm over the batches of all processes."""

from __future__ import annotations

from typing import Any

from tinygrad_edu.distributed import world
from tinygrad_edu.distributed.collectives import ReduceOp
from tinygrad_edu.distributed.nn.functional import all_reduce
from tinygrad_edu.nn import functional as F
from tinygrad_edu.nn.modules.batchnorm import _BatchNorm
from tinygrad_edu.nn.modules.module import Module
from tinygrad_edu.ops.creation import tensor, zeros_like
from tinygrad_edu.tensor import Tensor


class SyncBatchNorm(_BatchNorm):
    """Batch norm of an input (N, C, ...) over the batches of all processes while training.

    The batches may differ in size.  Without a process group it is plain batch norm.

    Args:
        process_group: the processes to share statistics with; all unless given.

    Other arguments are those of `BatchNorm1d`.

    Raises:
        ValueError: the input has fewer than 2 dimensions.

    Unlike torch, it works on the CPU too.

    >>> import tinygrad_edu as torch
    >>> torch.nn.SyncBatchNorm.convert_sync_batchnorm(torch.nn.BatchNorm2d(3)).num_features
    3
    """

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1,
        affine: bool = True, track_running_stats: bool = True, process_group: Any = None,
        device: Any = None, dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias
        )
        self.process_group = process_group

    def _check_dims(self, input: Tensor) -> None:
        if input.array.ndim < 2:
            raise ValueError(f"expected at least 2D input (got {input.array.ndim}D input)")

    def forward(self, input: Tensor) -> Tensor:
        by_batch = self.training or self.running_mean is None
        alone = not world.is_initialized() or world.get_world_size(self.process_group) == 1
        if not by_batch or alone:
            return super().forward(input)
        self._check_dims(input)
        dims = [d for d in range(input.array.ndim) if d != 1]
        shape = [-1 if d == 1 else 1 for d in range(input.array.ndim)]
        size = input.array.size // max(input.array.shape[1], 1)
        count = tensor(float(size), dtype=input.dtype, device=input.device)
        n = all_reduce(count, ReduceOp.SUM, self.process_group)
        mean = all_reduce(input.sum(dims), ReduceOp.SUM, self.process_group) / n
        centred = input - mean.view(shape)
        variance = all_reduce((centred * centred).sum(dims), ReduceOp.SUM, self.process_group) / n
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            by, unbiased = self._count_batch(self.num_batches_tracked), variance * (n / (n - 1))
            for running, new in ((self.running_mean, mean), (self.running_var, unbiased)):
                if running is not None:
                    running.mul_(1 - by).add_(new.detach().to(running.dtype), alpha=by)
        zero, weight, bias = zeros_like(mean), self.weight, self.bias  # the mean is 0 by now
        return F.batch_norm(centred, zero, variance, weight, bias, training=False, eps=self.eps)

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: object = None) -> Module:
        """The module with a SyncBatchNorm, of the same parameters, for every batch norm in it."""
        made = module
        if isinstance(module, _BatchNorm):
            made = cls(
                module.num_features, module.eps, module.momentum, module.affine,
                module.track_running_stats, process_group, bias=module.bias is not None,
            )  # fmt: skip
            made._parameters.update(module._parameters)
            made._buffers.update(module._buffers)
            made.training = module.training
        for name, child in module.named_children():
            made.add_module(name, cls.convert_sync_batchnorm(child, process_group))
        return made
