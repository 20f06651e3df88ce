"""Rows of layer_norm, rms_norm, batch_norm, group_norm and scaled_dot_product_attention."""

import math

from op_table import B, F, Op, Pos, V, call, tied

_no_ints = dict(skip=["int64", "bool"], tolerance=(1e-3, 1e-4))

ROWS = [
    Op("nn.functional.layer_norm",
       call(F(2, 4), (4,), F(4), F(4)), call(F(2, 4), (4,)), call(F(2, 4), (4,), F(4)),
       call(F(2, 3, 4), (3, 4), F(3, 4), F(3, 4)), call(F(4), (4,), F(4), F(4)),
       call(F(2, 4), (4,), None, F(4)), call(F(2, 4), (4,), F(4), F(4), 0.1),
       call(F(2, 4, low=10, high=11), (4,)), call(F(0, 4), (4,), F(4), F(4)),
       tied(V([[1.0, 1.0]]), (2,)),
       bad=[call(F(2, 4), (3,)), call(F(2, 4), (4,), F(3))], **_no_ints),
    Op("nn.functional.rms_norm",
       call(F(2, 4), (4,), F(4)), call(F(2, 4), (4,)), call(F(2, 3, 4), (3, 4), F(3, 4), 0.1),
       call(F(4), (4,), F(4)), call(F(0, 4), (4,), F(4)),
       bad=[call(F(2, 4), (3,))], **_no_ints),
    Op("nn.functional.batch_norm",
       call(F(4, 3), None, None, F(3), F(3), True), call(F(4, 3, 2), None, None, F(3), F(3), True),
       call(F(4, 3), F(3, grad=False), Pos(3, grad=False), F(3), F(3)),
       call(F(4, 3), F(3, grad=False), Pos(3, grad=False), F(3), F(3), True),
       call(F(4, 3), None, None, None, None, True),
       call(F(2, 3, 2, 2), F(3, grad=False), Pos(3, grad=False), None, None, True, 0.3),
       bad=[call(F(1, 3), None, None, F(3), F(3), True), call(F(4, 3), None, None)], **_no_ints),
    Op("nn.functional.group_norm", call(F(2, 4), 2, F(4), F(4)), call(F(2, 4, 3), 2),
       bad=[call(F(2, 4), 3)], **_no_ints),
    Op("nn.functional.instance_norm", call(F(2, 3, 4)), **_no_ints),
    Op("nn.functional.scaled_dot_product_attention",
       call(F(2, 3, 4), F(2, 3, 4), F(2, 3, 4)), call(F(2, 1, 3, 4), F(2, 1, 5, 4), F(2, 1, 5, 2)),
       call(F(2, 3, 4), F(2, 3, 4), F(2, 3, 4), is_causal=True),
       call(F(1, 3, 4), F(1, 3, 4), F(1, 3, 4), attn_mask=V([[True, False, True]] * 3, "bool")),
       call(F(1, 3, 4), F(1, 3, 4), F(1, 3, 4), attn_mask=F(3, 3)),
       call(F(1, 3, 4), F(1, 3, 4), F(1, 3, 4), scale=0.3),
       tied(F(1, 2, 4), F(1, 2, 4), F(1, 2, 4),
            attn_mask=V([[0.0, -math.inf], [0.0, 0.0]], grad=False)),
       bad=[call(F(1, 3, 4), F(1, 3, 5), F(1, 3, 4))], **_no_ints),
    Op("mask", call(F(3), B(3)),
       run=lambda torch, x, m: x.masked_fill(m, -math.inf).softmax(0), **_no_ints),
]  # fmt: skip
