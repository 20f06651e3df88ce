"""Rows of the losses of nn.functional."""

from op_table import B, Distinct, F, I, Ix, Op, Pos, Prob, V, call, tied

_no_ints = dict(skip=["int64", "bool"])
_reductions = [dict(reduction=r) for r in ("mean", "sum", "none")]


def _const(*shape: int):
    return F(*shape, grad=False)


def _pairwise(name: str, a=F, b=F, *more: object, **options: object) -> Op:
    """Losses of two tensors of the same shape."""
    calls = [call(a(2, 3), b(2, 3), **kw) for kw in _reductions] + [
        call(a(), b()),
        call(a(0), b(0)),
    ]
    bad = [call(a(2), b(3)), call(a(2), b(2), reduction="median")]
    return Op(f"nn.functional.{name}", *calls, *more, bad=bad, **_no_ints, **options)


def _embedding_slope(torch, w, i, g):
    w = w if w.requires_grad else w.detach().requires_grad_()
    y = torch.nn.functional.embedding(i, w)
    return torch.autograd.grad(y, w, g, create_graph=True)[0]


_targets = V([[1, 0, 2], [-100, 2, 1]], "int")
_probabilities = V([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]], grad=False)

ROWS = [
    Op("nn.functional.cross_entropy",
       *[call(F(4, 3), Ix(3, 4), **kw) for kw in _reductions],
       *[call(F(2, 4, 3), _targets, **kw) for kw in _reductions],
       *[call(F(2, 3), _probabilities, **kw) for kw in _reductions],
       call(F(3), Ix(3)), call(F(4, 3), Ix(3, 4), Pos(3, grad=False)),
       call(F(4, 3), Ix(3, 4), label_smoothing=0.1),
       call(F(4, 3), Ix(3, 4), Pos(3, grad=False), label_smoothing=0.1),
       call(F(4, 3), Ix(3, 4), Pos(3, grad=False), label_smoothing=0.1, reduction="sum"),
       call(F(2, 4, 3), Ix(4, 2, 3), Pos(4, grad=False), label_smoothing=0.2, ignore_index=2),
       call(F(2, 3), _probabilities, Pos(3, grad=False), label_smoothing=0.1),
       call(F(2, 3), Prob(2, 3)),
       call(F(4, 3), Ix(3, 4), ignore_index=1), tied(F(2, 3), V([1, 1], "int"), ignore_index=1),
       tied(F(0, 3), Ix(3, 0)), call(F(4, 3, low=-200, high=200), Ix(3, 4)),
       call(F(2, 3, 2, 2), Ix(3, 2, 2, 2)),
       bad=[call(F(4, 3), Ix(3, 5)), call(F(4, 3), V([0, 1, 2, 3], "int")),
       call(F(2, 3), _const(2, 2)),
            call(F(4, 3), Ix(3, 4), F(2)), call(F(4, 3), Ix(3, 4), reduction="most"),
            call(F(4, 3), Ix(3, 4), label_smoothing=1.5)],
       **_no_ints),
    Op("nn.functional.nll_loss",
       *[call(F(4, 3), Ix(3, 4), **kw) for kw in _reductions], call(F(3), Ix(3)),
       call(F(2, 4, 3), _targets), call(F(4, 3), Ix(3, 4), Pos(3, grad=False)),
       call(F(4, 3), Ix(3, 4), ignore_index=1),
       bad=[call(F(4, 3), Ix(3, 5)), call(F(4, 3), V([0, 1, 2, 3], "int"))], **_no_ints),
    Op("nn.functional.mse_loss", *[call(F(2, 3), F(2, 3), **kw) for kw in _reductions],
       call(F(), F()),
       tied(F(0), F(0)), bad=[call(F(2), F(3)), call(F(2), F(2), reduction="median")], **_no_ints),
    Op("nn.functional.l1_loss", *[call(Distinct(2, 3), F(2, 3), **kw) for kw in _reductions],
       tied(V([1.0, 2.0]), V([1.0, 3.0])), bad=[call(F(2), F(3))], **_no_ints),
    _pairwise("smooth_l1_loss", F, F, call(F(5, high=6), F(5), beta=0.5),
              call(Distinct(3), F(3), beta=0.0)),
    _pairwise("huber_loss", F, F, call(F(5, high=6), F(5), delta=0.5)),
    _pairwise("binary_cross_entropy", Prob, lambda *s: Prob(*s, grad=False),
              call(Prob(2, 3), Prob(2, 3, grad=False), Pos(3, grad=False)),
              tied(V([0.0, 1.0, 0.5]), V([0.0, 1.0, 1.0], grad=False))),
    _pairwise("binary_cross_entropy_with_logits", F, Prob,
              call(F(2, 3), Prob(2, 3), Pos(3, grad=False)),
              call(F(2, 3), Prob(2, 3), pos_weight=Pos(3, grad=False)),
              call(F(4, low=-300, high=300), Prob(4))),
    _pairwise("kl_div", F, Pos, call(F(2, 3), Pos(2, 3), reduction="batchmean"),
              call(F(2, 3), F(2, 3), log_target=True),
              tied(F(2), V([0.0, 1.0], grad=False), reduction="sum")),
    _pairwise("soft_margin_loss", F, lambda *s: V([[1.0, -1.0, 1.0]] * 2, grad=False)
              if s == (2, 3) else F(*s, grad=False)),
    Op("nn.functional.hinge_embedding_loss",
       call(Distinct(4), V([1.0, -1.0, 1.0, -1.0], grad=False)), **_no_ints),
    Op("nn.functional.margin_ranking_loss",
       call(F(3), F(3), V([1.0, -1.0, 1.0], grad=False), margin=0.3), **_no_ints),
    Op("nn.functional.cosine_embedding_loss",
       call(F(3, 2), F(3, 2), V([1.0, -1.0, 1.0], grad=False)), **_no_ints),
    Op("nn.functional.triplet_margin_loss", call(F(3, 2), F(3, 2), F(3, 2)), **_no_ints),
    Op("nn.functional.poisson_nll_loss", call(F(3), Pos(3, grad=False)),
       call(Pos(3), Pos(3, grad=False), log_input=False, full=True), **_no_ints),
    Op("nn.functional.gaussian_nll_loss", call(F(3), F(3), Pos(3)),
       call(F(3), F(3), Pos(3), full=True),
       **_no_ints),
    Op("nn.functional.multi_margin_loss", call(F(3, 4), Ix(4, 3)), call(F(3, 4), Ix(4, 3), 2, 0.5),
       second=False, bad=[call(F(2, 3), V([0, 3], "int"))], **_no_ints),
    Op("nn.functional.multilabel_soft_margin_loss", call(F(3, 4), Prob(3, 4, grad=False)),
       call(F(3, 4), Prob(3, 4, grad=False), Pos(4, grad=False), reduction="none"),
       bad=[call(F(3, 4), _const(3, 2))], **_no_ints),
    Op("nn.functional.one_hot", call(Ix(3, 4)), call(Ix(3, 2, 2), 5), call(I(2, low=0), 6),
       bad=[call(F(2)), call(V([-1], "int")), call(V([3], "int"), 2)]),
    Op("nn.functional.embedding", call(Ix(5, 4), F(5, 3)), call(Ix(5, 2, 2), F(5, 3)),
       call(Ix(5), F(5, 3)),
       call(V([1, 2, 1, 1], "int"), F(5, 3)), tied(V([1, 2, 1], "int"), F(5, 3), 1),
       tied(V([1, 2, 1], "int"), F(5, 3), scale_grad_by_freq=True), call(Ix(5, 0), F(5, 3)),
       bad=[call(V([5], "int"), F(5, 3)),
       call(F(2, grad=False), F(5, 3))], second=False, **_no_ints),
    Op("gradient of embedding", call(F(5, 3), V([1, 2, 1], "int"), F(3, 3)), run=_embedding_slope,
       second=False, **_no_ints),
    Op("nn.functional.dropout", call(F(2, 3), 0.0), call(F(2, 3), 0.5, False), call(F(2, 3), 1.0),
       bad=[call(F(2), 1.5)], **_no_ints),
    Op("mask of a loss", call(F(4), B(4)), run=lambda torch, x, m: (x * x)[m].sum(), **_no_ints),
]  # fmt: skip
