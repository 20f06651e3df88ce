"""DataLoader with worker processes: order, seeds, errors; no process outlives its loader."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from test_data import LIBRARIES, same, tools

import tinygrad_edu as ours
from tinygrad_edu.utils import data as our_data

# Python 3.12 warns of any fork while a library of numerics has threads of its own.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
needs_fork = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system"
)


class Numbers:
    """A dataset without a library of tensors."""

    def __init__(self, n=10, action=None, at=None):
        self.n, self.action, self.at = n, action, at

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if index == self.at:
            self.action()
        return index, np.full(3, index, np.float32)


def workers(library, data, count=2, **settings):
    settings = {"batch_size": 3, "multiprocessing_context": "fork", **settings}
    return tools(library).DataLoader(data, num_workers=count, **settings)


class Tracked:
    """Samples that require grad: leaves, or not."""

    def __init__(self, leaf):
        self.leaf = leaf

    def __len__(self):
        return 2

    def __getitem__(self, index):
        x = ours.ones(2, requires_grad=True)
        return x if self.leaf else x * 2


@needs_fork
def test_a_sample_with_a_graph_is_refused():
    """Leaves travel; torch prints the same refusal in the worker, and waits for ever."""
    for sample in workers(ours, Tracked(True), 1, batch_size=None):
        assert sample.requires_grad and sample.is_leaf
    for settings in ({"batch_size": None}, {"batch_size": 2}):
        with pytest.raises(RuntimeError, match="Cowardly refusing to serialize non-leaf tensor"):
            list(workers(ours, Tracked(False), 1, **settings))


def assert_no_children():
    gc.collect()
    assert multiprocessing.active_children() == []


@needs_fork
@pytest.mark.parametrize(
    "settings",
    [
        {"shuffle": True},
        {"shuffle": True, "drop_last": True, "prefetch_factor": 1, "count": 1},
        {"batch_size": None, "prefetch_factor": 4},
        {"shuffle": True, "persistent_workers": True},
    ],
)
def test_workers_keep_the_order(settings):
    def run(lib):
        loader = workers(lib, Numbers(), **settings)
        seen = [list(loader), list(loader), list(itertools.islice(loader, 2)), list(loader)]
        del loader
        return seen

    same(run)
    assert_no_children()


@needs_fork
def test_workers_out_of_order_give_the_same_set():
    loader = workers(ours, Numbers(23), in_order=False)
    seen = sorted(n for numbers, _ in loader for n in numbers.tolist())
    assert seen == list(range(23))
    assert_no_children()


@needs_fork
def test_batches_from_workers_can_be_written_to():
    data = our_data.TensorDataset(ours.ones(40, 50, 50), ours.zeros(40, 0), ours.arange(40))
    for images, empty, index in workers(ours, data, batch_size=8):
        images.add_(1)
        index.zero_()
        assert images.shape == (8, 50, 50) and float(images.array.min()) == 2
        assert empty.shape == (8, 0)


class Noise:
    """Random numbers of every source that a worker seeds."""

    def __init__(self, library):
        self.library = library

    def __len__(self):
        return 4

    def __getitem__(self, index):
        info = self.library.utils.data.get_worker_info()
        where = [info.id, info.num_workers, info.seed, self.library.initial_seed()]
        return [*where, random.random(), np.random.rand(), type(info.dataset).__name__]


@needs_fork
@pytest.mark.parametrize("with_generator", [False, True])
def test_workers_are_seeded_as_in_torch(with_generator):
    def run(lib):
        generator = lib.Generator().manual_seed(4) if with_generator else None
        return list(workers(lib, Noise(lib), batch_size=None, generator=generator))

    same(run)
    assert our_data.get_worker_info() is None


@needs_fork
@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes:UserWarning")
def test_iterable_dataset_is_shared_out():
    def run(lib):
        class Stream(tools(lib).IterableDataset):
            def __iter__(self):
                info = tools(lib).get_worker_info()
                return iter(range(info.id, 17 if info.id else 5, info.num_workers))

        return [
            list(workers(lib, Stream(), 3)),
            list(workers(lib, Stream(), 3, batch_size=2, drop_last=True)),
            list(workers(lib, Stream(), 2, batch_size=None)),
        ]

    same(run)


@needs_fork
def test_persistent_workers_stay_and_leave():
    loader = workers(ours, Numbers(), persistent_workers=True)
    list(loader)
    first = {process.pid for process in multiprocessing.active_children()}
    next(iter(loader))  # broken off: what was prepared ahead must not turn up in the next epoch
    assert [b[0].tolist() for b in loader] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    assert {process.pid for process in multiprocessing.active_children()} == first
    assert len(first) == 2
    del loader
    assert multiprocessing.active_children() == [], "without the garbage collector"


class Picky(Exception):
    """An exception that cannot be made from a message alone."""

    def __init__(self, a, b):
        super().__init__(a, b)


def raise_(error):
    def action():
        raise error

    return action


@needs_fork
@pytest.mark.parametrize(
    "error, kind",
    [
        (ValueError("too big"), ValueError),
        (KeyError("too big"), KeyError),
        (Picky("too big", 2), RuntimeError),
    ],
)
def test_errors_of_workers(error, kind):
    for library in LIBRARIES:
        iterator = iter(workers(library, Numbers(action=raise_(error), at=4)))
        assert next(iterator)[0].tolist() == [0, 1, 2]
        with pytest.raises(kind) as caught:
            next(iterator)
        message = str(caught.value)
        start = f"Caught {type(error).__name__} in DataLoader worker process 1.\nOriginal Traceback"
        assert message.startswith(start)
        assert "in __getitem__" in message and "too big" in message
        assert [b[0].tolist() for b in iterator] == [[6, 7, 8], [9]], "the loader goes on"
    assert_no_children()


@needs_fork
def test_errors_that_cannot_be_sent():
    class Local(Exception):
        pass

    iterator = iter(workers(ours, Numbers(action=raise_(Local("hidden")), at=0)))
    with pytest.raises(RuntimeError, match="Caught Local in(.|\n)*hidden"):
        next(iterator)
    loader = workers(ours, Numbers(), collate_fn=lambda batch: lambda: batch)
    with pytest.raises(RuntimeError, match="in DataLoader worker process 0(.|\n)*pickle"):
        next(iter(loader))


@needs_fork
def test_errors_before_the_first_batch():
    def bad_start(worker):
        raise ValueError(f"no worker {worker}")

    with pytest.raises(ValueError, match="Caught ValueError(.|\n)*no worker 0"):
        list(workers(ours, Numbers(), worker_init_fn=bad_start))


@needs_fork
def test_a_killed_worker():
    loader = workers(ours, Numbers(action=lambda: os.kill(os.getpid(), signal.SIGKILL), at=4))
    iterator = iter(loader)
    next(iterator)
    with pytest.raises(RuntimeError, match=r"DataLoader worker \(pid\(s\) \d+\) exited unexpected"):
        next(iterator)
    with pytest.raises(RuntimeError, match="stopped"):
        next(iterator)
    assert_no_children()


@needs_fork
def test_a_worker_that_exits():
    with pytest.raises(RuntimeError, match="exited unexpectedly with exit code 3"):
        list(workers(ours, Numbers(action=lambda: os._exit(3), at=0), in_order=False))
    assert_no_children()


@needs_fork
def test_timeout(monkeypatch):
    monkeypatch.setattr("tinygrad_edu.utils.data.worker.PATIENCE", 0.1)
    slow = Numbers(action=lambda: time.sleep(60), at=0)
    before = time.monotonic()
    iterator = iter(workers(ours, slow, count=1, timeout=0.2))
    with pytest.raises(RuntimeError, match="timed out after 0.2 seconds"):
        next(iterator)
    del iterator
    assert_no_children()
    assert time.monotonic() - before < 10


@needs_fork
def test_two_loaders_stop_independently():
    """A worker must not keep open the links of another loader, whose workers wait for their end."""
    first, second = (iter(workers(ours, Numbers(), persistent_workers=True)) for _ in range(2))
    next(first), next(second)
    before = time.monotonic()
    del first
    assert time.monotonic() - before < 2
    assert next(second)[0].tolist() == [3, 4, 5]
    del second
    assert_no_children()


@needs_fork
def test_broken_off_epochs_leave_no_process():
    data = our_data.TensorDataset(ours.zeros(64, 100_000))
    for _ in range(3):
        next(iter(workers(ours, data, batch_size=8)))
    assert multiprocessing.active_children() == []


@needs_fork
def test_large_tasks_and_large_batches_do_not_block_each_other():
    data = our_data.TensorDataset(ours.zeros(300_000, 4))
    total = sum(
        len(batch) for (batch,) in workers(ours, data, batch_size=100_000, prefetch_factor=3)
    )
    assert total == 300_000


@needs_fork
def test_workers_do_not_outlive_a_killed_loader(tmp_path):
    script = """
        import os, signal
        from tinygrad_edu.utils.data import DataLoader
        import multiprocessing
        loader = DataLoader(range(1000), 1, num_workers=2, multiprocessing_context="fork")
        iterator = iter(loader)
        next(iterator)
        print(*[p.pid for p in multiprocessing.active_children()], flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    pids = [int(word) for word in run_script(tmp_path, script, -signal.SIGKILL).split()]
    assert len(pids) == 2
    deadline = time.monotonic() + 10
    while any(is_running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_running(pid) for pid in pids)


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def run_script(tmp_path, script, expected=0):
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(script))
    root = os.path.dirname(os.path.dirname(os.path.abspath(ours.__file__)))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == expected, done.stderr
    assert not done.stderr
    return done.stdout


def test_spawned_workers(tmp_path):
    script = """
        from tinygrad_edu.utils.data import DataLoader
        class Squares:
            def __len__(self): return 5
            def __getitem__(self, i): return i * i
        if __name__ == "__main__":
            loader = DataLoader(Squares(), 2, num_workers=2, multiprocessing_context="spawn")
            print([batch.tolist() for batch in loader])
    """
    assert run_script(tmp_path, script).strip() == "[[0, 1], [4, 9], [16]]"


@needs_fork
def test_exit_in_the_middle_of_an_epoch(tmp_path):
    script = """
        from tinygrad_edu.utils.data import DataLoader
        loader = DataLoader(range(1000), 1, num_workers=2, multiprocessing_context="fork")
        iterator = iter(loader)
        print(next(iterator))
    """
    assert run_script(tmp_path, script).strip() == "tensor([0])"


def test_too_many_workers_are_warned_of():
    for library in LIBRARIES:
        with pytest.warns(UserWarning, match="will create 4096 worker processes"):
            tools(library).DataLoader([1], num_workers=4096)
