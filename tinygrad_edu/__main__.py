"""Run an unmodified PyTorch script on this package.

    python -m tinygrad_edu script.py args…
    python -m tinygrad_edu -m module args…

`import torch` in the script, and in everything it imports, gives tinygrad_edu.  It does so in
processes that the script spawns, too (see spawned.py), unless it was run by `-m`.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import platform
import re
import runpy
import sys
import traceback
from importlib.machinery import ModuleSpec
from types import ModuleType

from tinygrad_edu.names.spawned import VARIABLE

USAGE = """usage: python -m tinygrad_edu [option] script.py [args]
       python -m tinygrad_edu [option] -m module [args]

Runs an unmodified PyTorch script: `import torch` gives tinygrad_edu. PyTorch need not be installed.

  --full-traceback  show the frames inside tinygrad_edu, too, when the script fails
  --doctor          name the script's bugs that raise no error; --doctor=10 looks at each 10th step
  --doctor-json     the same as JSON on standard error; --doctor-json=FILE in a file
  --doctor-explain ID  print what a finding means
  --version         print the versions and exit
  --help            print this and exit"""


def main(arguments: list[str]) -> int:
    """Run what the command line asks for; returns the exit status."""
    watched: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if arguments and arguments[0].startswith("--doctor"):
        from tinygrad_edu.diagnosis import command

        doctor, arguments = command.read(arguments)
        if doctor.status is not None:
            return doctor.status
        watched = command.watching(doctor)
    full = "--full-traceback" in arguments[:1]
    arguments = arguments[1:] if full else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(_versions())
        return 0
    as_module = arguments[0] == "-m"
    if as_module:
        arguments = arguments[1:]
    if not arguments or arguments[0].startswith("-"):
        what = f"unknown option {arguments[0]}" if arguments else "-m needs the name of a module"
        print(f"tinygrad_edu: {what}\n\n{USAGE}", file=sys.stderr)
        return 2
    if not as_module and not os.path.isfile(arguments[0]):
        print(f"tinygrad_edu: can't open file {arguments[0]!r}", file=sys.stderr)
        return 2
    from tinygrad_edu import standin

    standin.install()
    sys.argv = list(arguments)
    try:
        with watched:
            if as_module:
                runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
            else:
                run_script(arguments[0])
    except SystemExit:
        raise
    except BaseException as error:
        report(error, full)
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _versions() -> str:
    import numpy

    from tinygrad_edu import version

    return (
        f"tinygrad-edu {version.__version__} (NumPy {numpy.__version__}, Python"
        f" {platform.python_version()})"
    )


def run_script(path: str) -> None:
    """Run a file as `python path` would."""
    path = os.path.abspath(path)
    with io.open_code(path) as file:
        code = compile(file.read(), path, "exec")
    script = ModuleType("__main__")
    script.__dict__.update(__file__=path, __builtins__=__builtins__, __cached__=None)
    script.__package__ = ""
    script.__spec__ = ModuleSpec("tinygrad_edu.names.spawned", None)  # see there
    os.environ[VARIABLE] = path
    sys.modules["__main__"] = script
    sys.path[0] = os.path.dirname(os.path.realpath(path))
    exec(code, script.__dict__)


# ---- errors, as the script's author should see them


def report(error: BaseException, full: bool) -> None:
    """Print the traceback, without our frames unless asked for `full` ones."""
    _add_nearest(error)
    trace = error.__traceback__
    while trace is not None and not full and not _is_users(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    if sys.excepthook is not sys.__excepthook__:  # the script has one of its own
        sys.excepthook(type(error), error, trace or error.__traceback__)
        return
    shown = traceback.TracebackException.from_exception(error)
    if not full:
        _leave_out(shown)
    sys.stdout.flush()
    print("".join(shown.format()), end="", file=sys.stderr, flush=True)


def _folders() -> tuple[str, ...]:
    """Where our files are."""
    names = ("tinygrad_edu", "tinygrad_edu.nn", "tinygrad_edu.optim")
    files = [sys.modules[name].__file__ or "" for name in names if name in sys.modules]
    return tuple(os.path.dirname(os.path.abspath(file)) + os.sep for file in files)


def _is_users(filename: str) -> bool:
    if filename.startswith("<frozen ") or filename == runpy.__file__:
        return False
    return not os.path.abspath(filename).startswith(_folders())


def _leave_out(shown: traceback.TracebackException) -> None:
    """Take our frames out, and errors in the chain that never left our code."""
    shown.stack = traceback.StackSummary.from_list(
        [frame for frame in shown.stack if _is_users(frame.filename)]
    )
    for link in ("__cause__", "__context__"):
        earlier = getattr(shown, link)
        if earlier is not None:
            _leave_out(earlier)
            if not earlier.stack:
                setattr(shown, link, None)


_MISSING = re.compile(
    r"cannot import name '(?P<name>\w+)' from '(?P<source>tinygrad_edu[\w.]*)'"
    r"|module '(?P<module>tinygrad_edu[\w.]*)' has no attribute '(?P<attribute>\w+)'"
)


def _add_nearest(error: BaseException) -> None:
    """Say why a module of ours lacks a name, or which name comes nearest to it.

    `from torch import x` hides what the module itself would say.
    """
    from tinygrad_edu.standin import hint

    found = _MISSING.match(str(error))
    if not isinstance(error, (AttributeError, ImportError)) or found is None:
        return
    where, name = found["module"] or found["source"], found["attribute"] or found["name"]
    said = hint(importlib.import_module(where), name)
    if said not in str(error):
        error.add_note(f"{where} has no {name}{said}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
