"""Published weaknesses of readers of checkpoints, each by its number: none of them is one here.

What concerns the zip archive (CVE-2025-1944, -1945, -10156) is in test_archives.py.
"""

from __future__ import annotations

import io
import os
import pathlib
import pickle
import tarfile

import pytest
from hostile import archive, storage, tensor, text

import tinygrad_edu as torch
from tinygrad_edu.serialization import CheckpointError


class Attack:
    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def target(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder that exists only if code of a file has been run."""
    return tmp_path / "attacked"


def refused(data: bytes, target: pathlib.Path) -> str:
    for weights_only in (True, None):
        with pytest.raises(CheckpointError) as caught:
            torch.load(io.BytesIO(data), weights_only=weights_only)
    assert not target.exists()
    return str(caught.value)


def test_cve_2025_32434_a_tar_file_of_the_oldest_format(target: pathlib.Path) -> None:
    """torch.load(weights_only=True) unpickled parts of such a file with Python's own reader."""
    attack = pickle.dumps(Attack(target), 2)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as out:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            info = tarfile.TarInfo(name)
            info.size = len(attack)
            out.addfile(info, io.BytesIO(attack))
    assert "no zip archive" in refused(file.getvalue(), target)
    assert "a pickle, but not of torch" in refused(attack, target)


def test_cve_2025_32434_an_archive_with_code(target: pathlib.Path) -> None:
    """TorchScript archives went another way than the checked one."""
    attack = pickle.dumps(Attack(target), 2)
    data = archive(b"\x80\x02}.", ("constants.pkl", attack), ("code/x.py", b"1/0"))
    assert "TorchScript" in refused(data, target)


@pytest.mark.parametrize("opcode", ["s", "u"])
@pytest.mark.parametrize(
    "filled",
    [b"]", b")", text("x"), b"K\x01", tensor()[2:-1], storage(), b"ctorch\nfloat32\n"],
    ids=["list", "tuple", "string", "number", "tensor", "storage", "dtype"],
)
def test_cve_2026_24747_items_set_in_what_is_no_dictionary(
    filled: bytes, opcode: str, target: pathlib.Path
) -> None:
    items = b"K\x00K\x01s" if opcode == "s" else b"(K\x00K\x01u"
    assert "fills a" in refused(archive(b"\x80\x02" + filled + items + b"."), target)


@pytest.mark.parametrize("claimed", [0, 1, 15, 17, 2**31, 2**62, -1])
def test_cve_2026_24747_a_storage_that_claims_another_size(
    claimed: int, target: pathlib.Path
) -> None:
    refused(archive(tensor(of=storage(count=claimed))), target)


def test_cve_2026_24747_a_tensor_that_reaches_beyond_its_storage(target: pathlib.Path) -> None:
    for size, stride, offset in (
        ((17,), (1,), 0), ((2,), (16,), 0), ((1,), (1,), 16), ((2**31, 2**31), (1, 1), 0),
        ((2**62, 4), (0, 0), 0), ((2,), (2**62,), 0),
    ):  # fmt: skip
        assert "does not fit" in refused(archive(tensor(None, offset, size, stride)), target)
