"""Damaged and hostile checkpoints: pickles, tensors that claim too much, archives."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Iterator
from typing import Any

import tinygrad_edu as torch

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
    "hostile.sing", "os.system", "posix.system", "builtins.eval", "builtins.exec",
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
