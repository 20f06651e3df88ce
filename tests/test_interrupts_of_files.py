"""KeyboardInterrupt and MemoryError anywhere in a save, a load or an epoch of a DataLoader.

A sample of the places; `pytest --sweep` tries every bytecode.
"""

from __future__ import annotations

import os
import pathlib
import threading
import time
from typing import Any

import pytest
from interrupting import sweep

import tinygrad_edu as torch
from tinygrad_edu.utils.data import DataLoader, IterableDataset

KINDS = [KeyboardInterrupt, MemoryError]
FILES = ("serialization", "safetensors.py")
linux = pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs Linux")


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def gone(threads: int) -> bool:
    """No more threads than so many, as soon as one that was just being started has seen that."""
    deadline = time.monotonic() + 5
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.001)
    return threading.active_count() <= threads


@linux
# A file whose opening was interrupted before it had a name is closed by the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["torch.save", "safetensors"])
def test_a_save(
    way: str, kind: type[BaseException], tmp_path: pathlib.Path, request: pytest.FixtureRequest
) -> None:
    if way == "torch.save":
        save, load = torch.save, torch.load
    else:
        pytest.importorskip("safetensors")
        from tinygrad_edu.safetensors import load_file as load
        from tinygrad_edu.safetensors import save_file as save
    path = tmp_path / "x.pt"
    old, new = {"x": torch.zeros(400_000)}, {"x": torch.ones(500_000), "y": torch.ones(3)}
    save(old, path)
    load(path)
    files, threads = open_files(), threading.active_count()
    left, interrupted = [], 0
    for interrupter in sweep(request, lambda: save(new, path), 80, FILES, kind):
        save(old, path)
        try:
            with interrupter:
                save(new, path)
        except kind:
            interrupted += 1
        assert len(load(path)) in (1, 2)
        assert gone(threads), "a thread goes on writing"
        if open_files() > files:  # the number of an open folder can be lost before it has a name
            assert interrupter.where.endswith("_flush_folder"), interrupter.where
            files = open_files()
        for name in set(os.listdir(tmp_path)) - {path.name}:
            left.append((name, interrupter.where))
            (tmp_path / name).unlink()
    assert interrupted > 40
    # Only an interrupt of the very line that removes it leaves the unfinished file behind.
    assert all([where.endswith("_remove") for _, where in left]), left


@linux
@pytest.mark.parametrize("kind", KINDS)
def test_a_load(
    kind: type[BaseException], tmp_path: pathlib.Path, request: pytest.FixtureRequest
) -> None:
    path = tmp_path / "x.pt"
    torch.save({"x": torch.ones(500_000), "y": [torch.ones(3), {1: "a"}]}, path)
    torch.load(path)
    files, threads, interrupted = open_files(), threading.active_count(), 0
    for interrupter in sweep(request, lambda: torch.load(path), 80, FILES, kind):
        try:
            with interrupter:
                torch.load(path)
        except (kind, RuntimeError) as error:
            # One that falls into making a tensor is told as "cannot be made".
            interrupted += 1
            assert isinstance(error, kind) or "cannot be made" in str(error)
        assert open_files() <= files and gone(threads), interrupter.where
        assert bool((torch.load(path)["x"] == 1).all())
    assert interrupted > 40


class Rows:
    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> int:
        return index


class Stream(IterableDataset):
    def __iter__(self) -> Any:
        return iter(range(12))


def epoch(iterator: Any, interrupter: Any, kind: type[BaseException]) -> tuple[list[int], bool]:
    """The numbers that an epoch gives though it is interrupted once; and whether it ends by itself.

    After an interrupt the same iterator is asked for more, as a notebook would.
    """
    seen: list[int] = []
    with interrupter:
        try:
            for batch in iterator:
                seen += batch.tolist()
            return seen, True
        except kind:
            pass
    while True:
        try:
            seen += next(iterator).tolist()
        except StopIteration:
            return seen, True
        except RuntimeError as error:
            assert "broken off" in str(error) or "stopped" in str(error), error
            return seen, False


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("data", [Rows(), Stream()], ids=["rows", "stream"])
def test_an_epoch(data: Any, kind: type[BaseException], request: pytest.FixtureRequest) -> None:
    """No batch comes twice; what is missing is the batch that was on its way, or is told."""

    def loader() -> Any:
        generator = torch.Generator().manual_seed(3)
        shuffle = None if isinstance(data, Stream) else True
        return DataLoader(data, batch_size=2, shuffle=shuffle, generator=generator)

    whole = [n for batch in loader() for n in batch.tolist()]
    interrupted = 0
    for interrupter in sweep(request, lambda: list(loader()), 120, ("utils/data",), kind):
        chosen = loader()
        try:
            iterator = iter(chosen)
        except kind:
            continue
        seen, ended = epoch(iterator, interrupter, kind)
        interrupted += bool(interrupter.where)
        assert seen == [n for n in whole if n in seen], "in order, and none twice"
        if ended:
            assert len(whole) - len(seen) in (0, 2), (seen, interrupter.where)
        assert sorted([n for batch in chosen for n in batch.tolist()]) == list(range(12))
    assert interrupted > 40


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("persistent", [False, True])
def test_an_epoch_with_workers(
    persistent: bool, monkeypatch: Any, request: pytest.FixtureRequest
) -> None:
    """It goes on or says that it does not; it never waits for what has been lost."""
    monkeypatch.setattr("tinygrad_edu.utils.data.worker.PATIENCE", 0.5)

    def loader() -> Any:
        return DataLoader(
            Rows(), batch_size=2, num_workers=2, multiprocessing_context="fork", timeout=20,
            persistent_workers=persistent,
        )  # fmt: skip

    def run() -> None:
        kept = loader()
        iterator = iter(kept)
        list(iterator)

    parts = tuple(f"utils/data/{name}.py" for name in ("dataloader", "epochs", "worker", "link"))
    whole = list(range(12))
    for interrupter in sweep(request, run, 8, parts):
        chosen = loader()
        iterator = iter(chosen)
        seen, ended = epoch(iterator, interrupter, KeyboardInterrupt)
        assert seen == whole[: len(seen)] or ended, (seen, interrupter.where)
        if ended:
            assert len(whole) - len(seen) in (0, 2), (seen, interrupter.where)
        del iterator
        assert [n for batch in chosen for n in batch.tolist()] == whole
        del chosen
