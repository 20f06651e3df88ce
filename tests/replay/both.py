"""What the replays of torch's databases share: torch's arguments as ours, comparison, the table."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import tinygrad_edu as ours

from .exclusions import reason


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings; the comparison is of values and exceptions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# ---- torch's arguments as ours


def translate(value: Any, library: Any) -> Any:
    """A copy of torch's value for either library: fresh leaves, dtypes and layers by name.

    Raises:
        TypeError: something we have nothing for.
    """
    if value is None or value is ... or isinstance(value, (bool, int, float, str, np.generic)):
        return value
    if isinstance(value, torch.Tensor):
        return _tensor(value, library)
    if isinstance(value, torch.Size):
        return library.Size(value)
    if isinstance(value, torch.nn.utils.rnn.PackedSequence):
        make = library.nn.utils.rnn.PackedSequence
        return make(*[translate(part, library) for part in value])
    if isinstance(value, (list, tuple)):
        return type(value)([translate(v, library) for v in value])
    if isinstance(value, dict):
        return {k: translate(v, library) for k, v in value.items()}
    if isinstance(value, slice):
        return slice(*translate([value.start, value.stop, value.step], library))
    if isinstance(value, torch.device):
        return library.device(str(value))
    if hasattr(value, "args") and hasattr(value, "kwargs"):  # FunctionInput
        made = type(value)(*translate(value.args, library))
        made.kwargs = translate(value.kwargs, library)
        return made
    if isinstance(value, torch.nn.Module):
        return _layer(value, library)
    if isinstance(value, torch.nn.LinearCrossEntropyOptions):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return library.nn.LinearCrossEntropyOptions(**translate(fields, library))
    return _by_name(value, library)


def _tensor(value: torch.Tensor, library: Any) -> Any:
    """A copy with the same strides: what is broadcast or transposed there, is so here."""
    if value.dtype.is_complex or value.layout is not torch.strided or value.is_meta:
        raise TypeError(f"there is nothing for a tensor of {value.dtype}, {value.layout}")
    value, grad, parameter = value.detach(), value.requires_grad, type(value) is torch.nn.Parameter
    held = value.untyped_storage().clone()
    if library is torch:
        whole = torch.empty(0, dtype=value.dtype)
        made = whole.set_(held, value.storage_offset(), value.shape, value.stride())
    else:
        size, dtype = value.element_size(), translate(value.dtype, library).numpy
        memory = torch.empty(0, dtype=torch.uint8).set_(held).numpy()
        steps = [step * size for step in value.stride()]
        start = value.storage_offset() * size
        made = library.from_numpy(np.ndarray(tuple(value.shape), dtype, memory, start, steps))
    if parameter:
        return library.nn.Parameter(made, requires_grad=grad)
    return made.requires_grad_(grad)


def _layer(value: torch.nn.Module, library: Any) -> Any:
    args, kwargs = value.made_with
    made = getattr(library.nn, type(value).__name__)(
        *translate(args, library), **translate(kwargs, library)
    )
    made.load_state_dict({k: _tensor(v, library) for k, v in value.state_dict().items()})
    return made


def _by_name(value: Any, library: Any) -> Any:
    """A dtype, a layout or a function: what has the same name there."""
    name = getattr(value, "__name__", str(value))
    for place in (library, library.nn.functional):
        if hasattr(place, name.removeprefix("torch.")):
            return getattr(place, name.removeprefix("torch."))
    raise TypeError(f"there is nothing for {value!r}")


# ---- comparison


def is_tensor(value: Any) -> bool:
    """Whether it is a tensor of either library."""
    return isinstance(value, (torch.Tensor, ours.Tensor))


def leaves(value: Any) -> list[Any]:
    """The tensors in nested lists, tuples and dicts."""
    if is_tensor(value):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [leaf for v in value for leaf in leaves(v)]
    return []


def cotangent(y: Any, library: Any, seed: int) -> Any:
    """Random numbers in the shape of `y`, the same for both libraries."""
    array = np.random.default_rng(seed).standard_normal(tuple(y.shape))
    return library.from_numpy(np.asarray(array)).to(y.dtype)


def agree(what: str, mine: Any, theirs: Any, rtol: float = 1e-9, atol: float = 1e-11) -> None:
    """AssertionError unless dtypes, shapes and values of all tensors are equal.

    A gradient that one library calls None may be zeros in the other.
    """
    if isinstance(theirs, dict):
        assert list(mine) == list(theirs), f"{what}: {list(mine)} is not {list(theirs)}"
        mine, theirs = list(mine.values()), list(theirs.values())
    assert len(mine) == len(theirs), f"{what}: {len(mine)} of them, torch has {len(theirs)}"
    for i, (a, b) in enumerate(zip(mine, theirs, strict=True)):
        label = f"{what}, {i}"
        if a is None or b is None:
            other = b if a is None else a
            assert other is None or not other.detach().any(), f"{label}: {a} is not {b}"
            continue
        assert repr(a.dtype) == repr(b.dtype), f"{label}: dtype {a.dtype} is not {b.dtype}"
        if b.dtype in (torch.float16, torch.bfloat16):
            a, b = a.float(), b.float()
        a, b = (np.asarray(t.detach().numpy(force=True)) for t in (a, b))
        assert a.shape == b.shape, f"{label}: shape {a.shape} is not {b.shape}"
        if a.dtype == np.float32:  # a sample of float64 may have some weights of float32
            rtol = max(rtol, 1e-5)
            atol = max(atol, 2e-5 * float(np.nan_to_num(np.abs(b), posinf=0).max(initial=1.0)))
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=label)


def same(what: str, mine: Any, theirs: Any, numbers: bool = True) -> None:
    """AssertionError unless two results are equal: tensors, numbers, or nested lists of them.

    Args:
        numbers: False compares dtypes and shapes only.
    """
    if isinstance(theirs, torch.Tensor) and is_tensor(mine):
        assert repr(mine.dtype) == repr(theirs.dtype), f"{what}: {mine.dtype} is not {theirs.dtype}"
        assert mine.shape == theirs.shape, f"{what}: shape {mine.shape} is not {theirs.shape}"
        assert mine.requires_grad == theirs.requires_grad, f"{what}: requires_grad"
        assert theirs.layout is torch.strided, f"{what}: layout {theirs.layout}"
        single = theirs.dtype is torch.float32
        if numbers:
            agree(what, [mine], [theirs], *((1e-6, 1e-6) if single else ()))
    elif isinstance(theirs, (list, tuple)):
        assert isinstance(mine, (list, tuple)), f"{what}: a {type(mine).__name__}"
        assert len(mine) == len(theirs), f"{what}: {len(mine)} of them, torch has {len(theirs)}"
        fields = [n for n in dir(theirs) if isinstance(getattr(theirs, n), torch.Tensor)]
        assert all(hasattr(mine, n) for n in fields), f"{what}: it lacks some of {fields}"
        for i, (a, b) in enumerate(zip(mine, theirs, strict=True)):
            same(f"{what}, {i}", a, b, numbers)
    elif isinstance(theirs, torch.dtype):
        assert repr(mine) == repr(theirs), f"{what}: {mine} is not {theirs}"
    else:
        assert type(mine) is type(theirs), f"{what}: {type(mine)} is not {type(theirs)}"
        assert mine == theirs or mine != mine and theirs != theirs, f"{what}: {mine}, not {theirs}"


def share_memory(a: Any, b: Any) -> bool:
    """Whether two tensors of one library lie in the same memory."""
    if isinstance(a, torch.Tensor):
        same_place = a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
        return same_place and bool(a.numel() and b.numel())
    return bool(np.may_share_memory(a.array, b.array))


def same_refusal(mine: Exception | None, theirs: Exception | None, regex: str) -> None:
    """AssertionError unless both are of one type and say the same: what torch's tests ask for."""
    assert type(mine) is type(theirs), f"{mine!r} is not {theirs!r}"
    if theirs is not None and str(mine) != str(theirs):
        assert re.search(regex, str(mine)), f"{mine!r} is not {theirs!r}"


# ---- outcomes


@dataclass(frozen=True)
class Outcome:
    """What became of one sample.

    Attributes:
        problem: why it failed; None if it passed.
        reason: why it is left out; None if it is not.
    """

    name: str
    sample: str
    problem: str | None = None
    reason: str | None = None


def outcome(name: str, sample: str, run: Callable[[], None], left_out: dict[str, str]) -> Outcome:
    """Run one comparison, unless the table has a reason to leave it out."""
    why = reason(left_out, name, sample)
    if why is not None:
        return Outcome(name, sample, reason=why)
    try:
        run()
    except Exception as error:
        return Outcome(name, sample, describe(error))
    return Outcome(name, sample)


def describe(error: Exception) -> str:
    """One line: what was raised, and where."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text} ({last.filename.rsplit('/', 1)[-1]}:{last.lineno})"


def table(title: str, found: Sequence[Outcome]) -> int:
    """Print the outcomes, a line per name, per problem and per reason; the number of failures.

    An outcome without a sample stands for an operation that we do not have.
    """
    rows: dict[str, Counter[str]] = {}
    for o in found:
        if o.sample:
            kind = "left out" if o.reason else "failed" if o.problem else "passed"
            rows.setdefault(o.name, Counter())[kind] += 1
    total: Counter[str] = sum(rows.values(), Counter())
    print(f"{title:32}{'samples':>8}{'passed':>8}{'failed':>8}{'left out':>9}")
    for name, count in [*rows.items(), (f"all {len(rows)}", total)]:
        print(
            f"{name:32}{count.total():8}{count['passed']:8}{count['failed']:8}{count['left out']:9}"
        )
    for o in found:
        if o.problem is not None:
            print(f"FAILED {o.name} {o.sample}: {o.problem}")
    reasons: dict[tuple[str | None, bool], Counter[str]] = {}
    for o in found:
        if o.reason:
            reasons.setdefault((o.reason, bool(o.sample)), Counter())[o.name] += 1
    for (why, sampled), names in reasons.items():
        what = f"left out, {names.total()} samples" if sampled else f"not here, {len(names)}"
        print(f"{what}: {why}: {', '.join(names)}")
    return sum(o.problem is not None for o in found)
