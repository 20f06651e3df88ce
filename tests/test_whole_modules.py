"""Whole modules in files, from here to torch and back; what is refused, and that nothing runs."""

from __future__ import annotations

import argparse
import io
import sys
import types
from collections.abc import Iterator
from pickle import dumps
from typing import Any

import numpy as np
import pytest
from hostile import HOSTILE_NAMES, archive, calls, canary, text

import tinygrad_edu as ours
from tinygrad_edu.serialization import CheckpointError
from tinygrad_edu.serialization.formats import LEGACY

torch = pytest.importorskip("torch")

ZOO = """
from torch import nn
import torch.nn.functional as F

class Config:
    def __init__(self):
        self.width = 6

class Block(nn.Module):
    def __init__(self, act):
        super().__init__()
        self.norm = nn.LayerNorm(6)
        self.layer = nn.Linear(6, 6)
        self.act = act

    def forward(self, x):
        return x + self.act(self.layer(self.norm(x)))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(Block(act) for act in (F.relu, torch.tanh, F.gelu, F.softplus))
        self.blocks[1].layer.weight = self.blocks[0].layer.weight
        self.kind, self.sizes, self.table = nn.LayerNorm, [1, (2, 3)], {"a": 1.5}
        self.register_buffer("mask", torch.ones(6), persistent=False)
        self.free = torch.arange(3)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x * self.mask

class Holder(nn.Module):
    def __init__(self):
        super().__init__()
        self.config = Config()

class Runs(nn.Module):
    def __setstate__(self, state):
        raise SystemExit("ran")

class Reduced(nn.Module):
    def __reduce__(self):
        return Reduced, ()

class Deleted(nn.Module):
    def __del__(self):
        log.append("ran")

class Made(nn.Module):
    def __new__(cls):
        log.append("ran")
        return super().__new__(cls)

class Looked(nn.Module):
    def __getattribute__(self, name):
        log.append("ran")
        return super().__getattribute__(name)

class Inherits(Deleted):
    pass

class Slots(nn.Module):
    __slots__ = ("x",)

log = []

def own(x):
    return x
"""


def zoo(lib: Any) -> Any:
    """A user's module `zoo`, which imports torch or this library, put where imports find it."""
    found = types.ModuleType("zoo")
    names = {"torch": lib, "torch.nn": lib.nn, "torch.nn.functional": lib.nn.functional}
    before = {name: sys.modules.get(name) for name in names}
    sys.modules.update(names)
    try:
        found.torch = lib  # type: ignore[attr-defined]
        exec(ZOO, vars(found))
    finally:
        for name, module in before.items():
            sys.modules.pop(name)
            if module is not None:
                sys.modules[name] = module
    sys.modules["zoo"] = found
    return found


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield
    sys.modules.pop("zoo", None)
    ours.serialization.clear_safe_globals()


def saved(lib: Any, obj: Any) -> bytes:
    file = io.BytesIO()
    lib.save(obj, file)
    return file.getvalue()


def whole(lib: Any, data: bytes) -> Any:
    return lib.load(io.BytesIO(data), weights_only=False)


def values(lib: Any, module: Any) -> dict[str, Any]:
    return {name: value.detach().numpy() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("source, target", [(torch, ours), (ours, torch), (ours, ours)])
def test_a_users_model(source: Any, target: Any) -> None:
    source.manual_seed(0)
    model = zoo(source).Net()
    x = source.randn(2, 6)
    expected = model(x).detach().numpy()
    data = saved(source, model)
    kind = zoo(target).Net
    found = whole(target, data)
    assert type(found) is kind and found.training
    assert found.blocks[1].layer.weight is found.blocks[0].layer.weight
    assert found.kind is target.nn.LayerNorm
    assert (found.sizes, found.table, found.free.tolist()) == ([1, (2, 3)], {"a": 1.5}, [0, 1, 2])
    assert found(target.tensor(x.numpy())).detach().numpy() == pytest.approx(expected, abs=1e-6)
    assert list(found.state_dict()) == list(model.state_dict())
    found.eval().to(target.float64)
    optimizer = target.optim.SGD(found.parameters(), lr=0.1)
    found(target.ones(1, 6, dtype=target.float64)).sum().backward()
    optimizer.step()


LAYERS = {
    "Linear": "2, 3", "Bilinear": "2, 3, 4",
    "Conv1d": "2, 4, 3, padding='same', padding_mode='reflect'",
    "Conv2d": "2, 4, 3, padding=(1, 2), padding_mode='circular'", "Conv3d": "2, 4, 3",
    "ConvTranspose1d": "2, 4, 3, padding=1", "ConvTranspose2d": "2, 4, 3",
    "ConvTranspose3d": "2, 4, 3",
    "LSTM": "2, 3, 2, bidirectional=True, proj_size=2", "GRU": "2, 3, bias=False", "RNN": "2, 3",
    "LSTMCell": "2, 3", "GRUCell": "2, 3", "RNNCell": "2, 3", "LayerNorm": "4", "GroupNorm": "2, 4",
    "RMSNorm": "4", "MultiheadAttention": "4, 2", "TransformerEncoderLayer": "4, 2",
    "TransformerDecoderLayer": "4, 2", "Transformer": "4, 2, 1, 1, batch_first=True",
    "Embedding": "3, 4, padding_idx=1", "EmbeddingBag": "3, 4",
    "Unflatten": "1, (2, 2)", "Threshold": "0.1, 0.2", "PixelShuffle": "2",
    "PixelUnshuffle": "2", "ChannelShuffle": "2", "Fold": "(4, 4), 2", "Unfold": "2",
    "Upsample": "2",
    "UpsamplingNearest2d": "2", "UpsamplingBilinear2d": "2", "LocalResponseNorm": "2",
    "FractionalMaxPool2d": "2, (1, 1)",
    "FractionalMaxPool3d": "2, (1, 1, 1)", "AdaptiveLogSoftmaxWithLoss": "16, 10, [2, 4]",
    "LinearCrossEntropyLoss": "4, 3", "ParameterDict": "{'a': lib.nn.Parameter(lib.ones(2))}",
    "ParameterList": "[lib.nn.Parameter(lib.ones(2))]", "ModuleDict": "{'a': lib.nn.ReLU()}",
    "ModuleList": "[lib.nn.ReLU()]", "Sequential": "lib.nn.Linear(2, 2), lib.nn.ReLU()",
    "DataParallel": "lib.nn.Linear(2, 2)",
    "TransformerEncoder": "lib.nn.TransformerEncoderLayer(4, 2, batch_first=True), 2",
    "TransformerDecoder": "lib.nn.TransformerDecoderLayer(4, 2), 2",
    "SyncBatchNorm": "4", "ConstantPad1d": "1, 0.5", "ConstantPad2d": "1, 0.5",
    "ConstantPad3d": "1, 0.5", "LPPool1d": "2, 2", "LPPool2d": "2, 2", "LPPool3d": "2, 2",
}  # fmt: skip
ABSENT = {
    "Container", "CrossMapLRN2d", "NLLLoss2d", "RNNBase", "RNNCellBase", "Module",
}  # fmt: skip


def layers() -> list[str]:
    kinds = {n: k for n, k in vars(torch.nn).items() if isinstance(k, type)}
    return sorted(
        name for name, kind in kinds.items()
        if issubclass(kind, torch.nn.Module) and name not in ABSENT and not name.startswith("Lazy")
    )  # fmt: skip


def made(lib: Any, name: str) -> Any:
    arguments = LAYERS.get(name, "")
    usual = [arguments] if arguments else ["", "4", "2", "(2, 2)"]
    for given in usual:
        try:
            return eval(f"lib.nn.{name}({given})", {"lib": lib})
        except TypeError:
            if given is usual[-1]:
                raise
    return None


@pytest.mark.parametrize("name", layers())
def test_every_layer_goes_both_ways(name: str) -> None:
    torch.manual_seed(0)
    for source, target in ((torch, ours), (ours, torch)):
        module = made(source, name)
        found = whole(target, saved(source, module))
        assert type(found) is getattr(target.nn, name)
        assert repr(found) == repr(module)
        mine, theirs = values(target, found), values(source, module)
        assert list(mine) == list(theirs)
        assert all((mine[key] == theirs[key]).all() for key in mine)
        missing = set(vars(made(target, name))) - set(vars(found)) - set(found._parameters)
        assert not {one for one in missing if one != "name"}


INPUTS = [
    ("Conv1d", (1, 2, 8)), ("Conv2d", (1, 2, 6, 6)), ("ConvTranspose1d", (1, 2, 6)),
    ("LSTM", (4, 1, 2)), ("GRU", (4, 1, 2)), ("RNN", (4, 1, 2)), ("Linear", (3, 2)),
    ("TransformerEncoder", (1, 3, 4)),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("name, shape", INPUTS)
def test_layers_compute_the_same(name: str, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    for source, target in ((torch, ours), (ours, torch)):
        module = made(source, name).eval()
        found = whole(target, saved(source, module))
        y, z = module(source.tensor(x.numpy())), found(target.tensor(x.numpy()))
        y, z = (y[0], z[0]) if isinstance(y, tuple) else (y, z)
        assert z.detach().numpy() == pytest.approx(y.detach().numpy(), abs=1e-5)


def refused(data: bytes, **options: Any) -> str:
    before = set(sys.modules)
    with pytest.raises(CheckpointError) as caught:
        ours.load(io.BytesIO(data), **options)
    assert not canary
    if (module := sys.modules.get("zoo")) is not None:
        assert not module.log
    new = {name for name in set(sys.modules) - before if not name.startswith("tinygrad_edu")}
    assert not new, "the file had something imported"
    return str(caught.value)


def test_weights_only_refuses_with_advice() -> None:
    data = saved(ours, zoo(ours).Net())
    for options in ({}, {"weights_only": True}, {"weights_only": None}):
        assert "weights_only=False" in refused(data, **options)


def test_a_class_that_is_not_there_is_not_imported(tmp_path: Any, monkeypatch: Any) -> None:
    data = saved(ours, zoo(ours).Net())
    del sys.modules["zoo"]
    (tmp_path / "zoo.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "define or import it" in refused(data, weights_only=False)


@pytest.mark.parametrize(
    "name", ["Runs", "Reduced", "Deleted", "Made", "Looked", "Inherits", "Slots"]
)
def test_classes_with_a_way_of_their_own(name: str) -> None:
    there = zoo(torch)
    data = program(f"zoo\n{name}")
    there = zoo(ours)
    message = refused(data, weights_only=False)
    assert f"zoo.{name}" in message and "state_dict" in message
    ours.serialization.add_safe_globals([getattr(there, name)])
    assert f"zoo.{name}" in refused(data, weights_only=False)
    with pytest.raises(TypeError, match="state_dict"):
        ours.save(getattr(there, name)(), io.BytesIO())
    there.log.clear()


def program(name: str, state: bytes = b"}") -> bytes:
    return archive(b"\x80\x02c" + name.encode() + b"\n)\x81" + state + b"b.")


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names_run_nothing(name: str) -> None:
    for way, pickle in calls(name):
        if (name, way) != ("builtins.getattr", "GLOBAL"):  # which gives a name that does nothing
            refused(archive(pickle), weights_only=False)


SOUND = saved(ours, ours.nn.Linear(2, 2))
LINEAR = "torch.nn.modules.linear\nLinear"


def entry(key: str, value: bytes) -> bytes:
    return b"}" + text(key) + value + b"s"


@pytest.mark.parametrize("label, data", [
    ("no attributes", archive(b"\x80\x02c" + LINEAR.encode() + b"\n)\x81.")),
    ("empty", program(LINEAR)),
    ("not a dict", program(LINEAR, b"K\x01")),
    ("a key that is no name", program(LINEAR, b"}K\x01K\x01s")),
    ("hides a method", program(LINEAR, entry("forward", b"K\x01"))),
    ("changes the class", program(LINEAR, entry("__class__", b"K\x01"))),
    ("parameters are a list", program(LINEAR, entry("_parameters", b"]"))),
    ("a parameter is a number", program(LINEAR, entry("_parameters", entry("w", b"K\x01")))),
    ("called", archive(b"\x80\x02c" + LINEAR.encode() + b"\nK\x01K\x01\x86R.")),
    ("made with arguments", archive(b"\x80\x02c" + LINEAR.encode() + b"\nK\x01\x85\x81.")),
    ("not a class", archive(b"\x80\x02ctorch.nn.functional\nrelu\n)\x81.")),
    ("a function called", archive(b"\x80\x02ctorch.nn.functional\nrelu\nK\x01\x85R.")),
    ("torch.load as a value", archive(b"\x80\x02ctorch\nload\n.")),
    ("torch.save by getattr", archive(
        b"\x80\x02cbuiltins\ngetattr\nctorch._C\n_VariableFunctionsClass\n" + text("save")
        + b"\x86R.")),
    ("getattr of a class", archive(
        b"\x80\x02cbuiltins\ngetattr\nc" + LINEAR.encode() + b"\n" + text("forward") + b"\x86R.")),
    ("as a key", archive(b"\x80\x02}c" + LINEAR.encode() + b"\nK\x01s.")),
    ("a plain class", program("argparse\nNamespace")),
    ("filled twice", program(LINEAR, entry("a", b"K\x01") + b"b" + entry("b", b"K\x01"))),
])  # fmt: skip
def test_hostile_modules(label: str, data: bytes) -> None:
    refused(data, weights_only=False)
    refused(data)


def _watched(name: str) -> Any:
    def method(*args: Any) -> Any:
        sys.modules["zoo"].log.append(name)  # type: ignore[attr-defined]
        return False

    return method


WATCHED = (
    "__eq__", "__ne__", "__bool__", "__len__", "__hash__", "__repr__", "__str__", "__iter__",
    "__index__", "__int__", "__getitem__", "__contains__",
)  # fmt: skip
SPY = b"czoo\nSpy\n)\x81"
LSTM = "torch.nn.modules.rnn\nLSTM"
EMPTY = b"".join(text(f"_{name}") + b"}" for name in ("parameters", "buffers", "modules"))


@pytest.mark.parametrize("label, program", [
    ("encoding", b"c_codecs\nencode\n" + text("x") + SPY + b"\x86R."),
    ("letters", b"c_codecs\nencode\n" + SPY + text("latin1") + b"\x86R."),
    ("layout", b"ctorch.serialization\n_get_layout\n" + SPY + b"\x85R."),
    ("function", b"cbuiltins\ngetattr\nctorch._C\n_VariableFunctions\n" + SPY + b"\x86R."),
    ("arguments", b"czoo\nSpy\n" + SPY + b"\x81."),
    ("storage", b"(" + SPY + b"NNNNtQ."),
    ("module", b"(" + SPY + b"NNNtQ."),
    ("key", b"}" + SPY + b"Ns."),
    ("element", b"c__builtin__\nset\n]" + SPY + b"a\x85R."),
    ("dictionary", b"ccollections\nOrderedDict\n" + SPY + b"\x85R."),
    ("size", b"ctorch\nSize\n" + SPY + b"\x85R."),
    ("device", b"ctorch\ndevice\n" + text("cpu") + SPY + b"\x86R."),
    ("name", SPY + b"}" + SPY + b"Nsb."),
    ("hooks", b"c" + LINEAR.encode() + b"\n)\x81}(" + EMPTY + text("training") + b"\x88"
     + text("_forward_hooks") + SPY + b"ub."),
    ("directions", b"c" + LSTM.encode() + b"\n)\x81}(" + EMPTY + text("training") + b"\x88"
     + text("bidirectional") + SPY + b"ub."),
])  # fmt: skip
def test_no_method_of_an_object_is_called(label: str, program: bytes) -> None:
    there = zoo(ours)
    there.Spy = type("Spy", (ours.nn.Module,), {name: _watched(name) for name in WATCHED})
    there.Spy.__module__ = "zoo"
    version, machine = dumps(1001, 2), dumps({"little_endian": True}, 2)
    old = LEGACY + version + machine + b"\x80\x02" + program + dumps([], 2)
    for data in (archive(b"\x80\x02" + program), old):
        try:
            whole(ours, data)
        except CheckpointError:
            pass
        assert not there.log
    ours.serialization.add_safe_globals([there.Spy])
    refused(LEGACY + b"\x80\x02" + SPY + b"." + machine)


def test_what_only_code_can_make() -> None:
    """NumPy's arrays, say, in a module that torch has saved."""
    model = torch.nn.Linear(1, 1)
    model.table = np.zeros(3)
    assert "only running code can make" in refused(saved(torch, model), weights_only=False)


def test_damaged_files_of_modules() -> None:
    """Every byte changed: a module, or our error."""
    good = SOUND
    start = good.index(b"\x80\x02c")
    end = good.index(b"b.", start)
    for at in range(start, end + 2):
        for value in (0, good[at] ^ 1, 0x52, 0x81, 0x62):
            changed = good[:at] + bytes([value]) + good[at + 1 :]
            try:
                whole(ours, archive(changed[start : end + 2]))
            except CheckpointError:
                pass


# ---- plain objects and functions that the user vouches for ---------------------------------------


def test_safe_globals() -> None:
    serialization = ours.serialization
    there = zoo(ours)
    data = saved(ours, {"config": there.Config(), "holder": there.Holder()})
    assert "add_safe_globals([Config])" in refused(data, weights_only=False)
    with serialization.safe_globals([there.Config]):
        assert serialization.get_safe_globals() == [there.Config]
        found = whole(ours, data)
        assert found["config"].width == 6 and found["holder"].config.width == 6
        assert "zoo.Holder" in refused(data)
        assert ours.load(io.BytesIO(saved(ours, there.Config()))).width == 6
    assert serialization.get_safe_globals() == []
    serialization.add_safe_globals([(there.Config, "other.Config"), argparse.Namespace])
    assert ours.load(io.BytesIO(program("other\nConfig", entry("width", b"K\x02")))).width == 2
    assert ours.load(io.BytesIO(saved(ours, argparse.Namespace(lr=1.5)))).lr == 1.5
    assert "is refused" in refused(program("other\nConfig", b"K\x01")[:0] or saved_reduced())
    serialization.clear_safe_globals()


def saved_reduced() -> bytes:
    ours.serialization.add_safe_globals([zoo(ours).Reduced])
    return program("zoo\nReduced")


def test_a_function_of_the_user() -> None:
    there = zoo(ours)
    block = there.Block(there.own)
    data = saved(ours, block)
    assert "add_safe_globals([own])" in refused(data, weights_only=False)
    ours.serialization.add_safe_globals([there.own])
    assert whole(ours, data).act is there.own
    called = archive(b"\x80\x02czoo\nown\nK\x01\x85R.")
    assert "calls" in refused(called, weights_only=False)
    torchs = zoo(torch)
    assert whole(torch, data).act is torchs.own


def test_objects_of_torch_load_here() -> None:
    data = saved(torch, zoo(torch).Holder())
    there = zoo(ours)
    ours.serialization.add_safe_globals([there.Config, there.Holder])
    assert ours.load(io.BytesIO(data)).config.width == 6


def test_what_of_a_module_cannot_be_saved() -> None:
    layer = ours.nn.Linear(1, 1)
    layer.register_forward_hook(lambda *args: None)
    with pytest.raises(TypeError, match="_forward_hooks"):
        ours.save({"m": layer}, io.BytesIO())
    model = ours.nn.Sequential(ours.nn.Linear(1, 1))
    model[0].act = lambda x: x
    with pytest.raises(TypeError, match=r"obj._modules\['0'\].act is a function"):
        ours.save(model, io.BytesIO())


def test_maps_and_files(tmp_path: Any) -> None:
    model = ours.nn.Linear(2, 2)
    ours.save(model, tmp_path / "m.pt")
    found = ours.load(tmp_path / "m.pt", "cpu", weights_only=False, mmap=True)
    assert ours.equal(found.weight, model.weight) and found.weight.requires_grad
    assert isinstance(found.weight, ours.nn.Parameter)
