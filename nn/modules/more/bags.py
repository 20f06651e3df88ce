"""EmbeddingBag: a table of vectors, one per index, and one result per bag of indices."""

from __future__ import annotations

from typing import Any

from tinygrad_edu.nn import functional as F
from tinygrad_edu.nn.modules.module import Module
from tinygrad_edu.nn.modules.sparse import Embedding
from tinygrad_edu.nn.parameter import Parameter
from tinygrad_edu.tensor import Tensor


class EmbeddingBag(Module):
    """Bags of rows of a table, each bag added up, averaged or its largest elements taken.

    Shape: (B, L), or (T) with offsets (B) -> (B, embedding_dim).

    Args:
        num_embeddings: rows of the table.
        embedding_dim: columns.
        max_norm, norm_type, scale_grad_by_freq, padding_idx: as of `Embedding`.
        mode: "sum", "mean" or "max".
        include_last_offset: `offsets` also says where the last bag ends.

    `forward(input, offsets, per_sample_weights)`: see `nn.functional.embedding_bag`.

    >>> import tinygrad_edu as torch
    >>> layer = torch.nn.EmbeddingBag(10, 3, mode="sum")
    >>> layer(torch.tensor([1, 2, 4, 5, 4]), torch.tensor([0, 3])).shape
    torch.Size([2, 3])
    """

    weight: Parameter

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        table = Embedding(
            num_embeddings,
            embedding_dim,
            padding_idx,
            max_norm,
            norm_type,
            scale_grad_by_freq,
            sparse,
            _weight,
            device=device,
            dtype=dtype,
        )
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.max_norm, self.norm_type = max_norm, norm_type
        self.scale_grad_by_freq, self.sparse = scale_grad_by_freq, sparse
        self.padding_idx, self.weight = table.padding_idx, table.weight
        self.mode, self.include_last_offset = mode, include_last_offset

    reset_parameters = Embedding.reset_parameters

    def forward(
        self,
        input: Tensor,
        offsets: Tensor | None = None,
        per_sample_weights: Tensor | None = None,
    ) -> Tensor:
        return F.embedding_bag(
            input,
            self.weight,
            offsets,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.mode,
            self.sparse,
            per_sample_weights,
            self.include_last_offset,
            self.padding_idx,
        )

    def extra_repr(self) -> str:
        usual: dict[str, Any] = {"max_norm": None, "norm_type": 2.0, "scale_grad_by_freq": False}
        shown = f"{self.num_embeddings}, {self.embedding_dim}"
        for name, value in {**usual, "mode": "", "padding_idx": None}.items():
            if getattr(self, name) != value:
                shown += f", {name}={getattr(self, name)!r}"
        return shown

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> EmbeddingBag:
        """An EmbeddingBag on a given table (V, D), whose memory it shares.

        Args:
            freeze: the table gets no gradient.
        """
        if embeddings.array.ndim != 2:
            raise AssertionError("Embeddings parameter is expected to be 2-dimensional")
        rows, columns = embeddings.array.shape
        bag = cls(
            rows,
            columns,
            max_norm,
            norm_type,
            scale_grad_by_freq,
            mode,
            sparse,
            embeddings,
            include_last_offset,
            padding_idx,
        )
        bag.weight.requires_grad = not freeze
        return bag
