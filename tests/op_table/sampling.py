"""Rows of tinygrad_edu/ops/sampling.py: under the same seed, the same numbers as torch's."""

from collections.abc import Callable
from typing import Any

from op_table import Call, Dtype, F, Op, Pos, Prob, call, tied


def _seeded(name: str, *calls: Call, **options: Any) -> Op:
    """The row of an operation that draws: seeded before every call, it is a function again."""
    return Op(f"{name} (seeded)", *calls, run=_run(name), covers=[name], **options)


def _run(name: str) -> Callable[..., Any]:
    def run(torch: Any, *args: Any, **kwargs: Any) -> Any:
        torch.manual_seed(5)
        function = torch
        for part in name.split("."):
            function = getattr(function, part)
        return function(*args, **kwargs)

    return run


def _in_place(name: str, *args: float) -> Op:
    def run(torch: Any, x: Any) -> Any:
        torch.manual_seed(5)
        return getattr(x * 1, name)(*args)

    return Op(f"Tensor.{name}", call(F(20)), call(F(3, 2)), run=run, skip=["bool", "int64"])


_floats = dict(skip=["bool", "int64"])

ROWS = [
    _seeded("rand", call(3, 2), call((20,)), call(2, dtype=Dtype("float64")), call(0)),
    _seeded("randn", call(3, 2), call((20,)), call(17), call(2, dtype=Dtype("float64"))),
    _seeded("randint", call(10, (20,)), call(-5, 5, (3, 2)), call(3, (4,), dtype=Dtype("int32")),
            bad=[call(5, 5, (2,))]),
    _seeded("randperm", call(10), call(0), call(1)),
    _seeded("rand_like", call(F(3, 2)), **_floats),
    _seeded("randn_like", call(F(20)), **_floats),
    _seeded("randint_like", call(F(4), 7), call(F(4), -3, 3), **_floats),
    _seeded("normal", call(0.0, 1.0, (20,)), tied(F(3), Pos(3, grad=False)),
            tied(F(3), 2.0), **_floats),
    _seeded("bernoulli", call(Prob(20)), call(Prob(3, 2)),
            bad=[call(F(3, low=2, high=3))], **_floats),
    _seeded("multinomial", call(Pos(6), 3), call(Pos(2, 6), 8, True),
            bad=[call(Pos(3), 5)], **_floats),
    _seeded("poisson", call(Pos(20)), call(Pos(3, 20, low=9, high=40)),
            bad=[call(F(3, low=-2, high=-1))], **_floats),
    _in_place("uniform_"), _in_place("uniform_", -1.0, 3.0), _in_place("normal_"),
    _in_place("normal_", 1.0, 0.5), _in_place("bernoulli_", 0.3), _in_place("exponential_"),
    _in_place("random_", 0, 7), _in_place("cauchy_"), _in_place("geometric_", 0.3),
    _in_place("log_normal_"),
    *[_seeded(f"nn.functional.{name}", call(F(4, 5), 0.4), call(F(4, 5), 0.4, False),
    call(F(2, 3), 1.0),
              bad=[call(F(2), 1.5)], **_floats)
      for name in ("dropout", "alpha_dropout")],
    *[_seeded(f"nn.functional.{name}", call(F(*shape), 0.4), **_floats)
      for name, shape in [("dropout1d", (2, 3, 4)), ("dropout2d", (2, 3, 2, 2)),
                          ("dropout3d", (2, 3, 2, 2, 1)), ("feature_alpha_dropout", (2, 3, 4))]],
]  # fmt: skip
