"""Rows of tinygrad_edu/ops/elementary.py: functions of one number."""

from op_table import F, I, Op, Pos, Prob, Ties, V, call, tied, unary

_near = dict(low=-0.9, high=0.9)


def Away(*shape: int, **options: object):
    """Away from every multiple of 0.5, where rounding functions jump."""
    return F(*shape, away=(-2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2), margin=0.1)


ROWS = [
    unary("exp", F, call(I(3)), covers=["exp_"]),
    unary("exp2", F),
    unary("expm1", F),
    unary("log", Pos, call(I(3, low=1))),
    unary("log2", Pos),
    unary("log10", Pos),
    unary("log1p", Pos),
    unary("sqrt", Pos, covers=["sqrt_"]),
    unary("rsqrt", Pos),
    unary("sin", F),
    unary("cos", F),
    unary("tan", F, low=-1.2, high=1.2),
    unary("asin", F, **_near, covers=["arcsin"]),
    unary("acos", F, **_near, covers=["arccos"]),
    unary("atan", F, covers=["arctan"]),
    unary("sinh", F),
    unary("cosh", F),
    unary("tanh", F, covers=["tanh_"]),
    unary("asinh", F, covers=["arcsinh"]),
    unary("acosh", Pos, low=1.2, high=3.0, covers=["arccosh"]),
    unary("atanh", F, **_near, covers=["arctanh"]),
    unary("sigmoid", F, call(F(3, low=-60, high=60)), covers=["sigmoid_"]),
    unary("logit", Prob, call(Prob(3), 1e-6), skip=["int64", "bool"]),
    unary("erf", F, call(F(5, low=-6, high=6))),
    unary("erfc", F),
    unary("erfinv", F, **_near),
    unary("lgamma", Pos, skip=["int64", "bool"]),
    unary("digamma", Pos, skip=["int64", "bool"]),
    unary("sinc", F, away=(0,)),
    unary("floor", Away, skip=["bool"]),
    unary("ceil", Away, skip=["bool"]),
    unary("trunc", Away, tied(Ties(3)), skip=["bool"], covers=["fix"]),
    unary("round", Away, tied(F(4), decimals=1), tied(F(3), decimals=-1), skip=["bool", "int64"]),
    unary("frac", Away, skip=["bool", "int64"]),
    unary("deg2rad", F),
    unary("rad2deg", F),
    Op("polygamma", call(1, Pos(3)), skip=["int64", "bool"], second=False),
    Op("special.expit", call(F(2, 3))),
    Op("special.xlog1py", call(F(2, 3), Pos(3)),
       tied(V([0.0, 0.0, 2.0]), V([-2.0, -1.0, 0.5]))),
]  # fmt: skip
