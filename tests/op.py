"""Everything about one operation, beside torch: `python -m tests.op lerp`.

Runs the checks of test_operations.py on the rows of that name (and of its parts: `lerp` finds
`lerp` and `lerp_`), without collecting the others.  `python -m tests.op --list` names all rows.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import itertools
import pathlib
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parent))


def cases(check: Any) -> Iterator[dict[str, Any]]:
    """The arguments besides `op` that pytest gives the check."""
    marks = [m for m in check.pytestmark if m.name == "parametrize" and m.args[0] != "op"]
    names = [m.args[0] for m in marks]
    for values in itertools.product(*[m.args[1] for m in marks]):
        yield dict(zip(names, values, strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("name", nargs="?", default="", help="of the operation, as torch has it")
    parser.add_argument("--list", action="store_true", help="name all rows")
    chosen = parser.parse_args()
    tests: Any = importlib.import_module("test_operations")
    if chosen.list or not chosen.name:
        print(*sorted({op.name for op in tests.ROWS}))
        return 0
    rows = [op for op in tests.ROWS if chosen.name in (op.name, op.name.split(".")[-1], *op.covers)]
    if not rows:
        print(f"no row is named {chosen.name!r}: add one to tests/op_table")
        return 2
    warnings.simplefilter("ignore")
    start, failed, done = time.perf_counter(), 0, 0
    checks = [f for name, f in inspect.getmembers(tests, inspect.isfunction) if name[:5] == "test_"]
    for op, check in itertools.product(rows, [c for c in checks if hasattr(c, "pytestmark")]):
        for case in cases(check):
            label = " ".join([check.__name__, *[getattr(v, "__name__", v) for v in case.values()]])
            try:
                check(op=op, **case)
            except BaseException as error:
                if type(error).__name__ == "Skipped":
                    continue
                failed += 1
                print(f"FAILED {op.name}: {label}")
                traceback.print_exception(error, limit=-2)
            done += 1
    print(f"{chosen.name}: {done} checks, {failed} failed, {time.perf_counter() - start:.2f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
