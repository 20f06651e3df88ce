"""Files of earlier editions load, hold what they held, and go on working: see old_files."""

from __future__ import annotations

import json
import pickletools
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import old_files
import pytest

pytest.importorskip("ml_dtypes")
pytest.importorskip("safetensors")

EDITIONS = sorted(Path(old_files.__file__).parent.glob("edition*.zip"))
FILES = [
    pytest.param(edition, name, id=f"{edition.stem}-{name}")
    for edition in EDITIONS
    for name in zipfile.ZipFile(edition).namelist()
    if name != "expected.json"
]
RULES = {
    "runs": 1e-3,  # eight steps of training
}
"""By how much results of arithmetic may differ, where it is more than 1e-4."""

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def expected() -> dict[Path, Any]:
    """What each edition's files held and did."""
    return {e: json.loads(zipfile.ZipFile(e).read("expected.json")) for e in EDITIONS}


@pytest.mark.parametrize(("edition", "name"), FILES)
def test_an_old_file(edition: Path, name: str, expected: dict[Path, Any]) -> None:
    data = zipfile.ZipFile(edition).read(name)
    found = json.loads(json.dumps(old_files.look(name, old_files.load(name, data))))
    then = expected[edition][name]
    assert old_files.same(found["holds"], then["holds"]), (found["holds"], then["holds"])
    rtol = RULES.get(name.partition("/")[0], 1e-4)
    assert old_files.same(found["does"], then["does"], rtol), (found["does"], then["does"])


@pytest.mark.parametrize("edition", EDITIONS, ids=lambda e: e.stem)
def test_pickles_load_where_nothing_is_imported_yet(edition: Path) -> None:
    """A pickle imports what it needs by itself, whichever comes first."""
    script = """
import pickle, random, sys, zipfile
edition = zipfile.ZipFile(sys.argv[1])
names = [name for name in edition.namelist() if name.endswith(".pickle")]
random.Random(int(sys.argv[2])).shuffle(names)
for name in names:
    try:
        pickle.loads(edition.read(name))
    except Exception as error:
        error.add_note(f"in {name}")
        raise
print(len(names))
"""
    for seed in range(3):
        tests = str(Path(old_files.__file__).parents[1])
        command = [sys.executable, "-c", f"import sys; sys.path.append({tests!r})" + script]
        done = subprocess.run([*command, str(edition), str(seed)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) > 200


@pytest.mark.parametrize("edition", EDITIONS, ids=lambda e: e.stem)
def test_an_edition_has_every_kind_of_file(edition: Path) -> None:
    files = zipfile.ZipFile(edition)
    kinds = {name.partition("/")[0] for name in files.namelist()} - {"expected.json"}
    assert kinds == set(old_files.LOOKS)
    assert {Path(name).suffix for name in files.namelist()} >= {".pickle", ".pt", ".safetensors"}
    assert len(paths_in(files)) > 100


def paths_in(files: zipfile.ZipFile) -> set[str]:
    """Modules of the package that the pickles mention; print them by running this file."""
    return {
        module
        for name in files.namelist()
        if name.endswith(".pickle")
        for opcode, module, _ in pickletools.genops(files.read(name))
        if opcode.name.endswith("UNICODE") and module.split(".")[0] == "tinygrad_edu"
    }


if __name__ == "__main__":
    for edition in EDITIONS:
        print(edition.name, *sorted(paths_in(zipfile.ZipFile(edition))), sep="\n    ")
