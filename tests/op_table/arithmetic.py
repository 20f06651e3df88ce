"""Rows of tinygrad_edu/ops/arithmetic.py."""

from op_table import B, F, I, Op, Pos, Prob, Ties, V, binary, call, tied, unary

_away = dict(away=(0,), margin=0.3)


def Nonzero(*shape: int):
    return F(*shape, **_away)


_nan = float("nan")
WITH_NAN = F(4, values=[1.0, _nan, 2.0, _nan]), F(4, values=[2.0, 1.0, _nan, _nan])

SEVERAL_TIMES = F(3, values=[5.3, -7.1, 8.2]), F(3, values=[1.6, 2.2, -3.1])


ROWS = [
    binary("add", F, F, call(F(2, 3), 2.5), call(F(2), F(2), alpha=3), call(I(2), F(2)),
           call(I(2), 2), call(I(2), 2.5), call(B(2), B(2)), call(F(3), I())),
    binary("sub", F, F, call(F(2, 3), 2), call(F(2), F(2), alpha=-2), call(I(3), F()),
           bad=[call(B(2), B(2))]),
    Op("rsub", call(F(2, 3), F(3)), call(F(2), 2.0), call(F(2), 2, alpha=3), skip=["bool"]),
    binary("mul", F, F, call(F(2, 3), -3), call(B(3), F(3)), call(I(3), 1.5), call(B(2), True)),
    binary("div", F, Nonzero, call(F(2, 3), 4), call(I(3), 2), call(I(3), I(3, low=1)),
           call(F(3), Nonzero(3), rounding_mode=None),
           tied(F(3), Nonzero(3), rounding_mode="floor"),
           tied(F(3), Nonzero(3), rounding_mode="trunc"),
           tied(I(3), I(3, low=1), rounding_mode="floor"),
           tied(I(3), I(3, low=1), rounding_mode="trunc"),
           bad=[call(F(2), F(2), rounding_mode="up")]),
    Op("true_divide", call(F(2, 3), Nonzero(3))),
    Op("floor_divide", tied(F(2, 3), Nonzero(3)), tied(F(3), 0.7), tied(I(3), I(3, low=1)),
       skip=["bool", "int64"]),
    Op("remainder", call(F(2, 3), 0.75), call(F(3), -0.75), call(F(3), Pos(3)),
       call(I(4), 3), call(I(4), -3), call(I(4), I(4, low=1)), skip=["bool", "int64"]),
    Op("fmod", call(*SEVERAL_TIMES), call(F(2, 3), 0.75), call(F(3), -0.75), call(F(3), Pos(3)),
       call(I(4), -3),
       skip=["bool", "int64"]),
    binary("pow", Pos, F, call(F(2, 3), 2), call(F(2, 3), 3), call(Pos(2, 3), 0.5),
           call(Pos(2), -1.5), call(F(3), 0), call(F(3), 1), call(2.0, F(3)), call(2, F(2, 3)),
           call(I(3), 2), call(Nonzero(3), -1), call(Nonzero(3), -2.0), tied(F(3), I(3, low=0)),
           tied(0.0, Pos(2)), skip=["int64", "bool"],
           bad=[call(I(3), -1)]),
    Op("float_power", call(Pos(2, 3), F(3)), call(F(3), 2), skip=["bool", "int64"]),
    unary("neg", F, skip=["bool"], covers=["negative", "neg_"]),
    unary("positive", F, skip=["bool"]),
    unary("abs", Nonzero, tied(Ties(5)), covers=["absolute", "abs_"], skip=["bool"]),
    unary("sign", Nonzero, tied(Ties(5))),
    unary("sgn", Nonzero, tied(Ties(5))),
    unary("square", F),
    unary("reciprocal", Nonzero),
    binary("maximum", F, F, tied(Ties(6), Ties(6)), call(I(3), F(3))),
    binary("minimum", F, F, tied(Ties(6), Ties(6)), call(I(3), F(3))),
    binary("fmax", F, F, tied(Ties(6), Ties(6)), tied(*WITH_NAN)),
    binary("fmin", F, F, tied(Ties(6), Ties(6)), tied(*WITH_NAN)),
    Op("clamp", call(F(2, 3), -1.05, 1.05), call(F(2, 3), min=0.05), call(F(3), max=0.05),
       call(F(2, 3), F(3), None), call(F(3), F(3), F(3)), call(F(12), F(12), F(12)),
       tied(Ties(5), 0.0, 1.0),
       call(I(4), 0, 2), call(I(4), 0.5), call(F(0, 3), 0.0, 1.0), call(F(), 0.05),
       call(F(4), 1.05, -1.05), bad=[call(F(3))], covers=["clip", "clamp_"], skip=["bool"]),
    Op("clamp_min", call(F(2, 3), -0.55), call(F(3), F(3)), call(I(4), 0.5), skip=["bool"]),
    Op("clamp_max", call(F(2, 3), 0.55), call(F(3), F(3)), call(I(4), 1), skip=["bool"]),
    Op("lerp", call(F(2, 3), F(2, 3), 0.3), call(F(2, 3), F(3), F(2, 1)), call(F(3), F(3), 0.7),
       skip=["int64", "bool"]),
    Op("addcmul", call(F(2, 3), F(3), F(2, 1)), call(F(2), F(2), F(2), value=0.5),
       skip=["bool", "int64"]),
    Op("addcdiv", call(F(2, 3), F(3), Nonzero(2, 1)), call(F(2), F(2), Nonzero(2), value=0.5),
       skip=["bool", "int64"]),
    Op("hypot", call(Pos(2, 3), Pos(3)), skip=["int64", "bool"]),
    Op("atan2", call(Nonzero(2, 3), Nonzero(3)), call(Nonzero(), Nonzero(2)), covers=["arctan2"]),
    Op("logaddexp", call(F(2, 3), F(3)), call(F(), F()), skip=["int64", "bool"]),
    Op("logaddexp2", call(F(2, 3), F(3)), skip=["int64", "bool"]),
    Op("xlogy", call(F(2, 3), Pos(3)), call(F(2), 1.5), tied(Ties(3), Pos(3)),
       tied(V([0.0, 0.0, 2.0]), V([-1.0, 0.0, 1.5])), skip=["bool"]),
    Op("heaviside", tied(Ties(3), F(3, grad=False)), tied(F(2, 3, grad=False), F(3, grad=False))),
    Op("copysign", call(Nonzero(2, 3), Nonzero(3)), call(Nonzero(3), -1.0)),
    Op("ldexp", call(F(2, 3), I(3, low=0)), skip=["bool", "int64"]),
    Op("dist", call(F(2, 3), F(3)), call(F(4), F(4), 1), call(F(4), F(4), 3.0),
       skip=["int64", "bool"]),
    Op("nan_to_num", call(F(2, 3)), tied(I(3)), call(F(3), 1.0, 2.0, -2.0)),
    Op("gcd", call(I(3), I(3)), skip=["float32"]),
    Op("lcm", call(I(3), I(3)), skip=["float32"]),
    Op("bitwise_and", call(I(3), I(3)), call(B(3), B(3)), call(I(3), 2)),
    Op("bitwise_or", call(I(3), I(3)), call(B(3), B(3)), call(I(3), 2)),
    Op("bitwise_xor", call(I(3), I(3)), call(B(3), B(3)), call(I(3), 2)),
    Op("bitwise_not", call(I(3)), call(B(3))),
    Op("bitwise_left_shift", call(I(3), 2), call(I(3), I(3, low=0))),
    Op("bitwise_right_shift", call(I(3), 1)),
    # the operators, with a number on either side
    Op("radd", call(F(2, 3)), run=lambda torch, x: 2 + x),
    Op("rsub_operator", call(F(2, 3)), run=lambda torch, x: 2.5 - x, skip=["bool"]),
    Op("rmul", call(F(2, 3)), run=lambda torch, x: 3 * x),
    Op("rtruediv", call(Nonzero(2, 3)), run=lambda torch, x: 3 / x),
    Op("rpow", call(F(2, 3)), run=lambda torch, x: 2.0**x),
    Op("rmod", call(Pos(2, 3)), run=lambda torch, x: 3.7 % x, skip=["bool", "int64"]),
    Op("rfloordiv", tied(Nonzero(2, 3)), run=lambda torch, x: 3 // x, skip=["bool", "int64"]),
    Op("operators", call(F(2, 3), Pos(3)),
       run=lambda torch, x, y: (-x + y) * (x - y) / y + y**2 + abs(x + 5), skip=["bool"]),
    Op("float_probability", call(Prob(2)), run=lambda torch, x: x * (1 - x), skip=["bool"]),
]  # fmt: skip
