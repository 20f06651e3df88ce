"""What the replay of torch's operations leaves out, and why.

`NOT_EXPORTED` are operations that we do not have.  `EXCLUSIONS` are samples of those that we have.
An entry that is not needed any more, because we have the operation or the sample passes, fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch

NOT_EXPORTED: dict[str, str] = {}
"""Names of operations, separated by blanks -> the reason."""


UP_TO_SIGN = "linalg.eigh linalg.svd svd svd_lowrank pca_lowrank"
"""Their vectors are compared as the database compares them: by absolute values."""


@dataclass(frozen=True)
class Sample:
    """A sample of an operation, as the list below looks at it."""

    operation: str
    number: str
    input: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)

    def values(self) -> Iterator[Any]:
        """All arguments, those in lists one by one."""
        todo = [self.input, self.args, self.kwargs]
        while todo:
            value = todo.pop()
            if isinstance(value, dict):
                todo += value.values()
            elif isinstance(value, (list, tuple)):
                todo += value
            else:
                yield value

    def __str__(self) -> str:
        def show(value: Any) -> str:
            if isinstance(value, torch.Tensor):
                return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
            if isinstance(value, (list, tuple)):
                return "[" + ", ".join(show(v) for v in value) + "]"
            return repr(value)

        parts = [show(v) for v in (self.input, *self.args)]
        return f"({', '.join(parts + [f'{k}={show(v)}' for k, v in self.kwargs.items()])})"


def has_complex(sample: Sample) -> bool:
    """Whether an argument is a complex number, tensor or dtype."""
    return any(
        isinstance(v, complex)
        or (isinstance(v, torch.dtype) and v.is_complex)
        or (isinstance(v, torch.Tensor) and v.dtype.is_complex)
        for v in sample.values()
    )


def always(sample: Sample) -> bool:
    return True


@dataclass(frozen=True)
class Exclusion:
    """Samples that differ, and why that stays so.

    Attributes:
        operations: names of entries, separated by blanks; `*` stands for anything.
        checks: which checks fail, separated by commas.
        when: which samples.
    """

    operations: str
    checks: str
    reason: str
    when: Callable[[Sample], bool] = always


LAYERS: dict[str, str] = {
    "Lazy*": "there are no lazy layers: parameters have their shapes from the beginning",
}
"""Layers of module_db, or "layer: sample", with patterns -> the reason."""

OPTIMIZERS: dict[str, str] = {
    "LBFGS": "not written: its line search calls a closure many times a step",
    "SparseAdam": "there are no sparse gradients",
    "ASGD: 1 non-default lambd {'foreach': True}": (
        "torch's foreach form computes eta by a float32 power that is rounded differently"
    ),
}
"""Optimizers of optim_db, or "optimizer: sample" -> the reason."""


def reason(table: dict[str, str], name: str, sample: str) -> str | None:
    """Why this layer or optimizer, or this sample of it, is left out; None if it is not."""
    for key, why in table.items():
        left, _, right = key.partition(": ")
        if fnmatchcase(name, left) and (right in ("", sample) or fnmatchcase(sample, right)):
            return why
    return None


EXCLUSIONS: list[Exclusion] = [
    Exclusion("*", "values, method, in place, error", "there are no complex numbers", has_complex),
]


def reason_for(sample: Sample, problems: dict[str, str]) -> dict[str, str]:
    """The checks that are left out for this sample, with the reasons."""
    found = {}
    for entry in EXCLUSIONS:
        if any(fnmatchcase(sample.operation, name) for name in entry.operations.split()):
            if entry.when(sample):
                checks = entry.checks.split(", ")
                if entry.operations == "*":  # of these checks, those that there are
                    checks = [check for check in checks if check in problems]
                found |= dict.fromkeys(checks, entry.reason)
    return found
