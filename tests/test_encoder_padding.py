"""Zeros that `TransformerEncoder` returns for padding in evaluation: where torch's does.

Every way to make the encoder is run in every mode with every mask, beside torch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from beside_torch import numbers, ours, pair, torch

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

E, L, N = 8, 5, 3
LENGTHS = np.array([[5], [2], [3]])


def layer(T: Any, heads: int = 2, **options: Any) -> Any:
    options = {"batch_first": True, "dropout": 0.0} | options
    return T.nn.TransformerEncoderLayer(E, heads, 16, **options)


def with_other_eps(T: Any) -> Any:
    made = layer(T)
    made.norm1.eps = 1e-4
    return T.nn.TransformerEncoder(made, 2)


def norm_of_zeros(T: Any) -> Any:
    """Zeros come out as its bias."""
    norm = T.nn.LayerNorm(E)
    T.nn.init.constant_(norm.bias, 0.5)
    return norm


class Wrapped:
    """A layer that is no TransformerEncoderLayer, though it has one inside."""

    def forward(self, src: Any, **masks: Any) -> Any:
        return self.inner(src, **masks)  # type: ignore[attr-defined]


def of_another_class(T: Any) -> Any:
    made = type("Layer", (Wrapped, T.nn.Module), {})()
    made.inner = layer(T)
    made.self_attn = made.inner.self_attn
    return T.nn.TransformerEncoder(made, 2)


def encoder(layer_options: Any = None, **options: Any) -> Callable[[Any], Any]:
    def make(T: Any) -> Any:
        chosen = {k: v(T) if callable(v) else v for k, v in (layer_options or {}).items()}
        own = {k: v(T) if callable(v) else v for k, v in options.items()}
        return T.nn.TransformerEncoder(layer(T, **chosen), 2, **own)

    return make


ENCODERS: dict[str, Callable[[Any], Any]] = {
    "plain": encoder(),
    "one with a norm": encoder(norm=norm_of_zeros),
    "gelu": encoder({"activation": "gelu"}),
    "ReLU()": encoder({"activation": lambda T: T.nn.ReLU()}),
    "GELU()": encoder({"activation": lambda T: T.nn.GELU()}),
    "F.relu": encoder({"activation": lambda T: T.nn.functional.relu}),
    "silu": encoder({"activation": lambda T: T.nn.functional.silu}),
    "torch.relu": encoder({"activation": lambda T: T.relu}),
    "norm_first": encoder({"norm_first": True}),
    "length first": encoder({"batch_first": False}),
    "no bias": encoder({"bias": False}),
    "one head": encoder({"heads": 1}),
    "two eps": with_other_eps,
    "not nested": encoder(enable_nested_tensor=False),
    "no check": encoder(mask_check=False),
    "another class": of_another_class,
}


FINITE = ("finite floats", "finite floats among")


def masks() -> dict[str, Any]:
    last = np.arange(L) >= LENGTHS
    first = last[:, ::-1].copy()
    rows = np.arange(L) >= np.array([[5], [2], [0]])
    added = np.where(last, -np.inf, 0.0)
    return {
        "last": last,
        "first": first,
        "nothing": np.zeros((N, L), bool),
        "a whole sequence": rows,
        "floats": added,
        "finite floats": np.where(last, -1.0, 0.0),
        "finite floats among": np.where(first, -1.0, 0.0),
        "none": None,
    }


def frozen(T: Any, module: Any, x: Any) -> Any:
    module.requires_grad_(False)
    return contextlib.nullcontext()


def frozen_but_input(T: Any, module: Any, x: Any) -> Any:
    x.requires_grad_()
    return frozen(T, module, x)


def frozen_but_norm(T: Any, module: Any, x: Any) -> Any:
    frozen(T, module, x)
    first = next(m for m in module.modules() if isinstance(m, T.nn.LayerNorm))
    first.weight.requires_grad_()
    return contextlib.nullcontext()


def training(T: Any, module: Any, x: Any) -> Any:
    module.train()
    return T.no_grad()


def only_the_encoder_trains(T: Any, module: Any, x: Any) -> Any:
    module.training = True
    return T.no_grad()


def only_the_first_layer_trains(T: Any, module: Any, x: Any) -> Any:
    module.layers[0].train()
    return T.no_grad()


@contextlib.contextmanager
def switched_off(T: Any, module: Any, x: Any) -> Any:
    T.backends.mha.set_fastpath_enabled(False)
    try:
        with T.no_grad():
            yield
    finally:
        T.backends.mha.set_fastpath_enabled(True)


MODES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "no_grad": lambda T, module, x: T.no_grad(),
    "inference_mode": lambda T, module, x: T.inference_mode(),
    "gradients": lambda T, module, x: contextlib.nullcontext(),
    "frozen": frozen,
    "frozen but the input": frozen_but_input,
    "frozen but a norm": frozen_but_norm,
    "training": training,
    "only the encoder trains": only_the_encoder_trains,
    "only the first layer trains": only_the_first_layer_trains,
    "switched off": switched_off,
}


def run(T: Any, module: Any, mode: str, x: Any, padding: Any, mask: Any, like: str) -> Any:
    dtype = getattr(T, like)
    module.to(dtype).eval().requires_grad_(True)
    src = T.tensor(x).to(dtype)
    given = None if padding is None else T.tensor(padding)
    if given is not None and given.is_floating_point():
        given = given.to(dtype)
    other = None if mask is None else T.tensor(mask)
    with MODES[mode](T, module, src):
        return module(src, mask=other, src_key_padding_mask=given)


def hides_all(padding: Any, mask: Any) -> bool:
    """Whether some query sees no key, if floats other than 0 hide."""
    hidden = np.zeros((N, 1, L), bool) if padding is None else (padding != 0)[:, None]
    return bool((hidden if mask is None else hidden | mask).all(-1).any())


@pytest.mark.parametrize("name", ENCODERS)
def test_zeros_are_where_torch_has_them(name: str) -> None:
    mine, theirs = pair(ENCODERS[name])
    shape = (L, N, E) if name == "length first" else (N, L, E)
    x = np.random.default_rng(0).standard_normal(shape)
    causal = np.triu(np.ones((L, L), bool), 1)
    zeros = 0
    for mode in MODES:
        for kind, padding in masks().items():
            for mask in (None, causal):
                where = f"{mode}, {kind}, {'no mask' if mask is None else 'causal'}"
                args = (mode, x, padding, mask, "float64")
                a, b = run(ours, mine, *args), run(torch, theirs, *args)
                # A query that sees no key is nan in torch's own kernels, 0 in its formula; ours is
                # the formula, everywhere.
                known = ~np.isnan(numbers(b))
                assert known.all() or hides_all(padding, mask), where
                found, expected = numbers(a)[known], numbers(b)[known]
                np.testing.assert_array_equal(found == 0, expected == 0, where)
                if kind in FINITE and not (expected == 0).any():
                    continue  # torch's kernel hides what is not 0, its formula adds the number
                np.testing.assert_allclose(found, expected, 1e-9, 1e-11, err_msg=where)
                assert not np.isnan(numbers(a)).any(), where
                zeros += int((numbers(a) == 0).sum())
    never = ("silu", "torch.relu", "norm_first", "length first", "no bias", "one head", "two eps",
             "not nested", "another class", "one with a norm")  # fmt: skip
    assert (zeros == 0) == (name in never)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_in_every_dtype(dtype: str) -> None:
    mine, theirs = pair(ENCODERS["plain"])
    x = np.random.default_rng(0).standard_normal((N, L, E))
    args = ("no_grad", x, masks()["last"], None, dtype)
    a, b = run(ours, mine, *args).float(), run(torch, theirs, *args).float()
    tolerance = 1e-5 if dtype == "float32" else 0.05
    np.testing.assert_allclose(numbers(a), numbers(b), rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(numbers(a) == 0, numbers(b) == 0)


def test_a_subclass_of_tensor_is_computed_everywhere() -> None:
    class Mine(ours.Tensor):
        pass

    module = ENCODERS["plain"](ours).eval()
    x = Mine(np.ones((N, L, E)).tolist())
    with ours.no_grad():
        y = module(x, src_key_padding_mask=ours.tensor(masks()["last"]))
    assert (numbers(y) != 0).all()


def test_under_autocast_it_is_computed_everywhere() -> None:
    """As in torch on a GPU; its own kernel for the CPU raises an error there."""
    module = ENCODERS["plain"](ours).eval()
    with ours.no_grad(), ours.autocast("cpu"):
        y = module(ours.ones(N, L, E), src_key_padding_mask=ours.tensor(masks()["last"]))
    assert (numbers(y.float()) != 0).all()


def test_a_batch_of_padding_alone() -> None:
    """torch raises an error there: its packed tensors may not be empty."""
    module = ENCODERS["plain"](ours).eval()
    with ours.no_grad():
        y = module(ours.ones(N, L, E), src_key_padding_mask=ours.ones(N, L, dtype=ours.bool))
    assert (numbers(y) == 0).all()
