"""Damaged and hostile checkpoints: all refused with one error, nothing run, memory bounded.

`python tests/test_hostile_files.py` prints the table of what was tried.
"""

from __future__ import annotations

import io
import os
import pathlib
import pickle
import random
import subprocess
import sys
from typing import Any

import pytest
from hostile import (
    HOSTILE_NAMES,
    REBUILD,
    SOUND,
    archive,
    calls,
    canary,
    corpus,
    number,
    patched,
    saved,
    storage,
    tensor,
    text,
)

import tinygrad_edu as torch
from tinygrad_edu.serialization import CheckpointError


class Ran(BaseException):
    """No `except Exception` can hide it."""


WATCHED = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "exec", "socket.connect")
watching = False
"".encode("cp437")  # what Python's zipfile imports when it first reads an ASCII name


def watch(event: str, args: tuple[Any, ...]) -> None:
    if watching and (event in WATCHED or (event == "open" and "w" in str(args[1]))):
        raise Ran(f"loading caused {event} {args}")


def refused(data: bytes | os.PathLike[str], **options: Any) -> str:
    """The error that a file is refused with; it must be ours, and nothing may have happened."""
    global watching
    loaded = set(sys.modules)
    watching = True
    try:
        with pytest.raises(CheckpointError) as caught:
            torch.load(io.BytesIO(data) if isinstance(data, bytes) else data, **options)
    finally:
        watching = False
    assert not canary, f"the canary sang: {canary}"
    assert not {name for name in set(sys.modules) - loaded if not name.startswith("encodings")}
    assert isinstance(caught.value, pickle.UnpicklingError | RuntimeError)
    return str(caught.value)


@pytest.fixture(scope="module", autouse=True)
def hook() -> None:
    sys.addaudithook(watch)


def test_the_canary_sings_when_python_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The corpus is really hostile: Python's own pickle runs it."""
    sang = []
    for way, program in calls("hostile.sing"):
        try:
            pickle.loads(program)
        except Exception:
            pass
        if canary:
            sang.append(way)
        canary.clear()
    assert {"GLOBAL REDUCE", "STACK_GLOBAL REDUCE", "INST", "OBJ"} <= set(sang)


@pytest.mark.parametrize(
    "label, data", list(corpus()), ids=lambda v: v if isinstance(v, str) else ""
)
def test_hostile_file(label: str, data: bytes, tmp_path: pathlib.Path) -> None:
    message = refused(data)
    assert message
    if data:
        (tmp_path / "x.pt").write_bytes(data)
        if label not in ("bytes changed", "wrong checksum"):  # mapped bytes are not summed
            assert refused(tmp_path / "x.pt", mmap=True)
        if "device" not in label:  # where it is then put is what the user says
            assert refused(tmp_path / "x.pt", map_location="cpu")
    assert os.listdir(tmp_path) in ([], ["x.pt"])


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_the_error_names_the_name(name: str) -> None:
    module, _, function = name.rpartition(".")
    message = refused(archive(f"\x80\x02c{module}\n{function}\n.".encode("latin1")))
    assert f"'{name}'" in message


def test_truncation_at_every_byte() -> None:
    good = saved(SOUND)
    for cut in range(len(good)):
        refused(good[:cut])


def same(state: Any) -> bool:
    return bool(
        list(state) == list(SOUND)
        and state["weight"].tolist() == SOUND["weight"].tolist()
        and state["weight"].dtype is torch.float32
        and [state[k] for k in ("step", "name", "more")] == [7, "x", [1.5, None, (1, 2)]]
    )


def flip(good: bytes, bit: int) -> bool:
    """Whether a file with one bit changed is refused; else it must hold the same state."""
    changed = patched(good, bit // 8, bytes([good[bit // 8] ^ 1 << bit % 8]))
    try:
        state = torch.load(io.BytesIO(changed))
    except CheckpointError:
        return True
    assert same(state), f"bit {bit} changed the state and nobody noticed"
    return False


def test_bit_flips() -> None:
    """Every changed bit is noticed, or lies where nothing is said: a date, a gap."""
    good = saved(SOUND)
    bits = range(8 * len(good))
    if "RUN_SLOW" not in os.environ:
        bits = sorted(random.Random(0).sample(bits, 3000))  # type: ignore[assignment]
    noticed = sum([flip(good, bit) for bit in bits])
    assert noticed > 0.5 * len(bits)


def test_random_pickles() -> None:
    """Any program of the known opcodes ends in a value or in our error."""
    rng = random.Random(1)
    words = [
        b"}", b"]", b")", b"(", b"N", b"\x88", b"K\x01", b"M\x01\x02", b"q\x00", b"h\x00", b"q\x01",
        b"h\x01", b"\x85", b"\x86", b"\x87", b"t", b"a", b"e", b"s", b"u", b"R", b"b", b"Q",
        text("storage"), text("0"), text("cpu"), storage(), REBUILD, tensor()[2:-1],
        b"ccollections\nOrderedDict\n", b"ccollections\nCounter\n", b"c__builtin__\nset\n",
        b"ctorch\nSize\n", b"ctorch\ndevice\n", b"ctorch\nFloatStorage\n", b"ctorch\nfloat32\n",
        b"c_codecs\nencode\n", b"ctorch._utils\n_rebuild_parameter\n", number(2**62), number(-1),
        b"ctorch._tensor\n_rebuild_from_type_v2\n", b"c__builtin__\ncomplex\n", b"G" + bytes(8),
    ]  # fmt: skip
    loaded = 0
    for _ in range(3000):
        program = b"\x80\x02" + b"".join(rng.choices(words, k=rng.randint(1, 12))) + b"."
        try:
            torch.load(io.BytesIO(archive(program)))
            loaded += 1
        except CheckpointError:
            pass
    assert loaded > 20


MEMORY = """
import pathlib, re, sys, tinygrad_edu as torch
def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
torch.load
before = peak()
for path in sys.argv[1:]:
    try:
        torch.load(path)
    except RuntimeError:
        pass
print(peak() - before)
"""


def grown(*paths: pathlib.Path) -> int:
    """By how many KiB the peak memory of a process grows while it loads these files."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, *map(str, paths)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


linux = pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux")


@linux
def test_refusing_takes_no_memory(tmp_path: pathlib.Path) -> None:
    paths = []
    for i, (_, data) in enumerate(corpus()):
        paths.append(tmp_path / str(i))
        paths[-1].write_bytes(data)
    assert grown(*paths) < 64_000


@linux
@pytest.mark.parametrize("program", [
    b"}" * 10**6, b"]" * 10**6, b"(" * 10**6, b"K\x01" * 10**6, b"ccollections\nOrderedDict\n"
    + b"q\x00)Rh\x00" * 250_000, tensor()[:-1] + b"q\0" + REBUILD + b"q\1(" + tensor()[2:-1] * 9000,
], ids=["dicts", "lists", "marks", "numbers", "ordered dicts", "tensors"])  # fmt: skip
def test_memory_is_bounded_by_the_pickle(program: bytes, tmp_path: pathlib.Path) -> None:
    """No program makes more than about 150 times its own length."""
    path = tmp_path / "x.pt"
    path.write_bytes(archive(b"\x80\x02" + program + b"."))
    assert grown(path) < 30_000 + 150 * len(program) / 1024


def test_damage_is_noticed_before_anything_is_read() -> None:
    """A tensor that does not fit is refused though its 64 bytes have a wrong checksum, too."""
    data = archive(tensor(size=(17,)))
    start = data.find(b"archive/data/0") + len("archive/data/0")
    assert "does not fit" in refused(patched(data, start, b"\1"))
    assert "checksum is wrong" in refused(patched(archive(tensor()), start, b"\1"))


def test_a_file_that_shrinks_while_it_is_read(tmp_path: pathlib.Path) -> None:
    class Shrinking(io.BytesIO):
        reads = 0

        def readinto(self, out: Any) -> int:
            self.reads += 1
            if self.reads > 3:
                return 0
            return super().readinto(out)

    with pytest.raises(CheckpointError, match="ends too early"):
        torch.load(Shrinking(saved(SOUND)))


def table() -> None:
    """Print what was tried, and how it was refused."""
    sys.addaudithook(watch)
    tried = list(corpus())
    for label, data in tried:
        print(f"{label:55.55} {refused(data)[:110]}")
    good = saved(SOUND)
    noticed = sum([flip(good, bit) for bit in range(8 * len(good))])
    for cut in range(len(good)):
        refused(good[:cut])
    print(
        f"{len(tried)} hostile files refused; {noticed} of {8 * len(good)} bit flips refused, the"
        f" rest without effect; {len(good)} truncations refused; the canary is silent"
    )


if __name__ == "__main__":
    table()
