"""Checks of the data: their order, their size, and who sees which."""

import dis
import random
from typing import Any

import numpy as np

from tinygrad_edu.diagnosis.findings import Event, Found, check
from tinygrad_edu.diagnosis.flow import rms, span
from tinygrad_edu.diagnosis.history import History, address
from tinygrad_edu.random import Generator


@check("unshuffled", "warning", "loss loader epoch")
def unshuffled(seen: History, event: Event) -> Any:
    """The labels come in order: {batches} batches in a row, from class {first} to {last}.

    Why: Each step learns one class and forgets those before. Batches should look like the whole.

    Cure: DataLoader(dataset, batch_size=..., shuffle=True)
    """
    if event.what == "loader":
        seen.notes["made", id(event.loader)] = event.place
        return
    if event.what == "epoch":
        seen.notes["loader"] = event.loader
        return
    t, key = event.t, ("sorted", event.place)
    classes = t.dtype.kind in "iu" or "binary" in event.name
    known, batches = seen.notes.get(key, ((), 0))
    if not event.recorded or not classes or known is None or t.shape[:1] != (t.size,):
        return
    labels, batches = [*known, *t.ravel().tolist()], batches + 1
    if labels != sorted(labels) or len(labels) > 100_000:
        labels = None  # they are mixed
    seen.notes[key] = labels, batches
    if labels and batches >= 4 and len(labels) >= 12 and labels[0] != labels[-1]:
        if min(labels.count(labels[0]), labels.count(labels[-1])) >= 3:
            numbers = {"batches": batches, "first": int(labels[0]), "last": int(labels[-1])}
            yield Found(_made(seen, seen.notes.get("loader")), event.place, **numbers)


def _made(seen: History, loader: Any) -> Any:
    """Where a loader was made."""
    return None if loader is None else seen.notes.get(("made", id(loader)))


@check("same-augmentation", "warning", "epoch")
def same_augmentation(seen: History, event: Event) -> Any:
    """All {workers} workers draw the same random numbers: {what}.

    Why: Each worker is a copy of this process, and of the generator in it: {workers} samples in a
    row get the same noise.

    Cure: worker_init_fn=lambda i: np.random.seed(torch.initial_seed() % 2**32)
    """
    loader = event.loader
    if loader.num_workers < 2:
        return
    what = _own_generator(loader.dataset) or _fixed_seed(loader.worker_init_fn)
    if what:
        yield Found(_made(seen, loader), event.place, workers=loader.num_workers, what=what)


def _own_generator(dataset: object) -> str | None:
    """The attribute in which a dataset has a generator of its own."""
    kinds = (np.random.Generator, np.random.RandomState, random.Random, Generator)
    for name, value in getattr(dataset, "__dict__", {}).items():
        if isinstance(value, kinds):
            return f"dataset.{name} is copied into each"
        if name in ("dataset", "transform", "tf", "transforms", "augment"):
            found = _own_generator(value)
            if found:
                return found
    return None


def _fixed_seed(init: object) -> str | None:
    """Whether a worker_init_fn seeds without looking at which worker it is in."""
    code = getattr(init, "__code__", None)
    if code is None or not any(["seed" in name for name in code.co_names]):
        return None
    loads = {i.argval for i in dis.get_instructions(code) if i.opname.startswith("LOAD_FAST")}
    told = {"initial_seed", "get_worker_info", "urandom", "time", "getpid"} & {*code.co_names}
    if code.co_argcount and code.co_varnames[0] not in loads and not told:
        return "worker_init_fn seeds all of them alike"
    return None


def _samples(dataset: object) -> tuple[int, frozenset[int] | None]:
    """The dataset at the bottom, and which of its samples are meant; None for all."""
    indices = None
    while hasattr(dataset, "indices") and hasattr(dataset, "dataset"):
        own = [int(i) for i in dataset.indices]
        indices = own if indices is None else [own[i] for i in indices]
        dataset = dataset.dataset
    rows = getattr(dataset, "tensors", None)
    if rows is None:
        return id(dataset), None if indices is None else frozenset(indices)
    start, width = address(rows[0]), rows[0].stride(0) * rows[0].itemsize
    every = range(len(rows[0])) if indices is None else indices
    return id(rows[0]._storage), frozenset([start + width * i for i in every])


@check("validation-in-training", "warning", "begin epoch step")
def validation_in_training(seen: History, event: Event) -> Any:
    """{shared} of {count} samples that the model is judged by are trained on, too ({also}).

    Why: What was learnt by heart is counted as understood: the score is too good.

    Cure: train, held_out = torch.utils.data.random_split(dataset, [0.8, 0.2])
    """
    trained_on: dict[int, Any] = seen.note("trained on", dict)
    loader = seen.notes.get("loader")
    if event.what == "epoch":
        seen.notes["epoch"] = event.place
    elif event.what == "step" and loader is not None:
        trained_on[id(loader)] = loader
    if event.what != "begin" or loader is None or id(loader) in trained_on:
        return
    trains = event.passed.recorded and event.passed.training
    if trains or not seen.looks_left(("held out", id(loader)), 1):
        return
    base, held = _samples(loader.dataset)
    for other in trained_on.values():
        source, taken = _samples(other.dataset)
        shared = held if taken is None else (held or frozenset()) & taken
        if source == base and held and shared:
            place = _made(seen, other)
            yield Found(seen.notes["epoch"], place, shared=len(shared), count=len(held))


@check("unnormalised", "warning", "op.linear op.matmul op.convolve")
def unnormalised(seen: History, event: Event) -> Any:
    """The data go into the first layer as they are: {low:.3g} to {high:.3g}, of size {size:.3g}.

    Why: Layers are made for numbers of size 1. With such inputs scores, loss and gradients are as
    many times larger, and one learning rate does not fit all.

    Cure: x = (x - x.mean(0)) / x.std(0)  # or x / 255
    """
    x = event.inputs[0].array
    if event.y.node is None or event.inputs[0].node is not None or not event.inputs[1].is_leaf:
        return
    if seen.steps > 3 or x.dtype.kind != "f" or not x.size or event.before.kind is not None:
        return
    size = rms(x)
    level = "warning" if 60 < size < np.inf else "note" if size > 20 or 0 < size < 1e-3 else None
    if level is not None:
        yield Found(event.place, None, level, size=size, **span(x))
