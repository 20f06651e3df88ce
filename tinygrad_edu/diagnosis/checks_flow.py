"""Checks of what flows from the model into the loss."""

import contextlib
import itertools
import math
import operator
from typing import Any

import numpy as np

from tinygrad_edu.diagnosis.findings import Event, Found, check
from tinygrad_edu.diagnosis.flow import OPPOSITE, finite, span
from tinygrad_edu.diagnosis.history import History


def sums_to_one(x: Any, axis: int) -> bool:
    """Whether the values are probabilities along an axis."""
    if x.size == 0 or x.shape[axis] < 2 or not finite(x):
        return False
    return bool(x.min() >= 0 and abs(x.sum(axis) - 1).max() < 1e-3)


def log_sums(x: Any, axis: int) -> Any:
    """`log(sum(exp(x)))`: 0 for logarithms of probabilities."""
    top = x.max(axis, keepdims=True)
    return (np.log(np.exp(x - top).sum(axis, keepdims=True)) + top).ravel()


def often(seen: History, event: Event) -> bool:
    """Whether a place has been looked at often enough for looking at values."""
    return not seen.looks_left((event.name, event.place), 3)


@check("softmax-twice", "error", "loss.cross_entropy")
def softmax_twice(seen: History, event: Event) -> Any:
    """{name} takes raw scores; its input came out of softmax ({also}).

    Why: It applies log_softmax itself. Of {classes} classes no loss can fall below {least:.3f}, and
    gradients shrink: yours are {smaller:.2g} times smaller.

    Cure: pass the scores themselves:  loss = criterion(model(x), y)
    """
    x, axis = event.x, event.axis
    if x.ndim < 1 or not x.size:
        return
    by_values = event.kind is None and not often(seen, event) and sums_to_one(x, axis)
    if event.kind == "softmax" or by_values:
        classes = x.shape[axis]
        yield Found(
            event.place, event.also, name=event.name, classes=classes,
            least=math.log(math.e + classes - 1) - 1, smaller=_shrinkage(x, event.t),
        )  # fmt: skip


def _shrinkage(p: Any, t: Any) -> float:
    """How much smaller the gradient at the scores is with a second softmax."""
    if p.ndim != 2 or t.ndim != 1:
        return float(p.shape[0 if p.ndim == 1 else 1])
    right = np.zeros_like(p)
    rows = (t >= 0) & (t < p.shape[1])
    right[rows.nonzero()[0], t[rows]] = 1
    plain = p - right
    e = np.exp(p)
    g = e / e.sum(1, keepdims=True) - right
    twice = p * (g - (g * p).sum(1, keepdims=True))
    return float(np.sqrt((plain**2).sum() / max((twice**2).sum(), 1e-30)))


@check("softmax-twice", "warning", "op.softmax op.log_softmax")
def softmax_of_softmax(seen: History, event: Event) -> Any:
    """softmax is applied to what came out of softmax ({also}).

    Why: Probabilities lie between 0 and 1, so the second softmax makes them almost equal: the
    largest of {classes} is at most {most:.3g}.

    Cure: apply it once, to the scores
    """
    before, shape = event.before, event.y.array.shape
    if not event.inside and before.kind == "softmax" and shape:
        if before.axis == int(event.args[1]) % len(shape):
            classes = shape[before.axis]
            most = math.e / (math.e + classes - 1)
            yield Found(event.place, before.place, classes=classes, most=most)


@check("log-twice", "warning", "loss.cross_entropy")
def log_twice(seen: History, event: Event) -> Any:
    """{name} takes raw scores; its input came out of log_softmax ({also}).

    Why: It applies log_softmax itself. A second one changes nothing, but it is work for nothing,
    and hides that NLLLoss was meant, or no log_softmax. (Sums of exp are {sum:.3f} already.)

    Cure: nll_loss(log_softmax(scores, 1), y)  or  cross_entropy(scores, y)
    """
    if event.kind == "log_softmax" and event.x.size:
        sums = np.exp(log_sums(event.x, event.axis))
        yield Found(event.place, event.also, name=event.name, sum=float(sums.mean()))


@check("log-twice", "error", "op.log")
def log_of_log(seen: History, event: Event) -> Any:
    """log is taken of what is a logarithm already ({also}).

    Why: Logarithms of probabilities are negative: {bad} of {all} results are not finite.

    Cure: leave the second log out
    """
    y = event.y.array
    if event.before.kind in ("log_softmax", "log_sigmoid"):
        bad = int((~np.isfinite(y)).sum())
        yield Found(event.place, event.before.place, bad=bad, all=y.size)


@check("softmax-missing", "error", "loss.nll_loss")
def softmax_missing(seen: History, event: Event) -> Any:
    """{name} takes logarithms of probabilities; its input is raw scores.

    Why: It averages -input[class], and applies no softmax: exp of a row adds up to {sum:.3g}, not
    to 1, so the loss has no lower bound.

    Cure: nn.CrossEntropyLoss()(scores, y)  # or log_softmax(scores, 1) before nll_loss
    """
    x = event.x
    if event.kind in ("softmax", "sigmoid") or often(seen, event) or not finite(x):
        return
    if not x.size or x.shape[event.axis] < 2:
        return
    sums = log_sums(x, event.axis)
    if abs(sums).mean() > 0.02 and not (event.kind == "log_softmax" and event.facts.axis != 1):
        yield Found(event.place, name=event.name, sum=float(np.exp(np.minimum(sums, 80)).mean()))


@check("log-missing", "error", "loss.nll_loss loss.kl_div")
def log_missing(seen: History, event: Event) -> Any:
    """{name} takes logarithms of probabilities; its input is probabilities ({also}).

    Why: -p is minimised, not -log p: its gradient is 1 where that of the logarithm would be 1/p,
    here up to {most:.3g}, and it hardly corrects the worst mistakes.

    Cure: nll_loss(log_softmax(scores, 1), y)
    """
    x, known = event.x, event.kind in ("softmax", "sigmoid")
    if x.size and (known or (event.kind is None and x.ndim == 2 and sums_to_one(x, 1))):
        most = 1 / max(float(x.min()), 1e-9)
        yield Found(event.place, event.also, name=event.name, most=most)


@check("sigmoid-twice", "error", "loss.binary_cross_entropy_with_logits")
def sigmoid_twice(seen: History, event: Event) -> Any:
    """{name} takes raw scores; its input came out of sigmoid ({also}).

    Why: It applies sigmoid itself: from inputs between {low:.2f} and {high:.2f} it makes
    probabilities from {least:.2f} to {most:.2f}, never near 0.

    Cure: pass the scores themselves, or take nn.BCELoss()
    """
    if event.kind in ("sigmoid", "softmax") and event.x.size:
        ends = span(event.x)
        least, most = [1 / (1 + math.exp(-end)) for end in ends.values()]
        yield Found(event.place, event.also, name=event.name, least=least, most=most, **ends)


@check("sigmoid-twice", "warning", "op.sigmoid")
def sigmoid_of_sigmoid(seen: History, event: Event) -> Any:
    """sigmoid is applied to what came out of sigmoid ({also}).

    Why: The result lies between 0.5 and {most:.3g}, whatever the scores are.

    Cure: apply it once, to the scores
    """
    if event.before.kind == "sigmoid" and not event.ours:
        yield Found(event.place, event.before.place, most=1 / (1 + math.exp(-1)))


@check("sigmoid-missing", "error", "loss.binary_cross_entropy")
def sigmoid_missing(seen: History, event: Event) -> Any:
    """{name} takes probabilities; its input is {what}.

    Why: Values from {low:.3g} to {high:.3g} came: a score is no probability, and cut to [0, 1] it
    gets no gradient where it is cut.

    Cure: nn.BCEWithLogitsLoss()(scores, y)  # which applies sigmoid itself
    """
    x, kind = event.x, event.kind
    if not x.size or not finite(x):
        return
    raw = kind in ("clamp", "relu", "tanh") or (kind is None and event.facts.features is not None)
    if raw or x.min() < 0 or x.max() > 1:
        what = f"the result of {kind}()" if kind else "raw scores"
        yield Found(event.place, event.also, name=event.name, what=what, **span(x))


@check("softmax-axis", "error", "loss.nll_loss loss.cross_entropy")
def softmax_axis(seen: History, event: Event) -> Any:
    """softmax ({also}) went over dimension {axis}; the classes are in dimension {right}.

    Why: The probabilities of one sample do not add up to 1: here to {low:.3g} to {high:.3g}.

    Cure: scores.softmax({right})
    """
    known = event.kind in ("softmax", "log_softmax") and event.x.ndim > 1
    if known and event.facts.axis not in (None, 1):
        yield _by_rows(event, event.facts, event.x)


def _by_rows(event: Event, facts: Any, x: Any) -> Found:
    sums = (np.exp(x) if facts.kind == "log_softmax" else x).sum(1)
    return Found(event.place, facts.place, axis=facts.axis, right=1, **span(sums))


@check("softmax-axis", "warning", "op.softmax op.log_softmax")
def softmax_of_one(seen: History, event: Event) -> Any:
    """softmax goes over dimension {axis} of {shape}, which has {size} element.

    Why: Of a single score softmax is 1, whatever the score: its gradient is 0.

    Cure: sigmoid for one score; softmax over the dimension of the classes
    """
    if event.y.node is None or event.ours:
        return
    shape, axis = event.y.array.shape, int(event.args[1])
    if len(shape) == 2 and shape[axis] == 1 and shape[0] > 1:
        yield Found(event.place, axis=axis, shape=list(shape), size=1)


@check("softmax-axis", "warning", "op.matmul")
def softmax_over_queries(seen: History, event: Event) -> Any:
    """Weights that softmax made over dimension {axis} ({also}) are summed over dimension {right}.

    Why: The weights of one sum add up to {low:.3g} to {high:.3g}, not to 1: the softmax of
    attention goes over the keys.

    Cure: scores.softmax(-1) @ v
    """
    facts, x = event.before, event.inputs[0].array
    if event.inside or event.ours or facts.kind != "softmax" or x.ndim < 2 or not x.size:
        return
    if facts.axis not in (None, x.ndim - 1):
        sums = span(x.sum(-1))
        yield Found(event.place, facts.place, axis=facts.axis, right=x.ndim - 1, **sums)


@check("softmax-axis", "error", "op.gather op.take")
def softmax_picked(seen: History, event: Event) -> Any:
    """softmax ({also}) went over dimension {axis}; one class of each row is picked here.

    Why: The probabilities of one sample do not add up to 1: here to {low:.3g} to {high:.3g}.

    Cure: scores.softmax({right})
    """
    facts, x = event.before, event.inputs[0].array
    known = facts.kind in ("softmax", "log_softmax") and facts.axis == 0
    if not known or event.inside or x.ndim != 2 or not x.size or x.shape[0] == x.shape[1]:
        return
    index = event.args[1]
    picks = index == 1 if event.name == "gather" else isinstance(index, tuple) and len(index) == 2
    if picks:
        yield _by_rows(event, facts, x)


@check("target-broadcast", "error", "op.mean op.sum")
def target_broadcast(seen: History, event: Event) -> Any:
    """({count}, 1) meets ({count},), and the mean is taken of all pairs ({also}).

    Why: A column of {count} and a row of {count} make {count} x {count} pairs: every prediction is
    compared with every target, and the best answer is the mean of the targets.

    Cure: make the shapes equal:  model(x).squeeze(1) - y
    """
    facts = event.before
    if facts.outer is None or facts.kind in OPPOSITE or event.y.array.size != 1:
        return
    if event.y.node is not None or facts.lost:
        yield Found(facts.outer[0], event.place, count=facts.outer[1])


@check("target-broadcast", "error", "loss")
def target_broadcast_by_a_loss(seen: History, event: Event) -> Any:
    """{name} is given shapes {input} and {target}, which broadcast to {all}.

    Why: Every prediction is compared with every target, {pairs} pairs for {count} samples: the best
    answer is the mean of the targets.

    Cure: make the shapes equal:  criterion(model(x).squeeze(1), y)
    """
    x, t = event.x, event.t
    if event.name not in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"):
        return
    with contextlib.suppress(ValueError):  # shapes that do not broadcast
        shape, count = np.broadcast_shapes(x.shape, t.shape), max(x.size, t.size)
        shapes = {"input": list(x.shape), "target": list(t.shape), "all": list(shape)}
        if (pairs := math.prod(shape)) > count:
            yield Found(event.place, name=event.name, pairs=pairs, count=count, **shapes)


@check("target-one-hot", "error", "loss.cross_entropy loss.nll_loss")
def target_one_hot(seen: History, event: Event) -> Any:
    """{name} takes class numbers; its targets are rows of {classes} with a single 1.

    Why: As whole numbers such rows are refused, as floats they mean probabilities: cross_entropy
    then computes with {times} times as many targets, to the same result.

    Cure: criterion(scores, one_hot.argmax(1))
    """
    t = event.t
    if t.ndim == 2 and t.shape == event.x.shape and t.shape[1] > 1:
        if ((t == 0) | (t == 1)).all() and (t.sum(1) == 1).all():
            level = "note" if t.dtype.kind == "f" else "error"
            numbers = {"classes": t.shape[1], "times": t.shape[1]}
            yield Found(event.place, None, level, name=event.name, **numbers)


@check("target-shifted", "error", "loss.cross_entropy loss.nll_loss")
def labels_from_one(seen: History, event: Event) -> Any:
    """Labels count from 1 to {most}; of {most} scores the classes are 0 to {last}.

    Why: There is no score for class {most}, and none of {count} labels is class 0.

    Cure: criterion(scores, y - 1)
    """
    t = event.t
    if t.dtype.kind in "iu" and t.size and event.x.ndim > event.axis:
        classes = event.x.shape[event.axis]
        if t.max() == classes and t.min() >= 1 and classes > 1:
            yield Found(event.place, most=classes, last=classes - 1, count=t.size)


@check("target-shifted", "warning", "loss.cross_entropy loss.nll_loss")
def labels_not_shifted(seen: History, event: Event) -> Any:
    """The labels are the words that go in, and attention sees each of them.

    Why: To name word i when word i is given takes no model: all {count} labels are equal to their
    inputs. A language model is to name word i + 1.

    Cure: loss = cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    """
    ids, seeing = seen.notes.get("words"), seen.notes.get("attentions", ())
    causal = bool(seeing) and not any([weight for _, weight in seeing])
    if event.recorded and causal and ids is not None and ids.size == event.t.size >= 8:
        if (ids.ravel() == event.t.ravel()).all() and ids.min() < ids.max():
            yield Found(event.place, count=ids.size)


@check("class-axis", "error", "loss.cross_entropy loss.nll_loss")
def class_axis_last(seen: History, event: Event) -> Any:
    """{name} takes classes in dimension 1; a layer ({also}) has put them in dimension {axis} of
    {shape}.

    Why: The shapes fit by chance, both dimensions being {size}: scores of different places are
    compared with each other.

    Cure: cross_entropy(scores.transpose(1, 2), y)  or  cross_entropy(scores.flatten(0, 1),
    y.flatten())
    """
    x, facts = event.x, event.facts
    axis = facts.features
    if axis in (None, 1) or x.ndim < 2 or event.t.shape == x.shape:
        return
    if axis < x.ndim and x.shape[axis] == x.shape[1]:
        shape = {"axis": axis, "shape": list(x.shape), "size": x.shape[1]}
        yield Found(event.place, facts.place, name=event.name, **shape)


@check("accuracy-range", "error", "op.mean op.sum")
def accuracy_of_pairs(seen: History, event: Event) -> Any:
    """({count}, 1) is compared with ({count},): that makes {count} x {count} answers.

    Why: Each guess is compared with every label; {right} count as right, of {count} samples.

    Cure: make the shapes equal:  (scores.squeeze(1) > 0) == y
    """
    outer = event.before.outer
    if outer is not None and event.before.kind in OPPOSITE and event.y.array.size == 1:
        right = int(event.inputs[0].array.sum())
        yield Found(outer[0], event.place, count=outer[1], right=right)


@check("accuracy-range", "warning", "op.div")
def accuracy_range(seen: History, event: Event) -> Any:
    """A share of right answers is {rate:.3g}, more than {most}.

    Why: {right:g} right answers are divided by {by:.4g}: by the number of batches, perhaps, instead
    of samples.

    Cure: right / len(y)
    """
    facts = seen.of(event.y)
    if facts.kind != "rate" or event.y.array.size != 1:
        return
    most, rate = 100 if facts.percent else 1, float(event.y.array)
    if rate > most * 1.001:
        right = float(event.inputs[0].array)
        yield Found(event.place, facts.place, rate=rate, most=most, right=right, by=right / rate)


@check("view-mixes-axes", "warning", "op.view op.reshape_copy")
def view_mixes_axes(seen: History, event: Event) -> Any:
    """{name} turns {before} into {after}: dimension {size} changes its place.

    Why: view and reshape keep the order of the elements in memory: they cut rows anew, and do not
    move dimensions. Elements of different samples end up side by side.

    Cure: x.transpose(1, 2)  # or permute(...), before the view
    """
    before, after = event.inputs[0].array.shape, event.y.array.shape
    size = None if event.inside or event.ours else _moved(before, after)
    if size is not None:
        name = event.name.removesuffix("_copy")
        yield Found(event.place, name=name, before=list(before), after=list(after), size=size)


def _moved(before: Any, after: Any) -> int | None:
    """A dimension that a view puts across others, with the rest split or joined as it should be."""
    old, new = [n for n in before if n != 1], [n for n in after if n != 1]
    if old == new or len(old) < 2 or not math.prod(old):
        return None
    for size in old:
        if old.count(size) != 1 or new.count(size) != 1:
            continue
        i, j = old.index(size), new.index(size)
        left, right = math.prod(old[:i]), math.prod(new[:j])
        if left != right and _regroups(old[:i] + old[i + 1 :], new[:j] + new[j + 1 :]):
            return int(size)
    return None


def _regroups(old: list[int], new: list[int]) -> bool:
    """Whether one list of sizes comes of the other by joining, or splitting, neighbours."""
    cuts, others = [set(itertools.accumulate(sizes, operator.mul)) for sizes in (old, new)]
    return bool(old) and (cuts <= others or others <= cuts)
