"""The doctor names the bugs of the corpus, by id and line, and leaves the clean programs alone."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import json
import math
import pathlib
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from run_scripts import SCRIPTS

import tinygrad_edu as torch
from tinygrad_edu import nn, standin
from tinygrad_edu.__main__ import run_script
from tinygrad_edu.diagnosis import CHECKS, Diagnosis, explain
from tinygrad_edu.diagnosis.command import document
from tinygrad_edu.nn import functional as F

ROOT = pathlib.Path(__file__).resolve().parent.parent
Program = Callable[[], Any]


def programs(*names: str) -> dict[str, Program]:
    """The programs of some files: functions without arguments."""
    found = {}
    for name in names:
        module = importlib.import_module(f"doctor.{name}")
        for key, value in vars(module).items():
            own = inspect.isfunction(value) and value.__module__ == module.__name__
            if own and not inspect.signature(value).parameters:
                found[f"{name}.{key}"] = value
    return found


BUGS = programs("bugs_loop", "bugs_flow", "bugs_models", "bugs_again")
CLEAN = programs("clean_training", "clean_traps")


def expected(program: Program) -> tuple[str, str, int]:
    """The id, the file and the line that a program is marked with."""
    special = getattr(program, "expected", None)
    if special is not None:
        id, file, mark = special
        path = ROOT / "tests" / "doctor" / file
        lines = path.read_text().splitlines()
        return id, str(path), 1 + next(i for i, line in enumerate(lines) if mark in line)
    lines, start = inspect.getsourcelines(program)
    marks = [(found[1], start + i) for i, line in enumerate(lines)
             if (found := re.search(r"# BUG: ([\w-]+)", line))]  # fmt: skip
    assert len(marks) == 1
    return marks[0][0], inspect.getsourcefile(program) or "", marks[0][1]


def watched(program: Program, **options: Any) -> Any:
    """The doctor that has watched a program, which may raise."""
    torch.manual_seed(0)
    d = torch.doctor(file=False, **options)
    with warnings.catch_warnings(), contextlib.suppress(RuntimeError, ValueError, TypeError):
        warnings.simplefilter("ignore")
        with d:
            program()
    return d


@pytest.mark.parametrize("name", BUGS)
def test_bug(name: str) -> None:
    id, file, line = expected(BUGS[name])
    found = watched(BUGS[name]).findings
    hits = [f for f in found if (f.id, f.file, f.line) == (id, file, line)]
    assert hits, [(f.id, f.file, f.line) for f in found]
    assert hits[0].step < 20 or id in ("loss-flat",)
    assert "{" not in str(hits[0]).replace("{}", "")


@pytest.mark.parametrize("name", CLEAN)
def test_clean(name: str) -> None:
    alarms = [str(f) for f in watched(CLEAN[name]).findings if f.level != "note"]
    assert not alarms, "\n".join(alarms)


def test_the_corpus_is_large_and_covers_all_checks() -> None:
    assert len(BUGS) >= 80 and len(CLEAN) >= 60
    assert {expected(program)[0] for program in BUGS.values()} == set(CHECKS)
