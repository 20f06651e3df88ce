"""Writes random programs: lines of text over a library `T`, for fuzz_programs.py.

A line is kept if torch runs it, and now and then if it does not, so that shapes mostly fit.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf, nan
from typing import Any

import numpy as np
import torch
from fuzz_run import OPS, Run
from op_table import Call, Dtype, Input, Op

FLOATS = ("float64", "float32", "float16", "bfloat16")
DTYPES = (*FLOATS, "int64", "int32", "uint8", "bool")
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
