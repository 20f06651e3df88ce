"""`attention`: what every head looks at."""

from __future__ import annotations

import html
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_edu.engine.switches import no_grad
from tinygrad_edu.engine.types import Call
from tinygrad_edu.nn import Module
from tinygrad_edu.see.glance import heat_map, host, svg
from tinygrad_edu.see.watching import looking


class Maps:
    """The weights of all heads.

    Attributes:
        weights: one array (H, T, S) for each attention of the forward pass, in its order: row t of
            a head says how much of each of the S positions goes into position t.
    """

    def __init__(self, weights: list[Any], tokens: Sequence[str]) -> None:
        self.weights, self.tokens = weights, tokens

    def svg(self) -> str:
        """A row for each layer, a map for each head; rows look, columns are looked at."""
        margin = 12 + 7 * max(map(len, self.tokens), default=0)
        parts, y, right = [], 18, 0
        for layer, heads in enumerate(self.weights):
            x, tall = margin, 0
            for h, weights in enumerate(heads):
                cells, wide, tall = heat_map(weights, self.tokens)
                for k, token in enumerate(self.tokens[: weights.shape[-1]]):
                    place = f'transform="translate({14 * k + 4} {tall + 4}) rotate(90)"'
                    cells += f"<text {place}>{html.escape(token)}</text>"
                title = f'<text y="-4">layer {layer} head {h}</text>'
                parts.append(f'<g transform="translate({x} {y})">{title}{cells}</g>')
                x += max(wide, 100) + margin
            y, right = y + tall + 18 + margin, max(right, x)
        return svg("".join(parts), right, y)

    def _repr_svg_(self) -> str:
        return self.svg()

    def save(self, path: str | pathlib.Path) -> None:
        """Write the drawing to a file."""
        pathlib.Path(path).write_text(self.svg(), encoding="utf-8")


def attention(model: Module, x: Any, tokens: Sequence[str] = (), *, sample: int = 0) -> Maps:
    """Run `model(x)` and draw the attention of every head, for one sample of the batch.

    Found are the calls of `scaled_dot_product_attention` and softmaxes over (N, H, T, S) scores.

    Args:
        model, x: called as they are, without recording.
        tokens: names of the positions.
        sample: which of the batch.

    Raises:
        ValueError: the model has no attention.

    >>> import tinygrad_edu as torch
    >>> layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    >>> torch.see.attention(layer, torch.randn(1, 5, 8)).weights[0].shape
    (2, 5, 5)
    """
    found: list[Any] = []

    def listen(op: Any, make: Call, *args: object, **kwargs: object) -> Any:
        y = make(*args, **kwargs)
        name = getattr(op, "name", "")
        if name == "attention":
            found.append(_weights(dict(zip(op.parameters, args, strict=False)) | kwargs))
        elif name == "softmax" and len(y.shape) == 4:
            found.append(host(y))
        return y

    with looking(listen), no_grad():
        model(x)
    if not found:
        raise ValueError(f"see.attention: {type(model).__name__} computes no attention")
    return Maps([np.asarray(w).reshape(-1, *w.shape[-3:])[sample] for w in found], tokens)


def _weights(named: dict[str, Any]) -> Any:
    """`softmax(q kᵀ scale + mask)`, as the operation computes it without keeping it."""
    q, k = host(named["query"]), host(named["key"])
    scale = named.get("scale")
    scores = q @ np.swapaxes(k, -1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    mask = named.get("attn_mask")
    if mask is not None:
        mask = host(mask)
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    if named.get("is_causal"):
        scores = np.where(np.tri(*scores.shape[-2:]) > 0, scores, -np.inf)
    with np.errstate(invalid="ignore"):
        powers = np.exp(scores - scores.max(-1, keepdims=True))
        return np.nan_to_num(powers / powers.sum(-1, keepdims=True))
