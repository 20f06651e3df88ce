"""Batch norm and instance norm: channels are normalised over a batch, or over each sample of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from tinygrad_edu.names.missing import elsewhere
from tinygrad_edu.nn import functional as F
from tinygrad_edu.nn import init
from tinygrad_edu.nn.modules.module import Module
from tinygrad_edu.nn.parameter import Parameter
from tinygrad_edu.ops.creation import empty, ones, tensor, zeros
from tinygrad_edu.tensor import Tensor


class _NormBase(Module):
    """Parameters and running statistics of `num_features` channels."""

    _version: ClassVar[int] = 2
    allowed_dims: ClassVar[tuple[int, ...]]
    weight: Parameter | None
    bias: Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        for name, wanted in (("weight", True), ("bias", bias)):
            made = affine and wanted
            values = Parameter(empty(num_features, device=device, dtype=dtype)) if made else None
            self.register_parameter(name, values)
        tracked: list[Tensor | None] = [None, None, None]
        if track_running_stats:
            tracked = [
                zeros(num_features, device=device, dtype=dtype),
                ones(num_features, device=device, dtype=dtype),
                tensor(0, device=device),
            ]
        for name, buffer in zip(
            ("running_mean", "running_var", "num_batches_tracked"), tracked, strict=True
        ):
            self.register_buffer(name, buffer)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Means become 0, variances 1, and no batch has been seen."""
        if self.running_mean is not None:
            self.running_mean.zero_()
        if self.running_var is not None:
            self.running_var.fill_(1)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Weights become 1, biases 0, and the running statistics start anew."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: dict[str, Any], *rest: Any
    ) -> None:
        """Checkpoints from before version 2, and dicts without a version, may lack the counter."""
        key, version = f"{prefix}num_batches_tracked", local_metadata.get("version")
        if (version is None or version < 2) and self.num_batches_tracked is not None:
            state_dict.setdefault(key, self.num_batches_tracked)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    def _check_dims(self, input: Tensor) -> None:
        if input.array.ndim not in self.allowed_dims:
            names = " or ".join(f"{n}D" for n in self.allowed_dims)
            raise ValueError(f"expected {names} input (got {input.array.ndim}D input)")

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine},"
            f" bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_NormBase):
    """Normalises by the batch while training, by the running statistics else."""

    def forward(self, input: Tensor) -> Tensor:
        self._check_dims(input)
        momentum = self.momentum or 0.0
        moving = self.training and self.track_running_stats
        if moving and self.num_batches_tracked is not None:
            momentum = self._count_batch(self.num_batches_tracked)
        mean, variance = self.running_mean, self.running_var
        if self.training and not moving:
            mean = variance = None
        by_batch = self.training or (self.running_mean is None and self.running_var is None)
        return F.batch_norm(
            input, mean, variance, self.weight, self.bias, by_batch, momentum, self.eps
        )

    def _count_batch(self, seen: Tensor) -> float:
        """One more batch; how far it moves the running statistics."""
        seen.add_(1)
        return 1.0 / float(seen) if self.momentum is None else self.momentum


class BatchNorm1d(_BatchNorm):
    """Batch norm of an input (N, C) or (N, C, L).

    While training it normalises by the batch, else by the running statistics.

    Args:
        num_features: channels, the size of dimension 1.
        eps: added to the variance.
        momentum: how far a batch moves the running statistics; None: they are plain averages.
        affine: whether there are weight (starts at 1) and bias (starts at 0).
        track_running_stats: False: the batch's own statistics are used in evaluation too.
        device, dtype: of the parameters and statistics.
        bias: whether there is a bias.

    Raises:
        ValueError: the input has another number of dimensions, or one value per channel.

    Source: Ioffe and Szegedy, "Batch Normalization", 2015, algorithm 1.

    >>> import tinygrad_edu as torch
    >>> torch.nn.BatchNorm1d(1)(torch.tensor([[1.0], [3.0]])).detach()
    tensor([[-1.0000],
            [ 1.0000]])
    """

    allowed_dims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch norm of an input (N, C, H, W); the options are those of `BatchNorm1d`."""

    allowed_dims = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch norm of an input (N, C, D, H, W); the options are those of `BatchNorm1d`."""

    allowed_dims = (5,)


class _InstanceNorm(_NormBase):
    """Normalises each sample by itself."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias
        )

    def forward(self, input: Tensor) -> Tensor:
        self._check_dims(input)
        single = input.array.ndim == self.allowed_dims[0]
        x = input.unsqueeze(0) if single else input
        y = F.instance_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            self.momentum or 0.0,
            self.eps,
        )
        return y.squeeze(0) if single else y


class InstanceNorm1d(_InstanceNorm):
    """Instance norm of an input (N, C, L) or (C, L): each sample is normalised by itself.

    Args:
        num_features: channels, the size of dimension 1 (0 without a batch).
        eps: added to the variance.
        momentum: how far a batch moves the running statistics.
        affine: whether there are weight (starts at 1) and bias (starts at 0).
        track_running_stats: True: running statistics are kept, and used in evaluation.
        device, dtype: of the parameters and statistics.
        bias: whether there is a bias.

    Source: Ulyanov, Vedaldi, Lempitsky, "Instance Normalization", 2016.
    """

    allowed_dims = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Instance norm of (N, C, H, W) or (C, H, W); the options are those of `InstanceNorm1d`."""

    allowed_dims = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """Instance norm of (N, C, D, H, W) or (C, D, H, W); options as of `InstanceNorm1d`."""

    allowed_dims = (4, 5)


if not TYPE_CHECKING:  # a type checker finds unknown names by itself
    __getattr__ = elsewhere(__name__, "nn.modules.more.sync_batchnorm")
