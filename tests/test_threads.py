"""Threads of the package: nothing computed may depend on how many there are."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu.kernels import allocator, threads


@pytest.fixture(autouse=True)
def keep_the_number_of_threads():
    before = threads.count()
    yield
    threads.set_count(before)


def test_get_and_set():
    for number in (1, 3, 2):
        tg.set_num_threads(number)
        assert tg.get_num_threads() == number
        if threads.blas() is not None:
            assert threads.blas().get() == number


@pytest.mark.parametrize("wrong", [0, -1, "2", 1.5, True])
def test_wrong_numbers(wrong):
    with pytest.raises(RuntimeError):
        tg.set_num_threads(wrong)


def test_another_blas(monkeypatch):
    monkeypatch.setattr(threads, "blas", lambda: None)
    monkeypatch.setattr(threads._Set, "count", 0)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert tg.get_num_threads() == 3
    tg.set_num_threads(3)
    with pytest.warns(UserWarning, match="OMP_NUM_THREADS=5"):
        tg.set_num_threads(5)
    assert tg.get_num_threads() == 5  # attention still uses them


def test_a_container_that_forbids_moving_threads(monkeypatch):
    moved = []

    def refuse(thread, processors):
        moved.append(thread)
        raise PermissionError(1, "Operation not permitted")

    pool = threads._Pool()
    monkeypatch.setattr(threads, "_processor", lambda: 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", refuse, raising=False)
    seen = []
    pool.run(seen.append, range(4), 2)
    assert sorted(seen) == [0, 1, 2, 3] and moved == pool.threads
    pool.threads, pool.away_from = [None], -1  # no number: 0 would be the caller itself
    pool._keep_away()
    assert len(moved) == 1


def attention(mask, dropout):
    generator = tg.manual_seed(0)
    q, k, v = (tg.randn(5, 4, 96, 16, requires_grad=True) for _ in range(3))
    bias = tg.randn(4, 96, 96, requires_grad=True) if mask else None
    y = tg.nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=bias, dropout_p=dropout, is_causal=not mask
    )
    inputs = [q, k, v] + ([bias] if mask else [])
    grads = tg.autograd.grad(y, inputs, tg.randn(y.shape, generator=generator))
    return [t.detach().numpy() for t in (y, *grads)]


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("mask", [False, True])
def test_attention_is_the_same_on_any_number_of_threads(mask, dropout, monkeypatch):
    monkeypatch.setattr("tinygrad_edu.kernels.attention.TILE", 1 << 16)  # so that heads are cut
    found = []
    for number in (1, 2, 4):
        tg.set_num_threads(number)
        found.append(attention(mask, dropout))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("shape", [(700, 400), (threads.LARGE + 1,), (3, 4), (0,)])
def test_gelu_is_the_same_on_any_number_of_threads(shape):
    x = tg.randn(shape, requires_grad=True, generator=tg.Generator().manual_seed(0))
    found = []
    for number in (1, 2, 4):
        tg.set_num_threads(number)
        y = tg.nn.functional.gelu(x)
        found.append((y.detach().numpy(), tg.autograd.grad(y.sum(), x)[0].numpy()))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
    definition = tg.nn.functional.gelu(x.detach().double()).numpy()
    np.testing.assert_allclose(found[0][0], definition, atol=1e-6)


@pytest.mark.parametrize("size", [0, 5, threads.LARGE, 3 * threads.LARGE + 7])
def test_elements_are_spread_once_each(size):
    tg.set_num_threads(2)
    x, y = np.zeros(size, np.int8), np.zeros(size, np.int8)
    who = set()

    def work(x, y):
        x += 1
        y += x
        who.add(len(x))

    threads.spread_elements(work, x, y)
    assert (x == 1).all() and (y == 1).all()
    assert max(who) <= threads.LARGE


@pytest.mark.parametrize("number", [1, 2, 4])
def test_every_part_once_and_several_threads(number):
    threads.set_count(number)
    seen, who = [], set()

    def work(part):
        time.sleep(0.002)
        seen.append(part)
        who.add(threading.get_ident())

    threads.spread(work, range(24))
    assert sorted(seen) == list(range(24))
    assert len(who) == number


def test_an_error_reaches_the_caller_and_the_pool_lives_on():
    threads.set_count(2)
    seen = []

    def work(part):
        seen.append(part)
        if part == 3:
            raise ValueError("part 3")

    with pytest.raises(ValueError, match="part 3"):
        threads.spread(work, range(6))
    assert sorted(seen) == list(range(6))
    threads.spread(seen.append, range(4))
    assert len(seen) == 10


def test_spread_within_spread():
    threads.set_count(2)
    seen = []
    threads.spread(lambda i: threads.spread(lambda j: seen.append((i, j)), range(3)), range(3))
    assert sorted(seen) == [(i, j) for i in range(3) for j in range(3)]


def test_the_blas_gets_its_threads_back():
    library = threads.blas()
    if library is None:
        pytest.skip("this NumPy does not use OpenBLAS")
    threads.set_count(2)
    inside = []
    threads.spread(lambda part: inside.append(library.get()), range(2))
    assert inside == [1, 1] and library.get() == 2
    with pytest.raises(ZeroDivisionError):
        threads.spread(lambda part: 1 / part, range(2))
    assert library.get() == 2


def test_threads_of_the_user():
    threads.set_count(2)
    expected, found = attention(False, 0.0), {}

    def work(i):
        q, k, v = (tg.tensor(a) for a in (expected[1], expected[2], expected[3]))
        for _ in range(5):
            found[i] = tg.nn.functional.scaled_dot_product_attention(q, k, v).numpy()

    mine = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in mine:
        thread.start()
    for thread in mine:
        thread.join()
    for i in range(1, 4):
        np.testing.assert_array_equal(found[0], found[i])


FORK = """
import os, sys
import tinygrad_edu as torch
torch.set_num_threads(2)
q = torch.randn(8, 4, 128, 32)
expected = torch.nn.functional.scaled_dot_product_attention(q, q, q)
child = os.fork()
if not child:
    same = torch.nn.functional.scaled_dot_product_attention(q, q, q).equal(expected)
    os._exit(0 if same else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_has_threads_of_its_own():
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "0", done.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of Linux")
@pytest.mark.parametrize("variable", ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_the_users_choice_of_memory_settings_stands(variable, monkeypatch):
    monkeypatch.setenv(variable, "")
    assert allocator.keep_freed_memory() is False


FAULTS = """
import resource, sys
import numpy as np
from tinygrad_edu.kernels import allocator

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    arrays = [np.ones(250_000, np.float32) for _ in range(24)]  # 24 MB, 5,900 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults(), faults()
print(allocator.keep_freed_memory(), faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of Linux")
def test_freed_memory_is_handed_out_again():
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True)
    set_, faults = done.stdout.split()
    if set_ == "False":
        pytest.skip("no such setting in this C library, or the user's own choice")
    assert int(faults) < 500


ALONE = """
import _thread, io, os, subprocess, threading

def none(*args, **kwargs):
    raise RuntimeError("can't start new thread or process")

threading.Thread.start = _thread.start_new_thread = none
subprocess.Popen.__init__ = os.fork = os.posix_spawn = none
import tinygrad_edu as torch
from tinygrad_edu import nn, see
from tinygrad_edu.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
optimizer = torch.optim.AdamW(model.parameters())
data = TensorDataset(torch.randn(64, 1, 8, 8), torch.randint(0, 10, (64,)))
for _ in range(3):
    for x, y in DataLoader(data, 16, shuffle=True):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
nn.TransformerEncoderLayer(16, 4, 32)(torch.randn(5, 2, 16)).sum().backward()
see.backward(nn.functional.cross_entropy(model(x), y), model).page()
file = io.BytesIO()
torch.save(model.state_dict(), file)
file.seek(0)
model.load_state_dict(torch.load(file))
print(loss.item())
"""


def test_no_thread_and_no_process_is_needed():
    """As in a browser, where neither can be started."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", ALONE], env=environment, capture_output=True,
                          text=True, timeout=120)  # fmt: skip
    assert done.returncode == 0 and 0 < float(done.stdout) < 3, done.stderr
