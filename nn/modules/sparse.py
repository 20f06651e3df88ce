"""Embedding: a table of vectors, one per index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinygrad_edu.engine.switches import no_grad
from tinygrad_edu.names.missing import elsewhere
from tinygrad_edu.nn import functional as F
from tinygrad_edu.nn import init
from tinygrad_edu.nn.functional.sparse import read_padding_idx, refuse_sparse
from tinygrad_edu.nn.modules.module import Module
from tinygrad_edu.nn.parameter import Parameter
from tinygrad_edu.ops.creation import empty
from tinygrad_edu.tensor import Tensor


class Embedding(Module):
    """`weight[input]`: row i of the table is the vector of index i.

    Shape: (*) -> (*, embedding_dim).

    Args:
        num_embeddings: rows of the table.
        embedding_dim: columns.
        padding_idx: a row that starts at 0 and gets no gradient.
        max_norm: shrink the rows used, in place, to at most this length.
        norm_type: the p of that length.
        scale_grad_by_freq: divide each row's gradient by how often it was used.
        device, dtype: of the table.

    `weight` has shape (num_embeddings, embedding_dim) and starts standard normal.

    Raises:
        AssertionError: padding_idx is out of range.

    Unlike torch, `sparse=True` is refused.

    >>> import tinygrad_edu as torch
    >>> torch.nn.Embedding(10, 3)(torch.tensor([[1, 2, 4, 5]])).shape
    torch.Size([1, 4, 3])
    """

    weight: Parameter

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        refuse_sparse(sparse)
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = read_padding_idx(padding_idx, num_embeddings)
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.sparse = sparse
        if _weight is None:
            table = empty(num_embeddings, embedding_dim, device=device, dtype=dtype)
            self.weight = Parameter(table, requires_grad=not _freeze)
            self.reset_parameters()
        else:
            if _weight.array.shape != (num_embeddings, embedding_dim):
                raise AssertionError(
                    "Shape of weight does not match num_embeddings and embedding_dim"
                )
            self.weight = Parameter(_weight, requires_grad=not _freeze)

    def reset_parameters(self) -> None:
        """Draw a new table; the padding row is 0."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx].fill_(0)

    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(
            input,
            self.weight,
            self.padding_idx,
            self.max_norm,
            self.norm_type,
            self.scale_grad_by_freq,
            self.sparse,
        )

    def extra_repr(self) -> str:
        options: dict[str, Any] = {"padding_idx": None, "max_norm": None, "norm_type": 2.0}
        options["scale_grad_by_freq"] = False
        told = [
            f", {name}={getattr(self, name)}"
            for name, usual in options.items()
            if getattr(self, name) != usual
        ]
        return f"{self.num_embeddings}, {self.embedding_dim}{''.join(told)}"

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Tensor,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Embedding:
        """An Embedding on a given table (V, D), whose memory it shares.

        Args:
            freeze: the table gets no gradient.

        >>> import tinygrad_edu as torch
        >>> layer = torch.nn.Embedding.from_pretrained(torch.tensor([[1.0, 2.0]]))
        >>> layer(torch.tensor([0]))
        tensor([[1., 2.]])
        """
        if embeddings.array.ndim != 2:
            raise AssertionError("Embeddings parameter is expected to be 2-dimensional")
        rows, columns = embeddings.array.shape
        return cls(
            rows,
            columns,
            padding_idx,
            max_norm,
            norm_type,
            scale_grad_by_freq,
            sparse,
            _weight=embeddings,
            _freeze=freeze,
        )


if not TYPE_CHECKING:  # a type checker is to miss what is not here
    __getattr__ = elsewhere(__name__, "nn.modules.more.bags")
