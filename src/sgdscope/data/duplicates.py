"""Data sets with duplicates, as rows to take: ``x[rows]``, ``y[rows]`` or ``dataset.take(rows)``.

``rows[i]`` is also the original of row i, so that a page can tell copies apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sgdscope.errors import InvalidInput


def append_copies(num_examples: int, *, originals: int = 10, copies: int = 10_000, generator: torch.Generator) -> Tensor:
    """All rows, then some random ones again and again (CIFAR in the gradient-variance paper, Fig. 7: 10 images, 10,000 copies each).

    Args:
        num_examples: N.
        originals: how many rows are copied, drawn without replacement.
        copies: how many times each is appended.
        generator: on the CPU.

    Returns:
        (N + originals * copies,) int64 on the CPU: 0 ... N - 1, then ``copies`` times the first drawn row, and so on.

    Raises:
        InvalidInput: more originals than rows, or a negative number.
    """
    _check(num_examples, originals)
    if copies < 0:
        raise InvalidInput(f"copies must be 0 or more, got {copies}.")
    chosen = torch.randperm(num_examples, generator=generator)[:originals]
    return torch.cat([torch.arange(num_examples), chosen.repeat_interleave(copies)])


def overwrite_with_copies(num_examples: int, *, originals: int = 5, share: float) -> Tensor:
    """The last int(share * N) rows replaced by the first ones in turn (random features in the gradient-variance paper, Fig. 8: 5 points).

    The size stays N. As in the authors' code the originals themselves stay, so that each occurs int(share * N) / originals + 1 times.

    Args:
        num_examples: N.
        originals: how many first rows are copied, in turn.
        share: of the rows that become copies; the paper: 0.1, 0.5, 0.9.

    Returns:
        (N,) int64 on the CPU.

    Raises:
        InvalidInput: a share outside [0, 1], no originals, or a share so large that the originals themselves would be overwritten.
    """
    _check(num_examples, originals)
    if not 0 <= share <= 1:
        raise InvalidInput(f"share must be from 0 to 1, got {share!r}.")
    count = int(share * num_examples + 1e-9)  # 0.29 * 100 is 28.999999999999996
    if count and (originals < 1 or count > num_examples - originals):
        raise InvalidInput(
            f"{count} copies of {originals} originals do not fit in {num_examples} rows; the originals must stay: lower share or originals."
        )
    kept = torch.arange(num_examples - count)
    return torch.cat([kept, torch.arange(count) % max(originals, 1)])


def _check(num_examples: int, originals: int) -> None:
    if num_examples < 1:
        raise InvalidInput(f"num_examples must be at least 1, got {num_examples}.")
    if not 0 <= originals <= num_examples:
        raise InvalidInput(f"originals must be from 0 to the {num_examples} rows there are, got {originals}.")
