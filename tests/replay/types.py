"""The database of operations with other element types than float64: what type comes out.

For every other type that an operation knows, the dtypes and the shapes of its results are torch's,
and it refuses what torch refuses.  Numbers are not compared: those of float64 are, elsewhere.

    python -m tests.replay types [--every N] [name ...]
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import torch
from replay.both import Outcome, outcome
from replay.exclusions import TYPES, Sample, reason
from replay.operations import check_calls, counterpart, exported, title
from torch.testing._internal.opinfo.core import OpInfo

OTHERS = (
    torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool,
)  # fmt: skip


def replay_types(
    op: OpInfo, every: int = 1, dtypes: Sequence[torch.dtype] = OTHERS
) -> Iterator[Outcome]:
    """The outcomes of the first, the last and every `every`-th sample of each type."""
    for dtype in dtypes if exported(op) else ():
        samples = list(op.sample_inputs("cpu", dtype)) if dtype in op.dtypes else []
        for i, sample in enumerate(samples):
            if i % every == 0 or i == len(samples) - 1:
                made = Sample(title(op), "", sample.input, sample.args, sample.kwargs)
                label = f"{str(dtype).removeprefix('torch.')} {i} {made}"
                mine = counterpart(op.op, op.name)
                done = outcome(
                    title(op),
                    label,
                    lambda s=sample, f=mine: check_calls(op, op.op, f, s, numbers=False),
                    {},
                )
                why = reason(TYPES, title(op), label)
                if why is not None and done.problem is None:
                    yield dataclasses.replace(done, problem="passes, though left out")
                else:
                    yield done if why is None else Outcome(title(op), label, None, why)
