"""Rows of tinygrad_edu/ops/more/sorting.py."""

from op_table import Distinct, F, I, Ix, Op, Ties, V, call, tied

ROWS = [
    Op("sort", call(Distinct(2, 4)), call(Distinct(2, 4), 0), call(Distinct(4), descending=True),
       tied(Ties(8), stable=True), tied(Ties(8), descending=True, stable=True), call(Distinct()),
       call(F(0, 2)), call(I(4), stable=True), bad=[call(F(2), 3)], skip=["bool", "int64"]),
    Op("argsort", call(Distinct(2, 4)), call(Distinct(2, 4), 0), call(Distinct(4), descending=True),
       call(Ties(8), stable=True), skip=["bool", "int64"]),
    Op("msort", call(Distinct(4, 2)), skip=["bool", "int64"]),
    Op("topk", call(Distinct(2, 5), 2), call(Distinct(5, 2), 3, 0),
       call(Distinct(5), 2, largest=False), call(Distinct(5), 0), call(Distinct(5), 5),
       bad=[call(F(3), 4), call(F(3), -1), call(F(3), 2, 4)], skip=["bool", "int64"]),
    Op("kthvalue", call(Distinct(2, 5), 2), call(Distinct(5, 2), 3, 0),
       call(Distinct(5), 1, 0, True), bad=[call(F(3), 4), call(F(3), 0)], skip=["bool", "int64"]),
    Op("unique", call(V([1.0, 0.5, 1.0, -2.0], grad=False)), call(I(2, 4)),
       call(I(8), return_counts=True), call(I(8), return_inverse=True, return_counts=True),
       call(I(2, 6), dim=1)),
    Op("unique_consecutive", call(I(8, low=0, high=2)),
       call(I(8, low=0, high=2), return_counts=True)),
    Op("searchsorted", call(F(5, low=0, high=0.1, grad=False), F(2, grad=False)),
       run=lambda torch, s, v: torch.searchsorted(torch.sort(s)[0], v), skip=["bool"]),
    Op("bucketize", call(F(4, grad=False), I(3)),
       run=lambda torch, x, b: torch.bucketize(x, torch.arange(3.0).to(x)), skip=["bool"]),
    Op("mode", call(I(6)), call(Ix(2, 2, 5))),
]  # fmt: skip
