"""Rows of tinygrad_edu/ops/indexing.py and gathering.py."""

from op_table import B, F, I, Ix, Op, Ties, V, call

_x = F(3, 4)


def _get(label: str, index: object, *bad: object) -> Op:
    return Op(f"x[{label}]", call(F(3, 4, 2)), run=lambda torch, x: x[index])


def _get_by(label: str, *calls: object) -> Op:
    return Op(f"x[{label}]", *calls, run=lambda torch, x, *i: x[i if len(i) > 1 else i[0]])


def _set(label: str, value: object, index: object) -> Op:
    def run(torch, x, v):
        y = x * 1
        y[index] = v
        return y

    return Op(f"x[{label}] = v", call(F(3, 4), value), run=run, covers=["setitem"], skip=["bool"])


def _set_by(label: str, *calls: object) -> Op:
    def run(torch, x, i, v):
        y = x * 1
        y[i] = v
        return y

    return Op(f"x[{label}] = v", *calls, run=run, skip=["bool"])


_zeros = [[0.0, 1.0], [2.0, 0.0], [-1.5, 0.0]]  # one among the factors, none, two
ROWS = [
    # reading
    _get("1", 1), _get("-1", -1), _get("1:", slice(1, None)), _get("::2", slice(None, None, 2)),
    _get("0:0", slice(0, 0)), _get("..., 1", (..., 1)), _get("None", None),
    _get("1, :, None, -1", (1, slice(None), None, -1)), _get("...", ...), _get("()", ()),
    _get("list", [0, 2, 0]), _get("list, list", ([0, 2, 0], [1, 1, 3])),
    _get("slice, list", (slice(1, None), [0, 3])),
    _get("list, slice, list", ([0, 2], slice(None), [0, 1])),
    _get("True", True), _get("1, list", (1, [0, 0, 2])),
    Op("x[bad]", bad=[call(F(3))], run=lambda torch, x: x[5], covers=["getitem"]),
    Op("x[bad, bad]", bad=[call(F(3))], run=lambda torch, x: x[0, 0]),
    Op("x[float]", bad=[call(F(3))], run=lambda torch, x: x[1.5]),
    Op("x[0-step]", bad=[call(F(3))], run=lambda torch, x: x[::-1]),
    _get_by("indices", call(_x, Ix(3, 5)), call(_x, Ix(3, 2, 2)), call(_x, Ix(3)),
            call(_x, Ix(3, 0)),
            call(_x, Ix(3, 4), Ix(4, 4)), call(_x, Ix(3, 4, 1), Ix(4, 3))),
    _get_by("mask", call(_x, B(3, 4)), call(_x, B(3)), call(_x, V([False] * 3, "bool"))),
    Op("x[bad mask]", bad=[call(_x, B(4)), call(_x, V([7], "int"))], run=lambda torch, x, m: x[m]),
    # writing
    _set("1", F(4), 1), _set("leading ones", F(1, 1, 4), 1),
         _set("a one-element list", F(1, 2, 4), [0, 2]),
    _set("one element", F(1), (0, 0)), _set("1 broadcast", F(), 1),
         _set("number", 2.5, (slice(None), 1)),
    _set("slice", F(2, 4), slice(1, None)), _set("..., ::2", F(3, 2), (..., slice(None, None, 2))),
    _set("list", F(2, 4), [0, 2]), _set("lists", F(2), ([0, 2], [1, 3])), _set("all", F(3, 4), ...),
    _set_by("indices", call(_x, V([2, 0], "int"), F(2, 4)), call(_x, V([1], "int"), 0.5)),
    _set_by("mask", call(_x, B(3, 4), 0.5), call(_x, B(3, 4), F()), call(_x, B(3), F(4))),
    Op("x[0] = bad", bad=[call(F(3, 4), F(3)), call(F(3, 4), F(2, 4))],
       run=lambda torch, x, v: x.__setitem__(0, v)),
    # by name
    Op("select", call(_x, 0, 1), call(_x, 1, -1), bad=[call(_x, 0, 3), call(_x, 2, 0)]),
    Op("narrow", call(_x, 1, 1, 2), call(_x, 0, -2, 1), call(_x, 0, 0, 0),
       bad=[call(_x, 0, 2, 2), call(_x, 3, 0, 1), call(_x, 0, 0, -1)]),
    Op("narrow_copy", call(_x, 1, 1, 2), call(_x, 0, -2, 1), call(_x, 0, 0, 0)),
    Op("index_put_", call(_x, V([2, 0], "int"), F(2, 4)), call(_x, V([2, 2], "int"), F(2, 4), True),
       run=lambda torch, x, i, v, a=False: torch.index_put_(x.clone(), (i,), v, accumulate=a)),
    Op("index_select", call(_x, 0, Ix(3, 5)), call(_x, 1, Ix(4, 2)), call(_x, -1, Ix(4)),
       bad=[call(_x, 0, V([3], "int")), call(_x, 0, F(2, grad=False)), call(_x, 2, Ix(3, 2))]),
    Op("gather", call(_x, 0, Ix(3, 2, 4)), call(_x, 1, Ix(4, 3, 2)), call(_x, -1, Ix(4, 1, 5)),
       call(F(4), 0, Ix(4, 6)), bad=[call(_x, 0, V([[3]], "int")), call(_x, 0, Ix(3, 2)),
                                     call(_x, 2, Ix(3, 1, 1)), call(_x, 0, F(1, 1, grad=False))]),
    Op("take_along_dim", call(_x, Ix(3, 2, 4), 0), call(_x, Ix(4, 3, 1), dim=1),
       call(_x, Ix(12, 5)), call(F(1, 4), Ix(4, 3, 2), 1), call(F(), V([0, 0], "int")),
       bad=[call(_x, Ix(3, 4), 0), call(_x, Ix(3, 2, 4, 1), 0), call(_x, V(0, "int"), 0),
            call(_x, Ix(3, 5, 4), 1), call(_x, F(3, 4, grad=False), 1), call(_x, B(3, 4), 1),
            call(F(), V(0, "int"), 0)]),
    Op("take", call(_x, Ix(12, 5)), call(_x, Ix(12, 2, 2)), bad=[call(_x, V([12], "int"))]),
    Op("scatter", call(_x, 0, V([[0, 1, 2, 0]], "int"), F(1, 4)),
       call(_x, 1, V([[3], [0]], "int"), 2.0),
       call(_x, 0, V([[2, 2]], "int"), F(3, 2)), bad=[call(_x, 0, V([[3]], "int"), F(1, 1))]),
    Op("scatter, multiplied", call(F(3, 4, grad=False), 0, Ix(3, 2, 4), F(2, 4, grad=False)),
       run=lambda torch, *args: torch.scatter(*args, reduce="multiply"), skip=["bool"],
       covers=["scatter_multiply"]),
    Op("scatter_add", call(_x, 0, Ix(3, 2, 4), F(2, 4)), call(_x, 1, Ix(4, 3, 5), F(3, 5)),
       call(_x, 0, Ix(3, 1, 2), F(2, 3)), bad=[call(_x, 0, V([[3]], "int"), F(1, 1))],
       skip=["bool"]),
    *[Op(f"scatter_reduce {how}", call(_x, 0, Ix(3, 2, 4), F(2, 4)),
         call(_x, 1, Ix(4, 3, 6), F(3, 6)), call(_x, 0, Ix(3, 1, 3), F(2, 4)),
         *([call(_x, 0, V([[0, 1], [0, 2], [0, 2]], "int"), V(_zeros))] if how == "prod" else []),
         run=lambda torch, x, d, i, s, how=how, own=own: torch.scatter_reduce(
             x, d, i, s, how, include_self=own), skip=["bool", "int64"], covers=["scatter_reduce"])
      for how in ("sum", "mean", "amax", "amin", "prod") for own in (True, False)],
    Op("index_add", call(_x, 0, Ix(3, 2), F(2, 4)), call(_x, 1, Ix(4, 5), F(3, 5)),
       call(_x, 0, Ix(3, 2), F(2, 4), alpha=0.5), bad=[call(_x, 0, Ix(3, 2), F(3, 4))],
       skip=["bool", "int64"]),
    Op("index_copy", call(_x, 0, V([2, 0], "int"), F(2, 4)), call(_x, 1, V([1], "int"), F(3, 1)),
       bad=[call(_x, 0, V([3], "int"), F(1, 4))]),
    Op("index_fill", call(_x, 0, V([2, 0], "int"), 0.5), call(_x, 1, V([1, 1], "int"), F()),
       bad=[call(_x, 0, V([3], "int"), 1.0)], skip=["int64", "bool"]),
    Op("index_put", call(_x, V([2, 0], "int"), F(2, 4)), call(_x, V([2, 2], "int"), F(2, 4), True),
       run=lambda torch, x, i, v, a=False: torch.index_put(x, (i,), v, accumulate=a),
       skip=["bool"]),
    Op("masked_fill", call(_x, B(3, 4), 0.5), call(_x, B(4), F()), call(_x, B(3, 1), -1),
       call(F(), B(), 2.0), bad=[call(_x, B(3), 0.5), call(_x, I(3, 4), 0.5),
       call(_x, B(3, 4), F(2))],
       skip=["bool"]),
    Op("masked_select", call(_x, B(3, 4)), call(_x, B(4)), call(F(3), B(2, 3)),
       bad=[call(_x, I(3, 4))]),
    Op("masked_scatter", call(_x, B(3, 4), F(12)), call(_x, B(4), F(12))),
    Op("where", call(B(3, 4), _x, _x), call(B(4), _x, F()), call(B(3, 1), _x, 0.5),
       call(B(3), 1.0, F(3)),
       call(B(3), F(3), I(3)), call(B(2, 3)), call(B(3), 1.0, 2.0), call(B(2), I(2), 1),
       bad=[call(B(2), F(3), F(3)), call(I(3), F(3), F(3))]),
    Op("nonzero", call(Ties(6)), call(B(2, 3)), call(F()), call(Ties(2, 3), as_tuple=True)),
    Op("argwhere", call(Ties(2, 3))),
    Op("tril", call(F(3, 3)), call(F(2, 4), 1), call(F(2, 3, 3), -1), bad=[call(F(3))]),
    Op("triu", call(F(3, 3)), call(F(2, 4), 1), call(F(2, 3, 3), -1), bad=[call(F(3))]),
    Op("tril_indices", call(), run=lambda torch: torch.tril_indices(3, 4, 1)),
    Op("triu_indices", call(), run=lambda torch: torch.triu_indices(3, 4, -1)),
    Op("diag", call(F(3)), call(F(3), 1), call(F(3, 4)), call(F(3, 4), -1), bad=[call(F(2, 2, 2))]),
    Op("diagonal", call(F(3, 3)), call(F(2, 3, 4), 1, 1, 2), call(F(3, 4), -1)),
    Op("diag_embed", call(F(3)), call(F(2, 3), 1), call(F(2, 3), 0, 0, 2)),
    Op("diagflat", call(F(3)), call(F(2, 2), 1)),
    Op("diagonal_scatter", call(F(3, 3), F(3))),
    Op("select_scatter", call(_x, F(4), 0, 1)),
    Op("slice_scatter", call(_x, F(1, 4), 0, 1, 2)),
    Op("Tensor.fill_", call(_x, 2.5), run=lambda torch, x, v: (x * 1).fill_(v)),
    Op("Tensor.fill_ by tensor", call(_x, F()), run=lambda torch, x, v: (x * 1).fill_(v)),
    Op("Tensor.zero_", call(_x), run=lambda torch, x: (x * 1).zero_()),
    Op("Tensor.copy_", call(_x, F(4)), call(_x, I(3, 4)), run=lambda torch, x, v: (x * 1).copy_(v)),
    Op("bad copy_", bad=[call(_x, F(3))], run=lambda torch, x, v: x.copy_(v)),
]  # fmt: skip
