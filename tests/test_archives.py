"""Which bytes are one archive: several in a file, bytes around it, and two descriptions of one."""

from __future__ import annotations

import io
import os
import pathlib
import random
import struct
import sys
import threading
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from checkpoints import plain, torch
from hostile import SOUND, archive, central, patched, saved

import tinygrad_edu as ours
from tinygrad_edu.serialization import CheckpointError

LIBRARIES = {"saved here": ours, "saved by torch": torch}


def at(data: bytes, place: int = 0) -> io.BytesIO:
    file = io.BytesIO(data)
    file.seek(place)
    return file


def of(library: Any, state: Any) -> bytes:
    file = io.BytesIO()
    library.save(state, file)
    return file.getvalue()


# ---- several archives ----------------------------------------------------------------------------


@pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
@pytest.mark.parametrize("sizes", [(2, 2), (2, 5000), (400_000, 3, 70_000)])
def test_several_saves_into_one_file(library: Any, sizes: tuple[int, ...]) -> None:
    file = io.BytesIO(b"head")
    file.seek(4)
    begins = []
    for i, size in enumerate(sizes):
        begins.append(file.tell())
        library.save({"i": i, "x": library.full((size,), float(i))}, file)
    for i, size in enumerate(sizes):
        file.seek(begins[i])
        state = ours.load(file)
        assert state["i"] == i and state["x"].tolist() == [float(i)] * size
        # Where torch leaves the file: in the archive, where no other begins.
        with pytest.raises(CheckpointError):
            ours.load(file)


def test_a_second_load_does_what_torch_does() -> None:
    data = of(torch, {"x": torch.ones(3)})
    one, other = at(data), at(data)
    ours.load(one), torch.load(other)
    assert one.tell() == other.tell()
    for library, file in ((ours, one), (torch, other)):
        with pytest.raises(__import__("pickle").UnpicklingError):
            library.load(file)
    for library in (ours, torch):
        for file in (at(b""), at(data, len(data))):
            with pytest.raises(EOFError):
                library.load(file)


@pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
@pytest.mark.parametrize(
    "behind", [b"x", b"\0" * 100_000, b"PK\x05\x06" + bytes(18), b"PK\x05\x06"]
)
def test_bytes_around_an_archive(library: Any, behind: bytes, tmp_path: pathlib.Path) -> None:
    good = of(library, {"x": library.arange(3)})
    assert ours.load(at(b"head" + good + behind, 4))["x"].tolist() == [0, 1, 2]
    with pytest.raises(CheckpointError):
        ours.load(at(b"head" + good))
    for data in (b"head" + good, good + behind, good + good):
        path = tmp_path / "x.pt"
        path.write_bytes(data)
        for options in ({}, {"mmap": True}):
            with pytest.raises(CheckpointError):
                ours.load(path, **options)


def test_an_archive_in_a_tensor() -> None:
    """Bytes that look like the end of an archive may be anywhere in one."""
    inner = saved({"inner": ours.ones(2)})
    outer = saved({"bytes": inner, "x": ours.tensor(list(inner + inner), dtype=ours.uint8)})
    for data in (outer, outer + inner, outer + b"tail"):
        found = ours.load(at(data))
        assert found["bytes"] == inner and bytes(found["x"].tolist()) == inner + inner


# ---- two descriptions of one archive -------------------------------------------------------------


def end_of(data: bytes) -> int:
    return data.rfind(b"PK\x05\x06")


def test_a_changed_end_record_is_refused_where_torch_refuses_it() -> None:
    """Any byte of the directory and the end record, set to any value: torch accepts no more."""
    rng = random.Random(0)
    accepted = {"ours": 0, "torch": 0}
    for library in (ours, torch):
        good = of(library, {"x": library.arange(3)})
        first = struct.unpack("<I", good[-6:-2])[0]
        for place in range(first, len(good)):
            for value in {0, 255, good[place] ^ 1, good[place] ^ 0x20, rng.randrange(256)}:
                changed = patched(good, place, bytes([value]))
                if changed == good:
                    continue
                try:
                    state = ours.load(at(changed))
                    assert state["x"].tolist() == [0, 1, 2]
                except CheckpointError:
                    continue
                accepted["ours"] += 1
                try:
                    assert torch.load(at(changed))["x"].tolist() == [0, 1, 2]
                    accepted["torch"] += 1
                except Exception as error:
                    pytest.fail(f"torch refuses byte {place} of {len(good)} = {value}: {error}")
    assert accepted["ours"] > 50, "dates and versions say nothing"


def line(name: str, data: bytes) -> int:
    return central(data, f"archive/{name}")


def header(name: str, data: bytes) -> int:
    return data.find(f"archive/{name}".encode()) - 30


Change = Callable[[bytes], bytes]
GOOD = saved(SOUND)
PICKLE = b"\x80\x02K\x01."
PLAIN = archive(PICKLE)  # by Python's zipfile: sums stand in the headers


def number(at_: int, form: str, value: int, data: bytes) -> bytes:
    return patched(data, at_, struct.pack(form, value))


def with_extra(kind: int, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        for name, data in (("data.pkl", b"\x80\x02K\x01."), ("version", b"3\n")):
            info = zipfile.ZipInfo(f"archive/{name}")
            info.extra = struct.pack("<HH", kind, len(content)) + content
            out.writestr(info, data)
    return file.getvalue()


def between(data: bytes) -> bytes:
    """A second directory before the real one, which no entry accounts for."""
    end = end_of(PLAIN)
    size, place = struct.unpack("<II", PLAIN[end + 12 : end + 20])
    body, listed = PLAIN[:place], PLAIN[place:end]
    return body + data + listed + number(16, "<I", place + len(data), PLAIN[end:])


TRICKS: dict[str, bytes] = {
    # CVE-2025-1944 (picklescan): another name in the header than in the directory.
    "cve_2025_1944_names_differ": patched(PLAIN, header("data.pkl", PLAIN) + 38, b"data.pkx"[:8]),
    # CVE-2025-1945 (picklescan): a flag that makes one reader believe the entry is encrypted.
    "cve_2025_1945_encrypted_in_header": number(header("data.pkl", PLAIN) + 6, "<H", 1, PLAIN),
    "cve_2025_1945_encrypted_in_directory": number(line("data.pkl", PLAIN) + 8, "<H", 1, PLAIN),
    "strong_encryption": number(line("data.pkl", PLAIN) + 8, "<H", 0x40, PLAIN),
    "masked_headers": number(line("data.pkl", PLAIN) + 8, "<H", 0x2000, PLAIN),
    # CVE-2025-10156 (picklescan): a wrong checksum that stops the scanner but not the loader.
    "cve_2025_10156_checksum_in_header": number(header("data.pkl", PLAIN) + 14, "<I", 1, PLAIN),
    "cve_2025_10156_checksum_in_directory": number(line("data.pkl", PLAIN) + 16, "<I", 1, PLAIN),
    "cve_2025_10156_both": PLAIN.replace(struct.pack("<I", zlib.crc32(PICKLE)), bytes(4)),
    "size_in_header": number(header("data.pkl", PLAIN) + 22, "<I", 4, PLAIN),
    "checksum_behind_the_bytes": GOOD.replace(b"PK\x07\x08", b"PK\x07\x09", 1),
    "several_disks": number(end_of(PLAIN) + 4, "<H", 1, PLAIN),
    "directory_on_another_disk": number(end_of(PLAIN) + 6, "<H", 1, PLAIN),
    "fewer_entries_here_than_in_all": number(end_of(PLAIN) + 8, "<H", 1, PLAIN),
    "more_entries_than_lines": number(end_of(PLAIN) + 8, "<I", 5 * 65537, PLAIN),
    "an_entry_on_another_disk": number(line("data.pkl", PLAIN) + 34, "<H", 1, PLAIN),
    "a_comment": number(end_of(PLAIN) + 20, "<H", 3, PLAIN) + b"abc",
    "a_comment_of_an_entry": number(line("version", PLAIN) + 32, "<H", 1, PLAIN),
    "bytes_between_entries_and_directory": between(b"hidden"),
    "two_directories": between(PLAIN[line("data.pkl", PLAIN) : end_of(PLAIN)]),
    "a_second_name_in_an_extra_field": with_extra(0x7075, b"\x01" + bytes(4) + b"archive/x"),
    "an_extra_field_that_is_cut": with_extra(1, b"x"),
    "names_that_differ_in_case": archive(b"\x80\x02K\x01.", ("DATA.PKL", b"\x80\x02K\x02.")),
    "a_name_in_an_unknown_encoding": PLAIN.replace(b"archive/version", b"archive/versi\xff\xfe"),
}


@pytest.mark.parametrize("trick", TRICKS)
def test_two_readers_never_see_two_contents(trick: str, tmp_path: pathlib.Path) -> None:
    data = TRICKS[trick]
    assert data not in (GOOD, PLAIN)
    with pytest.raises(CheckpointError):
        ours.load(at(data))
    path = tmp_path / "x.pt"
    path.write_bytes(data)
    with pytest.raises(CheckpointError):
        ours.load(path, mmap=True)


def test_other_writers_of_sound_archives() -> None:
    assert ours.load(at(PLAIN)) == 1
    assert ours.load(at(with_extra(0x5455, b"\x01abcd"))) == 1  # a time stamp

    class Stream(io.RawIOBase):
        """Cannot seek, so that zipfile writes sums behind the bytes."""

        def __init__(self) -> None:
            self.data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.data += bytes(data)
            return len(data)

    stream = Stream()
    with zipfile.ZipFile(stream, "w") as out:
        out.writestr("a/data.pkl", b"\x80\x02K\x07.")
        out.writestr("a/version", b"3\n")
    assert ours.load(at(stream.data)) == 7


def test_fields_of_64_bits(monkeypatch: Any) -> None:
    """Large files have them; here Python's writer is told that 20 bytes are many."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 20)
    data = archive(b"\x80\x02]" + b"K\x01a" * 30 + b".")
    assert data.count(b"PK\x06\x06") == 1 and data.count(b"\xff" * 4) > 4
    assert ours.load(at(data)) == [1] * 30
    assert ours.load(at(b"head" + data + b"tail", 4)) == [1] * 30
    end = data.find(b"PK\x06\x06")
    for place in (end + 4, end + 16, end + 20, end + 24, end + 32, end + 40, end + 48, end + 72):
        with pytest.raises(CheckpointError):
            ours.load(at(patched(data, place, bytes([data[place] ^ 1]))))


# ---- memory that changes while it is saved -------------------------------------------------------


def test_a_save_while_training_goes_on(tmp_path: pathlib.Path) -> None:
    """What is summed is what is written, to a path and to a file object."""
    x, stop, path = ours.zeros(1_500_000), threading.Event(), tmp_path / "x.pt"

    def train() -> None:
        while not stop.is_set():
            x.add_(1.0)

    thread = threading.Thread(target=train)
    thread.start()
    try:
        for _ in range(8):
            ours.save({"x": x}, path)
            ours.load(path)
            file = io.BytesIO()
            ours.save({"x": x}, file)
            ours.load(at(file.getvalue()))
            torch.load(at(file.getvalue()))
    finally:
        stop.set()
        thread.join()


def test_each_byte_is_read_once(monkeypatch: Any) -> None:
    """Memory that changes at every look at it is saved in a file that can be loaded."""
    from tinygrad_edu.serialization.writing import Span

    looks = 0
    real = Span.bytes

    def changing(self: Span) -> Any:
        nonlocal looks
        looks += 1
        self.array += 1
        return real(self)

    monkeypatch.setattr(Span, "bytes", changing)
    file = io.BytesIO()
    ours.save({"x": ours.zeros(10), "y": ours.zeros(20)}, file)
    assert looks == 2
    ours.load(at(file.getvalue()))


def test_containers_that_change_while_they_are_saved(tmp_path: pathlib.Path) -> None:
    """Tensors come, go and are replaced: a file has those that were there at some moment."""
    state: dict[str, Any] = {"list": [], "dict": {}, "x": ours.zeros(3)}
    stop = threading.Event()

    def change() -> None:
        i = 0
        while not stop.is_set():
            i += 1
            state["list"].append(i)
            state["dict"][i] = state["x"]
            state["x"] = ours.zeros(10)[i % 5 :]
            if i % 500 == 0:
                state["list"].clear()
                state["dict"].clear()

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(15):
            ours.save(state, tmp_path / "x.pt")
            ours.load(tmp_path / "x.pt")
    finally:
        stop.set()
        thread.join()


def test_same_state_same_bytes(tmp_path: pathlib.Path) -> None:
    """To a path and to a file object, in threads and without."""
    state = {"x": ours.arange(600_000), "y": [ours.ones(300_000)], "z": b"bytes"}
    ours.save(state, tmp_path / "x.pt")
    assert (tmp_path / "x.pt").read_bytes() == saved(state)
    assert plain(ours.load(tmp_path / "x.pt")) == plain(state)


def test_threads_that_cannot_be_started(tmp_path: pathlib.Path, monkeypatch: Any) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    state = {"x": ours.arange(600_000), "y": ours.ones(300_000)}
    ours.save(state, tmp_path / "x.pt")
    assert plain(ours.load(tmp_path / "x.pt")) == plain(state)


def test_saving_while_python_shuts_down(tmp_path: pathlib.Path) -> None:
    import subprocess

    code = (
        "import atexit, sys, tinygrad_edu as t;"
        "atexit.register(lambda: t.save([t.arange(900_000)] * 1 + [t.ones(9)], sys.argv[1]))"
    )
    path = tmp_path / "x.pt"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    assert ours.load(path)[0].shape == (900_000,)
