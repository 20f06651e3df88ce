"""Signatures: what torch takes by position, by keyword or by default, is taken here the same way.

torch's are read from its type stubs, which list the overloads of its native functions, from its
schemas, and by `inspect` from its Python functions.  What we take beyond that is not looked at.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from beside_torch import close, ours, torch

from tinygrad_edu.engine.binding import FURTHER_NAMES, SHOWN

PLACES = [
    "torch", "Tensor", "nn", "nn.functional", "nn.init", "nn.utils", "nn.utils.rnn", "linalg",
    "nn.utils.parametrize", "nn.utils.parametrizations", "nn.utils.stateless", "special", "optim",
    "optim.lr_scheduler", "optim.swa_utils", "utils.data", "utils.checkpoint", "autograd", "func",
    "autograd.functional", "amp", "cuda", "random", "distributions", "distributions.transforms",
    "testing", "accelerator",
]  # fmt: skip

EXCEPTIONS = {
    "mm bmm addmm baddbmm: out_dtype": "products with a wider result: only on a GPU, in torch",
    "layer_norm group_norm: cudnn_enable cudnn_enabled": "chooses a kernel on a GPU",
    "TypedStorage: wrap_storage dtype device _internal": "made by tensors, not by users",
    "rrelu: generator": "the default one, as in nn.functional",
    "fill_ zero_ detach is_signed: input": "the method itself, which names the tensor self",
    "rsub subtract subtract_: alpha": "also by position, in an overload that nobody documents",
    "tensor new_tensor scaled_dot_product_attention requires_grad_ one_hot numel: dtype device "
    "requires_grad pin_memory scale enable_gqa mode tensor self": "a wrong stub: torch refuses it",
    "size stride pairwise_distance: axis keepdims": "NumPy has nothing of that name",
    "new: storage other": "from the time before `torch.tensor`",
    "gradcheck gradgradcheck: check_grad_dtypes": "dtypes are checked, unless one says not to",
    "load: weights_only": "torch's None means True",
    "RNNCellBase: num_chunks device dtype": "a subclass says how many gates it has",
    "jacrev fork_rng: _preallocate_and_copy _caller _devices_kw device_type": "private",
    "PackedSequence: batch_sizes": "torch has a default, and refuses it",
}
"""Functions, and those of their parameters that differ -> why."""

CALLS = """
torch.add(v, 2, v)  torch.sub(v, 2, v)  m.clone().add_(-2, m)  torch.addcmul(v, 2, v, v)
m.clone().addcdiv_(-2, m, m)  torch.addmm(2, m, 3, m, m)  m.addmm(2, m, m)
torch.baddbmm(2, q, q, q)  torch.max(m, m)  torch.max(m, other=m)
m.norm(2, 1, False, torch.float64)  torch.std(m, False)  torch.zeros(size=(2, 2))
torch.arange(end=3)  torch.arange(1, end=3)  torch.arange(3, pin_memory=False)
m.repeat(repeats=(2, 2))  m.permute(dims=(1, 0))  torch.tile(input=m, dims=(1, 2))
m.view(size=(2, 2))  m.expand(size=(2, 2, 2))  m.flip(dims=(0,))  m[:1, :1].squeeze(0, 1)
m.count_nonzero(0, 1)  m.broadcast_to(2, 2, 2)  m.hsplit(1, 2)  torch.hsplit(m, sections=2)
m.split(split_size=1)  torch.tensor_split(m, indices=[1], axis=1)
torch.swapaxes(m, axis0=0, axis1=1)  m.new(size=(0, 2))  torch.where(m > 0, self=2.0, other=m)
torch.isin(element=2.0, test_elements=v)  m.squeeze_(axis=0)  torch.result_type(scalar=2, tensor=m)
torch.scatter(m, 0, i, value=2.0)  torch.scatter(m, 0, i, 2.0)
torch.repeat_interleave(repeats=i[0])  torch.searchsorted(v, self=0.5)
torch.pow(self=2.0, exponent=v)  torch.cat([m, m], axis=1)  torch.stack([m, m], axis=1)
m.softmax(axis=0)  m.unsqueeze(axis=0)  m.sum(axis=0, keepdims=True)
torch.gather(m, axis=0, index=i)  torch.mul(x1=v, x2=v)  torch.exp(a=v)  torch.linalg.diagonal(q)
torch.linalg.diagonal(q, offset=1)  torch.pinverse(torch.diag(v * 1e-8 + 1e-9))
torch.linalg.norm(input=m, axis=0)  torch.linalg.lstsq(input=m, b=v)[0]
torch.cholesky(m @ m.T, True)  torch.histogram(v)  m.clone().copy_(other=m)
torch.polygamma(n=1, input=v)  torch.asarray(obj=m, copy=True)  torch.linalg.cond(input=m)
torch.heaviside(v, values=v)  torch.from_dlpack(m, copy=True)
torch.autograd.backward(v.clone().requires_grad_().sum(), None, None, False, None, None)
torch.nn.functional.embedding_bag(m, i)
torch.nn.Identity().state_dict({}, "a.")  torch.no_grad()(orig_func=lambda: 1)()
"""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("call", [c for line in CALLS.splitlines() for c in line.split("  ") if c])
def test_calls(call):
    """Calls that torch's overloads, old forms and NumPy's names allow."""

    def run(T):
        m = T.tensor([[0.5, 0.1], [-0.3, 2.0]], dtype=T.float64)
        q, i = T.arange(8.0).reshape(2, 2, 2).double(), T.tensor([[0, 1], [1, 0]])
        result = eval(call, {"torch": T, "m": m, "v": m[:, 1], "q": q, "i": i})
        return list(result) if isinstance(result, tuple) else [result]

    for mine, theirs in zip(run(ours), run(torch), strict=True):
        if isinstance(theirs, torch.Tensor):
            close(mine, theirs, "float64", call)
        else:
            assert str(mine) == str(theirs)


NONE = inspect.Parameter.empty


def parameter(name: str, kind: str, default: Any = NONE, type: str = "") -> Any:
    return SimpleNamespace(name=name, kind=kind, default=default, type=type)


def value(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


@functools.cache
def stubs(file: str, inside: str | None = None) -> dict[str, list[list[Any]]]:
    """The overloads of every function in a stub of torch's, or in a class of it."""
    body = ast.parse((Path(torch.__file__).parent / "_C" / file).read_text()).body
    if inside:
        body = next(n for n in body if isinstance(n, ast.ClassDef) and n.name == inside).body
    found: dict[str, list[list[Any]]] = {}
    for node in body:
        if isinstance(node, ast.FunctionDef):
            a = node.args
            some = a.posonlyargs + a.args
            defaults = [*[None] * (len(some) - len(a.defaults)), *a.defaults, *a.kw_defaults]
            kinds = ["POSITIONAL"] * len(some) + ["KEYWORD_ONLY"] * len(a.kwonlyargs)
            found.setdefault(node.name, []).append([
                parameter(
                    x.arg, kind, NONE if d is None else value(d),
                    ast.unparse(x.annotation) if x.annotation else "",
                )
                for x, d, kind in zip([*some, *a.kwonlyargs], defaults, kinds, strict=True)
                if x.annotation or x.arg not in ("self", "cls")
            ])  # fmt: skip
    return found


def signature(function: Any) -> list[Any]:
    found = inspect.signature(function).parameters.values()
    kinds = {"POSITIONAL_ONLY": "POSITIONAL", "POSITIONAL_OR_KEYWORD": "POSITIONAL"}
    return [parameter(p.name, kinds.get(p.kind.name, p.kind.name), p.default) for p in found]


def of_torch(place: str, name: str, value: Any) -> tuple[list[list[Any]], bool]:
    """The overloads of torch's function, and whether it is native: those know NumPy's names."""
    if place == "Tensor" and name in stubs("__init__.pyi", "TensorBase"):
        return stubs("__init__.pyi", "TensorBase")[name], True
    if inspect.isfunction(value) or inspect.isclass(value):
        return [signature(value)[place == "Tensor" :]], False
    own = getattr(value, "__name__", name)
    for file in ("_nn.pyi", "_VariableFunctions.pyi"):
        if own in stubs(file):
            return stubs(file)[own], True
    packet = getattr(torch.ops.aten, own, None)  # linalg and special have no stubs
    return [
        [
            parameter(
                "input" if a.name == "self" else a.name,
                "KEYWORD_ONLY" if a.kwarg_only else "POSITIONAL",
                a.default_value if a.has_default_value() else NONE,
            )
            for a in getattr(packet, o)._schema.arguments
            if not a.is_out
        ]
        for o in (packet.overloads() if packet else ())
    ], True


def is_compared(parameters: list[Any]) -> bool:
    """Not: overloads with names of dimensions or `out`, and those in the old order (see CALLS)."""
    old = [p for p in parameters[:2] if p.name in ("alpha", "beta", "value")]
    behind = [p for p in parameters[2:] if p.kind == "POSITIONAL" and p.default is NONE]
    return not (
        any("Dimname" in p.type or "EllipsisType" in p.type for p in parameters)
        or any(p.name == "out" and p.default is NONE for p in parameters)
        or (old and behind)
    )


def plain(default: Any) -> Any:
    """A default in a form that can be compared across the libraries."""
    if isinstance(default, (list, tuple)):
        return [plain(d) for d in default] or None
    if isinstance(default, (bool, int, float)) or default is None:
        return default
    text = str(getattr(default, "__name__", default)).removeprefix("torch.")
    known = isinstance(default, str) or hasattr(default, "__name__")
    none = text in ("preserve_format", "contiguous_format")
    return None if none else text if known else type(default).__name__


def further_names(function: Any) -> dict[str, str]:
    """The other names by which a function takes its arguments."""
    names: dict[str, str] = {}
    while function is not None:
        if op := getattr(function, "primitive", None):
            pairs = {k: op.parameters[n] if isinstance(n, int) and n < op.arity else n
                     for k, n in FURTHER_NAMES.items()}  # fmt: skip
            names = {k: n for k, n in pairs.items() if n in op.parameters} | names
            names = {k: SHOWN.get(n, n) for k, n in names.items()}
        names = getattr(function, "further_names", {}) | names
        function = getattr(function, "__wrapped__", None)
    return names


def differences(place: str, name: str) -> Iterator[tuple[str, str]]:
    """What torch's signature allows and ours does not: (parameter, what is wrong with it)."""
    mine = attrgetter(name)(find(ours, place))
    overloads, native = of_torch(place, name, attrgetter(name)(find(torch, place)))
    overloads = [o for o in overloads if is_compared(o)]
    own = signature(mine)[place == "Tensor" :]
    known, others = {p.name: p for p in own}, further_names(mine)
    order = [p.name for p in own if p.kind == "POSITIONAL"]
    anything = {p.kind for p in own}
    for parameters in overloads:
        positions = [p.name for p in parameters if p.kind == "POSITIONAL"]
        for p in parameters:
            name = p.name if p.name in known else others.get(p.name, p.name)
            numpys = {"dim": "axis", "keepdim": "keepdims"}.get(p.name) if native else None
            if numpys and numpys not in others and numpys not in known:
                yield numpys, "unknown"
            if p.name in ("out", "layout", "names") or p.kind.startswith("VAR") or name == "*":
                continue  # there is no `out=`, no names, and one layout
            if name not in known:
                if "VAR_KEYWORD" not in anything:
                    yield p.name, "unknown"
                continue
            at = positions.index(p.name) if p.name in positions else None
            if at is not None and "VAR_POSITIONAL" not in anything:
                if at >= len(order):
                    yield p.name, "by keyword only"
                elif order[at] != name and len(overloads) == 1:
                    yield p.name, f"{order[at]} is in its place"
            if len(overloads) == 1 and p.default not in (NONE, ...):
                if plain(p.default) != plain(known[name].default):
                    yield p.name, f"{p.default} is not {known[name].default}"


def find(library: Any, place: str) -> Any:
    return library if place == "torch" else attrgetter(place)(library)


@functools.cache
def found(place: str) -> dict[tuple[str, str], str]:
    """(function, parameter) -> what is wrong, of all that both libraries have in one place."""
    libraries = find(ours, place), find(torch, place)
    wrong = {}
    for name in sorted(set(dir(libraries[0])) & set(dir(libraries[1]))):
        if not name.startswith("_") and all(callable(getattr(place, name)) for place in libraries):
            with contextlib.suppress(ValueError):  # no signature: a class written in C++
                wrong |= {(name, p): what for p, what in differences(place, name)}
    return wrong


EXCEPTED = {
    (name, parameter)
    for entry in EXCEPTIONS
    for name in entry.split(":")[0].split()
    for parameter in entry.split(":")[1].split()
}


@pytest.mark.parametrize("place", PLACES)
def test_signatures(place):
    wrong = {key: what for key, what in found(place).items() if key not in EXCEPTED}
    assert not wrong


def test_exceptions_are_needed():
    keys = {key for place in PLACES for key in found(place)}
    for entry in EXCEPTIONS:
        names, parameters = (part.split() for part in entry.split(":"))
        assert {n for n, p in keys & EXCEPTED if n in names and p in parameters} == set(names)
        assert {p for n, p in keys & EXCEPTED if n in names and p in parameters} == set(parameters)
