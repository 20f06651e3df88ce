"""`ZeroRedundancyOptimizer`: each process keeps the state of its part of the parameters only.

Source: Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models",
2020, stage 1.  `torch.distributed.optim` is this module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_edu.distributed.objects import gather_object
from tinygrad_edu.distributed.world import ProcessGroup, default_group
from tinygrad_edu.nn.parallel.reducer import broadcast_all
from tinygrad_edu.optim.loading import fitted_state
from tinygrad_edu.optim.optimizer import Group, Optimizer, Params
from tinygrad_edu.tensor import Tensor


class ZeroRedundancyOptimizer(Optimizer):
    """Another optimizer, each rank's for its share of the parameters; then ranks swap the results.

    The shares are about equally large; a parameter is never divided.  Steps equal those of the
    optimizer alone, if all ranks have the same gradients, as under DistributedDataParallel.

    Args:
        params: parameters or groups, the same on every rank.
        optimizer_class: such as `torch.optim.AdamW`.
        process_group: of which processes; all unless given.
        parameters_as_bucket_view: accepted.
        overlap_with_ddp: must be False.
        defaults: the options of that optimizer.

    Attributes:
        optim: this rank's own optimizer.
    """

    def __init__(
        self, params: Params, optimizer_class: type[Optimizer],
        process_group: ProcessGroup | None = None, parameters_as_bucket_view: bool = False,
        overlap_with_ddp: bool = False, **defaults: Any,
    ) -> None:  # fmt: skip
        if overlap_with_ddp:
            raise NotImplementedError("ZeroRedundancyOptimizer: overlap_with_ddp is not supported")
        self.process_group = default_group() if process_group is None else process_group
        self._whole: dict[str, Any] | None = None
        self.owners: dict[Tensor, int] = {}
        super().__init__(params, defaults)
        self.optim = optimizer_class(self._own_groups(), **defaults)
        self.state = self.optim.state
        for group, own in zip(self.param_groups, self.optim.param_groups, strict=True):
            for name, value in own.items():
                group.setdefault(name, value)

    def add_param_group(self, param_group: Group) -> None:
        """Add a group of parameters, shared out among the ranks."""
        super().add_param_group(param_group)
        loads = [0] * self.process_group.size()
        for p, owner in self.owners.items():
            loads[owner] += p.numel()
        for p in sorted(param_group["params"], key=lambda p: -p.numel()):
            self.owners[p] = owner = loads.index(min(loads))
            loads[owner] += p.numel()
        if hasattr(self, "optim"):
            self.optim.add_param_group(self._own_groups()[-1])

    def _own_groups(self) -> list[Group]:
        me = self.process_group.rank()
        return [
            {**group, "params": [p for p in group["params"] if self.owners[p] == me]}
            for group in self.param_groups
        ]

    def step(self, closure: Callable[[], Any] | None = None, **kwargs: object) -> Any:
        """Move this rank's share, and take over the others'; returns what `closure` does."""
        for group, own in zip(self.param_groups, self.optim.param_groups, strict=True):
            own.update({k: v for k, v in group.items() if k not in ("params", "param_names")})
        loss = self.optim.step(closure, **kwargs)
        self._whole = None
        for rank in range(self.process_group.size()):
            share = [p for p, owner in self.owners.items() if owner == rank]
            broadcast_all(share, rank, self.process_group)
        return loss

    def consolidate_state_dict(self, to: int = 0) -> None:
        """Bring the state of all ranks to the rank `to`, for its `state_dict`; all must call it."""
        mine = super().state_dict()["state"]
        me = self.process_group.ranks[self.process_group.rank()] == to
        found: list[Any] = [None] * self.process_group.size()
        gather_object(mine, found if me else None, to, self.process_group)
        if me:
            self._whole = {i: state for share in found for i, state in sorted(share.items())}

    def state_dict(self) -> dict[str, Any]:
        """As the optimizer alone would give it, on the rank that was named last to
        `consolidate_state_dict`.

        Raises:
            RuntimeError: it was not called, or for another rank, or before the last step.
        """
        if self._whole is None:
            raise RuntimeError(
                "Optimizer state has not been consolidated on this rank. Please call"
                " `consolidate_state_dict(to=...)` on all ranks beforehand if you meant to save the"
                " global state."
            )
        return super().state_dict() | {"state": self._whole}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a whole state dict, of this class or of the optimizer alone.

        The number of ranks may be another one than when it was saved.
        """
        parameters = [p for group in self.param_groups for p in group["params"]]
        saved = [i for group in state_dict["param_groups"] for i in group["params"]]
        me = self.process_group.rank()
        own = {i for i, p in zip(saved, parameters, strict=False) if self.owners[p] == me}
        state = {i: s for i, s in state_dict["state"].items() if i in own}
        self.__setstate__(fitted_state(self, {**state_dict, "state": state}, ours=True))
        self.optim.state = self.state


__all__ = ["ZeroRedundancyOptimizer"]
