"""Which examples each step sees: shuffled epochs or independent draws, from a CPU generator so that every device sees the same."""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor

from sgdscope.errors import InvalidInput, unknown_name, whole

SAMPLINGS = ("epochs", "independent", "with_replacement")


class Batches:
    """An endless stream of mini-batches of indices.

    Sampling ``epochs``: each pass is a fresh random order of all examples, cut into batches (the usual data loader). ``independent``: each
    batch is a random subset without repeats, independent of the others (what Eq. 1 of the break-even paper assumes).
    ``with_replacement``: each index is an independent draw. A batch of all examples is the set in its own order, and nothing is drawn
    (unless with replacement).

    Args:
        num_examples: N.
        batch_size: B; at most N, except for draws with replacement.
        sampling: one of the three.
        drop_last: with ``epochs``, drop the smaller batch at the end of a pass where B does not divide N.
        generator: on the CPU.
        device: of the indices handed out.

    Raises:
        InvalidInput: a batch size out of range, or no CPU generator.
        NotFound: an unknown sampling.
    """

    def __init__(
        self,
        num_examples: int,
        batch_size: int,
        *,
        sampling: str = "epochs",
        drop_last: bool = True,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
    ) -> None:
        if sampling not in SAMPLINGS:
            raise unknown_name("sampling", str(sampling), SAMPLINGS)
        most = None if sampling == "with_replacement" else num_examples
        size = whole("batch_size", batch_size, 1, most, note="" if most is None else "the number of examples")
        if not isinstance(generator, torch.Generator) or generator.device.type != "cpu":
            raise InvalidInput(f"generator must be a torch.Generator on the CPU, got {generator!r}.")
        self.num_examples, self.batch_size, self.sampling, self.drop_last = num_examples, size, sampling, drop_last
        self.generator, self.device = generator, torch.device(device)
        self._order = torch.empty(0, dtype=torch.int64)  # (N,) of the present pass, on the CPU
        self._on_device = self._order.to(self.device)
        self._position = 0

    @property
    def steps_per_epoch(self) -> float:
        """How many batches make a pass; a whole number for ``epochs``, N / B for draws."""
        if self.sampling != "epochs":
            return self.num_examples / self.batch_size
        return self.num_examples // self.batch_size if self.drop_last else ceil(self.num_examples / self.batch_size)

    def epoch(self, step: int) -> float:
        """Passes through the data made by ``step`` batches, to the last bit where it is a whole number."""
        return step / self.steps_per_epoch if self.sampling == "epochs" else step * self.batch_size / self.num_examples

    def next(self) -> Tensor:
        """Indices (B,) of the next batch; fewer at the end of a pass without ``drop_last``."""
        if self.sampling == "with_replacement":
            return torch.randint(self.num_examples, (self.batch_size,), generator=self.generator).to(self.device)
        if self.batch_size == self.num_examples:
            return torch.arange(self.num_examples, device=self.device)
        if self.sampling == "independent":
            return torch.randperm(self.num_examples, generator=self.generator)[: self.batch_size].to(self.device)
        left = len(self._order) - self._position
        if left < (self.batch_size if self.drop_last else 1):
            self._begin(torch.randperm(self.num_examples, generator=self.generator), 0)
        batch = self._on_device[self._position : self._position + self.batch_size]
        self._position += len(batch)
        return batch

    def state(self) -> dict[str, Tensor | int]:
        """All that decides the batches to come."""
        return {"order": self._order, "position": self._position, "generator": self.generator.get_state()}

    def restore(self, state: dict[str, Tensor | int]) -> None:
        """Go on as the stream whose `state` this is."""
        self._begin(state["order"], int(state["position"]))
        self.generator.set_state(state["generator"])

    def _begin(self, order: Tensor, position: int) -> None:
        self._order, self._on_device, self._position = order, order.to(self.device), position
