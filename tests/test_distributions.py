"""`torch.distributions` beside torch's: samples, densities, gradients, divergences, refusals."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from beside_torch import close, numbers

import tinygrad_edu as ours

torch = pytest.importorskip("torch")

POSITIVE = [[0.5, 2.0, 1.3], [0.7, 0.9, 3.0]]
ANY = [[0.3, -1.0, 2.0], [0.1, 0.0, -0.4]]
INSIDE = [[0.2, 0.5, 0.9], [0.7, 0.1, 0.4]]
MATRIX = [[2.0, 0.3, 0.0], [0.3, 1.0, -0.2], [0.0, -0.2, 0.5]]
TRIL = [[1.2, 0.0, 0.0], [0.3, 0.8, 0.0], [-0.5, 0.1, 1.5]]
Make = Callable[..., Any]  # (library, parameters) -> distribution

# name: parameters, how to make it of them, a value in its support, what torch cannot do with it
FAMILIES: dict[str, tuple[list[Any], Make, Any]] = {
    "Normal": ([ANY, POSITIVE], lambda t, a, b: t.distributions.Normal(a, b), ANY[1]),
    "Laplace": ([ANY, POSITIVE], lambda t, a, b: t.distributions.Laplace(a, b), ANY[1]),
    "Cauchy": ([ANY, POSITIVE], lambda t, a, b: t.distributions.Cauchy(a, b), ANY[1]),
    "StudentT": (
        [POSITIVE, ANY, INSIDE], lambda t, a, b, c: t.distributions.StudentT(a, b, c), ANY[1]
    ),
    "HalfCauchy": ([POSITIVE], lambda t, a: t.distributions.HalfCauchy(a), POSITIVE[1]),
    "NegativeBinomial": (
        [POSITIVE, INSIDE], lambda t, a, b: t.distributions.NegativeBinomial(a, b), [0.0, 2.0, 7.0]
    ),
    "NegativeBinomial of logits": (
        [POSITIVE, ANY], lambda t, a, b: t.distributions.NegativeBinomial(a, logits=b),
        [0.0, 2.0, 7.0],
    ),
    "RelaxedBernoulli": (
        [INSIDE], lambda t, a: t.distributions.RelaxedBernoulli(
            t.tensor(0.7, dtype=a.dtype), a
        ),
        INSIDE[1],
    ),
    "Gumbel": ([ANY, POSITIVE], lambda t, a, b: t.distributions.Gumbel(a, b), ANY[1]),
    "LogNormal": ([ANY, POSITIVE], lambda t, a, b: t.distributions.LogNormal(a, b), POSITIVE[1]),
    "HalfNormal": ([POSITIVE], lambda t, a: t.distributions.HalfNormal(a), POSITIVE[1]),
    "Uniform": (
        [ANY, POSITIVE], lambda t, a, b: t.distributions.Uniform(a, a + b), [0.4, 0.2, 2.2]
    ),
    "Exponential": ([POSITIVE], lambda t, a: t.distributions.Exponential(a), POSITIVE[1]),
    "Gamma": ([POSITIVE, INSIDE], lambda t, a, b: t.distributions.Gamma(a, b), POSITIVE[1]),
    "Chi2": ([POSITIVE], lambda t, a: t.distributions.Chi2(a), POSITIVE[1]),
    "Beta": ([POSITIVE, INSIDE], lambda t, a, b: t.distributions.Beta(a, b), INSIDE[0]),
    "Dirichlet": ([POSITIVE], lambda t, a: t.distributions.Dirichlet(a), [0.25, 0.5, 0.25]),
    "Poisson": ([POSITIVE], lambda t, a: t.distributions.Poisson(a), [0.0, 2.0, 7.0]),
    "Poisson of large rates": (
        [POSITIVE], lambda t, a: t.distributions.Poisson(a * 40), [10.0, 2.0, 70.0]
    ),
    "Bernoulli": ([INSIDE], lambda t, a: t.distributions.Bernoulli(a), [0.0, 1.0, 1.0]),
    "Bernoulli of logits": (
        [ANY], lambda t, a: t.distributions.Bernoulli(logits=a), [0.0, 1.0, 1.0]
    ),
    "Geometric": ([INSIDE], lambda t, a: t.distributions.Geometric(a), [0.0, 1.0, 4.0]),
    "Geometric of logits": (
        [ANY], lambda t, a: t.distributions.Geometric(logits=a), [0.0, 1.0, 4.0]
    ),
    "Categorical": ([POSITIVE], lambda t, a: t.distributions.Categorical(a), [2.0, 1.0]),
    "Categorical of logits": (
        [ANY], lambda t, a: t.distributions.Categorical(logits=a), [2.0, 0.0]
    ),
    "OneHotCategorical": (
        [POSITIVE], lambda t, a: t.distributions.OneHotCategorical(a), [0.0, 1.0, 0.0]
    ),
    "OneHotCategoricalStraightThrough": (
        [ANY], lambda t, a: t.distributions.OneHotCategoricalStraightThrough(logits=a),
        [0.0, 1.0, 0.0],
    ),
    "RelaxedOneHotCategorical": (
        [ANY], lambda t, a: t.distributions.RelaxedOneHotCategorical(
            t.tensor(0.7, dtype=a.dtype), logits=a
        ),
        [0.25, 0.5, 0.25],
    ),
    "Multinomial": (
        [POSITIVE], lambda t, a: t.distributions.Multinomial(5, a), [3.0, 0.0, 2.0]
    ),
    "MultivariateNormal": (
        [ANY, MATRIX], lambda t, a, b: t.distributions.MultivariateNormal(a, b), ANY[1]
    ),
    "MultivariateNormal of a precision": (
        [ANY, MATRIX],
        lambda t, a, b: t.distributions.MultivariateNormal(a, precision_matrix=b), ANY[1],
    ),
    "MultivariateNormal of scale_tril": (
        [ANY, TRIL], lambda t, a, b: t.distributions.MultivariateNormal(a, scale_tril=b.tril()),
        ANY[1],
    ),
    "Independent": (
        [ANY, POSITIVE],
        lambda t, a, b: t.distributions.Independent(t.distributions.Normal(a, b), 1), ANY[1],
    ),
    "Independent over all": (
        [INSIDE], lambda t, a: t.distributions.Independent(t.distributions.Bernoulli(a), 2),
        [[0.0, 1.0, 0.0], [1.0, 1.0, 0.0]],
    ),
    "squashed normal": (
        [ANY, POSITIVE],
        lambda t, a, b: t.distributions.Independent(
            t.distributions.TransformedDistribution(
                t.distributions.Normal(a, b), t.distributions.transforms.TanhTransform(cache_size=1)
            ), 1,
        ),
        [0.3, -0.2, 0.9],
    ),
    "transforms": (
        [ANY, POSITIVE],
        lambda t, a, b: t.distributions.TransformedDistribution(
            t.distributions.Normal(a, b),
            [t.distributions.AffineTransform(t.tensor(0.5), -2.0),
             t.distributions.SigmoidTransform(), t.distributions.PowerTransform(t.tensor(2.0)),
             t.distributions.SoftplusTransform(), t.distributions.ExpTransform()],
        ),
        [2.2, 2.5, 3.0],
    ),
    "events transformed": (
        [ANY, TRIL],
        lambda t, a, b: t.distributions.TransformedDistribution(
            t.distributions.MultivariateNormal(a, scale_tril=b.tril()),
            [t.distributions.ExpTransform(), t.distributions.AffineTransform(1.0, 3.0, 1)],
        ),
        [1.2, 2.5, 4.0],
    ),
    "MixtureSameFamily": (
        [POSITIVE, ANY, POSITIVE],
        lambda t, w, a, b: t.distributions.MixtureSameFamily(
            t.distributions.Categorical(w), t.distributions.Normal(a, b)
        ),
        [0.1, 0.5],
    ),
    "MixtureSameFamily of vectors": (
        [ANY[0], ANY, POSITIVE],
        lambda t, w, a, b: t.distributions.MixtureSameFamily(
            t.distributions.Categorical(logits=w[:2]),
            t.distributions.Independent(t.distributions.Normal(a, b), 1),
        ),
        [0.1, 0.5, 0.2],
    ),
}  # fmt: skip
NO_GRADIENT = {"Gamma", "Chi2", "Beta", "Dirichlet", "StudentT"}
PROPERTIES = [
    "mean", "mode", "variance", "stddev", "batch_shape", "event_shape", "has_rsample",
    "has_enumerate_support", "entropy", "perplexity", "param_shape", "probs", "logits",
    "covariance_matrix", "precision_matrix", "scale_tril", "support", "__repr__",
]  # fmt: skip


def pair(name: str, dtype: str, grad: bool = False) -> list[tuple[Any, Any, list[Any]]]:
    """(library, distribution, parameters) of both libraries."""
    values, make, _ = FAMILIES[name]
    made = []
    for library in (ours, torch):
        kind = getattr(library, dtype)
        leaves = [library.tensor(v, dtype=kind, requires_grad=grad) for v in values]
        made.append((library, make(library, *leaves), leaves))
    return made


def outcome(function: Callable[[], Any]) -> Any:
    """What it returns, or the class of what it raises."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function()
    except (AttributeError, NotImplementedError) as error:
        return type(error)


def near(a: Any, b: Any, dtype: str, what: str) -> None:
    """As `close`; but torch's digamma is good to 1e-8 only, and its lgamma(5) here a float32."""
    coarse = any(
        word in what
        for word in ("Dirichlet", "Beta", "Gamma", "Multinomial", "entropy", "perplexity")
    )
    if coarse and dtype == "float64":
        assert a.shape == b.shape and str(a.dtype) == str(b.dtype), what
        np.testing.assert_allclose(numbers(a), numbers(b), rtol=1e-7, atol=1e-9, err_msg=what)
    else:
        close(a, b, dtype, what)


def same(a: Any, b: Any, dtype: str, what: str) -> None:
    if isinstance(b, torch.Tensor):
        assert isinstance(a, ours.Tensor), what
        near(a, b, dtype, what)
    elif isinstance(b, torch.Size):
        assert tuple(a) == tuple(b) and isinstance(a, ours.Size), what
    elif isinstance(b, torch.distributions.constraints.Constraint):
        assert repr(a) == repr(b) and a.event_dim == b.event_dim, what
    else:
        assert a == b, what


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FAMILIES)
def test_properties(name: str, dtype: str) -> None:
    (_, mine, _), (_, theirs, _) = pair(name, dtype)
    for key in PROPERTIES:

        def read(d: Any, key: str = key) -> Any:
            found = getattr(d, key)
            return found() if callable(found) else found

        expected = outcome(lambda: read(theirs))  # noqa: B023
        if expected is not AttributeError:
            same(outcome(lambda: read(mine)), expected, dtype, key)  # noqa: B023


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FAMILIES)
def test_samples(name: str, dtype: str) -> None:
    categorical = any(word in name for word in ("Categorical", "Multinomial", "Mixture"))
    for shape in [(), (3,), (2, 4), (30,), () if categorical else (0,)]:
        found = []
        for library, d, _ in pair(name, dtype):
            library.manual_seed(3)
            found.append([d.sample(shape), library.rand(2)])
            assert not found[-1][0].requires_grad
        for a, b in zip(*found, strict=True):
            close(a, b, dtype, f"{name}.sample({shape})")


@pytest.mark.parametrize("name", FAMILIES)
def test_differentiable_samples(name: str) -> None:
    found = []
    for library, d, leaves in pair(name, "float64", grad=True):
        if not d.has_rsample:
            assert outcome(lambda: d.rsample()) is NotImplementedError  # noqa: B023
            continue
        if name in NO_GRADIENT:
            if library is ours:
                with pytest.raises(NotImplementedError, match="not differentiable"):
                    d.rsample()
                assert d.sample().shape == d.batch_shape + d.event_shape
            continue
        library.manual_seed(3)
        y = d.rsample((5,))
        weights = np.random.default_rng(0).standard_normal(tuple(y.shape))
        grads = library.autograd.grad(y, leaves, library.tensor(weights), allow_unused=True)
        found.append([y, *[g for g in grads if g is not None]])
    if found:
        for a, b in zip(*found, strict=True):
            close(a, b, "float64", name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FAMILIES)
def test_log_prob(name: str, dtype: str) -> None:
    found = []
    for library, d, leaves in pair(name, dtype, grad=True):
        value = library.tensor(FAMILIES[name][2], dtype=getattr(library, dtype))
        value.requires_grad_(d.has_rsample)
        y = d.log_prob(value)
        weights = np.random.default_rng(0).standard_normal(tuple(y.shape)).astype(dtype)
        inputs = [*leaves, value] if d.has_rsample else leaves
        grads = library.autograd.grad(y, inputs, library.tensor(weights), True, allow_unused=True)
        results = [y, *[library.zeros(1) if g is None else g for g in grads]]
        for of_parameters in (
            lambda d, v: d.entropy(), lambda d, v: d.cdf(v), lambda d, v: d.mean,
            lambda d, v: d.icdf(d.cdf(v)), lambda d, v: d.variance,
        ):  # fmt: skip
            more = outcome(lambda: of_parameters(d, value))  # noqa: B023
            if more is AttributeError:  # torch forgets to say that it has none
                more = NotImplementedError
            results.append(more)
            if not isinstance(more, type) and more.requires_grad and name not in NO_GRADIENT:
                grads = library.autograd.grad(more.sum(), leaves, None, True, allow_unused=True)
                results += [g for g in grads if g is not None]
        found.append(results)
    mine, theirs = found
    for i, (a, b) in enumerate(zip(mine, theirs, strict=True)):
        if a is NotImplementedError and name in ("Gamma", "Chi2"):
            continue  # their cdf is the incomplete gamma function, which is not here
        same(a, b, dtype, f"{name}: result {i}")


@pytest.mark.parametrize("name", FAMILIES)
def test_expand_and_enumerate(name: str) -> None:
    results = []
    for library, d, _ in pair(name, "float64"):
        wide = d.expand([4, *d.batch_shape])
        library.manual_seed(1)
        value = library.tensor(FAMILIES[name][2], dtype=library.float64)
        found = [wide.sample((2,)), wide.log_prob(value), outcome(lambda: wide.entropy())]  # noqa: B023
        found += [outcome(lambda: wide.mean), wide.batch_shape, wide.event_shape, repr(wide)]  # noqa: B023
        for expand in (True, False):
            found.append(outcome(lambda: wide.enumerate_support(expand)))  # noqa: B023
        assert type(wide) is type(d) and d.batch_shape != wide.batch_shape
        copied = copy.deepcopy(wide)
        assert (copied.log_prob(value) == wide.log_prob(value)).all()
        results.append(found)
    for i, (a, b) in enumerate(zip(*results, strict=True)):
        if b is not AttributeError:  # torch's expanded Multinomial has no entropy
            same(a, b, "float64", f"{name}: result {i}")


NUMBERS = [
    lambda t: t.distributions.Normal(0, 2.0),
    lambda t: t.distributions.Normal(t.zeros(2, dtype=t.float64), 1),
    lambda t: t.distributions.Bernoulli(0.25),
    lambda t: t.distributions.Uniform(-1, 1),
    lambda t: t.distributions.Exponential(3),
    lambda t: t.distributions.Beta(0.5, 2.0),
    lambda t: t.distributions.Gumbel(0.5, 2.0),
    lambda t: t.distributions.Chi2(3.0),
    lambda t: t.distributions.Categorical(t.tensor([1, 2, 3])),
]


@pytest.mark.parametrize("make", NUMBERS)
def test_numbers(make: Any) -> None:
    found = []
    for library in (ours, torch):
        library.manual_seed(0)
        d = make(library)
        found.append([d.sample((4,)), d.log_prob(d.sample()), d.batch_shape, repr(d)])
    for a, b in zip(*found, strict=True):
        same(a, b, "float32", "result")


WRONG = [
    lambda t: t.distributions.Normal(0.0, -1.0),
    lambda t: t.distributions.Normal(t.tensor([0.0, t.nan]), 1.0),
    lambda t: t.distributions.Normal("a", 1.0),
    lambda t: t.distributions.Normal(t.zeros(2), t.ones(3)),
    lambda t: t.distributions.Normal(0.0, 1.0).log_prob(0.0),
    lambda t: t.distributions.Normal(t.zeros(3), 1.0).log_prob(t.zeros(2)),
    lambda t: t.distributions.Normal(0.0, 1.0).log_prob(t.tensor(t.nan)),
    lambda t: t.distributions.Normal(0.0, 1.0).enumerate_support(),
    lambda t: t.distributions.Uniform(1.0, 0.0),
    lambda t: t.distributions.Uniform(0.0, 1.0).log_prob(t.tensor(2.0)),
    lambda t: t.distributions.Exponential(1.0).log_prob(t.tensor(-2.0)),
    lambda t: t.distributions.Bernoulli(),
    lambda t: t.distributions.Bernoulli(0.5, 0.5),
    lambda t: t.distributions.Bernoulli(1.5),
    lambda t: t.distributions.Bernoulli(0.5).log_prob(t.tensor(0.5)),
    lambda t: t.distributions.Bernoulli(0.5).rsample(),
    lambda t: t.distributions.Geometric(0.0),
    lambda t: t.distributions.Poisson(1.0).log_prob(t.tensor(0.5)),
    lambda t: t.distributions.Poisson(1.0).entropy(),
    lambda t: t.distributions.Categorical(t.tensor(1.0)),
    lambda t: t.distributions.Categorical(t.tensor([-1.0, 2.0])),
    lambda t: t.distributions.Categorical(logits=t.tensor([t.nan, 2.0])),
    lambda t: t.distributions.Categorical(t.ones(3)).log_prob(t.tensor(3)),
    lambda t: t.distributions.OneHotCategorical(t.ones(3)).log_prob(t.tensor([1.0, 1.0, 0.0])),
    lambda t: t.distributions.Multinomial(2, t.ones(3)).log_prob(t.tensor([2.0, 1.0, 0.0])),
    lambda t: t.distributions.Multinomial(t.tensor(2), t.ones(3)),
    lambda t: t.distributions.Dirichlet(t.tensor(1.0)),
    lambda t: t.distributions.Dirichlet(t.ones(3)).log_prob(t.ones(3)),
    lambda t: t.distributions.MultivariateNormal(t.zeros(2)),
    lambda t: t.distributions.MultivariateNormal(t.tensor(0.0), t.eye(2)),
    lambda t: t.distributions.MultivariateNormal(t.zeros(2), t.ones(2)),
    lambda t: t.distributions.MultivariateNormal(t.zeros(2), -t.eye(2)),
    lambda t: t.distributions.MultivariateNormal(t.zeros(2), t.tensor([[1.0, 2], [3, 1]])),
    lambda t: t.distributions.MultivariateNormal(t.zeros(2), scale_tril=t.ones(2, 2)),
    lambda t: t.distributions.MultivariateNormal(t.zeros(2), t.eye(2)).log_prob(t.zeros(3)),
    lambda t: t.distributions.Independent(t.distributions.Normal(0.0, 1.0), 1),
    lambda t: t.distributions.Independent(
        t.distributions.Bernoulli(t.ones(2) / 2), 1).enumerate_support(),
    lambda t: t.distributions.TransformedDistribution(t.distributions.Normal(0.0, 1.0), "exp"),
    lambda t: t.distributions.TransformedDistribution(
        t.distributions.Normal(0.0, 1.0), t.distributions.ExpTransform()).log_prob(t.tensor(-1.0)),
    lambda t: t.distributions.ExpTransform(cache_size=2),
    lambda t: t.distributions.MixtureSameFamily(
        t.distributions.Categorical(t.ones(3)), t.distributions.Normal(t.zeros(2), 1.0)),
    lambda t: t.distributions.Distribution().sample(),
    lambda t: t.distributions.Distribution.set_default_validate_args(7),
    lambda t: t.distributions.Normal(0.0, 1.0).mode.foo,
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(WRONG)))
def test_refusals(case: int) -> None:
    errors = []
    for library in (ours, torch):
        with pytest.raises(Exception) as caught, warnings.catch_warnings():  # noqa: B017
            warnings.simplefilter("ignore")
            WRONG[case](library)
        errors.append(caught)
    mine, theirs = errors
    assert mine.type is theirs.type
    if "of distribution" in str(theirs.value) or "within the support" in str(theirs.value):
        assert str(mine.value) == str(theirs.value)


def test_validation_can_be_left_out() -> None:
    d = ours.distributions
    unchecked = d.Normal(0.0, -1.0, validate_args=False)
    assert unchecked.log_prob(ours.tensor(0.0)).isnan()
    d.Distribution.set_default_validate_args(False)
    try:
        d.Bernoulli(7.0)
    finally:
        d.Distribution.set_default_validate_args(True)
    with pytest.raises(ValueError, match="Expected parameter probs"):
        d.Bernoulli(7.0)


def test_own_distribution_and_transform() -> None:
    """A class as users write it: constraints, expand by hand, a transform with a cache."""
    results = []
    for library in (ours, torch):
        d = library.distributions

        class Doubled(d.Transform):
            domain = codomain = d.constraints.real
            bijective, sign = True, +1

            def _call(self, x: Any) -> Any:
                return 2 * x

            def _inverse(self, y: Any) -> Any:
                return y / 2

            def log_abs_det_jacobian(self, x: Any, y: Any) -> Any:
                return library.full_like(x, 2.0).log()  # noqa: B023

        class Triangle(d.Distribution):
            arg_constraints = {"width": d.constraints.positive}

            def __init__(self, width: Any, validate_args: Any = None) -> None:
                self.width = width
                super().__init__(width.shape, validate_args=validate_args)

            @d.constraints.dependent_property(is_discrete=False, event_dim=0)
            def support(self) -> Any:
                return d.constraints.interval(0.0, self.width)  # noqa: B023

            def rsample(self, sample_shape: Any = ()) -> Any:
                shape = self._extended_shape(sample_shape)
                return library.rand(shape).sqrt() * self.width  # noqa: B023

            def log_prob(self, value: Any) -> Any:
                if self._validate_args:
                    self._validate_sample(value)
                return (2 * value / self.width**2).log()

        library.manual_seed(0)
        own = d.TransformedDistribution(Triangle(library.tensor([1.0, 3.0])), Doubled(cache_size=1))
        y = own.rsample((2,))
        assert own.transforms[0].inv(y) is own.transforms[0]._cached_x_y[0]
        assert own.transforms[0].inv.inv is own.transforms[0]
        with pytest.raises(ValueError, match="constraint GreaterThan"):
            Triangle(library.tensor([-1.0]))
        results.append([y, own.log_prob(y), d.constraints.is_dependent(Triangle.support)])
    for a, b in zip(*results, strict=True):
        same(a, b, "float32", "result")


def test_names() -> None:
    """Every class is where scripts import it from."""
    import importlib

    for module in ("normal", "categorical", "bernoulli", "kl", "independent", "transforms",
                   "constraints", "utils", "multivariate_normal", "uniform", "beta"):  # fmt: skip
        importlib.import_module(f"tinygrad_edu.distributions.{module}")
    for name in ours.distributions.__all__:
        theirs = getattr(torch.distributions, name)
        mine = getattr(ours.distributions, name)
        if isinstance(theirs, type):
            assert mine.__module__.rpartition(".")[2] == theirs.__module__.rpartition(".")[2]
    with pytest.raises(AttributeError, match="nearest is 'Normal'"):
        ours.distributions.Norma  # noqa: B018
