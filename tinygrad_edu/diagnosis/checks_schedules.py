"""Checks of learning rates and of how the loss goes."""

import contextlib
import math
from typing import Any

from tinygrad_edu.diagnosis.checks_flow import log_sums
from tinygrad_edu.diagnosis.findings import Event, Found, check
from tinygrad_edu.diagnosis.history import History
from tinygrad_edu.diagnosis.source import loops_around

BY_EPOCH = ("StepLR", "MultiStepLR", "ExponentialLR", "CosineAnnealingLR", "ReduceLROnPlateau")


@check("scheduler-missing", "warning", "end")
def scheduler_missing(seen: History, event: Event) -> Any:
    """The schedule is made, and never stepped.

    Why: The learning rate has been {rate:g} in all {steps} steps.

    Cure: scheduler.step()  # at the end of each epoch
    """
    for record in seen.schedules:
        if not record.steps and not record.inner and record.optimizer.steps >= 2:
            yield Found(record.place, rate=record.rate, steps=record.optimizer.steps)


def _per_batch(event: Event) -> bool:
    """Whether a schedule is stepped once for each step of its optimizer, in an inner loop."""
    record = event.record
    if record.steps < 3 or record.alone:
        return False
    if record.loops is None:
        record.loops = len(loops_around(event.stack) - loops_around(record.made))
    return bool(record.loops >= 2)


@check("scheduler-per-batch", "warning", "schedule")
def scheduler_per_batch(seen: History, event: Event) -> Any:
    """{kind} is stepped after every batch; its numbers count epochs.

    Why: After {steps} batches the learning rate is {rate:.3g}, {share:.3g} of what it was.

    Cure: move scheduler.step() out of the loop over batches
    """
    record, ends = event.record, getattr(event.schedule, "T_max", None)
    if record.kind not in BY_EPOCH or not _per_batch(event):
        return
    rate, batches = rate_of(event.schedule.optimizer), 0
    with contextlib.suppress(TypeError):
        batches = len(seen.notes.get("loader") or ())
    share = rate / record.rate
    numbers = {"kind": record.kind, "steps": record.steps, "rate": rate, "share": share}
    if rate <= record.rate / 8 if ends is None else record.steps > ends or ends < batches:
        yield Found(event.place, record.place, **numbers)
    elif record.steps == 8 and ends is None:
        yield Found(event.place, record.place, "note", **numbers)


def rate_of(optimizer: Any) -> float:
    """The present learning rate."""
    return float(optimizer.param_groups[0].get("lr", 1.0))


@check("scheduler-past-end", "warning", "schedule")
def scheduler_past_end(seen: History, event: Event) -> Any:
    """{kind} goes on after its end: step {steps}, and it was made for {most} ({also}).

    Why: A cosine that goes on rises again: the learning rate is {rate:.3g}, when it should be at
    its lowest.

    Cure: T_max = the number of times that scheduler.step() is called
    """
    schedule, record = event.schedule, event.record
    most = getattr(schedule, "T_max", None)
    if record.kind != "CosineAnnealingLR" or most is None or schedule.last_epoch <= most:
        return
    if not _per_batch(event):  # which is another finding
        numbers = {"most": most, "steps": schedule.last_epoch, "kind": record.kind}
        yield Found(event.place, record.place, rate=rate_of(schedule.optimizer), **numbers)


@check("scheduler-before-optimizer", "warning", "schedule step")
def scheduler_before_optimizer(seen: History, event: Event) -> Any:
    """The schedule steps before the optimizer does ({also}).

    Why: The first learning rate of the schedule is passed over: the first step is made with
    {rate:.3g}.

    Cure: optimizer.step(); scheduler.step()
    """
    if event.what == "schedule":
        if event.record.steps == 1 and not event.record.optimizer.steps:
            event.record.early = event.place, seen.backwards
        return
    for record in seen.schedules:
        if record.early is None or record.optimizer is not event.record:
            continue
        (place, before), record.early = record.early, None
        first = event.record.steps == 0 and event.moving and not (seen.scaled and before)
        if first and before in (0, seen.backwards):
            yield Found(place, event.place, rate=rate_of(event.optimizer))


@check("learning-rate-vanished", "warning", "step schedule")
def learning_rate_vanished(seen: History, event: Event) -> Any:
    """The learning rate is {rate:.3g}: steps ({also}) do not move anything any more.

    Why: It was {highest:.3g} at its highest, and has been below a ten-thousandth of that for
    {steps} steps.

    Cure: a slower schedule, or a lowest rate (eta_min, min_lr)
    """
    record = event.record
    if event.what == "schedule":
        record.optimizer.scheduled = event.place
        return
    rate = rate_of(event.optimizer)
    record.highest_rate = max(record.highest_rate, rate)
    low = rate < 1e-4 * record.highest_rate or (0 < rate < 1e-9)
    steps = seen.in_a_row(("low", id(record)), low)
    if steps > max(3, record.steps // 20):
        place = record.scheduled or record.place
        yield Found(place, event.place, rate=rate, highest=record.highest_rate, steps=steps)


@check("diverging", "warning", "backward")
def diverging(seen: History, event: Event) -> Any:
    """The loss grows: from {first:.3g} to {last:.3g} in {steps} steps.

    Why: Each step goes so far that it lands higher on the other side: the learning rate is too
    high, or the data are too large.

    Cure: a learning rate ten times lower; inputs and targets of mean 0 and variance 1
    """
    if event.value is None:
        return
    values = seen.losses[event.stack]
    values.append(event.value)
    began = seen.note("began", dict).setdefault(event.stack, seen.steps)
    first, last = max(abs(values[0]), 0.1), values[-4:]
    rises = len(values) > 4 and all([b > a for a, b in zip(last, last[1:], strict=False)])
    far = rises and event.value > 20 * first and event.value > 10 * abs(last[0])
    moved = seen.steps > began  # by an optimizer; else it may be an attack, which is to do that
    if len(values) > 2 and ((far and moved) or event.value > 1e4 * first):
        yield Found(event.place, first=values[0], last=event.value, steps=len(values))


@check("loss-flat", "note", "end")
def loss_flat(seen: History, event: Event) -> Any:
    """The loss does not fall: {first:.4g} at the beginning, {last:.4g} at the end.

    Why: In {steps} steps it has changed by less than a hundredth: look at the other findings, the
    learning rate, and whether the labels belong to the inputs.

    Cure: try to learn a single batch by heart first
    """
    for stack, values in seen.losses.items():
        if len(values) >= 20 and seen.steps >= 20 + seen.note("began", dict).get(stack, 0):
            third = len(values) // 3
            first, last = sum(values[:third]) / third, sum(values[-third:]) / third
            if math.isfinite(last) and last > first - 0.01 * abs(first):
                yield Found(stack[0], first=first, last=last, steps=len(values))


@check("loss-start", "note", "loss.cross_entropy")
def loss_start(seen: History, event: Event) -> Any:
    """The first loss will be about {loss:.3g}; of {classes} classes, guessing gives {guess:.3g}.

    Why: Scores of size {size:.3g} before any training: the model is sure, and wrong. It takes many
    steps to unlearn that.

    Cure: smaller weights in the last layer:  nn.init.normal_(head.weight, std=0.01)
    """
    x, t = event.x, event.t
    if seen.steps or not event.recorded or (x.ndim, t.ndim) != (2, 1) or t.dtype.kind not in "iu":
        return
    inside = ((t >= 0) & (t < x.shape[1])).nonzero()[0]
    losses = log_sums(x, 1)[inside] - x[inside, t[inside]]
    loss, guess = float(losses.mean()) if losses.size else 0.0, math.log(x.shape[1])
    if math.isfinite(loss) and loss > 2.5 * guess + 1:
        size = float(abs(x).mean())
        yield Found(event.place, loss=loss, classes=x.shape[1], guess=guess, size=size)
