"""`torch.utils.benchmark`: how long a statement takes, on so many threads, and tables of that."""

from __future__ import annotations

import statistics
import timeit
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

import tinygrad_edu
from tinygrad_edu import cuda
from tinygrad_edu.names.settings import get_num_threads, set_num_threads, unavailable

__all__ = ["Compare", "Measurement", "TaskSpec", "Timer", "select_unit", "timer"]

_Callback = Callable[[int, float], Any] | None
"""Called after each measurement with its executions and its seconds."""

_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}
_NAMES = {"ns": "nanoseconds", "us": "microseconds", "ms": "milliseconds", "s": "seconds"}


def timer() -> float:
    """The clock, in seconds, once a GPU that is in use has finished."""
    if cuda.is_initialized():
        cuda.synchronize()
    return timeit.default_timer()


def select_unit(t: float) -> tuple[str, float]:
    """The unit that fits so many seconds, and its seconds.

    >>> from tinygrad_edu.utils.benchmark import select_unit
    >>> select_unit(2e-5)
    ('us', 1e-06)
    """
    unit = next((u for u in ("s", "ms", "us") if t >= _UNITS[u]), "ns")
    return unit, _UNITS[unit]


@dataclass(frozen=True)
class TaskSpec:
    """What was measured: the statement, its setup, its place in a table."""

    stmt: str
    setup: str
    global_setup: str = ""
    label: str | None = None
    sub_label: str | None = None
    description: str | None = None
    env: str | None = None
    num_threads: int = 1

    @property
    def title(self) -> str:
        """The label, or the statement."""
        if self.label is not None:
            return self.label + (f": {self.sub_label}" if self.sub_label else "")
        first, *more = self.stmt.split("\n")
        return f"{first} ..." if more else first

    @property
    def as_row_name(self) -> str:
        """What its row is called in a table."""
        return self.sub_label or self.stmt or "[Unknown]"


@dataclass
class Measurement:
    """Times of a statement; an attribute of the `TaskSpec` is one of theirs, too.

    Attributes:
        number_per_run: how often it ran for each time.
        raw_times: seconds of each of these runs.
        task_spec: what was measured.
    """

    number_per_run: int
    raw_times: list[float]
    task_spec: TaskSpec
    metadata: dict[Any, Any] | None = None

    @property
    def times(self) -> list[float]:
        """Seconds of one execution, for each run."""
        return [t / self.number_per_run for t in self.raw_times]

    @property
    def median(self) -> float:
        """The median of the times."""
        return statistics.median(self.times)

    @property
    def mean(self) -> float:
        """The mean of the times."""
        return statistics.fmean(self.times)

    @property
    def iqr(self) -> float:
        """The distance of the quartiles."""
        low, high = np.quantile(self.times, [0.25, 0.75])
        return float(high - low)

    @property
    def has_warnings(self) -> bool:
        """Whether the times are too spread to be trusted."""
        return len(self.times) > 1 and self.iqr > 0.1 * self.median

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.task_spec, name)

    def __repr__(self) -> str:
        unit, scale = select_unit(self.median)
        n = len(self.raw_times)
        runs = f"{self.number_per_run} runs{' per measurement' if n > 1 else ''}"
        spread = f"{self.iqr / self.median:.0%}" if n > 3 and self.has_warnings else ""
        lines = [
            f"<torch.utils.benchmark.Measurement of {self.title}>",
            self.description,
            f"setup: {self.setup}" if self.setup != "pass" else "",
            f"  {'Median: ' if n > 1 else ''}{self.median / scale:.2f} {unit}",
            f"  IQR:    {self.iqr / scale:.2f} {unit}" if n > 3 else "",
            f"  {_some(n, 'measurement')}, {runs}, {_some(self.num_threads, 'thread')}",
            f"  WARNING: the quartiles lie {spread} apart." if spread else "",
        ]
        return "\n".join(filter(None, lines))


def _some(n: int, what: str) -> str:
    return f"{n} {what}{'s' if n > 1 else ''}"


class Timer:
    """Measures a statement, on one thread unless asked for more.

    Args:
        stmt, setup: what is measured, and what runs before; texts, as in the module timeit.
        global_setup: accepted; it is for C++.
        timer: the clock.
        globals: names that the statement may use.
        label, sub_label, description, env: where the result stands in a table of `Compare`.
        num_threads: so many threads for products of matrices.
        language: Python.

    Raises:
        ValueError: another language.

    >>> from tinygrad_edu.utils import benchmark
    >>> measured = benchmark.Timer("x + 1", "x = torch.ones(3)").timeit(10)
    >>> measured.number_per_run, 0 < measured.median < 1
    (10, True)
    """

    def __init__(
        self,
        stmt: str = "pass",
        setup: str = "pass",
        global_setup: str = "",
        timer: Callable[[], float] = timer,
        globals: dict[str, Any] | None = None,
        label: str | None = None,
        sub_label: str | None = None,
        description: str | None = None,
        env: str | None = None,
        num_threads: int = 1,
        language: Any = "python",
    ) -> None:
        if not isinstance(stmt, str):
            raise ValueError("Only a `str` stmt is supported.")
        if str(language).lower() not in ("python", "py", "language.python"):
            raise ValueError(f"only Python is measured, but language is {language!r}")
        names = {"torch": tinygrad_edu, **(globals or {})}
        self._timer = timeit.Timer(stmt, setup, timer=timer, globals=names)
        self._task_spec = TaskSpec(
            stmt, setup, global_setup, label, sub_label, description, env, num_threads
        )

    def _seconds(self, number: int) -> float:
        before = get_num_threads()
        set_num_threads(self._task_spec.num_threads)
        try:
            return max(self._timer.timeit(number), 1e-9)
        finally:
            set_num_threads(before)

    def timeit(self, number: int = 1_000_000) -> Measurement:
        """One measurement of so many executions, after one hundredth as many to warm up."""
        self._seconds(max(number // 100, 1))
        return Measurement(number, [self._seconds(number)], self._task_spec)

    def repeat(self, *args: object, **kwargs: object) -> NoReturn:
        """NotImplementedError, as in torch."""
        raise NotImplementedError("See `Timer.blocked_autorange.`")

    autorange = repeat

    def blocked_autorange(
        self, callback: _Callback = None, min_run_time: float = 0.2
    ) -> Measurement:
        """Measurements until `min_run_time` seconds have passed."""

        def enough(found: Measurement) -> bool:
            return sum(found.raw_times) >= min_run_time

        return self._measured(min_run_time / 1000, callback, enough)

    def adaptive_autorange(
        self,
        threshold: float = 0.1,
        *,
        min_run_time: float = 0.01,
        max_run_time: float = 10.0,
        callback: _Callback = None,
    ) -> Measurement:
        """Measurements until their quartiles lie closer than `threshold` of the median."""

        def enough(found: Measurement) -> bool:
            spent = sum(found.raw_times)
            close = len(found.raw_times) > 3 and found.iqr < threshold * found.median
            return spent >= max_run_time or (spent >= min_run_time and close)

        return self._measured(min_run_time / 10, callback, enough)

    def _measured(
        self, block: float, callback: _Callback, enough: Callable[[Measurement], bool]
    ) -> Measurement:
        """Measurements until there are enough, each of so many executions as take `block` seconds.

        These are a power of ten.
        """
        number = 1
        while self._seconds(number) < block and number < 10**9:
            number *= 10
        found = Measurement(number, [], self._task_spec)
        while not found.raw_times or not enough(found):
            found.raw_times.append(self._seconds(number))
            if callback is not None:
                callback(number, found.raw_times[-1])
        return found

    collect_callgrind = unavailable("Timer.collect_callgrind", "instructions are not counted")


class Compare:
    """A table of measurements: a row for each `sub_label`, a column for each `description`.

    >>> from tinygrad_edu.utils import benchmark
    >>> timers = [benchmark.Timer("1 + 1", label="sum", sub_label="ints", description="plain")]
    >>> print(benchmark.Compare([t.timeit(10) for t in timers]))  # doctest: +ELLIPSIS
    [ sum ]
                  | plain
    1 threads: ...
    """

    def __init__(self, results: Sequence[Measurement]) -> None:
        self.results = list(results)
        self.digits = 4

    def extend_results(self, results: Sequence[Measurement]) -> None:
        """Further measurements."""
        self.results.extend(results)

    def trim_significant_figures(self) -> None:
        """Print two significant digits only."""
        self.digits = 2

    def colorize(self, rowwise: bool = False) -> None:
        """Accepted, to no effect."""

    highlight_warnings = colorize

    def print(self) -> None:
        """Print the table."""
        print(self)

    def __str__(self) -> str:
        tables: dict[str, list[Measurement]] = {}
        for m in self.results:
            tables.setdefault(m.label or m.stmt, []).append(m)
        return "\n".join([self._table(label, own) for label, own in tables.items()])

    def _table(self, label: str, own: Sequence[Measurement]) -> str:
        unit, scale = select_unit(min([m.median for m in own]))
        columns = [*dict.fromkeys([m.description or "" for m in own])]
        groups: dict[int, dict[str, dict[str, list[float]]]] = {}
        for m in own:
            row = groups.setdefault(m.num_threads, {}).setdefault(m.as_row_name, {})
            row.setdefault(m.description or "", []).extend(m.times)
        wide = max([len(m.as_row_name) for m in own]) + 6
        line = " | ".join([f"{{:{wide}}}", *[f"{{:>{max(len(c), 8)}}}" for c in columns]])
        lines = [f"[ {label} ]", line.format("", *columns)]
        for threads, rows in groups.items():
            lines.append(f"{threads} threads: ".ljust(len(lines[1]), "-"))
            for name, row in rows.items():
                found = {c: statistics.median(times) / scale for c, times in row.items()}
                cells = [f"{found[c]:.{self.digits}g}" if c in found else "" for c in columns]
                lines.append(line.format(f"      {name}", *cells))
        return "\n".join([*lines, f"\nTimes are in {_NAMES[unit]} ({unit}).\n"])
