"""What is kept of the gradients of one parameter for a chunk of examples, and the products that need no more than that.

Each class holds n examples of one parameter with p entries: `Rows` the (n, p) matrix itself, `Outer` the inputs and output gradients of a
linear layer, `Patches` (in convolution.py) those of a convolution, `Tokens` (in tokens.py) those of an embedding,
`Total` (there as well) a sum of several.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Products: type = dict[tuple[int, int], Tensor]
"""Matrix products A B^T made already for this pair of chunks, so that a weight and its bias share D D^T."""


def inner(left: Tensor, right: Tensor, products: Products) -> Tensor:
    """``left @ right.T`` of (n, k) and (m, k), from ``products`` if it is there."""
    key = (left.data_ptr(), right.data_ptr())
    if key not in products:
        products[key] = left @ right.T
    return products[key]


class Factor:
    """Gradients (n, p) of one parameter for n examples. A subclass gives `rows`; the rest has a default from it."""

    num_examples: int
    size: int  # p
    positions: int = 1  # at which the parameter is used for one example
    nbytes: int
    dtype: torch.dtype

    def rows(self) -> Tensor:
        """(n, p) gradients, one row per example, the parameter flattened."""
        raise NotImplementedError

    def write(self, out: Tensor) -> None:
        """Writes the rows into ``out`` (n, p)."""
        out.copy_(self.rows())

    def part(self, which: slice) -> Factor:
        """Some of the examples, as views."""
        raise NotImplementedError

    def to(self, dtype: torch.dtype) -> Factor:
        """The same with its tensors in another floating dtype."""
        raise NotImplementedError

    def squared_norms(self) -> Tensor:
        """(n,) squared lengths of the rows."""
        rows = self.rows()
        return torch.einsum("np,np->n", rows, rows)

    def matvec(self, vector: Tensor) -> Tensor:
        """(n,) inner products of the rows with a vector (p,)."""
        return self.rows() @ vector

    def rmatvec(self, weights: Tensor) -> Tensor:
        """(p,) sum of the rows times weights (n,)."""
        return weights @ self.rows()

    def factored(self, form: str, total: int) -> bool:
        """Whether the Gram matrix of ``total`` examples comes from the factors; ``form`` may force it."""
        return False

    def add_gram(self, other: Factor, out: Tensor, products: Products) -> None:
        """Adds the (n, m) inner products with the rows of ``other`` to ``out``."""
        raise NotImplementedError


class Rows(Factor):
    """The matrix itself."""

    def __init__(self, matrix: Tensor):
        self.matrix = matrix  # (n, p)
        self.num_examples, self.size = matrix.shape
        self.nbytes, self.dtype = matrix.nbytes, matrix.dtype

    def rows(self) -> Tensor:
        """(n, p), no copy."""
        return self.matrix

    def part(self, which: slice) -> Rows:
        """Some of the rows."""
        return Rows(self.matrix[which])

    def to(self, dtype: torch.dtype) -> Rows:
        """The matrix in another dtype."""
        return self if self.matrix.dtype == dtype else Rows(self.matrix.to(dtype))

    def add_gram(self, other: Rows, out: Tensor, products: Products) -> None:
        """One matrix product, or the one that the weight of this layer has made already."""
        if (self.matrix.data_ptr(), other.matrix.data_ptr()) in products:
            out += inner(self.matrix, other.matrix, products)
        else:
            out.addmm_(self.matrix, other.matrix.T)


class Outer(Factor):
    """Weight of a linear layer: ``g_n = sum_t d_nt a_nt^T``, from inputs a (n, T, I) and output gradients d (n, T, O).

    T = 1: ``<g_n, g_m> = (a_n . a_m)(d_n . d_m)``, n m (I + O) multiplications and additions instead of n m I O, always the cheaper form.
    T > 1: ``sum_ts (a_nt . a_ms)(d_nt . d_ms)``, n m T^2 (I + O), against (n + m)/2 T I O + n m I O with rows: whichever is less.
    """

    def __init__(self, inputs: Tensor, gradients: Tensor):
        self.inputs, self.gradients = inputs, gradients
        self.num_examples, self.positions = inputs.shape[:2]
        self.size = inputs.shape[2] * gradients.shape[2]
        self.nbytes, self.dtype = inputs.nbytes + gradients.nbytes, gradients.dtype

    def rows(self) -> Tensor:
        """(n, O I), a batched product."""
        if self.positions == 1:
            return (self.gradients.transpose(1, 2) * self.inputs).flatten(1)
        return torch.bmm(self.gradients.transpose(1, 2), self.inputs).flatten(1)

    def write(self, out: Tensor) -> None:
        """Writes the rows without a copy in between where T = 1."""
        if self.positions == 1 and out.dtype == self.inputs.dtype:
            torch.mul(self.gradients.transpose(1, 2), self.inputs, out=out.unflatten(1, (self.gradients.shape[2], self.inputs.shape[2])))
        else:
            out.copy_(self.rows())

    def part(self, which: slice) -> Outer:
        """Some of the examples."""
        return Outer(self.inputs[which], self.gradients[which])

    def to(self, dtype: torch.dtype) -> Outer:
        """The factors in another dtype."""
        return self if self.inputs.dtype == dtype else Outer(self.inputs.to(dtype), self.gradients.to(dtype))

    def squared_norms(self) -> Tensor:
        """``|a|^2 |d|^2``, or from the T x T products of each example where that is cheaper."""
        if self.positions == 1:
            return self.inputs.square().sum((1, 2)) * self.gradients.square().sum((1, 2))
        if not cheaper_in_factors(self.positions, self.inputs.shape[2], self.gradients.shape[2], examples=1):
            return super().squared_norms()
        return (self._self_products(self.inputs) * self._self_products(self.gradients)).sum((1, 2))

    @staticmethod
    def _self_products(tensor: Tensor) -> Tensor:
        return torch.bmm(tensor, tensor.transpose(1, 2))  # (n, T, T)

    def matvec(self, vector: Tensor) -> Tensor:
        """``sum_t d_t^T V a_t``."""
        matrix = vector.view(self.gradients.shape[2], self.inputs.shape[2])
        return torch.einsum("nto,nto->n", self.inputs @ matrix.T, self.gradients)

    def rmatvec(self, weights: Tensor) -> Tensor:
        """``sum_n w_n sum_t d_nt a_nt^T``, one matrix product."""
        weighted = self.gradients * weights[:, None, None]
        return (weighted.flatten(0, 1).T @ self.inputs.flatten(0, 1)).flatten()

    def factored(self, form: str, total: int) -> bool:
        """By the count of multiplications unless forced."""
        if form != "auto":
            return form == "factored"
        return self.positions == 1 or cheaper_in_factors(self.positions, self.inputs.shape[2], self.gradients.shape[2], examples=total)

    def add_gram(self, other: Outer, out: Tensor, products: Products) -> None:
        """``(A A^T) o (D D^T)``, summed over pairs of positions."""
        if self.positions == other.positions == 1:
            out.addcmul_(
                inner(self.inputs[:, 0], other.inputs[:, 0], products), inner(self.gradients[:, 0], other.gradients[:, 0], products)
            )
        else:
            add_pairs(out, self.positions, other.positions, self._pairs(other))

    def _pairs(self, other: Outer) -> Callable[[slice, slice], Tensor]:
        def pairs(mine: slice, theirs: slice) -> Tensor:
            products = self.inputs[mine].flatten(0, 1) @ other.inputs[theirs].flatten(0, 1).T
            return products.mul_(self.gradients[mine].flatten(0, 1) @ other.gradients[theirs].flatten(0, 1).T)

        return pairs


PAIRS = 1 << 22
"""Most pairs of positions at a time: 16 MiB in float32."""


def add_pairs(out: Tensor, left: int, right: int, pairs: Callable[[slice, slice], Tensor]) -> None:
    """Adds to ``out`` (n, m) the sums over ``left`` x ``right`` positions of ``pairs``, tile by tile of examples."""
    side = max(1, int((PAIRS / (left * right)) ** 0.5))
    for i in range(0, out.shape[0], side):
        for j in range(0, out.shape[1], side):
            tile = out[i : i + side, j : j + side]
            block = pairs(slice(i, i + tile.shape[0]), slice(j, j + tile.shape[1]))
            tile += block.view(tile.shape[0], left, tile.shape[1], right).sum((1, 3))


def cheaper_in_factors(positions: int, fan_in: int, fan_out: int, *, examples: int) -> bool:
    """Whether pairs of positions take fewer multiplications than rows, for a Gram matrix of ``examples`` examples.

    ``examples T^2 (I + O + 2)`` against ``T I O + examples I O`` for each example; the 2 is for the product and the sum over pairs.
    """
    pairs = examples * positions**2 * (fan_in + fan_out + 2)
    return pairs < positions * fan_in * fan_out + examples * fan_in * fan_out
