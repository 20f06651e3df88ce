"""utils.data against torch's: the same batches from the same seed, the same errors."""

from __future__ import annotations

import collections
import gc
import itertools
import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

import tinygrad_edu as ours
from tinygrad_edu.random import default_generator
from tinygrad_edu.utils import data as our_data

theirs = pytest.importorskip("torch")
# Python 3.12 warns of any fork while a library of numerics has threads of its own.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
needs_fork = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system"
)
LIBRARIES = [ours, theirs]


def plain(value):
    """Tensors as (dtype, nested list), wherever they are."""
    if isinstance(value, (ours.Tensor, theirs.Tensor)):
        return str(value.dtype), value.tolist()
    if isinstance(value, collections.abc.Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, collections.deque, collections.UserList)):
        parts = [plain(item) for item in value]
        return (type(value).__name__, parts)
    return value


def same(run):
    """Run a function of the library with both and compare what it returns, or its exceptions."""
    found = []
    for library in LIBRARIES:
        library.manual_seed(11)
        try:
            found.append(plain(run(library)))
        except Exception as error:
            found.append((type(error), str(error)))
    assert found[0] == found[1]
    assert np.array_equal(default_generator.get_state_bytes(), theirs.get_rng_state().numpy())
    return found[0]


def state(generator):
    if isinstance(generator, ours.Generator):
        return generator.get_state_bytes().tolist()
    return generator.get_state().tolist()


def fails(run, kind, *facts):
    """Both libraries raise `kind`; the messages hold the facts."""
    for library in LIBRARIES:
        with pytest.raises(kind) as caught:
            run(library)
        if library is ours:
            for fact in facts:
                assert fact in str(caught.value)


def table(library, n=10):
    x = library.arange(0, 3 * n).reshape(n, 3)
    return library.utils.data.TensorDataset(x, library.arange(0, 10 * n, 10))


def tools(library):
    return library.utils.data


# Datasets and samplers ----------------------------------------------------------------------------


def test_tensor_dataset():
    same(lambda lib: [len(table(lib)), table(lib)[3], table(lib)[-1], table(lib)[2:4]])
    fails(lambda lib: tools(lib).TensorDataset(lib.ones(2), lib.ones(3)), AssertionError, "Size")


def test_concat_dataset():
    def run(lib):
        data = table(lib, 3) + table(lib, 2) + ["end"]
        return [len(data), [data[i] for i in range(-6, 6)], data.cumulative_sizes]

    same(run)
    fails(lambda lib: table(lib, 3).__add__(table(lib))[-14], ValueError, "absolute value")
    fails(lambda lib: tools(lib).ConcatDataset([]), AssertionError, "empty")


def test_stack_dataset():
    def run(lib):
        by_place = tools(lib).StackDataset("abc", [1, 2, 3])
        by_name = tools(lib).StackDataset(t=table(lib, 3), c="abc")
        nested = tools(lib).StackDataset(tools(lib).Subset(by_name, [2, 0]), "xy")
        batches = [by_place.__getitems__([2, 0]), by_name.__getitems__([1]), nested[0]]
        return [*batches, nested.__getitems__([1, 0]), len(nested)]

    same(run)
    fails(lambda lib: tools(lib).StackDataset(), ValueError)
    fails(lambda lib: tools(lib).StackDataset("ab", c="ab"), ValueError)
    fails(lambda lib: tools(lib).StackDataset("ab", "abc"), ValueError, "Size mismatch")


def test_stack_dataset_checks_nested_sizes():
    class Short:
        def __len__(self):
            return 3

        def __getitems__(self, indices):
            return [0]

    fails(lambda lib: tools(lib).StackDataset(Short()).__getitems__([0, 1]), ValueError, "got 1")


def test_chain_dataset():
    def run(lib):
        class Stream(tools(lib).IterableDataset):
            def __init__(self, n):
                self.n = n

            def __iter__(self):
                return iter(range(self.n))

            def __len__(self):
                return self.n

        chain = Stream(2) + Stream(3)
        return [list(chain), len(chain), list(tools(lib).DataLoader(chain, 2))]

    same(run)
    fails(lambda lib: list(tools(lib).ChainDataset([[1]])), AssertionError, "IterableDataset")


def test_dataset_is_abstract():
    fails(lambda lib: tools(lib).Dataset()[0], NotImplementedError, "__getitem__")
    fails(lambda lib: tools(lib).IterableDataset(), TypeError)


def test_subset_and_its_subclasses():
    same(lambda lib: [tools(lib).Subset(table(lib), [4, 1])[[0, 1]]])

    def half(lib):
        class Half(tools(lib).Subset):
            def __getitem__(self, index):
                return 0

        return Half([1, 2], [0])

    fails(half, NotImplementedError, "Half", "__getitems__")


@pytest.mark.parametrize(
    "lengths", [[3, 7], [0.25, 0.75], [0.33, 0.33, 0.34], [0.5, 0.5], [10], [1.0], [0, 10]]
)
def test_random_split(lengths):
    same(lambda lib: [list(part.indices) for part in tools(lib).random_split(range(10), lengths)])

    def seeded(lib):
        generator = lib.Generator().manual_seed(5)
        parts = tools(lib).random_split(range(10), lengths, generator=generator)
        return [list(part) for part in parts]

    same(seeded)


def test_random_split_errors():
    fails(lambda lib: tools(lib).random_split(range(10), [3, 6]), ValueError, "Sum of input")
    fails(lambda lib: tools(lib).random_split(range(10), [1.5, -0.5]), ValueError, "index 0")
    for library in LIBRARIES:
        with pytest.warns(UserWarning, match="index 1 is 0"):
            tools(library).random_split(range(3), [0.9, 0.1])


SAMPLERS = {
    "sequential": lambda d: d.SequentialSampler(range(5)),
    "random": lambda d: d.RandomSampler(range(7)),
    "more": lambda d: d.RandomSampler(range(7), num_samples=17),
    "fewer": lambda d: d.RandomSampler(range(7), num_samples=3),
    "replacement": lambda d: d.RandomSampler(range(7), replacement=True, num_samples=70),
    "exact": lambda d: d.RandomSampler(range(7), replacement=True, num_samples=64),
    "subset": lambda d: d.SubsetRandomSampler([4, 8, 15, 16]),
    "weights": lambda d: d.WeightedRandomSampler([0.1, 0.0, 2.0, 0.4], 12),
    "race": lambda d: d.WeightedRandomSampler([0.1, 0.3, 2.0, 0.4], 3, replacement=False),
    "one": lambda d: d.WeightedRandomSampler([1, 2, 3], 1),
    "batches": lambda d: d.BatchSampler(d.RandomSampler(range(7)), 3, False),
    "whole": lambda d: d.BatchSampler(range(7), 3, True),
    "even": lambda d: d.BatchSampler(d.RandomSampler(range(6)), 3, True),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers(name):
    def run(lib):
        sampler = SAMPLERS[name](tools(lib))
        return [list(sampler), list(sampler), len(sampler)]

    same(run)


@pytest.mark.parametrize("kind", ["RandomSampler", "SubsetRandomSampler"])
def test_samplers_with_a_generator(kind):
    def run(lib):
        generator = lib.Generator().manual_seed(3)
        sampler = getattr(tools(lib), kind)(range(9), generator=generator)
        return [list(sampler), list(sampler), state(generator)]

    same(run)


@pytest.mark.parametrize("bad", [0, -1, 2.5, "2", True])
def test_sampler_errors(bad):
    fails(
        lambda lib: tools(lib).BatchSampler(range(3), bad, False), ValueError, f"batch_size={bad}"
    )
    fails(lambda lib: tools(lib).WeightedRandomSampler([1.0], bad), ValueError, "num_samples")
    if bad is not True:
        fails(lambda lib: tools(lib).RandomSampler([1], num_samples=bad), ValueError, "num_samples")


def test_sampler_errors_of_type():
    fails(lambda lib: tools(lib).RandomSampler([1], replacement=1), TypeError, "replacement=1")
    fails(lambda lib: tools(lib).RandomSampler([]), ValueError, "num_samples=0")
    fails(lambda lib: tools(lib).BatchSampler([1], 1, "no"), ValueError, "drop_last=no")
    fails(lambda lib: tools(lib).WeightedRandomSampler([1.0], 1, 1), ValueError, "replacement=1")
    fails(lambda lib: tools(lib).WeightedRandomSampler([[1.0]], 1), ValueError, "(1, 1)")
    fails(lambda lib: list(tools(lib).WeightedRandomSampler([1.0, -1], 1)), RuntimeError)
    fails(lambda lib: iter(tools(lib).Sampler()), NotImplementedError)


# Collating ----------------------------------------------------------------------------------------

Point = collections.namedtuple("Point", "x y")
BATCHES = {
    "int": [1, 2, 3],
    "float": [0.5, 1.5],
    "mixed": [1, 2.5],
    "bool": [True, False],
    "text": ["a", "b"],
    "bytes": [b"a", b"b"],
    "array": [np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32)],
    "array of ints": [np.arange(3, dtype=np.int16), np.arange(3, dtype=np.int16)],
    "0-d": [np.array(1.5), np.array(2.5)],
    "float32 scalar": [np.float32(1), np.float32(2)],
    "float64 scalar": [np.float64(1), np.float64(2)],
    "int8 scalar": [np.int8(1), np.int8(2)],
    "bool scalar": [np.bool_(True), np.bool_(False)],
    "tuple": [(1, 2.0), (3, 4.0)],
    "list": [[1, "a"], [3, "b"]],
    "dict": [{"a": 1, "b": [1, 2]}, {"b": [3, 4], "a": 5}],
    "ordered": [collections.OrderedDict(a=1), collections.OrderedDict(a=2)],
    "default dict": [collections.defaultdict(int, a=1), collections.defaultdict(int, a=2)],
    "named": [Point(1, {"z": 2.0}), Point(3, {"z": 4.0})],
    "range": [range(2), range(2, 4)],
    "deque": [collections.deque([1, 2]), collections.deque([3, 4])],
    "user list": [collections.UserList([1, 2]), collections.UserList([3, 4])],
    "empty": [(), ()],
    "unequal": [[1, 2], [3]],
    "unequal arrays": [np.ones(2), np.ones(3)],
    "none": [None, None],
    "objects": [object(), object()],
    "array of text": [np.array(["a"]), np.array(["b"])],
    "missing key": [{"a": 1}, {"b": 1}],
}


@pytest.mark.parametrize("name", BATCHES)
def test_collate(name):
    results = []
    for library in LIBRARIES:
        try:
            results.append(plain(tools(library).default_collate(BATCHES[name])))
        except Exception as error:
            results.append(type(error))
    assert results[0] == results[1]


@pytest.mark.parametrize("name", BATCHES)
def test_convert(name):
    same(lambda lib: tools(lib).default_convert(BATCHES[name]))


def test_collate_tensors():
    same(lambda lib: tools(lib).default_collate([lib.ones(2, 3), lib.zeros(2, 3)]))
    same(lambda lib: tools(lib).default_collate([(lib.tensor(1), {"a": lib.ones(2)})] * 3))
    fails(lambda lib: tools(lib).default_collate([lib.ones(2), lib.ones(3)]), RuntimeError, "[2]")


def test_collate_keeps_the_graph():
    def run(lib):
        x = lib.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
        loader = tools(lib).DataLoader(tools(lib).TensorDataset(x), 2)
        (batch,) = next(iter(loader))
        batch.backward(lib.tensor([[1.0, 2.0], [3.0, 4.0]]))
        return x.grad

    same(run)


def test_collate_with_own_functions():
    def run(lib):
        def join(batch, *, collate_fn_map=None):
            return "+".join(batch)

        collate = lib.utils.data._utils.collate.collate if lib is theirs else our_data.collate
        return collate([{"a": ["x"]}, {"a": ["y"]}], collate_fn_map={str: join})

    same(run)


# DataLoader in one process ------------------------------------------------------------------------

LOADERS = {
    "plain": {"batch_size": 3},
    "shuffle": {"batch_size": 3, "shuffle": True},
    "drop": {"batch_size": 3, "shuffle": True, "drop_last": True},
    "even": {"batch_size": 5, "shuffle": True},
    "one": {},
    "single": {"batch_size": None},
    "single shuffled": {"batch_size": None, "shuffle": True},
    "sampler": {"batch_size": 4, "sampler": [3, 1, 4, 1, 5, -9]},
    "batches": {"batch_sampler": [[1, 2], [], [3]][::2]},
    "list": {"batch_size": 4, "collate_fn": list},
}


@pytest.mark.parametrize("with_generator", [False, True])
@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("kind", ["tensors", "subset", "list", "subclass"])
def test_epochs(name, with_generator, kind):
    def run(lib):
        class Doubled(tools(lib).TensorDataset):
            def __getitem__(self, index):
                return [2 * part for part in super().__getitem__(index)]

        data = {
            "tensors": lambda: table(lib),
            "subset": lambda: tools(lib).Subset(table(lib, 20), list(range(15, 5, -1))),
            "list": lambda: [(i, str(i)) for i in range(10)],
            "subclass": lambda: tools(lib).Subset(Doubled(*table(lib).tensors), range(10)),
        }[kind]()
        generator = lib.Generator().manual_seed(8) if with_generator else None
        loader = tools(lib).DataLoader(data, generator=generator, **LOADERS[name])
        seen = [len(loader), len(iter(loader))]
        for _ in range(3):
            seen.append(list(loader))
        seen.append(list(itertools.islice(loader, 2)))  # an epoch that is broken off
        seen.append(list(loader))
        if generator is not None:
            seen.append(state(generator))
        return seen

    same(run)


def test_at_once_equals_one_by_one():
    """Indexing the whole array gives what stacking single samples gives."""
    x = ours.arange(0, 60, dtype=ours.float32).reshape(10, 3, 2).transpose(1, 2)
    data = our_data.TensorDataset(x, ours.arange(10))
    for indices in ([0, 3, -1, 3], np.array([2, 1]), [ours.tensor(4), ours.tensor(1)]):
        loader = our_data.DataLoader(data, batch_sampler=[indices])
        expected = our_data.default_collate([data[i] for i in indices])
        assert plain(next(iter(loader))) == plain(expected)
    batch, _ = next(iter(our_data.DataLoader(data, 4)))
    batch.zero_()
    assert x[0].tolist() == [[0, 2, 4], [1, 3, 5]], "a batch shares no memory with the dataset"
    with pytest.raises(IndexError):
        next(iter(our_data.DataLoader(data, batch_sampler=[[10]])))


def test_changed_collate_functions_hold(monkeypatch):
    """An entry that a user replaces is used for a TensorDataset too."""

    def collate_tensors(batch, *, collate_fn_map=None):
        return "mine"

    monkeypatch.setitem(our_data.default_collate_fn_map, ours.Tensor, collate_tensors)
    assert list(our_data.DataLoader(table(ours, 2), 2)) == [["mine", "mine"]]


def test_iterable_dataset():
    def run(lib):
        class Stream(tools(lib).IterableDataset):
            def __iter__(self):
                return iter(range(7))

        seen = []
        for settings in ({"batch_size": 3}, {"batch_size": 3, "drop_last": True}, {}):
            seen.append(list(tools(lib).DataLoader(Stream(), **settings)))
        seen.append(list(tools(lib).DataLoader(Stream(), batch_size=None)))
        return seen

    same(run)


def test_iterable_dataset_with_a_length():
    for library in LIBRARIES:

        class Stream(tools(library).IterableDataset):
            def __iter__(self):
                return iter(range(4))

            def __len__(self):
                return 3

        loader = tools(library).DataLoader(Stream(), batch_size=None)
        assert len(list(loader)) == 4
        assert len(loader) == 3
        with pytest.warns(UserWarning, match="reported to be 3.*4 samples"):
            list(loader)
        assert len(tools(library).DataLoader(Stream(), 2)) == 2
        assert len(tools(library).DataLoader(Stream(), 2, drop_last=True)) == 1


BAD = {
    "num_workers": ({"num_workers": -1}, ValueError),
    "timeout": ({"timeout": -1}, ValueError),
    "prefetch_factor option": ({"prefetch_factor": 2}, ValueError),
    "prefetch_factor option ": ({"prefetch_factor": -2, "num_workers": 1}, ValueError),
    "persistent_workers": ({"persistent_workers": True}, ValueError),
    "with shuffle": ({"sampler": [1], "shuffle": True}, ValueError),
    "batch_sampler": ({"batch_sampler": [[1]], "batch_size": 2}, ValueError),
    "batch_sampler ": ({"batch_sampler": [[1]], "shuffle": True}, ValueError),
    "drop_last": ({"batch_size": None, "drop_last": True}, ValueError),
    "batch_size=0": ({"batch_size": 0}, ValueError),
    "drop_last=": ({"drop_last": 1}, ValueError),
    "num_workers=0": ({"multiprocessing_context": "fork"}, ValueError),
    "valid start": ({"multiprocessing_context": "spoon", "num_workers": 1}, ValueError),
    "valid context": ({"multiprocessing_context": 3, "num_workers": 1}, TypeError),
}


@pytest.mark.parametrize("fact", BAD)
def test_arguments(fact):
    settings, kind = BAD[fact]
    fails(lambda lib: tools(lib).DataLoader([1, 2], **settings), kind, fact.strip())


@pytest.mark.parametrize("name, value", [("shuffle", True), ("sampler", [1]), ("batch_sampler", 1)])
def test_arguments_of_iterable_datasets(name, value):
    def run(lib):
        stream = tools(lib).ChainDataset([])
        return tools(lib).DataLoader(stream, **{name: value})

    fails(run, ValueError, f"{name}={value}")


def test_attributes_are_fixed():
    def change(lib):
        tools(lib).DataLoader([1]).batch_size = 2

    fails(change, ValueError, "batch_size attribute should not be set")
    fails(lambda lib: iter(tools(lib).DataLoader([1], timeout=1)), AssertionError)


def test_loader_is_generic_and_pickles():
    assert our_data.DataLoader[int] and our_data.Dataset[int] and our_data.Sampler[int]
    loader = our_data.DataLoader([1, 2, 3], 2, shuffle=False)
    assert plain(list(pickle.loads(pickle.dumps(loader)))) == plain(list(loader))


@pytest.mark.skipif(theirs.cuda.is_available(), reason="there is memory to pin")
def test_pin_memory_is_accepted():
    for library in LIBRARIES:
        with pytest.warns(UserWarning, match="no accelerator"):
            assert len(list(tools(library).DataLoader([1, 2], pin_memory=True))) == 2


# DataLoader with worker processes -----------------------------------------------------------------


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


# ---- saved in the middle of an epoch -------------------------------------------------------------


def loaders(torch, **options):
    """Two loaders alike, whose generators are not in step."""
    made = []
    for seed in (3, 4):
        own = torch.Generator().manual_seed(seed)
        given = {name: own if value == "own" else value for name, value in options.items()}
        made.append(torch.utils.data.DataLoader(range(23), batch_size=3, **given))
    return made


@pytest.mark.parametrize("options", [
    {}, {"shuffle": True}, {"shuffle": True, "generator": "own"},
    {"shuffle": True, "generator": "own", "num_workers": 2},
    {"shuffle": True, "num_workers": 2, "persistent_workers": True},
])  # fmt: skip
@pytest.mark.parametrize("given", [0, 1, 4, 8])
def test_a_loader_goes_on_from_its_saved_position(options, given, tmp_path):
    import tinygrad_edu as torch

    first, second = loaders(torch, **options)
    torch.manual_seed(5)
    list(first)  # an epoch before
    torch.rand(3)
    saved, expected = None, []
    for _ in range(2):
        for count, batch in enumerate(first):
            if saved is not None:
                expected.append((batch.tolist(), torch.rand(1).item()))
                continue
            torch.rand(1)
            if count + 1 == given:
                saved = {"loader": first.state_dict(), "random": torch.get_rng_state()}
        if saved is None and not given:
            saved = {"loader": first.state_dict(), "random": torch.get_rng_state()}
    torch.save(saved, tmp_path / "c.pt")
    torch.manual_seed(99)
    loaded = torch.load(tmp_path / "c.pt")
    second.load_state_dict(loaded["loader"])
    torch.set_rng_state(loaded["random"])
    found = []
    for _ in range(2 if given else 1):
        found += [(batch.tolist(), torch.rand(1).item()) for batch in second]
    assert found == expected


def test_a_streams_position_and_other_generators():
    import tinygrad_edu as torch

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(range(10))

    loader = torch.utils.data.DataLoader(Stream(), batch_size=4)
    batches = iter(loader)
    next(batches)
    state = loader.state_dict()
    again = torch.utils.data.DataLoader(Stream(), batch_size=4)
    again.load_state_dict(state)
    assert [batch.tolist() for batch in again] == [[4, 5, 6, 7], [8, 9]]
    assert [batch.tolist() for batch in again][0] == [0, 1, 2, 3]  # the next epoch is whole
    del batches
    assert loader.state_dict()["position"] == 0  # a loop that was left has ended
    other = torch.utils.data.DataLoader(range(3), generator=torch.Generator())
    with pytest.raises(ValueError, match="generators of its own"):
        other.load_state_dict(state)


@pytest.mark.parametrize("options", [{}, {"shuffle": False}, {"drop_last": True}, {"seed": 3}])
@pytest.mark.parametrize("size", [0, 1, 5, 8])
def test_distributed_sampler(size: int, options: dict[str, object]) -> None:
    torch = pytest.importorskip("torch")
    for rank in range(3):
        found = []
        for library in (ours, torch):
            sampler = library.utils.data.DistributedSampler(range(size), 3, rank, **options)
            first = [*sampler]
            sampler.set_epoch(4)
            found.append((first, [*sampler], len(sampler)))
        assert found[0] == found[1]
    for library in (ours, torch):
        with pytest.raises(ValueError, match="Invalid rank 3"):
            library.utils.data.DistributedSampler(range(2), 3, 3)
    with pytest.raises(RuntimeError, match="Requires distributed package"):
        ours.utils.data.distributed.DistributedSampler(range(2))
