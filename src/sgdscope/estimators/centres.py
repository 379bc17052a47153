"""Cluster centres of the gradients of one parameter: of low rank for the weights of linear layers and convolutions, whole vectors for the rest.

The gradient of one example through a weight is ``g_i = sum_t d_it a_it^T`` over positions t (one for a linear layer, pixels for a convolution, a then
is a patch), a centre ``C_k = sum_r d_kr c_kr^T``. Their inner product never needs a matrix of a linear layer: Faghri et al. (2020), Eq. 5, 8 and 9.
Convolutions with groups have one such pair a group.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from sgdscope.gradients.convolution import Patches
from sgdscope.gradients.factors import Factor, Outer

WORK = 16 << 20
"""Bytes of intermediate results at a time."""

RULES = ("mean", "svd")


class Centres:
    """K centres, and the sums from which the next ones are made."""

    def inner(self, factor: Factor) -> Tensor:
        """(n, K) inner products of the centres with the gradients of n examples."""
        raise NotImplementedError

    def squared_norms(self) -> Tensor:
        """(K,) squared lengths of the centres."""
        raise NotImplementedError

    def add(self, factor: Factor, assignment: Tensor) -> None:
        """Adds n examples to the sums of their clusters (n,)."""
        raise NotImplementedError

    def carry(self, counts: Tensor) -> None:
        """Begins the sums with ``counts`` (K,) times the centres, so that what follows moves these instead of replacing them."""
        raise NotImplementedError

    def forget(self, clusters: Tensor) -> None:
        """Sets the sums of some clusters (m,) to zero."""
        raise NotImplementedError

    def update(self, sizes: Tensor) -> None:
        """Makes centres from the sums of ``sizes`` (K,) examples, and begins new sums. An empty cluster keeps its centre."""
        raise NotImplementedError

    def dense(self) -> Tensor:
        """(K, p) the centres themselves."""
        raise NotImplementedError

    def state(self) -> dict[str, Tensor]:
        """Tensors that decide the centres."""
        raise NotImplementedError

    def take_up(self, state: dict[str, Tensor]) -> None:
        """The centres of a `state`, on the device of these."""
        for name, tensor in state.items():
            ours = getattr(self, name)
            setattr(self, name, tensor.to(ours.device, ours.dtype))


class WholeCentres(Centres):
    """Centres (K, p) without approximation (Eq. 4): biases, norms, and layers without factors."""

    def __init__(self, factor: Factor, num_clusters: int):
        self.centres = factor.part(slice(0, 1)).rows().new_zeros(num_clusters, factor.size)
        self._sums: Tensor | None = None  # begun when there is something to add

    def inner(self, factor: Factor) -> Tensor:
        """One matrix product."""
        return torch.cat([factor.part(which).rows() @ self.centres.T for which in _steps(factor.num_examples, factor.size, factor.dtype)])

    def squared_norms(self) -> Tensor:
        """Of the rows."""
        return self.centres.square().sum(1)

    def add(self, factor: Factor, assignment: Tensor) -> None:
        """Row by row."""
        self._begin()
        for which in _steps(factor.num_examples, factor.size, factor.dtype):
            self._sums.index_add_(0, assignment[which], factor.part(which).rows())

    def _begin(self) -> None:
        if self._sums is None:
            self._sums = torch.zeros_like(self.centres)

    def carry(self, counts: Tensor) -> None:
        """Sums that these centres are the means of."""
        self._sums = self.centres * counts[:, None].to(self.centres.dtype)

    def forget(self, clusters: Tensor) -> None:
        """Rows of zeros."""
        self._begin()
        self._sums[clusters] = 0

    def update(self, sizes: Tensor) -> None:
        """Means."""
        self._begin()
        self.centres = torch.where((sizes > 0)[:, None], self._sums / _divisors(sizes, self._sums)[:, None], self.centres)
        self._sums = None

    def dense(self) -> Tensor:
        """The rows."""
        return self.centres

    def state(self) -> dict[str, Tensor]:
        """The rows."""
        return {"centres": self.centres}


class FactoredCentres(Centres):
    """Centres of rank r: c (K, G, r, I) and d (K, G, r, O), for G groups of channels (1 for linear layers).

    Rule ``mean`` (Eq. 6, r = 1): c_k and d_k are the means over the cluster of ``(1/T) sum_t a_it`` and ``sum_t d_it``, exact where the two are
    uncorrelated over its examples and positions; memory K (I + O). The paper states it for T = 1 and gives none for convolutions; this is the
    rule of the authors' code. Rule ``svd``: truncated singular value decomposition of the exact mean, the best centre of its rank in the
    Frobenius norm; memory K I O while sums are taken.

    Carried on (`carry`), ``mean`` goes on with the means of both factors, ``svd`` with the truncated centre: what the truncation left out is gone.
    """

    def __init__(self, factor: Outer | Patches, num_clusters: int, rule: str, rank: int):
        a, d = next(_pieces(factor.part(slice(0, 1)), 1))[1:]
        self.rule, (groups, fan_in), fan_out = rule, a.shape[1:3], d.shape[2]
        self.inputs = a.new_zeros(num_clusters, groups, min(rank, fan_in, fan_out), fan_in)
        self.outputs = a.new_zeros(num_clusters, groups, min(rank, fan_in, fan_out), fan_out)
        self._sums: list[Tensor] | None = None  # begun when there is something to add

    def _begin(self) -> None:
        if self._sums is not None:
            return
        clusters, groups, _, fan_in = self.inputs.shape
        fan_out = self.outputs.shape[3]
        shapes = [(groups, fan_in), (groups, fan_out)] if self.rule == "mean" else [(groups * fan_out * fan_in,)]
        self._sums = [self.inputs.new_zeros(clusters, *shape) for shape in shapes]

    def products_of_positions(self, positions: int) -> bool:
        """Whether Eq. 9 (inner products at each position) takes fewer multiplications than Eq. 8 (the gradient first) for one example."""
        clusters, _, rank, fan_in = self.inputs.shape
        fan_out = self.outputs.shape[3]
        return positions * clusters * rank * (fan_in + fan_out + 1) < positions * fan_in * fan_out + clusters * fan_in * fan_out

    def inner(self, factor: Outer | Patches) -> Tensor:
        """Eq. 5 for one position; else Eq. 8 or 9, whichever is cheaper."""
        clusters, groups, rank, fan_in = self.inputs.shape
        fan_out = self.outputs.shape[3]
        if not self.products_of_positions(factor.positions):
            rows = self.dense().T
            steps = _steps(factor.num_examples, factor.size, factor.dtype)
            return torch.cat([factor.part(which).rows() @ rows for which in steps])
        left, right = self.inputs.transpose(0, 1).flatten(1, 2), self.outputs.transpose(0, 1).flatten(1, 2)  # (G, K r, I), (G, K r, O)
        if isinstance(factor, Outer) and factor.positions == 1:
            found = (factor.inputs[:, 0] @ left[0].T).mul_(factor.gradients[:, 0] @ right[0].T)
            return found if rank == 1 else found.unflatten(1, (clusters, rank)).sum(2)
        found = left.new_empty(factor.num_examples, clusters)
        for which, a, d in _pieces(factor, groups * factor.positions * (fan_in + fan_out + 2 * clusters * rank)):
            found[which] = (left @ a).mul_(right @ d).sum((1, 3)).unflatten(1, (clusters, rank)).sum(2)  # from (n, G, K r, T)
        return found

    def squared_norms(self) -> Tensor:
        """``sum_rs (c_r . c_s)(d_r . d_s)``."""
        return ((self.inputs @ self.inputs.transpose(2, 3)) * (self.outputs @ self.outputs.transpose(2, 3))).sum((1, 2, 3))

    def add(self, factor: Outer | Patches, assignment: Tensor) -> None:
        """Sums of both factors, or of the gradients."""
        self._begin()
        if self.rule == "svd":
            for which in _steps(factor.num_examples, factor.size, factor.dtype):
                self._sums[0].index_add_(0, assignment[which], factor.part(which).rows())
            return
        groups, fan_in, fan_out = self.inputs.shape[1], self.inputs.shape[3], self.outputs.shape[3]
        for which, a, d in _pieces(factor, groups * factor.positions * (fan_in + fan_out)):
            self._sums[0].index_add_(0, assignment[which], a.mean(3))
            self._sums[1].index_add_(0, assignment[which], d.sum(3))

    def carry(self, counts: Tensor) -> None:
        """Sums of both factors, or of gradients, that these centres are the means of."""
        counts = counts.to(self.inputs.dtype)
        if self.rule == "svd":
            self._sums = [self.dense() * counts[:, None]]
        else:
            self._sums = [factors[:, :, 0] * counts[:, None, None] for factors in (self.inputs, self.outputs)]

    def forget(self, clusters: Tensor) -> None:
        """Zeros."""
        self._begin()
        for sums in self._sums:
            sums[clusters] = 0

    def update(self, sizes: Tensor) -> None:
        """Means of the factors, or singular vectors of the mean gradient."""
        self._begin()
        count = _divisors(sizes, self.inputs)
        if self.rule == "mean":
            inputs, outputs = (sums.unsqueeze(2) / count[:, None, None, None] for sums in self._sums)
        else:
            inputs, outputs = self._truncated(self._sums[0] / count[:, None])
        there = (sizes > 0)[:, None, None, None]
        self.inputs, self.outputs = torch.where(there, inputs, self.inputs), torch.where(there, outputs, self.outputs)
        self._sums = None

    def _truncated(self, means: Tensor) -> tuple[Tensor, Tensor]:
        """``U_r U_r^T M``, U_r the top eigenvectors of the smaller of ``M M^T`` and ``M^T M``: the truncated decomposition of M (O, I)."""
        _, groups, rank, fan_in = self.inputs.shape
        means = means.view(len(means), groups, self.outputs.shape[3], fan_in)
        if means.shape[2] <= fan_in:
            basis = torch.linalg.eigh(means @ means.transpose(2, 3))[1][..., -rank:].transpose(2, 3)  # (K, G, r, O)
            return basis @ means, basis
        basis = torch.linalg.eigh(means.transpose(2, 3) @ means)[1][..., -rank:].transpose(2, 3)  # (K, G, r, I)
        return basis, basis @ means.transpose(2, 3)

    def dense(self) -> Tensor:
        """Products, summed over the rank."""
        return (self.outputs.transpose(2, 3) @ self.inputs).flatten(1)  # (K, G, O, I)

    def state(self) -> dict[str, Tensor]:
        """Both sides."""
        return {"inputs": self.inputs, "outputs": self.outputs}


def centres_for(factor: Factor, num_clusters: int, rule: str, rank: int) -> Centres:
    """Of low rank where the factor has both sides, whole otherwise."""
    if isinstance(factor, Outer | Patches):
        return FactoredCentres(factor, num_clusters, rule, rank)
    return WholeCentres(factor, num_clusters)


def _divisors(sizes: Tensor, like: Tensor) -> Tensor:
    return torch.where(sizes > 0, sizes, torch.ones_like(sizes)).to(like.dtype)


def _steps(number: int, width: int, dtype: torch.dtype) -> list[slice]:
    """Slices of examples that take ``width`` numbers each, within `WORK`."""
    step = max(1, WORK // (width * dtype.itemsize))
    return [slice(start, min(start + step, number)) for start in range(0, number, step)]


def _pieces(factor: Outer | Patches, width: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Inputs (n, G, I, T) and output gradients (n, G, O, T), a few examples at a time."""
    for which in _steps(factor.num_examples, width, factor.dtype):
        if isinstance(factor, Patches):
            yield which, factor.patches(which), factor.gradients_of(which)
        else:
            yield which, factor.inputs[which].transpose(1, 2)[:, None], factor.gradients[which].transpose(1, 2)[:, None]
