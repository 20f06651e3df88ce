"""How facts about tensors go on from operation to operation."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_edu.diagnosis.history import Facts, History, Pass
from tinygrad_edu.engine.graph import Leaf, TensorBase
from tinygrad_edu.engine.places import Place, here

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


MADE = {op: op for op in "softmax log_softmax sigmoid log relu tanh eq ne clamp gt exp".split()}
MADE |= {"logsigmoid": "log_sigmoid", "masked_fill": "masked"}
"""Operations whose results are worth a name."""

SAME = frozenset(
    """view reshape_copy permute transpose squeeze unsqueeze slice expand clone to_copy copied
    split cat stack take unbind narrow pick""".split()
)
"""Operations whose results are of the same kind as their input: they move elements."""

OPPOSITE = {"eq": "ne", "ne": "eq", "padding": "words", "words": "padding"}
"""What `~` makes of the results of comparisons; with a number they tell words from padding."""
COUNTED = ("eq", "padding")

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
    known = [(a, seen.of(a)) for a in inputs]
    counted = seen.counts.get(id(inputs[0]._storage)) if name in ("mul", "div") else None
    if counted is not None and (known[0][1] is None or known[0][1].kind in (None, "new")):
        known[0] = inputs[0], counted[1]
    made = _made(name, args, inputs, known, t)
    lost, cut = 0, None
    for a, facts in known:
        if facts is not None and facts.lost and (a.node is None or a.node.is_leaf):
            lost, cut = lost | facts.lost, cut or facts.cut
        elif a.node is not None and t.node is None:
            lost, cut = lost | seen.reach(a.node), cut or (here(), _how(name, t))
    if t.node is not None and lost and cut is not None:
        entry = seen.entered.setdefault(cut[0], [0, cut[1]])
        entry[0] |= lost
        lost = 0
    step = _gradient(seen, known)
    passes = [f.judged for _, f in known if f is not None and f.judged is not None]
    passed = passes[0] if passes else None
    for one in passes:
        if t.node is not None and not one.recorded:
            one.used = True
        elif name in JUDGES or (name in ANSWERS and is_supervised(seen, one)):
            one.judged = True
        if name == "pick":
            indices = getattr(args[1], "array", args[1])  # which nobody tells us of
            seen.picked[indices.ctypes.data] = one
    if not (made or lost or step or passed):
        return False
    for part in y if y.__class__ is tuple else (t,):
        facts = Facts()
        vars(facts).update({} if made is None else vars(made))
        facts.lost, facts.cut, facts.gradient_of, facts.judged = lost, cut, step, passed
        facts.place = place or here() if facts.place.line == 0 else facts.place
        seen.about(part)
        seen.facts[id(part)] = seen.facts[id(part)][0], facts
    if made is not None and made.kind == "count" and name == "add":
        seen.counts = {id(inputs[0]._storage): (inputs[0], made)}  # if the sum is written there
    return True


def _how(name: str, t: Tensor) -> str:
    return f"{name}()" if t.array.dtype.kind != "f" else "no_grad()"


def _made(name: str, args: Any, inputs: list[Any], known: Any, t: Any) -> Facts | None:
    """What the operation makes of the kinds of its inputs; None if that is nothing."""
    first = known[0][1] if known else None
    facts = Facts()
    if name in ("linear", "embedding"):
        facts.features = t.array.ndim - 1
    elif name == "matmul" and inputs[-1].node is not None and inputs[-1].node.is_leaf:
        facts.features = t.array.ndim - 1
    elif name == "convolve":
        facts.features = 1 if t.array.ndim > 2 else None
    elif name in MADE:
        facts.kind = _kind(name, args, first)
        if name.endswith("softmax"):
            facts.axis = int(args[1]) % max(t.array.ndim, 1)
        elif facts.kind in ("softmax", "log_softmax", "sigmoid"):
            facts.axis = first.axis if first is not None else None
    elif first is not None or (len(known) > 1 and known[1][1] is not None):
        _carry(name, args, inputs, known, t, facts)
    if first is not None and name in KEEPS_FEATURES and first.features is not None:
        facts.features = first.features if inputs[0].array.shape == t.array.shape else None
    if len(inputs) == 2 and facts.outer is None:
        facts.outer = _outer(name, inputs, t)
    nothing = facts.kind is None and facts.features is None and facts.outer is None
    return None if nothing else facts


def _kind(name: str, args: Any, before: Facts | None) -> str:
    """The kind of the result of an operation that has a name of its own."""
    kind = None if before is None else before.kind
    if name == "log":
        return {"softmax": "log_softmax", "sigmoid": "log_sigmoid"}.get(kind or "", "log")
    if name == "exp":
        return {"log_softmax": "softmax", "log_sigmoid": "sigmoid"}.get(kind or "", "exp")
    by_number = not isinstance(args[-1], TensorBase)
    if name == "gt" and by_number and args[0].array.dtype.kind in "iu":
        return "words"  # ids > 0
    if name == "clamp" and kind in ("softmax", "sigmoid", "log_softmax"):
        return kind
    if name in ("eq", "ne") and by_number:
        if kind not in OPPOSITE:
            return "padding" if name == "eq" else "words"
        return OPPOSITE[kind] if (name == "eq") == (args[1] in (0, False)) else str(kind)
    return MADE[name]


def _carry(name: str, args: Any, inputs: Any, known: Any, t: Tensor, facts: Facts) -> None:
    """What goes on through operations that move, or slightly change, the elements."""
    first = known[0][1] or known[1][1]
    source = inputs[0] if known[0][1] is not None else inputs[1]
    facts.outer = first.outer if name in ELEMENTWISE or name in SAME else None
    if name in SAME:
        facts.kind, facts.place, facts.percent = first.kind, first.place, first.percent
        for which in ("axis", "features"):
            setattr(facts, which, _moved(name, args, source, t, getattr(first, which)))
    elif name in ("bitwise_not", "logical_not") or (name == "rsub" and args[1] == 1):
        facts.kind = OPPOSITE.get(first.kind or "")
    elif name == "reciprocal" and first.kind == "1 + exp":
        facts.kind, facts.place = "sigmoid", first.place
    elif name in ("add", "sub", "mul") and len(inputs) == 1:
        other = next((a for a in args if isinstance(a, (int, float))), None)
        if other is not None and (abs(other) < 1e-3 or (name == "mul" and other == 1)):  # as it is
            facts.kind, facts.place, facts.axis = first.kind, first.place, first.axis
        if name == "add" and other == 1 and first.kind == "exp":
            facts.kind, facts.place = "1 + exp", first.place
        counted = first.kind in ("count", *COUNTED)
        if name == "mul" and counted and other is not None and other >= 10:
            facts.kind, facts.place, facts.percent = first.kind, first.place, True
    elif name == "add" and "count" in [f.kind for _, f in known if f is not None]:
        facts.kind, facts.place = "count", first.place
    elif name == "sum" and first.kind in COUNTED:
        facts.kind, facts.place, facts.outer = "count", first.place, None
    elif name == "div" and first.kind == "count":
        facts.kind, facts.place, facts.percent = "rate", first.place, first.percent


def _moved(name: str, args: Any, source: Any, t: Any, axis: int | None) -> int | None:
    """Where a dimension is after an operation that moves dimensions."""
    if axis is None:
        return None
    before, after = source.array.shape, t.array.shape
    if name == "permute":
        order = [d % len(before) for d in args[1]]
        return int(order.index(axis))
    if name == "transpose":
        a, b = args[1] % len(before), args[2] % len(before)
        return int({a: b, b: a}.get(axis, axis))
    if before == after:
        return axis
    if axis == len(before) - 1 and after and after[-1] == before[-1]:
        return len(after) - 1
    return None


def _outer(name: str, inputs: list[Any], t: Tensor) -> tuple[Place, int] | None:
    """(N, 1) with (N,), where one side is the model's and the other is not."""
    if name not in ("sub", "eq", "ne", "mul"):
        return None
    a, b = inputs
    x, z = a.array, b.array
    low, high = (x, z) if x.ndim < z.ndim else (z, x)
    if low.ndim != 1 or high.ndim != 2 or low.shape[0] < 2 or a._storage is b._storage:
        return None
    return (here(), low.shape[0]) if high.shape == (low.shape[0], 1) else None


def _gradient(seen: History, known: list[tuple[Any, Facts | None]]) -> Leaf | None:
    """The leaf whose `.grad` this is computed from."""
    for a, facts in known:
        if facts is not None and facts.gradient_of is not None:
            return facts.gradient_of
        leaf = _leaf_of(seen, a)
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


def judge(facts: Facts | None) -> None:
    """A metric was computed from this."""
    if facts is not None and facts.judged is not None:
        facts.judged.judged = True


def is_supervised(seen: History, passed: Pass) -> bool:
    """Whether a loss has been computed from results of this model itself."""
    return passed.module() in seen.supervised


def inherit(seen: History, before: Facts | None, y: Any) -> None:
    """`y` has the values of another tensor, and the facts about it."""
    if before is not None and y is not None:
        vars(seen.about(y)).update(vars(before))


def cut(seen: History, source: Any, y: Tensor, how: str) -> None:
    """`y` has the values of `source`, without its history."""
    before = seen.of(source)
    inherit(seen, before, y)
    leaf = _leaf_of(seen, source)
    if leaf is not None:
        seen.about(y).gradient_of = leaf
    if source.node is None:
        return
    facts = seen.about(y)
    facts.lost |= seen.reach(source.node)
    facts.cut = (here(), how)
    if before is None and source.node.is_leaf and how in (".data", "detach()"):
        seen.facts.pop(id(y), None)  # a parameter's own values: to copy, or to write into


def give_out(seen: History, array: object, facts: Facts) -> None:
    """An array of NumPy's now holds these values."""
    key = id(array)
    ref = weakref.ref(array, lambda _: seen.arrays.pop(key, None))
    seen.arrays[key] = ref, facts


def take_back(seen: History, array: object, y: Tensor) -> None:
    """An array of NumPy's is a tensor again."""
    found = seen.arrays.get(id(array))
    if found is not None and found[0]() is array:
        inherit(seen, found[1], y)


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
