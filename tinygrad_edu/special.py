"""`torch.special`: special functions, most of them under a second name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinygrad_edu.names.missing import missing
from tinygrad_edu.ops.activation import sigmoid as expit
from tinygrad_edu.ops.elementary import erf, exp2, expm1, log1p
from tinygrad_edu.ops.more.series import (
    entr,
    erfcx,
    i0,
    i0e,
    i1,
    i1e,
    log_ndtr,
    multigammaln,
    ndtr,
    ndtri,
    zeta,
)
from tinygrad_edu.ops.more.series import igamma as gammainc
from tinygrad_edu.ops.more.series import igammac as gammaincc
from tinygrad_edu.ops.more.special import digamma as psi
from tinygrad_edu.ops.more.special import erfc, erfinv, logit, polygamma, xlog1py, xlogy
from tinygrad_edu.ops.more.special import lgamma as gammaln
from tinygrad_edu.ops.more.trigonometric import sinc
from tinygrad_edu.ops.reduction import logsumexp
from tinygrad_edu.ops.rounding import round
from tinygrad_edu.ops.softmax import log_softmax, softmax

digamma = psi

__all__ = [
    "entr", "erfcx", "gammainc", "gammaincc", "i0", "i0e", "i1", "i1e", "log_ndtr", "multigammaln",
    "ndtr", "ndtri", "zeta",
    "digamma", "erf", "erfc", "erfinv", "exp2", "expit", "expm1", "gammaln", "log1p",
    "log_softmax", "logit", "logsumexp", "polygamma", "psi", "round", "sinc", "softmax",
    "xlog1py", "xlogy",
]  # fmt: skip

if not TYPE_CHECKING:  # a type checker is to miss what is not here
    __getattr__ = missing(__name__)
