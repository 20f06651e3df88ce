"""The options of `python -m tinygrad_edu` that are the doctor's, and `%%doctor` in notebooks."""

import contextlib
import difflib
import json
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

from tinygrad_edu.diagnosis.doctor import doctor
from tinygrad_edu.diagnosis.findings import CHECKS, explain

Watching = contextlib.AbstractContextManager[None]


def read(arguments: list[str]) -> tuple[int | Watching, list[str]]:
    """Take the doctor's options from the front of the command line.

    --doctor[=N]          watch the script, every N-th step of it
    --doctor-json[=FILE]  and print the findings as JSON, or write them to a file
    --doctor-explain ID   print the page of a finding

    Returns:
        The block to run the script in, or the exit status if nothing is to be run; and the rest.
    """
    every, report = 1, None
    while arguments and arguments[0].startswith("--doctor"):
        name, _, value = arguments[0].partition("=")
        arguments = arguments[1:]
        if name == "--doctor-explain":
            return _explain(value or (arguments[0] if arguments else "")), []
        if name == "--doctor-json":
            report = value
        elif name == "--doctor" and (not value or (value.isdigit() and int(value))):
            every = int(value or every)
        else:
            print(f"tinygrad_edu: unknown option {name}={value}", file=sys.stderr)
            return 2, []
    return _watching(every, report), arguments


def _explain(id: str) -> int:
    if id in CHECKS:
        print(explain(id))
        return 0
    nearest = difflib.get_close_matches(id, CHECKS, 1)
    hint = f"; the nearest is {nearest[0]}" if nearest else ""
    print(f"tinygrad_edu: there is no finding {id!r}{hint}\n{', '.join(CHECKS)}", file=sys.stderr)
    return 2


@contextlib.contextmanager
def _watching(every: int, report: str | None) -> Iterator[None]:
    """Run the block under the doctor, whose report goes to a file, or to standard error as ""."""
    d = doctor(every=every, file=None if report is None else False)
    try:
        with d:
            yield
    finally:
        found = json.dumps([finding.as_dict() for finding in d.findings], indent=1, default=str)
        if report:
            pathlib.Path(report).write_text(f"{found}\n", encoding="utf-8")
        elif report is not None:
            print(found, file=sys.stderr)


def load_ipython_extension(shell: Any) -> None:
    """What `%load_ext tinygrad_edu.diagnosis` calls: cells may begin with `%%doctor` then."""

    def watched(line: str, cell: str) -> None:
        """Run the cell under the doctor; the line may give options, as `every=10`."""
        with doctor(**eval(f"dict({line})", dict(shell.user_ns))):
            shell.run_cell(cell)

    shell.register_magic_function(watched, "cell", "doctor")
