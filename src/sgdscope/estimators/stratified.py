"""Stratified sampling over a partition of the examples: Eq. 1 of Faghri et al. (2020)."""

from __future__ import annotations

from itertools import product
from math import prod

import torch
from torch import Tensor, nn

from sgdscope.errors import InvalidInput
from sgdscope.estimators.checks import check_augment, check_generator, check_outcomes
from sgdscope.estimators.sampled import Augment, Sampled
from sgdscope.models.examples import Examples
from sgdscope.models.losses import Loss


class Strata:
    """Members of the non-empty sets of a partition, side by side."""

    def __init__(self, partition: Tensor):
        """``partition`` (N,): which set each example is in, whole numbers."""
        _, of, self.sizes = torch.unique(partition.cpu(), return_inverse=True, return_counts=True)
        self.order = of.argsort(stable=True)
        self.first = self.sizes.cumsum(0) - self.sizes
        self.weights = self.sizes.double() / len(partition)

    def choose(self, positions: Tensor) -> Tensor:
        """Examples (..., K) at these positions (..., K) within their sets."""
        return self.order[self.first + positions]

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """One member of each set with its weight ``N_k / N``."""
        uniform = torch.rand(len(self.sizes), generator=generator, dtype=torch.float64, device=generator.device).cpu()
        positions = torch.minimum((uniform * self.sizes).long(), self.sizes - 1)
        return self.choose(positions).to(generator.device), self.weights.to(generator.device)

    def outcomes(self) -> tuple[Tensor, Tensor]:
        """All choices of one member of each set, equally likely."""
        sizes = self.sizes.tolist()
        check_outcomes(prod(sizes))
        index = self.choose(torch.tensor(list(product(*(range(size) for size in sizes)))))
        return index, self.weights.expand_as(index)


class Stratified(Sampled):
    """One example from each set of a given partition, weighted by the size of its set (Eq. 1):

        ``(1/N) sum_k N_k g_{j_k}``, j_k uniform in set k.

    Unbiased for any partition; its covariance has the trace ``N^-2 sum_k N_k^2 V[g_{j,k}]`` (Prop. 3.1), V with 1/N_k within a set. K = N is the
    full-batch gradient, K = 1 a single example. Empty sets do not count.

    Args:
        partition: (N,) whole numbers, one an example; equal numbers make a set.
        augment: ``augment(x, generator)`` on the drawn examples.

    Raises:
        InvalidInput: a partition that is no (N,) whole numbers, or on use of another length than the data.

    >>> estimator = Stratified(torch.tensor([0, 0, 1]))
    >>> estimator.draw(3, generator=torch.Generator().manual_seed(0))[1]
    tensor([0.6667, 0.3333], dtype=torch.float64)
    """

    def __init__(self, partition: Tensor, *, augment: Augment | None = None):
        if (
            not isinstance(partition, Tensor)
            or partition.dim() != 1
            or not len(partition)
            or partition.is_floating_point()
            or partition.is_complex()
        ):
            came = f"{tuple(partition.shape)} of {partition.dtype}" if isinstance(partition, Tensor) else type(partition).__name__
            raise InvalidInput(f"partition must be a tensor (N,) of whole numbers, the set of each example; {came} came.")
        check_augment(augment)
        self.augment = augment
        self._take_up(partition)

    def _take_up(self, partition: Tensor) -> None:
        self.partition = partition.clone()
        self.strata = Strata(partition)
        self.batch_size = len(self.strata.sizes)

    def refresh(self, model: nn.Module, loss: Loss, x: Examples, y: Examples, *, generator: torch.Generator) -> None:
        """Nothing to prepare; checks that the partition fits."""
        super().refresh(model, loss, x, y, generator=generator)
        self.check(model, loss, x, y)

    def check(self, model: nn.Module, loss: Loss, x: Examples, y: Examples) -> int:
        """N, if it is that of the partition."""
        number = super().check(model, loss, x, y)
        self._fits(number)
        return number

    def _fits(self, number: int) -> None:
        if number != len(self.partition):
            raise InvalidInput(f"the partition must name the set of each example; it has {len(self.partition)} for {number} examples.")

    def draw(self, number: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """One member of each set, with weights ``N_k / N``."""
        self._fits(number)
        return self.strata.draw(check_generator(generator))

    def outcomes(self, number: int) -> tuple[Tensor, Tensor]:
        """All ``prod_k N_k`` choices, up to a million."""
        self._fits(number)
        return self.strata.outcomes()

    def state(self) -> dict[str, object]:
        """The partition."""
        return {"kind": type(self).__name__, "partition": self.partition}

    def restore(self, state: dict[str, object]) -> None:
        """Take up the partition of a `state`."""
        self._check_state(state, "partition")
        self._take_up(state["partition"])
