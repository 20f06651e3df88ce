"""`examine`: everything this repository's own tests ask of an operation, asked of anyone's."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tinygrad_edu.engine.graph import TensorBase
from tinygrad_edu.engine.record import wrap
from tinygrad_edu.testing.formulas import formula
from tinygrad_edu.testing.questions import Examiner, Example, Finding, Refused
from tinygrad_edu.testing.strategies import away_from, broadcastable_shapes

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn

FIRST = ("computes", "determinism")
"""Unless these pass, the others find that out again, and blame a rule."""


@dataclass
class Check:
    """The outcome of one check."""

    name: str
    examples: int = 0
    refused: int = 0
    finding: str | None = None
    example: str = ""
    argument: str = ""
    """Whose rule is to blame."""
    rule: str = ""
    """That rule, as it is written."""
    forward: bool = False
    """Whether it is no rule, but the operation itself, that treats the argument wrongly."""
    reason: str = ""
    """Why the last example was refused."""

    def __str__(self) -> str:
        if self.finding is None:
            count = self.examples - self.refused
            done = f"{count} example{'s' * (count != 1)}" if self.examples else "not asked"
            told = f", {self.refused} refused" if self.refused else ""
            if self.examples > self.refused:
                return f"  {self.name:20} passed: {done}{told}"
            told += f" ({self.reason})" if self.reason else ""
            return f"  {self.name:20} skipped: {done}{told}"
        lines = [f"smallest example: {self.example}", *self.finding.splitlines()]
        blame = ""
        if self.argument:
            what = "argument" if self.forward else "the rule of" if self.rule else "the gradient by"
            blame = f", {what} {self.argument!r}"
            written = self.rule.splitlines()
            blame += f": {self.rule}" if len(written) == 1 else ""
            lines = [f"  {line}" for line in written] + lines if len(written) > 1 else lines
        return "\n      ".join([f"  {self.name:20} FAILED{blame}", *lines])


@dataclass
class Report:
    """The outcome of all checks."""

    name: str
    arguments: int
    """How many it takes that have no default."""
    checks: list[Check] = field(default_factory=list)
    stopped: bool = False
    """Whether it computed nothing that could be asked about."""

    @property
    def failures(self) -> list[Check]:
        """The checks that found something."""
        return [check for check in self.checks if check.finding is not None]

    @property
    def ok(self) -> bool:
        """Whether none did, and something was computed."""
        return not self.failures and any([c.examples > c.refused for c in self.checks])

    def __str__(self) -> str:
        verdict = "passed" if self.ok else "FAILED" if self.failures else "computed nothing"
        text = [f"examine({self.name}): {verdict}", *map(str, self.checks)]
        if self.stopped:
            text.append("  the other questions have no answer then, and were not asked")
        return "\n".join(text)

    def raise_if_failed(self) -> None:
        """Raise AssertionError with the report, unless all is well."""
        if not self.ok:
            raise AssertionError(str(self))


def examine(
    operation: Callable[..., Any],
    reference: Callable[..., Any] | None = None,
    inputs: SearchStrategy[Example] | Sequence[Example] | None = None,
    *,
    max_examples: int = 20,
    quiet: bool = False,
) -> Report:
    """Ask of an operation all that the operations here are asked, and print a report.

    Whether two runs are equal, values (against `reference`), first and second derivatives with
    random cotangents (against finite differences, and the reference's where it has some), each
    argument alone, broadcasting, memory layouts, empty and 0-d tensors, single precision, in-place
    writes.  What fails is shown by its smallest example, with the argument whose rule is to blame.
    Arguments that are declared constant are not differentiated.

    Args:
        operation: takes tensors, and other values, and returns a tensor or several.
        reference: takes the same; returns tensors, whose derivatives are then compared too, or
            arrays.
        inputs: a strategy for tuples of arguments, or some such tuples.  Unless given, one float64
            tensor for every argument without a default, shapes that broadcast, away from 0.
        max_examples: so many for each check.
        quiet: do not print.

    >>> import tinygrad_edu as torch
    >>> from tinygrad_edu.engine.primitive import primitive
    >>> from tinygrad_edu.testing import examine
    >>> @primitive
    ... def cube(x):
    ...     return x * x * x
    >>> cube.vjp(x=lambda g, x: 2 * g * x * x)
    >>> report = examine(cube, lambda x: x**3, quiet=True)
    >>> [(check.name, check.argument) for check in report.failures]
    [('values', 'x'), ('first derivative', 'x'), ('empty and 0-d', 'x')]
    """
    examiner = Examiner(operation, reference)
    count = _needed(operation)
    report = Report(getattr(operation, "__name__", type(operation).__name__), count)
    given_inputs = inputs if inputs is not None else _default_inputs(count)
    for name, check in examiner.checks():
        done = _run(name, check, given_inputs, max_examples, examiner)
        report.checks.append(done)
        if name in FIRST and (done.finding is not None or done.refused == done.examples):
            report.stopped = True
            break
    if not quiet:
        print(report)
    return report


def _needed(operation: Callable[..., Any]) -> int:
    """How many arguments have no default."""
    empty = inspect.Parameter.empty
    try:
        found = inspect.signature(operation).parameters.values()
    except (TypeError, ValueError):
        return 1
    variable = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    return sum([p.default is empty and p.kind not in variable for p in found])


def _default_inputs(count: int) -> SearchStrategy[Example]:
    elements = away_from(0.0, low=-2.0, high=2.0)

    @st.composite
    def arguments(draw: DrawFn) -> Example:
        whole = draw(st.sampled_from([(), (3,), (2, 3), (3, 2), (2, 1, 2)]))
        made = []
        for _ in range(count):
            shape = draw(st.one_of(st.just(whole), broadcastable_shapes(whole)))
            size = int(np.prod(shape))
            values = draw(st.lists(elements, min_size=size, max_size=size))
            made.append(wrap(np.array(values, np.float64).reshape(shape)))
        return tuple(made)

    return arguments()


def _run(
    name: str,
    check: Callable[[Example], None],
    inputs: SearchStrategy[Example] | Sequence[Example],
    max_examples: int,
    examiner: Examiner,
) -> Check:
    """Try a check on examples; what fails is made as small as possible."""
    found = Check(name)
    last: list[tuple[Example, Finding]] = []

    def attempt(example: Example) -> None:
        found.examples += 1
        try:
            check(example)
        except Refused as error:
            found.refused += 1
            found.reason = str(error).partition("\n")[0]
        except Finding as finding:
            last.append((example, finding))
            raise

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's, of empty arrays and the like
            _try(inputs, attempt, max_examples)
    except Finding:
        pass
    if last:
        example, finding = last[-1]
        found.finding = str(finding)
        found.example = ", ".join([_shown(value) for value in example])
        place = finding.argument
        if place is None and finding.__cause__ is not None:
            place = examiner.raising(example)
        if place is not None:
            names, found.forward = examiner.names, finding.forward
            found.argument = names[place] if place < len(names) else str(place)
            if found.argument in examiner.rules and not finding.forward:
                found.rule = formula(examiner.rules[found.argument])
    return found


def _try(
    inputs: SearchStrategy[Example] | Sequence[Example],
    attempt: Callable[[Example], None],
    max_examples: int,
) -> None:
    """Call `attempt` on examples; on failure, on ever smaller ones."""
    if not isinstance(inputs, SearchStrategy):
        for example in inputs:
            attempt(example)
        return
    quietly = settings(
        max_examples=max_examples, derandomize=True, deadline=None, database=None,
        phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False, print_blob=False,
    )  # fmt: skip
    quietly(given(inputs)(attempt))()


def _shown(value: object) -> str:
    if isinstance(value, TensorBase):
        return f"tensor({value.array.tolist()}, shape {tuple(value.array.shape)})"
    return repr(value)
