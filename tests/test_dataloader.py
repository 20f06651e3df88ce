"""DataLoader against torch's: epochs, arguments, and going on from a saved position."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
from beside_torch import same_error
from test_data import LIBRARIES, plain, same, state, table, tools

import tinygrad_edu as ours
from tinygrad_edu.utils import data as our_data

theirs = pytest.importorskip("torch")
# Python 3.12 warns of any fork while a library of numerics has threads of its own.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


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
    same_error(lambda lib: tools(lib).DataLoader([1, 2], **settings), kind, fact.strip())


@pytest.mark.parametrize("name, value", [("shuffle", True), ("sampler", [1]), ("batch_sampler", 1)])
def test_arguments_of_iterable_datasets(name, value):
    def run(lib):
        stream = tools(lib).ChainDataset([])
        return tools(lib).DataLoader(stream, **{name: value})

    same_error(run, ValueError, f"{name}={value}")


def test_attributes_are_fixed():
    def change(lib):
        tools(lib).DataLoader([1]).batch_size = 2

    same_error(change, ValueError, "batch_size attribute should not be set")
    same_error(lambda lib: iter(tools(lib).DataLoader([1], timeout=1)), AssertionError)


def test_loader_is_generic_and_pickles():
    assert our_data.DataLoader[int] and our_data.Dataset[int] and our_data.Sampler[int]
    loader = our_data.DataLoader([1, 2, 3], 2, shuffle=False)
    assert plain(list(pickle.loads(pickle.dumps(loader)))) == plain(list(loader))


@pytest.mark.skipif(theirs.cuda.is_available(), reason="there is memory to pin")
def test_pin_memory_is_accepted():
    for library in LIBRARIES:
        with pytest.warns(UserWarning, match="no accelerator"):
            assert len(list(tools(library).DataLoader([1, 2], pin_memory=True))) == 2


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
