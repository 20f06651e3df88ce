"""Rows of tinygrad_edu/ops/more/strided.py, real.py, and of what was added beside them."""

from op_table import F, I, Ix, Op, V, call, unary

_floats = {"skip": ["int64", "bool"]}


def _resized(name, *sizes):
    return lambda torch, x: getattr(x.clone(), name)(*sizes)


ROWS = [
    Op("as_strided", call(F(6), (2, 3), (3, 1)), call(F(6), (3, 3), (1, 1)),
       call(F(6), (2,), (2,), 1), run=lambda torch, x, *a: torch.as_strided(x.contiguous(), *a),
       bad=[call(F(6), (3, 3), (3, 1)), call(F(6), (2, 2), (1,))], covers=["as_strided_"]),
    Op("Tensor.sum_to_size", call(F(2, 3), 1, 3), call(F(2, 3), ()), call(F(2, 3), (3,)),
       call(F(2, 3), 2, 3), bad=[call(F(2, 3), 2)], skip=["bool"]),
    Op("Tensor.resize_", call(F(2, 3, grad=False)), run=_resized("resize_", 2, 2)),
    Op("resize_as_", call(F(2, 3, grad=False)),
       run=lambda torch, x: torch.resize_as_(x.clone(), torch.ones(3, 2))),
    Op("empty_strided", run=lambda torch: [*torch.empty_strided((2, 3), (1, 2)).stride()],
       covers=["new_empty_strided"]),
    Op("real", call(F(2, 3)), covers=["conj", "conj_physical", "resolve_conj", "resolve_neg"]),
    unary("angle", F, skip=["bool"]),
    Op("nextafter", call(F(2, 3), F(3)), bad=[call(F(2), 1.0)], **_floats),
    Op("frexp", call(F(2, 3)), **_floats),
    Op("hsplit", call(F(2, 6), 3), call(F(6), 2), call(F(2, 6), [1, 4]),
       bad=[call(F(), 1), call(F(2, 6), 4)]),
    Op("vsplit", call(F(4, 2), 2), call(F(4, 2), [1]), bad=[call(F(4), 2)]),
    Op("dsplit", call(F(1, 2, 4), 2), bad=[call(F(2, 4), 2)]),
    Op("split_with_sizes", call(F(5, 2), [1, 4]), call(F(2, 5), [2, 3], 1),
       bad=[call(F(5), [1, 1])]),
    Op("unsafe_split", call(F(5, 2), 2), covers=["unsafe_chunk"]),
    Op("index_reduce", *[call(F(4, 3), 1, Ix(3, 5), F(4, 5), how, include_self=own)
                         for how in ("mean", "amax", "amin", "prod") for own in (True, False)],
       bad=[call(F(4, 3), 1, Ix(3, 5), F(4, 5), "sum")], **_floats),
    Op("put", call(F(2, 3), V([0, -1], "int"), F(2)), call(F(2, 3), V([1, 1], "int"), F(2), True),
       bad=[call(F(2, 3), V([6], "int"), F(1)), call(F(2, 3), V([1], "int"), F(2))],
       skip=["bool", "int64"]),
    Op("renorm", call(F(3, 4), 2, 0, 1.0), call(F(2, 3, 2), 1, -1, 2.0),
       bad=[call(F(3), 2, 0, 1.0)], **_floats),
    Op("gradient", call(F(5)), call(F(4, 5), spacing=2.0), call(F(4, 5), dim=1, edge_order=2),
       call(F(4, 3), spacing=[V([0.0, 1.0, 3.0, 4.0]), V([0.0, 2.0, 3.0])], edge_order=2),
       bad=[call(F(1)), call(F(4), edge_order=3)], **_floats),
    Op("histogram", call(F(7, grad=False), 3), call(F(7, grad=False), 4, range=(-1.0, 1.0)),
       call(F(7, grad=False), 3, weight=F(7, grad=False), density=True),
       call(F(7, grad=False), V([-2.0, 0.0, 0.5, 2.0], grad=False)),
       bad=[call(F(3), 0)], **_floats),
    Op("unravel_index", call(I(4, low=0, high=6), (2, 3)), call(I(low=0, high=6), (2, 3)),
       bad=[call(F(2), (2, 3))]),
]  # fmt: skip
