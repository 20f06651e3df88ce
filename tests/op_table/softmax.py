"""Rows of tinygrad_edu/ops/softmax.py and of nn.functional's activations."""

import math

from op_table import F, I, Op, Ties, V, call, tied, unary

_big = F(2, 3, low=-500, high=500)
_masked = V([[0.5, -math.inf, 1.0]])
_softmax = [
    call(F(2, 3), 1), call(F(2, 3), 0), call(F(2, 3, 2), -1), call(F(3), 0), call(F(), 0),
    call(F(0, 3), 1), call(_big, 1), tied(_masked, 1), call(F(2, 3, low=-0.001, high=0.001), 1),
]  # fmt: skip


def Away(*shape: int, **options: object):
    """Away from the kinks of the piecewise linear activations."""
    return F(*shape, low=-5, high=8, away=(-3, -1, -0.5, 0, 0.5, 1, 3, 6), margin=0.1)


def _act(name: str, *more: object, make=Away, **options: object) -> Op:
    options.setdefault("skip", ["int64", "bool"])
    return unary(f"nn.functional.{name}", make, *more, **options)


def _slope(name: str):
    """The gradient of a softmax as an operation of its own: second derivatives go through it."""

    def run(torch, x, g):
        x = x if x.requires_grad else x.detach().requires_grad_()
        y = getattr(torch, name)(x, 1)
        return torch.autograd.grad(y, x, g, create_graph=True)[0]

    return Op(f"gradient of {name}", call(F(2, 3), F(2, 3)), run=run, skip=["int64", "bool"])


def _drawn(name: str):
    """A function that draws numbers, from the same seed in both libraries."""

    def run(torch, *args, **kwargs):
        torch.manual_seed(0)
        return getattr(torch.nn.functional, name)(*args, **kwargs)

    return run


ROWS = [
    Op("nn.functional.rrelu", call(F(3, 4, away=(0,))), call(F(3, 4, away=(0,)), 0.1, 0.6, True),
       bad=[call(F(2), 2.0, 1.0)], run=_drawn("rrelu"), skip=["int64", "bool"]),
    Op("nn.functional.gumbel_softmax", call(F(3, 4)), call(F(3, 4), 0.5, dim=0),
       run=_drawn("gumbel_softmax"), skip=["int64", "bool"]),
    _slope("softmax"), _slope("log_softmax"),
    Op("softmax", *_softmax, call(F(2, 3), dim=1), bad=[call(F(2, 3), 2)], skip=["int64", "bool"]),
    Op("log_softmax", *_softmax, bad=[call(F(2, 3), 2)], skip=["int64", "bool"]),
    Op("nn.functional.softmax", *_softmax, skip=["int64", "bool"]),
    Op("nn.functional.log_softmax", *_softmax, skip=["int64", "bool"]),
    Op("nn.functional.softmin", call(F(2, 3), 1), call(F(2, 3), 0), skip=["int64", "bool"]),
    Op("relu", call(Away(2, 3)), tied(Ties(5)), call(F(0, 2)), call(F()), call(I(4)), skip=["bool"],
       covers=["relu_", "celu_", "elu_", "hardtanh_", "leaky_relu_", "selu_", "threshold_"]),
    _act("relu", tied(Ties(5))),
    _act("relu6", tied(V([0.0, 6.0, -1.0, 7.0]))),
    _act("leaky_relu", call(Away(3), 0.2), tied(Ties(5))),
    _act("elu", call(Away(3), 0.5), tied(Ties(5))),
    _act("celu", call(Away(3), 0.5), tied(Ties(5))),
    _act("selu", tied(Ties(5))),
    _act("gelu", call(F(3), approximate="tanh"), call(F(3, low=-9, high=9)), tied(Ties(5)),
         bad=[call(F(3), approximate="none of these")]),
    _act("silu"), _act("mish"), _act("softsign"), _act("tanh"), _act("sigmoid"), _act("logsigmoid"),
    _act("tanhshrink"),
    _act("softplus", call(F(3), 2.0, 1.0), call(F(3, low=15, high=30))),
    _act("hardtanh", call(Away(3), -0.5, 0.5), tied(Ties(5))),
    _act("hardsigmoid", tied(V([-3.0, 3.0, 0.0]))),
    _act("hardswish", tied(V([-3.0, 3.0, 0.0]))),
    _act("hardshrink", tied(V([0.5, -0.5, 0.0]))),
    _act("softshrink", tied(V([0.5, -0.5, 0.0]))),
    _act("threshold", make=F, run=lambda torch, x: torch.nn.functional.threshold(x, 0.05, 0.7)),
    Op("nn.functional.glu", call(F(2, 4)), call(F(4, 2), 0), bad=[call(F(3))],
       skip=["int64", "bool"]),
    Op("nn.functional.prelu", call(Away(2, 3), F(1)), call(Away(2, 3, 2), F(3)),
       skip=["int64", "bool"]),
    Op("nn.functional.normalize", call(F(2, 3)), call(F(2, 3), 1.0, 0), tied(V([[0.0, 0.0]])),
       skip=["int64", "bool"]),
    Op("nn.functional.cosine_similarity", call(F(2, 3), F(2, 3)), call(F(2, 3), F(3), dim=-1),
       skip=["int64", "bool"]),
    Op("cosine_similarity", call(F(2, 3), F(2, 3)), skip=["int64", "bool"]),
    Op("nn.functional.pairwise_distance", call(F(2, 3), F(2, 3)), call(F(2, 3), F(2, 3), 1.0),
       skip=["int64", "bool"]),
    Op("constant_pad_nd", call(F(2, 3), (1, 2)), call(F(2, 3), (1, -1, 0, 2), 1.5),
       bad=[call(F(3), (1,)), call(F(3), (1, 1, 1, 1))]),
    Op("nn.functional.pad", call(F(2, 3), (1, 2)), call(F(2, 3), (1, 0, 0, 2), "constant", 1.5),
       call(F(2, 3), (-1, 1)), call(F(1, 2, 4), (2, 1), "reflect"),
       call(F(1, 2, 4), (2, 1), "replicate"), call(F(1, 2, 4), (2, 1), "circular"),
       bad=[call(F(3), (1,))], skip=["bool", "int64"]),
]  # fmt: skip
