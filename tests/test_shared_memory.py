"""Tensors that several processes see: shared modules, queues, `torch.multiprocessing.spawn`."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import os
import pathlib
import pickle
import sys
import time
from typing import Any

import numpy as np
import pytest
import shared_work

import tinygrad_edu as torch
import tinygrad_edu.multiprocessing as mp
from tinygrad_edu.multiprocessing import reductions as shared

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="it has no file descriptors"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]
METHODS = [m for m in ("fork", "spawn") if m in multiprocessing.get_all_start_methods()]


# ---- in one process


def test_a_shared_tensor_is_the_same_tensor() -> None:
    x = torch.arange(6.0).reshape(2, 3).requires_grad_()
    before, version = x.tolist(), x._version
    assert not x.is_shared() and x.share_memory_() is x and x.is_shared()
    assert x.tolist() == before and x.stride() == (3, 1) and x._version == version
    (x * x).sum().backward()
    assert x.grad is not None and not x.grad.is_shared()
    memory = x.data_ptr()
    assert x.share_memory_().data_ptr() == memory


def test_all_that_share_a_storage_move_together() -> None:
    base = torch.zeros(4, 4)
    kin = [base[1], base.t(), base.detach(), base.data, base[::2, 1:].detach(), base.view(16)[3:]]
    kin[0].share_memory_()
    assert all([t.is_shared() for t in (base, *kin)])
    base.copy_(torch.arange(16.0).view(4, 4))
    assert kin[0].tolist() == [4.0, 5.0, 6.0, 7.0]
    assert kin[1].tolist() == base.numpy().T.tolist() and kin[1].stride() == (1, 4)
    assert kin[4].tolist() == [[1.0, 2.0, 3.0], [9.0, 10.0, 11.0]]
    kin[5][0] = 99.0
    assert base[0, 3].item() == 99.0 and kin[3][0, 3].item() == 99.0


@pytest.mark.parametrize("make", [
    lambda: torch.zeros(0), lambda: torch.tensor(3.0), lambda: torch.zeros(2, 0, 3),
    lambda: torch.arange(5), lambda: torch.ones(3, dtype=torch.bool),
    lambda: torch.ones(3, dtype=torch.float16), lambda: torch.ones(2, 3).t(),
    lambda: torch.ones(3).expand(2, 3), lambda: torch.ones(6)[::2], lambda: torch.ones(6).flip(0),
    lambda: torch.from_numpy(np.arange(6.0)[::-1].copy()), lambda: torch.ones(1, 2, 3, 4).to(
        memory_format=torch.channels_last),
    lambda: torch.nn.Parameter(torch.ones(2)), lambda: torch.nn.Buffer(torch.ones(2)),
])  # fmt: skip
def test_every_kind_of_tensor(make: Any) -> None:
    x = make()
    before = x.tolist(), x.dtype, x.stride(), x.shape, type(x), x.requires_grad
    x.share_memory_()
    assert x.is_shared() and (x.tolist(), x.dtype, x.stride(), x.shape) == before[:4]
    message = multiprocessing.reduction.ForkingPickler  # type: ignore[attr-defined]
    assert type(x) in message._extra_reducers
    twin = shared.rebuild(*shared.reduce(x)[1])
    assert (twin.tolist(), twin.dtype, twin.stride(), twin.shape, type(twin)) == before[:5]
    assert twin.requires_grad == before[5] and twin.data_ptr() == x.data_ptr()


def test_a_module_is_shared_in_one_piece() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    model[0].tied = model[0].weight
    model(torch.ones(2, 3)).sum().backward()
    state = model.state_dict()
    files = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    assert model.share_memory() is model
    if files:
        assert len(os.listdir("/proc/self/fd")) <= files + 2  # one segment: its own and mmap's
    parts = [*model.parameters(), *model.buffers()]
    assert all([t.is_shared() for t in (*parts, *[p.grad for p in model.parameters()])])
    assert model[0].tied is model[0].weight
    model[0].weight.data.fill_(7.0)  # what the state dict holds has moved along
    assert state["0.weight"].tolist() == [[7.0] * 3] * 4
    assert [t.data_ptr() % shared.ALIGNMENT for t in parts] == [0] * len(parts)


def test_memory_and_descriptors_are_given_back() -> None:
    if sys.platform != "linux":
        pytest.skip("/proc is Linux's")
    before = set(os.listdir("/proc/self/fd"))  # a collection may close what older tests left
    for _ in range(3):
        x = torch.zeros(100).share_memory_()
        view = x[2:]
        del x
        assert view.is_shared() and view.sum().item() == 0
        del view
    gc.collect()
    assert set(os.listdir("/proc/self/fd")) <= before


def test_copies_and_pickles_are_not_shared() -> None:
    x = torch.ones(3).share_memory_()
    for twin in (copy.deepcopy(x), pickle.loads(pickle.dumps(x)), x.clone(), x + 0):
        assert not twin.is_shared()


def test_what_cannot_be_sent() -> None:
    y = torch.ones(2, requires_grad=True) * 2
    with pytest.raises(RuntimeError, match="Cowardly refusing to serialize non-leaf tensor"):
        shared.reduce(y)


def test_where_descriptors_cannot_be_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(shared.reduction, "DupFd")
    with pytest.raises(RuntimeError, match="cannot hand file descriptors"):
        torch.ones(2).share_memory_()
    rebuild, args, *_ = shared.reduce(torch.ones(2))  # a copy, as by pickle
    assert rebuild(*args).tolist() == [1.0, 1.0]


def test_without_anonymous_memory_there_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    x = torch.arange(3.0).share_memory_()
    assert x.is_shared() and x.tolist() == [0.0, 1.0, 2.0]


def test_on_a_gpu(cuda: str) -> None:
    x = torch.ones(2, device=cuda)
    assert x.is_shared() and x.share_memory_() is x and x.device.type == "cuda"


# ---- across processes


@pytest.mark.parametrize("method", METHODS)
def test_hogwild(method: str) -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    model.share_memory()
    mp.start_processes(shared_work.hogwild, (model, 150), nprocs=2, start_method=method)
    np.testing.assert_allclose(model.weight.detach().T, shared_work.TARGET, atol=1e-2)


class SharedAdam(torch.optim.Adam):
    """Adam with its averages in shared memory, as programs for A3C write it."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr=lr)
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                state["step"] = torch.zeros(()).share_memory_()
                state["exp_avg"] = torch.zeros_like(p).share_memory_()
                state["exp_avg_sq"] = torch.zeros_like(p).share_memory_()


@pytest.mark.skipif("fork" not in METHODS, reason="the class stands in this file")
def test_a_shared_optimizer() -> None:
    model = torch.nn.Linear(3, 1)
    model.share_memory()
    optimizer = SharedAdam(model.parameters(), lr=0.05)
    context: Any = mp.get_context("fork")
    work = dict(target=shared_work.with_shared_adam)
    processes = [context.Process(args=(i, model, optimizer, 150), **work) for i in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    steps = {state["step"].item() for state in optimizer.state.values()}
    assert min(steps) > 150  # both have counted it, now and then at the same time
    np.testing.assert_allclose(model.weight.detach().T, shared_work.TARGET, atol=0.2)


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_arguments_are_shared(method: str) -> None:
    base = torch.zeros(2, 3)
    given = (base[0], torch.nn.Parameter(torch.zeros(2)), torch.zeros(3).t())
    if method == "fork":  # nothing is pickled: only what was shared before is
        for t in given:
            t.share_memory_()
    mp.start_processes(shared_work.add_one, (given,), nprocs=1, start_method=method)
    assert base.tolist() == [[1.0] * 3, [0.0] * 3]
    assert [t.tolist() for t in given] == [[1.0] * 3, [1.0] * 2, [1.0] * 3]


@pytest.mark.parametrize("method", METHODS)
def test_queues_pass_tensors(method: str) -> None:
    """What the other process writes is seen here, in the very tensor that was sent."""
    context: Any = mp.get_context(method)
    there, back = context.Queue(), context.Queue()
    process = context.Process(target=shared_work.echo, args=(0, there, back))
    process.start()
    try:
        for tensor in (
            torch.ones(3), torch.ones(2, 3).t(), torch.nn.Parameter(torch.ones(2)),
            torch.ones(2, requires_grad=True), torch.arange(4), torch.ones(4)[1:3],
        ):  # fmt: skip
            expected = (tensor.detach() * 2).tolist()
            there.put({"tensor": tensor, "twin": tensor})
            kind, found, same = back.get(timeout=60)
            assert kind == (type(tensor).__name__, True, tensor.requires_grad, tensor.stride())
            assert found.tolist() == tensor.tolist() == expected and same
            with torch.no_grad():
                found.zero_()  # it has come back to its own memory
            assert not tensor.any()
    finally:
        there.put(None)
        process.join()
    assert process.exitcode == 0


@pytest.mark.parametrize("method", METHODS)
def test_a_process_that_ends_waits_for_its_tensors_to_be_taken(method: str) -> None:
    """With torch's queues the sender has to be kept alive."""
    context: Any = mp.get_context(method)
    queue = context.Queue()
    process = context.Process(target=shared_work.put_and_end, args=(0, queue))
    process.start()
    time.sleep(0.5)
    found = [queue.get(timeout=60) for _ in range(3)]
    process.join()
    assert [t.mean().item() for t in found] == [0.0, 1.0, 2.0]


# ---- spawn


def test_spawn(tmp_path: pathlib.Path) -> None:
    assert mp.spawn(shared_work.writes, (str(tmp_path),), nprocs=3) is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0", "1", "2"]
    started = mp.spawn(shared_work.writes, (str(tmp_path),), nprocs=2, join=False)
    assert isinstance(started, mp.ProcessContext)
    while not started.join(timeout=0.05):
        pass
    assert [int((tmp_path / str(i)).read_text()) for i in range(2)] == started.pids()


@pytest.mark.parametrize("work, kind, words, more", [
    (shared_work.raises, mp.ProcessRaisedException, "(?s)-- Process 1 terminated with the following"
     " error:\nTraceback .*ValueError: no such luck", {}),
    (shared_work.exits, mp.ProcessExitedException, "process 1 terminated with exit code 3",
     {"exit_code": 3, "signal_name": None}),
    (shared_work.is_killed, mp.ProcessExitedException, "process 1 terminated with signal SIGKILL",
     {"exit_code": -9, "signal_name": "SIGKILL"}),
])  # fmt: skip
def test_one_that_fails_ends_the_others(
    work: Any, kind: type[mp.ProcessException], words: str, more: dict[str, Any]
) -> None:
    start = time.monotonic()
    with pytest.raises(kind, match=words) as caught:
        mp.start_processes(work, ("",), nprocs=2, start_method=METHODS[0])
    assert time.monotonic() - start < 30
    error = caught.value
    assert error.error_index == 1 and error.pid > 0
    assert {name: getattr(error, name) for name in more} == more
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind and str(again) == str(error) and vars(again) == vars(error)


def test_an_interrupt_is_the_parents() -> None:
    assert mp.start_processes(shared_work.interrupted, ("",), 2, start_method=METHODS[0]) is None


def test_strategies() -> None:
    assert mp.get_sharing_strategy() in mp.get_all_sharing_strategies()
    mp.set_sharing_strategy("file_system")
    with pytest.raises(AssertionError, match="unknown"):
        mp.set_sharing_strategy("telepathy")
