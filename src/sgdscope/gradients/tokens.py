"""The weight of an embedding, from its tokens and output gradients, and sums of factors: a weight that is used in more than one way."""

from __future__ import annotations

import torch
from torch import Tensor

from sgdscope.gradients.factors import Factor, Products, add_pairs


class Tokens(Factor):
    """Weight of an embedding with V rows: ``g_n`` holds ``sum_t d_nt`` over the positions t with token v in row v; (n, T), (n, T, E)."""

    def __init__(self, tokens: Tensor, gradients: Tensor, num_embeddings: int):
        self.tokens, self.gradients, self.num_embeddings = tokens, gradients, num_embeddings
        self.num_examples, self.positions, width = gradients.shape
        self.size = num_embeddings * width
        self.nbytes, self.dtype = tokens.nbytes + gradients.nbytes, gradients.dtype

    def rows(self) -> Tensor:
        """(n, V E), mostly zeros."""
        width = self.gradients.shape[2]
        rows = self.gradients.new_zeros(self.num_examples, self.num_embeddings, width)
        return rows.scatter_add_(1, self.tokens[:, :, None].expand(-1, -1, width), self.gradients).flatten(1)

    def part(self, which: slice) -> Tokens:
        """Some of the examples."""
        return Tokens(self.tokens[which], self.gradients[which], self.num_embeddings)

    def to(self, dtype: torch.dtype) -> Tokens:
        """The gradients in another dtype."""
        return self if self.gradients.dtype == dtype else Tokens(self.tokens, self.gradients.to(dtype), self.num_embeddings)

    def squared_norms(self) -> Tensor:
        """``sum_ts [v_t = v_s] d_t . d_s``."""
        same = self.tokens[:, :, None] == self.tokens[:, None, :]
        return (torch.bmm(self.gradients, self.gradients.transpose(1, 2)) * same).sum((1, 2))

    def matvec(self, vector: Tensor) -> Tensor:
        """Looks the tokens up in the vector."""
        table = vector.view(self.num_embeddings, -1)
        return (table[self.tokens] * self.gradients).sum((1, 2))

    def rmatvec(self, weights: Tensor) -> Tensor:
        """Adds the weighted gradients into one table."""
        table = self.gradients.new_zeros(self.num_embeddings, self.gradients.shape[2])
        return table.index_add_(0, self.tokens.flatten(), (self.gradients * weights[:, None, None]).flatten(0, 1)).flatten()

    def factored(self, form: str, total: int) -> bool:
        """n m T^2 E against n m V E."""
        return form == "factored" if form != "auto" else self.positions**2 <= self.num_embeddings

    def add_gram(self, other: Tokens, out: Tensor, products: Products) -> None:
        """Pairs of positions with the same token."""

        def pairs(mine: slice, theirs: slice) -> Tensor:
            same = self.tokens[mine].flatten()[:, None] == other.tokens[theirs].flatten()
            return (self.gradients[mine].flatten(0, 1) @ other.gradients[theirs].flatten(0, 1).T).mul_(same)

        add_pairs(out, self.positions, other.positions, pairs)


class Total(Factor):
    """Sum of several: a parameter used more than once."""

    def __init__(self, parts: list[Factor]):
        self.parts = parts
        self.num_examples, self.size = parts[0].num_examples, parts[0].size
        self.positions = sum(part.positions for part in parts)
        self.nbytes, self.dtype = sum(part.nbytes for part in parts), parts[0].dtype

    def rows(self) -> Tensor:
        """(n, p), summed."""
        total = self.parts[0].rows().clone()
        for part in self.parts[1:]:
            total += part.rows()
        return total

    def part(self, which: slice) -> Total:
        """Some of the examples of each part."""
        return Total([part.part(which) for part in self.parts])

    def to(self, dtype: torch.dtype) -> Total:
        """Each part in another dtype."""
        return Total([part.to(dtype) for part in self.parts])

    def matvec(self, vector: Tensor) -> Tensor:
        """Sum over the parts."""
        return sum(part.matvec(vector) for part in self.parts)

    def rmatvec(self, weights: Tensor) -> Tensor:
        """Sum over the parts."""
        return sum(part.rmatvec(weights) for part in self.parts)
