"""Weight norm, spectral norm and parametrizations beside torch: values, names, gradients."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from beside_torch import close, numbers, ours, same_error, same_warning, torch

random = np.random.default_rng(0)
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def norm(T, old, name):
    return getattr(T.nn.utils if old else T.nn.utils.parametrizations, name)


LAYERS = {
    "linear": (lambda T: T.nn.Linear(4, 3), (5, 4)),
    "conv": (lambda T: T.nn.Conv2d(2, 3, 2), (1, 2, 4, 4)),
    "transposed": (lambda T: T.nn.ConvTranspose1d(2, 3, 2), (2, 2, 4)),
}


def trained(T, make, wrap, shape, steps):
    """A layer made from seed 0, wrapped, and trained a little; and all that came out on the way."""
    T.manual_seed(0)
    layer = wrap(T, make(T).double())
    optimizer = T.optim.SGD(layer.parameters(), lr=0.1)
    found = list(layer.state_dict().items())
    for i in range(steps):
        x = T.from_numpy(np.random.default_rng(i).standard_normal(shape)).requires_grad_()
        y = layer(x)
        optimizer.zero_grad()
        (y * y).sum().backward()
        found += [("y", y), ("x.grad", x.grad)]
        found += [(f"{name}.grad", p.grad.clone()) for name, p in layer.named_parameters()]
        optimizer.step()
    layer.eval()
    return layer, [*found, ("y in eval", layer(x)), *layer.state_dict().items()]


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("weight_norm", {}), ("weight_norm", dict(dim=None)), ("weight_norm", dict(dim=1)),
        ("weight_norm", dict(name="bias")), ("spectral_norm", {}),
        ("spectral_norm", dict(n_power_iterations=3, dim=1)),
    ],
)  # fmt: skip
def test_training_with_a_normed_weight(old, layer, name, options):
    """The same numbers from the same seed, three steps on, with the same names in the state."""
    make, shape = LAYERS[layer]
    results = []
    for T in (ours, torch):
        results.append(trained(T, make, lambda T, m: norm(T, old, name)(m, **options), shape, 3))
    (mine, found), (theirs, expected) = results
    assert [n for n, _ in found] == [n for n, _ in expected]
    assert repr(mine) == repr(theirs)
    for (what, a), (_, b) in zip(found, expected, strict=True):
        close(a, b, "float64", what)
    if hasattr(theirs.state_dict(), "_metadata"):
        assert dict(mine.state_dict()._metadata) == dict(theirs.state_dict()._metadata)


@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm"])
@pytest.mark.parametrize("old", [True, False])
def test_taking_the_norm_away(name, old):
    make, shape = LAYERS["linear"]
    layers = [
        trained(T, make, lambda T, m: norm(T, old, name)(m), shape, 1)[0] for T in (ours, torch)
    ]
    for T, layer in zip((ours, torch), layers, strict=True):
        if old:
            getattr(T.nn.utils, f"remove_{name}")(layer)
        else:
            T.nn.utils.parametrize.remove_parametrizations(layer, "weight")
    assert list(layers[0].state_dict()) == list(layers[1].state_dict())
    assert type(layers[0]) is ours.nn.Linear
    close(layers[0].weight, layers[1].weight, "float64", "weight")
    assert isinstance(layers[0].weight, ours.nn.Parameter)


def test_files_of_the_old_weight_norm_load_into_the_new():
    old = ours.nn.utils.weight_norm(ours.nn.Linear(4, 3))
    new = ours.nn.Sequential(ours.nn.utils.parametrizations.weight_norm(ours.nn.Linear(4, 3)))
    new.load_state_dict({f"0.{k}": v for k, v in old.state_dict().items()})
    x = ours.randn(2, 4)
    np.testing.assert_array_equal(numbers(old(x)), numbers(new(x)))


@pytest.mark.parametrize("how", ["matrix_exp", "cayley", "householder", None])
@pytest.mark.parametrize("shape", [(3, 3), (5, 3), (2, 4)])
def test_orthogonal_weights(how, shape):
    """Trained a little, beside torch; the weight stays orthogonal, and can be assigned to."""

    def make(T):
        return T.nn.Linear(shape[1], shape[0])

    def wrap(T, layer):
        return T.nn.utils.parametrizations.orthogonal(layer, orthogonal_map=how)

    results = [trained(T, make, wrap, (5, shape[1]), 3) for T in (ours, torch)]
    (mine, found), (theirs, expected) = results
    assert [n for n, _ in found] == [n for n, _ in expected]
    for (what, a), (_, b) in zip(found, expected, strict=True):
        close(a, b, "float64", what)
    w = numbers(mine.weight)
    w = w.T if shape[0] < shape[1] else w
    np.testing.assert_allclose(w.T @ w, np.eye(min(shape)), atol=1e-12)
    if shape[0] == shape[1]:
        turned, _ = np.linalg.qr(random.standard_normal(shape))
        mine.weight = ours.from_numpy(turned)
        np.testing.assert_allclose(numbers(mine.weight), turned, rtol=1e-9)


class Symmetric:
    """The same parametrization for both libraries."""

    def __new__(cls, T, inverse=True):
        class Made(T.nn.Module):
            def forward(self, x):
                return x.triu() + x.triu(1).transpose(-1, -2)

        if inverse:
            Made.right_inverse = lambda self, a: a.triu()
        return Made()


class Product:
    """A parametrization of one tensor by two."""

    def __new__(cls, T):
        class Made(T.nn.Module):
            def forward(self, a, b):
                return a * b

            def right_inverse(self, x):
                return x / 2, T.full_like(x, 2.0)

        return Made()


def test_parametrizations_one_behind_the_other():
    results = []
    for T in (ours, torch):
        P = T.nn.utils.parametrize
        T.manual_seed(0)
        layer = T.nn.Linear(3, 3).double()
        P.register_parametrization(layer, "weight", Symmetric(T))
        P.register_parametrization(layer, "weight", T.nn.Tanh(), unsafe=True)
        P.register_parametrization(layer, "bias", Product(T))
        assert P.is_parametrized(layer) and P.is_parametrized(layer, "bias")
        assert not P.is_parametrized(layer, "other")
        assert P.type_before_parametrizations(layer) is T.nn.Linear
        (layer(T.ones(1, 3).double()) ** 2).sum().backward()
        found = [layer.weight, layer.bias, *[p.grad for p in layer.parameters()]]
        twin = copy.deepcopy(layer)
        twin.parametrizations.weight.original.data.zero_()
        found += [twin.weight, layer.weight]
        with P.cached():
            assert layer.weight is layer.weight
        assert layer.weight is not layer.weight
        P.remove_parametrizations(layer, "weight", leave_parametrized=False)
        P.remove_parametrizations(layer, "bias")
        assert type(layer) is T.nn.Linear
        results.append((list(twin.state_dict()), [*found, layer.weight, layer.bias]))
    assert results[0][0] == results[1][0]
    for i, (a, b) in enumerate(zip(results[0][1], results[1][1], strict=True)):
        close(a, b, "float64", str(i))


def test_assigning_to_a_parametrized_tensor():
    layers = []
    for T in (ours, torch):
        layer = T.nn.Linear(3, 3).double()
        T.nn.utils.parametrize.register_parametrization(layer, "weight", Symmetric(T))
        a = T.from_numpy(np.arange(9.0).reshape(3, 3))
        layer.weight = a + a.t()
        other = T.nn.utils.parametrize.transfer_parametrizations_and_params(
            layer, T.nn.Linear(3, 3).double()
        )
        layers += [layer, other]
    for a, b in zip(layers[:2], layers[2:], strict=True):
        close(a.weight, b.weight, "float64", "weight")


class Wrong:
    """A parametrization that changes shape, or dtype, or returns no tensor."""

    def __new__(cls, T, how):
        class Made(T.nn.Module):
            def forward(self, x):
                return {"shape": x[0], "dtype": x.float(), "none": None}[how]

        return Made()


def register(T, parametrization, name="weight", **options):
    layer = T.nn.Linear(3, 3).double()
    return T.nn.utils.parametrize.register_parametrization(layer, name, parametrization, **options)


@pytest.mark.parametrize(
    "run",
    [
        lambda T: register(T, Wrong(T, "shape")),
        lambda T: register(T, Wrong(T, "dtype")),
        lambda T: register(T, Wrong(T, "none")),
        lambda T: register(T, T.nn.Identity(), "height"),
        lambda T: setattr(register(T, Symmetric(T, inverse=False)), "weight", T.ones(3, 3)),
        lambda T: setattr(register(T, Symmetric(T)), "weight", T.ones(3, 3)),
        lambda T: T.nn.utils.parametrize.remove_parametrizations(T.nn.Linear(2, 2), "weight"),
        lambda T: T.nn.utils.parametrize.remove_parametrizations(
            register(T, Product(T), "bias"), "bias", leave_parametrized=False
        ),
        lambda T: T.nn.utils.spectral_norm(T.nn.Linear(2, 2), n_power_iterations=0),
        lambda T: T.nn.utils.parametrizations.spectral_norm(T.nn.Linear(2, 2), dim=2),
        lambda T: T.nn.utils.parametrizations.spectral_norm(T.nn.Linear(2, 2), "height"),
        lambda T: T.nn.utils.parametrizations.orthogonal(T.nn.Linear(2, 2), "bias"),
        lambda T: T.nn.utils.parametrizations.orthogonal(T.nn.Linear(2, 2), "height"),
        lambda T: T.nn.utils.parametrizations.orthogonal(T.nn.Linear(2, 2), "weight", "qr"),
        lambda T: T.nn.utils.remove_spectral_norm(T.nn.Linear(2, 2)),
        lambda T: T.nn.utils.remove_weight_norm(T.nn.Linear(2, 2)),
        lambda T: T.nn.utils.weight_norm(T.nn.utils.weight_norm(T.nn.Linear(2, 2))),
        lambda T: T.nn.utils.spectral_norm(T.nn.utils.spectral_norm(T.nn.Linear(2, 2))),
    ],
)
def test_refusals(run):
    same_error(run, "")


def test_old_weight_norm_warns():
    same_warning(lambda T: T.nn.utils.weight_norm(T.nn.Linear(2, 2)))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_fusion_of_batch_normalization(bias, affine):
    for T in (ours,):
        pairs = [
            (T.nn.Conv2d(2, 3, 2, bias=bias), T.nn.BatchNorm2d(3, affine=affine), (2, 2, 4, 4)),
            (T.nn.ConvTranspose2d(2, 3, 2, bias=bias), T.nn.BatchNorm2d(3), (2, 2, 4, 4)),
            (T.nn.Linear(2, 3, bias=bias), T.nn.BatchNorm1d(3, affine=affine), (5, 2)),
        ]
        for layer, bn, shape in pairs:
            layer, bn, x = layer.double(), bn.double(), T.randn(*shape).double()
            bn(layer(x))  # statistics
            layer.eval(), bn.eval()
            if isinstance(layer, T.nn.Linear):
                fused = T.nn.utils.fuse_linear_bn_eval(layer, bn)
            else:
                transposed = isinstance(layer, T.nn.ConvTranspose2d)
                fused = T.nn.utils.fuse_conv_bn_eval(layer, bn, transposed)
            np.testing.assert_allclose(numbers(fused(x)), numbers(bn(layer(x))), rtol=1e-9)
            same_error(lambda T: T.nn.utils.fuse_conv_bn_eval(T.nn.Linear(2, 2), T.nn.Identity()))


def test_skip_init_leaves_the_random_stream():
    ours.manual_seed(0)
    expected = ours.rand(3)
    ours.manual_seed(0)
    layer = ours.nn.utils.skip_init(ours.nn.Linear, 4, 2)
    np.testing.assert_array_equal(numbers(ours.rand(3)), numbers(expected))
    assert layer.weight.shape == (2, 4)
    same_error(lambda T: T.nn.utils.skip_init(T.nn.ReLU))


def test_what_is_left_out_says_so():
    with pytest.raises(NotImplementedError, match="use_trivialization"):
        ours.nn.utils.parametrizations.orthogonal(ours.nn.Linear(2, 2), use_trivialization=False)
