"""Checkpoints in torch's format, both ways: values, sharing, options, and where tensors go."""

from __future__ import annotations

import gc
import io
import os
import pathlib
import pickletools
import subprocess
import sys
import weakref
import zipfile
from collections import Counter, OrderedDict
from typing import Any

import numpy as np
import pytest
from checkpoints import DTYPES, here, plain, saved, there, torch

import tinygrad_edu as ours
from tinygrad_edu.serialization import CheckpointError

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

# ---- round trips ---------------------------------------------------------------------------------

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**80), 2**80), st.floats(), st.text(),
    st.binary(max_size=20), st.complex_numbers(),
)  # fmt: skip
keys = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.text(), st.booleans(), st.none(),
    st.floats(allow_nan=False), st.tuples(st.integers(0, 9), st.text()),
)  # fmt: skip
arrays = st.builds(
    lambda dtype, shape, seed: (dtype, tuple(shape), seed),
    st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=3), st.integers(0, 2**32 - 1),
)  # fmt: skip
LAYOUTS = ("plain", "transposed", "strided", "expanded", "parameter", "grad")
tensors = st.tuples(st.just("TENSOR"), arrays, st.sampled_from(LAYOUTS))
recipes = st.recursive(
    st.one_of(scalars.map(lambda v: ("VALUE", v)), tensors),
    lambda inner: st.one_of(
        st.tuples(st.just("LIST"), st.lists(inner, max_size=4)),
        st.tuples(st.just("TUPLE"), st.lists(inner, max_size=4)),
        st.tuples(st.just("DICT"), st.lists(st.tuples(keys, inner), max_size=4)),
        st.tuples(st.just("ORDERED"), st.lists(st.tuples(keys, inner), max_size=4)),
        st.tuples(st.just("SET"), st.lists(keys, max_size=4)),
        st.tuples(st.just("TWICE"), inner),
    ),
    max_leaves=12,
)


def build(recipe: Any, library: Any) -> Any:
    """The state that a recipe describes, in ours or in torch."""
    kind, *rest = recipe
    if kind == "VALUE":
        return rest[0]
    if kind == "TENSOR":
        return build_tensor(*rest, library)
    if kind in ("LIST", "TUPLE"):
        parts = [build(part, library) for part in rest[0]]
        return parts if kind == "LIST" else tuple(parts)
    if kind in ("DICT", "ORDERED"):
        made = {key: build(part, library) for key, part in rest[0]}
        return made if kind == "DICT" else OrderedDict(made)
    if kind == "SET":
        return set(rest[0])
    twice = build(rest[0], library)
    return {"one": twice, "other": [twice]}


def build_tensor(array: Any, layout: str, library: Any) -> Any:
    dtype, shape, seed = array
    raw = np.random.default_rng(seed).integers(0, 100, (*shape, 2))
    x = library.tensor(raw.tolist()).reshape(*shape, 2).to(getattr(library, dtype))
    floats = "float" in dtype
    if layout == "transposed" and x.ndim >= 2:
        return x.transpose(0, 1)
    if layout == "strided":
        return x[..., 1:]
    if layout == "expanded":
        return x[..., :1].expand(*shape, 3)
    if layout == "parameter":
        return library.nn.Parameter(x, requires_grad=floats)
    return x.requires_grad_() if layout == "grad" and floats else x


@hypothesis.given(recipes)
def test_saved_here_loads_in_torch(recipe: Any) -> None:
    assert plain(there(build(recipe, ours))) == plain(build(recipe, torch))


@hypothesis.given(recipes)
def test_saved_by_torch_loads_here(recipe: Any) -> None:
    try:
        file = saved(torch, build(recipe, torch))
        torch.load(file, weights_only=True)
    except Exception:  # torch's own reader refuses what its writer wrote, such as b"" in a dict
        hypothesis.reject()
    file.seek(0)
    assert plain(ours.load(file)) == plain(build(recipe, ours))


@hypothesis.given(recipes)
def test_saved_and_loaded_here(recipe: Any) -> None:
    state = build(recipe, ours)
    assert plain(ours.load(saved(ours, state))) == plain(state)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype(dtype: str, tmp_path: pathlib.Path) -> None:
    x = ours.tensor([[1, 0], [3, 4]]).to(getattr(ours, dtype))
    y = torch.tensor([[1, 0], [3, 4]]).to(getattr(torch, dtype))
    assert plain(there(x)) == plain(y) and plain(here(y)) == plain(x)
    for value in (getattr(ours, dtype), x.shape, x.stride()):
        assert plain(there(value))[1] == plain(value)[1]
    torch.save([y, y[1:]], tmp_path / "mapped.pt")
    assert plain(ours.load(tmp_path / "mapped.pt", mmap=True)) == plain([x, x[1:]])
    ours.save([x, x[1:]], tmp_path / "mapped.pt")
    assert plain(torch.load(tmp_path / "mapped.pt", mmap=True)) == plain([y, y[1:]])


def test_bfloat16_without_ml_dtypes(monkeypatch: pytest.MonkeyPatch) -> None:
    file = saved(torch, torch.ones(2, dtype=torch.bfloat16))
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    monkeypatch.setattr(ours.bfloat16, "_numpy", None)
    with pytest.raises(ImportError, match="ml_dtypes"):
        ours.load(file)


def test_other_values() -> None:
    state = {
        "dtype": ours.float16, "device": ours.device("cuda", 1), "size": ours.Size([2, 3]),
        "counter": Counter("abca"), "bytes": [b"", b"\xff\x00"], "array": bytearray(b"ab"),
        "big": [2**100, -(2**2030), 255, 256, 65536, -1], "huge": 1e308, "text": "äß\u20ac\ud800",
    }  # fmt: skip
    back = ours.load(saved(ours, state))
    assert plain(back) == plain(state) and back["device"] == state["device"]
    del state["text"]  # torch reads no lone surrogates
    other = there(state)
    assert other["dtype"] is torch.float16 and other["device"] == torch.device("cuda:1")
    assert other["counter"] == Counter("abca") and other["size"] == torch.Size([2, 3])
    assert other["array"] == state["array"]
    assert other["bytes"] == state["bytes"] and other["big"] == state["big"]


def test_shared_objects_stay_shared() -> None:
    inner = [1]
    loop: list[Any] = [inner, inner]
    loop.append(loop)
    back = ours.load(saved(ours, loop))
    assert back[0] is back[1] and back[2] is back
    x = ours.ones(2)
    back = ours.load(saved(ours, [x, {"same": x}]))
    assert back[0] is back[1]["same"]


def test_views_of_one_storage_stay_views() -> None:
    base = ours.arange(12.0).reshape(3, 4)
    state = {"row": base[1], "all": base, "column": base[:, 2], "t": base.T, "detached": base[0]}
    state["detached"] = base.detach()[0]
    file = saved(ours, state)
    with zipfile.ZipFile(file) as archive:
        assert [n for n in archive.namelist() if "/data/" in n] == ["archive/data/0"]
    file.seek(0)
    back = ours.load(file)
    file.seek(0)
    other = torch.load(file)
    for loaded in (back, other):
        loaded["all"][1, 2] = -1.0
        assert loaded["row"][2] == loaded["column"][1] == loaded["t"][2, 1] == -1
        loaded["all"][0, 0] = -2.0
        assert loaded["detached"][0] == -2
    assert all(np.shares_memory(back["all"].array, back[n].array) for n in back)
    y = torch.arange(12.0)
    back = here([y[3:], y[:5], y])
    back[2][3] = 9.0
    assert back[0][0] == 9 and back[1][3] == 9


def test_a_write_to_one_view_is_noticed_through_another() -> None:
    x = ours.arange(3.0)
    a, b = ours.load(saved(ours, [x, x.detach()]))
    a.requires_grad_()
    y = a * a
    with ours.no_grad():
        b.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_only_the_memory_in_use_is_written() -> None:
    big = ours.zeros(1_000_000)
    small = saved(ours, big[5:8])
    assert len(small.getvalue()) < 2000
    assert plain(torch.load(small)) == plain(torch.zeros(3))


def test_reversed_and_unaligned_arrays_are_saved_as_copies() -> None:
    reverse = ours.zeros(1)
    reverse.array = np.arange(5.0)[::-1]
    field = ours.zeros(1)
    field.array = np.zeros(3, [("a", np.int8), ("b", np.float32)])["b"]
    assert there([reverse, field])[0].tolist() == [4, 3, 2, 1, 0]
    assert there([reverse, field])[1].tolist() == [0, 0, 0]


def test_one_memory_of_two_types_is_refused() -> None:
    array = np.zeros(4, np.float32)
    both = [ours.from_numpy(array), ours.from_numpy(array.view(np.int32))]
    with pytest.raises(RuntimeError, match="view the same data as different types"):
        ours.save(both, io.BytesIO())


@pytest.mark.parametrize("obj, words", [
    ({"model": lambda: ours.nn.Linear(1, 1)}, r"obj\['model'\] is a function.* not found"),
    ({"a": [1, object()]}, r"obj\['a'\]\[1\] is a object"),
    (np.datetime64(1, "s"), r"obj is a datetime64"),
    (np.zeros(2), r"from_numpy"),
    (type("Local", (ours.nn.Module,), {})(), r"Local is not found .*state_dict\(\)"),
    ({(1, (object(),)): 1}, r"a key of obj"),
    (type("Mine", (dict,), {})(), r"plain dicts"),
])  # fmt: skip
def test_what_cannot_be_saved(obj: Any, words: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(TypeError, match=words):
        ours.save(obj, tmp_path / "x.pt")
    assert not list(tmp_path.iterdir())


def test_numbers_of_numpy_are_saved_as_pythons() -> None:
    """torch, too, loads them so by weights_only=True, and the values are the same."""
    given = {"loss": np.mean([1.5, 2.25]), "f": np.float32(0.1), "n": [np.int64(2**40), np.True_]}
    expected = {"loss": 1.875, "f": float(np.float32(0.1)), "n": [2**40, True]}
    for loaded in (ours.load(saved(ours, given)), there(given)):
        assert loaded == expected
        assert [type(v) for v in (loaded["loss"], *loaded["n"])] == [float, int, bool]


def test_deep_nesting_has_a_clear_error() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError, match="nested so deeply"):
        ours.save(deep, io.BytesIO())


def test_the_same_state_gives_the_same_bytes() -> None:
    state = ours.nn.Linear(3, 2).state_dict()
    assert saved(ours, state).getvalue() == saved(ours, state).getvalue()


def test_file_is_sound_for_other_readers(tmp_path: pathlib.Path) -> None:
    ours.save({"x": ours.ones(3), "y": ours.zeros(100_000)}, tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt") as archive:
        assert archive.testzip() is None
        pickletools.dis(archive.read("archive/data.pkl"), io.StringIO())
        for info in archive.infolist():
            with archive.open(info) as file:
                assert file._orig_compress_size == info.file_size  # type: ignore[attr-defined]
    assert saved(ours, {"x": ours.ones(3), "y": ours.zeros(100_000)}).getvalue() == (
        (tmp_path / "x.pt").read_bytes()
    )


def test_archives_of_more_than_4_gib(tmp_path: pathlib.Path) -> None:
    """The wide fields, tried on claimed sizes without writing so much."""
    from tinygrad_edu.serialization import storing

    part = storing.Part("archive/data/0", 5 << 30, 6 << 30, b"")
    assert (part.at + len(next(part.pieces()))) % 64 == 0
    info = zipfile.ZipInfo("x")
    listing = part.listing()
    info.file_size = info.compress_size = info.header_offset = 0xFFFFFFFF
    info.extra = listing[46 + len(part.name) :]
    info._decodeExtra()  # type: ignore[attr-defined]
    assert (info.file_size, info.compress_size, info.header_offset) == (5 << 30, 5 << 30, 6 << 30)


@pytest.mark.slow
@pytest.mark.skipif("RUN_SLOW" not in os.environ, reason="set RUN_SLOW=1")
def test_more_entries_than_65535() -> None:
    state = [ours.tensor(i) for i in range(66_000)]
    file = saved(ours, state)
    assert torch.load(file)[65_999].item() == 65_999
    file.seek(0)
    assert ours.load(file)[65_999].item() == 65_999


# ---- where to, and how ---------------------------------------------------------------------------


def test_paths_and_file_objects(tmp_path: pathlib.Path) -> None:
    x = ours.arange(5)
    for path in (tmp_path / "a.pt", str(tmp_path / "b.pt"), os.fsencode(tmp_path / "c.pt")):
        ours.save(x, path)
        assert ours.load(path).tolist() == torch.load(os.fsdecode(path)).tolist()
    with open(tmp_path / "d.pt", "wb") as file:
        ours.save(x, file)
    with open(tmp_path / "d.pt", "rb") as file:
        assert ours.load(file).tolist() == x.tolist()
    reading, writing = os.pipe()
    with open(writing, "wb") as sink, open(reading, "rb") as source:
        ours.save(x, sink)  # cannot seek
        sink.close()
        assert ours.load(io.BytesIO(source.read())).tolist() == x.tolist()

    class Reader:
        """No more than torch asks of a file object."""

        def __init__(self, data: bytes) -> None:
            file = io.BytesIO(data)
            self.read, self.seek, self.tell = file.read, file.seek, file.tell

    assert ours.load(Reader(saved(ours, x).getvalue())).tolist() == x.tolist()
    with pytest.raises(AttributeError, match="seekable"):
        ours.load(type("Bare", (), {"read": lambda self: b""})())
    with pytest.raises(FileNotFoundError):
        ours.load(tmp_path / "none.pt")
    with pytest.raises(RuntimeError, match="Parent directory .* does not exist"):
        ours.save(x, tmp_path / "no" / "x.pt")


def test_mmap_reads_lazily_and_never_writes_back(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.pt"
    ours.save({"a": ours.arange(10.0), "b": ours.zeros(3, dtype=ours.float64)}, path)
    before = path.read_bytes()
    state = ours.load(path, mmap=True)
    state["a"].mul_(2.0)
    assert state["a"].tolist() == [2.0 * i for i in range(10)]
    assert path.read_bytes() == before
    ours.save(state, path)  # onto the very file that is mapped
    assert ours.load(path)["a"].tolist() == state["a"].tolist()
    with pytest.raises(ValueError, match="string filename in order to use mmap"):
        ours.load(io.BytesIO(before), mmap=True)


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux")
def test_mmap_costs_no_memory(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "big.pt"
    ours.save(ours.zeros(25_000_000), path)
    code = (
        "import re, sys, tinygrad_edu as t\n"
        "def peak():\n"
        "    return int(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1])\n"
        f"before = peak(); x = t.load({str(path)!r}, mmap=sys.argv[1] == 'True')\n"
        "print(peak() - before)"
    )
    grown = [
        int(
            subprocess.run(
                [sys.executable, "-c", code, flag], capture_output=True, check=True
            ).stdout
        )
        for flag in ("True", "False")
    ]
    assert grown[0] < 20_000 and 95_000 < grown[1] < 130_000  # KiB; the tensor has 97,656


def test_map_location() -> None:
    x = torch.arange(3)
    data = bytearray(saved(torch, x).getvalue())
    for where in ("cpu", ours.device("cpu"), {"cpu": "cpu"}, {}, lambda m, name: m,
                  lambda m, name: None, lambda m, name: m.cpu()):  # fmt: skip
        assert ours.load(io.BytesIO(data), map_location=where).tolist() == [0, 1, 2]
    seen = []
    ours.load(io.BytesIO(data), map_location=lambda m, name: seen.append((name, m.nbytes())))
    assert seen == [("cpu", 24)]
    with pytest.raises(TypeError, match="map_location must be"):
        ours.load(io.BytesIO(data), map_location=3.5)
    with pytest.raises(TypeError, match="must return the storage"):
        ours.load(io.BytesIO(data), map_location=lambda m, name: 3)
    far = pretend(x, "cuda:0")
    for where in ("cpu", {"cuda:0": "cpu"}, lambda m, name: m):
        assert ours.load(io.BytesIO(far), map_location=where).tolist() == [0, 1, 2]
    if not ours.cuda.is_available():
        for where in (None, {}, lambda m, name: None):
            with pytest.raises(RuntimeError, match="Attempting to deserialize .*map_location"):
                ours.load(io.BytesIO(far), map_location=where)
    with pytest.raises(CheckpointError, match="mps"):
        ours.load(io.BytesIO(pretend(x, "mps")))


def pretend(x: Any, location: str) -> bytes:
    """A file of torch's that says its tensors were on another device."""
    out = io.BytesIO()
    with zipfile.ZipFile(saved(torch, x)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            here = b"X\x03\0\0\0cpu"
            there = b"X" + len(location).to_bytes(4, "little") + location.encode()
            new.writestr(name, old.read(name).replace(here, there))
    return out.getvalue()


@pytest.mark.parametrize("new", [True, False])
def test_memory_goes_with_the_last_tensor(new: bool) -> None:
    file = io.BytesIO()
    torch.save({"x": torch.ones(1000)}, file, _use_new_zipfile_serialization=new)
    file.seek(0)
    loaded = ours.load(file)
    memory = weakref.ref(loaded["x"].array.base)
    gc.disable()
    try:
        del loaded
        assert memory() is None
    finally:
        gc.enable()


def test_options() -> None:
    data = saved(ours, [1]).getvalue()
    assert ours.load(io.BytesIO(data), weights_only=False) == [1]
    assert ours.load(io.BytesIO(data), "cpu", weights_only=True, mmap=False) == [1]
    assert ours.load(io.BytesIO(data), weights_only=None) == [1]
    with pytest.raises(ValueError, match="pickle_protocol"):
        ours.save(1, io.BytesIO(), pickle_protocol=4)
    with pytest.raises(TypeError, match="unexpected keyword"):
        ours.save(1, io.BytesIO(), nothing=4)
    import pickle

    ours.save(1, io.BytesIO(), pickle, 2)
