"""The table of the corpus: what each bug raises by itself, and when the doctor names it.

    python -m doctor.table            (in the folder tests; torch must be installed)

Writes docs/doctor_table.md.
"""

from __future__ import annotations

import importlib
import pathlib
import sys
import tempfile
import warnings

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def on_torch(folder: pathlib.Path) -> None:
    """A copy of the corpus that imports PyTorch."""
    (folder / "on_torch").mkdir()
    for path in (ROOT / "tests" / "doctor").glob("*.py"):
        text = path.read_text().replace("import tinygrad_edu as torch", "import torch")
        text = text.replace("tinygrad_edu", "torch").replace("from doctor.", "from on_torch.")
        (folder / "on_torch" / path.name).write_text(text)
    sys.path.insert(0, str(folder))


def signal(library, program) -> str:
    """What a program raises by itself."""
    library.manual_seed(0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's, which the package keeps quiet
        try:
            program()
        except Exception as error:
            return type(error).__name__
    kinds = [w for w in caught if "DataLoader will create" not in str(w.message)]
    return "warning" if kinds else "nothing"


def main() -> None:
    import torch
    from test_doctor import BUGS, CLEAN, expected, watched

    import tinygrad_edu

    rows, counts = [], [0, 0, 0]
    with tempfile.TemporaryDirectory() as folder:
        on_torch(pathlib.Path(folder))
        files = {key.partition(".")[0] for key in BUGS}
        theirs = {name: importlib.import_module(f"on_torch.{name}") for name in files}
        for key, program in BUGS.items():
            file, name = key.split(".")
            id = expected(program)[0]
            them = signal(torch, getattr(theirs[file], name))
            we = signal(tinygrad_edu, program)
            found = next((f for f in watched(program).findings if f.id == id), None)
            said = them != "nothing", we != "nothing", found is not None
            counts = [count + more for count, more in zip(counts, said, strict=True)]
            when = "not named" if found is None else f"{found.level}, step {found.step}"
            rows.append(f"| {name.replace('_', ' ')} | {them} | {we} | `{id}` | {when} |")
    found = [watched(program).findings for program in CLEAN.values()]
    alarmed = sum(any(f.level != "note" for f in some) for some in found)
    head = f"""# The doctor's corpus

Written by `python -m doctor.table` in `tests/`. Of {len(rows)} programs with a bug PyTorch signals
{counts[0]} by itself, this package {counts[1]}; the doctor names {counts[2]}. The step is the
number of steps that optimizers had made. Of the {len(CLEAN)} programs in
`tests/doctor/clean_*.py`, which are right, the doctor alarms {alarmed} (errors and warnings).

| bug | PyTorch | without the doctor | the doctor | when |
|---|---|---|---|---|
"""
    (ROOT / "docs" / "doctor_table.md").write_text(head + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
