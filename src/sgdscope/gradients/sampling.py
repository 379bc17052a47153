"""Which examples the mini-batches of a history hold: independent draws with or without replacement, or epochs."""

from __future__ import annotations

import torch
from torch import Tensor

from sgdscope.errors import InvalidInput, whole


def draw_batches(
    num_examples: int, batch_size: int, num_draws: int, *, generator: torch.Generator, replacement: bool = False, epochs: bool = False
) -> Tensor:
    """Indices (T, B) of ``num_draws`` mini-batches, on the generator's device.

    By default each batch is a uniform subset of size B, independent of the others. ``replacement``: B independent uniform draws. ``epochs``:
    consecutive cuts of random permutations, a new one when fewer than B examples are left, as a data loader with ``drop_last``.

    Raises:
        InvalidInput: sizes out of range, both options at once, or no generator.
    """
    num_examples, batch_size, num_draws = (
        whole("num_examples", num_examples),
        whole("batch_size", batch_size),
        whole("num_draws", num_draws),
    )
    if not isinstance(generator, torch.Generator):
        raise InvalidInput(f"generator must be a torch.Generator; {type(generator).__name__} came. Pass torch.Generator().manual_seed(0).")
    if replacement and epochs:
        raise InvalidInput("batches are drawn with replacement or cut from epochs; both came. Drop one of the two.")
    if batch_size > num_examples and not replacement:
        raise InvalidInput(
            f"batch_size must be at most the number of examples without replacement; {batch_size} came for {num_examples}. "
            "Use a smaller batch, or replacement=True."
        )
    device = generator.device
    if replacement or (batch_size == 1 and not epochs):
        return torch.randint(num_examples, (num_draws, batch_size), generator=generator, device=device)
    if epochs:
        steps = num_examples // batch_size
        orders = [torch.randperm(num_examples, generator=generator, device=device) for _ in range(-(-num_draws // steps))]
        return torch.cat([order[: steps * batch_size].view(steps, batch_size) for order in orders])[:num_draws]
    return torch.stack([torch.randperm(num_examples, generator=generator, device=device)[:batch_size] for _ in range(num_draws)])


def sampling_counts(batches: Tensor, num_examples: int) -> Tensor:
    """(T, N) of int16: how often an example is in a batch. Over B they are the weights of the batch means."""
    counts = torch.zeros(len(batches), num_examples, dtype=torch.int16, device=batches.device)
    return counts.scatter_add_(1, batches, torch.ones((), dtype=torch.int16, device=batches.device).expand_as(batches))
