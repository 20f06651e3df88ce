"""`doctor`: the block, decorator or switch inside which bugs are named."""

from __future__ import annotations

import functools
import importlib
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, TextIO, TypeVar

from tinygrad_edu.diagnosis.findings import CHECKS, LEVELS, Check, Event, Finding, table
from tinygrad_edu.diagnosis.history import History
from tinygrad_edu.diagnosis.seams import Watch
from tinygrad_edu.engine.places import here

for _name in "loop schedules graphs flow masks models data".split():
    importlib.import_module(f"tinygrad_edu.diagnosis.checks_{_name}")  # it declares its checks

F = TypeVar("F", bound=Callable[..., Any])


class Diagnosis(RuntimeError):
    """What `doctor(raises=True)` raises: its `finding` says more."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding))
        self.finding = finding


class doctor:
    """Watch a training program, and name the bugs that raise no error.

    A block, a decorator, or `d = doctor().start()` ... `d.stop()`.  Each finding is printed once,
    at the moment it is certain; a table at the end sums up.  About the calling thread only.

    Args:
        ignore: ids of findings to leave out.
        raises: raise the first error or warning as an exception.
        every: look at one step of that many, after the first two.
        file: where to print, standard error unless given; False for nowhere.

    Attributes:
        findings: what was found, a list of `Finding`.
        broken: checks that failed themselves, and were left out from there on.

    Raises:
        ValueError: `ignore` holds an id that there is not, or `every` is below 1.
        Diagnosis: something was found, if `raises`.

    >>> import tinygrad_edu as torch
    >>> model, x, y = torch.nn.Linear(4, 3), torch.randn(8, 4), torch.arange(8) % 3
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with torch.doctor(file=False) as d:
    ...     for _ in range(3):
    ...         torch.nn.functional.cross_entropy(model(x), y).backward()
    ...         optimizer.step()
    >>> [(finding.id, finding.level) for finding in d.findings]
    [('zero-grad-missing', 'error')]
    """

    def __init__(
        self,
        ignore: Iterable[str] = (),
        raises: bool = False,
        every: int = 1,
        file: TextIO | bool | None = None,
    ) -> None:
        self.ignore, self.raises, self.every = frozenset(ignore), raises, every
        unknown = sorted(self.ignore - CHECKS.keys())
        if unknown:
            raise ValueError(f"doctor: ignore: there is no check {unknown[0]!r}")
        if every < 1:
            raise ValueError(f"doctor: every must be at least 1, not {every}")
        self.file = file
        self.findings: list[Finding] = []
        self.broken: list[tuple[str, Exception]] = []
        self._watch: Watch | None = None

    def start(self) -> doctor:
        """Begin to watch."""
        if self._watch is not None:
            raise RuntimeError("doctor: it is watching already")
        self._seen = History()
        self._told: dict[Any, Finding] = {}
        self._by_event: defaultdict[str, list[Check]] = defaultdict(list)
        for check in [c for id in CHECKS if id not in self.ignore for c in CHECKS[id]]:
            for event in check.on:
                self._by_event[event].append(check)
        self._watch = Watch(self._seen, self._emit, self.every)
        self._watch.start()
        return self

    def stop(self, error: BaseException | None = None) -> doctor:
        """Stop, and print the table; `error` is what has ended the program, if something has."""
        if self._watch is not None:
            watch, self._watch = self._watch, None
            watch.stop()
            if error is None:
                self._emit("end")
            else:
                self._emit("failed", error=error, place=here())
            if self.findings or error is None:
                self._print(table(self.findings))
        return self

    def __enter__(self) -> doctor:
        return self.start()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        ended = isinstance(error, SystemExit) and not error.code
        self.stop(None if ended else error)

    def __call__(self, function: F) -> F:
        @functools.wraps(function)
        def watched(*args: object, **kwargs: object) -> Any:
            with doctor(self.ignore, self.raises, self.every, self.file) as d:
                watched.doctor = d  # type: ignore[attr-defined]
                return function(*args, **kwargs)

        return watched  # type: ignore[return-value]

    def _emit(self, what: str, **known: Any) -> None:
        """Something happens: run the checks that look at it."""
        event, name = Event(what=what, **known), known.get("name")
        for check in [*self._by_event[what], *self._by_event[f"{what}.{name}"]]:
            try:
                found = list(check.run(self._seen, event) or ())
            except Exception as error:  # a mistake of ours must not stop the user's program
                self.broken.append((check.id, error))
                for checks in self._by_event.values():
                    checks[:] = [other for other in checks if other is not check]
                continue
            for one in found:
                self._tell(check.finding(one, self._seen.steps))

    def _tell(self, finding: Finding) -> None:
        """Print a finding, unless it was; a graver one takes the place of a lighter."""
        key = finding.id, finding.file, finding.line
        before = self._told.get(key)
        if before is not None:
            if LEVELS.index(before.level) >= LEVELS.index(finding.level):
                return
            self.findings.remove(before)
        self._told[key] = finding
        self.findings.append(finding)
        self._print(f"{finding}\n")
        if self.raises and finding.level != "note":
            raise Diagnosis(finding)

    def _print(self, text: str) -> None:
        if self.file is not False:
            print(text, file=sys.stderr if self.file in (None, True) else self.file)  # type: ignore[arg-type]
