"""Attention against torch, its kernel against its definition; MultiheadAttention."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from beside_torch import beside_torch, close, numbers, pair, same_error

import tinygrad_edu as ours
from tinygrad_edu.kernels import attention as kernel
from tinygrad_edu.ops.attention import _attention, _definition

torch = pytest.importorskip("torch")


def normal(*shape: int) -> Any:
    return np.random.standard_normal(shape)


def attend(library: Any, q: Any, k: Any, v: Any, *mask: Any, **options: Any) -> Any:
    return library.nn.functional.scaled_dot_product_attention(q, k, v, *mask, **options)


def plainly(library: Any, *args: Any, **options: Any) -> Any:
    """The same, by torch's own definition: its kernel has no second derivative; ours has."""
    if library is ours:
        return attend(library, *args, **options)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        return attend(library, *args, **options)


# ---- against torch


SHAPES = [  # query, key, value
    ((2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6)),
    ((3, 5, 4), (3, 7, 4), (3, 7, 6)),
    ((5, 4), (7, 4), (7, 1)),
    ((2, 1, 2, 3, 4), (2, 1, 2, 3, 4), (2, 1, 2, 3, 4)),
    ((2, 70, 3), (2, 150, 3), (2, 150, 3)),  # several blocks of queries
    ((2, 150, 3), (2, 70, 3), (2, 70, 3)),  # more queries than keys
    ((4, 1, 3, 2), (2, 3, 2), (1, 3, 2)),  # leading dimensions broadcast
]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_equals_torch(shapes: Any, causal: bool, dtype: str) -> None:
    def run(library: Any, *qkv: Any) -> Any:
        return attend(library, *qkv, is_causal=causal)

    def plain(library: Any, *qkv: Any) -> Any:
        return plainly(library, *qkv, is_causal=causal)

    arrays = [normal(*s) for s in shapes]
    beside_torch(run, *arrays, dtype=dtype, second=False)
    if dtype == "float64":
        beside_torch(plain, *arrays)


MASK_SHAPES = [(5, 7), (1, 7), (5, 1), (1, 1, 5, 7), (2, 1, 1, 7), (1, 3, 5, 1), (2, 3, 5, 7)]


@pytest.mark.parametrize("shape", MASK_SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["bool", "float", "learned"])
def test_masks(kind: str, shape: Any) -> None:
    q, k, v = normal(2, 3, 5, 4), normal(2, 3, 7, 4), normal(2, 3, 7, 6)
    mask = normal(*shape) > 0 if kind == "bool" else normal(*shape)
    if kind == "learned":
        beside_torch(plainly, q, k, v, mask)
    else:
        beside_torch(attend, q, k, v, constants=[mask], second=False)
        beside_torch(plainly, q, k, v, constants=[mask])


@pytest.mark.parametrize("ndim", [3, 4])
@pytest.mark.parametrize("kind", ["bool", "float", "learned"])
def test_a_query_that_sees_no_key_gives_zero(kind: str, ndim: int) -> None:
    shape = (1, 2, 3, 4)[-ndim:]
    q, k, v = normal(*shape), normal(*shape), normal(*shape)
    seen = np.array([[1, 0, 1], [0, 0, 0], [1, 1, 0]], bool)
    mask = seen if kind == "bool" else np.where(seen, 0.5, -math.inf)
    if kind == "learned":
        beside_torch(attend, q, k, v, mask, second=False)
    else:
        beside_torch(attend, q, k, v, constants=[mask], second=False)
        beside_torch(plainly, q, k, v, constants=[mask])
    y = attend(ours, *[ours.tensor(x) for x in (q, k, v, mask)])
    assert (numbers(y)[..., 1, :] == 0).all()


def test_float32_mask_beside_other_dtypes() -> None:
    for dtype in ("float64", "float16"):
        results = []
        for library in (ours, torch):
            q = library.tensor(np.arange(12.0).reshape(1, 1, 3, 4) / 10).to(getattr(library, dtype))
            results.append(attend(library, q, q, q, library.tensor([[0.0, 1.0, -math.inf]])))
        close(*results, dtype, dtype)


def test_options() -> None:
    q, k, v = normal(1, 2, 3, 4), normal(1, 2, 3, 4), normal(1, 2, 3, 4)
    for options in (dict(scale=0.3), dict(scale=0.0), dict(scale=-2.0)):
        beside_torch(lambda lib, *x, o=options: attend(lib, *x, **o), q, k, v, second=False)
        beside_torch(lambda lib, *x, o=options: plainly(lib, *x, **o), q, k, v)
    q = normal(1, 6, 3, 4)
    for few in (1, 2, 3, 6):
        k, v = normal(1, few, 5, 4), normal(1, few, 5, 4)
        beside_torch(lambda lib, *x: plainly(lib, *x, enable_gqa=True), q, k, v)
        beside_torch(lambda lib, *x: plainly(lib, *x, enable_gqa=True, is_causal=True), q, k, v)
    # mask and is_causal together: torch allows it for 4-d inputs
    beside_torch(lambda lib, *x: attend(lib, *x, is_causal=True), *[normal(1, 2, 3, 4)] * 3,
                 constants=[normal(3, 3) > -1], second=False)  # fmt: skip


@pytest.mark.parametrize("p", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (3, 70, 4), (5, 4)], ids=str)
def test_dropout_takes_torchs_decisions(shape: Any, p: float) -> None:
    mask = normal(shape[-2], shape[-2]) > -1

    def run(library: Any, *args: Any) -> Any:
        library.manual_seed(3)
        return attend(library, *args, dropout_p=p)

    beside_torch(run, normal(*shape), normal(*shape), normal(*shape))
    beside_torch(run, normal(*shape), normal(*shape), normal(*shape), constants=[mask])
    assert ours.get_rng_state().tolist() == torch.get_rng_state().tolist()


def test_memory_order_is_that_of_query() -> None:
    """So the heads of (B, L, H, E) go back to (B, L, H E) without a copy."""
    for library in (ours, torch):
        q = library.ones(2, 3, 4, 5, requires_grad=True)
        x = q.transpose(1, 2)
        y = attend(library, x, x, x)
        assert y.stride() == (60, 5, 20, 1)
        (gx,) = library.autograd.grad(y.sum(), x)
        assert gx.shape == x.shape


def test_non_contiguous_and_expanded_inputs() -> None:
    def run(library: Any, q: Any, k: Any, v: Any) -> Any:
        return attend(library, q.transpose(0, 2), k.expand(3, -1, -1), v.flip(-1)[..., ::2])

    beside_torch(run, normal(4, 70, 3), normal(1, 5, 4), normal(3, 5, 6))


# ---- the kernel against the definition


def test_kernel_equals_definition() -> None:
    hypothesis = pytest.importorskip("hypothesis")
    st = hypothesis.strategies

    @hypothesis.given(
        lead=st.lists(st.integers(1, 3), max_size=3),
        sizes=st.tuples(*[st.integers(1, n) for n in (9, 9, 5, 5)]),
        kind=st.sampled_from([None, "bool", "float"]),
        narrow=st.tuples(*[st.booleans()] * 4),
        causal=st.booleans(),
        dropout=st.sampled_from([0.0, 0.5]),
        block=st.sampled_from([(2, 64), (3, 1 << 10), (64, 1 << 19)]),
        seed=st.integers(0, 1000),
    )
    def check(lead, sizes, kind, narrow, causal, dropout, block, seed):  # type: ignore[no-untyped-def]
        (length, keys, size, values), random = sizes, np.random.default_rng(seed)
        q, k, v = (
            ours.tensor(random.standard_normal((*lead, *s)), requires_grad=True)
            for s in ((length, size), (keys, size), (keys, values))
        )
        scores = (*lead, length, keys)
        shape = [1 if thin else n for thin, n in zip(narrow, scores[-4:], strict=False)]
        mask = None
        if kind is not None:
            array = random.random(shape) < 0.6  # rows without any key occur
            if kind == "float":
                array = np.where(array, random.standard_normal(shape), -math.inf)
            mask = ours.tensor(array, requires_grad=kind == "float")
        keep = random.random(scores) < 0.5 if dropout else None
        args = (q, k, v, mask, causal, 0.7, keep, dropout)
        leaves = [x for x in (q, k, v, mask) if x is not None and x.requires_grad]
        g = ours.tensor(random.standard_normal((*lead, length, values)))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kernel, "ROWS", block[0])
            patch.setattr(kernel, "TILE", block[1])
            y = _attention(*args)
            fast = [y, *ours.autograd.grad(y, leaves, g)]
        y = _definition(*args)
        plain = [y, *ours.autograd.grad(y, leaves, g)]
        for a, b in zip(fast, plain, strict=True):
            np.testing.assert_allclose(numbers(a), numbers(b), rtol=1e-9, atol=1e-11)

    check()


def test_only_the_gradients_that_are_needed() -> None:
    arrays = [normal(2, 5, 4), normal(2, 7, 4), normal(2, 7, 4), normal(5, 7)]
    g = ours.tensor(normal(2, 5, 4))
    leaves = [ours.tensor(a, requires_grad=True) for a in arrays]
    whole = ours.autograd.grad(attend(ours, *leaves), leaves, g)
    for live in itertools.product([False, True], repeat=4):
        tensors = [ours.tensor(a, requires_grad=x) for a, x in zip(arrays, live, strict=True)]
        wanted = [t for t in tensors if t.requires_grad]
        if not wanted:
            continue
        expected = [w for w, x in zip(whole, live, strict=True) if x]
        for create in (False, True):
            found = ours.autograd.grad(attend(ours, *tensors), wanted, g, create_graph=create)
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_allclose(numbers(a), numbers(b), rtol=1e-9, atol=1e-11)


def test_large_scores_do_not_overflow() -> None:
    x = 100 * normal(1, 1, 4, 8).astype(np.float32)
    results = [attend(library, *[library.tensor(x)] * 3) for library in (ours, torch)]
    close(*results, "float32", "value")
    q = ours.tensor(x, requires_grad=True)
    attend(ours, q, q, q).sum().backward()
    assert np.isfinite(numbers(q.grad)).all()


def test_nan_is_not_hidden() -> None:
    q = ours.tensor([[math.nan, 0.0], [1.0, 0.0]])
    y = attend(ours, q, ours.ones(2, 2), ours.ones(2, 2))
    assert numbers(y.isnan()).tolist() == [[True, True], [False, False]]


def test_backward_keeps_no_scores() -> None:
    """What the node keeps grows linearly: q, k, v, y and one number for each query."""
    q, k, v = (ours.randn(1, 1, 1024, 4, requires_grad=True) for _ in range(3))
    kept = attend(ours, q, k, v, is_causal=True).grad_fn.kept
    assert max(x.size for x in kept if isinstance(x, np.ndarray)) == q.numel()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", ["", "bool", "float"])
def test_a_kept_table_changes_nothing(masked: str, causal: bool) -> None:
    """Small calls keep their probabilities, large ones make them again."""
    shape = (2, 3, 130, 8)
    q, k, v, g = (normal(*shape) for _ in range(4))
    mask = None if not masked else normal(2, 1, 130, 130)
    if masked == "bool":
        mask = mask > 0
        mask[0, 0, 7] = False  # a query that sees no key
    rest = (mask, None, 0.0, causal, 0.3)
    (y, lse), (y2, table) = (kernel.forward(q, k, v, *rest, kept) for kept in (False, True))
    assert lse.shape == shape[:-1] and table.shape == (*shape[:-1], 130)
    np.testing.assert_array_equal(y, y2)
    live = (True, True, True, masked == "float")
    made, kept = (kernel.backward(g, q, k, v, *rest, y, a, live) for a in (lse, table))
    for a, b in zip(made, kept, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


# ---- what attention is


def test_the_future_does_not_reach_the_past() -> None:
    length, t = 150, 70
    x = normal(2, 3, length, 4)
    q = ours.tensor(x, requires_grad=True)
    y = attend(ours, q, q, q, is_causal=True)
    x[:, :, t] += 1
    z = ours.tensor(x)
    z = attend(ours, z, z, z, is_causal=True)
    assert (numbers(y)[:, :, :t] == numbers(z)[:, :, :t]).all()
    assert (numbers(y)[:, :, t:] != numbers(z)[:, :, t:]).any(-1).all()
    y[:, :, :t].sum().backward()
    assert (numbers(q.grad)[:, :, t:] == 0).all()
    assert (numbers(q.grad)[:, :, :t] != 0).any(-1).all()


def test_without_positions_attention_permutes_with_its_tokens() -> None:
    layer = ours.nn.MultiheadAttention(8, 2, batch_first=True, dtype=ours.float64)
    x, order = ours.tensor(normal(2, 70, 8)), np.random.permutation(70)
    moved = ours.tensor(numbers(x)[:, order])
    y, z = layer(x, x, x)[0], layer(moved, moved, moved)[0]
    np.testing.assert_allclose(numbers(y)[:, order], numbers(z), rtol=1e-9, atol=1e-12)


# ---- bad input


def test_bad_input() -> None:
    def bad(words: str, *shapes: Any, make: Any = None, **options: Any) -> None:
        def run(library: Any) -> Any:
            tensors = [library.ones(*s) for s in shapes]
            return attend(library, *(make(library, *tensors) if make else tensors), **options)

        same_error(run, words)

    x = (1, 3, 4)
    bad("[1, 3, 4], key [1, 3, 5]", x, (1, 3, 5), x)
    bad("[1, 3, 4] and value [1, 5, 4]", x, x, (1, 5, 4))
    bad("query [2, 3, 4], key [3, 3, 4]", (2, 3, 4), (3, 3, 4), (3, 3, 4))
    bad("query.dim: 1", (4,), x, x)
    bad("attn_mask of shape [3, 4] does not broadcast", x, x, x, (3, 4))
    bad("attn_mask of shape [2, 3, 3] does not broadcast", x, x, x, (2, 3, 3))
    bad("attn_mask.dtype: torch.int64", x, x, x, (3, 3),
        make=lambda lib, q, k, v, m: (q, k, v, m.long()))  # fmt: skip
    bad("attn_mask.dtype: torch.float64", x, x, x, (3, 3),
        make=lambda lib, q, k, v, m: (q, k, v, m.double()))  # fmt: skip
    bad("query.dtype: torch.float64", x, x, x, make=lambda lib, q, k, v: (q.double(), k, v))
    bad("expected scalar type Float but found Long", x, x, x,
        make=lambda lib, *qkv: [t.long() for t in qkv])  # fmt: skip
    bad("is_causal=True", x, x, x, (3, 3), is_causal=True)
    bad("between 0 and 1", x, x, x, dropout_p=1.5)
    bad("between 0 and 1", (1, *x), (1, *x), (1, *x), dropout_p=-0.5)
    bad("Number of heads in key and value must divide", (5, 3, 4), (2, 3, 4), (2, 3, 4),
        enable_gqa=True)  # fmt: skip
    bad("argument 'attn_mask' (position 4) must be Tensor, not list", x, x, x,
        make=lambda lib, *qkv: (*qkv, [[1]]))  # fmt: skip
    with pytest.raises(TypeError):
        attend(ours, *[ours.ones(*x)] * 3, None, 0.0, False, 0.5)  # scale goes by name, as in torch
    with pytest.raises(RuntimeError, match="same length"):  # torch reads beyond the end here
        attend(ours, ours.ones(1, 1, 3, 4), ours.ones(1, 1, 3, 4), ours.ones(1, 1, 5, 4))


# ---- MultiheadAttention

OPTIONS = [
    dict(),
    dict(bias=False),
    dict(batch_first=True),
    dict(add_bias_kv=True),
    dict(add_zero_attn=True, batch_first=True),
    dict(add_bias_kv=True, add_zero_attn=True, dropout=0.3),
    dict(kdim=5, vdim=3),
    dict(kdim=5, vdim=3, bias=False, add_bias_kv=True),
    dict(dropout=0.5, batch_first=True),
]


def layers(**options: Any) -> tuple[Any, Any]:
    return pair(lambda library: library.nn.MultiheadAttention(8, 2, **options))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_both_begin_alike(options: dict[str, Any]) -> None:
    layers(**options)


def masks(kind: str | None, batch: int, length: int, keys: int) -> dict[str, Any]:
    """Masks that leave every query a key, by name of the kind."""
    hidden = np.zeros((length, keys), bool)
    hidden[1, 1:] = hidden[0, 2] = True
    padding = np.zeros((batch, keys), bool)
    padding[0, -1] = padding[-1, -2:] = True
    scores = np.random.standard_normal((batch * 2, length, keys))
    return {
        "none": {},
        "padding": dict(key_padding_mask=padding),
        "bool": dict(attn_mask=hidden),
        "both": dict(attn_mask=hidden, key_padding_mask=padding),
        "float": dict(attn_mask=scores[0], key_padding_mask=np.where(padding, -1e9, 0.0)),
        "per head": dict(attn_mask=scores),
        "causal": dict(attn_mask=np.triu(np.ones((length, keys), bool), 1), is_causal=True),
    }[kind or "none"]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("weights", [None, True, False], ids=["none", "mean", "each head"])
@pytest.mark.parametrize("mask", ["none", "padding", "bool", "both", "float", "per head", "causal"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_multihead(options: dict[str, Any], mask: str, weights: Any, training: bool) -> None:
    a, b = layers(dtype=None, **options)
    arrays = [normal(5, 3, 8), normal(5, 3, options.get("kdim", 8)),
              normal(5, 3, options.get("vdim", 8))]  # fmt: skip
    if options.get("batch_first"):
        arrays = [x.swapaxes(0, 1).copy() for x in arrays]
    given = masks(mask, 3, 5, 5)
    results = []
    for library, layer in ((ours, a), (torch, b)):
        layer.double().train(training)
        library.manual_seed(1)
        tensors = [library.tensor(x, requires_grad=True) for x in arrays]
        kwargs = {k: x if k == "is_causal" else library.tensor(x) for k, x in given.items()}
        y, w = layer(*tensors, need_weights=weights is not None,
                     average_attn_weights=bool(weights), **kwargs)  # fmt: skip
        found = [y] if w is None else [y, w]
        random = np.random.default_rng(2)
        starts = [library.tensor(random.standard_normal(tuple(t.shape))) for t in found]
        total = sum((t * g).sum() for t, g in zip(found, starts, strict=True))
        leaves = [*tensors, *layer.parameters()]
        results.append([*found, *library.autograd.grad(total, leaves)])
    for i, (x, y) in enumerate(zip(*results, strict=True)):
        close(x, y, "float64", f"result {i}")
    assert ours.get_rng_state().tolist() == torch.get_rng_state().tolist()


@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize("same", ["all", "key and value", "none"])
def test_without_a_batch_and_with_shared_inputs(same: str, weights: bool) -> None:
    a, b = layers()
    x, y = normal(4, 8), normal(4, 8)
    results = []
    for library, layer in ((ours, a), (torch, b)):
        layer.double()
        q, k = library.tensor(x, requires_grad=True), library.tensor(y)
        inputs = {"all": (q, q, q), "key and value": (q, k, k), "none": (q, k, k + 1)}[same]
        z, w = layer(*inputs, need_weights=weights, attn_mask=library.tensor(np.eye(4) > 0),
                     key_padding_mask=library.tensor([False, False, False, True]))  # fmt: skip
        results.append([z, *library.autograd.grad((z * z).sum(), q), *([] if w is None else [w])])
    for u, v in zip(*results, strict=True):
        close(u, v, "float64", same)


def test_second_derivatives_of_multihead() -> None:
    a, b = layers()
    x = normal(4, 2, 8)
    results = []
    for library, layer in ((ours, a), (torch, b)):
        layer.double()
        t = library.tensor(x, requires_grad=True)
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            y, _ = layer(t, t, t, need_weights=False)
        (g,) = library.autograd.grad((y * y).sum(), t, create_graph=True)
        (g * g).sum().backward()
        results.append([t.grad, *[p.grad for p in layer.parameters() if p.grad is not None]])
    for u, v in zip(*results, strict=True):
        close(u, v, "float64", "second derivative")


def test_a_hidden_row_is_nan_with_weights_and_zero_without() -> None:
    """As in torch: softmax of nothing is nan, attention to nothing is 0."""
    a, b = layers(bias=False)
    for need in (True, False):
        found = []
        for library, layer in ((ours, a), (torch, b)):
            x = library.ones(3, 1, 8)
            found.append(layer(x, x, x, need_weights=need, attn_mask=library.ones(3, 3) > 0)[0])
        close(*found, "float32", str(need))


def test_bad_input_of_multihead() -> None:
    same_error(lambda t: t.nn.MultiheadAttention(8, 3), "divisible by num_heads, got 8 and 3")
    same_error(lambda t: t.nn.MultiheadAttention(8, 0), "num_heads=0")
    same_error(lambda t: t.nn.MultiheadAttention(-8, 2), "embed_dim=-8")

    def bad(words: str, *shapes: Any, mask: Any = None, kind: str = "bool", **kwargs: Any) -> None:
        def run(library: Any) -> Any:
            layer = library.nn.MultiheadAttention(8, 2)
            given = {
                name: library.ones(*shape).to(getattr(library, kind))
                for name, shape in (mask or {}).items()
            }
            return layer(*[library.ones(*s) for s in shapes], **given, **kwargs)

        same_error(run, words)

    x = (5, 3, 8)
    bad("[5, 3, 8] does not match value shape [6, 3, 8]", x, x, (6, 3, 8))
    bad("expected key and value to be 3-D but found 2-D", x, (5, 8), (5, 8))
    bad("unbatched 2D or batched 3D", (8,), (8,), (8,))
    bad("embedding dimension of 8, but got 7", (5, 3, 7), x, x)
    bad("2D attn_mask is [4, 5], but should be (5, 5)", x, x, x, mask=dict(attn_mask=(4, 5)))
    bad("3D attn_mask is [3, 5, 5]", x, x, x, mask=dict(attn_mask=(3, 5, 5)))
    bad("2-D or 3-D but found shape [5]", x, x, x, mask=dict(attn_mask=(5,)))
    bad("shape of (3, 5), but got [5, 3]", x, x, x, mask=dict(key_padding_mask=(5, 3)))
    bad("expected key_padding_mask to be None or 2-D", x, x, x, mask=dict(key_padding_mask=(5,)))
    bad("floating types of attn_mask", x, x, x, mask=dict(attn_mask=(5, 5)), kind="int64")
    bad("key_padding_mask are supported", x, x, x, mask=dict(key_padding_mask=(3, 5)), kind="int64")
    bad(
        "Expected attn_mask shape (2, 5, 5)", (5, 8), (5, 8), (5, 8), mask=dict(attn_mask=(3, 5, 5))
    )
    bad("Need attn_mask if specifying the is_causal hint", x, x, x, is_causal=True)
