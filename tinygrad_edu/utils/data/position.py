"""Where a `DataLoader` is in an epoch, so that a later run goes on with the next batch.

An epoch's order follows from the states of the random generators at its start.  So a position is
those states and how many batches have been given: to go on, the generators are set back, the epoch
is begun again, and that many entries of its order are passed over without loading any data.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tinygrad_edu.random import Generator, default_generator

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor
    from tinygrad_edu.utils.data.dataloader import DataLoader


class Epoch:
    """How far one pass over a loader has come."""

    def __init__(self, start: list[Tensor], kept_workers: bool) -> None:
        self.start = start
        self.kept_workers = kept_workers
        """Its workers are those of an earlier epoch, so no seed was drawn for them."""
        self.given = 0
        self.running = True


def generators(loader: DataLoader[Any]) -> list[Generator]:
    """The default generator, and those of the loader and its samplers, each once."""
    batches = loader.batch_sampler
    owners = (loader, loader.sampler, batches, getattr(batches, "sampler", None))
    found = [default_generator]
    for owner in owners:
        generator = getattr(owner, "generator", None)
        if isinstance(generator, Generator) and all([generator is not g for g in found]):
            found.append(generator)
    return found


def states(loader: DataLoader[Any]) -> list[Tensor]:
    """The generators' states."""
    return [generator.get_state() for generator in generators(loader)]


def describe(loader: DataLoader[Any], epoch: Epoch | None) -> dict[str, Any]:
    """The position as plain data."""
    if epoch is None or not epoch.running:
        epoch = None
    return {
        "position": epoch.given if epoch else 0,
        "epoch_start": epoch.start if epoch else None,
        "kept_workers": epoch.kept_workers if epoch else loader._iterator is not None,
        "generators": states(loader)[1:],
    }


def check(loader: DataLoader[Any], state: dict[str, Any]) -> None:
    """Raise ValueError unless `state` is the position of a loader with as many generators."""
    own = len(generators(loader)) - 1
    start = state["epoch_start"]
    if len(state["generators"]) != own or (start is not None and len(start) != own + 1):
        raise ValueError(
            f"the loader has {own} generators of its own, but its saved state has"
            f" {len(state['generators'])}: give it the same sampler and generator as before"
        )


@contextmanager
def begun_again(loader: DataLoader[Any], state: dict[str, Any]) -> Iterator[None]:
    """Within this, the generators are where they were at the start of the saved epoch.

    Afterwards the loader's own ones are where they were when it was saved.  The default generator
    is put back to where it is now: its state is the caller's to save and to restore.
    """
    now = default_generator.get_state()
    for generator, start in zip(generators(loader), state["epoch_start"], strict=True):
        generator.set_state(start)
    try:
        yield
    finally:
        default_generator.set_state(now)
        restore(loader, state)


def restore(loader: DataLoader[Any], state: dict[str, Any]) -> None:
    """Put the loader's own generators where they were when it was saved."""
    for generator, then in zip(generators(loader)[1:], state["generators"], strict=True):
        generator.set_state(then)
