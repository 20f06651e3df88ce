"""KL divergences against torch's, their edges, and how to register one."""

from __future__ import annotations

from typing import Any

import pytest
from beside_torch import close
from test_distributions import FAMILIES, near, pair

import tinygrad_edu as ours

torch = pytest.importorskip("torch")


KL = [
    *[(name, name) for name in (
        "Normal", "Laplace", "Cauchy", "Gumbel", "HalfNormal", "Exponential", "Gamma", "Beta",
        "Dirichlet", "Poisson", "Bernoulli", "Bernoulli of logits", "Geometric", "Categorical",
        "Categorical of logits", "OneHotCategorical", "MultivariateNormal", "Independent",
        "LogNormal", "Uniform", "Chi2", "events transformed",
    )],
    ("Uniform", "Normal"),
    ("MultivariateNormal", "MultivariateNormal of scale_tril"),
    ("Bernoulli", "Bernoulli of logits"),
]  # fmt: skip


@pytest.mark.parametrize(("of_p", "of_q"), KL)
def test_kl_divergence(of_p: str, of_q: str) -> None:
    found = []
    for i in range(2):
        library, p, leaves = pair(of_p, "float64", grad=True)[i]
        values, make, _ = FAMILIES[of_q]
        other = [library.tensor(v, dtype=library.float64) for v in values]
        first = other[0] if "Uniform" in of_q else other[0].flip(0)
        other = [t.requires_grad_() for t in [first, *other[1:]]]
        y = library.distributions.kl_divergence(p, make(library, *other))
        y_is_finite = bool(library.isfinite(y).all())
        grads = library.autograd.grad(y.sum(), [*leaves, *other], allow_unused=True)
        found.append([y, *[g for g in grads if g is not None and y_is_finite]])
    for a, b in zip(*found, strict=True):
        near(a, b, "float64", f"KL({of_p}, {of_q})")


def test_kl_at_the_edges() -> None:
    for make in (
        lambda t: (t.distributions.Bernoulli(t.tensor([0.0, 1.0, 0.5, 0.0])),
                   t.distributions.Bernoulli(t.tensor([0.5, 1.0, 0.0, 1.0]))),
        lambda t: (t.distributions.Categorical(t.tensor([[0.0, 1.0], [0.5, 0.5]])),
                   t.distributions.Categorical(t.tensor([[0.5, 0.5], [0.0, 1.0]]))),
        lambda t: (t.distributions.Uniform(t.tensor([0.0, 1.0]), 2.0),
                   t.distributions.Uniform(0.5, t.tensor([3.0, 4.0]))),
    ):  # fmt: skip
        mine, theirs = (t.distributions.kl_divergence(*make(t)) for t in (ours, torch))
        close(mine, theirs, "float32", "divergence")
    with pytest.raises(NotImplementedError, match="No KL.*Cauchy and q type Normal"):
        ours.distributions.kl_divergence(
            ours.distributions.Cauchy(0.0, 1.0), ours.distributions.Normal(0.0, 1.0)
        )


def test_register_kl() -> None:
    d = ours.distributions

    class Mine(d.Normal):
        pass

    p = Mine(0.0, 1.0)
    assert d.kl_divergence(p, p) == 0  # Normal's formula

    @d.register_kl(Mine, d.Normal)
    def _(p: Any, q: Any) -> Any:
        return q.scale * 7

    assert d.kl_divergence(p, p) == 7
    with pytest.raises(TypeError, match="type_p"):
        d.register_kl(int, Mine)
