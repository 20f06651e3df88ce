"""Methods and operators whose operations are in `ops/more/`, which are imported when first called.

To a type checker this is one class like `Methods`.  When it runs, what stands on the right of each
line is only noted, and looked up when somebody asks for the method: see later.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from tinygrad_edu.engine import fast, views
from tinygrad_edu.engine import inplace as inplaces
from tinygrad_edu.engine.types import Operation
from tinygrad_edu.methods.later import lazily, room
from tinygrad_edu.ops import comparison

if TYPE_CHECKING:
    from tinygrad_edu.engine.fast import operator
    from tinygrad_edu.engine.inplace import inplace
    from tinygrad_edu.engine.views import inplace_view
    from tinygrad_edu.ops.comparison import operator as asking
    from tinygrad_edu.ops.more import (
        activation,
        arranging,
        bitwise,
        counting,
        cumulative,
        diagonals,
        differences,
        drawing,
        linalg,
        norms,
        placing,
        products,
        putting,
        real,
        scattering,
        series,
        solvers,
        sorting,
        special,
        statistics,
        strided,
        trigonometric,
        weighted,
    )
else:
    operator, inplace, inplace_view, asking, property = [
        lazily(f)
        for f in (
            fast.operator,
            inplaces.inplace,
            views.inplace_view,
            comparison.operator,
            property,
        )
    ]
    for name in (
        "activation", "arranging", "bitwise", "counting", "cumulative", "decompositions",
        "diagonals", "differences", "drawing", "linalg", "norms", "placing", "products", "putting",
        "real", "scattering", "series", "solvers", "sorting", "special", "statistics", "strided",
        "trigonometric", "weighted",
    ):  # fmt: skip
        globals()[name] = room(f"tinygrad_edu.ops.more.{name}")

Binary: TypeAlias = "Operation[[Any, Any]]"


def import_all() -> None:
    """Import every operation that is bound here; each then has said what NumPy calls it.

    Written out, for it also tells mypy to infer the types of these modules before those here.
    """
    from tinygrad_edu.ops.more import (  # noqa: F401
        activation,
        arranging,
        bitwise,
        counting,
        cumulative,
        decompositions,
        diagonals,
        differences,
        drawing,
        linalg,
        norms,
        placing,
        products,
        putting,
        real,
        scattering,
        series,
        solvers,
        sorting,
        special,
        statistics,
        strided,
        trigonometric,
        weighted,
    )


class MoreMethods:
    """What `Tensor` inherits its further operations from."""

    index_put, index_put_ = putting.index_put, putting.index_put_
    addcmul, addcmul_ = weighted.addcmul, inplace(weighted.addcmul)
    addcdiv, addcdiv_ = weighted.addcdiv, inplace(weighted.addcdiv)
    lerp, lerp_ = weighted.lerp, inplace(weighted.lerp)
    xlogy, xlogy_ = special.xlogy, inplace(special.xlogy)
    prelu = activation.prelu
    hardshrink = activation.hardshrink
    scatter = placing.scatter
    scatter_ = inplace(placing.scatter, apart=True)
    index_copy = placing.index_copy
    index_copy_ = inplace(placing.index_copy, apart=True)
    index_fill = placing.index_fill
    index_fill_ = inplace(placing.index_fill, apart=True)
    take_along_dim = placing.take_along_dim
    take = placing.take
    exponential_ = drawing.exponential_
    log_normal_ = drawing.log_normal_
    cauchy_ = drawing.cauchy_
    geometric_ = drawing.geometric_
    fliplr = arranging.fliplr
    flipud = arranging.flipud
    roll = arranging.roll
    rot90 = arranging.rot90
    imag = property(real.imag)
    mT = property(arranging.mT)
    H = property(arranging.H)
    mH = property(arranging.mH)
    adjoint = arranging.adjoint
    repeat_interleave = arranging.repeat_interleave
    unfold = arranging.unfold
    as_strided = strided.as_strided
    as_strided_ = inplace_view(strided.as_strided, strided.no_step_back)
    new_empty_strided = strided.new_empty_strided
    resize_, resize_as_ = strided.resize_, strided.resize_as_
    sum_to_size = strided.sum_to_size
    scatter_reduce = scattering.scatter_reduce
    scatter_reduce_ = inplace(scattering.scatter_reduce, apart=True)
    index_reduce = scattering.index_reduce
    index_reduce_ = inplace(scattering.index_reduce, apart=True)
    put, put_ = scattering.put, inplace(scattering.put, apart=True)
    masked_scatter = arranging.masked_scatter
    masked_scatter_ = inplace(arranging.masked_scatter, apart=True, gaps="alone")
    select_scatter = arranging.select_scatter
    slice_scatter = arranging.slice_scatter
    diagonal_scatter = arranging.diagonal_scatter

    tan, tan_ = trigonometric.tan, inplace(trigonometric.tan)
    asin, asin_ = trigonometric.asin, inplace(trigonometric.asin)
    acos, acos_ = trigonometric.acos, inplace(trigonometric.acos)
    atan, atan_ = trigonometric.atan, inplace(trigonometric.atan)
    sinh, sinh_ = trigonometric.sinh, inplace(trigonometric.sinh)
    cosh, cosh_ = trigonometric.cosh, inplace(trigonometric.cosh)
    asinh, asinh_ = trigonometric.asinh, inplace(trigonometric.asinh)
    acosh, acosh_ = trigonometric.acosh, inplace(trigonometric.acosh)
    atanh, atanh_ = trigonometric.atanh, inplace(trigonometric.atanh)
    atan2, atan2_ = trigonometric.atan2, inplace(trigonometric.atan2)
    hypot, hypot_ = trigonometric.hypot, inplace(trigonometric.hypot)
    sinc, sinc_ = trigonometric.sinc, inplace(trigonometric.sinc)
    deg2rad, deg2rad_ = trigonometric.deg2rad, inplace(trigonometric.deg2rad)
    rad2deg, rad2deg_ = trigonometric.rad2deg, inplace(trigonometric.rad2deg)
    arcsin, arcsin_ = asin, asin_
    arccos, arccos_ = acos, acos_
    arctan, arctan_ = atan, atan_
    arctan2, arctan2_ = atan2, atan2_
    arcsinh, arcsinh_ = asinh, asinh_
    arccosh, arccosh_ = acosh, acosh_
    arctanh, arctanh_ = atanh, atanh_
    conj = conj_physical = resolve_conj = resolve_neg = real.real
    angle, frexp = real.angle, real.frexp
    nextafter, nextafter_ = real.nextafter, inplace(real.nextafter)
    conj_physical_ = real.real
    erfc, erfc_ = special.erfc, inplace(special.erfc)
    erfinv, erfinv_ = special.erfinv, inplace(special.erfinv)
    lgamma, lgamma_ = special.lgamma, inplace(special.lgamma)
    digamma, digamma_ = special.digamma, inplace(special.digamma)
    logit, logit_ = special.logit, inplace(special.logit)
    i0, i0_ = series.i0, inplace(series.i0)
    igamma, igamma_ = series.igamma, inplace(series.igamma)
    igammac, igammac_ = series.igammac, inplace(series.igammac)
    mvlgamma, mvlgamma_ = series.multigammaln, inplace(series.multigammaln)
    polygamma, polygamma_ = special.of_order, inplace(special.of_order)
    logaddexp, logaddexp2 = special.logaddexp, special.logaddexp2
    __and__: Binary = operator(bitwise.bitwise_and)
    __rand__: Binary = bitwise.bitwise_and
    __or__: Binary = operator(bitwise.bitwise_or)
    __ror__: Binary = bitwise.bitwise_or
    __xor__: Binary = operator(bitwise.bitwise_xor)
    __rxor__: Binary = bitwise.bitwise_xor
    __invert__ = bitwise.invert
    __lshift__: Binary = operator(bitwise.bitwise_left_shift)
    __rshift__: Binary = operator(bitwise.bitwise_right_shift)
    __iand__ = asking(inplace(bitwise.bitwise_and))
    __ior__ = asking(inplace(bitwise.bitwise_or))
    __ixor__ = asking(inplace(bitwise.bitwise_xor))
    __ilshift__ = asking(inplace(bitwise.bitwise_left_shift))
    __irshift__ = asking(inplace(bitwise.bitwise_right_shift))
    __rlshift__ = bitwise.rleft_shift
    __rrshift__ = bitwise.rright_shift
    bitwise_and, bitwise_and_ = bitwise.bitwise_and, inplace(bitwise.bitwise_and)
    bitwise_or, bitwise_or_ = bitwise.bitwise_or, inplace(bitwise.bitwise_or)
    bitwise_xor, bitwise_xor_ = bitwise.bitwise_xor, inplace(bitwise.bitwise_xor)
    bitwise_not, bitwise_not_ = bitwise.bitwise_not, inplace(bitwise.bitwise_not)
    bitwise_left_shift = bitwise.bitwise_left_shift
    bitwise_left_shift_ = inplace(bitwise.bitwise_left_shift)
    bitwise_right_shift = bitwise.bitwise_right_shift
    bitwise_right_shift_ = inplace(bitwise.bitwise_right_shift)
    gcd, gcd_ = bitwise.gcd, inplace(bitwise.gcd)
    lcm, lcm_ = bitwise.lcm, inplace(bitwise.lcm)
    prod = cumulative.prod
    var, std = statistics.var, statistics.std
    quantile, nanquantile = statistics.quantile, statistics.nanquantile
    cov, corrcoef = statistics.cov, statistics.corrcoef
    dist = norms.dist
    renorm, renorm_ = norms.renorm, inplace(norms.renorm)
    cummax, cummin = cumulative.cummax, cumulative.cummin
    cumsum, cumsum_ = cumulative.cumsum, inplace(cumulative.cumsum)
    cumprod, cumprod_ = cumulative.cumprod, inplace(cumulative.cumprod)
    logcumsumexp = cumulative.logcumsumexp
    diff = differences.diff
    sort, argsort, msort = sorting.sort, sorting.argsort, sorting.msort
    topk, kthvalue = sorting.topk, sorting.kthvalue
    median, nanmedian, mode = sorting.median, sorting.nanmedian, sorting.mode
    unique, unique_consecutive = counting.unique, counting.unique_consecutive
    bincount, histc = counting.bincount, counting.histc
    histogram = counting.histogram
    mm, bmm, mv = products.mm, products.bmm, products.mv
    dot, vdot, inner = products.dot, products.vdot, products.inner
    outer = ger = products.outer
    addmm, addmm_ = products.addmm, inplace(products.addmm, apart=True, gaps="alone")
    addmv, addmv_ = products.addmv, inplace(products.addmv, apart=True, gaps="alone")
    addr, addr_ = products.addr, inplace(products.addr, apart=True, gaps="alone")
    addbmm, addbmm_ = products.addbmm, inplace(products.addbmm, apart=True, gaps="alone")
    baddbmm, baddbmm_ = products.baddbmm, inplace(products.baddbmm, apart=True, gaps="alone")
    kron, cross = products.kron, products.cross
    diagonal, diag, trace = diagonals.diagonal, diagonals.diag, diagonals.trace
    diag_embed, diagflat = diagonals.diag_embed, diagonals.diagflat
    fill_diagonal_ = diagonals.fill_diagonal_
    det, slogdet, logdet = linalg.det, linalg.slogdet, linalg.logdet
    inverse, pinverse = linalg.inv, solvers.pinverse
    matrix_power = solvers.matrix_power
    cholesky_solve, cholesky_inverse = solvers.cholesky_solve, solvers.cholesky_inverse
    triangular_solve, matrix_exp = solvers.triangular_solve, solvers.matrix_exp
    orgqr = solvers.householder_product
    qr, svd = solvers.old_qr, solvers.old_svd
    cholesky = linalg.cholesky
