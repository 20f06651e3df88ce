"""Time and memory of loading are bounded by the length of the file, whatever the file says."""

from __future__ import annotations

import io
import itertools
import math
import os
import pathlib
import random
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from checkpoints import plain
from hostile import REBUILD, archive, numbers, storage, tensor, text

import tinygrad_edu as torch
from tinygrad_edu.serialization import CheckpointError
from tinygrad_edu.serialization.keys import MAX_SAME_HASH

BYTES_PER_BYTE = 250
"""Memory: loading takes at most so many bytes for each byte of the file, and 32 MiB."""

SECONDS_PER_BYTE = 10e-6
"""Time: and at most so long, on a computer of 2021 that does nothing else."""

SIZE = 200_000  # of a pickle

OD = b"ccollections\nOrderedDict\n"
COUNTER = b"ccollections\nCounter\n"
SET = b"c__builtin__\nset\n"
ENCODE = b"c_codecs\nencode\n"


def put(i: int) -> bytes:
    return b"q%c" % i


def get(i: int) -> bytes:
    return b"h%c" % i


def pairs(n: int) -> bytes:
    """A list of n pairs."""
    made = [b"J" + struct.pack("<i", 1000 + i) + b"N\x86" for i in range(n)]
    return b"](" + b"".join(made) + b"e"


def table(n: int) -> bytes:
    """A dict of n items."""
    return b"}(" + b"".join([b"J" + struct.pack("<i", 1000 + i) + b"N" for i in range(n)]) + b"u"


def names(n: int) -> bytes:
    return b"}(" + b"".join([text(f"a{i}") + b"N" for i in range(n)]) + b"u"


def again(function: bytes, argument: bytes) -> bytes:
    """One function called again and again with one argument."""
    head = function + put(0) + argument + b"\x85" + put(1) + b"("
    call = get(0) + get(1) + b"R"
    return head + call * ((SIZE - len(head)) // len(call)) + b"t"


def fresh(function: bytes, *arguments: bytes) -> bytes:
    """The same with a new tuple of arguments for each call."""
    head = function + put(0)
    for i, argument in enumerate(arguments):
        head += argument + put(i + 1)
    build = b"".join([get(i + 1) for i in range(len(arguments))])
    call = get(0) + build + b"\x85\x86\x87"[len(arguments) - 1 :][:1] + b"R"
    return head + b"(" + call * ((SIZE - len(head)) // len(call)) + b"t"


def attributes_again(of: bytes, fill: bytes) -> bytes:
    """BUILD with one dict, again and again."""
    head = OD + put(0) + fill + put(1) + b"("
    call = get(0) + b")R" + get(1) + b"b"
    return head + call * ((SIZE - len(head)) // len(call)) + b"t"


def parameters_with_state(n: int) -> bytes:
    """Tensors that share one dict of attributes, which each copies."""
    call = b"ctorch._utils\n_rebuild_parameter_with_state\n"
    head = call + put(0) + names(n) + put(1) + tensor()[2:-1] + put(2) + b"("
    one = get(0) + b"(" + get(2) + b"\x89N" + get(1) + b"tR"
    return head + one * ((SIZE - len(head)) // len(one)) + b"t"


def long_keys(parts: int) -> bytes:
    """One key of many parts, used again and again."""
    head = b"(" + b"K\x01" * parts + b"t" + put(0) + b"}"
    return head + (get(0) + b"Ns") * ((SIZE - len(head)) // 4)


FLOATS = [2.0 ** (61 * k) for k in range(-16, 17)]  # all have the hash 1, and so have their tuples


def floats_of_one_hash() -> list[float]:
    """Numbers m 2^e with m 2^e = h modulo 2^61 - 1, which is what a float's hash is computed by."""
    modulus = (1 << 61) - 1
    h = sum([1 << place for place in (0, 9, 18, 27, 36, 45)])  # gaps wide enough to cut the bits at
    found = {float(h)}
    for turn in range(61):
        m = (h << turn | h >> (61 - turn)) & modulus
        for e in range(-turn - 61 * 17, 1024 - m.bit_length(), 61):
            x = math.ldexp(m, e) if m.bit_length() <= 53 else 0.0
            found |= {x} if hash(x) == h else set()
    return sorted(found)


def one_hash(n: int, as_: str = "dict") -> bytes:
    if as_ == "floats":
        made = [b"G" + struct.pack(">d", x) + b"N" for x in floats_of_one_hash()[:n]]
        return b"(}(" + b"".join(made) + b"ut"
    start = b"".join([b"G" + struct.pack(">d", x) + put(i) for i, x in enumerate(FLOATS)])
    chosen = itertools.islice(itertools.product(range(len(FLOATS)), repeat=4), n)
    keys = [b"(" + b"".join([get(i) for i in t]) + b"t" for t in chosen]
    if as_ == "dict":
        return b"(" + start + b"}(" + b"".join([key + b"N" for key in keys]) + b"ut"
    if as_ == "dict, one by one":
        return b"(" + start + b"}" + b"".join([key + b"Ns" for key in keys]) + b"t"
    if as_ == "pairs":
        items = b"](" + b"".join([key + b"N\x86" for key in keys]) + b"e"
        return b"(" + start + OD + items + b"\x85Rt"
    if as_ == "set":
        return b"(" + start + SET + b"](" + b"".join(keys) + b"e\x85Rt"
    assert as_ == "nested"
    keys = [b"(" + key + b"t" for key in keys]
    return b"(" + start + b"}(" + b"".join([key + b"N" for key in keys]) + b"ut"


def one_hash_complex(n: int) -> bytes:
    """hash(a + bi) = hash(a) + 1000003 hash(b): many with one sum."""
    made = [
        b"G" + struct.pack(">d", -1000003.0 * b) + b"G" + struct.pack(">d", b) + b"\x86R"
        for b in range(2, n + 2)
    ]
    head = b"c__builtin__\ncomplex\n" + put(0) + b"}("
    return head + b"".join([get(0) + call + b"N" for call in made]) + b"u"


def one_hash_sizes(n: int) -> bytes:
    """Tuples of two integers whose hashes are equal do not come by chance; equal ones do."""
    one = b"ctorch\nSize\n" + put(0) + numbers([1, 2]) + put(1) + b"}("
    return one + (get(0) + get(1) + b"\x85RN") * n + b"u"


def colliding(bits: int) -> list[int]:
    """Integers of which each new one is looked for in most places of a table of 2^bits.

    Python goes from place i to 5 i + 1, plus what is left of the hash.  A stretch of that way is
    filled by integers that stand where they belong, and those at its beginning have doubles:
    hashes are taken modulo 2^61 - 1.
    """
    mask, most = (1 << bits) - 1, (2 << bits) // 3 - 10
    way = [0]
    while len(way) < most * 6 // 10:
        way.append((5 * way[-1] + 1) & mask)
    order = {place: i for i, place in enumerate(way)}

    def taken(value: int) -> int:
        """How many places are looked at."""
        at, rest, count = value & mask, value, 0
        while rest and at in order:
            rest >>= 5
            at, count = (5 * at + 1 + rest) & mask, count + 1
        return count + len(way) - order[at] if at in order else 0

    doubles = [x + j * ((1 << 61) - 1) for x in sorted(way, key=taken)[::-1] for j in range(1, 8)]
    return (way + doubles)[:most]


def integer(x: int) -> bytes:
    return b"J" + struct.pack("<i", x) if x < 1 << 31 else b"\x8a\x09" + x.to_bytes(9, "little")


def flood(as_: str, bits: int = 16) -> bytes:
    keys = [integer(x) for x in colliding(bits)]
    if as_ == "dict":
        return b"}(" + b"".join([key + b"N" for key in keys]) + b"u"
    if as_ == "dict, one by one":
        return b"}" + b"".join([key + b"Ns" for key in keys])
    if as_ == "pairs":
        return OD + b"](" + b"".join([key + b"N\x86" for key in keys]) + b"e\x85R"
    if as_ == "set":
        return SET + b"](" + b"".join(keys) + b"e\x85R"
    assert as_ == "copies"  # of dicts that are allowed
    made = flood("dict", 14)
    copies = (get(0) + get(1) + b"R") * 15
    return b"(" + (OD + put(0) + made + b"\x85" + put(1) + copies) * 8 + b"t"


def floods_of_notes(bits: int = 15) -> bytes:
    """One object noted under many numbers."""
    return b"N" + b"".join([b"r" + struct.pack("<I", x) for x in colliding(bits) if x < 1 << 32])


def devices_of_one_hash(n: int) -> bytes:
    head = b"ctorch\ndevice\n" + put(0) + text("cuda") + put(1) + b"}("
    numbers = [1 + k * ((1 << 61) - 1) for k in range(n)]
    made = [get(0) + get(1) + b"\x8a\x0a" + x.to_bytes(10, "little") for x in numbers]
    return head + b"".join([one + b"\x86RN" for one in made]) + b"u"


ATTACKS: dict[str, Callable[[], bytes]] = {
    "bytes": lambda: again(ENCODE, text("a" * 50_000)),
    "bytes, new tuples": lambda: fresh(ENCODE, text("a" * 50_000), text("latin1")),
    "bytes of bytes": lambda: again(b"c__builtin__\nbytes\n", text("a" * 50_000)),
    "bytearrays": lambda: again(b"c__builtin__\nbytearray\n", text("a" * 50_000)),
    "bytearrays, new tuples": lambda: fresh(
        b"c__builtin__\nbytearray\n", text("a" * 50_000), text("latin-1")
    ),
    "ordered dicts of pairs": lambda: again(OD, pairs(8000)),
    "ordered dicts of a dict": lambda: again(OD, table(10_000)),
    "ordered dicts of a dict, new tuples": lambda: fresh(OD, table(10_000)),
    "counters of a dict": lambda: again(COUNTER, table(10_000)),
    "counters of pairs": lambda: again(COUNTER, pairs(8000)),
    "sets of a list": lambda: again(
        SET, b"](" + b"".join([b"J" + struct.pack("<i", 999 + i) for i in range(10_000)]) + b"e"
    ),
    "sets of a tuple": lambda: again(
        SET, b"(" + b"".join([b"J" + struct.pack("<i", 999 + i) for i in range(10_000)]) + b"t"
    ),
    "attributes of ordered dicts": lambda: attributes_again(OD, names(5000)),
    "attributes of parameters": lambda: parameters_with_state(5000),
    "keys of 99 parts": lambda: long_keys(99),
    "keys of 8 parts": lambda: long_keys(8),
    "one hash": lambda: one_hash(SIZE // 11),
    "one hash, one by one": lambda: one_hash(SIZE // 11, "dict, one by one"),
    "one hash, pairs": lambda: one_hash(SIZE // 12, "pairs"),
    "one hash, set": lambda: one_hash(SIZE // 10, "set"),
    "one hash, nested": lambda: one_hash(SIZE // 13, "nested"),
    "one hash, floats": lambda: b"(" + one_hash(64, "floats") * (SIZE // 650) + b"t",
    "dicts of one integer": lambda: b"(" + b"}K\x01Ns" * (SIZE // 5) + b"t",
    "dicts of one float": lambda: b"(" + (b"}G" + bytes(8) + b"Ns") * (SIZE // 12) + b"t",
    "one hash, complex": lambda: one_hash_complex(SIZE // 23),
    "sizes": lambda: one_hash_sizes(SIZE // 6),
    "one hash, 64 keys, many dicts": lambda: b"(" + one_hash(64) * (SIZE // 900) + b"t",
    "integers that collide": lambda: flood("dict"),
    "integers that collide, one by one": lambda: flood("dict, one by one"),
    "integers that collide, pairs": lambda: flood("pairs"),
    "integers that collide, set": lambda: flood("set"),
    "integers that collide, copies": lambda: flood("copies"),
    "devices of one hash": lambda: devices_of_one_hash(SIZE // 19),
    "dicts": lambda: b"(" + b"}" * SIZE + b"t",
    "lists": lambda: b"(" + b"]" * SIZE + b"t",
    "tuples of one": lambda: b")" + b"\x85" * SIZE,
    "ordered dicts": lambda: OD + put(0) + b"(" + (get(0) + b")R") * (SIZE // 4) + b"t",
    "counters": lambda: COUNTER + put(0) + b"(" + (get(0) + b")R") * (SIZE // 4) + b"t",
    "sets": lambda: SET + put(0) + b"(" + (get(0) + b")R") * (SIZE // 4) + b"t",
    "devices": lambda: fresh(b"ctorch\ndevice\n", text("cpu")),
    "sizes again": lambda: again(b"ctorch\nSize\n", numbers([1] * 60)),
    "tensors": lambda: again_tensor(),
    "parameters": lambda: again_parameter(),
    "storages": lambda: storage()[:-1] + put(0) + b"(" + (get(0) + b"Q") * (SIZE // 3) + b"t",
    "names": lambda: b"(" + b"ctorch\nfloat32\n" * (SIZE // 15) + b"t",
    "small integers as keys": lambda: b"}(" + b"".join(
        [b"M" + struct.pack("<H", i) + b"N" for i in range(SIZE // 4)]) + b"u",
    "floats": lambda: b"(" + b"".join(
        [b"G" + struct.pack(">d", i + 0.5) for i in range(SIZE // 9)]) + b"t",
}  # fmt: skip


def again_tensor() -> bytes:
    whole = tensor()[2:-1]  # REBUILD ( storage 0 (4,) (1,) False OrderedDict()) R
    args = whole[len(REBUILD) : -1]
    return REBUILD + put(0) + args + put(1) + b"(" + (get(0) + get(1) + b"R") * (SIZE // 5) + b"t"


def again_parameter() -> bytes:
    make = b"ctorch._utils\n_rebuild_parameter\n" + put(0) + tensor()[2:-1] + b"\x88N\x87" + put(1)
    return make + b"(" + (get(0) + get(1) + b"R") * (SIZE // 5) + b"t"


RUN = """
import os, pathlib, re, sys, time, tinygrad_edu as torch, tinygrad_edu.nn
def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
for path in sys.argv[1:]:
    if os.fork() == 0:  # each in a process of its own, whose peak begins with what it has
        before, start = peak(), time.process_time()
        try:
            torch.load(path); what = "loaded"
        except torch.serialization.CheckpointError as error:
            what = str(error)
        print((peak() - before) * 1024, time.process_time() - start, what, flush=True)
        os._exit(0)
    assert os.wait()[1] == 0
"""


def measured(files: list[bytes], folder: pathlib.Path) -> list[tuple[float, float, str]]:
    """For each file: bytes of memory and seconds that loading takes, and what came of it."""
    paths = [folder / f"{i}.pt" for i in range(len(files))]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)
    command = [sys.executable, "-c", RUN, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line.split(" ", 2) for line in done.stdout.splitlines()]
    assert len(rows) == len(files)
    return [(float(memory), float(seconds), what) for memory, seconds, what in rows]


def attack(name: str) -> bytes:
    return archive(b"\x80\x02" + ATTACKS[name]() + b".")


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux")
def test_time_and_memory_are_bounded_by_the_file(tmp_path: pathlib.Path) -> None:
    files = [attack(name) for name in ATTACKS]
    for name, data, (memory, seconds, _) in zip(
        ATTACKS, files, measured(files, tmp_path), strict=True
    ):
        assert memory <= BYTES_PER_BYTE * len(data) + (32 << 20), name
        allowed = 3 * SECONDS_PER_BYTE * len(data) + 1  # three times: others may be at work
        assert seconds <= allowed, name


@pytest.mark.parametrize("as_", ["dict", "dict, one by one", "pairs", "set", "nested", "floats"])
def test_how_many_keys_may_have_one_hash(as_: str) -> None:
    def load(n: int) -> Any:
        return torch.load(io.BytesIO(archive(b"\x80\x02" + one_hash(n, as_) + b".")))

    assert len(load(MAX_SAME_HASH)[-1]) == MAX_SAME_HASH
    with pytest.raises(CheckpointError, match="same hash"):
        load(MAX_SAME_HASH + 1)


def test_an_integer_counts_with_the_floats_of_its_hash() -> None:
    floats = floats_of_one_hash()
    h = hash(floats[0])
    others = [x for x in floats if x != h][:MAX_SAME_HASH]
    assert len(others) == MAX_SAME_HASH
    ways = {"before": [h, *others], "behind": [*others, h], "as a float": [*others, float(h)]}
    for keys in ways.values():
        for count, refused in ((MAX_SAME_HASH, False), (MAX_SAME_HASH + 1, True)):
            chosen = [h, *others[: count - 1]] if keys[0] == h else [*others[: count - 1], keys[-1]]
            file = io.BytesIO()
            torch.save(dict.fromkeys(chosen), file)
            file.seek(0)
            if refused:
                with pytest.raises(CheckpointError, match="same hash"):
                    torch.load(file)
            else:
                assert len(torch.load(file)) == count


@pytest.mark.parametrize("as_", ["dict", "dict, one by one", "pairs"])
def test_integers_that_collide(as_: str) -> None:
    """None has the hash of more than seven others, and filling takes the square of their number."""
    data = archive(b"\x80\x02" + flood(as_) + b".")
    with pytest.raises(CheckpointError, match="collide so often"):
        torch.load(io.BytesIO(data))


def test_numbers_of_notes_count_up() -> None:
    """A file chooses them; a few may be left out."""
    sparse = b"N" + b"".join([b"r" + struct.pack("<I", 2 * i) for i in range(200)])
    assert torch.load(io.BytesIO(archive(b"\x80\x02" + sparse + b"."))) is None
    with pytest.raises(CheckpointError, match="before as many"):
        torch.load(io.BytesIO(archive(b"\x80\x02" + floods_of_notes() + b".")))


def test_indices_of_devices_are_small() -> None:
    """Else thousands could have one hash; torch counts them in 8 bits."""
    with pytest.raises(CheckpointError, match="at most 127"):
        torch.load(io.BytesIO(archive(b"\x80\x02" + devices_of_one_hash(2) + b".")))
    for index, message in ((128, "at most 127, got 128"), (-1, "must not be negative")):
        with pytest.raises(RuntimeError, match=message):
            torch.device("cuda", index)


def test_names_and_memory_left_over_are_harmless_values() -> None:
    """Nobody writes such files; torch gives the functions themselves."""
    left = [ENCODE, b"ctorch\nFloatStorage\n", storage()]
    data = archive(b"\x80\x02(" + b"".join(left) + b"t.")
    assert [type(part).__name__ for part in torch.load(io.BytesIO(data))] == [
        "Function", "StorageType", "StoredMemory"
    ]  # fmt: skip


def test_equal_keys_are_one_key() -> None:
    data = archive(b"\x80\x02(" + one_hash_sizes(500) + b"t.")
    assert torch.load(io.BytesIO(data))[-1] == {torch.Size([1, 2]): None}


def test_what_is_saved_is_never_refused() -> None:
    """The budget is meant for files that are made to be large, not for what `save` writes."""
    rng = random.Random(0)
    blob, key = bytes(rng.randrange(256) for _ in range(5000)), ("a", ("b", 3), 2.5)
    states: list[Any] = [
        [blob] * 1000,
        [bytes(bytearray(blob)) for _ in range(1000)],  # equal, and not the same
        [bytearray(blob) for _ in range(100)],
        [bytearray(b"")] * 10 + [b""] * 10,
        [{key: i, (i, i): i} for i in range(500)],
        {(i, j): float(i) for i in range(60) for j in range(60)},
        {complex(i, j): None for i in range(40) for j in range(40)},
        dict.fromkeys([*range(-500, 500), *[0.5 * i for i in range(900)], True, 2**62, -(2**61)]),
        [set(range(i)) for i in range(200)],
        dict.fromkeys(range(20_000)),
        dict.fromkeys([rng.randrange(-(2**63), 2**64) for _ in range(10_000)]),
        dict.fromkeys([16 * i + 0x7F00_0000_0000 for i in range(10_000)]),  # as addresses are
        {rng.random() for _ in range(10_000)},
        [torch.Size([1] * (i % 9)) for i in range(500)],
        [torch.device("cpu")] * 500 + [torch.float32] * 500,
        {f"layer.{i}.weight": torch.ones(1) for i in range(2000)},
        [torch.nn.Parameter(torch.ones(2)) for _ in range(500)],
    ]  # fmt: skip
    for state in states:
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        assert plain(torch.load(file)) == plain(state)


def table_of_attacks() -> None:
    """Print what each attack costs: the numbers of the documentation."""
    import tempfile

    files = [attack(name) for name in ATTACKS]
    with tempfile.TemporaryDirectory() as folder:
        rows = measured(files, pathlib.Path(folder))
    for name, data, (memory, seconds, what) in zip(ATTACKS, files, rows, strict=True):
        print(
            f"{name:36} {len(data):7} bytes {memory / len(data):6.0f} bytes/byte"
            f" {1e6 * seconds / len(data):6.2f} us/byte  {what[:60]}"
        )


if __name__ == "__main__":
    start = time.time()
    table_of_attacks()
    print(f"{time.time() - start:.0f} s")
