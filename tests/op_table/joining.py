"""Rows of tinygrad_edu/ops/joining.py."""

from op_table import F, I, Op, call

ROWS = [
    Op("cat", call([F(2, 3), F(2, 3)]), call([F(2, 1), F(2, 3)], 1), call([F(2, 3), F(0, 3)]),
       call([F(2), I(3)]), call([F(0), F(2, 3)]), call((F(2, 3), F(1, 3)), dim=-2), call([F(3)]),
       call([F(2), F(2, grad=False), F(1)]),
       bad=[call([F(2, 3), F(2, 2)]), call([]), call([F(2), F(2)], 1), call([F(), F()])],
       covers=["concat", "concatenate"]),
    Op("stack", call([F(2, 3), F(2, 3)]), call([F(2), F(2), F(2)], -1), call([F(), F()]),
       call([F(2), I(2)], dim=1), bad=[call([F(2), F(3)]), call([]), call([F(2)], 3)]),
    Op("hstack", call([F(2), F(3)]), call([F(2, 1), F(2, 3)]), call([F(), F()])),
    Op("vstack", call([F(3), F(3)]), call([F(1, 3), F(2, 3)]), covers=["row_stack"]),
    Op("dstack", call([F(3), F(3)]), call([F(2, 3), F(2, 3)])),
    Op("column_stack", call([F(3), F(3)]), call([F(3, 2), F(3)])),
    Op("split", call(F(5, 2), 2), call(F(5, 2), [1, 4]), call(F(2, 4), 2, 1), call(F(4), 4),
       call(F(0, 2), 1), bad=[call(F(5), [1, 2]), call(F(5), -1), call(F(5), 2, 1)]),
    Op("chunk", call(F(5, 2), 2), call(F(5, 2), 4), call(F(2, 4), 2, dim=1), call(F(2), 5),
       bad=[call(F(5), 0)]),
    Op("tensor_split", call(F(7), 3), call(F(7, 2), (1, 4)), call(F(2, 4), 2, dim=1)),
    Op("unbind", call(F(3, 2)), call(F(3, 2), 1), call(F(3, 2), -1), bad=[call(F(3), 1),
       call(F())]),
    Op("meshgrid", call(F(2), F(3)), call(F(2), F(), F(0)),
       bad=[call(), call(F(2, 2), F(2)), call(F(2), I(2))],
       run=lambda torch, *xs: torch.meshgrid(*xs, indexing="ij")),
    Op("meshgrid xy", call(F(2), F(3)), run=lambda torch, *xs: torch.meshgrid(*xs, indexing="xy")),
    Op("block_diag", call(F(2, 2), F(1, 3))),
    Op("cartesian_prod", call(F(2), F(3)), call(F(3))),
    Op("combinations", call(F(4)), call(F(3), 3)),
    Op("iterate", call(F(3, 2)), run=lambda torch, x: [row * i for i, row in enumerate(x)]),
]  # fmt: skip
