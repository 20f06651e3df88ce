"""The Kullback-Leibler divergence KL(p || q) = E_p[log p - log q]."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from tinygrad_edu.distributions.bernoulli import Bernoulli
from tinygrad_edu.distributions.beta import Beta
from tinygrad_edu.distributions.categorical import Categorical
from tinygrad_edu.distributions.cauchy import Cauchy
from tinygrad_edu.distributions.dirichlet import Dirichlet
from tinygrad_edu.distributions.distribution import Distribution
from tinygrad_edu.distributions.exponential import Exponential
from tinygrad_edu.distributions.gamma import Gamma
from tinygrad_edu.distributions.geometric import Geometric
from tinygrad_edu.distributions.gumbel import Gumbel
from tinygrad_edu.distributions.half_normal import HalfNormal
from tinygrad_edu.distributions.independent import Independent
from tinygrad_edu.distributions.laplace import Laplace
from tinygrad_edu.distributions.multivariate_normal import (
    MultivariateNormal,
    half_log_det,
    mahalanobis,
)
from tinygrad_edu.distributions.normal import Normal
from tinygrad_edu.distributions.one_hot_categorical import OneHotCategorical
from tinygrad_edu.distributions.poisson import Poisson
from tinygrad_edu.distributions.transformed_distribution import TransformedDistribution
from tinygrad_edu.distributions.uniform import Uniform
from tinygrad_edu.distributions.utils import euler_constant, sum_rightmost
from tinygrad_edu.ops.activation import softplus
from tinygrad_edu.ops.more.linalg import solve
from tinygrad_edu.ops.shape import broadcast_shapes

if TYPE_CHECKING:
    from tinygrad_edu.tensor import Tensor


Formula = TypeVar("Formula", bound=Callable[[Any, Any], Any])
_FORMULAS: dict[tuple[type, type], Callable[[Any, Any], Any]] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[Formula], Formula]:
    """Decorate the function of (p, q) that computes the divergence for these two classes.

    Raises:
        TypeError: one of them is not a subclass of Distribution.

    >>> import tinygrad_edu as torch
    >>> class Mine(torch.distributions.Normal): pass
    >>> @torch.distributions.register_kl(Mine, Mine)
    ... def formula(p, q): return p.loc - q.loc
    >>> torch.distributions.kl_divergence(Mine(3.0, 1.0), Mine(1.0, 1.0))
    tensor(2.)
    """
    for name, given in (("type_p", type_p), ("type_q", type_q)):
        if not (isinstance(given, type) and issubclass(given, Distribution)):
            raise TypeError(f"Expected {name} to be a Distribution subclass but got {given}")

    def register(formula: Formula) -> Formula:
        _FORMULAS[type_p, type_q] = formula
        return formula

    return register


def kl_divergence(p: Distribution, q: Distribution) -> Any:
    """KL(p || q) in nats, for each distribution of the batch.

    A formula registered for base classes serves derived ones, the nearest of p's first.

    Raises:
        NotImplementedError: there is no formula for the two classes.

    >>> import tinygrad_edu as torch
    >>> from tinygrad_edu.distributions import Normal, kl_divergence
    >>> kl_divergence(Normal(1.0, 1.0), Normal(0.0, 1.0))
    tensor(0.5000)
    """
    for base_p in type(p).__mro__:
        for base_q in type(q).__mro__:
            if (base_p, base_q) in _FORMULAS:
                return _FORMULAS[base_p, base_q](p, q)
    raise NotImplementedError(
        f"No KL(p || q) is implemented for p type {type(p).__name__} and q type {type(q).__name__}"
    )


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p: Bernoulli, q: Bernoulli) -> Any:
    ones = p.probs * (softplus(-q.logits) - softplus(-p.logits))
    ones = ones.masked_fill(q.probs == 0, math.inf).masked_fill(p.probs == 0, 0.0)
    zeros = (1 - p.probs) * (softplus(q.logits) - softplus(p.logits))
    return ones + zeros.masked_fill(q.probs == 1, math.inf).masked_fill(p.probs == 1, 0.0)


@register_kl(Categorical, Categorical)
def _categorical(p: Categorical, q: Categorical) -> Any:
    terms = p.probs * (p.logits - q.logits)
    return terms.masked_fill(q.probs == 0, math.inf).masked_fill(p.probs == 0, 0.0).sum(-1)


@register_kl(OneHotCategorical, OneHotCategorical)
def _one_hot_categorical(p: OneHotCategorical, q: OneHotCategorical) -> Any:
    return _categorical(p._categorical, q._categorical)


@register_kl(Geometric, Geometric)
def _geometric(p: Geometric, q: Geometric) -> Any:
    return -p.entropy() - (-q.probs).log1p() / p.probs - q.logits


@register_kl(Poisson, Poisson)
def _poisson(p: Poisson, q: Poisson) -> Tensor:
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


@register_kl(Normal, Normal)
def _normal(p: Any, q: Any) -> Any:
    ratio = (p.scale / q.scale).pow(2)
    return 0.5 * (ratio + ((p.loc - q.loc) / q.scale).pow(2) - 1 - ratio.log())


@register_kl(HalfNormal, HalfNormal)
def _half_normal(p: Any, q: Any) -> Any:
    return _normal(p.base_dist, q.base_dist)


@register_kl(MultivariateNormal, MultivariateNormal)
def _multivariate_normal(p: Any, q: Any) -> Any:
    if p.event_shape != q.event_shape:
        raise ValueError(
            "KL-divergence between two Multivariate Normals with different event shapes cannot be"
            " computed"
        )
    shape = broadcast_shapes(q._tril.shape[:-2], p._tril.shape[:-2])
    n = p.event_shape[0]
    trace = solve(q._tril.expand(*shape, n, n), p._tril.expand(*shape, n, n))
    distance = mahalanobis(q._tril, q.loc - p.loc)
    log_dets = half_log_det(q._tril) - half_log_det(p._tril)
    return log_dets + 0.5 * (trace.pow(2).sum(-1).sum(-1) + distance - n)


@register_kl(Laplace, Laplace)
def _laplace(p: Laplace, q: Laplace) -> Tensor:
    ratio, apart = p.scale / q.scale, (p.loc - q.loc).abs()
    return -ratio.log() + apart / q.scale + ratio * (-apart / p.scale).exp() - 1


@register_kl(Cauchy, Cauchy)
def _cauchy(p: Cauchy, q: Cauchy) -> Tensor:
    squared = (p.scale + q.scale).pow(2) + (p.loc - q.loc).pow(2)
    return squared.log() - (4 * p.scale * q.scale).log()


@register_kl(Gumbel, Gumbel)
def _gumbel(p: Gumbel, q: Gumbel) -> Tensor:
    ratio, apart = p.scale / q.scale, (q.loc - p.loc) / q.scale
    power = (apart + (1 + ratio).lgamma()).exp()
    return -ratio.log() - apart + ratio * euler_constant + power - (1 + euler_constant)


@register_kl(Exponential, Exponential)
def _exponential(p: Exponential, q: Exponential) -> Tensor:
    ratio = q.rate / p.rate
    return -ratio.log() + ratio - 1


@register_kl(Gamma, Gamma)
def _gamma(p: Gamma, q: Gamma) -> Tensor:
    a, b = p.concentration, q.concentration
    shapes = b.lgamma() - a.lgamma() + (a - b) * a.digamma()
    return b * (p.rate / q.rate).log() + shapes + (q.rate - p.rate) * (a / p.rate)


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(p: Any, q: Any) -> Any:
    a, b = p.concentration, q.concentration
    total = a.sum(-1)
    constants = total.lgamma() - b.sum(-1).lgamma() - (a.lgamma() - b.lgamma()).sum(-1)
    return constants + ((a - b) * (a.digamma() - total.digamma().unsqueeze(-1))).sum(-1)


@register_kl(Beta, Beta)
def _beta(p: Beta, q: Beta) -> Any:
    return _dirichlet(p._dirichlet, q._dirichlet)


@register_kl(Uniform, Uniform)
def _uniform(p: Uniform, q: Uniform) -> Tensor:
    outside = (q.low > p.low) | (q.high < p.high)
    return ((q.high - q.low) / (p.high - p.low)).log().masked_fill(outside, math.inf)


@register_kl(Uniform, Normal)
def _uniform_normal(p: Uniform, q: Normal) -> Tensor:
    width = p.high - p.low
    log_ratio = (math.sqrt(2 * math.pi) * q.scale / width).log()
    middle = (p.high + p.low - 2 * q.loc) / 2
    return log_ratio + 0.5 * (width.pow(2) / 12 + middle.pow(2)) / q.scale.pow(2)


@register_kl(Independent, Independent)
def _independent(p: Independent, q: Independent) -> Any:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError
    each = kl_divergence(p.base_dist, q.base_dist)
    return sum_rightmost(each, p.reinterpreted_batch_ndims)


@register_kl(TransformedDistribution, TransformedDistribution)
def _transformed(p: TransformedDistribution, q: TransformedDistribution) -> Any:
    if p.transforms != q.transforms or p.event_shape != q.event_shape:
        raise NotImplementedError
    each = kl_divergence(p.base_dist, q.base_dist)
    return sum_rightmost(each, len(p.event_shape) - len(p.base_dist.event_shape))
