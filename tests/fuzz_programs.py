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
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf, nan
from typing import Any

import numpy as np
import torch
from op_table import Call, Dtype, Input, Op, all_rows
from test_memory_order import EXCEPTIONS

import tinygrad_edu

OPS = {f"{op.name} {i}" if op.run else op.name: op for i, op in enumerate(all_rows())}
"""The rows of the table by name; the number tells apart rows of one name that say how they run."""

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
    ("refused", "linalg|lowrank|LinAlgError", "what else is refused than what is wrong"),
    ("first values", "softsign", "torch gives NaN at infinity"),
    ("requires_grad", "heaviside", "torch's has no derivative but says so later"),
    ("second values", "scale_grad_by_freq|atan2", "torch does not scale twice; bfloat16"),
    ("values", r"matrix_exp\(.*expand", "torch's is wrong for expanded matrices"),
    ("is_leaf", "broadcast_tensors", "an expand to the same shape is a view here"),
    (
        "refused",
        "here: fine, torch: .*(INTERNAL ASSERT|view size is not comp)",
        "torch's own fault",
    ),
    ("first values", "scatter_reduce am", "torch counts the old value where it is left out"),
    ("requires_grad", r"(int|bool)(.|\n)*\] = ", "integers have no history here"),
    ("requires_grad", "histogram", "torch's has no derivative but says so later"),
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
]
"""Differences that stay: what differs, a pattern of the program that shows it, and why."""

FLOATS = ("float64", "float32", "float16", "bfloat16")
DTYPES = (*FLOATS, "int64", "int32", "uint8", "bool")
ROUNDING = {  # relative, and relative to the largest number of the tensor
    "float64": (1e-8, 1e-9), "float32": (2e-4, 2e-5), "float16": (2e-2, 5e-3),
    "bfloat16": (8e-2, 3e-2),
}  # fmt: skip


# ---- running a program


class Scaled:
    """torch, but every float written in the program is larger by a few units in the last place.

    What this changes much, rounding decides: there the libraries may differ.  Ties stay ties.
    """

    def __init__(self, units: float) -> None:
        self.units = units

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def tensor(self, values: Any, **options: Any) -> Any:
        array, dtype = np.array(values), options.get("dtype", torch.float32)
        if dtype.is_floating_point:
            array = array * (1 + self.units * torch.finfo(dtype).eps)
        return torch.tensor(array, **options)


class Run:
    """A library's run of a program, one line after another.

    Attributes:
        names: the variables.
        raised: the type of the exception of every line, or "".
        said: what the exceptions said.
    """

    def __init__(self, T: Any, lines: Sequence[str] = ()) -> None:
        def w(y: Any) -> Any:
            """Numbers to weight the elements of y by, so that no two count alike."""
            return (T.arange(y.numel()) % 7 - 2.5).reshape(y.shape)

        self.names = {"T": T, "OPS": OPS, "w": w, "log": [], "inf": inf, "nan": nan}
        self.hidden = {*self.names, "__builtins__", "total", "again"} - {"log"}
        self.raised: list[str] = []
        self.said: list[str] = []
        T.manual_seed(0)
        for line in lines:
            self.add(line)

    def add(self, line: str) -> bool:
        """Run one more line; False where it raises."""
        self.raised.append("")
        self.said.append("")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                exec(compile_line(line), self.names)
        except Exception as error:
            self.raised[-1], self.said[-1] = type(error).__name__, str(error)
        return not self.raised[-1]

    def seen(self) -> dict[str, Any]:
        """All that can be seen at the end.  Looking changes what it looks at, so look once."""
        found: dict[str, Any] = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name, value in self.names.items():
                if name not in self.hidden:
                    try:
                        look(name, value, found)
                    except Exception as error:
                        found[name] = f"cannot be seen: {type(error).__name__}"
        return found


_code: dict[str, Any] = {}


def compile_line(line: str) -> Any:
    if line not in _code:
        if len(_code) > 1000:
            _code.clear()
        _code[line] = compile(line, "<program>", "exec")
    return _code[line]


def look(name: str, value: Any, found: dict[str, Any]) -> None:
    """Write down a value, part by part, under names such as "x3.strides"."""
    if isinstance(value, (list, tuple)) and not isinstance(value, torch.Size):
        for i, part in enumerate(value):
            look(f"{name}[{i}]", part, found)
        found[f"{name}.length"] = len(value)
    elif isinstance(value, (torch.Tensor, tinygrad_edu.Tensor)):
        sizes = tuple(value.shape)
        steps = zip(value.stride(), sizes, strict=True)
        found[f"{name}.dtype"] = str(value.dtype)
        found[f"{name}.shape"] = sizes
        found[f"{name}.strides"] = 0 not in sizes and tuple(s for s, size in steps if size > 1)
        found[f"{name}.in order"] = value.is_contiguous()
        found[f"{name}.requires_grad"] = value.requires_grad
        found[f"{name}.is_leaf"] = value.is_leaf
        plain = value.detach()
        plain = plain.float() if value.dtype in (torch.bfloat16, tinygrad_edu.bfloat16) else plain
        found[f"{name}.values"] = np.array(plain.numpy(force=True))
        if value.requires_grad:
            look(f"{name}.grad", value.grad, found)
    elif value is None or isinstance(value, (bool, int, float, str)):
        found[name] = value


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
            derived = name.startswith(("first", "second", "log"))
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


# ---- writing a program

VIEWS = """
{x}[{index}] | {x}[{index}] | {x}[{index}] | {x}.t() | {x}.mT | {x}.transpose({d}, {e}) |
{x}.permute({turn}) | {x}.select({d}, {i}) | {x}.narrow({d}, {i}, 1) | {x}.unsqueeze({d}) |
{x}.squeeze() | {x}.squeeze({d}) | {x}.expand({grown}) | {x}.expand_as({x}) | {x}.view({sizes}) |
{x}.reshape({sizes}) | {x}.flatten() | {x}.diagonal() | {x}.unbind({d})[{i}] |
{x}.split(1, {d})[{i}] | {x}.chunk(2, {d})[-1] | {x}.tensor_split(2, {d})[0] |
{x}.unfold({d}, 1, 1) | {x}.view_as({x}) | {x}.movedim({d}, {e}) | T.broadcast_to({x}, {grown}) |
{x}.as_strided({x}.shape, {x}.stride()) | {x}.detach() | {x}.detach() | {x}.data |
{x}.contiguous() | {x}.clone() | {x}.to({x}.dtype) | {x}.flatten({d}) | T.atleast_2d({x})"""
WRITES = """
{x}[{index}] = {v} | {x}[{index}] = {v} | {x}[{index}] = {v} | {x}[{x} > 0.3] = {c} |
{x}.add_({v}) | {x}.sub_({v}, alpha=2) | {x}.mul_({v}) | {x}.div_({v}) | {x} += {v} | {x} *= {v} |
{x} -= {v} | {x} /= {v} | {x}.copy_({v}) | {x}.fill_({c}) | {x}.zero_() | {x}.neg_() |
{x}.exp_() | {x}.sigmoid_() | {x}.tanh_() | {x}.relu_() | {x}.sqrt_() | {x}.abs_() |
{x}.clamp_(-0.5, {c}) | {x}.pow_(2) | {x}.masked_fill_({x} > 0, {c}) | {x}.addcmul_({v}, {v}) |
{x}.lerp_({v}, 0.3) | {x}.index_fill_({d}, T.tensor([0]), {c}) | {x}.t_() | {x}.squeeze_() |
{x}.index_add_({d}, T.tensor([{i}]), {x}.narrow({d}, 0, 1)) | {x}.unsqueeze_({d}) |
{x}.transpose_({d}, {e}) | {x}.detach_() | {x}.clamp_min_({c}) | {x}.data.add_({c}) |
{x}.index_put_((T.tensor([0, 0]),), T.tensor({c}, dtype={x}.dtype), accumulate=True) |
T.add({x}, {v}, out={x}) | {x}.index_copy_({d}, T.tensor([{i}]), {x}.narrow({d}, 0, 1) * 2)"""
HOOKS = """
{x}.retain_grad() | {x}.retain_grad() | {x}.register_hook(lambda g: g * 2) |
{x}.register_hook(lambda g: log.append(g.detach().clone())) | {x}.requires_grad_() |
{leaf}.register_post_accumulate_grad_hook(lambda p: log.append(p.grad.detach().clone())) |
{x}.register_hook(lambda g: None) | {x}.requires_grad_(False)"""
TOUCHES = """
repr({x}) | {x}.grad_fn | log.append({x}.requires_grad) | {x}.sum().item() | {x} * 1 | {x}[...] |
{x}.is_leaf | str({x}.grad) | bool({x}.any()) | {x}.tolist() | log.append({x}.grad_fn is None) |
{x}.detach().numpy() | log.append({x}.retains_grad)"""
BACKWARDS = """
{x}.sum().backward() | {x}.backward() | {x}.backward(w({x}).to({x}.dtype)) |
(w({x}) * {x}).sum().backward(retain_graph=True) | {leaf}.grad = None | {leaf}.grad.zero_() |
(w({x}) * {x}).sum().backward(create_graph=True) | {leaf}.grad.mul_(0.5) |
{y} = T.autograd.grad((w({x}) * {x}).sum(), {leaf}, create_graph=True)[0] |
{y} = T.autograd.grad({x}.sum(), {leaf}, retain_graph=True, allow_unused=True)[0] |
{y} = T.autograd.grad({x}, [{leaf}], w({x}).to({x}.dtype), create_graph=True)[0] |
{x}.sum().backward(inputs=[{leaf}])"""
DTYPE_CHANGES = """
{x}.to(T.{dtype}) | {x}.double() | {x}.float() | {x}.int() | {x}.bool() | {x}.bfloat16() |
{x}.type(T.{dtype}) | {x}.to(T.{dtype}).to({x}.dtype) | {x}.type_as(T.ones((), dtype=T.{dtype}))"""
MODES = ("", "", "with T.no_grad(): ", "with T.inference_mode(): ", "with T.enable_grad(): ")


def _choices(table: str) -> list[str]:
    return [" ".join(part.split()) for part in table.split(" |")]


TEMPLATES = {
    "view": _choices(VIEWS), "write": _choices(WRITES), "hook": _choices(HOOKS),
    "touch": _choices(TOUCHES), "backward": _choices(BACKWARDS), "dtype": _choices(DTYPE_CHANGES),
}  # fmt: skip
STEPS = ["operation"] * 5 + ["view"] * 3 + ["write"] * 3 + ["backward", "hook", "dtype"]


def usable(value: Any) -> bool:
    """Whether an argument of the table can be written as text, in few enough numbers."""
    if isinstance(value, Input):
        return int(np.prod(value.shape)) <= 120
    if isinstance(value, (list, tuple)):
        return all(usable(v) for v in value)
    plain = (bool, int, float, str, slice, type(None), type(...))
    return type(value) in (Dtype, *plain)


CALLS = [
    (name, op, given)
    for name, op in OPS.items()
    for given in (*op.calls, *op.bad[:1])
    if usable([*given.args, *given.kwargs.values()])
    and not re.search("seed|empty|resize|Tensor.(new|type|map|apply)|from_numpy|uniform_", name)
]


@dataclass
class Writer:
    """Writes one program.

    Args:
        random: decides everything.
        calls: the operations to choose from: name, row, arguments.
    """

    random: random.Random
    calls: Sequence[tuple[str, Op, Call]]
    run: Run = field(default_factory=lambda: Run(torch))
    lines: list[str] = field(default_factory=list)

    def program(self) -> list[str]:
        r = self.random
        self.dtype = r.choice(["float64"] * 5 + ["float32"] * 3 + ["float16", "bfloat16"])
        self.mixed, self.strange = r.random() < 0.15, r.random() < 0.06
        self.grad = r.random() < 0.9
        wanted = r.randint(1, 6)
        if r.random() < 0.4:
            self.leaf(Input(r.choice([(2, 3), (3, 4), (2, 1, 3), (3, 3), (4,), ()])))
        for _ in range(50):
            if wanted <= 0:
                break
            kind = r.choice(STEPS)
            wanted -= self.operation() if kind == "operation" else self.step(kind)
            if r.random() < 0.35:
                self.step("touch")
        self.finale()
        return self.lines

    def add(self, line: str) -> bool:
        """Keep a line that torch runs, and one in eight of those that it refuses."""
        fine = self.run.add(line)
        if fine or self.random.random() < 0.12:
            self.lines.append(line)
        return fine

    def tensors(self, test: Callable[[Any], Any] = lambda t: True) -> list[str]:
        found = []
        for name, t in self.run.names.items():
            try:
                if isinstance(t, torch.Tensor) and t.numel() < 500 and test(t):
                    found.append(name)
            except RuntimeError:  # a part of unbind() whose base was written may not be asked
                pass
        return found

    def fresh(self) -> str:
        return f"x{sum(name[0] == 'x' for name in self.run.names)}"

    def leaf(self, wanted: Input, grad: bool = True) -> str:
        """Write a tensor of that description; one in four lies in memory in another order."""
        r, name = self.random, self.fresh()
        turned = len(wanted.shape) > 1 and r.random() < 0.25
        values = wanted.make(np.random.default_rng(r.getrandbits(32)), "float64")
        dtype = {"i": "int64", "b": "bool"}.get(values.dtype.kind, self.dtype)
        if dtype == self.dtype and self.mixed and r.random() < 0.4:
            dtype = r.choice(DTYPES)
        if dtype in FLOATS:
            values = np.round(values, 3)
            if self.strange and values.size:
                values.flat[r.randrange(values.size)] = r.choice([0.0, -0.0, inf, -inf, nan, 100.0])
        if "int" in dtype:
            values = np.clip(np.nan_to_num(values), 0 if dtype == "uint8" else -9, 99).astype(int)
        text = (values.T if turned else values).tolist()
        options = f"dtype=T.{dtype}"
        if grad and self.grad and dtype in FLOATS and r.random() < 0.85:
            options += ", requires_grad=True"
        shape = f".reshape({wanted.shape[::-1] if turned else wanted.shape})" * (not values.size)
        turn = f".permute({', '.join(map(str, range(values.ndim)[::-1]))})" * turned
        self.add(f"{name} = T.tensor({text}, {options}){shape}{turn}")
        return name

    def argument(self, value: Any, grad: bool = True) -> str:
        """The text of an argument; a tensor is one that is there, seen in another shape, or new."""
        if isinstance(value, Input):
            if value.kind == "float" and self.random.random() < 0.75:
                names = self.tensors(lambda t: t.is_floating_point())
                self.random.shuffle(names)
                for name in names:
                    if found := fitted(name, tuple(self.run.names[name].shape), value.shape):
                        return found
            return self.leaf(value, grad and value.grad)
        if isinstance(value, (list, tuple)):
            inner = ", ".join(self.argument(v) for v in value)
            return (
                f"[{inner}]" if isinstance(value, list) else f"({inner}{',' * (len(value) == 1)})"
            )
        return f"T.{value}" if isinstance(value, Dtype) else repr(value).replace("Ellipsis", "...")

    def operation(self) -> bool:
        """Write a call of the table; one tensor in ten takes the place of one of another shape."""
        name, op, given = self.random.choice(self.calls)
        args = [self.argument(a) for a in given.args]
        if self.tensors() and args and self.random.random() < 0.1:
            place = self.random.randrange(len(args))
            if isinstance(given.args[place], Input):
                args[place] = self.random.choice(self.tensors())
        args += [f"{k}={self.argument(v)}" for k, v in given.kwargs.items()]
        if op.run is not None:
            return self.add(f"{self.fresh()} = OPS[{name!r}](T, {', '.join(args)})")
        if name.startswith("Tensor."):
            return self.add(f"{self.fresh()} = {args[0]}.{name[7:]}({', '.join(args[1:])})")
        return self.add(f"{self.fresh()} = T.{name}({', '.join(args)})")

    def step(self, kind: str) -> bool:
        """Write a line of one of the tables above about a tensor that is there."""
        r = self.random
        names = self.tensors()
        if not names:
            return False
        x = r.choice(names[-4:])
        t = self.run.names[x]
        leaves = self.tensors(own_leaf) or [x]
        line = r.choice(TEMPLATES[kind])
        fields = self.fields(tuple(t.shape), "{v}" in line)
        text = line.format(x=x, y=self.fresh(), leaf=r.choice(leaves), **fields)
        if kind in ("view", "dtype"):
            text = f"{self.fresh()} = {text}"
        modes = MODES if kind in ("touch", "write") else MODES[:3] if kind == "view" else ("",)
        return self.add(r.choice(modes) + text)

    def fields(self, shape: tuple[int, ...], value: bool) -> dict[str, Any]:
        """What stands in the places of a line about a tensor of that shape."""
        r, n = self.random, len(shape)
        d = r.randrange(n) if n else 0
        grown = tuple(3 if size == 1 and r.random() < 0.5 else size for size in shape)
        count, sizes = int(np.prod(shape)), shape[::-1]
        if count and r.random() < 0.5:
            sizes = r.choice([(count,), (-1,), (1, *shape), (count // 2, 2), (2, -1)])
        number = f"{r.choice([0, 1, 0.5, -1.5, 2, 3])}"
        written = number
        if value and r.random() < 0.75:
            wanted = r.choice([shape, shape, shape[1:], shape[-1:], ()])
            written = self.argument(Input(wanted, low=0.2))
        return {
            "d": d - n if n and r.random() < 0.4 else d, "e": r.randrange(n) if n else 0,
            "i": r.randrange(max(1, shape[d] if n else 1)), "index": self.index(shape),
            "turn": ", ".join(map(str, r.sample(range(n), n))) or "()", "grown": (2,) * (
            r.random() < 0.3) + grown, "sizes": sizes, "c": number, "v": written,
            "dtype": r.choice(DTYPES),
        }  # fmt: skip

    def index(self, shape: tuple[int, ...]) -> str:
        """A random index: integers, slices, None, ..., lists, masks by bools."""
        r, parts = self.random, []
        for size in shape[: r.randint(0, len(shape))]:
            one = r.randrange(-size, size) if size else 0
            parts.append(
                r.choice([":", "1:", ":-1", "::2", f"{one}", f"{one}", f"[0, {one}]", "0:1"])
            )
        if r.random() < 0.2:
            parts.insert(r.randint(0, len(parts)), r.choice(["None", "..."]))
        return ", ".join(parts) or "..."

    def finale(self) -> None:
        """First and second derivatives of up to three of the results by the leaves."""
        leaves = self.tensors(own_leaf)
        results = self.tensors(lambda t: t.requires_grad and not t.is_leaf)
        if not leaves or not results:
            return
        chosen = {results[-1], *self.random.sample(results, min(2, len(results)))}
        total = " + ".join(f"(w({y}) * {y}).sum()" for y in sorted(chosen))
        inputs = f"[{', '.join(leaves)}]"
        self.lines += [
            f"total = {total}",
            f"first = T.autograd.grad(total, {inputs}, create_graph=True, allow_unused=True)",
            "again = sum((w(g) * g).sum() for g in first if g is not None)",
            f"again = again + sum((0 * x).sum() for x in {inputs})",
            f"second = T.autograd.grad(again, {inputs})",
        ]


def own_leaf(t: Any) -> bool:
    """A leaf that collects gradients; torch calls views made under no_grad leaves too."""
    return t.is_leaf and t.requires_grad and (t._base is None or t.grad_fn is not None)


def fitted(name: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """An expression of the wanted shape over the tensor of that name; "" where there is none."""
    if shape == wanted:
        return name
    if shape[::-1] == wanted and len(shape) > 1:
        return f"{name}.permute({', '.join(map(str, range(len(shape))[::-1]))})"
    pairs = list(zip(shape[::-1], wanted[::-1], strict=False))
    if len(shape) <= len(wanted) and all(a in (1, b) for a, b in pairs):
        return f"{name}.expand({wanted})"
    if len(shape) == len(wanted) and all(a >= b for a, b in pairs):
        return f"{name}[{', '.join(f':{b}' for b in wanted)}]"
    if int(np.prod(shape)) == int(np.prod(wanted)):
        return f"{name}.reshape({wanted})"
    return ""


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


def options(text: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the first program")
    parser.add_argument("--minutes", type=float, default=inf)
    parser.add_argument("--programs", type=int, help="how many at most")
    parser.add_argument("--only", default="", help="a pattern of the names to choose from")
    return parser


if __name__ == "__main__":
    torch.set_num_threads(1)
    chosen = options(__doc__ or "").parse_args()
    total, different = fuzz(chosen.seed, chosen.programs, chosen.minutes, chosen.only)
    for what, count in sorted(total.items()):
        print(f"{count:8} {what}")
    raise SystemExit(bool(different))
