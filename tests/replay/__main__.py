"""Replay torch's own databases of samples on this library, and print what came of it.

    python -m tests.replay operations [--every N] [name ...]

`operations` is op_db, `types` the same with other element types than float64, `layers` module_db,
`optimizers` optim_db; `all` is all four.  A name is that of an entry, and may have `*` in it.  The
exit status is 1 if a sample fails.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch  # noqa: E402
from replay import modules, operations, optimizers, types  # noqa: E402
from replay.both import Outcome, quiet, table  # noqa: E402
from replay.exclusions import EXCLUSIONS, used  # noqa: E402
from torch.testing._internal.common_modules import module_db  # noqa: E402
from torch.testing._internal.common_optimizers import optim_db  # noqa: E402

Replay = Callable[[Any, int], Iterator[Outcome]]
# name -> title, entries, the name of an entry, how to replay it
DATABASES: dict[str, tuple[str, list[Any], Callable[[Any], str], Replay]] = {
    "operations": ("operations of op_db", operations.ENTRIES, lambda e: e.name, operations.replay),
    "types": (
        "op_db, other types", operations.ENTRIES, lambda e: e.name, types.replay_types,
    ),
    "layers": ("layers of module_db", module_db, modules.title, modules.replay_layer),
    "optimizers": (
        "optimizers of optim_db", optim_db, lambda e: e.name, optimizers.replay_optimizer,
    ),
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.replay")
    parser.add_argument("database", choices=[*DATABASES, "all"])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--every", type=int, default=1, metavar="N")
    given = parser.parse_args()
    torch.set_num_threads(1)
    failed = 0
    for database in DATABASES if given.database == "all" else [given.database]:
        title, entries, name_of, replay = DATABASES[database]
        with quiet():
            found = [
                outcome
                for entry in entries
                if not given.names or any(fnmatchcase(name_of(entry), n) for n in given.names)
                for outcome in replay(entry, given.every)
            ]
        failed += table(title, found)
        if database == "operations" and not given.names and given.every == 1:
            for entry in [entry for entry in EXCLUSIONS if entry not in used]:
                print(f"FAILED: left out, but there is no such sample: {entry}")
                failed += 1
    return failed


if __name__ == "__main__":
    sys.exit(bool(main()))
