"""Rows of tinygrad_edu/ops/comparison.py: results are bools, nothing has a gradient."""

import math

from op_table import B, F, I, Op, Ties, V, binary, call, unary

_special = V([1.0, math.nan, math.inf, -math.inf, 0.0])


def _compare(name: str, *covers: str) -> Op:
    return binary(
        name, F, F, call(Ties(6), 0.0), call(Ties(6), 0), call(F(3), I(3)), call(B(3), True),
        call(_special, _special), covers=covers,
    )  # fmt: skip


ROWS = [
    _compare("eq"),
    _compare("ne", "not_equal"),
    _compare("lt", "less"),
    _compare("le", "less_equal"),
    _compare("gt", "greater"),
    _compare("ge", "greater_equal"),
    Op("equal", call(F(2, 3), F(2, 3)), call(Ties(3), Ties(3)), call(F(2), F(3)),
       call(F(0, 2), F(0, 2))),
    Op("allclose", call(Ties(3), Ties(3)), call(F(3), F(3)), call(_special, _special),
       call(_special, _special, equal_nan=True), call(F(3), F(3), rtol=9, atol=9),
       skip=["bool"]),
    Op("isclose", call(Ties(3), Ties(3)), call(F(2, 3), F(3), rtol=0.5, atol=0.5),
       call(_special, _special), call(_special, _special, equal_nan=True),
       bad=[call(F(2), F(2), rtol=-1.0)], skip=["bool"]),
    unary("isnan", F, call(_special)),
    unary("isinf", F, call(_special)),
    unary("isfinite", F, call(_special)),
    unary("isposinf", F, call(_special)),
    unary("isneginf", F, call(_special)),
    unary("isreal", F),
    binary("logical_and", F, F, call(B(3), B(3)), call(I(3), B(3))),
    binary("logical_or", F, F, call(B(3), B(3))),
    binary("logical_xor", F, F, call(B(3), B(3))),
    unary("logical_not", F, call(B(3)), call(I(3))),
    unary("signbit", F, call(_special)),
    Op("isin", call(I(2, 3), I(2)), call(F(3), F(3)), call(I(3), 2), call(I(3), I(3), invert=True),
       skip=["bool"]),
    Op("operators", call(Ties(4), F(4)), call(I(3), I(3)),
       run=lambda torch, x, y: [x == y, x != y, x < y, x <= y, x > y, x >= y, 1 < x, 0 == y]),
    Op("bit_operators", call(B(4), B(4)), call(I(3), I(3)),
       run=lambda torch, x, y: [x & y, x | y, x ^ y, ~x, x & 1, 1 | x]),
]  # fmt: skip
