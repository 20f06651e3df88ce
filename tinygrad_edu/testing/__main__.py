"""Examine an operation, and write a test file for it.

    python -m tinygrad_edu.testing module:operation [file]

prints what `examine` says of the operation and writes `test_<operation>.py`, or the file named,
unless it exists.  Exit status: 0 all is well, 1 something was found, 2 nothing could be asked.
"""

from __future__ import annotations

import importlib
import pathlib
import sys

from tinygrad_edu.names.pipes import until_closed
from tinygrad_edu.testing.examination import examine

USAGE = "usage: python -m tinygrad_edu.testing module:operation [file]"

TEMPLATE = '''"""{name}: values, derivatives, memory, writes."""

from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_edu as torch
from tinygrad_edu.autograd import gradcheck, gradgradcheck
from tinygrad_edu.testing import away_from, broadcasting, examine, tensors
from {module} import {top}


def test_examined():
    """Give `reference=` a function that is right, and `inputs=` what it is meant for."""
    examine({name}, quiet=True).raise_if_failed()


def made(shapes):
    """Tensors of these shapes, away from 0."""
    options = {{"elements": away_from(0.0), "dtype": torch.float64, "requires_grad": True}}
    return st.tuples(*[tensors(shape=shape, **options) for shape in shapes])


@settings(max_examples=20, deadline=None)
@given(broadcasting({count}).flatmap(made))
def test_derivatives(args):
    assert gradcheck({name}, args)
    assert gradgradcheck({name}, args)
'''


def main(arguments: list[str]) -> int:
    """Do what the command line asks for; returns the exit status."""
    module, colon, name = arguments[0].partition(":") if arguments else ("", "", "")
    if not colon or not name or len(arguments) > 2:
        print(USAGE, file=sys.stderr)
        return 2
    sys.path.insert(0, "")
    try:
        operation = importlib.import_module(module)
        for part in name.split("."):
            operation = getattr(operation, part)
    except (ImportError, AttributeError) as error:
        print(f"tinygrad_edu.testing: {error}", file=sys.stderr)
        return 2
    if not callable(operation):
        print(f"tinygrad_edu.testing: {arguments[0]} cannot be called", file=sys.stderr)
        return 2
    report = examine(operation)
    last = name.rpartition(".")[2]
    path = pathlib.Path(arguments[1] if len(arguments) > 1 else f"test_{last}.py")
    if path.exists():
        print(f"{path} exists and is left as it is")
    else:
        top = name.partition(".")[0]
        text = TEMPLATE.format(module=module, name=name, top=top, count=report.arguments)
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path}")
    return 0 if report.ok else 1


if __name__ == "__main__":
    with until_closed():
        status = main(sys.argv[1:])
    sys.exit(status)
