"""How facts about tensors go on from operation to operation."""

from typing import Any

import numpy as np

from tinygrad_edu.diagnosis.history import NOTHING, Facts, History
from tinygrad_edu.engine.graph import Leaf
from tinygrad_edu.engine.places import UNKNOWN, Place, here

OPPOSITE = {"eq": "ne", "ne": "eq", "padding": "words", "words": "padding"}
"""What `~` makes of the results of comparisons; with a number they tell words from padding."""
COUNTED = ("eq", "padding")
PROBABILITIES = ("softmax", "log_softmax", "sigmoid")

MADE = {op: op for op in "softmax log_softmax sigmoid log relu tanh eq ne clamp gt exp".split()}
MADE |= {"logsigmoid": "log_sigmoid", "masked_fill": "masked"}
"""Operations whose results are worth a name, and that name."""
BECOMES = {
    ("log", "softmax"): "log_softmax", ("log", "sigmoid"): "log_sigmoid",
    ("exp", "log_softmax"): "softmax", ("exp", "log_sigmoid"): "sigmoid",
    ("add 1", "exp"): "1 + exp", ("reciprocal", "1 + exp"): "sigmoid",
    ("add", "count"): "count", ("div", "count"): "rate", ("times 100", "count"): "count",
    **{("sum", kind): "count" for kind in COUNTED},
    **{("times 100", kind): kind for kind in COUNTED},
    **{("clamp", kind): kind for kind in PROBABILITIES},
    **{("is", kind): kind for kind in OPPOSITE}, ("scaled", "loss mean"): "loss mean",
    **{(no, k): OPPOSITE[k] for no in ("not", "bitwise_not", "logical_not") for k in OPPOSITE},
}  # fmt: skip
"""What an operation (see `_called`) makes of a result that has a name already."""

SAME = frozenset(
    """view reshape_copy permute transpose squeeze unsqueeze slice expand clone to_copy copied
    split cat stack take unbind narrow pick""".split()
)
"""Operations whose results are of the same kind as their input: they move elements."""

ELEMENTWISE = frozenset("add sub mul div pow abs neg sqrt square exp".split())
KEEPS_FEATURES = ELEMENTWISE | {"softmax", "log_softmax", "to_copy", "clone", "relu", "copied"}
JUDGES = frozenset("eq ne gt lt ge le round".split())
"""Operations that turn results into decisions: what a metric does."""
ANSWERS = frozenset(("softmax", "sigmoid", "pick"))
"""The same of a model that a loss has been computed from: elsewhere they may be samples."""
RISKY = frozenset(
    """log log2 log10 log1p sqrt rsqrt div pow exp reciprocal vector_norm softmax log_softmax
    asin acos mul sub atan2 acosh""".split()
)
"""Operations that make NaN or infinity of finite numbers, or gradients that are."""
WATCHED = RISKY | frozenset(
    """view reshape_copy relu linear matmul masked_fill sigmoid embedding eq mean sum convolve
    add gt clamp gather take""".split()
)
"""Operations that some check looks at."""


def follow(
    seen: History, name: str, args: Any, inputs: list[Any], y: Any, t: Any, place: Place | None
) -> bool:
    """Note of a result what follows from its inputs; whether there is anything to note."""
    known = [seen.of(a) for a in inputs]
    if name in ("mul", "div") and known and known[0].kind in (None, "new"):
        known[0] = seen.counts.get(id(inputs[0]._storage), (None, known[0]))[1]
    facts = _made(name, args, inputs, known, t)
    if facts.kind == "count" and name == "add":
        seen.counts = {id(inputs[0]._storage): (inputs[0], facts)}  # if the sum is written there
    _lose(seen, name, inputs, known, t, facts)
    passes = [f.judged for f in known if f.judged is not None]
    for one in passes:
        if t.node is not None and not one.recorded:
            one.used = True
        elif name in JUDGES or (name in ANSWERS and one.module() in seen.supervised):
            one.judged = True
        if name == "pick":
            indices = getattr(args[1], "array", args[1])  # which nobody tells us of
            seen.picked[indices.ctypes.data] = one
    facts.learn(gradient_of=_gradient(seen, inputs, known), judged=passes[0] if passes else None)
    if not vars(facts):
        return False
    if facts.place is UNKNOWN:
        facts.place = place or here()
    for part in y if y.__class__ is tuple else (t,):
        vars(seen.about(part)).clear()
        seen.about(part).learn(**vars(facts))
    return True


def _lose(
    seen: History, name: str, inputs: list[Any], known: list[Facts], t: Any, facts: Facts
) -> None:
    """Note the leaves that a result depends on, and that no gradient comes to from it."""
    lost, cut = 0, None
    for a, before in zip(inputs, known, strict=True):
        if before.lost and (a.node is None or a.node.is_leaf):
            lost, cut = lost | before.lost, cut or before.cut
        elif a.node is not None and t.node is None:
            how = f"{name}()" if t.array.dtype.kind != "f" else "no_grad()"
            lost, cut = lost | seen.reach(a.node), cut or (here(), how)
    if lost and t.node is None:
        facts.learn(lost=lost, cut=cut)
    elif lost and cut is not None:
        seen.entered.setdefault(cut[0], [0, cut[1]])[0] |= lost


def _called(name: str, args: Any, inputs: list[Any], t: Any) -> tuple[str, str | None]:
    """The name by which the table knows a call, and the kind of its result if that says nothing."""
    number = next((a for a in args if isinstance(a, (int, float))), None)
    if name == "mean" and t.array.size == 1 and t.node is not None:
        return name, "loss mean"
    if name == "mul" and t.array.size == 1 and len(inputs) == 2:
        return "scaled" if inputs[1].node is None and inputs[1].array >= 1 else name, None
    if number is None or len(inputs) != 1:
        return name, MADE.get(name)
    if name in ("eq", "ne"):
        negates = (name == "eq") == (number == 0)
        return "not" if negates else "is", "padding" if name == "eq" else "words"
    if name == "gt" and inputs[0].array.dtype.kind in "iu":
        return name, "words"  # ids > 0
    if name in ("add", "sub", "mul") and (abs(number) < 1e-3 or (name, number) == ("mul", 1)):
        return "nothing", None
    names: Any = {("rsub", 1): "not", ("add", 1): "add 1"}
    called = "times 100" if name == "mul" and number >= 10 else names.get((name, number), name)
    return called, MADE.get(name)


def _made(name: str, args: Any, inputs: list[Any], known: list[Facts], t: Any) -> Facts:
    """What the operation makes of the kinds of its inputs."""
    facts, ndim = Facts(), t.array.ndim
    first, source = (known[0], inputs[0]) if known else (NOTHING, None)
    if len(known) > 1 and (not vars(first) or (name == "add" and known[1].kind == "count")):
        first, source = known[1], inputs[1]
    if name in ("linear", "embedding"):
        return Facts(features=ndim - 1)
    if name == "convolve":
        return Facts(features=1) if ndim > 2 else facts
    if name == "matmul" and inputs[-1].node is not None and inputs[-1].node.is_leaf:
        return Facts(features=ndim - 1)
    called, kind = _called(name, args, inputs, t)
    if vars(first) or kind is not None:
        same = name in SAME or called == "nothing"
        kind = first.kind if same else BECOMES.get((called, first.kind or ""), kind)
        facts.learn(kind=kind)
    if facts.kind is not None:
        facts.learn(percent=first.percent or called == "times 100" or None)
        facts.learn(place=None if name in MADE else first.place)
    if name in ("softmax", "log_softmax"):
        facts.axis = int(args[1]) % max(ndim, 1)
    elif name in SAME:
        facts.learn(axis=_moved(name, args, source, t, first.axis))
        facts.learn(features=_moved(name, args, source, t, first.features))
    elif facts.kind in PROBABILITIES:
        facts.learn(axis=first.axis)
    if name in KEEPS_FEATURES and known and inputs[0].array.shape == t.array.shape:
        facts.learn(features=known[0].features)
    if name in ELEMENTWISE or name in SAME:
        facts.learn(outer=first.outer)
    if len(inputs) == 2 and facts.outer is None:
        facts.learn(outer=_outer(name, inputs, t))
    return facts


def _moved(name: str, args: Any, source: Any, t: Any, axis: int | None) -> int | None:
    """Where a dimension is after an operation that moves dimensions."""
    if axis is None:
        return None
    before, after = source.array.shape, t.array.shape
    order = list(range(len(before)))
    if name == "permute":
        order = [d % len(before) for d in args[1]]
    elif name == "transpose":
        a, b = args[1], args[2]
        order[a], order[b] = order[b], order[a]
    elif axis == len(before) - 1 and after and after[-1] == before[-1]:
        return len(after) - 1
    elif before != after:
        return None
    return order.index(axis)


def _outer(name: str, inputs: list[Any], t: Any) -> tuple[Place, int] | None:
    """(N, 1) with (N,), where one side is the model's and the other is not."""
    if name not in ("sub", "eq", "ne", "mul"):
        return None
    (row, column), (a, b) = sorted([t.array.shape for t in inputs], key=len), inputs
    meet = len(row) == 1 and column == (*row, 1) and row[0] > 1 and a._storage is not b._storage
    return (here(), row[0]) if meet else None


def _gradient(seen: History, inputs: list[Any], known: list[Facts]) -> Leaf | None:
    """The leaf whose `.grad` this is computed from."""
    for a, facts in zip(inputs, known, strict=True):
        leaf = facts.gradient_of or _leaf_of(seen, a)
        if leaf is not None:
            return leaf
    return None


def _leaf_of(seen: History, t: Any) -> Leaf | None:
    """The leaf whose `.grad` a tensor is: it is computed with."""
    leaf = seen.gradients.get(id(t), lambda: None)()
    owner = None if leaf is None else leaf.tensor()
    if leaf is None or owner is None or owner._grad is not t:
        return None
    seen.leaf(leaf).touched = True
    return leaf


def inherit(seen: History, before: Facts, y: Any) -> None:
    """`y` has the values of another tensor, and the facts about it."""
    if vars(before) and y is not None:
        seen.about(y).learn(**vars(before))


def cut(seen: History, source: Any, y: Any, how: str) -> None:
    """`y` has the values of `source`, without its history."""
    before = seen.of(source)
    inherit(seen, before, y)
    leaf = _leaf_of(seen, source)
    if leaf is not None:
        seen.about(y).gradient_of = leaf
    own = not vars(before) and source.node is not None and source.node.is_leaf
    if own and how in (".data", "detach()"):
        return  # a parameter's own values: to copy, or to write into
    if source.node is not None:
        facts = seen.about(y)
        facts.learn(lost=facts.lost | seen.reach(source.node), cut=(here(), how))


def norm_of(arrays: list[Any]) -> float:
    """The norm of several arrays as of one vector."""
    return float(np.sqrt(sum([(a.astype(np.float64) ** 2).sum() for a in arrays])))


def rms(array: Any) -> float:
    """The size of an array's numbers: the root of their mean square."""
    return norm_of([array]) / float(np.sqrt(array.size))


def span(array: Any) -> dict[str, Any]:
    """The lowest and the highest number of an array, as evidence."""
    return {"low": float(array.min()), "high": float(array.max())}


def finite(array: Any) -> bool:
    """Whether all numbers of an array are finite; integers are."""
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())
