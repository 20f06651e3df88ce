"""The options of `python -m tinygrad_edu` that are the doctor's, and the pages of its checks."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import json
import pathlib
import sys
from collections.abc import Iterator

from tinygrad_edu.diagnosis.doctor import doctor
from tinygrad_edu.diagnosis.findings import CHECKS, explain


@dataclasses.dataclass
class Options:
    """What the command line asks of the doctor; `status` is set if that is all it asks."""

    wanted: bool = False
    json: str | None = None
    every: int = 1
    status: int | None = None


def read(arguments: list[str]) -> tuple[Options, list[str]]:
    """Take the doctor's options from the front of the command line.

    --doctor[=N]          watch the script, every N-th step of it
    --doctor-json[=FILE]  and print the findings as JSON, or write them to a file
    --doctor-explain ID   print the page of a finding
    """
    options = Options()
    while arguments and arguments[0].startswith("--doctor"):
        name, _, value = arguments[0].partition("=")
        arguments = arguments[1:]
        if name == "--doctor-explain":
            options.status = _explain(value or (arguments[0] if arguments else ""))
            return options, []
        options.wanted = True
        if name == "--doctor-json":
            options.json = value
        elif name != "--doctor" or (value and not (value.isdigit() and int(value))):
            print(f"tinygrad_edu: unknown option {name}={value}", file=sys.stderr)
            options.status = 2
        elif value:
            options.every = int(value)
    return options, arguments


def _explain(id: str) -> int:
    if id in CHECKS:
        print(explain(id))
        return 0
    nearest = difflib.get_close_matches(id, CHECKS, 1)
    hint = f"; the nearest is {nearest[0]}" if nearest else ""
    print(f"tinygrad_edu: there is no finding {id!r}{hint}\n{', '.join(CHECKS)}", file=sys.stderr)
    return 2


@contextlib.contextmanager
def watching(options: Options) -> Iterator[None]:
    """Run the block under the doctor, if that is wanted."""
    if not options.wanted:
        yield
        return
    d = doctor(every=options.every, file=None if options.json is None else False)
    try:
        with d:
            yield
    finally:
        if options.json is not None:
            found = json.dumps([finding.as_dict() for finding in d.findings], indent=1, default=str)
            if options.json:
                pathlib.Path(options.json).write_text(f"{found}\n", encoding="utf-8")
            else:
                print(found, file=sys.stderr)
