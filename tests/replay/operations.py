"""torch's database of operations replayed here: every float64 sample of every operation we export.

An entry of the database names an operation and makes its samples.  Each is run by torch and by us,
and everything must be equal:

    values      results: dtypes, shapes, numbers, names of the fields, which require grad and which
                share memory with an argument; torch's refusal, if it refuses
    gradients   of all arguments, from random cotangents
    second      the gradients of those gradients, where torch has them
    method      the same results and gradients when called as a method of the first argument
    in place    the same, written into the first argument
    operator    the same by Python's operator of that name, `+` or `+=`
    aliases     torch's other names for the operation are ours too

Numbers are equal to 1e-9 (results of float32: 1e-5); a gradient of None counts as zeros; of memory
that nobody has written only shape and dtype are compared.

`error_inputs` are what torch refuses: we raise the same type, and our message says what torch's own
tests ask of its message, or has the same numbers and names in it.  Not compared are messages that
list torch's signatures.  Operations that know no floats are replayed with int64, or else bool.

    python -m tests.replay operations [--every N] [name ...]
"""

from __future__ import annotations

import functools
import operator
import re
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch
from replay.both import Outcome, agree, cotangent, describe, leaves, same, share_memory, translate
from replay.exclusions import NOT_EXPORTED, UP_TO_SIGN, Sample, lacking, reason_for
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.opinfo.core import OpInfo

import tinygrad_edu as ours

# ---- whose function it is


def named(library: Any, name: str) -> Any:
    """What has this dotted name there, as a function or as a method; None if nothing."""
    for place, path in ((library, name), (library.Tensor, name), (library.Tensor, f"{name}_")):
        found = place
        try:
            for part in path.split("."):
                found = getattr(found, part)
        except AttributeError:
            continue
        return found
    return None


def rebound(function: types.FunctionType) -> types.FunctionType:
    """The same function of the database, in which `torch` means our library."""

    def seeded(op: Any, *args: Any, **kwargs: Any) -> Any:
        ours.manual_seed(42)
        return op(*args, **kwargs)

    names = {**function.__globals__, "torch": ours, "wrapper_set_seed": seeded}
    copy = types.FunctionType(
        function.__code__, names, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def counterpart(function: Any, name: str) -> Any:
    """Our function for torch's: by its name, or the database's own lambda about our library."""
    if isinstance(function, types.FunctionType) and function.__module__.startswith("torch.testing"):
        return rebound(function)
    if isinstance(function, functools.partial):
        return functools.partial(named(ours, name), *function.args, **function.keywords)
    return named(ours, name)


def title(op: OpInfo) -> str:
    """The name of an entry; those of one operation have variants."""
    return f"{op.name}:{op.variant_test_name}" if op.variant_test_name else op.name


# ---- one call


class Call:
    """One function of one library called with a copy of a sample's arguments."""

    def __init__(self, library: Any, function: Any, sample: Any, in_place: bool = False) -> None:
        self.library = library
        given = translate([sample.input, sample.args, sample.kwargs], library)
        first, args, kwargs = given
        self.inputs = [x for x in leaves(given) if x.requires_grad]
        if in_place:
            first = first.clone()
        self.written = first if in_place else None
        library.manual_seed(0)
        self.result = function(first, *args, **kwargs)
        self.sharing = [share_memory(y, x) for y in leaves(self.result) for x in leaves(given)]
        process = sample.output_process_fn_grad
        if library is ours:
            process = rebound(process)
        self.processed = process(self.result)
        self.outputs = [y for y in leaves(self.processed) if y.requires_grad]

    def gradients(self, create_graph: bool = False) -> list[Any]:
        """The gradients of the inputs from random cotangents."""
        if not self.outputs or not self.inputs:
            return []
        self.starts = [cotangent(y, self.library, i) for i, y in enumerate(self.outputs)]
        if create_graph:
            self.starts = [u.requires_grad_() for u in self.starts]
        return list(
            self.library.autograd.grad(
                self.outputs,
                self.inputs,
                self.starts,
                retain_graph=True,
                create_graph=create_graph,
                allow_unused=True,
            )
        )

    def second(self) -> list[Any]:
        """The gradients of the gradients, with respect to inputs and cotangents."""
        firsts = self.gradients(create_graph=True)
        wanted = [*self.inputs, *self.starts] if firsts else []
        pairs = [
            (g, cotangent(g, self.library, 100 + i))
            for i, g in enumerate(firsts)
            if g is not None and g.requires_grad
        ]
        if not pairs:
            return [None] * len(wanted)
        gs, us = zip(*pairs, strict=True)
        return list(self.library.autograd.grad(gs, wanted, us, allow_unused=True))


def attempt(function: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """The result, or what was raised."""
    try:
        return function(), None
    except Exception as error:
        return None, error


# ---- one sample


def check_calls(
    op: OpInfo,
    theirs: Any,
    mine: Any,
    sample: Any,
    in_place: bool = False,
    numbers: bool = True,
) -> tuple[Call, Call] | None:
    """Call both and compare the results; None where both refuse."""
    expected, refused = attempt(lambda: Call(torch, theirs, sample, in_place))
    if refused is not None:
        found, error = attempt(lambda: Call(ours, mine, sample, in_place))
        assert type(error).__name__ == type(refused).__name__, f"{error!r} is not {refused!r}"
        return None
    found = Call(ours, mine, sample, in_place)
    if in_place:
        assert found.result is found.written, "the result is not the tensor written into"
    results = found.result, expected.result
    if op.name in UP_TO_SIGN.split():
        results = found.processed, expected.processed
    same("result", *results, numbers and not op.has_nondeterministic_output)
    assert found.sharing == expected.sharing, (
        f"shares memory with the arguments: {found.sharing}, torch's: {expected.sharing}"
    )
    return found, expected


def check_gradients(calls: tuple[Call, Call] | None) -> None:
    if calls is None:
        return
    expected, refused = attempt(calls[1].gradients)
    if refused is not None:
        _, error = attempt(calls[0].gradients)
        assert type(error).__name__ == type(refused).__name__, f"{error!r} is not {refused!r}"
        return
    agree("gradients", calls[0].gradients(), expected)


def check_second(calls: tuple[Call, Call] | None) -> None:
    if calls is None:
        return
    expected, refused = attempt(calls[1].second)
    if refused is None:  # else torch has no second derivative here
        agree("second derivatives", calls[0].second(), expected)


def check_variant(op: OpInfo, variant: Any, sample: Any, in_place: bool) -> None:
    """The method, or the method that writes in place."""
    name = f"Tensor.{variant.__name__}" if hasattr(variant, "__name__") else op.name
    mine = counterpart(variant, name)
    assert mine is not None, f"there is no {name}"
    calls = check_calls(op, variant, mine, sample, in_place)
    if op.supports_autograd and (op.supports_inplace_autograd or not in_place):
        check_gradients(calls)


def check_aliases(op: OpInfo) -> None:
    for alias in op.aliases:
        alone = alias.name.removeprefix("torch.")
        for name in (alone, f"Tensor.{alone}", f"Tensor.{alone}_"):
            if named(torch, name) is not None:
                assert named(ours, name) is not None, f"there is no {name}"


def problems(op: OpInfo, sample: Any, number: int) -> dict[str, str]:
    """What is wrong with one sample, by check."""
    found: dict[str, str] = {}
    calls: Any = None

    def check(name: str, run: Callable[[], Any]) -> Any:
        result, error = attempt(run)
        if error is not None:
            found[name] = describe(error)
        return result

    calls = check("values", lambda: check_calls(op, op.op, counterpart(op.op, op.name), sample))
    if "values" not in found and calls is not None and op.supports_autograd:
        check("gradients", lambda: check_gradients(calls))
        if op.supports_gradgrad and "gradients" not in found:
            check("second", lambda: check_second(calls))
    if number == 0:
        check("aliases", lambda: check_aliases(op))
    operators = {False: op.operator_variant, True: op.inplace_operator_variant}
    for in_place, function in operators.items():
        if function is not None:
            name = "operator in place" if in_place else "operator"
            check(name, lambda f=function, p=in_place: check_calls(op, f, f, sample, p))
    if isinstance(sample.input, torch.Tensor):
        if op.method_variant is not None:
            check("method", lambda: check_variant(op, op.method_variant, sample, False))
        if op.inplace_variant is not None:
            check("in place", lambda: check_variant(op, op.inplace_variant, sample, True))
    return found


def facts(text: str) -> set[str]:
    """The numbers and the quoted names in a message."""
    return set(re.findall(r"-?\d+", text)) | set(re.findall(r"['\"](\w+)['\"]", text))


def refusal_problems(op: OpInfo, error: Any) -> dict[str, str]:
    """What is wrong with our refusal of what torch refuses."""
    sample = error.sample_input
    _, expected = attempt(lambda: Call(torch, op.op, sample))
    if expected is None:
        return {}
    _, found = attempt(lambda: Call(ours, counterpart(op.op, op.name), sample))
    if found is None:
        return {"error": f"nothing raised, torch: {expected!r}"[:300]}
    if type(found).__name__ != type(expected).__name__:
        return {"error": f"{describe(found)} is not torch's {expected!r}"[:400]}
    if "invalid combination of arguments" in str(expected):  # a list of torch's signatures
        return {}
    asked = re.search(error.error_regex, str(found))
    if not asked and not facts(str(expected)) <= facts(str(found)):
        return {"message": f"{str(found)!r} does not say {str(expected)!r}"[:400]}
    return {}


# ---- one operation


def dtype_of(op: OpInfo) -> torch.dtype | None:
    """float64, or the first of these others that the operation knows."""
    for dtype in (torch.float64, torch.int64, torch.bool, torch.float32):
        if dtype in op.dtypes:
            return dtype
    return None


def exported(op: OpInfo) -> bool:
    """Whether we have the operation, for a dtype that we have."""
    found = named(ours, op.name)  # of complex numbers there are names of dtypes only
    complex_name = isinstance(found, ours.dtype) and found.is_complex
    return found is not None and not complex_name and dtype_of(op) is not None


def replay(op: OpInfo, every: int = 1) -> Iterator[Outcome]:
    """The outcomes of the first, the last and every `every`-th sample of one entry."""
    name = title(op)
    if not exported(op):
        reason = NOT_EXPORTED.get(lacking(name) or "")
        yield Outcome(name, "", None if reason else "not exported", reason)
        return
    dtype = dtype_of(op)
    grad = op.supports_autograd and dtype.is_floating_point
    samples = list(op.sample_inputs("cpu", dtype, requires_grad=grad))
    for i, sample in enumerate(samples):
        if i % every == 0 or i == len(samples) - 1:
            made = Sample(name, f"sample {i}", sample.input, sample.args, sample.kwargs)
            yield outcome(made, problems(op, sample, i))
    if op.error_inputs_func is None:
        return
    for i, error in enumerate(op.error_inputs("cpu")):
        if i % every == 0:
            s = error.sample_input
            made = Sample(name, f"error {i}", s.input, s.args, s.kwargs)
            yield outcome(made, refusal_problems(op, error))


def outcome(sample: Sample, found: dict[str, str]) -> Outcome:
    """Passed; or failed; or left out, because each problem has a reason in the list."""
    reasons = reason_for(sample, found)
    left = {check: text for check, text in found.items() if check not in reasons}
    label = f"{sample.number} {sample}"
    if left:
        text = "; ".join(f"[{check}] {text}" for check, text in left.items())
        return Outcome(sample.operation, label, text)
    if set(reasons) - set(found):
        unneeded = ", ".join(sorted(set(reasons) - set(found)))
        return Outcome(sample.operation, label, f"passes, though left out: {unneeded}")
    return Outcome(sample.operation, label, None, "; ".join(sorted(set(reasons.values()))) or None)


ENTRIES = sorted(op_db, key=operator.attrgetter("name", "variant_test_name"))
