"""Rows of tinygrad_edu/ops/shape.py."""

from op_table import F, I, Op, call

_x = F(2, 3, 4)


def _transposed_write(torch, x, values):
    """A view that was turned in place still writes into its base."""
    base = x * 1
    base[:1].t_().squeeze_().mul_(values)
    return base


ROWS = [
    Op("reshape", call(_x, (6, 4)), call(_x, (-1,)), call(_x, (2, -1)), call(F(), (1, 1)),
       call(F(1), ()), call(F(0, 3), (3, 0)), call(F(2, 2), shape=(4,)),
       bad=[call(_x, (5, 5)), call(_x, (-1, -1)), call(F(0, 3), (-1, 0)), call(_x, (-2, 3))]),
    Op("Tensor.view", call(_x, 6, 4), call(_x, -1), call(_x, (2, 12)), call(F(), 1),
       bad=[call(_x, 5, 5)]),
    Op("view as another dtype", call(F(2, 4)),
       run=lambda torch, x: x.contiguous().view(torch.int32),
       skip=["bool"], covers=["view_bytes"]),
    Op("view of a transpose", bad=[call(F(2, 3))], run=lambda torch, x: x.t().view(6)),
    Op("Tensor.view_as", call(_x, F(6, 4))),
    Op("Tensor.reshape_as", call(_x, F(6, 4))),
    Op("flatten", call(_x), call(_x, 1), call(_x, 0, 1), call(F()), call(F(3)), call(_x, -2, -1),
       bad=[call(_x, 2, 1), call(_x, 0, 5)]),
    Op("ravel", call(_x), call(F())),
    Op("unflatten", call(F(6, 2), 0, (2, 3)), call(F(2, 6), 1, (-1, 3)),
       bad=[call(F(6), 0, (4, 2)), call(F(6), 1, (2, 3))]),
    Op("permute", call(_x, (2, 0, 1)), call(_x, (-1, 0, 1)), call(F(), ()),
       bad=[call(_x, (0, 1)), call(_x, (0, 0, 1)), call(_x, (0, 1, 5))]),
    Op("Tensor.permute", call(_x, 2, 0, 1), call(_x, (1, 0, 2))),
    Op("transpose", call(_x, 0, 2), call(_x, -1, 0), call(_x, 1, 1), call(F(), 0, -1),
       bad=[call(_x, 0, 3)], covers=["swapaxes", "swapdims"]),
    Op("t", call(F(2, 3)), call(F(3)), call(F()), bad=[call(_x)]),
    Op("T", call(F(2, 3)), run=lambda torch, x: x.T),
    Op("mT", call(_x), run=lambda torch, x: x.mT),
    Op("adjoint", call(_x)),
    Op("movedim", call(_x, 0, 2), call(_x, (0, 1), (2, 0)), call(_x, -1, 0),
       bad=[call(_x, 0, 3), call(_x, (0, 1), (1,))], covers=["moveaxis"]),
    Op("squeeze", call(F(1, 3, 1)), call(F(1, 3, 1), 0), call(F(1, 3, 1), 1), call(F(1, 3, 1), -1),
       call(F(1, 3, 1), (0, 2)), call(F()), bad=[call(F(1, 3), 2)]),
    Op("unsqueeze", call(F(3), 0), call(F(3), 1), call(F(3), -1), call(F(), 0),
       bad=[call(F(3), 2), call(F(3))]),
    Op("Tensor.expand", call(F(3, 1), 3, 4), call(F(3), 2, 3), call(F(3, 1), -1, 2), call(F(), 2),
       call(F(1, 3), (2, 3)), call(F(1), 0), bad=[call(F(3), 2), call(F(2, 3), 3)]),
    Op("Tensor.expand_as", call(F(3, 1), F(3, 4))),
    Op("broadcast_to", call(F(3, 1), (2, 3, 4)), call(F(), (2,)), bad=[call(F(3), (2,))]),
    Op("broadcast_tensors", call(F(3, 1), F(2)), call(F(), F(2, 2)), bad=[call(F(2), F(3))]),
    Op("broadcast_shapes", call(), run=lambda torch: list(torch.broadcast_shapes((3, 1), (2,)))),
    Op("Tensor.repeat", call(F(2, 3), 2, 1), call(F(3), 2, 2), call(F(3), (2,)), call(F(), 3),
       call(F(2), 0), bad=[call(F(2, 3), 2)]),
    Op("tile", call(F(2, 3), (2,)), call(F(2, 3), (2, 1, 2)), call(F(), (2,))),
    Op("repeat_interleave", call(F(2, 3), 2), call(F(2, 3), 2, dim=1), call(F(3), 0),
       call(F(3, 2), I(3, low=0, high=3), dim=0)),
    Op("flip", call(_x, (0,)), call(_x, (0, 2)), call(_x, [-1]), call(F(0, 2), (0,)),
       bad=[call(_x), call(_x, (3,)), call(_x, (0, 0))]),
    Op("fliplr", call(F(2, 3)), bad=[call(F(3))]),
    Op("flipud", call(F(2, 3)), bad=[call(F())]),
    Op("roll", call(_x, 1), call(_x, -2, 2), call(_x, (1, 2), (0, 1)), call(F(0, 2), 1, 0),
       call(F(3), 7, 0), bad=[call(_x, (1, 2), 0), call(_x, 1, 3)]),
    Op("rot90", call(F(2, 3)), call(F(2, 3), 2), call(_x, -1, (1, 2)), call(_x, 3, [0, 2])),
    Op("clone", call(_x), call(F())),
    Op("Tensor.contiguous", call(_x), call(F())),
    Op("contiguous of a transpose", call(F(2, 3)), run=lambda torch, x: x.t().contiguous()),
    Op("atleast_1d", call(F()), call(F(2))),
    Op("atleast_2d", call(F()), call(F(2)), call(F(2, 2))),
    Op("atleast_3d", call(F()), call(F(2)), call(F(2, 2))),
    Op("fill", call(F(2, 3), 1.5), call(F(2), F())),
    *[Op(f"Tensor.{name}", call(F(1, 3), *rest), run=lambda torch, x, *rest, name=name:
         getattr(x * 1, name)(*rest) * 2)
      for name, rest in (("squeeze_", [0]), ("unsqueeze_", [1]), ("transpose_", [0, 1]),
                         ("t_", []))],
    Op("written through a transposed tensor", call(F(2, 3), F(3)), run=_transposed_write),
    Op("Tensor.unfold", call(F(7), 0, 3, 2), call(F(2, 5), 1, 2, 1), bad=[call(F(3), 0, 4, 1)]),
    Op("narrow_chain", call(_x), run=lambda torch, x: x.transpose(0, 1)[1:].permute(2, 1, 0)),
]  # fmt: skip
