"""Saving and loading 500 MB: seconds and peak memory, ours beside torch's and safetensors'.

    python tests/benchmarks/checkpoints.py [--megabytes 500] [--repeats 5] [--folder DIR]

Every measurement is a process of its own; the ways of one group take turns, so that whatever else
the machine does hits all of them.  The files come from the page cache.  Ours flushes what it saves
to the disk before it replaces the old file, so torch is measured with a flush as well.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any


def peak() -> int:
    """The most memory that this process has had, in bytes."""
    status = pathlib.Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s*(\d+)", status)
    assert found
    return int(found[1]) * 1024


def flush(path: str) -> None:
    with open(path, "r+b") as file:
        os.fsync(file.fileno())


def ways(library: str) -> Any:
    """What saves and what loads, and the library that makes the tensors."""
    if library.startswith("ours"):
        import tinygrad_edu as torch
        from tinygrad_edu import safetensors
    else:
        import torch

        if "safetensors" in library:
            import safetensors.torch as safetensors
    if "safetensors" in library:
        return torch, safetensors.save_file, safetensors.load_file
    if "mmap" in library:
        return torch, torch.save, lambda path: torch.load(path, mmap=True)
    return torch, torch.save, torch.load


def measure(library: str, action: str, path: str, megabytes: int) -> None:
    """Do it once; print the seconds, and by how many bytes the peak memory grew."""
    torch, save, load = ways(library)
    if action == "load":
        before, start = peak(), time.perf_counter()
        state = load(path)
        seconds, grown = time.perf_counter() - start, peak() - before
        assert len(state) == megabytes // 4
    else:
        state = {f"layer{i}.weight": torch.ones(1000, 1000) for i in range(megabytes // 4)}
        os.sync()  # else our flush to the disk also waits for what the one before us left unwritten
        before, start = peak(), time.perf_counter()
        save(state, path)
        if "flush" in library:
            flush(path)
        seconds, grown = time.perf_counter() - start, peak() - before
    print(json.dumps([seconds, grown]))


GROUPS = {
    "save": ["ours", "torch", "torch, flush", "ours, safetensors", "safetensors, flush"],
    "load": ["ours", "torch", "ours, mmap", "torch, mmap", "ours, safetensors", "safetensors"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", help="where to write; a folder in the main memory or on a disk")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(*args.measure, args.megabytes)
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for action, libraries in GROUPS.items():
            found: dict[str, list[Any]] = {library: [] for library in libraries}
            for _ in range(args.repeats):
                for library in libraries:
                    suffix = "safetensors" if "safetensors" in library else "pt"
                    command = [sys.executable, __file__, "--megabytes", str(args.megabytes)]
                    command += ["--measure", library, action, f"{folder}/x.{suffix}"]
                    done = subprocess.run(command, capture_output=True, text=True, check=True)
                    found[library].append(json.loads(done.stdout))
            base = statistics.median([s for s, _ in found["torch"]])
            print(f"{action} {args.megabytes} MB, median of {args.repeats}:")
            for library, results in found.items():
                seconds = statistics.median([s for s, _ in results])
                memory = max([m for _, m in results]) / 1e6
                print(
                    f"  {library:20} {seconds:7.3f} s   {seconds / base:5.2f} x torch"
                    f"   peak memory + {memory:.0f} MB"
                )


if __name__ == "__main__":
    main()
