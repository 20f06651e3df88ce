"""Rows of tinygrad_edu/ops/series.py."""

from op_table import F, Op, Pos, Prob, V, call, unary

_floats = {"skip": ["int64", "bool"]}

ROWS = [
    unary("i0", F, call(V([-30.0, 0.0, 19.9, 20.1])), covers=["i0_"], **_floats),
    Op("special.i0e", call(F(2, 3)), call(V([-30.0, 0.3, 50.0])), **_floats),
    Op("special.i1", call(F(2, 3)), call(V([-19.9, 0.3, 20.1])), **_floats),
    Op("special.i1e", call(F(2, 3)), call(V([-30.0, 0.3, 50.0])), **_floats),
    Op("special.ndtr", call(F(2, 3)), **_floats),
    Op("special.ndtri", call(Prob(2, 3)), call(V([0.001, 0.021, 0.999])), **_floats),
    Op("special.ndtri, far out", call(V([0.0, 1e-300, 1e-9, 1.0, 2.0], grad=False)), **_floats,
       run=lambda torch, x: torch.special.ndtri(x.double())),
    Op("special.log_ndtr", call(F(2, 3)), call(V([-40.0, -1.0, 9.0])), **_floats),
    Op("special.erfcx", call(F(2, 3)), call(V([-3.0, 24.9, 25.1])), **_floats),
    Op("special.entr", call(Pos(2, 3)), call(V([-1.0, 0.0], grad=False)), **_floats),
    Op("special.multigammaln", call(Pos(3, low=2.5, high=6.0), 4), call(Pos(low=1.0), 1),
       bad=[call(Pos(3), 0)], covers=["mvlgamma"], **_floats),
    Op("special.zeta", call(Pos(3, low=1.5, grad=False), Pos(3)), **_floats),
    Op("igamma", call(Pos(4, grad=False), Pos(4, high=9.0)), bad=[call(Pos(2), 1.0)],
       covers=["special.gammainc", "gammainc"], **_floats),
    Op("igammac", call(Pos(4, grad=False), Pos(4, high=9.0)), covers=["gammaincc"], **_floats),
]  # fmt: skip
