"""Random programs beside torch: python tests/fuzz_programs.py --minutes 10 --seed 3.

A program is a few lines of text over a library `T`: leaves, operations of the table (op_table),
views, writes in place, hooks, touches, backward passes.  It is written while torch runs it, so
that shapes mostly fit; then both libraries run it, and everything that can be seen at the end is
compared: values, shapes, dtypes, strides, gradients, second derivatives, what was refused.  Of a
program that differs the lines are dropped that do not matter, and what is left is printed, ready
to run.
"""

from __future__ import annotations

import argparse
import itertools
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
import torch
from fuzz_run import OPS, Run, Scaled
from fuzz_writer import CALLS, FLOATS, Writer
from test_memory_order import EXCEPTIONS

import tinygrad_edu

KNOWN = [
    (
        "refused",
        "torch: .*(is a view and its base|created in no_grad mode)",
        "torch refuses a view that is out of date where its history could be meant in two ways",
    ),
    ("refused", "here: fine, torch: .*modified by an inplace", "less is kept here"),
    ("refused", "torch: .*got None .or an undefined Tensor", "torch's second derivative fails"),
    (
        "refused",
        "here: fine, torch: .*(ScatterB|ScatterA).* invalid grad",
        "torch's derivative fails",
    ),
    ("refused", "not implemented|not supported|NotImplementedError", "one library lacks it"),
    ("refused", r"\.numpy\(\)", "NumPy sees bfloat16 here"),
    (
        "refused",
        "here: RuntimeError.*leaf.*torch: TypeError",
        "two mistakes, told in another order",
    ),
    ("refused", "as_strided: the elements do not lie", "its docstring says so"),
    ("refused", r"index_(add|copy)_\(.*narrow", "which overlaps are looked for"),
    ("refused", "index_put_.*\n.*here: .*more than one element", "would write a place twice"),
    ("refused", "here: fine, torch: .*more than one element", "more may be written here"),
    ("refused", r"cross_entropy(.|\n)*\(got 0\), torch: IndexError", "a number has no classes"),
    ("dtype", r"log\[\d+\]\.dtype: here nothing", "torch hands zeros on where no path leads here"),
    ("refused", "linalg|lowrank|LinAlgError", "what else is refused than what is wrong"),
    ("first values", "softsign", "torch gives NaN at infinity"),
    (
        "refused",
        "kept by (Native|Rms|Layer|Rnn)(.|\n)*create_graph",
        "computed again from all inputs",
    ),
    ("dtype", "cross_entropy_with_logits", "weights of another dtype count for the result here"),
    ("first values", r"cross_entropy\(", "the gradient of a target where the logarithm is cut off"),
    ("second values", "scale_grad_by_freq|atan2", "torch does not scale twice; bfloat16"),
    ("values", r"matrix_exp\(.*expand", "torch's is wrong for expanded matrices"),
    (
        "strides",
        r"T\.(var|std|any|all|addcdiv|addcmul)\(",
        "of steps that do not matter: C or NumPy's",
    ),
    (
        "refused",
        "here: fine, torch: .*(Expected self.dtype|can't be cast)",
        "more dtypes go together",
    ),
    ("values", r"unfold\(.*\n(.*\n)*.*_\(", "written twice in the same place"),
    ("refused", "kept by ScaledDotProduct", "torch's composition keeps other things"),
    ("is_leaf", "broadcast_tensors", "an expand to the same shape is a view here"),
    (
        "refused",
        "here: fine, torch: .*(INTERNAL ASSERT|view size is not comp)",
        "torch's own fault",
    ),
    (
        "refused",
        r"scatter_reduce am(.|\n)*here: fine, torch: .*must match the size",
        "torch has no gradient of a source larger than its index",
    ),
    (
        "refused",
        r"angle\((.|\n)*here: fine, torch: .*a second time",
        "a derivative of 0 keeps nothing here",
    ),
    ("first values", "scatter_reduce am", "torch counts the old value where it is left out"),
    ("requires_grad", r"(int|bool)(.|\n)*\] = ", "integers have no history here"),
    (
        "requires_grad",
        r"requires_grad_\(False\)",
        "torch asks the base of a view made under no_grad",
    ),
    ("strides", r"autograd.grad|\.grad\.", "a gradient may lie in memory otherwise"),
    ("", "topk|kthvalue|(_| )mode", "which of equal numbers is found"),
    ("values", "group_norm.*inf", "inf times 0 in torch's order of operations"),
    ("second values", "norm|triplet|cdist|pairwise", "NaN in torch where a norm is 0"),
    ("values", r"median\(.*expand", "torch 2.13 reads what it never wrote"),
    ("values", r"as_strided.*\n.*_\(", "written twice in the same place"),
    ("values", r"histogram\(", "bins that do not rise"),
    ("refused", r"histogram\(", "bins that do not rise"),
    ("refused", "(masked_fill|index_fill)_(.|\n)*here: .*more than one element", "left to chance"),
    ("requires_grad", r"requires_grad_\(\)", "torch asks the base of a view made before"),
    ("refused", "scatter_reduce(.|\n)*here: fine, torch:", "torch's derivative fails"),
    ("refused", "here: fine, torch: .*a second time", "less is kept here"),
    ("refused", "here: .*single memory location.*torch: fine", "torch reads what it has written"),
    ("dtype", "as_strided(.|\n)*no_grad", "torch hands zeros on where no path leads here"),
    ("refused", "fractional_max_pool", "samples that require grad"),
]
"""Differences that stay: what differs, a pattern of the program that shows it, and why."""

ROUNDING = {  # relative, and relative to the largest number of the tensor
    "float64": (1e-8, 1e-9), "float32": (2e-4, 2e-5), "float16": (2e-2, 5e-3),
    "bfloat16": (8e-2, 3e-2),
}  # fmt: skip


@dataclass
class Difference:
    """What a program showed.

    Attributes:
        kind: "values", "grad", "second", "strides", "refused", ...
        text: where, and what either library has there.
    """

    kind: str
    text: str


ORDER = ["dtype", "shape", "values", "requires_grad", "is_leaf", "strides", "length"]


def difference(lines: Sequence[str], T: Any, counts: Counter[str] | None = None) -> Any:
    """Run a program with the library and with torch: the `Difference` that matters most, or None.

    Args:
        counts: counted into it: what is not compared, because rounding decides or because one of
            the libraries says that it does not have the operation.
    """
    counts = Counter() if counts is None else counts
    mine, theirs = Run(T, lines), Run(torch, lines)
    for i, line in enumerate(lines):
        a, b = mine.raised[i], theirs.raised[i]
        if a == b:
            continue
        said = f"here: {a} {mine.said[i]}, torch: {b} {theirs.said[i]}".replace(":  ", ": fine")
        return Difference("refused", f"{line}\n  {said}")
    ours, reference = mine.seen(), theirs.seen()
    text = " ".join(lines).replace("int", "float32").replace("bool", "float32")
    coarsest = max((d for d in FLOATS if d in text), key=FLOATS.index, default="float32")
    twins: list[dict[str, Any]] = []
    for part in ORDER:
        for name in (n for n in reference if n.endswith(f".{part}") or "." not in n):
            a, b = ours.get(name, "nothing"), reference[name]
            own = str(reference.get(name.replace(".values", ".dtype"))).removeprefix("torch.")
            coarse = max(own if own in FLOATS else "float64", coarsest, key=FLOATS.index)
            if "cannot be seen" in str(b)[:20] or equal(a, b, coarse):
                continue
            if not_needed(ours, name) or not_needed(reference, name):
                continue  # None in one library, zeros in the other
            if part == "strides" and ours.get(name.replace(".strides", ".in order")):
                continue  # C order, where torch keeps that of an operand: every view is possible
            derived = name.startswith(("first", "second", "log")) or ".grad." in name
            if derived and part in ("requires_grad", "is_leaf", "strides"):
                continue  # a gradient that is linear may end the graph in one library only
            if part == "values" and isinstance(a, np.ndarray):
                twins = twins or [Run(Scaled(u), lines).seen() for u in (4, -3)]
                far = coarse.endswith("float16") and not np.isfinite(b).all()  # the range is small
                nan = name.startswith("second") and np.isnan(b).any()  # ours is seldom worse
                if far or nan or any(unsure(a, b, twin.get(name)) for twin in twins):
                    counts["not compared: rounding decides"] += 1
                    return None
            kind = next((k for k in ("second", "first", "grad.") if k in name), "")
            return Difference(f"{kind} {part}".strip(), f"{name}: here {a}, torch {b}")
    return None


def not_needed(seen: dict[str, Any], name: str) -> bool:
    """Whether a gradient is of zeros."""
    values = seen.get(f"{name.rpartition('.')[0] or name}.values")
    return name.startswith("first") and values is not None and not values.any()


def equal(a: Any, b: Any, dtype: str) -> bool:
    if not isinstance(b, np.ndarray):
        return bool(a == b)
    if not isinstance(a, np.ndarray) or a.shape != b.shape:
        return False
    if b.dtype.kind != "f":
        return bool((a == b).all())
    rtol, least = ROUNDING[dtype]
    scale = np.abs(b[np.isfinite(b)]).max(initial=1.0)
    with np.errstate(all="ignore"):
        return bool(np.allclose(a, b, rtol, least * scale, equal_nan=True))


def unsure(a: np.ndarray, b: np.ndarray, twin: Any) -> bool:
    """Whether torch's numbers move by as much as ours are away, when its inputs move a little."""
    if not isinstance(twin, np.ndarray) or twin.shape != b.shape:
        return True
    if b.dtype.kind != "f":
        return bool((twin != b).any())
    if not np.array_equal(np.isfinite(twin), np.isfinite(b)):
        return True
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return False
    away, moves = (np.abs(np.nan_to_num(c) - np.nan_to_num(b)).max() for c in (a, twin))
    return bool(away <= 30 * moves)


# ---- making it small, and saying it


def minimised(lines: Sequence[str], differs: Callable[[list[str]], bool]) -> list[str]:
    """The lines without those, and without those words, that the difference does not need."""
    kept = list(lines)
    changed = True
    while changed:
        changed = False
        for i in reversed(range(len(kept))):
            for fewer in smaller(kept, i):
                if differs(fewer):
                    kept, changed = fewer, True
                    break
    return kept


WORDS = (", requires_grad=True", "with T.no_grad(): ", "with T.inference_mode(): ", ", True",
         "with T.enable_grad(): ", ", create_graph=True", ", retain_graph=True")  # fmt: skip


def smaller(lines: list[str], i: int) -> list[list[str]]:
    """The program with line i left out, or made simpler."""
    found = [lines[:i] + lines[i + 1 :]]
    for word in WORDS:
        if word in lines[i]:
            found.append([*lines[:i], lines[i].replace(word, ""), *lines[i + 1 :]])
    for part in re.findall(r"\(w\(x\d+\) \* x\d+\)\.sum\(\) \+ | \+ \(w\(x\d+\) \* x\d+\)\.sum\(\)",
                           lines[i]):  # fmt: skip
        found.append([*lines[:i], lines[i].replace(part, ""), *lines[i + 1 :]])
    return found


def runnable(lines: Sequence[str], what: Difference) -> str:
    """The program for both libraries, as a script."""
    body = "\n".join(f"    {line}" for line in lines)
    shown = re.match(r"(\w+)", what.text)
    show = shown[1] if shown and what.kind != "refused" else "log"
    show += ".grad" if "grad." in what.kind else ""
    show += ".stride()" if what.kind == "strides" else ""
    table = "from fuzz_programs import OPS\n" if "OPS[" in body else ""
    return (
        "from math import inf, nan\nimport tinygrad_edu, torch\n" + table +
        "def w(y): return (T.arange(y.numel()) % 7 - 2.5).reshape(y.shape)\n"
        "for T in (torch, tinygrad_edu):\n    log = []\n    T.manual_seed(0)\n"
        f"{body}\n    print({show})\n"
    )  # fmt: skip


def known(what: Difference, lines: Sequence[str]) -> str:
    """Why a difference stays; "" if it does not."""
    text = "\n".join([*lines, what.text])
    for kind, pattern, why in KNOWN:
        if what.kind.endswith(kind) and re.search(pattern, text):
            return why
    if what.kind == "strides":
        used = [op.name for name, op in OPS.items() if re.search(rf"\b{re.escape(name)}\b", text)]
        for pattern, why in EXCEPTIONS.items():
            if any(re.fullmatch(pattern, name) for name in used):
                return why
    return ""


def fuzz(
    seed: int = 0,
    programs: int | None = None,
    minutes: float = inf,
    only: str = "",
    T: Any = tinygrad_edu,
    say: Callable[[str], Any] = print,
) -> tuple[Counter[str], list[tuple[Difference, list[str]]]]:
    """Run random programs until their number or the time is reached.

    Args:
        seed: of the first program's random numbers: program k of seed s is program 0 of s + k.
        only: a pattern of the names of the operations to use; all of them if "".
        T: the library beside torch.

    Returns:
        counts by class, and the differences with their programs, each once.
    """
    calls = [c for c in CALLS if re.search(only, c[0])]
    counts: Counter[str] = Counter()
    found: list[tuple[Difference, list[str]]] = []
    marks: set[str] = set()
    end = time.monotonic() + 60 * minutes
    for k in itertools.count():
        if k == programs or time.monotonic() > end:
            break
        lines = Writer(random.Random(seed + k), calls).program()
        counts["programs"] += 1
        what = difference(lines, T, counts)
        if what is None:
            continue
        kind = what.kind
        lines = minimised(lines, lambda p, kind=kind: getattr(difference(p, T), "kind", "") == kind)
        what = difference(lines, T)
        if what is None:
            counts["not compared: differs only sometimes"] += 1
            continue
        if why := known(what, lines):
            counts[f"known: {why}"] += 1
            continue
        counts[f"differs: {kind}"] += 1
        mark = kind + re.sub(r"tensor\([^=]*|\bx\d+\b|-?\d+(\.\d+)?", "", "\n".join(lines))
        if mark not in marks:
            marks.add(mark)
            found.append((what, lines))
            say(f"# ---- seed {seed + k}: {kind}: {what.text}\n{runnable(lines, what)}")
    return counts, found


def main(run: Callable[..., Any], text: str) -> int:
    """A fuzzer as a program, described by `text`; the exit code is 1 if something differs."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the first program")
    parser.add_argument("--minutes", type=float, default=inf)
    parser.add_argument("--programs", type=int, help="how many at most")
    parser.add_argument("--only", default="", help="a pattern of the names to choose from")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    total, different = run(chosen.seed, chosen.programs, chosen.minutes, chosen.only)
    for what, count in sorted(total.items()):
        print(f"{count:8} {what}")
    return bool(different)


if __name__ == "__main__":
    raise SystemExit(main(fuzz, __doc__ or ""))
