"""Feeds damaged checkpoints to `load`, guided by coverage: python tests/fuzz_load.py [SECONDS].

Whatever the bytes, `load` must return or raise `CheckpointError`, in bounded memory, and nothing in
them may run.  Needs atheris: pip install atheris.
"""

from __future__ import annotations

import io
import pathlib
import random
import resource
import sys
import tempfile
import time
import zipfile
import zlib

import atheris

with atheris.instrument_imports(include=["tinygrad_edu.serialization", "zipfile"]):
    import tinygrad_edu as torch
    from tinygrad_edu.serialization import CheckpointError

FORBIDDEN = ("os.system", "subprocess.Popen", "open", "exec", "compile", "socket.connect", "import")
armed = False
start = time.monotonic()
counts = {"runs": 0, "loaded": 0, "refused": 0}


class Ran(BaseException):
    """Loading did what it never may."""


def watch(event: str, args: tuple) -> None:
    if armed and event in FORBIDDEN and not str(args[0]).startswith(("encodings", "ml_dtypes")):
        raise Ran(f"load caused {event} {args}")


def seeds() -> list[bytes]:
    states = [
        torch.nn.Linear(3, 2).state_dict(),
        {"a": [1, 2.5, "x", b"y", None, True, (1, {3})], "t": torch.arange(6).reshape(2, 3).T},
        {"dtypes": [torch.zeros(2, dtype=d) for d in (torch.uint16, torch.bool, torch.float64)]},
        [torch.float32, torch.device("cpu"), torch.Size([2, 3]), 2**70, -5, bytearray(b"z"), 1j],
        torch.nn.Parameter(torch.ones(2)),
    ]
    found = []
    for state in states:
        file = io.BytesIO()
        torch.save(state, file)
        found.append(file.getvalue())
    return found


SEEDS = seeds()


def repack(archive: bytes, pickle: bytes) -> bytes:
    """The archive with another pickle and right checksums, so that the pickle is what is tried."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(file, "w") as new:
        for info in old.infolist():
            data = pickle if info.filename.endswith("data.pkl") else old.read(info)
            new.writestr(info.filename, data)
    return file.getvalue()


def pickle_of(archive: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return file.read("archive/data.pkl")


PICKLES = [pickle_of(seed) for seed in SEEDS]


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """A changed pickle in a sound archive, or a changed archive; half of each."""
    rng = random.Random(seed)
    if not data or rng.random() < 0.02:
        return rng.choice(SEEDS)
    try:
        pickle = pickle_of(data)
    except Exception:
        pickle = b""
    if pickle and rng.random() < 0.6:
        if rng.random() < 0.2:  # splice two programs
            other = rng.choice(PICKLES)
            cut, at = rng.randrange(len(pickle)), rng.randrange(len(other))
            changed = pickle[:cut] + other[at:]
        else:
            changed = atheris.Mutate(pickle, len(pickle) + 64)
        try:
            return repack(data, changed)[:max_size]
        except Exception:
            return data
    return atheris.Mutate(data, max_size)


def try_one(data: bytes) -> None:
    global armed
    counts["runs"] += 1
    if counts["runs"] % 100_000 == 0:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{counts} in {time.monotonic() - start:.0f} s, peak memory {peak} MiB", flush=True)
    armed = True
    try:
        torch.load(io.BytesIO(data), map_location="cpu")
        counts["loaded"] += 1
    except CheckpointError:
        counts["refused"] += 1
    finally:
        armed = False


def main() -> None:
    seconds = sys.argv[1] if len(sys.argv) > 1 else "60"
    folder = tempfile.mkdtemp(prefix="fuzz_load_")
    for seed in SEEDS:
        pathlib.Path(folder, f"{zlib.crc32(seed):08x}").write_bytes(seed)
        torch.load(io.BytesIO(seed))  # what is imported on first use is imported now
    for codec in ("cp437", "utf-8", "latin1", "ascii"):  # names in a zip file are in the first
        "".encode(codec)
    sys.addaudithook(watch)
    arguments = [
        sys.argv[0], folder, f"-max_total_time={seconds}", "-max_len=8192", "-rss_limit_mb=1024",
        "-timeout=5", f"-artifact_prefix={folder}/", "-print_final_stats=1",
    ]  # fmt: skip
    atheris.Setup(arguments, try_one, custom_mutator=mutate)
    print(f"corpus and findings: {folder}", flush=True)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
