"""torch's format from before version 1.6, and what is said of files that are no checkpoints."""

from __future__ import annotations

import io
import pickle
import random
import struct
import tarfile
import zipfile
from typing import Any

import numpy as np
import pytest
from hostile import HOSTILE_NAMES, archive, calls, canary, text

import tinygrad_edu as ours
from tinygrad_edu.serialization import CheckpointError
from tinygrad_edu.serialization.formats import LEGACY

torch = pytest.importorskip("torch")


def old(obj: Any) -> bytes:
    file = io.BytesIO()
    torch.save(obj, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def load(data: bytes, **options: Any) -> Any:
    return ours.load(io.BytesIO(data), **options)


def refused(data: bytes, **options: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        load(data, **options)
    assert not canary
    return str(caught.value)


def objects() -> dict[str, Any]:
    torch.manual_seed(0)
    base = torch.randn(4, 5)
    model = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.BatchNorm1d(4))
    optimizer = torch.optim.Adam(model.parameters())
    model(base).sum().backward()
    optimizer.step()
    kinds = [torch.bool, torch.uint8, torch.int16, torch.int64, torch.float16, torch.float64]
    return {
        "state": model.state_dict(), "optimizer": optimizer.state_dict(),
        "views": [base, base[1:, ::2], base.t()], "empty": torch.empty(0, 3), "number": 3,
        "kinds": [torch.ones(3).to(kind) for kind in kinds], "grad": torch.ones(2).requires_grad_(),
    }  # fmt: skip


def same(mine: Any, theirs: Any) -> None:
    if isinstance(theirs, dict):
        assert list(mine) == list(theirs)
        for key in theirs:
            same(mine[key], theirs[key])
    elif isinstance(theirs, (list, tuple)):
        assert len(mine) == len(theirs)
        for one, other in zip(mine, theirs, strict=True):
            same(one, other)
    elif isinstance(theirs, torch.Tensor):
        assert (str(mine.dtype), mine.shape) == (str(theirs.dtype), theirs.shape)
        assert mine.stride() == theirs.stride() and mine.requires_grad == theirs.requires_grad
        assert np.array_equal(mine.detach().numpy(), theirs.detach().numpy())
    else:
        assert mine == theirs


@pytest.mark.parametrize("name", objects())
def test_torchs_old_files(name: str, tmp_path: Any) -> None:
    expected = objects()[name]
    data = old(expected)
    same(load(data), expected)
    same(load(data, map_location="cpu", weights_only=False), expected)
    (tmp_path / "x.pth").write_bytes(data)
    same(ours.load(tmp_path / "x.pth"), expected)


def test_views_share_memory_and_places_are_asked_once() -> None:
    asked = []

    def place(memory: Any, location: str) -> Any:
        asked.append((location, bytes(memory.base[:4])))
        return memory

    found = load(old(objects()["views"]), map_location=place)
    assert asked == [("cpu", objects()["views"][0].numpy().tobytes()[:4])]
    found[0].zero_()
    assert not found[1].any() and not found[2].any()


def test_files_that_follow_each_other() -> None:
    file = io.BytesIO(b"head" + old([torch.ones(2)]) + old({"a": 1}))
    file.seek(4)
    assert ours.load(file)[0].tolist() == [1, 1]
    assert ours.load(file) == {"a": 1}


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_whole_modules() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())
    data = old(model)
    assert "weights_only=False" in refused(data)
    found = load(data, weights_only=False)
    assert isinstance(found[0], ours.nn.Linear) and isinstance(found[1], ours.nn.ReLU)
    same(found.state_dict(), model.state_dict())


def test_mapping_is_refused(tmp_path: Any) -> None:
    (tmp_path / "x.pth").write_bytes(old(torch.ones(2)))
    with pytest.raises(RuntimeError, match="mmap"):
        ours.load(tmp_path / "x.pth", mmap=True)


def test_damaged_files_end_in_our_error() -> None:
    good = old([torch.arange(6.0), "x"])
    for cut in range(1, len(good)):
        refused(good[:cut])
    draw = random.Random(0)
    for _ in range(1500):
        at = draw.randrange(len(good))
        try:
            load(good[:at] + bytes([draw.randrange(256)]) + good[at + 1 :])
        except CheckpointError:
            pass


HEAD = LEGACY + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)


def written(program: bytes, *names: str, data: bytes = b"") -> bytes:
    return HEAD + program + pickle.dumps(list(names), 2) + data


def storage(count: int, part: bytes = b"N", name: str = "0") -> bytes:
    number = b"J" + struct.pack("<i", count)
    start = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(name) + text("cpu") + number
    return start + part + b"tQ"


def tensor(of: bytes, size: int) -> bytes:
    shape = b"J" + struct.pack("<i", size) + b"\x85"
    return b"\x80\x02ctorch._utils\n_rebuild_tensor\n(" + of + b"K\x00" + shape + b"K\x01\x85tR."


FOUR = struct.pack("<q4f", 4, 1, 2, 3, 4)


def test_what_early_versions_wrote() -> None:
    assert load(written(tensor(storage(4), 4), "0", data=FOUR)).tolist() == [1, 2, 3, 4]
    part = b"(" + text("1") + b"K\x01K\x02t"
    assert load(written(tensor(storage(4, part), 2), "0", data=FOUR)).tolist() == [2, 3]
    python2 = b"\x80\x02}U\x06weightK\x01s."
    assert load(written(python2)) == {"weight": 1}


@pytest.mark.parametrize("label, data", [
    ("claims more than the file has", written(tensor(storage(2**30), 4), "0", data=FOUR)),
    ("claims again what it has", written(
        b"\x80\x02]" + b"".join(storage(30, name=str(i)) + b"a" for i in range(50)) + b".")),
    ("tensor beyond the storage", written(tensor(storage(4), 5), "0", data=FOUR)),
    ("part beyond the storage", written(
        tensor(storage(4, b"(" + text("1") + b"K\x03K\x02t"), 2), "0", data=FOUR)),
    ("another count", written(tensor(storage(3), 3), "0", data=FOUR)),
    ("not listed", written(tensor(storage(4), 4), data=FOUR)),
    ("listed twice", written(tensor(storage(4), 4), "0", "0", data=FOUR + FOUR)),
    ("a list of something else", written(tensor(storage(4), 4), "1", data=FOUR)),
    ("a number in its place", written(b"\x80\x02K\x01Q.")),
    ("big-endian", LEGACY + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": False}, 2)),
    ("another version", LEGACY + pickle.dumps(1000, 2) + pickle.dumps({"little_endian": True}, 2)),
])  # fmt: skip
def test_hostile_files(label: str, data: bytes) -> None:
    refused(data)


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names_run_nothing(name: str) -> None:
    for way, program in calls(name):
        for whole in (True, False):
            if (name, way) != ("builtins.getattr", "GLOBAL"):
                refused(written(program), weights_only=whole)


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        for name in names:
            out.writestr(name, b"x")
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as out:
        out.addfile(tarfile.TarInfo("storages"), io.BytesIO(b""))
    return file.getvalue()


@pytest.mark.parametrize("data, words", [
    (archive(b"\x80\x02}.", ("constants.pkl", b"x")), r"torch.jit.load\(path\).state_dict\(\)"),
    *[(pickle.dumps({"a": 1}, protocol), "a pickle, but not of torch")
      for protocol in (2, 3, 4, 5)],
    (tarred(), "tar archive"),
    (zipped("a/x.npy"), "np.load"),
    (zipped("a/x"), "no checkpoint"),
    (b"\x89HDF\r\n\x1a\n", "HDF5"),
    (b"<!DOCTYPE html>", "download it again"),
    (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
    (struct.pack("<Q", 2) + b"{}", "safetensors.load_file"),
    (b"GGUF", "GGUF"), (b"\x93NUMPY\x01", "np.load"), (b"\x1f\x8b\x08", "gzip"),
    (b"something else", "no zip archive"),
])  # fmt: skip
def test_other_files_are_named(data: bytes, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        load(data)


def test_torchs_own_other_formats_are_named() -> None:
    file = io.BytesIO()
    torch.save({"a": torch.ones(2)}, file, pickle_protocol=4, _use_new_zipfile_serialization=False)
    assert "a pickle, but not of torch" in refused(file.getvalue())
