"""Mini-batches without replacement: all of them for exact averages, random ones for simulation."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, islice
from math import comb

import numpy as np
import torch
from torch import Tensor

from sgdscope.errors import InvalidInput
from sgdscope.stability.checks import count, whole_sizes

MOST_BATCHES = 2_000_000
"""Above this many mini-batches (about a second of itertools per million) an enumeration is refused."""

CHUNK = 1 << 16
"""Mini-batches in one chunk of an enumeration: 65,536 x 24 memberships in float64 are 13 MB."""


def number_of_batches(num_examples: int, batch_size: int) -> int:
    """``C(N, S)``, the number of mini-batches of size S."""
    return comb(*whole_sizes(num_examples, batch_size))


def all_batches(num_examples: int, batch_size: int, *, most: int = MOST_BATCHES) -> Iterator[Tensor]:
    """All ``C(N, S)`` mini-batches in chunks of indices ``(at most 65536, S)``, in lexicographic order.

    Raises:
        InvalidInput: sizes out of range, or more than ``most`` mini-batches.
    """
    examples, batch = whole_sizes(num_examples, batch_size)
    if (total := comb(examples, batch)) > most:
        raise InvalidInput(
            f"an enumeration must stay at or below {most:,} mini-batches; C({examples}, {batch}) = {total:,} came. "
            "Take fewer examples (20 allow every batch size), or the closed form or a simulation."
        )
    return _chunks(examples, batch)


def _chunks(examples: int, batch: int) -> Iterator[Tensor]:
    batches = combinations(range(examples), batch)
    while chunk := list(islice(batches, CHUNK)):
        yield torch.from_numpy(np.array(chunk, dtype=np.int64))


def memberships(batches: Tensor, num_examples: int, *, dtype: torch.dtype = torch.float64) -> Tensor:
    """Weights ``(count, N)`` of batch means: 1/S for the examples of the batch, else 0, from indices ``(count, S)``."""
    weights = torch.zeros(len(batches), num_examples, dtype=dtype, device=batches.device)
    return weights.scatter_(1, batches, 1.0 / batches.shape[1])


def random_batches(num_examples: int, batch_size: int, number: int, *, generator: torch.Generator) -> Tensor:
    """Independent mini-batches ``(number, S)``, each uniform over the subsets of size S, on the generator's device.

    Small batches by Floyd's algorithm (Bentley and Floyd 1987), all mini-batches at once: O(number S^2). Large ones as the S largest of N
    uniform keys: O(number N). Neither loops over mini-batches.

    Raises:
        InvalidInput: sizes out of range.
    """
    examples, batch = whole_sizes(num_examples, batch_size)
    count("number", number)
    device = generator.device
    if batch == examples:
        return torch.arange(examples, device=device).expand(number, examples)
    if batch == 1:
        return torch.randint(examples, (number, 1), generator=generator, device=device)
    if batch**2 <= 4 * examples:
        return _floyd(examples, batch, number, generator)
    rows = max(1, (1 << 23) // examples)  # 64 MiB of keys at a time
    pieces = []
    for start in range(0, number, rows):
        keys = torch.rand(min(rows, number - start), examples, generator=generator, device=device, dtype=torch.float64)
        pieces.append(keys.topk(batch, dim=1, sorted=False).indices)
    return torch.cat(pieces)


def _floyd(examples: int, batch: int, number: int, generator: torch.Generator) -> Tensor:
    """Floyd's subsets: element i is drawn from the first N - S + i + 1 numbers, or is the last of these if the draw is taken already."""
    chosen = torch.empty(number, batch, dtype=torch.int64, device=generator.device)
    for i in range(batch):
        last = examples - batch + i
        draw = torch.randint(last + 1, (number,), generator=generator, device=generator.device)
        taken = (chosen[:, :i] == draw[:, None]).any(1)
        chosen[:, i] = torch.where(taken, last, draw)
    return chosen
