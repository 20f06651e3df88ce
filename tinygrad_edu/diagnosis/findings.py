"""What a check is, what it finds, and how that is told."""

import dataclasses
import re
import textwrap
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from tinygrad_edu.engine.places import Place

LEVELS = ("note", "warning", "error")


@dataclasses.dataclass
class Finding:
    """Something that is wrong with the program, or looks like it.

    Attributes:
        id: the name of the check, as `doctor(ignore=[...])` takes it.
        level: "error" (the result is wrong), "warning" (very likely) or "note" (worth a look).
        file, line: the user's line.
        also: the second place, if it takes two.
        says: what was seen.
        evidence: the numbers in it.
        why, cure: why that is wrong, and the code that is right.
        step: how many steps optimizers had made.
    """

    id: str
    level: str
    file: str
    line: int
    also: Place | None
    says: str
    evidence: dict[str, Any]
    why: str
    cure: str
    step: int

    def __str__(self) -> str:
        head = f"{Place(self.file, self.line)}  {self.level}  {self.id}"
        words = [_wrap(f"  {p}") for p in (self.says, f"Why: {self.why}", f"Cure: {self.cure}")]
        return "\n".join([head, *words, f'  Silence: doctor(ignore=["{self.id}"])'])

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        found = dataclasses.asdict(self)
        found["also"] = None if self.also is None else {**self.also._asdict()}
        return found


def _wrap(text: str) -> str:
    return textwrap.fill(text, 98, subsequent_indent="    ", break_long_words=False)


class Event(SimpleNamespace):
    """Something that happens in the program: `what`, and what is known of it (see seams.py).

    An attribute that such an event does not have is None.
    """

    def __getattr__(self, name: str) -> Any:
        return None


class Found:
    """What a check returns: where, if need be where else, and with which numbers."""

    def __init__(
        self, place: Any, also: Any = None, level: str | None = None, /, **evidence: Any
    ) -> None:
        self.place: Any = place or also
        self.also, self.level, self.evidence = also if place else None, level, evidence


@dataclasses.dataclass
class Check:
    """One check: a short function, and the words for what it finds.

    Attributes:
        id, level: as in `Finding`; a check may lower its level.
        on: the events that it looks at (see seams.py).
        says, why, cure: templates; the evidence fills them.
        run: `run(seen, event)` yields what it has found.
    """

    id: str
    level: str
    on: tuple[str, ...]
    says: str
    why: str
    cure: str
    run: Callable[[Any, Any], Any]

    def finding(self, found: Found, step: int) -> Finding:
        """The finding, in words."""
        words = {"also": found.also or "?", **found.evidence}
        says, why, cure = [part.format(**words) for part in (self.says, self.why, self.cure)]
        return Finding(
            self.id, found.level or self.level, found.place.file, found.place.line, found.also,
            says, found.evidence, why, cure, step,
        )  # fmt: skip


Run = Callable[[Any, Any], Any]
CHECKS: dict[str, list[Check]] = {}
"""All checks by their id, in the order of their files; some ids have two checks."""


def check(id: str, level: str, on: str) -> Callable[[Run], Run]:
    """Declare a check; `on` names events, separated by blanks.

    Its words are the function's docstring: what it says, "Why: ..." and "Cure: ..."; they are
    templates, which the evidence fills.
    """

    def declare(run: Run) -> Run:
        says, why, cure = [" ".join(p.split()) for p in (run.__doc__ or "\n\n\n\n").split("\n\n")]
        words = says, why.removeprefix("Why: "), cure.removeprefix("Cure: ")
        CHECKS.setdefault(id, []).append(Check(id, level, tuple(on.split()), *words, run))
        return run

    return declare


def explain(id: str) -> str:
    """The page of one check: what it says, why, and the cure.

    Raises:
        KeyError: there is no such check.
    """
    parts = [f"{id} ({CHECKS[id][0].level})"]
    for made in CHECKS[id]:
        parts += [_wrap(blank(p)) for p in (made.says, f"Why: {made.why}", f"Cure: {made.cure}")]
    return "\n".join([*parts, f'Silence: doctor(ignore=["{id}"])'])


def blank(template: str) -> str:
    """A template as it is shown without evidence."""
    return re.sub(r"\{(\w+)[^}]*\}", r"<\1>", template)


def table(findings: list[Finding]) -> str:
    """One line for each finding, the worst first."""
    if not findings:
        return "doctor: nothing found"
    order = sorted(findings, key=lambda f: (-LEVELS.index(f.level), f.file, f.line))
    lines = [f"  {f.level:7}  {f.id:26}  {Place(f.file, f.line)}  step {f.step}" for f in order]
    return "\n".join([f"doctor: {len(lines)} finding{'s' * (len(lines) > 1)}", *lines])
