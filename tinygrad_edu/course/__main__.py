"""The command line: see the docstring of the package."""

from __future__ import annotations

import pathlib
import runpy
import sys
import traceback
import warnings
from importlib.resources import files

from tinygrad_edu.course.checks import CHECKS
from tinygrad_edu.names.pipes import until_closed

USAGE = "usage: python -m tinygrad_edu.course list | start N | check N [file]"


def task(step: int) -> str:
    """What `start` writes."""
    return (files(__package__) / "tasks" / f"course_{step}.txt").read_text(encoding="utf-8")


def check(step: int, path: pathlib.Path) -> list[str]:
    """What is still wrong with a file; empty if nothing is."""
    try:
        names = runpy.run_path(str(path))
    except Exception:
        return [f"it does not run:\n{traceback.format_exc(limit=-1)}"]
    wrong = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for question, ask in CHECKS[step]:
            try:
                ask(names)
            except Exception as error:
                told = str(error) or type(error).__name__
                wrong.append(f"{question}: {told.splitlines()[0]}")
    return wrong


def main(arguments: list[str]) -> int:
    """Do what the command line asks for; returns the exit status."""
    command, *rest = arguments or [""]
    if command == "list" and not rest:
        for step in CHECKS:
            title = task(step).splitlines()[0].strip('"')
            print(title)
        return 0
    known = rest and rest[0].isdigit() and int(rest[0]) in CHECKS
    if command not in ("start", "check") or not known or len(rest) > 1 + (command == "check"):
        print(f"{USAGE}\nN is 1 to {max(CHECKS)}", file=sys.stderr)
        return 2
    step = int(rest[0])
    path = pathlib.Path(rest[1] if len(rest) > 1 else f"course_{step}.py")
    if command == "start":
        if path.exists():
            print(f"{path} exists and is left as it is", file=sys.stderr)
            return 2
        path.write_text(task(step), encoding="utf-8")
        print(f"wrote {path}: edit it, then python -m tinygrad_edu.course check {step}")
        return 0
    if not path.exists():
        print(f"no {path}: python -m tinygrad_edu.course start {step}", file=sys.stderr)
        return 2
    wrong = check(step, path)
    print("\n".join([f"not yet: {text}" for text in wrong]) or f"step {step} is done")
    return 1 if wrong else 0


if __name__ == "__main__":
    with until_closed():
        status = main(sys.argv[1:])
    sys.exit(status)
