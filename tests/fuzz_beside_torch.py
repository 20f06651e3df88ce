"""Changed checkpoints, loaded here and by torch.

python tests/fuzz_beside_torch.py [MINUTES [SEED]]

For each file, three promises are checked.  Here it is loaded or refused with `CheckpointError`, and
nothing else; within the time and the memory that its length allows; and if both libraries load it,
they load the same.  The rest is counted by class: what one refuses and the other loads, and why.
Needs Linux and torch.  `fuzz_load.py` is guided by coverage, and without torch.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import pathlib
import pickletools
import random
import re
import sys
import time
import warnings
import zipfile
from collections import Counter
from typing import Any

import torch
from checkpoints import plain
from hostile import REBUILD, archive, storage, text
from test_bounds import BYTES_PER_BYTE, SECONDS_PER_BYTE

import tinygrad_edu as ours
from tinygrad_edu.serialization import CheckpointError

BATCH = 2000  # files per process: a file that kills torch costs no more
WORDS = [
    b"}", b"]", b")", b"(", b"N", b"\x88", b"\x89", b"K\x01", b"M\x01\x02", b"J\xff\xff\xff\x7f",
    b"q\x00", b"h\x00", b"q\x01", b"h\x01", b"h\x02", b"h\x03", b"\x85", b"\x86", b"\x87", b"t",
    b"a", b"e", b"s", b"u", b"R", b"b", b"Q", b".", text("storage"), text("0"), text("cpu"),
    storage(), REBUILD, b"ccollections\nOrderedDict\n", b"ccollections\nCounter\n",
    b"c__builtin__\nset\n", b"ctorch\nSize\n", b"ctorch\ndevice\n", b"ctorch\nFloatStorage\n",
    b"ctorch\nfloat32\n", b"c_codecs\nencode\n", b"ctorch._utils\n_rebuild_parameter\n",
    b"ctorch._tensor\n_rebuild_from_type_v2\n", b"c__builtin__\ncomplex\n", b"G" + bytes(8),
    b"\x8a\x08" + b"\xff" * 7 + b"\x7f", b"c__builtin__\nbytearray\n", b"cos\nsystem\n",
]  # fmt: skip
NUMBERS = [0, 1, 2, 20, 22, 45, 76, 255, 256, 2**15, 2**16 - 1, 2**31, 2**32 - 1]


def states(lib: Any) -> list[Any]:
    return [
        lib.nn.Linear(3, 2).state_dict(),
        {"a": [1, 2.5, "x", b"y", None, True, (1, {3})], "t": lib.arange(6).reshape(2, 3).T},
        {"dtypes": [lib.zeros(2, dtype=d) for d in (lib.uint16, lib.bool, lib.float64)]},
        [lib.float32, lib.device("cpu"), lib.Size([2, 3]), 2**70, -5, bytearray(b"z"), 1j],
        lib.nn.Parameter(lib.ones(2)),
        {"optimizer": lib.optim.Adam([lib.ones(2, requires_grad=True)]).state_dict()},
    ]


def saved(lib: Any, state: Any) -> bytes:
    file = io.BytesIO()
    lib.save(state, file)
    return file.getvalue()


SEEDS = [saved(lib, state) for lib in (ours, torch) for state in states(lib)]


def entries(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return {info.filename.partition("/")[2]: file.read(info) for info in file.infolist()}


CONTENTS = [entries(seed) for seed in SEEDS]


def opcodes(pickle: bytes) -> list[bytes]:
    """The pickle cut into its opcodes with their arguments."""
    places = [place for _, _, place in pickletools.genops(pickle) if place is not None]
    return [pickle[a:b] for a, b in zip(places, [*places[1:], len(pickle)], strict=True)]


PROGRAMS = [opcodes(content["data.pkl"]) for content in CONTENTS]


def changed_program(rng: random.Random) -> bytes:
    """Opcodes left out, doubled, exchanged, taken from elsewhere; and bytes changed."""
    chosen = rng.randrange(len(PROGRAMS))
    program = list(PROGRAMS[chosen])
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        at, other = rng.randrange(1, len(program)), rng.randrange(1, len(program))
        kind = rng.randrange(6)
        if kind == 0 and len(program) > 3:
            del program[at]
        elif kind == 1:
            program.insert(at, program[other])
        elif kind == 2:
            program[at], program[other] = program[other], program[at]
        elif kind == 3:
            program[at:at] = rng.choices(WORDS, k=rng.randint(1, 4))
        elif kind == 4:
            donor = rng.choice(PROGRAMS)
            start = rng.randrange(1, len(donor))
            program[at:at] = donor[start : start + rng.randint(1, 20)]
        else:
            raw = bytearray(program[at])
            raw[rng.randrange(len(raw))] = rng.choice((0, 1, 255, rng.randrange(256)))
            program[at] = bytes(raw)
    rest = {k: v for k, v in CONTENTS[chosen].items() if k.startswith("data/")}
    first = rest.pop("data/0", bytes(64))
    return archive(b"".join(program), *rest.items(), data_0=first)


def changed_archive(rng: random.Random) -> bytes:
    """Bytes and numbers changed, mostly where the archive is described; parts cut and doubled."""
    data = bytearray(rng.choice(SEEDS))
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        kind = rng.randrange(8)
        if kind < 4:  # near a signature
            marks = [m.start() for m in re.finditer(rb"PK[\x01\x03\x05\x06\x07]", bytes(data))]
            at = rng.choice(marks) + rng.randrange(60) if marks else 0
        else:
            at = rng.randrange(len(data) + 1)
        at = min(at, max(len(data) - 8, 0))
        if kind in (0, 4):
            data[at : at + 1] = bytes([rng.choice((0, 1, 2, 8, 9, 255, rng.randrange(256)))])
        elif kind in (1, 5):
            value = rng.choice(NUMBERS).to_bytes(8, "little")[: rng.choice((2, 4, 8))]
            data[at : at + len(value)] = value
        elif kind == 2:
            data[at:at] = bytes(rng.randrange(256) for _ in range(rng.randint(1, 30)))
        elif kind == 3:
            del data[at : at + rng.randint(1, 30)]
        elif kind == 6:
            data = data[: rng.randrange(len(data) + 1)] + bytearray(rng.choice(SEEDS))
        else:
            data += bytes(rng.choice(SEEDS)[-rng.randint(1, 400) :])
    return bytes(data)


def described(value: Any) -> Any:
    try:
        return plain(value)
    except RecursionError:
        return "contains itself"


def load_here(data: bytes, path: pathlib.Path | None) -> tuple[str, Any]:
    try:
        return "loaded", described(ours.load(io.BytesIO(data) if path is None else path))
    except CheckpointError as error:
        message = re.sub(r"'[^']*'|\b[0-9]+\b|b\".*?\"|\(.*?\)|\[.*?\]", "_", str(error))
        return "refused", message[:70]


def load_there(data: bytes, path: pathlib.Path | None) -> tuple[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = torch.load(io.BytesIO(data) if path is None else path, weights_only=True)
        return "loaded", described(found)
    except Exception as error:
        text_ = re.sub(r"Weights only load failed.*?WeightsUnpickler error: |\s+", " ", str(error),
                       flags=re.S)  # fmt: skip
        text_ = re.sub(r"'[^']*'|\b0x[0-9a-f]+|\b[0-9]+\b", "_", text_)
        return "refused", f"{type(error).__name__}: {text_.strip()[:60]}"


def peak(reset: bool = False) -> int:
    if reset:
        pathlib.Path("/proc/self/clear_refs").write_text("5")
    status = pathlib.Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s*(\d+)", status)
    return int(found[1]) * 1024 if found else 0


def try_one(rng: random.Random, folder: pathlib.Path, counts: Counter[str]) -> str:
    """Try one file; returns what is wrong with it, or nothing."""
    data = changed_program(rng) if rng.random() < 0.5 else changed_archive(rng)
    path = folder / "x.pt" if rng.random() < 0.3 else None
    if path is not None:
        path.write_bytes(data)
    (folder / "current").write_bytes(data)
    before, start = peak(reset=True), time.process_time()
    here, mine = load_here(data, path)
    seconds, memory = time.process_time() - start, peak() - before
    there, theirs = load_there(data, path)
    counts["files"] += 1
    counts[f"{here} here, {there} by torch"] += 1
    if seconds > SECONDS_PER_BYTE * len(data) + 1:
        return f"takes {seconds:.1f} s for {len(data)} bytes"
    if memory > BYTES_PER_BYTE * len(data) + (32 << 20):
        return f"takes {memory} bytes of memory for {len(data)} bytes"
    if here == there == "loaded" and mine != theirs and "contains itself" not in (mine, theirs):
        return f"is loaded as {str(mine)[:200]}, by torch as {str(theirs)[:200]}"
    if here == "loaded" != there and path is None:
        (folder / "x.pt").write_bytes(data)
        if load_here(data, folder / "x.pt")[0] == "refused":
            theirs = "a file object with more behind its archive"
    if here != there:
        counts[f"  only loaded {'here' if here == 'loaded' else 'by torch'}: "
               + (theirs if here == "loaded" else mine)] += 1  # fmt: skip
    return ""


def batch(seed: int, folder: str, out: Any) -> None:
    rng, counts, wrong = random.Random(seed), Counter[str](), []
    for _ in range(BATCH):
        try:
            what = try_one(rng, pathlib.Path(folder), counts)
        except BaseException as error:
            what = f"raises {type(error).__name__}: {error}"[:300]
        if what:
            name = pathlib.Path(folder, f"wrong_{seed}_{counts['files']}")
            name.write_bytes(pathlib.Path(folder, "current").read_bytes())
            wrong.append(f"{name} {what}")
    out.send((counts, wrong))


def main() -> int:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    import tempfile

    folder = tempfile.mkdtemp(prefix="fuzz_beside_torch_")
    counts, wrong, start = Counter[str](), [], time.monotonic()
    for data in SEEDS:
        assert load_here(data, None) == load_there(data, None)
    while time.monotonic() - start < 60 * minutes:
        ours_end, theirs_end = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("fork").Process(
            target=batch, args=(seed, folder, theirs_end)
        )
        process.start()
        theirs_end.close()
        try:
            more, bad = ours_end.recv()
            counts.update(more)
            wrong += bad
        except EOFError:
            counts["a process died"] += 1
            last = pathlib.Path(folder, "current").read_bytes()
            pathlib.Path(folder, f"died_{seed}").write_bytes(last)
        process.join()
        seed += 1
        report = {
            "minutes": round((time.monotonic() - start) / 60, 1), "next seed": seed,
            "counts": dict(counts.most_common()), "wrong": wrong,
        }  # fmt: skip
        pathlib.Path(folder, "report.json").write_text(json.dumps(report, indent=1))
    report["wrong"] = wrong[:20]
    print(json.dumps(report, indent=1))
    return 1 if wrong else 0


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main())
