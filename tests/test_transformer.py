"""The transformer's layers against torch, from the same seed: weights, masks, gradients."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from beside_torch import close, numbers, pair, same_error

import tinygrad_edu as ours

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:.*nested.*:UserWarning", "ignore:.*mismatched.*")

E, H, L, S, N = 8, 2, 5, 6, 3


def run_both(
    make: Any, call: Any, *arrays: Any, training: bool = True, second: bool = False
) -> None:
    """Compare the results, the gradients of inputs and parameters, and the generators."""
    results = []
    for library, module in zip((ours, torch), pair(make), strict=True):
        module.double().train(training)
        library.manual_seed(1)
        tensors = [library.tensor(x, requires_grad=True) for x in arrays]
        with torch.nn.attention.sdpa_kernel(
            [torch.nn.attention.SDPBackend.MATH]
            if second
            else [
                torch.nn.attention.SDPBackend.FLASH_ATTENTION,
                torch.nn.attention.SDPBackend.MATH,
            ]
        ):
            y = call(library, module, *tensors)
        leaves = [*tensors, *module.parameters()]
        weights = np.random.default_rng(2).standard_normal(tuple(y.shape))
        grads = library.autograd.grad((y * library.tensor(weights)).sum(), leaves,
                                      create_graph=second)  # fmt: skip
        found = [y, *grads]
        if second:
            total = sum((g * g).sum() for g in grads)
            found += library.autograd.grad(total, tensors)
        results.append(found)
    for i, (a, b) in enumerate(zip(*results, strict=True)):
        close(a, b, "float64", f"result {i}")
    assert ours.get_rng_state().tolist() == torch.get_rng_state().tolist()


def tokens(length: int, batch_first: bool) -> Any:
    x = np.random.standard_normal((length, N, E))
    return x.swapaxes(0, 1).copy() if batch_first else x


def causal(library: Any, size: int) -> Any:
    mask = library.nn.Transformer.generate_square_subsequent_mask(size)
    return mask.double()


PADDING = np.zeros((N, L), bool)
PADDING[0, -2:] = PADDING[2, -1] = True
MEMORY_PADDING = np.zeros((N, S), bool)
MEMORY_PADDING[1, -3:] = True

ENCODER_MASKS: dict[str, Any] = {
    "no mask": lambda lib: {},
    "bool": lambda lib: dict(src_mask=lib.tensor(np.triu(np.ones((L, L), bool), 2))),
    "float, padding": lambda lib: dict(
        src_mask=causal(lib, L), src_key_padding_mask=lib.tensor(PADDING)),
    "per head": lambda lib: dict(
        src_mask=lib.tensor(np.random.default_rng(0).standard_normal((N * H, L, L)))),
    "causal": lambda lib: dict(src_mask=causal(lib, L), is_causal=True),
}  # fmt: skip

OPTIONS = [
    dict(),
    dict(batch_first=True),
    dict(norm_first=True, activation="gelu"),
    dict(norm_first=True, batch_first=True, bias=False, dropout=0.4),
    dict(layer_norm_eps=0.1, dropout=0.0, batch_first=True),
]


# ---- the encoder


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("mask", list(ENCODER_MASKS))
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_encoder_layer(options: dict[str, Any], mask: str, training: bool) -> None:
    run_both(
        lambda lib: lib.nn.TransformerEncoderLayer(E, H, 16, **options),
        lambda lib, layer, x: layer(x, **ENCODER_MASKS[mask](lib)),
        tokens(L, bool(options.get("batch_first"))),
        training=training,
    )


def test_activations() -> None:
    for name in ("silu", "tanh", "gelu"):
        run_both(
            lambda lib, f=name: lib.nn.TransformerEncoderLayer(
                E, H, 16, activation=getattr(lib.nn.functional, f)
            ),
            lambda lib, layer, x: layer(x),
            tokens(L, False),
        )
    run_both(
        lambda lib: lib.nn.TransformerEncoderLayer(E, H, 16, activation=lib.nn.GELU()),
        lambda lib, layer, x: layer(x),
        tokens(L, False),
    )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("mask", ["no mask", "bool", "float, padding", "causal", "found causal"])
@pytest.mark.parametrize("batch_first", [True, False])
def test_encoder(batch_first: bool, mask: str, training: bool) -> None:
    def call(lib: Any, model: Any, x: Any) -> Any:
        given = ENCODER_MASKS["causal" if mask == "found causal" else mask](lib)
        if mask == "found causal":
            del given["is_causal"]
        return model(x, **{k.replace("src_mask", "mask"): v for k, v in given.items()})

    run_both(
        lambda lib: lib.nn.TransformerEncoder(
            lib.nn.TransformerEncoderLayer(E, H, 16, batch_first=batch_first),
            2, lib.nn.LayerNorm(E),
        ),
        call, tokens(L, batch_first), training=training,
    )  # fmt: skip


def test_transposed_input_gets_the_same_dropout() -> None:
    """Noise is drawn in the order of memory, so that order must be torch's everywhere."""
    for options in OPTIONS:
        first = bool(options.get("batch_first"))
        run_both(
            lambda lib, o=options: lib.nn.TransformerEncoder(
                lib.nn.TransformerEncoderLayer(E, H, 16, **o), 2
            ),
            lambda lib, model, x: model(x.transpose(0, 1)),
            tokens(L, not first),
        )


def test_without_a_batch() -> None:
    for options in OPTIONS:
        run_both(
            lambda lib, o=options: lib.nn.TransformerEncoderLayer(E, H, 16, **o),
            lambda lib, layer, x: layer(x, src_key_padding_mask=lib.tensor([False] * 4 + [True])),
            np.random.standard_normal((L, E)),
        )
        run_both(
            lambda lib, o=options: lib.nn.TransformerDecoderLayer(E, H, 16, **o),
            lambda lib, layer, x, m: layer(x, m),
            np.random.standard_normal((L, E)), np.random.standard_normal((S, E)),
        )  # fmt: skip


# ---- the decoder


DECODER_MASKS: dict[str, Any] = {
    "no mask": lambda lib: {},
    "both": lambda lib: dict(
        tgt_mask=causal(lib, L), memory_mask=lib.tensor(np.triu(np.ones((L, S), bool), 3))),
    "padding": lambda lib: dict(
        tgt_key_padding_mask=lib.tensor(PADDING),
        memory_key_padding_mask=lib.tensor(MEMORY_PADDING)),
    "causal": lambda lib: dict(tgt_mask=causal(lib, L), tgt_is_causal=True),
}  # fmt: skip


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("mask", list(DECODER_MASKS))
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_decoder_layer(options: dict[str, Any], mask: str, training: bool) -> None:
    first = bool(options.get("batch_first"))
    run_both(
        lambda lib: lib.nn.TransformerDecoderLayer(E, H, 16, **options),
        lambda lib, layer, x, memory: layer(x, memory, **DECODER_MASKS[mask](lib)),
        tokens(L, first), tokens(S, first), training=training,
    )  # fmt: skip


@pytest.mark.parametrize("mask", list(DECODER_MASKS))
@pytest.mark.parametrize("training", [True, False])
def test_decoder(training: bool, mask: str) -> None:
    run_both(
        lambda lib: lib.nn.TransformerDecoder(
            lib.nn.TransformerDecoderLayer(E, H, 16), 2, lib.nn.LayerNorm(E)),
        lambda lib, model, x, memory: model(x, memory, **DECODER_MASKS[mask](lib)),
        tokens(L, False), tokens(S, False), training=training,
    )  # fmt: skip


# ---- both


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_transformer(options: dict[str, Any], training: bool) -> None:
    first = bool(options.get("batch_first"))

    def call(lib: Any, model: Any, src: Any, tgt: Any) -> Any:
        return model(
            src, tgt, tgt_mask=causal(lib, L), src_key_padding_mask=lib.tensor(MEMORY_PADDING),
            memory_key_padding_mask=lib.tensor(MEMORY_PADDING),
        )  # fmt: skip

    run_both(
        lambda lib: lib.nn.Transformer(E, H, 2, 2, 16, **options),
        call, tokens(S, first), tokens(L, first), training=training,
    )  # fmt: skip


def test_second_derivatives() -> None:
    run_both(
        lambda lib: lib.nn.Transformer(E, H, 1, 1, 16, dropout=0.0, activation="gelu"),
        lambda lib, model, src, tgt: model(src, tgt, tgt_mask=causal(lib, L)),
        tokens(S, False), tokens(L, False), second=True,
    )  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_both_begin_alike(options: dict[str, Any]) -> None:
    pair(lambda lib: lib.nn.Transformer(E, H, 2, 1, 16, **options))
    pair(lambda lib: lib.nn.TransformerDecoderLayer(E, H, activation=lib.nn.GELU()))


def test_weights_go_both_ways() -> None:
    """torch's state dict fits ours, and the other way round."""
    a, b = (lib.nn.Transformer(E, H, 1, 1, 16).eval() for lib in (ours, torch))
    a.load_state_dict({k: ours.tensor(v.numpy()) for k, v in b.state_dict().items()})
    x, y = tokens(S, False).astype(np.float32), tokens(L, False).astype(np.float32)
    out = a(ours.tensor(x), ours.tensor(y))
    close(out, b(torch.tensor(x), torch.tensor(y)), "float32", "ours with torch's weights")
    b.load_state_dict({k: torch.tensor(numbers(v)) for k, v in a.state_dict().items()})
    close(out, b(torch.tensor(x), torch.tensor(y)), "float32", "torch with our weights")


def test_float32_training_follows_torch() -> None:
    """Ten steps of AdamW with dropout: the same losses."""
    losses: list[list[float]] = []
    for library, model in zip(
        (ours, torch),
        pair(lambda lib: lib.nn.TransformerEncoder(
            lib.nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, norm_first=True), 2)),
        strict=True,
    ):  # fmt: skip
        library.manual_seed(1)
        optimizer = library.optim.AdamW(model.parameters(), lr=1e-2)
        x = library.randn(4, 70, 16)
        mask = library.nn.Transformer.generate_square_subsequent_mask(70)
        losses.append([])
        for _ in range(10):
            optimizer.zero_grad()
            loss = ((model(x, mask=mask) - x.flip(-1)) ** 2).mean()
            loss.backward()
            optimizer.step()
            losses[-1].append(loss.item())
    np.testing.assert_allclose(*losses, rtol=1e-4)
    assert losses[0][-1] < losses[0][0]


def test_causal_mask() -> None:
    make = [lib.nn.Transformer.generate_square_subsequent_mask for lib in (ours, torch)]
    close(make[0](4), make[1](4), "float32", "mask")
    close(make[0](4, dtype=ours.float64), make[1](4, dtype=torch.float64), "float64", "mask")
    assert make[0](0).shape == (0, 0)


def test_the_future_does_not_reach_the_past() -> None:
    t = 3
    layer = ours.nn.TransformerEncoderLayer(E, H, 16, batch_first=True, dropout=0.0)
    model = ours.nn.TransformerEncoder(layer, 3).double()
    x = tokens(L, True)
    for explicit in (True, False):
        mask = causal(ours, L)
        first = ours.tensor(x, requires_grad=True)
        y = model(first, mask=mask, is_causal=True if explicit else None)
        changed = x.copy()
        changed[:, t] += 1
        z = model(ours.tensor(changed), mask=mask)
        np.testing.assert_array_equal(numbers(y)[:, :t], numbers(z)[:, :t])
        assert (numbers(y)[:, t:] != numbers(z)[:, t:]).any(-1).all()
        y[:, :t].sum().backward()
        assert (numbers(first.grad)[:, t:] == 0).all()


def test_without_positions_tokens_permute() -> None:
    model = ours.nn.TransformerEncoder(
        ours.nn.TransformerEncoderLayer(E, H, 16, batch_first=True, dropout=0.0), 2
    ).double()
    x, order = tokens(L, True), np.random.permutation(L)
    y, z = model(ours.tensor(x)), model(ours.tensor(x[:, order]))
    np.testing.assert_allclose(numbers(y)[:, order], numbers(z), rtol=1e-9, atol=1e-12)


def test_padding_does_not_matter() -> None:
    """What stands at hidden positions changes no other token."""
    model = ours.nn.TransformerEncoder(
        ours.nn.TransformerEncoderLayer(E, H, 16, batch_first=True), 2).double().eval()  # fmt: skip
    x = tokens(L, True)
    y = numbers(model(ours.tensor(x), src_key_padding_mask=ours.tensor(PADDING)))
    other = np.where(PADDING[..., None], 7.0, x)
    z = numbers(model(ours.tensor(other), src_key_padding_mask=ours.tensor(PADDING)))
    np.testing.assert_array_equal(y[~PADDING], z[~PADDING])


# ---- bad input


def test_bad_input() -> None:
    same_error(lambda t: t.nn.TransformerEncoderLayer(8, 3), "divisible by num_heads, got 8 and 3")
    same_error(lambda t: t.nn.TransformerEncoderLayer(8, 2, activation="selu"), "not selu")
    same_error(lambda t: t.nn.TransformerDecoderLayer(8, 2, activation="x"), "not x")

    def transformer(t: Any, src: Any, tgt: Any, **options: Any) -> Any:
        return t.nn.Transformer(8, 2, 1, 1, 16, **options)(t.ones(*src), t.ones(*tgt))

    same_error(lambda t: transformer(t, (5, 2, 8), (4, 3, 8)), "[5, 2, 8] and [4, 3, 8]")
    same_error(lambda t: transformer(t, (2, 5, 8), (3, 5, 8), batch_first=True), "batch number")
    same_error(lambda t: transformer(t, (5, 2, 7), (4, 2, 8)), "d_model (8), got [5, 2, 7]")

    def encode(t: Any, mask: Any, kind: str = "float32", **options: Any) -> Any:
        layer = t.nn.TransformerEncoderLayer(8, 2, 16)
        return layer(t.ones(5, 2, 8), t.ones(*mask).to(getattr(t, kind)), **options)

    same_error(lambda t: encode(t, (4, 5)), "2D attn_mask is [4, 5], but should be (5, 5)")
    same_error(lambda t: encode(t, (5, 5), "int64"), "floating types of src_mask")
    same_error(
        lambda t: t.nn.TransformerEncoderLayer(8, 2, 16)(
            t.ones(5, 2, 8), src_key_padding_mask=t.ones(5, 2)
        ),
        "shape of (2, 5), but got [5, 2]",
    )
    same_error(
        lambda t: t.nn.TransformerEncoderLayer(8, 2, 16)(t.ones(5, 2, 8), is_causal=True),
        "Need attn_mask",
    )


def test_mismatched_masks_warn() -> None:
    for library in (torch, ours):
        layer = library.nn.TransformerEncoderLayer(E, H, 16)
        mask = library.nn.Transformer.generate_square_subsequent_mask(L)
        padding = library.zeros(N, L) > 0
        with pytest.warns(UserWarning, match="mismatched src_key_padding_mask and src_mask"):
            layer(library.ones(L, N, E), mask, padding)


def test_a_hidden_sample_is_no_nan() -> None:
    """A sample that is nothing but padding: attention gives 0, as in torch."""
    padding = np.zeros((N, L), bool)
    padding[1] = True
    run_both(
        lambda lib: lib.nn.TransformerEncoderLayer(E, H, 16),
        lambda lib, layer, x: layer(x, src_key_padding_mask=lib.tensor(padding)),
        tokens(L, False),
    )
    assert math.isfinite(
        ours.nn.TransformerEncoderLayer(E, H, 16)(
            ours.ones(L, N, E), src_key_padding_mask=ours.tensor(padding)
        ).sum().item()
    )  # fmt: skip
