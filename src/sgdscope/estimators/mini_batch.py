"""The mini-batch: B examples drawn at random, weights 1/B (SG-B of Faghri et al. 2020, Sec. 4)."""

from __future__ import annotations

from itertools import combinations, product
from math import comb

import torch
from torch import Tensor, nn

from sgdscope.errors import InvalidInput, whole
from sgdscope.estimators.checks import check_augment, check_generator, check_outcomes, check_switch
from sgdscope.estimators.sampled import Augment, Sampled, count
from sgdscope.models.examples import Examples
from sgdscope.models.losses import Loss


class MiniBatch(Sampled):
    """Mean gradient of B random examples, independent from one estimate to the next.

    Trace of the covariance: ``C / B (N - B) / (N - 1)`` without replacement, ``C / B`` with, ``C = (1/N) sum_n |g_n - g|^2``. Twice the batch is
    half the variance with replacement, and a little less than half without.

    Args:
        batch_size: B.
        replacement: draw the examples of a batch independently of each other, instead of a random subset.
        augment: ``augment(x, generator)`` on each batch.

    Raises:
        InvalidInput: a batch size below 1, or at a refresh or on use above N without replacement.
    """

    def __init__(self, batch_size: int, *, replacement: bool = False, augment: Augment | None = None):
        self.batch_size = whole("batch_size", batch_size)
        check_augment(augment)
        check_switch("replacement", replacement)
        self.replacement, self.augment = replacement, augment

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.batch_size}, replacement={self.replacement})"

    def options(self) -> dict[str, object]:
        """B and the kind of draw."""
        return {"batch_size": self.batch_size, "replacement": self.replacement}

    def refresh(self, model: nn.Module, loss: Loss, x: Examples, y: Examples, *, generator: torch.Generator) -> None:
        """Nothing to prepare; checks the data, and that there are B examples."""
        super().refresh(model, loss, x, y, generator=generator)
        self._fits(count(x, y))

    def draw(self, number: int, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A random subset, or B independent draws."""
        self._fits(number)
        device = check_generator(generator).device
        if self.replacement or self.batch_size == 1:
            index = torch.randint(number, (self.batch_size,), generator=generator, device=device)
        else:
            index = torch.randperm(number, generator=generator, device=device)[: self.batch_size]
        return index, torch.full((self.batch_size,), 1 / self.batch_size, dtype=torch.float64, device=device)

    def outcomes(self, number: int) -> tuple[Tensor, Tensor]:
        """All subsets, or all N^B sequences.

        Raises:
            InvalidInput: more than a million.
        """
        self._fits(number)
        check_outcomes(number**self.batch_size if self.replacement else comb(number, self.batch_size))
        found = product(range(number), repeat=self.batch_size) if self.replacement else combinations(range(number), self.batch_size)
        index = torch.tensor(list(found))
        return index, torch.full(index.shape, 1 / self.batch_size, dtype=torch.float64)

    def _fits(self, number: int) -> None:
        if self.batch_size > number and not self.replacement:
            raise InvalidInput(
                f"batch_size must be at most the number of examples without replacement; {self.batch_size} came for {number}. "
                "Use a smaller batch, or replacement=True."
            )
