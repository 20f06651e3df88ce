"""Checks of learning rates and of how the loss goes."""

from __future__ import annotations

import gc
import math
from typing import Any

from tinygrad_edu.diagnosis.findings import Found, check
from tinygrad_edu.diagnosis.history import History
from tinygrad_edu.diagnosis.places import loops_around

BY_EPOCH = ("StepLR", "MultiStepLR", "ExponentialLR", "CosineAnnealingLR", "ReduceLROnPlateau")


@check("scheduler-missing", "warning", "stepped end")
def scheduler_missing(seen: History, event: Any) -> Any:
    """The schedule is made, and never stepped.

    Why: The learning rate has been {rate:g} in all {steps} steps.

    Cure: scheduler.step()  # at the end of each epoch
    """
    for record in seen.all_schedules:
        if hasattr(event, "record"):
            if record.inner is None and record.optimizer.steps:
                record.inner = _is_inner(record.schedule())
        elif not record.steps and not record.inner and record.optimizer.steps >= 2:
            yield Found(record.place, rate=record.rate, steps=record.optimizer.steps)


def _is_inner(schedule: Any) -> bool:
    """Whether it is part of another schedule, which may not need it yet."""
    for held in gc.get_referrers(schedule):
        if isinstance(held, (list, tuple)):
            for owner in gc.get_referrers(held):
                table = owner if isinstance(owner, dict) else getattr(owner, "__dict__", {})
                if table.get("_schedulers") is held:
                    return True
    return False


def note_steps(seen: History, event: Any) -> bool:
    """Whether this schedule is stepped once for each step of its optimizer, in an inner loop."""
    record, optimizer = event.record, event.optimizer
    if record.steps > 1:
        record.alone += optimizer.steps - record.beside != 1
    return record.steps >= 3 and not record.alone and _is_inner_loop(seen, event.place)


def _is_inner_loop(seen: History, place: Any) -> bool:
    return loops_around(place) >= 2


@check("scheduler-per-batch", "warning", "schedule")
def scheduler_per_batch(seen: History, event: Any) -> Any:
    """{kind} is stepped after every batch; its numbers count epochs.

    Why: After {steps} batches the learning rate is {rate:.3g}, {share:.3g} of what it was.

    Cure: move scheduler.step() out of the loop over batches
    """
    record, schedule = event.record, event.schedule
    per_batch = note_steps(seen, event)
    first = base(schedule)
    if not per_batch or record.kind not in BY_EPOCH:
        return
    rate, batches = now(schedule), _batches(seen)
    ends = getattr(schedule, "T_max", None)
    short = ends is not None and (record.steps > ends or (batches and ends < batches))
    gone = ends is None and rate <= first / 8
    numbers = {"kind": record.kind, "steps": record.steps, "rate": rate, "share": rate / first}
    if short or gone:
        yield Found(event.place, record.place, **numbers)
    elif record.steps == 8 and (ends is None):
        yield Found(event.place, record.place, "note", **numbers)


def _batches(seen: History) -> int:
    """How many batches the loader in use gives."""
    loader = seen.notes.get("loader")
    try:
        return len(loader) if loader else 0
    except TypeError:
        return 0


def base(schedule: Any) -> float:
    """The learning rate that a schedule began with."""
    rates = getattr(schedule, "base_lrs", None)
    return float(rates[0] if rates else schedule.optimizer.param_groups[0]["lr"]) or 1.0


def now(schedule: Any) -> float:
    """The present learning rate."""
    return float(schedule.optimizer.param_groups[0]["lr"])


@check("scheduler-past-end", "warning", "schedule")
def scheduler_past_end(seen: History, event: Any) -> Any:
    """{kind} goes on after its end: step {steps}, and it was made for {most} ({also}).

    Why: A cosine that goes on rises again: the learning rate is {rate:.3g}, when it should be at
    its lowest.

    Cure: T_max = the number of times that scheduler.step() is called
    """
    schedule, record = event.schedule, event.record
    most = getattr(schedule, "T_max", None)
    if record.kind != "CosineAnnealingLR" or most is None or schedule.last_epoch <= most:
        return
    if record.steps >= 3 and not record.alone and _is_inner_loop(seen, event.place):
        return  # it is stepped for every batch, which is another finding
    yield Found(
        event.place, record.place,
        kind=record.kind, most=most, rate=now(schedule), steps=schedule.last_epoch,
    )  # fmt: skip


@check("scheduler-before-optimizer", "warning", "schedule step")
def scheduler_before_optimizer(seen: History, event: Any) -> Any:
    """The schedule steps before the optimizer does ({also}).

    Why: The first learning rate of the schedule is passed over: the first step is made with
    {rate:.3g}.

    Cure: optimizer.step(); scheduler.step()
    """
    if hasattr(event, "schedule"):
        if event.record.steps == 1 and not event.optimizer.steps:
            event.record.early = event.place, seen.backwards
        return
    for record in seen.schedules.values():
        schedule = record.schedule()
        if record.early is None or schedule is None or schedule.optimizer is not event.optimizer:
            continue
        (place, before), record.early = record.early, None
        skipped = seen.scaled and before > 0
        if event.record.steps == 0 and event.moving and not skipped:
            if before == 0 or before == seen.backwards:
                yield Found(place, event.place, rate=now(schedule))


@check("learning-rate-vanished", "warning", "step schedule")
def learning_rate_vanished(seen: History, event: Any) -> Any:
    """The learning rate is {rate:.3g}: steps ({also}) do not move anything any more.

    Why: It was {highest:.3g} at its highest, and has been below a ten-thousandth of that for
    {steps} steps.

    Cure: a slower schedule, or a lowest rate (eta_min, min_lr)
    """
    if hasattr(event, "schedule"):
        seen.notes["schedule", id(event.schedule.optimizer)] = event.place
        return
    record = event.record
    rate = float(event.optimizer.param_groups[0].get("lr", 1.0))
    record.highest_rate = max(record.highest_rate, rate)
    low = rate < 1e-4 * record.highest_rate or (0 < rate < 1e-9)
    record.counts["low"] = record.counts["low"] + 1 if low else 0
    if record.counts["low"] > max(3, record.steps // 20):
        place = seen.notes.get(("schedule", id(event.optimizer)), record.place)
        yield Found(
            place, event.place,
            rate=rate, highest=record.highest_rate, steps=record.counts["low"],
        )  # fmt: skip


@check("diverging", "warning", "backward")
def diverging(seen: History, event: Any) -> Any:
    """The loss grows: from {first:.3g} to {last:.3g} in {steps} steps.

    Why: Each step goes so far that it lands higher on the other side: the learning rate is too
    high, or the data are too large.

    Cure: a learning rate ten times lower; inputs and targets of mean 0 and variance 1
    """
    if event.value is None or len(event.stack) == 0:
        return
    values = seen.losses[event.stack]
    values.append(event.value)
    if len(values) < 3 or not seen.steps:
        return
    last = values[-4:]
    if event.value > 1e4 * max(abs(values[0]), 0.1):
        yield Found(event.place, first=values[0], last=event.value, steps=len(values))
    if len(values) < 5:
        return
    rises = all([b > a for a, b in zip(last, last[1:], strict=False)]) or math.isinf(last[-1])
    if rises and last[-1] > 20 * max(abs(values[0]), 0.05) and last[-1] > 10 * abs(last[0]):
        yield Found(event.place, first=values[0], last=last[-1], steps=len(values))


@check("loss-flat", "note", "end")
def loss_flat(seen: History, event: Any) -> Any:
    """The loss does not fall: {first:.4g} at the beginning, {last:.4g} at the end.

    Why: In {steps} steps it has changed by less than a hundredth: look at the other findings, the
    learning rate, and whether the labels belong to the inputs.

    Cure: try to learn a single batch by heart first
    """
    for stack, values in seen.losses.items():
        if len(values) >= 20 and seen.steps >= 20:
            third = len(values) // 3
            first, last = sum(values[:third]) / third, sum(values[-third:]) / third
            if math.isfinite(last) and last > first - 0.01 * abs(first):
                yield Found(stack[0], first=first, last=last, steps=len(values))


@check("loss-start", "note", "loss.cross_entropy")
def loss_start(seen: History, event: Any) -> Any:
    """The first loss will be about {loss:.3g}; of {classes} classes, guessing gives {guess:.3g}.

    Why: Scores of size {size:.3g} before any training: the model is sure, and wrong. It takes many
    steps to unlearn that.

    Cure: smaller weights in the last layer:  nn.init.normal_(head.weight, std=0.01)
    """
    x, t = event.input.array, event.target.array
    if seen.steps or not event.recorded or x.ndim != 2:
        return
    if t.dtype.kind not in "iu" or not x.size or not math.isfinite(float(x.sum())):
        return
    top = x.max(1, keepdims=True)
    inside = (t >= 0) & (t < x.shape[1])
    logs = x - top
    logs = logs - _log_sum(logs)
    rows = logs[inside.nonzero()[0], t[inside]]
    guess = math.log(x.shape[1])
    if rows.size and -float(rows.mean()) > 2.5 * guess + 1:
        yield Found(
            event.place, loss=-float(rows.mean()), classes=x.shape[1], guess=guess,
            size=float(abs(x).mean()),
        )  # fmt: skip


def _log_sum(x: Any) -> Any:
    import numpy as np

    return np.log(np.exp(x).sum(1, keepdims=True))
