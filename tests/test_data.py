"""Datasets, samplers, collating against torch's: the same from the same seed, the same errors."""

from __future__ import annotations

import collections

import numpy as np
import pytest
from beside_torch import same_error

import tinygrad_edu as ours
from tinygrad_edu.random import default_generator
from tinygrad_edu.utils import data as our_data

theirs = pytest.importorskip("torch")
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


def table(library, n=10):
    x = library.arange(0, 3 * n).reshape(n, 3)
    return library.utils.data.TensorDataset(x, library.arange(0, 10 * n, 10))


def tools(library):
    return library.utils.data


# Datasets and samplers ----------------------------------------------------------------------------


def test_tensor_dataset():
    same(lambda lib: [len(table(lib)), table(lib)[3], table(lib)[-1], table(lib)[2:4]])
    same_error(
        lambda lib: tools(lib).TensorDataset(lib.ones(2), lib.ones(3)), AssertionError, "Size"
    )


def test_concat_dataset():
    def run(lib):
        data = table(lib, 3) + table(lib, 2) + ["end"]
        return [len(data), [data[i] for i in range(-6, 6)], data.cumulative_sizes]

    same(run)
    same_error(lambda lib: table(lib, 3).__add__(table(lib))[-14], ValueError, "absolute value")
    same_error(lambda lib: tools(lib).ConcatDataset([]), AssertionError, "empty")


def test_stack_dataset():
    def run(lib):
        by_place = tools(lib).StackDataset("abc", [1, 2, 3])
        by_name = tools(lib).StackDataset(t=table(lib, 3), c="abc")
        nested = tools(lib).StackDataset(tools(lib).Subset(by_name, [2, 0]), "xy")
        batches = [by_place.__getitems__([2, 0]), by_name.__getitems__([1]), nested[0]]
        return [*batches, nested.__getitems__([1, 0]), len(nested)]

    same(run)
    same_error(lambda lib: tools(lib).StackDataset(), ValueError)
    same_error(lambda lib: tools(lib).StackDataset("ab", c="ab"), ValueError)
    same_error(lambda lib: tools(lib).StackDataset("ab", "abc"), ValueError, "Size mismatch")


def test_stack_dataset_checks_nested_sizes():
    class Short:
        def __len__(self):
            return 3

        def __getitems__(self, indices):
            return [0]

    same_error(
        lambda lib: tools(lib).StackDataset(Short()).__getitems__([0, 1]), ValueError, "got 1"
    )


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
    same_error(lambda lib: list(tools(lib).ChainDataset([[1]])), AssertionError, "IterableDataset")


def test_dataset_is_abstract():
    same_error(lambda lib: tools(lib).Dataset()[0], NotImplementedError, "__getitem__")
    same_error(lambda lib: tools(lib).IterableDataset(), TypeError)


def test_subset_and_its_subclasses():
    same(lambda lib: [tools(lib).Subset(table(lib), [4, 1])[[0, 1]]])

    def half(lib):
        class Half(tools(lib).Subset):
            def __getitem__(self, index):
                return 0

        return Half([1, 2], [0])

    same_error(half, NotImplementedError, "Half", "__getitems__")


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
    same_error(lambda lib: tools(lib).random_split(range(10), [3, 6]), ValueError, "Sum of input")
    same_error(lambda lib: tools(lib).random_split(range(10), [1.5, -0.5]), ValueError, "index 0")
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
    same_error(
        lambda lib: tools(lib).BatchSampler(range(3), bad, False), ValueError, f"batch_size={bad}"
    )
    same_error(lambda lib: tools(lib).WeightedRandomSampler([1.0], bad), ValueError, "num_samples")
    if bad is not True:
        same_error(
            lambda lib: tools(lib).RandomSampler([1], num_samples=bad), ValueError, "num_samples"
        )


def test_sampler_errors_of_type():
    same_error(lambda lib: tools(lib).RandomSampler([1], replacement=1), TypeError, "replacement=1")
    same_error(lambda lib: tools(lib).RandomSampler([]), ValueError, "num_samples=0")
    same_error(lambda lib: tools(lib).BatchSampler([1], 1, "no"), ValueError, "drop_last=no")
    same_error(
        lambda lib: tools(lib).WeightedRandomSampler([1.0], 1, 1), ValueError, "replacement=1"
    )
    same_error(lambda lib: tools(lib).WeightedRandomSampler([[1.0]], 1), ValueError, "(1, 1)")
    same_error(lambda lib: list(tools(lib).WeightedRandomSampler([1.0, -1], 1)), RuntimeError)
    same_error(lambda lib: iter(tools(lib).Sampler()), NotImplementedError)


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
    same_error(
        lambda lib: tools(lib).default_collate([lib.ones(2), lib.ones(3)]), RuntimeError, "[2]"
    )


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
    with pytest.raises((ValueError, RuntimeError), match="Default process group|Requires distr"):
        ours.utils.data.distributed.DistributedSampler(range(2))
