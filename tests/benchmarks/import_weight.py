"""What importing costs: lines of code, and seconds beside NumPy's own import.

    python tests/benchmarks/import_weight.py            both figures
    python tests/benchmarks/import_weight.py --files    and each file with its lines

The lines are those of the package's files that stand in memory when example 01 has run for one
epoch.  The times are the processor's, of processes that alternate; the smallest of each is taken.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import count_lines  # noqa: E402

FOLDERS = [ROOT / "tinygrad_edu", ROOT / "nn", ROOT / "optim"]
EXAMPLE = """
import runpy, sys
sys.path.insert(0, sys.argv[1])
sys.argv = ["01_mlp_digits.py", "--epochs", "1", "--out", sys.argv[2]]
try:
    runpy.run_path(sys.path[0] + "/01_mlp_digits.py", run_name="__main__")
except SystemExit as done:
    assert not done.code, done.code
for module in list(sys.modules.values()):
    print("file", getattr(module, "__file__", None))
"""
NUMPY = "import numpy"
OURS = "import tinygrad_edu, tinygrad_edu.nn, tinygrad_edu.optim, tinygrad_edu.utils.data"
TIMED = "import time; before = time.process_time(); {}; print(time.process_time() - before)"


def _python(*arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an import that compiles is another thing
    return subprocess.run(
        [sys.executable, "-c", *arguments],
        env=environment, text=True, capture_output=True, check=True, timeout=300,
    ).stdout  # fmt: skip


def lines_of_example() -> dict[pathlib.Path, int]:
    """Each file of the package that example 01 imports, and its lines of code."""
    with tempfile.TemporaryDirectory() as folder:
        said = _python(EXAMPLE, str(ROOT / "examples"), folder + "/picture.png")
    named = {line.removeprefix("file ") for line in said.splitlines() if line.startswith("file ")}
    files = {pathlib.Path(name).resolve() for name in named if name.endswith(".py")}
    ours = sorted(f for f in files if any(f.is_relative_to(folder) for folder in FOLDERS))
    return {file: count_lines.code_lines(file.read_text()) for file in ours}


def seconds(rounds: int) -> tuple[float, float]:
    """The smallest times of NumPy's import and of ours, which brings NumPy with it."""
    for warm in (NUMPY, OURS):
        _python(warm)
    numpy, ours = zip(
        *[[float(_python(TIMED.format(what))) for what in (NUMPY, OURS)] for _ in range(rounds)],
        strict=True,
    )
    return min(numpy), min(ours)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", action="store_true", help="name each file")
    parser.add_argument("--rounds", type=int, default=10, help="of timing")
    options = parser.parse_args()
    lines = lines_of_example()
    if options.files:
        for file, count in sorted(lines.items(), key=lambda pair: -pair[1]):
            print(f"{count:6}  {file.relative_to(ROOT)}")
    print(f"example 01 imports {sum(lines.values()):,} lines of code in {len(lines)} files")
    numpy, ours = seconds(options.rounds)
    print(
        f"package, nn, optim, utils.data: {1000 * ours:.0f} ms, NumPy alone {1000 * numpy:.0f} ms: "
        f"{ours / numpy:.2f} times"
    )


if __name__ == "__main__":
    main()
