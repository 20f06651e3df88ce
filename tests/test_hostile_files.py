"""Damaged and hostile checkpoints: all refused with one error, nothing run, memory bounded.

`python tests/test_hostile_files.py` prints the table of what was tried.
"""

from __future__ import annotations

import io
import os
import pathlib
import pickle
import random
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest

import tinygrad_edu as torch
from tinygrad_edu.serialization import CheckpointError

canary: list[Any] = []
"""Whatever a hostile file calls is recorded here."""


def sing(*args: Any, **kwargs: Any) -> list[Any]:
    canary.append((args, kwargs))
    return canary


# ---- making files --------------------------------------------------------------------------------


def archive(
    pickle_: bytes, *more: tuple[str, bytes], prefix: str = "archive", **changed: bytes
) -> bytes:
    """A sound archive around any pickle: names and checksums are right."""
    entries = {"data.pkl": pickle_, "byteorder": b"little", "data/0": bytes(64), "version": b"3\n"}
    entries.update({name.replace("_", "/"): data for name, data in changed.items()})
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        for name, data in [*entries.items(), *more]:
            out.writestr(zipfile.ZipInfo(f"{prefix}/{name}"), data)
    return file.getvalue()


def saved(obj: Any) -> bytes:
    file = io.BytesIO()
    torch.save(obj, file)
    return file.getvalue()


SOUND = {
    "weight": torch.arange(12.0).reshape(3, 4), "step": 7, "name": "x", "more": [1.5, None, (1, 2)],
}  # fmt: skip


def text(word: str) -> bytes:
    return b"X" + struct.pack("<I", len(word)) + word.encode()


def number(value: Any) -> bytes:
    if value is None or isinstance(value, bytes):
        return value or b"N"
    size = value.bit_length() // 8 + 1
    return b"\x8a%c" % size + value.to_bytes(size, "little", signed=True)


def numbers(values: Any) -> bytes:
    return values if isinstance(values, bytes) else b"(" + b"".join(map(number, values)) + b"t"


REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


def storage(key: str = "0", kind: bytes = b"ctorch\nFloatStorage\n", count: Any = 16) -> bytes:
    return b"(" + text("storage") + kind + text(key) + text("cpu") + number(count) + b"tQ"


def tensor(
    of: bytes | None = None, offset: Any = 0, size: Any = (4,), stride: Any = (1,),
    grad: bytes = b"\x89", call: bytes = REBUILD,
) -> bytes:  # fmt: skip
    parts = (of or storage()) + number(offset) + numbers(size) + numbers(stride) + grad
    return b"\x80\x02" + call + b"(" + parts + b"ccollections\nOrderedDict\n)RtR."


def calls(name: str) -> Iterator[tuple[str, bytes]]:
    """Every way in which a pickle can import a name, call it, or make an object of it."""
    module, _, function = name.rpartition(".")
    line = f"{module}\n{function}\n".encode()
    argument = text("echo hacked > canary")
    short = [b"\x8c%c" % len(part) + part.encode() for part in (module, function)]
    stacked = b"\x80\x02" + b"".join(short) + b"\x93"
    yield "GLOBAL", b"\x80\x02c" + line + b"."
    yield "GLOBAL REDUCE", b"\x80\x02c" + line + argument + b"\x85R."
    yield "STACK_GLOBAL REDUCE", stacked + argument + b"\x85R."
    yield "INST", b"\x80\x02(" + argument + b"i" + line + b"."
    yield "OBJ", b"\x80\x02(c" + line + argument + b"o."
    yield "NEWOBJ", b"\x80\x02c" + line + argument + b"\x85\x81."
    yield "NEWOBJ_EX", b"\x80\x02c" + line + argument + b"\x85}\x92."
    yield "BUILD", b"\x80\x02c" + line + b"}" + text("x") + argument + b"sb."
    yield "PERSID", b"\x80\x02P" + line + b"."
    yield "EXT1", b"\x80\x02\x82\x01" + argument + b"\x85R."
    yield "EXT2", b"\x80\x02\x83\x01\x00" + argument + b"\x85R."
    yield "EXT4", b"\x80\x02\x84\x01\x00\x00\x00" + argument + b"\x85R."


HOSTILE_NAMES = [
    "test_hostile_files.sing", "os.system", "posix.system", "builtins.eval", "builtins.exec",
    "__builtin__.eval", "builtins.getattr", "builtins.__import__", "subprocess.Popen",
    "torch.load", "torch.hub.load", "torch.serialization.load", "torch.storage._load_from_bytes",
    "torch._utils._rebuild_wrapper_subclass", "functools.partial", "operator.attrgetter",
    "numpy.core.multiarray._reconstruct", "numpy._core.multiarray.scalar", "copyreg._reconstructor",
    "collections.OrderedDict.__init__", "torch.Tensor.__reduce__", "tinygrad_edu.tensor.Tensor",
]  # fmt: skip


def pickles() -> Iterator[tuple[str, bytes]]:
    """Hostile pickles in sound archives."""
    for name in HOSTILE_NAMES:
        for way, program in calls(name):
            yield f"{way} of {name}", program
    # Names that are allowed, used for what they are not.
    od = b"ccollections\nOrderedDict\n"
    yield "call of what is no name", b"\x80\x02K\x01)R."
    yield "call of a storage type", b"\x80\x02ctorch\nFloatStorage\nK\x05\x85R."
    yield "call of a dtype", b"\x80\x02ctorch\nfloat32\n)R."
    yield "call of torch.Tensor", b"\x80\x02ctorch\nTensor\n)R."
    yield "call without a tuple", b"\x80\x02" + od + b"K\x01R."
    yield "BUILD of a dict", b"\x80\x02}}b."
    yield "BUILD of a tensor", tensor()[:-1] + b"}" + text("array") + b"K\x01sb."
    yield "BUILD hides a method", b"\x80\x02" + od + b")R}" + text("items") + b"K\x01sb."
    yield "BUILD sets a class", b"\x80\x02" + od + b")R}" + text("__class__") + b"K\x01sb."
    yield "APPEND to a dict", b"\x80\x02}K\x01a."
    yield "SETITEM of a list", b"\x80\x02]K\x00K\x01s."
    yield "list as a key", b"\x80\x02}]K\x01s."
    yield "function as a key", b"\x80\x02}" + od + b"K\x01s."
    yield "integer key of 2000 bits", b"\x80\x02}" + number(2**2000) + b"K\x01s."
    yield "attribute over a slot", (
        b"\x80\x02ctorch._utils\n_rebuild_parameter_with_state\n(" + tensor()[2:-1] + b"\x89}}"
        + text("array") + b"K\x01stR."
    )  # fmt: skip
    start = b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n("
    yield "attributes on what is no tensor", start + od + b"ctorch\nTensor\n)}tR."
    for wrong in (b"]", b"K\x01", b"N", text("x")):
        yield (
            f"Parameter made of {wrong!r}",
            (b"\x80\x02ctorch._utils\n_rebuild_parameter\n(" + wrong + b"\x88}tR."),
        )
    # Bombs.
    yield (
        "tuple of 2**64 parts as a key",
        (b"\x80\x02})" + b"q\x00h\x00\x86" * 64 + b"K\x01s."),
    )
    yield "key nested 100,000 deep", b"\x80\x02})" + b"\x85" * 100_000 + b"K\x01s."
    yield (
        "set nested 100,000 deep",
        (b"\x80\x02c__builtin__\nset\n])" + b"\x85" * 100_000 + b"a\x85R."),
    )
    for function in ("bytearray", "bytes"):
        yield (
            f"{function} of 2**40 zeros",
            (b"\x80\x02c__builtin__\n%s\n" % function.encode() + number(2**40) + b"\x85R."),
        )
    yield "encoding that runs", b"\x80\x02c_codecs\nencode\n" + text("x") + text("zlib") + b"\x86R."
    yield "string of 4 GiB", b"\x80\x02X\xff\xff\xff\xffabc."
    yield "memo never noted", b"\x80\x02h\x05."
    yield "memo index 2**32 - 1 unused", b"\x80\x02j\xff\xff\xff\xff."
    yield "stack underflow", b"\x80\x02R."
    yield "NEWOBJ of an allowed name", b"\x80\x02" + od + b")\x81."
    yield "OBJ of an allowed name", b"\x80\x02(" + od + b"o."
    yield "stack underflow by TUPLE3", b"\x80\x02K\x01\x87."
    yield "two results", b"\x80\x02K\x01K\x02."
    yield "no result", b"\x80\x02."
    yield "open mark", b"\x80\x02(."
    yield "TUPLE without a mark", b"\x80\x02K\x01t."
    yield "key without a value", b"\x80\x02}(K\x01u."
    yield "no end", b"\x80\x02K\x01"
    yield "empty pickle", b""
    yield "protocol 5", pickle.dumps([1], 5)
    yield "protocol 0", pickle.dumps([1], 0)
    yield "text that is no UTF-8", b"\x80\x02X\x01\0\0\0\xff."
    yield "name without an end", b"\x80\x02c" + b"a" * 100_000
    yield "device that is none", b"\x80\x02ctorch\ndevice\n" + text("../x") + b"\x85R."
    yield "size of negative numbers", b"\x80\x02ctorch\nSize\n" + numbers([-1]) + b"\x85R."
    yield "Counter of a file", b"\x80\x02ccollections\nCounter\n" + text("x") + b"\x85R."
    # Tensors that claim too much.
    yield from claims()


def claims() -> Iterator[tuple[str, bytes]]:
    yield "size beyond the storage", tensor(size=(17,))
    yield "size 2**62", tensor(size=(2**62,))
    yield "size that overflows to 0", tensor(size=(2**32, 2**32), stride=(0, 0))
    yield "size of 2**63 and more", tensor(size=(2**63,))
    yield "size 2**60 of stride 0 and 2**60 of stride 0", tensor(size=(2**60, 2**60), stride=(0, 0))
    yield "negative size", tensor(size=(-1,))
    yield "stride beyond the storage", tensor(size=(2,), stride=(16,))
    yield "stride that overflows", tensor(size=(3,), stride=(2**62,))
    yield "negative stride", tensor(size=(4,), stride=(-1,))
    yield "negative offset", tensor(offset=-1)
    yield "offset beyond the storage", tensor(offset=13)
    yield "offset 2**70", tensor(offset=2**70)
    yield "offset that is a float", tensor(offset=b"G\0\0\0\0\0\0\0\0")
    yield "offset that is a bool", tensor(offset=b"\x88")
    yield "more strides than sizes", tensor(stride=(1, 1))
    yield "10,000 dimensions", tensor(size=(1,) * 10_000, stride=(1,) * 10_000)
    yield "size that is a list", tensor(size=b"]")
    yield "size that is a string", tensor(size=text("abc"))
    yield "grad flag that is a number", tensor(grad=b"K\x01")
    yield "grad of integers", tensor(storage(kind=b"ctorch\nIntStorage\n"), grad=b"\x88")
    yield "no storage", tensor(b"N")
    yield "storage count of 2**60", tensor(storage(count=2**60))
    yield "storage count too small", tensor(storage(count=3))
    yield "storage count negative", tensor(storage(count=-1))
    yield "storage that is not there", tensor(storage("1"))
    yield "storage outside the archive", tensor(storage("../../etc/passwd"))
    yield "storage that is the pickle", tensor(storage("../data.pkl"))
    yield "storage of an absolute path", tensor(storage("/etc/passwd"))
    yield "storage of no type", tensor(storage(kind=b"N"))
    yield "storage of complex numbers", tensor(storage(kind=b"ctorch\nComplexFloatStorage\n"))
    yield (
        "storage of raw bytes as v2",
        tensor(storage(kind=b"ctorch.storage\nUntypedStorage\n", count=64)),
    )
    yield "persistent id of three parts", b"\x80\x02" + text("storage") + b"K\x01K\x02\x87Q."
    yield "persistent id that is a path", b"\x80\x02" + text("/etc/passwd") + b"Q."
    two = storage() + storage().replace(text("cpu"), text("cuda:0"))
    yield "storage on two devices", b"\x80\x02(" + two + b"t."
    yield "storage on an unknown device", tensor(storage().replace(text("cpu"), text("evil")))


def central(data: bytes, name: str) -> int:
    """Where the directory's line for an entry begins."""
    at = data.rfind(name.encode())
    return data.rfind(b"PK\x01\x02", 0, at)


def patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def archives() -> Iterator[tuple[str, bytes]]:
    """Hostile archives around a sound pickle."""
    good = saved(SOUND)
    line = central(good, "archive/data/0")
    local = good.find(b"PK\x03\x04archive/data/0"[:4], good.find(b"archive/data/0") - 30)
    yield "empty file", b""
    yield "text", b"this is no checkpoint, whatever its name says" * 10
    yield "pickle alone", pickle.dumps({"a": 1}, 2)
    yield "zip signature alone", b"PK\x03\x04"
    yield "empty zip", b"PK\x05\x06" + bytes(18)
    yield "zip of something else", archive(b"\x80\x02K\x01.").replace(b"data.pkl", b"info.txt")
    for bad in ("../../evil", "..\\evil", "a/../../evil"):
        yield f"entry named archive/{bad!r}", archive(b"\x80\x02K\x01.", (bad, b"x"))
    zero = archive(b"\x80\x02K\x01.", ("x1y", b"x")).replace(b"x1y", b"x\0y")
    yield "entry with a zero byte in its name", zero
    file = io.BytesIO(good)
    with zipfile.ZipFile(file, "a") as out:
        out.writestr("/etc/cron.d/evil", b"x")
    yield "entry of an absolute path", file.getvalue()
    file = io.BytesIO(good)
    with zipfile.ZipFile(file, "a") as out:
        out.writestr("other/data.pkl", b"\x80\x02K\x01.")
    yield "entry of another archive", file.getvalue()
    yield "the same name twice", _twice()
    yield "TorchScript", archive(b"\x80\x02K\x01.", ("constants.pkl", b"\x80\x02)."))
    yield "size 2**32 - 2 in the directory", patched(good, line + 20, b"\xfe\xff\xff\xff" * 2)
    yield "size 1 larger", patched(good, line + 20, struct.pack("<II", 49, 49))
    yield "size 1 smaller", patched(good, line + 20, struct.pack("<II", 47, 47))
    yield "compressed size differs", patched(good, line + 24, struct.pack("<I", 10**6))
    yield "compressed by the directory", patched(good, line + 10, b"\x08\x00")
    yield "compressed by its header", patched(good, local + 8, b"\x08\x00")
    yield "encrypted", patched(good, line + 8, b"\x01\x08")
    yield "offset outside the file", patched(good, line + 42, struct.pack("<I", len(good) + 5))
    yield "offset into another entry", patched(good, line + 42, struct.pack("<I", 70))
    yield "two entries at one place", patched(good, line + 42, bytes(4))
    yield "long header leads outside", patched(good, local + 28, b"\xff\xff")
    yield "another name in its header", patched(good, local + 30, b"X")
    yield "wrong checksum", patched(good, line + 16, b"\x00\x11\x22\x33")
    yield "bytes changed", good.replace(struct.pack("<f", 5), struct.pack("<f", 6))
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("archive/data.pkl", bytes(50_000_000))
    yield "zip bomb, 1000 : 1", bomb.getvalue()
    for order in (b"", b"middle", b"little ", bytes(10**6)):
        yield f"byte order {order[:9]!r}", archive(b"\x80\x02K\x01.", byteorder=order)
    yield "big-endian tensors", archive(b"\x80\x02K\x01.", byteorder=b"big")
    for version in (b"", b"0", b"11", b"-3", b"x", b"9" * 5000):
        yield f"version {version[:9]!r}", archive(b"\x80\x02K\x01.", version=version)
    yield "version of Arabic digits", archive(b"\x80\x02K\x01.", version="٣".encode())
    with zipfile.ZipFile(io.BytesIO(good)) as opened:
        for info in opened.infolist():
            for cut in (info.header_offset, info.header_offset + 10, info.header_offset + 40):
                yield f"cut in entry {info.filename} at {cut}", good[:cut]
    for cut in (len(good) - 1, len(good) - 22, len(good) - 60):
        yield f"cut in the directory at {cut}", good[:cut]


def _twice() -> bytes:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return archive(b"\x80\x02K\x01.", ("data.pkl", b"\x80\x02K\x02."))


def corpus() -> Iterator[tuple[str, bytes]]:
    for label, program in pickles():
        yield label, archive(program)
    yield from archives()


# ---- trying them ---------------------------------------------------------------------------------


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
    sys.modules["test_hostile_files"] = sys.modules[__name__]
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
    sys.modules["test_hostile_files"] = sys.modules[__name__]
    sang = []
    for way, program in calls("test_hostile_files.sing"):
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
    line = central(data, "archive/data/0")
    assert "does not fit" in refused(patched(data, line + 16, b"\0\0\0\0"))


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
