"""Names that real scripts and libraries ask for: they are there, and do what torch's do."""

from __future__ import annotations

import array
import importlib
import sys
import warnings
from collections import OrderedDict, defaultdict, deque, namedtuple
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as ours

torch = pytest.importorskip("torch")

# ---- in-place functions --------------------------------------------------------------------------

IN_PLACE = [n for n in dir(torch) if n[-1] == "_" and n[0] != "_" and callable(getattr(torch, n))]
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "addmv_": ("m", "v"), "alpha_dropout_": (0.5, True), "as_strided_": ((2,), (1,)),
    "clamp_": (0.2, 0.6), "clamp_max_": (0.5,), "clamp_min_": (0.5,), "clip_": (0.2, 0.6),
    "dropout_": (0.5, True), "feature_alpha_dropout_": (0.5, True), "feature_dropout_": (0.5, True),
    "fill_": (2.0,), "gcd_": ("w",), "lcm_": ("w",), "ldexp_": ("v",), "resize_as_": ("v",),
    "threshold_": (0.5, 2.0), "xlogy_": ("v",), "embedding_renorm_": ("i", 0.5, 2.0),
    "index_put_": (("i",), "s"),
}  # fmt: skip
SPECIAL = {"resize_as_sparse_"}


@pytest.mark.parametrize("name", IN_PLACE)
def test_functions_in_place(name: str) -> None:
    assert callable(getattr(ours, name))
    if name in SPECIAL:
        return
    found = []
    for lib in (ours, torch):
        lib.manual_seed(0)
        words = {
            "m": lib.arange(9.0).reshape(3, 3) / 9, "v": lib.tensor([0.5, 1.0, 2.0]),
            "w": lib.tensor([4, 6, 9]), "s": lib.tensor(1.0), "i": lib.tensor([0, 2]),
        }  # fmt: skip
        x = lib.tensor([0.25, 0.5, 0.75])
        if name in ("gcd_", "lcm_"):
            x = lib.tensor([6, 4, 3])
        elif name in ("acosh_", "arccosh_"):
            x = x + 1
        elif name in ("embedding_renorm_", "feature_dropout_", "feature_alpha_dropout_"):
            x = lib.arange(12.0).reshape(3, 4) / 12
        given = []
        for argument in ARGUMENTS.get(name, ()):
            one = argument[0] if argument == ("i",) else argument
            value = words.get(one, one) if isinstance(one, str) else one
            given.append((value,) if argument == ("i",) else value)
        assert getattr(lib, name)(x, *given) is x
        found.append(x.numpy())
    assert found[0] == pytest.approx(found[1], abs=1e-6)


def test_functions_for_lists() -> None:
    names = [n.removeprefix("_foreach_") for n in dir(torch) if n.startswith("_foreach_")]
    absent = {"max", "mm", "powsum"}
    for name in sorted(set(names) - absent):
        function = getattr(ours, f"_foreach_{name}")
        plain = name.removesuffix("_")
        xs = [[0.25, 0.5], [0.75]]
        ys = [[0.5, 0.25], [2.0]]
        found = []
        for lib in (ours, torch):
            a, b, c = [[lib.tensor(v) for v in values] for values in (xs, ys, ys)]
            extra: list[Any] = []
            if plain in ("add", "sub", "mul", "div", "maximum", "minimum", "pow", "copy"):
                extra = [b]
            elif plain in ("clamp_max", "clamp_min"):
                extra = [0.5]
            elif plain in ("addcmul", "addcdiv"):
                extra = [b, c, 0.5]
            elif plain == "lerp":
                extra = [b, 0.5]
            result = getattr(lib, f"_foreach_{name}")(a, *extra)
            found.append([t.numpy() for t in (a if name.endswith("_") else result)])
            assert result is a if name.endswith("_") else type(result) is tuple
        assert callable(function)
        for mine, theirs in zip(*found, strict=True):
            assert mine == pytest.approx(theirs, abs=1e-6), name
    x = ours.ones(2, requires_grad=True)
    ours._foreach_add_([x], 1.0)  # as an optimizer does, outside of no_grad
    assert x.tolist() == [2.0, 2.0]
    with pytest.raises(RuntimeError, match="lists of 1 and 2"):
        ours._foreach_add([x], [x, x])


# ---- dtypes, devices -----------------------------------------------------------------------------


def test_complex_dtypes_are_names() -> None:
    for name in ("complex32", "complex64", "complex128", "chalf", "cfloat", "cdouble"):
        mine, theirs = getattr(ours, name), getattr(torch, name)
        assert (repr(mine), mine.itemsize, mine.is_complex, mine.is_floating_point) == (
            repr(theirs), theirs.itemsize, True, False,
        )  # fmt: skip
        assert mine != ours.float32 and {mine: 1}[mine] == 1 and mine.is_signed
        for make in (
            lambda kind: ours.zeros(2, dtype=kind), lambda kind: ours.ones(2).to(kind),
            lambda kind: ours.tensor([1.0], dtype=kind), lambda kind: ours.ones(2).type(kind),
            lambda kind: ours.arange(3, dtype=kind), lambda kind: ours.empty(1, dtype=kind),
            lambda kind: ours.nn.Linear(1, 1, dtype=kind), lambda kind: ours.randn(2, dtype=kind),
        ):  # fmt: skip
            with pytest.raises((TypeError, RuntimeError), match="complex"):
                make(mine)
    assert ours.cfloat is ours.complex64


def test_the_device_meta() -> None:
    meta = ours.device("meta")
    assert (
        meta != ours.device("cpu") and str(meta) == "meta" and repr(meta) == "device(type='meta')"
    )
    layer = ours.nn.Linear(3, 2)
    values = {n: p.detach() for n, p in layer.named_parameters()}
    x = ours.ones(1, 3)
    expected = layer(x).detach()
    empty = ours.nn.Linear(3, 2).to("meta")
    theirs = torch.nn.Linear(3, 2).to("meta")
    assert repr(empty.weight) == repr(theirs.weight) and str(empty.bias) == str(theirs.bias)
    weight = empty.weight
    assert weight.device == meta and weight.is_meta and not weight.is_cuda and not weight.is_cpu
    assert weight.shape == (2, 3) and weight.stride() == (3, 1) and weight.numel() == 6
    assert isinstance(weight, ours.nn.Parameter) and weight.requires_grad
    assert ours.equal(ours.func.functional_call(empty, values, (x,)), expected)
    uses = [
        lambda: weight + 1, lambda: 1 * weight, lambda: weight.sum(), lambda: weight @ weight.t(),
        lambda: weight[0], lambda: weight.tolist(), lambda: weight.detach().numpy(),
        lambda: ours.cat([weight, weight]), lambda: empty(x), lambda: empty.to("cpu"),
        lambda: empty.half(), lambda: ours.save(empty.state_dict(), "/dev/null"),
        lambda: weight.relu(), lambda: ours.ones(2, 3) + weight, lambda: weight.detach().fill_(1),
        lambda: layer.weight.data.copy_(weight), lambda: bool((weight == 1).all()),
        lambda: ours.empty(2, device="meta"), lambda: ours.randn(2, device=meta),
        lambda: np.asarray(weight.detach()), lambda: weight.clone(),
        lambda: ours.zeros_like(weight),
    ]  # fmt: skip
    for use in uses:
        with pytest.raises((NotImplementedError, RuntimeError, TypeError), match="meta"):
            use()
    with meta, pytest.raises(NotImplementedError, match="no memory"):
        ours.nn.Linear(1, 1)


# ---- storages ------------------------------------------------------------------------------------


def both_storages(kind: str) -> list[Any]:
    found = []
    for lib in (ours, torch):
        x = lib.tensor([[4.0, 1.0], [5.0, 3.0], [2.0, 1.0]])
        with warnings.catch_warnings(action="ignore"):
            storage = x.t()[1:].storage() if kind == "typed" else x.t()[1:].untyped_storage()
            found.append((lib, x, storage))
    return found


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_storages() -> None:
    seen = []
    for lib, x, storage in both_storages("typed"):
        before = storage.tolist(), len(storage), storage.size(), storage.nbytes(), repr(storage)
        storage[1] = 9.0
        assert lib.is_storage(storage) and storage.data_ptr() == x.data_ptr()
        assert not lib.is_storage(x) and str(storage.device) == "cpu"
        seen.append((before, x.tolist(), str(storage.dtype), storage[0],
                     list(storage), storage.element_size()))  # fmt: skip
        assert isinstance(storage.untyped(), lib.UntypedStorage)
    assert seen[0] == seen[1]
    seen = []
    for lib, x, storage in both_storages("untyped"):
        assert isinstance(storage, lib.UntypedStorage) and isinstance(storage, lib.UntypedStorage)
        assert storage.data_ptr() == x.untyped_storage().data_ptr()
        seen.append((storage.tolist(), storage.nbytes(), len(storage), storage[3], repr(storage)))
    assert seen[0] == seen[1]
    with pytest.warns(UserWarning, match="TypedStorage is deprecated"):  # torch: the first time
        ours.ones(1).storage()


def test_files_as_storages(tmp_path: Any) -> None:
    path = str(tmp_path / "bytes")
    for shared in (False, True):
        for lib in (ours, torch):
            (tmp_path / "bytes").write_bytes(bytes(range(8)))
            storage = lib.UntypedStorage.from_file(path, shared, 8)
            x = lib.asarray(storage[4:8], dtype=lib.uint8)
            assert x.tolist() == [4, 5, 6, 7]
            storage[4] = 77
            del x, storage
            assert (tmp_path / "bytes").read_bytes()[4] == (77 if shared else 4)


# ---- functions -----------------------------------------------------------------------------------


def test_range() -> None:
    for given in ((1, 4), (1, 4, 0.5), (4, 1, -1), (0, 1, 0.3), (2, 2)):
        found = []
        for lib in (ours, torch):
            with pytest.warns(UserWarning, match="torch.range is deprecated"):
                found.append(lib.range(*given))
        assert str(found[0].dtype) == str(found[1].dtype)
        assert found[0].tolist() == pytest.approx(found[1].tolist())
    with pytest.warns(UserWarning):
        assert ours.range(1, 3, dtype=ours.int64).tolist() == [1, 2, 3]
    for wrong in ((1, 2, 0), (2, 1)):
        for lib in (ours, torch):
            with warnings.catch_warnings(action="ignore"), pytest.raises(RuntimeError):
                lib.range(*wrong)


def test_frombuffer() -> None:
    data = array.array("i", [1, 2, 3, 4])
    for lib in (ours, torch):
        x = lib.frombuffer(data, dtype=lib.int32, count=2, offset=4)
        assert x.tolist() == [2, 3] and str(x.dtype) == "torch.int32"
        data[1] = 20
        assert x.tolist() == [20, 3]
        x[0] = 2
        assert data[1] == 2
        assert lib.frombuffer(bytearray(8), dtype=lib.float32, requires_grad=True).requires_grad
        with pytest.warns(UserWarning, match="not writable"):
            assert lib.frombuffer(b"ab", dtype=lib.uint8).tolist() == [97, 98]
        for wrong in ({"count": 0}, {"count": 9}, {"offset": 16}, {"offset": -1}):
            with pytest.raises(ValueError):
                lib.frombuffer(data, dtype=lib.int32, **wrong)
        with pytest.raises(ValueError):
            lib.frombuffer(bytearray(), dtype=lib.int32)


def test_paths_of_modules() -> None:
    layers = "activation batchnorm channelshuffle container conv distance dropout flatten fold"
    layers += " instancenorm linear loss normalization padding pixelshuffle pooling rnn sparse"
    for name in (layers + " transformer upsampling").split():
        theirs = importlib.import_module(f"torch.nn.modules.{name}")
        mine = importlib.import_module(f"tinygrad_edu.nn.modules.{name}")
        absent = {"CrossMapLRN2d", "Container", "NLLLoss2d"}
        public = {n for n in theirs.__all__ if hasattr(ours.nn, n)} - absent
        if name != "transformer":
            for one in public - {"LinearCrossEntropyLoss"}:
                if not one.startswith("Lazy"):
                    assert getattr(mine, one) is getattr(ours.nn, one), (name, one)
    assert ours.functional.einsum is ours.einsum
    for name in ours.functional.__all__:
        assert getattr(ours.functional, name) is getattr(ours, name) and hasattr(
            torch.functional, name
        )
    ours._C._log_api_usage_once("x")
    assert ours._C._get_tracing_state() is None
    assert ours.storage.UntypedStorage is ours.UntypedStorage


def test_small_names() -> None:
    for lib in (ours, torch):
        x = lib.ones(2, requires_grad=True)
        assert not lib.detach(x).requires_grad and lib.is_signed(x) and lib.newaxis is None
        assert lib.typename(x) == "torch.FloatTensor" and lib.typename("a") == "str"
        assert not any([x.is_mps, x.is_xla, x.is_xpu, x.is_sparse_csr, x.is_vulkan, x.is_meta])
        lib._assert(True, "fine")
        with pytest.raises(AssertionError, match="two"):
            lib._assert(1 == 2, "two")
        assert lib.nn.parallel.scatter_gather.gather is lib.nn.parallel.gather
    seen: list[Any] = []
    layer = ours.nn.Linear(2, 1)
    with layer.register_backward_hook(lambda m, gi, go: seen.append((m, gi, go))):
        layer(ours.ones(1, 2, requires_grad=True)).sum().backward()
    assert seen[0][0] is layer and seen[0][2][0].tolist() == [[1.0]]
    layer.register_forward_hook(function := lambda m, x, y: None)
    assert list(layer._forward_hooks.values()) == [function]  # as libraries look at them


# ---- trees ---------------------------------------------------------------------------------------

Point = namedtuple("Point", "x y")
TREES = [
    1, None, [], {}, (), [1, (2, {"b": 3, "a": [4]})], Point(1, [2]), OrderedDict(b=1, a=(2,)),
    deque([1, [2]], maxlen=3), {"x": None, 3: {4}}, [Point(1, 2), {"p": Point([3], ())}],
    defaultdict(list, {"a": [1, 2]}),
]  # fmt: skip


@pytest.mark.parametrize("tree", TREES, ids=str)
def test_trees(tree: Any) -> None:
    mine = importlib.import_module("tinygrad_edu.utils._pytree")
    theirs = importlib.import_module("torch.utils._pytree")
    leaves, spec = mine.tree_flatten(tree)
    expected, their_spec = theirs.tree_flatten(tree)
    assert leaves == expected and spec.num_leaves == their_spec.num_leaves
    assert (spec.num_nodes, spec.num_children) == (their_spec.num_nodes, their_spec.num_children)
    assert spec.is_leaf() == their_spec.is_leaf() and spec.type is their_spec.type
    again = mine.tree_unflatten(leaves, spec)
    assert again == tree and type(again) is type(tree) and mine.tree_structure(again) == spec
    assert mine.tree_leaves(tree) == theirs.tree_leaves(tree)
    double = mine.tree_map(lambda x, y: (x, y), tree, tree)
    assert double == theirs.tree_map(lambda x, y: (x, y), tree, tree)
    only = mine.tree_map_only(int, lambda x: -x, tree)
    assert only == theirs.tree_map_only(int, lambda x: -x, tree)
    assert mine.tree_any(callable, tree) == theirs.tree_any(callable, tree)
    with pytest.raises(ValueError):
        mine.tree_unflatten([*leaves, 1], spec)
    if not isinstance(tree, (int, type(None))):
        with pytest.raises(ValueError):
            mine.tree_map(lambda x, y: 1, tree, [0, 0, 0, 0])


def test_trees_of_ones_own() -> None:
    mine = importlib.import_module("tinygrad_edu.utils._pytree")

    class Pair:
        def __init__(self, a: Any, b: Any) -> None:
            self.a, self.b = a, b

    assert mine.tree_leaves([Pair(1, 2)])[0].a == 1
    mine.register_pytree_node(Pair, lambda p: ([p.a, p.b], None), lambda c, _: Pair(*c))
    assert mine.tree_leaves([Pair(1, (2, 3))]) == [1, 2, 3]
    assert mine.tree_map(lambda x: x + 1, Pair(1, 2)).b == 3
    with pytest.raises(ValueError, match="already registered"):
        mine.register_pytree_node(Pair, None, None)
    assert mine.tree_leaves([[1], [2]], is_leaf=lambda x: x == [1]) == [[1], 2]
    assert (
        repr(mine.tree_structure({"a": [1, 2]}))
        == "TreeSpec(dict, ['a'], [TreeSpec(list, None, [*, *])])"
    )


# ---- scatter and gather, transforms to constraints -----------------------------------------------


def test_scatter_and_gather() -> None:
    x = ours.arange(10.0).reshape(5, 2)
    inputs = (x, [x + 1, "s"], {"k": x * 2, "n": 3}, Point(x, None))
    parts = ours.nn.parallel.scatter(inputs, ["cpu", "cpu"])
    assert len(parts) == 2 and parts[0][0].shape == (3, 2) and parts[1][1][1] == "s"
    assert isinstance(parts[1][3], Point) and parts[1][2]["n"] == 3
    assert ours.nn.parallel.scatter((), ["cpu"] * 2) == [(), ()]
    outputs = [(p[0], [p[1][0]], {"k": p[2]["k"]}, Point(p[3].x, None)) for p in parts]
    y = ours.nn.parallel.gather(outputs, "cpu")
    assert ours.equal(y[0], x) and ours.equal(y[1][0], x + 1) and ours.equal(y[2]["k"], x * 2)
    assert isinstance(y[3], Point) and y[3].y is None
    assert ours.nn.parallel.gather([ours.tensor(1.0), ours.tensor(2.0)], "cpu").tolist() == [1, 2]
    z = ours.ones(4, requires_grad=True)
    ours.nn.parallel.gather(ours.nn.parallel.scatter(z, ["cpu"] * 2), "cpu").sum().backward()
    assert z.grad is not None and z.grad.tolist() == [1.0] * 4


CONSTRAINTS = {
    "real": lambda c: c.real, "positive": lambda c: c.positive, "simplex": lambda c: c.simplex,
    "greater_than": lambda c: c.greater_than(2.0), "nonnegative": lambda c: c.nonnegative,
    "greater_than_eq": lambda c: c.greater_than_eq(-1.0), "less_than": lambda c: c.less_than(3.0),
    "interval": lambda c: c.interval(-1.0, 4.0), "unit_interval": lambda c: c.unit_interval,
    "half_open_interval": lambda c: c.half_open_interval(0.0, 2.0),
    "independent": lambda c: c.independent(c.positive, 1), "real_vector": lambda c: c.real_vector,
}  # fmt: skip


@pytest.mark.parametrize("registry", ["biject_to", "transform_to"])
@pytest.mark.parametrize("name", CONSTRAINTS)
def test_transforms_to_constraints(registry: str, name: str) -> None:
    x = np.random.default_rng(0).normal(size=(3, 4))
    found = []
    for lib in (ours, torch):
        constraint = CONSTRAINTS[name](lib.distributions.constraints)
        transform = getattr(lib.distributions, registry)(constraint)
        start = lib.tensor(x, requires_grad=True)
        y = transform(start)
        assert constraint.check(y).all()
        (y**2).sum().backward()
        values = [y, transform.inv(y), start.grad]
        if transform.bijective:
            values.append(transform.log_abs_det_jacobian(start, y))
        found.append([v.detach().numpy() for v in values])
    assert len(found[0]) == len(found[1])
    for mine, theirs in zip(*found, strict=True):
        assert mine == pytest.approx(theirs)


def test_a_constraint_of_ones_own() -> None:
    d = ours.distributions

    class Even(d.constraints.Constraint):
        pass

    with pytest.raises(NotImplementedError, match="Even"):
        d.transform_to(Even())

    @d.transform_to.register(Even)
    def _(constraint: Any) -> Any:
        return d.ExpTransform()

    assert isinstance(d.transform_to(Even()), d.ExpTransform)
    with pytest.raises(NotImplementedError):
        d.biject_to(d.constraints.lower_cholesky)


def test_safetensors_torch(tmp_path: Any) -> None:
    """The third-party module works on this package under its alias, in a process of its own."""
    pytest.importorskip("safetensors")
    import subprocess

    program = (
        "from tinygrad_edu import standin; standin.install()\n"
        "import torch, sys\n"
        "from safetensors.torch import load_file, load_model, save_file, save_model\n"
        "model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))\n"
        "other = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))\n"
        "save_model(model, sys.argv[1]); load_model(other, sys.argv[1])\n"
        "values = [m.state_dict().values() for m in (model, other)]\n"
        "same = [torch.equal(a, b) for a, b in zip(*values)]\n"
        "kinds = [torch.bool, torch.int16, torch.float16, torch.float64]\n"
        "save_file({str(k): torch.ones(3).to(k) for k in kinds}, sys.argv[1])\n"
        "found = load_file(sys.argv[1])\n"
        "same += [str(t.dtype) == k and bool((t == 1).all()) for k, t in found.items()]\n"
        "print(same)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "x")], capture_output=True, text=True
    )
    assert done.stdout.strip() == str([True] * 11), done.stderr


def test_an_array_and_its_tensor_have_shapes_of_their_own() -> None:
    given = np.arange(6.0)
    t = ours.from_numpy(given)
    given.shape = (2, 3)
    assert t.shape == (6,)
    handed_out = t.numpy()
    handed_out.shape = (3, 2)
    handed_out[0, 1] = 9
    assert t.shape == (6,) and given[0, 1] == 9


def test_a_second_check_of_gradients_draws_what_torch_draws() -> None:
    drawn = []
    for library in (ours, torch):
        library.manual_seed(0)
        x = library.rand(3, dtype=library.float64, requires_grad=True)
        assert library.autograd.gradgradcheck(lambda x: (x.exp(), x.sum()), (x,))
        drawn.append(library.rand(2).tolist())
    assert drawn[0] == drawn[1]
