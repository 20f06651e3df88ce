"""Rows of attention."""

import math

from op_table import B, F, I, Op, V, call, tied

_no_ints = dict(skip=["int64", "bool"], tolerance=(1e-3, 1e-4))
_projections = (None, None, False, 0.0, F(4, 4), F(4))  # bias_k, bias_v, zeros, dropout, out


def _multi_head(torch, *args, **kwargs):
    y, weights = torch.nn.functional.multi_head_attention_forward(*args, **kwargs)
    return (y,) if weights is None else (y, weights)


ROWS = [
    Op("scaled_dot_product_attention, more of it",
       call(F(2, 4), F(3, 4), F(3, 5)), call(F(2, 1, 2, 3, 4), F(2, 1, 2, 5, 4), F(2, 1, 2, 5, 1)),
       call(F(1, 2, 2, 4), F(1, 2, 3, 4), F(1, 2, 3, 4), F(2, 3)),
       call(F(2, 2, 2, 4), F(2, 2, 3, 4), F(2, 2, 3, 4), F(2, 1, 1, 3)),
       call(F(2, 4, 4), F(2, 2, 4), F(2, 2, 4), is_causal=True),
       call(F(2, 2, 4), F(2, 4, 4), F(2, 4, 4), is_causal=True),
       call(F(1, 4, 2, 4), F(1, 2, 3, 4), F(1, 2, 3, 4), enable_gqa=True),
       call(F(4, 2, 4), F(2, 3, 4), F(1, 3, 4), enable_gqa=True),
       call(F(3, 1, 2, 4), F(2, 3, 4), F(1, 3, 2)), call(F(1, 2, 4), F(1, 3, 4), F(2, 3, 5)),
       call(F(2, 0, 4), F(2, 3, 4), F(2, 3, 4)), call(F(2, 3, 4), F(2, 0, 4), F(2, 0, 4)),
       call(F(0, 3, 4), F(0, 3, 4), F(0, 3, 4)), call(F(2, 3, 0), F(2, 3, 0), F(2, 3, 4)),
       call(F(2, 3, 4), F(2, 3, 4), F(2, 3, 4), V([[1, 0, 1], [0, 0, 0], [0, 1, 0]], "bool")),
       tied(F(2, 2, 4), F(2, 3, 4), F(2, 3, 4),
            V([[0.0, -math.inf, 1.0], [-math.inf] * 3], grad=False)),
       call(F(2, 3, 4), F(2, 3, 4), F(2, 3, 4), dropout_p=1.0),
       bad=[call(F(1, 3, 4), F(1, 3, 5), F(1, 3, 4)), call(F(1, 3, 4), F(1, 3, 4), F(1, 5, 4)),
            call(F(2, 3, 4), F(3, 3, 4), F(3, 3, 4)), call(F(4), F(3, 4), F(3, 4)),
            call(F(1, 3, 4), F(1, 3, 4), F(1, 3, 4), F(3, 4)),
            call(F(1, 3, 4), F(1, 3, 4), F(1, 3, 4), F(2, 3, 3)),
            call(F(1, 3, 4), F(1, 3, 4), F(1, 3, 4), I(3, 3)),
            call(F(1, 3, 4), F(1, 3, 4), F(1, 3, 4), B(3, 3), is_causal=True),
            call(F(1, 3, 4), I(1, 3, 4), F(1, 3, 4)), call(I(1, 3, 4), I(1, 3, 4), I(1, 3, 4)),
            call(F(1, 3, 4), F(1, 3, 4), F(1, 3, 4), dropout_p=1.5),
            call(F(1, 3, 4), F(2, 3, 4), F(2, 3, 4), enable_gqa=True),
            call(F(3, 4), F(3, 4), F(3, 4), enable_gqa=True), call(F(3, 4), F(3, 4), "value")],
       run=lambda torch, *args, **kwargs:
           torch.nn.functional.scaled_dot_product_attention(*args, **kwargs),
       **_no_ints),
    Op("nn.functional.multi_head_attention_forward",
       call(F(3, 2, 4), F(5, 2, 4), F(5, 2, 4), 4, 2, F(12, 4), F(12), *_projections),
       call(F(3, 4), F(5, 4), F(5, 4), 4, 2, F(12, 4), None, *_projections, need_weights=False),
       call(F(3, 2, 4), F(5, 2, 4), F(5, 2, 4), 4, 2, None, F(12), *_projections,
            use_separate_proj_weight=True, q_proj_weight=F(4, 4), k_proj_weight=F(4, 4),
            v_proj_weight=F(4, 4), static_k=F(4, 3, 2), static_v=F(4, 3, 2)),
       bad=[call(F(3, 2, 4), F(5, 2, 4), F(5, 2, 4), 4, 3, F(12, 4), F(12), *_projections),
            call(F(3, 2, 4), F(5, 2, 4), F(6, 2, 4), 4, 2, F(12, 4), F(12), *_projections),
            call(F(3, 2, 4), F(5, 2, 4), F(5, 2, 4), 6, 2, F(12, 4), F(12), *_projections),
            call(F(3, 2, 4), F(5, 2, 4), F(5, 2, 4), 4, 2, F(12, 4), F(12), *_projections,
                 static_k=F(4, 3, 1))],
       run=_multi_head, **_no_ints),
]  # fmt: skip
