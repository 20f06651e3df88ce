"""Run an unmodified PyTorch script on this package.

    python -m tinygrad_edu script.py args…     a folder or a zip file with a __main__.py, too
    python -m tinygrad_edu -m module args…
    python -m tinygrad_edu torchrun --nproc-per-node=2 script.py args…
    python -m tinygrad_edu -c command args…    - reads the program from the standard input

`import torch` in the script, and in everything it imports, gives tinygrad_edu.  It does so in
processes that it spawns, too (see spawned.py), and in those that it starts with the same Python
(see names/children).
"""

from __future__ import annotations

import contextlib
import importlib
import io
import linecache
import os
import pkgutil
import platform
import re
import runpy
import sys
import traceback
import zipfile
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any

from tinygrad_edu.engine.places import folders
from tinygrad_edu.names.pipes import until_closed
from tinygrad_edu.names.ranks import announce, note
from tinygrad_edu.names.spawned import VARIABLE

USAGE = """usage: python -m tinygrad_edu [option] script.py | folder | zip file [args]
       python -m tinygrad_edu [option] -m module | -c command | - [args]
       python -m tinygrad_edu torchrun --nproc-per-node=2 script.py [args]
       python -m tinygrad_edu demo | examples [folder] | install-kernel [prefix]

Runs an unmodified PyTorch script: `import torch` gives tinygrad_edu. PyTorch need not be installed.
Processes that the script starts with the same Python inherit that; those of another do not.

  demo              train a small network and show its curve
  examples          list the examples, or copy them into a folder
  install-kernel    install a Jupyter kernel for notebooks that say `import torch`
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

        with until_closed():
            wanted, arguments = command.read(arguments)
        if isinstance(wanted, int):
            return wanted
        watched = wanted
    full = "--full-traceback" in arguments[:1]
    arguments = arguments[1:] if full else arguments
    if arguments[:1] == ["torchrun"] and not os.path.exists("torchrun"):
        arguments = ["-m", "tinygrad_edu.distributed.run", *arguments[1:]]
    with until_closed():
        status = _ours(arguments)
    if status is not None:
        return status
    problem = _problem(arguments)
    if problem:
        print(f"tinygrad_edu: {problem}", file=sys.stderr)
        return 2
    from tinygrad_edu import standin

    standin.install()
    announce()
    standin.for_children()
    try:
        with watched:
            _run(arguments)
    except SystemExit as error:
        end_ranks(error.code)
        raise
    except BaseException as error:
        code = 130 if isinstance(error, KeyboardInterrupt) else 1
        report(error, full, code)
        end_ranks(code)
        return code
    return 0


def _ours(arguments: list[str]) -> int | None:
    """Do what is asked of this package itself; None if a program is to be run."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    if arguments[0] == "--version":
        import numpy

        from tinygrad_edu.version import __version__

        python = platform.python_version()
        print(f"tinygrad-edu {__version__} (NumPy {numpy.__version__}, Python {python})")
        return 0
    program = os.path.join(arguments[0], "__main__.py")
    if arguments[0] in COMMANDS and not (os.path.isfile(arguments[0]) or os.path.isfile(program)):
        from tinygrad_edu.names import commands

        return commands.COMMANDS[arguments[0]](arguments[1:])
    return None


def end_ranks(code: object) -> None:
    """A rank that fails ends the others, which might wait for it for ever."""
    world = sys.modules.get("tinygrad_edu.distributed.world")
    if code not in (None, 0):
        number = code if isinstance(code, int) else 1
        note(number, "" if isinstance(code, int) else str(code))
        if world is not None:
            world.end_all(number)


COMMANDS = ("demo", "examples", "install-kernel")


def console() -> int:
    """What the command `tinygrad-edu` runs."""
    return main(sys.argv[1:])


def _problem(arguments: list[str]) -> str | None:
    """Why nothing can be run."""
    first = arguments[0]
    if first in ("-m", "-c"):
        what = "the name of a module" if first == "-m" else "a command"
        return f"{first} needs {what}\n\n{USAGE}" if len(arguments) < 2 else None
    if first.startswith("-") and first != "-":
        return f"unknown option {first}\n\n{USAGE}"
    return None if first == "-" or os.path.exists(first) else f"can't open file {first!r}"


def _run(arguments: list[str]) -> None:
    """Run a module, a command, the standard input, a folder, a zip file or a script.

    What comes first on the path is what Python would put there.
    """
    first, rest = arguments[0], arguments[1:]
    if first == "-m":
        sys.argv = rest
        _come_first(os.getcwd())
        name = re.sub(r"^torch\.", "tinygrad_edu.", rest[0])  # torch.distributed.run is ours
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    elif first in ("-c", "-"):
        sys.argv = ["-c", *rest[1:]] if first == "-c" else ["-", *rest]
        _come_first("")
        text = rest[0] if first == "-c" else sys.stdin.read()
        run_code(text, "<string>" if first == "-c" else "<stdin>", {})
    elif os.path.isdir(first) or zipfile.is_zipfile(first):
        sys.argv = arguments
        run_folder(os.path.abspath(first))
    else:
        sys.argv = arguments
        run_script(first)


def _come_first(folder: str) -> None:
    """Put a folder first on the path, in place of ours."""
    if not sys.flags.safe_path:
        sys.path[0] = folder


def run_script(path: str) -> None:
    """Run a file as `python path` would."""
    path = os.path.abspath(path)
    with io.open_code(path) as file:
        text = file.read()
    os.environ[VARIABLE] = path
    _come_first(os.path.dirname(os.path.realpath(path)))
    spec = ModuleSpec("tinygrad_edu.names.spawned", None)  # see there
    run_code(text, path, {"__file__": path, "__cached__": None, "__spec__": spec})


def run_folder(path: str) -> None:
    """Run the `__main__` of a folder or a zip file."""
    _come_first(path)
    importer = pkgutil.get_importer(path)
    spec = importer.find_spec("__main__") if importer is not None else None
    if spec is None or spec.loader is None:
        raise ImportError(f"can't find '__main__' module in {path!r}")
    code = spec.loader.get_code("__main__")  # type: ignore[attr-defined]
    run_code(code, "", {"__file__": spec.origin, "__loader__": spec.loader, "__spec__": spec})


def run_code(text: Any, name: str, variables: dict[str, Any]) -> None:
    """Run a program, its text or its code, as the main module."""
    code = text if isinstance(text, CodeType) else compile(text, name, "exec", dont_inherit=True)
    if isinstance(text, str):  # tracebacks show its lines
        linecache.cache[name] = len(text), None, f"{text}\n".splitlines(keepends=True), name
    script = ModuleType("__main__")
    script.__dict__.update(**{"__builtins__": __builtins__, "__spec__": None, **variables})
    script.__package__ = "" if "__file__" in variables else None
    sys.modules["__main__"] = script
    exec(code, script.__dict__)


# ---- errors, as the script's author should see them


def report(error: BaseException, full: bool, code: int) -> None:
    """Print the traceback, without our frames unless asked for `full` ones.

    If there is a launcher, it is told instead, and that this process will return `code`.
    """
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
    text = "".join(shown.format())
    sys.stdout.flush()
    if not note(code, text):
        print(text, end="", file=sys.stderr, flush=True)


def _is_users(filename: str) -> bool:
    if filename.startswith("<frozen ") or filename == runpy.__file__:
        return False
    return not os.path.abspath(filename).startswith(folders())


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
