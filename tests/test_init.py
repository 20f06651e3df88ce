"""nn.init against torch's, number for number."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from beside_torch import same, same_error

import tinygrad_edu as ours

torch = pytest.importorskip("torch")

EXACT: dict[str, Any] = {
    "uniform_": {}, "uniform_ range": {"a": -3.0, "b": 0.5}, "normal_": {},
    "normal_ wide": {"mean": 1.0, "std": 4.0}, "constant_": {"val": 3.5}, "ones_": {},
    "zeros_": {}, "xavier_uniform_": {}, "xavier_uniform_ gain": {"gain": 2.5},
    "xavier_normal_": {}, "kaiming_uniform_": {}, "kaiming_uniform_ a": {"a": 5**0.5},
    "kaiming_uniform_ out": {"mode": "fan_out", "nonlinearity": "relu"}, "kaiming_normal_": {},
    "kaiming_normal_ tanh": {"nonlinearity": "tanh", "mode": "FAN_OUT"}, "trunc_normal_": {},
    "trunc_normal_ narrow": {"mean": 0.5, "std": 2.0, "a": -0.5, "b": 0.5},
    "trunc_normal_ tail": {"mean": 0.0, "std": 1.0, "a": 1.5, "b": 4.0},
    "trunc_normal_ far": {"mean": -9.0, "std": 1.0, "a": 0.0, "b": 1.0},
}  # fmt: skip


@pytest.mark.parametrize("case", EXACT)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_are_torchs(case: str, dtype: str) -> None:
    name = case.split()[0]

    def run(T: Any) -> Any:
        log = []
        for shape in [(3, 4), (20, 31), (5, 4, 3, 3)]:
            t = T.empty(shape, dtype=getattr(T, dtype), requires_grad=True)
            back = getattr(T.nn.init, name)(t, **EXACT[case])
            log += [back is t, t.requires_grad, t.is_leaf, t]
        if "val" not in EXACT[case] and name not in ("ones_", "zeros_"):
            g = T.Generator().manual_seed(7)
            t = T.empty(6, 6, dtype=getattr(T, dtype))
            log.append(getattr(T.nn.init, name)(t, **EXACT[case], generator=g))
        return [*log, T.get_rng_state().tolist()]

    if dtype == "float64" and "normal" in name:
        found, expected = [], []
        for T, into in ((ours, found), (torch, expected)):
            T.manual_seed(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                into.append(torch.tensor(plain_values(run(T)), dtype=torch.float64))
        torch.testing.assert_close(found[0], expected[0], rtol=1e-12, atol=1e-13)
    else:
        same(run)


def plain_values(log: list[Any]) -> list[float]:
    """All numbers of the tensors in a log, one after the other."""
    values: list[float] = []
    for entry in log:
        if hasattr(entry, "detach"):
            values += entry.detach().reshape(-1).tolist()
    return values


@pytest.mark.parametrize("shape", [(4, 4), (3, 7), (7, 3), (4, 3, 2), (1, 5), (0, 3)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    found = ours.nn.init.orthogonal_(ours.empty(shape), gain=2)
    expected = torch.nn.init.orthogonal_(torch.empty(shape), gain=2)
    torch.testing.assert_close(torch.tensor(found.numpy()), expected, rtol=1e-5, atol=2e-6)


def test_structured() -> None:
    def run(T: Any) -> Any:
        I = T.nn.init  # noqa: E741
        return [
            I.eye_(T.empty(3, 5)), I.dirac_(T.empty(4, 2, 3)), I.dirac_(T.empty(4, 2, 3, 4), 2),
            I.dirac_(T.empty(2, 3, 3, 3, 3)), I.sparse_(T.empty(10, 4), 0.35, std=2.0),
            I.sparse_(T.empty(7, 5), 0.1), T.get_rng_state().tolist(),
        ]  # fmt: skip

    same(run)


def test_calculate_gain() -> None:
    def run(T: Any) -> Any:
        gain = T.nn.init.calculate_gain
        names = ("linear", "conv1d", "conv_transpose3d", "sigmoid", "tanh", "relu", "selu")
        leaky = [gain("leaky_relu"), gain("leaky_relu", 0.2), gain("leaky_relu", 1)]
        return [[gain(name) for name in names], leaky]

    same(run)
    assert same(lambda T: T.nn.init.calculate_gain("gelu"))[0] == "ValueError"
    assert same(lambda T: T.nn.init.calculate_gain("leaky_relu", True))[0] == "ValueError"


def test_errors() -> None:
    def with_one_dim(name: str, *args: Any) -> None:
        same_error(lambda T: getattr(T.nn.init, name)(T.empty(3), *args), ValueError, "dimensions")

    for name in ("xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_",
                 "orthogonal_", "eye_", "dirac_"):  # fmt: skip
        with_one_dim(name)
    with_one_dim("sparse_", 0.5)
    same_error(lambda T: T.nn.init.dirac_(T.empty(3, 1, 1), 2), ValueError, "divisible by groups")
    same_error(lambda T: T.nn.init.kaiming_uniform_(T.empty(2, 2), mode="x"), ValueError, "fan_out")
    with pytest.warns(UserWarning, match="zero-element"):
        ours.nn.init.kaiming_uniform_(ours.empty(0, 3))
    with pytest.warns(UserWarning, match="more than 2 std"):
        ours.nn.init.trunc_normal_(ours.empty(3), mean=-5)


def test_the_models_of_both_libraries_start_equal() -> None:
    def run(T: Any) -> Any:
        nn = T.nn
        m = nn.Sequential(nn.Linear(20, 64), nn.Identity(), nn.Linear(64, 64), nn.Dropout(0.1),
                          nn.Linear(64, 10, bias=False), nn.Bilinear(3, 4, 5))  # fmt: skip
        return [m.state_dict(), T.get_rng_state().tolist()]

    same(run)
