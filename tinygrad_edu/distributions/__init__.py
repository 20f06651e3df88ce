"""`torch.distributions`: probability distributions, their samples, densities and divergences."""

import typing as _typing

from tinygrad_edu.distributions import constraints as constraints
from tinygrad_edu.distributions import transforms as transforms
from tinygrad_edu.distributions.bernoulli import Bernoulli
from tinygrad_edu.distributions.beta import Beta
from tinygrad_edu.distributions.categorical import Categorical
from tinygrad_edu.distributions.cauchy import Cauchy
from tinygrad_edu.distributions.chi2 import Chi2
from tinygrad_edu.distributions.constraint_registry import biject_to, transform_to
from tinygrad_edu.distributions.dirichlet import Dirichlet
from tinygrad_edu.distributions.distribution import Distribution
from tinygrad_edu.distributions.exponential import Exponential
from tinygrad_edu.distributions.gamma import Gamma
from tinygrad_edu.distributions.geometric import Geometric
from tinygrad_edu.distributions.gumbel import Gumbel
from tinygrad_edu.distributions.half_cauchy import HalfCauchy
from tinygrad_edu.distributions.half_normal import HalfNormal
from tinygrad_edu.distributions.independent import Independent
from tinygrad_edu.distributions.kl import kl_divergence, register_kl
from tinygrad_edu.distributions.laplace import Laplace
from tinygrad_edu.distributions.log_normal import LogNormal
from tinygrad_edu.distributions.mixture_same_family import MixtureSameFamily
from tinygrad_edu.distributions.multinomial import Multinomial
from tinygrad_edu.distributions.multivariate_normal import MultivariateNormal
from tinygrad_edu.distributions.negative_binomial import NegativeBinomial
from tinygrad_edu.distributions.normal import Normal
from tinygrad_edu.distributions.one_hot_categorical import (
    OneHotCategorical,
    OneHotCategoricalStraightThrough,
)
from tinygrad_edu.distributions.poisson import Poisson
from tinygrad_edu.distributions.relaxed_bernoulli import RelaxedBernoulli
from tinygrad_edu.distributions.relaxed_categorical import RelaxedOneHotCategorical
from tinygrad_edu.distributions.studentT import StudentT
from tinygrad_edu.distributions.transformed_distribution import TransformedDistribution
from tinygrad_edu.distributions.transforms import (
    AbsTransform,
    AffineTransform,
    ComposeTransform,
    ExpTransform,
    PowerTransform,
    SigmoidTransform,
    SoftplusTransform,
    TanhTransform,
    Transform,
    identity_transform,
)
from tinygrad_edu.distributions.uniform import Uniform
from tinygrad_edu.distributions.vector_transforms import (
    IndependentTransform,
    SoftmaxTransform,
    StickBreakingTransform,
)
from tinygrad_edu.names.missing import missing as _missing

__all__ = [
    "AbsTransform", "AffineTransform", "Bernoulli", "Beta", "Categorical", "Cauchy", "Chi2",
    "ComposeTransform", "Dirichlet", "Distribution", "ExpTransform", "Exponential", "Gamma",
    "Geometric", "Gumbel", "HalfCauchy", "HalfNormal", "Independent", "IndependentTransform",
    "Laplace", "LogNormal", "MixtureSameFamily", "Multinomial",
    "MultivariateNormal", "NegativeBinomial", "Normal", "OneHotCategorical",
    "OneHotCategoricalStraightThrough", "Poisson", "PowerTransform", "RelaxedBernoulli",
    "RelaxedOneHotCategorical", "SigmoidTransform", "SoftmaxTransform", "SoftplusTransform",
    "StickBreakingTransform", "StudentT", "TanhTransform", "Transform", "TransformedDistribution",
    "Uniform", "biject_to", "identity_transform", "kl_divergence", "register_kl", "transform_to",
]  # fmt: skip

if not _typing.TYPE_CHECKING:  # a type checker finds unknown names by itself
    __getattr__ = _missing(__name__)
