"""torch's databases of layers and optimizers, replayed: every n-th sample, all with the command."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest")

from replay.both import Outcome, quiet  # noqa: E402
from replay.modules import replay_layer, title  # noqa: E402
from replay.optimizers import replay_optimizer  # noqa: E402
from torch.testing._internal.common_modules import module_db  # noqa: E402
from torch.testing._internal.common_optimizers import optim_db  # noqa: E402


def check(outcomes: Iterable[Outcome]) -> None:
    with quiet():
        found = list(outcomes)
    assert found
    failed = [f"{o.sample}: {o.problem}" for o in found if o.problem is not None]
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize("info", module_db, ids=title)
def test_layer(info):
    """Outputs, state, gradients and second derivatives; `python -m tests.replay layers` has all."""
    check(replay_layer(info, every=50 if "LinearCrossEntropy" in info.name else 3))


@pytest.mark.parametrize("info", optim_db, ids=lambda info: info.name)
def test_optimizer(info):
    """Parameters and state after each step; `python -m tests.replay optimizers` has all."""
    check(replay_optimizer(info, every=2))
